"""The nearest plan that a trainer can run: of the plans that few changes lead to, the one that is fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

from hardplace.errors import BadInput
from hardplace.exports.limits import ModelFacts, TrainerLimit, broken_limits
from hardplace.exports.targets import Target
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems

_MOST_CHANGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestPlan:
    """A plan that a trainer can run in place of another one. changes: (field, old value, new value), as texts."""

    estimate: PlanEstimate
    changes: tuple[tuple[str, str, str], ...]


def nearest_plan(
    target: Target, plan: Plan, facts: ModelFacts, priced: Callable[[Plan], PlanEstimate]
) -> NearestPlan | None:
    """Return the plan that fits the devices, else is short by least, and of these takes the least seconds, among those
    that mending every limit leads to; None where no change mends one. priced: what a plan costs."""
    found = []
    for one in dict.fromkeys(_mended(target, plan, facts, _MOST_CHANGES)):
        try:
            found.append(priced(one))
        except BadInput:
            continue
    if not found:
        return None
    best = min(found, key=lambda one: (_short_bytes(one), one.step_s))
    return NearestPlan(estimate=best, changes=differences(plan, best.plan))


def _mended(target: Target, plan: Plan, facts: ModelFacts, left: int) -> Iterator[Plan]:
    """Yield the sound plans that break no limit, one limit mended after the other."""
    broken = _first_broken(target, plan, facts)
    if broken is None:
        if not any(problems(plan)):
            yield plan
        return
    if not left:
        return
    for changes in broken.mends(plan, facts):
        after = replace(plan, **changes)
        if not broken.broken(after, facts):
            yield from _mended(target, after, facts, left - 1)


def _first_broken(target: Target, plan: Plan, facts: ModelFacts) -> TrainerLimit | None:
    try:
        return next(broken_limits(target, plan, facts), None)
    except BadInput:  # stages that are none of the model's: pricing says so
        return None


def _short_bytes(one: PlanEstimate) -> float:
    over = (room.total_bytes - held for room, held in zip(one.memory, one.memory_bytes, strict=True))
    return max(0.0, *over)


def differences(plan: Plan, other: Plan) -> tuple[tuple[str, str, str], ...]:
    """Return the fields in which two plans differ, with both values as texts."""
    return tuple(
        (one.name, _text(getattr(plan, one.name)), _text(getattr(other, one.name)))
        for one in fields(Plan)
        if getattr(plan, one.name) != getattr(other, one.name)
    )


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
