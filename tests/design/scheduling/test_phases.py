"""Schedules by phases: when they stop, and what they may leave."""

import random

import pytest

from hardplace.cost.types import Engine
from hardplace.design.scheduling.lists import best_list_schedule
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.phases import by_phases
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, TaskGraph
from hardplace.design.scheduling.verify import verify
from oracles_events import least_makespan_s
from oracles_scheduling import check


def alone(problem: ScheduleProblem) -> Schedule:
    return PartialSearch(problem, best_list_schedule(problem), 0.0).run(10**6)


def drawn(seed: int) -> ScheduleProblem:
    """Return a problem of five to eight tasks on two cores of each kind, where one core is little slower than all."""
    draw = random.Random(seed)
    count = draw.randint(5, 8)
    engines = tuple(draw.choice([Engine.TENSOR, Engine.VECTOR, Engine.BOTH]) for _ in range(count))
    whole_s = tuple(float(draw.randint(1, 9)) for _ in range(count))
    single_s = tuple(one * draw.choice([1.2, 1.5, 2.0, 2.5]) for one in whole_s)
    before = tuple(tuple(sorted(draw.sample(range(i), min(i, draw.choice([0, 1, 1, 2]))))) for i in range(count))
    return ScheduleProblem(
        graph=TaskGraph(engines=engines, predecessors=before),
        tensor_cores=2,
        vector_cores=2,
        single_s=single_s,
        whole_s=whole_s,
    )


@pytest.mark.parametrize("seed", [23, 27, 28])
def test_phases_are_priced_until_the_gap_is_closed(seed: int) -> None:
    """In these the first path through the lattice is not the best one once its phases are priced."""
    problem = drawn(seed)
    found = by_phases(problem, alone, 0.0)
    assert found is not None
    check(problem, verify(problem, found))
    best_s = least_makespan_s(problem)
    assert found.makespan_s == pytest.approx(best_s)
    assert found.bound_s == pytest.approx(best_s)
    coarse = by_phases(problem, alone, 0.5)
    assert coarse is not None
    assert coarse.bound_s < coarse.makespan_s * (1.0 - 1e-3)  # within half: it stops after the first path
    assert coarse.bound_s <= best_s * (1.0 + 1e-9)
