"""What of the answers to a small schedule problem contradicts brute force, method by method."""

from collections.abc import Iterator
from dataclasses import replace

from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule, list_schedule
from hardplace.design.scheduling.modes import modes_of
from hardplace.design.scheduling.partial import PartialSearch
from hardplace.design.scheduling.phases import by_phases
from hardplace.design.scheduling.solver import solved
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, Status
from hardplace.design.scheduling.verify import verify
from hardplace.errors import Contradiction
from oracles_events import least_makespan_s
from oracles_scheduling import check

_SLACK = 1e-9
_NEAR = 1e-5  # what rounding to millionths leaves open


def _methods(problem: ScheduleProblem) -> dict[str, Schedule]:
    """Return the answer of each method, those that start from a schedule from one that knows no bound."""
    listed = replace(best_list_schedule(problem), bound_s=0.0)

    def solve(phase: ScheduleProblem) -> Schedule:
        return solved(phase, replace(best_list_schedule(phase), bound_s=0.0), 1e-7, 0.5)

    phased = by_phases(problem, solve, 1e-7)
    return {
        "list": listed,
        "exact": schedule(problem, gap=1e-6),
        "partial": PartialSearch(problem, listed, 0.0).run(10**6),
        "solver": solved(problem, listed, 1e-6, 0.5),
    } | ({} if phased is None else {"phases": phased})


def contradictions(problem: ScheduleProblem) -> Iterator[str]:
    """Yield bounds above the optimum, makespans below it, schedules that are none, and what is not proven optimal."""
    best = least_makespan_s(problem)
    every = modes_of(problem)
    lower, upper = float(lower_bound(every)[0]), float(list_schedule(every)[0])
    if lower > best * (1 + _SLACK):
        yield f"bound in closed form {lower}, brute force {best}"
    if upper < best * (1 - _SLACK):
        yield f"list schedules {upper}, brute force {best}"
    for name, one in _methods(problem).items():
        try:
            check(problem, verify(problem, one))
        except (AssertionError, Contradiction) as wrong:
            yield f"{name}: no schedule: {wrong}"
        if one.bound_s > best * (1 + _SLACK) or one.makespan_s < best * (1 - _SLACK):
            yield f"{name}: {one.bound_s} to {one.makespan_s}, brute force {best}"
        if name in ("exact", "partial") and one.makespan_s - one.bound_s > best * _NEAR:
            yield f"{name}: not proven: {one.bound_s} to {one.makespan_s}, brute force {best}"
        if name == "exact" and one.status is not Status.OPTIMAL:
            yield f"{name}: {one.status}"
