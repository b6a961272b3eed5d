"""Bounds of plans that a running one may become, by hand: four equal layers, and one that is longer."""

import numpy as np
import pytest

from hardplace.plans.chain import of_workload
from hardplace.plans.placement.degree_bounds import lightest_of
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.replanning.bounds import RunBounds, WaysToCut, bounds
from oracles_plans import short_model

RUNNING = Plan(global_batch=16, data=16)
CHAIN = of_workload(short_model("opt-350m", 4), RUNNING)  # embedding, four layers, head
# forward, backward, weight gradients of embedding, four layers and head, in thousandths of a second
EQUAL = ((1, 2, 2, 2, 2, 3), (1, 3, 3, 3, 3, 4), (0, 1, 1, 1, 1, 2))
LONG = ((1, 2, 2, 5, 2, 3), (1, 3, 3, 6, 3, 4), (0, 1, 1, 1, 1, 2))


def bound_ms(table: tuple[tuple[int, ...], ...], schedule: PipelineSchedule, *degrees: int, again: int = 0) -> float:
    """Return the bound on a step of (pipeline, data), in thousandths of a second."""
    pipeline, data = degrees
    plan = Plan(global_batch=16, pipeline=pipeline, data=data, schedule=schedule, recompute_layers=again)
    before = np.concatenate([np.zeros((3, 1)), np.cumsum(1e-3 * np.array(table, dtype=float), axis=1)], axis=1)
    kind = RunBounds(plan=plan, chain=CHAIN, before_s=before, weights=lightest_of(CHAIN, CHAIN))
    rows = np.array([(1, 16, 16), (pipeline, data, 16)])
    return float(16e3 * bounds(kind, rows, WaysToCut(RUNNING))[1])


@pytest.mark.parametrize(
    ("table", "schedule", "pipeline", "again", "expected"),
    [
        # 16 micro-batches of the second stage, 2 layers and the head: 21 ms each; a layer's way down and back: 5 ms
        (EQUAL, PipelineSchedule.ONE_F_ONE_B, 2, 0, 16 * 21 + 5),
        (EQUAL, PipelineSchedule.ONE_F_ONE_B, 4, 0, 16 * 15 + 3 * 5),
        (EQUAL, PipelineSchedule.GPIPE, 2, 0, 16 * 21),
        (EQUAL, PipelineSchedule.ONE_F_ONE_B, 2, 1, 16 * 21),  # some layers recomputed: maybe none of these
        (EQUAL, PipelineSchedule.ONE_F_ONE_B, 3, 0, 16 * 15),  # 1, 2 and 1 layers: not every chunk has one
        (LONG, PipelineSchedule.ONE_F_ONE_B, 2, 0, 16 * 27 + 5),  # the way of the shortest layer
        (LONG, PipelineSchedule.ONE_F_ONE_B, 4, 0, 16 * 15 + 3 * 5),
        (EQUAL, PipelineSchedule.ZERO_BUBBLE, 2, 0, 16 * 21),
    ],
)
def test_the_least_step_before_it_is_simulated(
    table: tuple[tuple[int, ...], ...], schedule: PipelineSchedule, pipeline: int, again: int, expected: float
) -> None:
    assert bound_ms(table, schedule, pipeline, 1, again=again) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("table", "expected"), [(EQUAL, 12 + 17), (LONG, 12 + 23)])
def test_a_micro_batch_goes_through_all_stages_where_weight_gradients_are_apart(
    table: tuple[tuple[int, ...], ...], expected: float
) -> None:
    """Of one: embedding and two layers without weight gradients, then two layers and the head without them."""
    assert bound_ms(table, PipelineSchedule.ZERO_BUBBLE, 2, 16) == pytest.approx(expected, rel=1e-12)


def test_the_running_cut_is_tried_for_its_own_number_of_stages_alone() -> None:
    ways = WaysToCut(Plan(global_batch=16, pipeline=2, data=8, stages=(1, 3)))
    assert [ways.ways(pipeline) for pipeline in (1, 2, 4)] == [((),), ((), (1, 3)), ((),)]
    assert WaysToCut(RUNNING).ways(1) == ((),)
