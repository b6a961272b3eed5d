"""A pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import Any

from hardplace.branch_and_bound.problem import Done, Evaluator, Refinable
from hardplace.branch_and_bound.steps import RefinementRequest, step

_CLOSING_S = 5.0  # for a pool's thread to notice that its processes have ended


class Processes:
    """A pool of processes on this machine that do refinements (`branch_and_bound.steps.Pool`), as a context manager."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._work = b""
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *problem: object) -> None:
        self._close()

    def take(self, work: bytes) -> None:
        """Start processes that hold the pickled search from their start."""
        self._close()
        self._work = work

    def submit(self, asked: RefinementRequest) -> Future[Done[Any, Any, Any]]:
        """Submit a refinement, to new processes if one was lost: a lost one breaks the whole pool."""
        try:
            return self._submitted(asked)
        except (BrokenProcessPool, ValueError, OSError):
            # The last two: the pool starts processes as they are needed, and may be closing its pipes at that moment.
            self._close()
            return self._submitted(asked)

    def _submitted(self, asked: RefinementRequest) -> Future[Done[Any, Any, Any]]:
        """Hand out a refinement; processes start here, as needed, and take no Ctrl-C from their first moment."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._begun().submit(_refined, asked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawn, initializer=_begin, initargs=(self._work,))
        return self._pool

    def result(self, handle: Future[Done[Any, Any, Any]]) -> Done[Any, Any, Any] | None:
        """Wait for a refinement and return its result; None where a process was lost, with all that was submitted."""
        try:
            return handle.result()
        except BrokenProcessPool:
            return None

    def _close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            processes = list((pool._processes or {}).values())
            manager: Any = pool._executor_manager_thread
            pool.shutdown(wait=False, cancel_futures=True)
            # A pool that lost a process ends the others, but not one that was being started at that moment: it would
            # wait for work for ever, and the end of this process for it (Python 3.11, terminate_broken).
            for one in processes:
                one.terminate()
            # Its thread closes pipes that the end of this process would write to (Bad file descriptor).
            if manager is not None:
                manager.join(_CLOSING_S)


@lru_cache(maxsize=1)
def opened(work: bytes) -> tuple[Refinable[Any, Any, Any], Evaluator[Any, Any]]:
    """Return the problem and the evaluator of a pickled search; both are kept, as is what they remember."""
    problem, evaluator = pickle.loads(work)
    return problem, evaluator


_WORK: list[bytes] = []  # of this worker process, from its start to its end


def _begin(work: bytes) -> None:
    """Take the work, leave Ctrl-C to the search, and end with it even where it is killed."""
    _WORK[:] = [work]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _refined(asked: RefinementRequest) -> Done[Any, Any, Any]:
    return step(*opened(_WORK[0]), asked)
