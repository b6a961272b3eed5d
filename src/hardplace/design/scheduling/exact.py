"""Exact schedules of one task graph on one chip: several methods in turn, each with a proven bound.

Under the exclusive rule without splits this is PHAZE's integer program (arXiv 2407.13143): a task on the whole chip
excludes all other compute tasks; a fused task on one core takes the tensor and the vector core of one index.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.constraints import UNITS
from hardplace.design.scheduling.lists import best_list_schedule
from hardplace.design.scheduling.modes import modes_of, place
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.phases import by_phases
from hardplace.design.scheduling.solver import solved
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, Status
from hardplace.design.scheduling.verify import agree, verify
from hardplace.errors import BadInput

_FIRST_SHARE = 0.1  # of the work limit, for a first try and for each phase
_PARTIAL = 8_000  # partial schedules looked at for each unit of work, in about a second
_DOUBLINGS = 12  # of the work of each turn, under a limit in seconds
_FEW_CORES = 8  # for which naming cores in the model of a phase helps more than it costs


def schedule(
    problem: ScheduleProblem,
    *,
    gap: float = 0.0005,
    work: float = 1.0,
    limit_s: float | None = None,
    ends_s: float = np.inf,
) -> Schedule:
    """Return the best schedule found, and a proven lower bound on any makespan.

    At a limit the best schedule so far is returned, with what is proven. Every schedule is verified, and every bound
    held against every schedule that another method found.

    Args:
        problem: The problem.
        gap: Relative gap at which to stop.
        work: Limit of each method in the solver's deterministic seconds.
        limit_s: Wall-clock seconds; with it, the methods take turns until then.
        ends_s: Moment of time.perf_counter at which any method stops, whatever work is left.

    Raises:
        BadInput: Naming layer and task, for a cycle, a time that is negative or missing, no cores of a kind that is
            needed, or a gap that is no share.
        Contradiction: Where two methods cannot both be right.
    """
    if not 0.0 <= gap < 1.0:
        raise BadInput(f"gap: {gap:g}: expected a share from 0 to below 1")
    if not problem.graph.engines:
        return Schedule(assignments=(), makespan_s=0.0, bound_s=0.0, status=Status.OPTIMAL)
    _check(problem)
    problem = replace(
        problem, tensor_cores=max(1, problem.tensor_cores), vector_cores=max(1, problem.vector_cores)
    )  # of a kind that nothing needs there may be none; one that is idle changes nothing
    deadline = min(ends_s, np.inf if limit_s is None else time.perf_counter() + limit_s)
    best = verify(problem, _listed(problem))
    search = PartialSearch(problem, best, gap)

    def partial(best: Schedule, work: float) -> Schedule:
        search.improve(best)
        return search.run(int(_PARTIAL * work), deadline)

    def by_solver(best: Schedule, work: float) -> Schedule:
        return _better(problem, best, solved(problem, best, gap, work, deadline=deadline))

    def phased(best: Schedule, work: float) -> Schedule:
        return _phased(problem, best, gap, work, deadline)

    # Partial schedules prove nearly all; CP-SAT few cores, phases many, where the relaxation of CP-SAT is weak.
    short = _FIRST_SHARE * work
    steps = [(partial, work), (by_solver, short), (phased, short), (partial, work), (by_solver, work)]
    if limit_s is not None:
        steps += [step for power in range(1, _DOUBLINGS) for step in ((partial, 2**power), (by_solver, 2**power))]
    for improve, share in steps:
        if best.bound_s < best.makespan_s * (1.0 - gap) and time.perf_counter() < deadline:
            best = verify(problem, improve(best, share))
    # Durations are rounded to a millionth of the makespan, so that is what "optimal" can mean.
    proven = best.bound_s >= best.makespan_s * (1.0 - max(gap, len(problem.single_s) / UNITS))
    return replace(best, status=Status.OPTIMAL if proven else Status.FEASIBLE)


def _phased(problem: ScheduleProblem, best: Schedule, gap: float, work: float, deadline: float) -> Schedule:
    few = problem.tensor_cores + problem.vector_cores <= _FEW_CORES

    def solve(phase: ScheduleProblem) -> Schedule:
        return solved(phase, _listed(phase), gap / 4, work, named=few, deadline=deadline)

    found = by_phases(problem, solve, gap)
    return best if found is None else _better(problem, best, verify(problem, found))


def _better(problem: ScheduleProblem, one: Schedule, other: Schedule) -> Schedule:
    """Return the schedule with the smaller makespan, with the larger of both bounds."""
    agree(problem, ("one method", one.bound_s), ("another one", other.makespan_s))
    agree(problem, ("one method", other.bound_s), ("another one", one.makespan_s))
    best = min(one, other, key=lambda each: each.makespan_s)
    return replace(best, bound_s=min(max(one.bound_s, other.bound_s), best.makespan_s))


def _listed(problem: ScheduleProblem) -> Schedule:
    """Return the best list schedule with the closed-form bound."""
    best = best_list_schedule(problem)
    bound_s = float(lower_bound(modes_of(problem))[0])
    agree(problem, ("the bound in closed form", bound_s), ("the list schedules", best.makespan_s))
    return replace(best, bound_s=min(bound_s, best.makespan_s))


def _check(problem: ScheduleProblem) -> None:
    """Raise BadInput as modes does, and for the first task that may not run at all."""
    impossible = np.flatnonzero(modes_of(problem).impossible[:, 0])
    if len(impossible):
        where = place(problem.graph, int(impossible[0]))
        raise BadInput(f"{where}: no time on any number of cores: expected one that is finite")
