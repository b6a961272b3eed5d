"""Evaluations in other processes: started before they are asked for, done again where a worker is lost.

The loop asks for one outcome at a time, in an order that depends on outcomes alone, and an outcome depends on its job
alone. So the answer is the same to the last bit wherever and in whatever order the work is done; only the time differs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from hardplace.errors import BadInput
from hardplace.search.asked import code
from hardplace.search.exact import InProcess
from hardplace.search.types import Job, Outcome

LOSSES = 5  # workers lost in a row, without an outcome between them, before the search gives up
_WAITING = 2  # jobs a worker has at hand, so that none waits for the loop


class Handle(Protocol):
    """A job that was handed out."""

    def cancel(self) -> object:
        """Forget the job unless it has begun."""

    def done(self) -> bool:
        """Return whether the outcome is there."""


H = TypeVar("H", bound=Handle)


class Pool(Protocol[H]):
    """Workers that do jobs. A lost worker's job is done by another; the search never sees it."""

    @property
    def workers(self) -> int:
        """How many jobs are done at once."""

    def submit(self, evaluator: bytes, job: Job) -> H:
        """Hand out a job; evaluator: the pickled InProcess that does it."""

    def outcome(self, handle: H) -> Outcome | None:
        """Wait for an outcome; None: its worker was lost, hand the job out again. BadInput if no workers are left."""


class Elsewhere(Generic[H]):
    """An evaluator (search.loop) that does its jobs on a pool."""

    def __init__(self, evaluator: InProcess, pool: Pool[H]) -> None:
        self._evaluator = pickle.dumps(evaluator)
        self._pool = pool
        self._out: dict[Job, H] = {}

    def prefetch(self, jobs: Sequence[Job]) -> None:
        """Hand out as many jobs as keep the workers busy, and take back those that nobody waits for any more."""
        wanted = set(jobs)
        for job in [job for job in self._out if job not in wanted]:
            if not self._out[job].done():
                self._out.pop(job).cancel()
        room = self._pool.workers * _WAITING - sum(not handle.done() for handle in self._out.values())
        for job in [job for job in dict.fromkeys(jobs) if job not in self._out][: max(0, room)]:
            self._out[job] = self._pool.submit(self._evaluator, job)

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job, handing it out again for as long as its workers are lost."""
        for _ in range(LOSSES):
            handle = self._out.pop(job, None) or self._pool.submit(self._evaluator, job)
            outcome = self._pool.outcome(handle)
            if outcome is not None:
                return outcome
        raise BadInput(
            f"{job.model} on {job.chip.name}: {LOSSES} workers in a row were lost while they evaluated it: expected "
            "workers with enough memory; what the journal holds is safe, start again with the same command"
        )


class Processes:
    """A pool of processes on this machine; a context manager."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = self._new()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *problem: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def submit(self, evaluator: bytes, job: Job) -> Future[Outcome]:
        """Hand out a job."""
        try:
            return self._pool.submit(work, evaluator, code(), job)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = self._new()
            return self._pool.submit(work, evaluator, code(), job)

    def outcome(self, handle: Future[Outcome]) -> Outcome | None:
        """Wait for an outcome; None where a worker's end broke the pool, with all that was handed out."""
        try:
            return handle.result()
        except BrokenProcessPool:
            return None

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), initializer=_attend)


def work(evaluator: bytes, sources: str, job: Job) -> Outcome:
    """Do a job in a worker; BadInput if the worker runs other sources than the search, whose numbers would differ."""
    if sources != code():
        raise BadInput(f"a worker runs another hardplace (sources {code()}); expected that of the search ({sources})")
    return _unpacked(evaluator).evaluate(job)


@lru_cache(maxsize=2)
def _unpacked(evaluator: bytes) -> InProcess:
    """Return the evaluator of a search; kept, so that kernels and schedules that jobs share are made once a worker."""
    unpacked = pickle.loads(evaluator)
    assert isinstance(unpacked, InProcess)
    return unpacked


def _attend() -> None:
    """Leave Ctrl-C to the search, and end with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
