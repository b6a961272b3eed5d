"""The joint search in processes and on a Dask cluster: the answer of one process, also after the scheduler is lost."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from hardplace.branch_and_bound.distributed import Dask
from hardplace.branch_and_bound.processes import Processes
from hardplace.branch_and_bound.steps import Pool
from hardplace.branch_and_bound.types import Progress, StoppingRule
from hardplace.design.exact.evaluator import in_process
from hardplace.design.fingerprint import asked
from hardplace.design.journal import Journalled, journal
from hardplace.errors import BadInput
from hardplace.shaping.joint.answer import asked_shapes, jointly
from hardplace.shaping.joint.types import ShapeDesignResult
from hardplace.shaping.ranges import parse_range
from hardplace.shaping.rank import ShapeQuery
from hardplace.shaping.sources import model_named
from hardplace.units import GIB
from search_questions import TINY
from search_questions import question as question_of

ENDS = StoppingRule(gap=0.0)
QUESTION = question_of("gpt2-xl", space=TINY, memory_bytes=(80.0 * GIB,), micro_batches=(1,), tensor_parallel=(1,))
SHAPES = asked_shapes(
    model_named("gpt2-xl", None),
    ShapeQuery(
        share=0.02,
        frozen=("vocab",),
        ranges=dict(map(parse_range, ("layers=47:49:1", "hidden=1600", "heads=25", "head_dim=64"))),
    ),
)


def searched(
    pool: Pool[object] | None, folder: Path, report: Callable[[Progress], None] | None = None
) -> ShapeDesignResult:
    """Return the answer, with a journal, but for its times."""
    with journal(folder / "shapes.sqlite", asked(QUESTION, gap=ENDS.gap), "gpt2-xl", "shapes") as kept:
        evaluator = Journalled(kept, in_process(QUESTION, ENDS.gap), pool)
        found = jointly(SHAPES, QUESTION, ENDS, report=report, evaluator=evaluator)
    assert isinstance(found, ShapeDesignResult)
    levels = tuple(replace(level, seconds=0.0) for level in found.levels)
    progress = tuple(replace(now, seconds=0.0) for now in found.progress)
    return replace(found, seconds=0.0, levels=levels, progress=progress)


@cache
def reference() -> ShapeDesignResult:
    found = jointly(SHAPES, QUESTION, ENDS)
    assert isinstance(found, ShapeDesignResult)
    levels = tuple(replace(level, seconds=0.0) for level in found.levels)
    progress = tuple(replace(now, seconds=0.0) for now in found.progress)
    return replace(found, seconds=0.0, levels=levels, progress=progress)


def test_processes_give_the_same_shape_chip_and_counts(tmp_path: Path) -> None:
    with Processes(2) as pool:
        assert searched(pool, tmp_path) == reference()
    assert reference().opened > 2


def test_a_lost_scheduler_is_one_line_and_the_journal_goes_on(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, processes=False, protocol="tcp://", dashboard_address=":0")
    told = []

    def close(now: Progress) -> None:
        told.append(now)
        if len(told) == 3:
            cluster.close()

    with Dask(cluster.scheduler_address) as pool, pytest.raises(BadInput) as raised:
        searched(pool, tmp_path, close)
    assert "the scheduler is lost" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert searched(None, tmp_path) == reference()
