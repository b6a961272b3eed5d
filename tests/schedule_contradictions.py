"""What of the answers to a small schedule problem contradicts brute force, method by method."""

import math
from collections.abc import Iterator

import numpy as np

from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.lists import best_list_schedule, in_order, list_schedule
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


def _poor(problem: ScheduleProblem) -> Schedule:
    """Return a schedule to be improved on: as recorded, each task in its slowest mode; its bound is zero."""
    every = modes_of(problem)
    slowest = np.where(np.isfinite(every.seconds), every.seconds, -1.0).argmax(axis=0)[:, 0]
    return in_order(problem, every, list(range(len(problem.single_s))), slowest.tolist())


def _methods(problem: ScheduleProblem) -> dict[str, Schedule]:
    """Return the answer of each method alone, those that start from a schedule from a poor one."""

    def solve(phase: ScheduleProblem) -> Schedule:
        return solved(phase, _poor(phase), 1e-7, 0.5)

    poor = _poor(problem)
    phased = by_phases(problem, solve, 1e-7)
    return {
        "list": best_list_schedule(problem),
        "exact": schedule(problem, gap=1e-6),
        "partial": PartialSearch(problem, poor, 0.0).run(10**6),
        "solver": solved(problem, poor, 1e-6, 0.5),
        "pinned": solved(problem, poor, 1e-6, 0.5, named=True),
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
    found = _methods(problem)
    if not math.isclose(found["list"].makespan_s, upper, rel_tol=_SLACK):
        yield f"list schedules of many chips {upper}, of one {found['list'].makespan_s}"
    for name, one in found.items():
        try:
            check(problem, verify(problem, one))
        except (AssertionError, Contradiction) as wrong:
            yield f"{name}: no schedule: {wrong}"
        if one.bound_s > best * (1 + _SLACK) or one.makespan_s < best * (1 - _SLACK):
            yield f"{name}: {one.bound_s} to {one.makespan_s}, brute force {best}"
        if name == "pinned" and one.makespan_s > best * (1 + _NEAR):  # what it proves depends on its limit
            yield f"{name}: not reached: {one.makespan_s}, brute force {best}"
        if name in ("exact", "partial") and one.makespan_s - one.bound_s > best * _NEAR:
            yield f"{name}: not proven: {one.bound_s} to {one.makespan_s}, brute force {best}"
        if name == "exact" and one.status is not Status.OPTIMAL:
            yield f"{name}: {one.status}"
