"""Schedules by CP-SAT; its bounds count as far as a second run proves them too."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from hardplace.design.scheduling.constraints import ConstraintModel
from hardplace.design.scheduling.types import Schedule, ScheduleProblem
from hardplace.design.scheduling.verify import agree

_NAMED = 64  # cores of a kind at most that are named in the model


def solved(
    problem: ScheduleProblem,
    best: Schedule,
    gap: float,
    work: float,
    *,
    named: bool = False,
    deadline: float = np.inf,
) -> Schedule:
    """Improve a schedule by CP-SAT, and return it with a proven lower bound.

    A bound counts as far as a second run proves it too, from another seed and without presolve.

    Args:
        problem: The problem.
        best: Schedule with a bound to start from.
        gap: Relative gap at which to stop.
        work: Deterministic seconds of the solver.
        named: Whether cores are named in the model; otherwise only if they cannot be named afterwards.
        deadline: Moment of time.perf_counter at which to stop.

    Raises:
        Contradiction: Where two results cannot both be right.
    """
    if best.bound_s >= best.makespan_s * (1.0 - gap):
        return best
    few = max(problem.tensor_cores, problem.vector_cores) <= _NAMED
    for pinned in (True,) if named else (False, True) if few else (False,):
        left_s = deadline - time.perf_counter()
        if left_s <= 0:
            break
        found, done = ConstraintModel(problem, best, pinned=pinned).solve(gap, work, left_s)
        best = _confirmed(problem, best, found, gap, work, deadline, pinned=pinned)
        if done:
            break
    return best


def _confirmed(
    problem: ScheduleProblem, best: Schedule, found: Schedule, gap: float, work: float, deadline: float, *, pinned: bool
) -> Schedule:
    """Return the better schedule, with the bound that both a first run (found) and a second one prove."""
    agree(problem, ("CP-SAT", found.bound_s), ("another method", best.makespan_s))
    agree(problem, ("another method", best.bound_s), ("CP-SAT", found.makespan_s))
    smaller, bound_s = min(best, found, key=lambda each: each.makespan_s), best.bound_s
    left_s = deadline - time.perf_counter()
    if found.bound_s > bound_s and left_s > 0:
        start = replace(smaller, bound_s=bound_s)
        second, _ = ConstraintModel(problem, start, pinned=pinned).solve(gap, work, left_s, second=True)
        agree(problem, ("CP-SAT", found.bound_s), ("CP-SAT from another seed without presolve", second.makespan_s))
        agree(problem, ("CP-SAT from another seed without presolve", second.bound_s), ("CP-SAT", smaller.makespan_s))
        smaller = min(smaller, second, key=lambda each: each.makespan_s)
        bound_s = max(bound_s, min(found.bound_s, second.bound_s))
    return replace(smaller, bound_s=min(bound_s, smaller.makespan_s))
