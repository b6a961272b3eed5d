"""A Dask cluster as the pool that does jobs (extra `distributed`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardplace.errors import BadInput
from hardplace.search.asked import code
from hardplace.search.elsewhere import work
from hardplace.search.types import Job, Outcome

if TYPE_CHECKING:
    from distributed import Client, Future

_ANSWER_S = 15  # a scheduler that has not answered for so long is not there
_LOOK_S = 2.0  # between two looks whether the scheduler is still there


class Dask:
    """The workers of a scheduler; a context manager. Workers may come and go; a lost one's jobs go to another."""

    def __init__(self, address: str) -> None:
        """Connect; BadInput if Dask is not installed or no scheduler answers at the address."""
        try:
            from distributed import Client
        except ImportError:
            raise BadInput("--scheduler: needs Dask: pip install 'hardplace[distributed]'") from None
        self._address = address
        try:
            self._client: Client = Client(address, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as problem:
            raise BadInput(
                f"--scheduler: {address}: expected the address of a Dask scheduler, e.g. tcp://host:8786; "
                f"{_line(problem) or 'none answers'}"
            ) from None

    def __enter__(self) -> Dask:
        return self

    def __exit__(self, *problem: object) -> None:
        self._client.close(timeout=_LOOK_S)

    @property
    def workers(self) -> int:
        """Threads of the workers that are there now; one before the first has come."""
        return max(1, sum(self._client.nthreads().values())) if self._there() else 1

    def submit(self, evaluator: bytes, job: Job) -> Future[Outcome]:
        """Hand out a job."""
        if not self._there():
            raise self._lost()
        return self._client.submit(work, evaluator, code(), job, pure=False)

    def outcome(self, handle: Any) -> Outcome | None:
        """Wait for an outcome; None where its workers were lost."""
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                outcome: Outcome = handle.result(timeout=_LOOK_S)
                return outcome
            except KilledWorker:
                return None
            except (TimeoutError, CancelledError, OSError):
                if not self._there():
                    raise self._lost() from None
                if handle.cancelled() or handle.status == "lost":
                    return None

    def _there(self) -> bool:
        return bool(self._client.status == "running")

    def _lost(self) -> BadInput:
        return BadInput(
            f"--scheduler: {self._address}: the scheduler is lost; what the journal holds is safe, start a scheduler "
            "and then the same command again"
        )


def _line(problem: BaseException) -> str:
    return " ".join(str(problem).split())
