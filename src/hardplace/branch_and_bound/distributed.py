"""A Dask cluster as the pool of workers that does refinements (extra `distributed`; docs/distributed.md)."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from hardplace.branch_and_bound.problem import Done
from hardplace.branch_and_bound.processes import opened
from hardplace.branch_and_bound.steps import RefinementRequest, step
from hardplace.errors import BadInput
from hardplace.version import code

if TYPE_CHECKING:
    from distributed import Client, Future

_ANSWER_S = 15  # a scheduler that has not answered for so long is not there
_SAY_S = 10.0  # between two lines that say that there are no workers
_LOOK_S = 2.0  # between two looks whether the scheduler is still there


class Dask:
    """The workers of a Dask scheduler, as a context manager.

    Workers may come and go; the work of a lost one goes to another.

    Args:
        address: Address of the scheduler, such as tcp://host:8786.
    """

    def __init__(self, address: str) -> None:
        """Connect; BadInput if Dask is not installed or no scheduler answers at the address."""
        try:
            from distributed import Client
            from distributed.comm import get_address_host_port
        except ImportError:
            raise BadInput("scheduler", "needs Dask", "pip install 'hardplace[distributed]'") from None
        self._address = address
        self._work: Any = None
        self._bytes = b""
        # A scheduler that goes is said once, by us: the client's own loops would print a traceback each.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            get_address_host_port(address)  # else the client waits long, and complains as it ends
            self._client: Client = Client(address, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as problem:
            raise BadInput(
                "scheduler",
                address,
                f"the address of a Dask scheduler, e.g. tcp://host:8786; {_line(problem) or 'none answers'}",
            ) from None

    def __enter__(self) -> Dask:
        return self

    def __exit__(self, *problem: object) -> None:
        self._client.close(timeout=_LOOK_S)

    def take(self, work: bytes) -> None:
        """Keep the pickled search; every worker fetches it with its first refinement, from the scheduler or another
        worker.
        """
        self._bytes = work
        self._work = None

    def submit(self, asked: RefinementRequest) -> Future:
        """Submit a refinement to the cluster."""
        if not self._there():
            raise self._lost()
        if self._work is None or self._work.status in ("lost", "cancelled", "error"):
            # A task, not scattered data: Dask makes it again where the only worker that held it is lost.
            self._work = self._client.submit(bytes, self._bytes, pure=False)
        return self._client.submit(_refined, self._work, code(), asked, pure=False)

    def result(self, handle: Future) -> Done[Any, Any, Any] | None:
        """Wait for a refinement and return its result; None where its workers were lost.

        Raises:
            BadInput: Where there are no workers any more.
        """
        from distributed import CancelledError, KilledWorker

        said_s = time.monotonic()
        while True:
            try:
                done: Done[Any, Any, Any] = handle.result(timeout=_LOOK_S)
                return done
            except KilledWorker:
                return None
            except (TimeoutError, CancelledError, OSError):
                if not self._there():
                    raise self._lost() from None
                if handle.status in ("lost", "cancelled"):
                    return None
            if time.monotonic() - said_s >= _SAY_S:
                said_s = time.monotonic()
                self._say_alone()

    def _say_alone(self) -> None:
        """Tell a search that waits for workers that there are none."""
        try:
            workers = self._client.scheduler_info()["workers"]
        except (OSError, TimeoutError, KeyError):
            return  # the next look says whether the scheduler is still there
        if not workers:
            print(f"hardplace: {self._address}: no worker yet; waiting", file=sys.stderr, flush=True)

    def _there(self) -> bool:
        return bool(self._client.status == "running")

    def _lost(self) -> BadInput:
        return BadInput(
            "scheduler",
            f"{self._address}: the scheduler is lost",
            "a scheduler, and then the same command again; what the journal holds is safe",
        )


def _refined(work: bytes, sources: str, asked: RefinementRequest) -> Done[Any, Any, Any]:
    """Refine on a worker; BadInput if it runs other sources than the search, whose numbers would differ."""
    if sources != code():
        raise BadInput(f"a worker runs another hardplace (sources {code()}); expected that of the search ({sources})")
    return step(*opened(work), asked)


def _line(problem: BaseException) -> str:
    return " ".join(str(problem).split())
