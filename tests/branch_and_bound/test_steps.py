"""Refinements here, in processes and on a Dask cluster: the same answer, whatever happens to workers."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from hardplace.branch_and_bound.distributed import Dask, _refined
from hardplace.branch_and_bound.processes import Processes
from hardplace.branch_and_bound.steps import Pool, RefinementRequest
from hardplace.branch_and_bound.types import Progress, StoppingRule
from hardplace.design.answer import answer
from hardplace.design.exact.evaluator import in_process
from hardplace.design.fingerprint import asked
from hardplace.design.journal import Journalled, journal
from hardplace.design.journal_rows import FILE, evaluations
from hardplace.design.results import DesignResult
from hardplace.errors import BadInput
from search_questions import small

QUESTION = small("opt-350m")
GAP = 0.0  # many placements, and exact evaluations


def explore(
    pool: Pool[object] | None, folder: Path, report: Callable[[Progress], None] | None = None
) -> tuple[DesignResult, set[str]]:
    """Return the answer without its times, and the jobs that the journal holds."""
    with journal(folder / FILE, asked(QUESTION, gap=GAP), "opt-350m", "samples/s") as opened:
        evaluator = Journalled(opened, in_process(QUESTION, GAP), pool)
        found = answer(QUESTION, StoppingRule(gap=GAP), evaluator=evaluator, report=report)
    assert isinstance(found, DesignResult)
    levels = tuple(replace(level, seconds=0.0) for level in found.levels)
    progress = tuple(replace(now, seconds=0.0) for now in found.progress)
    kept = {repr(job) for job, _ in evaluations(folder / FILE)}
    return replace(found, seconds=0.0, levels=levels, progress=progress), kept


@cache
def reference() -> tuple[DesignResult, set[str]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return explore(None, Path(folder))


def test_there_is_something_to_share_out() -> None:
    found, kept = reference()
    assert len(found.progress) > 4
    assert kept


def test_processes_give_the_same_answer_on_the_same_way_to_it(tmp_path: Path) -> None:
    with Processes(2) as pool:
        assert explore(pool, tmp_path) == reference()


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    killed = []

    def kill(now: Progress) -> None:
        if len(killed) < 2 and now.score > 0 and pool._pool is not None:
            victim = next(iter(pool._pool._processes))
            if victim not in killed:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    with Processes(2) as pool:
        assert explore(pool, tmp_path, kill) == reference()
    assert len(killed) == 2


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):  # on a loaded machine the pool may have ended it before
        os.kill(process, signal.SIGKILL)


def test_no_process_outlives_a_pool_that_loses_another_while_it_starts() -> None:
    """It would wait for work for ever, and the end of the search for it."""
    others = set(multiprocessing.active_children())
    with Processes(2) as pool:
        pool.take(bytes(2**24))  # more than a pipe holds: submit waits until the process has started and read it
        pool.submit(RefinementRequest(None, (), None))
        assert pool._pool is not None
        (first,) = pool._pool._processes
        killer = threading.Timer(0.01, _kill, (first,))
        killer.start()
        pool.submit(RefinementRequest(None, (), None))
    killer.join()
    deadline = time.monotonic() + 10.0
    while (left := set(multiprocessing.active_children()) - others) and time.monotonic() < deadline:
        time.sleep(0.05)
    for one in left:
        one.kill()
    assert not left


def test_workers_of_a_cluster_come_die_and_come_back(tmp_path: Path) -> None:
    """The search begins without any; four come, two are killed, which come back, then all leave but one."""
    distributed = pytest.importorskip("distributed")
    killed: list[int] = []
    seen: list[int] = []

    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster:

        def disturb(now: Progress) -> None:
            if not seen:  # nothing was refined yet
                seen.append(len(cluster.scheduler_info["workers"]))
                cluster.scale(4)
                pool._client.wait_for_workers(4)
            elif not killed and now.score > 0:
                killed.extend(list(pool._client.run(os.getpid).values())[:2])
                for one in killed:
                    os.kill(one, signal.SIGKILL)
            elif len(seen) == 1 and killed:
                pool._client.wait_for_workers(4)
                back = pool._client.run(os.getpid).values()
                seen.append(len(set(back) - set(killed)))
                cluster.scale(1)

        with Dask(cluster.scheduler_address) as pool:
            assert explore(pool, tmp_path, disturb) == reference()
    assert seen == [0, 4]
    assert len(killed) == 2


def test_a_lost_scheduler_is_one_line_and_the_journal_goes_on(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    closed = []

    def close(now: Progress) -> None:
        if not closed and now.score > 0:
            closed.append(cluster.close())

    with Dask(cluster.scheduler_address) as pool, pytest.raises(BadInput) as raised:
        explore(pool, tmp_path, close)
    assert "the scheduler is lost" in str(raised.value)
    assert "\n" not in str(raised.value)
    found, _ = explore(None, tmp_path)
    assert found == reference()[0]


def test_no_scheduler_at_an_address_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardplace.branch_and_bound.distributed._ANSWER_S", 1)
    for nowhere in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(BadInput) as raised:
            Dask(nowhere)
        assert nowhere in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_worker_of_another_version_is_refused() -> None:
    with pytest.raises(BadInput, match="another hardplace"):
        _refined(b"", "other sources", RefinementRequest(None, (), None))
