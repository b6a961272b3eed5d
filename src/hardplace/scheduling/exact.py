"""Exact schedules of one task graph on one chip: several methods in turn, each with a proven bound.

Under the exclusive rule without splits this is PHAZE's integer program (arXiv 2407.13143): a task on the whole chip
excludes all other compute tasks; a fused task on one core takes the tensor and the vector core of one index.
"""

from __future__ import annotations

from dataclasses import replace

from hardplace.scheduling.bounds import least_starts
from hardplace.scheduling.lists import best_list_schedule
from hardplace.scheduling.modes import modes_of
from hardplace.scheduling.partial import by_partial_schedules
from hardplace.scheduling.phases import by_phases
from hardplace.scheduling.solver import UNITS, solved
from hardplace.scheduling.types import Schedule, ScheduleProblem, Status

_FIRST_SHARE = 0.1  # of the work limit, for a first try and for each phase
_PARTIAL = 8_000  # partial schedules looked at for each unit of work, in about a second
_FEW_CORES = 8  # for which naming cores in the model of a phase helps more than it costs


def schedule(problem: ScheduleProblem, *, gap: float = 0.0005, work: float = 1.0) -> Schedule:
    """Return the best schedule found and a proven bound on any makespan.

    gap: relative gap at which to stop. work: limit of the solver in its deterministic seconds; at the limit the best
    schedule so far is returned, with what is proven. Raises nothing for a hard problem, and BadInput that names layer
    and task for a cycle, a time that is negative or missing, or no cores of a kind that is needed.
    """
    if not problem.graph.engines:
        return Schedule(assignments=(), makespan_s=0.0, bound_s=0.0, status=Status.OPTIMAL)
    # Partial schedules prove nearly serial graphs and many alike tasks, CP-SAT few cores, phases many cores, where the
    # relaxation of CP-SAT is weak: each is tried for a short time, then partial schedules and CP-SAT at length.
    few = problem.tensor_cores + problem.vector_cores <= _FEW_CORES
    short = _FIRST_SHARE * work

    def phased(best: Schedule) -> Schedule:
        found = by_phases(problem, lambda phase: solved(phase, _listed(phase), gap / 4, short, named=few), gap)
        return best if found is None else _better(best, found)

    best = _listed(problem)
    for improve in (
        lambda best: by_partial_schedules(problem, best, gap, int(_PARTIAL * short)),
        lambda best: _solved(problem, best, gap, short),
        phased,
        lambda best: by_partial_schedules(problem, best, gap, int(_PARTIAL * work)),
        lambda best: _solved(problem, best, gap, work),
    ):
        if best.bound_s < best.makespan_s * (1.0 - gap):
            best = improve(best)
    # Durations are rounded to a millionth of the makespan, so that is what "optimal" can mean.
    proven = best.bound_s >= best.makespan_s * (1.0 - max(gap, len(problem.single_s) / UNITS))
    return replace(best, status=Status.OPTIMAL if proven else Status.FEASIBLE)


def _better(one: Schedule, other: Schedule) -> Schedule:
    """Return the schedule with the smaller makespan, with the larger of both bounds."""
    best = min(one, other, key=lambda each: each.makespan_s)
    return replace(best, bound_s=min(max(one.bound_s, other.bound_s), best.makespan_s))


def _listed(problem: ScheduleProblem) -> Schedule:
    """Return the best list schedule with the closed-form bound."""
    best = best_list_schedule(problem)
    bound_s = float(least_starts(modes_of(problem))[-1, 0])
    return replace(best, bound_s=min(bound_s, best.makespan_s))


def _solved(problem: ScheduleProblem, best: Schedule, gap: float, work: float) -> Schedule:
    return _better(best, solved(problem, best, gap, work))
