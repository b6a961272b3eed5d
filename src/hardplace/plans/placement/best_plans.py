"""The best plans that a search has found so far (docs/model-placement.md, "The loop")."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hardplace.cuts import Cut
from hardplace.plans.placement.partitions import PlanPartitions, PricedCuts
from hardplace.plans.plan import INSIDE_OUT, Plan


@dataclass(frozen=True, slots=True)
class ListedPlan:
    """A plan of the list with the fastest partition found.

    Attributes:
        step_s: Seconds of a step.
        name: What no other plan of the list has.
        family: Its partitions.
        cut: The cut after each stage.
    """

    step_s: float
    name: Plan
    family: PlanPartitions
    cut: Cut


def _name(plan: Plan) -> Plan:
    """Return what is the same of plans that count as one of the ten best: all but order and how many layers of a stage
    are recomputed."""
    return replace(plan, recompute_layers=min(1, plan.recompute_layers), order=INSIDE_OUT)


class BestPlans:
    """The best plans that differ in more than order and how many layers of a stage are recomputed, the fastest first.

    Args:
        most: Number of plans to keep.
    """

    def __init__(self, most: int) -> None:
        self.plans: list[ListedPlan] = []
        self._most = most

    @property
    def best_s(self) -> float:
        """The seconds of a step of the best plan; inf: none yet."""
        return self.plans[0].step_s if self.plans else math.inf

    @property
    def limit_s(self) -> float:
        """The seconds of a step that a plan must beat to be among the best."""
        return self.plans[-1].step_s if len(self.plans) == self._most else math.inf

    def wanted_s(self, family: PlanPartitions) -> float:
        """Return the seconds below which a partition changes the list: the step of the listed plan of its name, or of
        the last one."""
        named = (one.step_s for one in self.plans if one.name == _name(family.plan))
        return min(next(named, math.inf), self.limit_s)

    def keep(self, family: PlanPartitions, found: PricedCuts) -> None:
        """Add a partition of a plan, unless a faster one of the plan's name, or enough others, are known."""
        name = _name(family.plan)
        others = [one for one in self.plans if one.name != name or one.step_s < found.step_s]
        if not any(one.name == name for one in others):
            others.append(ListedPlan(found.step_s, name, family, found.cut))
        self.plans = sorted(others, key=lambda one: one.step_s)[: self._most]
