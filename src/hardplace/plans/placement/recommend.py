"""The plan to begin with: the fastest of the best ones that leaves memory free and needs nothing rare of a trainer."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.plan import PipelineSchedule

FREE = 0.05  # least share of a device's memory that a recommended plan leaves free
MOST_VIRTUAL = 8  # stages on a device beyond which few trainers have run


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The recommended plan among the best.

    Attributes:
        place: Its index in the list of the best; 0 is the fastest plan itself.
        free: Least share of a device's memory that it leaves free.
        cost: By what share its step is longer than the fastest plan's.
        reasons: Why the plans before it are not recommended, in words, each once.
    """

    place: int
    free: float
    cost: float
    reasons: tuple[str, ...]


def free_share(one: PlanEstimate) -> float:
    """Return the least share of a device's memory that a plan leaves free; negative where it does not fit."""
    return min(1.0 - room.total_bytes / held for room, held in zip(one.memory, one.memory_bytes, strict=True))


def against(one: PlanEstimate) -> tuple[str, ...]:
    """Return what speaks against beginning with a plan, in words; empty: nothing."""
    found = []
    if free_share(one) < FREE:
        found.append(f"less than {FREE:.0%} of memory free".replace("%", "\u00a0%"))
    if one.plan.virtual > MOST_VIRTUAL:
        found.append(f"more than {MOST_VIRTUAL} virtual stages on a device")
    if one.plan.schedule is PipelineSchedule.ZERO_BUBBLE:
        found.append("a zero-bubble schedule")
    elif one.plan.schedule.folds:
        found.append("a V-shaped schedule")
    return tuple(found)


def recommend(found: PlacementResult) -> Recommendation | None:
    """Return the fastest of the best plans that nothing speaks against; None where there is none among them.

    Where the list of the best is proven, the recommended plan is the fastest of the whole space with these properties.
    """
    reasons: dict[str, None] = {}
    for place, one in enumerate(found.best):
        problems = against(one)
        if not problems:
            cost = one.step_s / found.best[0].step_s - 1.0
            return Recommendation(place=place, free=free_share(one), cost=cost, reasons=tuple(reasons))
        reasons |= dict.fromkeys(problems)
    return None
