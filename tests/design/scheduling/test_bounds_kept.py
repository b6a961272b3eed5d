"""What is left out, or rounded, stays in the proof: choices of cores not looked at, and times in whole units."""

import random
from dataclasses import replace

import numpy as np
import pytest
from ortools.sat.python import cp_model

from hardplace.cost.types import Engine
from hardplace.design.scheduling import expand
from hardplace.design.scheduling.constraints import ConstraintModel
from hardplace.design.scheduling.lists import best_list_schedule, in_order
from hardplace.design.scheduling.modes import modes_of
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, TaskGraph
from hardplace.design.scheduling.verify import verify
from oracles_events import least_makespan_s
from oracles_scheduling import check


def on_single_cores(seed: int) -> ScheduleProblem:
    """Return a problem of four to six tasks, most of them fused, that are far slower on the whole chip."""
    draw = random.Random(seed)
    count = draw.randint(4, 6)
    engines = tuple(draw.choice([Engine.BOTH, Engine.BOTH, Engine.TENSOR, Engine.VECTOR]) for _ in range(count))
    single_s = tuple(float(draw.randint(1, 9)) for _ in range(count))
    before = tuple(tuple(one for one in range(task) if draw.random() < 0.25) for task in range(count))
    return ScheduleProblem(
        graph=TaskGraph(engines=engines, predecessors=before),
        tensor_cores=draw.randint(2, 3),
        vector_cores=draw.randint(2, 3),
        single_s=single_s,
        whole_s=tuple(5 * one for one in single_s),
    )


def test_choices_of_cores_that_are_not_looked_at_stay_in_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one choice looked at, the best schedule is out of reach (at 37), and the bound has to know."""
    monkeypatch.setattr(expand, "_CHOICES", 0)
    monkeypatch.setattr(expand, "_FEWEST_CHOICES", 1)
    missed = 0
    for seed in range(30, 45):
        problem = on_single_cores(seed)
        best = least_makespan_s(problem)
        order = list(range(len(problem.single_s)))
        start = in_order(problem, modes_of(problem), order, [0] * len(order))
        found = PartialSearch(problem, start, 0.0).run(10**6)
        check(problem, verify(problem, found))
        assert found.bound_s <= best * (1 + 1e-9), seed
        missed += found.makespan_s > best * (1 + 1e-9)
    assert missed


def fractional(seed: int, count: int) -> ScheduleProblem:
    """Return a problem whose times are no whole units: a chain with tasks beside it, on up to three cores."""
    draw = np.random.default_rng(seed)
    engines = draw.choice(np.array(list(Engine)[:3], dtype=object), count)
    single_s = draw.uniform(1, 9, count)
    predecessors = tuple((task - 1,) if task and task < count - 2 else () for task in range(count))
    return ScheduleProblem(
        graph=TaskGraph(engines=tuple(engines), predecessors=predecessors),
        tensor_cores=int(draw.integers(1, 4)),
        vector_cores=int(draw.integers(1, 4)),
        single_s=tuple(single_s.tolist()),
        whole_s=tuple((single_s * draw.choice([0.5, 1.5], count)).tolist()),
    )


def in_units(problem: ScheduleProblem, one: Schedule) -> tuple[list[int], int]:
    """Return starts and makespan of a schedule in its order, on its cores, durations in whole units, rounded down."""
    free: dict[tuple[int, int], int] = {}
    starts, ends = [0] * len(one.assignments), [0] * len(one.assignments)
    for item in sorted(one.assignments, key=lambda each: (each.start_s, each.end_s, each.task)):
        places = [(0, core) for core in (range(problem.tensor_cores) if item.whole else item.tensor_cores)]
        places += [(1, core) for core in (range(problem.vector_cores) if item.whole else item.vector_cores)]
        before = [ends[other] for other in problem.graph.predecessors[item.task]]
        starts[item.task] = max([0, *before, *(free.get(place, 0) for place in places)])
        seconds = (problem.whole_s if item.whole else problem.single_s)[item.task]
        ends[item.task] = starts[item.task] + int(seconds * (1_000_000 / one.makespan_s))
        free |= dict.fromkeys(places, ends[item.task])
    return starts, max(ends)


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_every_schedule_rounded_down_is_a_solution_of_the_model(seed: int, pinned: bool) -> None:
    """So the model's bound is one for all schedules: what it demands of starts must be loosened by the rounding."""
    problem = fractional(seed, 9)
    # With its own makespan as what is proven, nothing but the rounding is loose.
    one = best_list_schedule(problem)
    one = replace(one, bound_s=one.makespan_s)
    made = ConstraintModel(problem, one, pinned=pinned)
    starts, span = in_units(problem, one)
    made._model.add(made._span == span)
    for task, start in zip(made._tasks, starts, strict=True):
        made._model.add(task.start == start)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(made._model) == cp_model.OPTIMAL
