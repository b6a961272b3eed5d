"""Bound on plans of two stages or more, each on a chip of its own: every stage on the best chip for each of its layers
(docs/model-search.md, "A chip for each stage").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from hardplace.design.partition.several_kinds import StagesOnKinds, place_on_kinds
from hardplace.design.partition.types import PartitionProblem
from hardplace.design.search.layout import group_of
from hardplace.design.stage_chips.least_layers import LayerOn, LeastLayers
from hardplace.design.types import PlanFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyBound:
    """A lower bound on the cost of a family's plans of two stages or more.

    Attributes:
        cost: Seconds of a batch.
        used: Memory and layers of each stage of the plan that the bound is of: (memory, positions).
    """

    cost: float
    used: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass
class StageBounds:
    """Bounds of the families, refined as far as they matter.

    Attributes:
        least: Least costs of layers.
        families: The families, whatever their memory.
        limit: Cost from which on a plan is of no interest.
    """

    least: LeastLayers
    families: tuple[PlanFamily, ...]
    limit: float = math.inf
    bounds: dict[PlanFamily, FamilyBound] = field(default_factory=dict, init=False)

    def refine(self, gap: float) -> bool:
        """Search layers until no family can cost less than the limit, or there is none left; return whether it ended.

        Args:
            gap: Relative gap at which the search of a layer stops.

        Raises:
            TimeUp: At the deadline, before every family has a bound.
        """
        for family in self.families:
            self.least.within.check()
            self.bounds[family] = self._bound(family)
        while True:
            family = min(self.families, key=lambda one: self.bounds[one].cost)
            known = self.bounds[family].cost
            if known >= self.limit:
                return True
            one = self._next(family)
            if one is None:
                return True
            share = self.limit / known if math.isfinite(self.limit) else math.inf
            went_on = self.least.refine(one, gap, self.least.cost(one) * share * (1.0 + 1e-9))
            for other in self.families:
                if group_of(other) == one.group and self.bounds[other].cost < self.limit:
                    self.bounds[other] = self._bound(other)
            if not went_on:
                return False

    @property
    def cost(self) -> float:
        """Return the least cost of all families."""
        return min((one.cost for one in self.bounds.values()), default=math.inf)

    def _next(self, family: PlanFamily) -> LayerOn | None:
        """Return what to search next: the costliest part of the plan that the bound of a family is of."""
        order = self.least.question.workloads[0].order
        costs: dict[LayerOn, float] = {}
        for memory, positions in self.bounds[family].used:
            for position in positions:
                for forward in (False, True) if family.recompute else (False,):
                    one = LayerOn(group_of(family), memory, order[position], forward)
                    costs[one] = costs.get(one, 0.0) + self.least.cost(one)
        open_ = [one for one in costs if self.least.open(one)]
        return max(open_, key=lambda one: costs[one], default=None)

    def _bound(self, family: PlanFamily) -> FamilyBound:
        problems = [self._problem(family, memory) for memory in range(len(self.least.memories))]
        found = place_on_kinds(problems, least_stages=2, cutoff=self.limit)
        if found is None:
            # Nothing fits, or nothing below the limit.
            return FamilyBound(cost=self.limit)
        return FamilyBound(cost=found.cost, used=_used(found))

    def _problem(self, family: PlanFamily, memory: int) -> PartitionProblem:
        """Return the problem of a family with the least costs of a memory, on the fastest links that it goes with."""
        layout = self.least.search.scoring.models[0]
        section = max(self.least.of_memory(memory), key=lambda one: one.bandwidths[1])
        place = self.least.search.scoring.sections.index(section)
        degrees = self.least.search.scoring.there[place][0].replications[group_of(family)]
        costs = self.least.costs(group_of(family), memory)
        return layout.problem(replace(family, memory_bytes=section.capacity_bytes), section.setting, costs, degrees)


def _used(found: StagesOnKinds) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((kind, stage.layers) for kind, stage in zip(found.kinds, found.placement.stages, strict=True))
