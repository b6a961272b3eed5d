"""Bound on plans of two stages or more, each on a chip of its own: every stage on the best chip for each of its layers
(docs/model-search.md, "A chip for each stage").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hardplace.design.partition.cases import PartitionCase, cases_of
from hardplace.design.partition.several_kinds import StagesOnKinds, place_on_kinds
from hardplace.design.partition.types import PartitionProblem
from hardplace.design.search.layout import group_of
from hardplace.design.stage_chips.least_layers import LayerOn, LeastLayers
from hardplace.design.types import PlanFamily
from hardplace.ndtypes import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyBound:
    """A lower bound on the cost of a family's plans of two stages or more.

    Attributes:
        cost: Seconds of a batch, or by throughput per W those times the mean TDP of the stages' chips; inf: none fits.
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
        if self.least.per_watt:
            return self._least_sum(problems)
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
        if self.least.per_watt:
            degrees = tuple(replace(one, boundary_s_per_byte=0.0, boundary_latency_s=0.0) for one in degrees)
        costs = self.least.costs(group_of(family), memory)
        return layout.problem(replace(family, memory_bytes=section.capacity_bytes), section.setting, costs, degrees)

    def _least_sum(self, problems: Sequence[PartitionProblem]) -> FamilyBound:
        """Return the bound where costs of stages add up: seconds times TDP."""
        best = FamilyBound(cost=self.limit)
        watts = min(self.least.least_tdp_w(memory) for memory in range(len(problems)))
        groups = list(zip(*(cases_of(problem) for problem in problems), strict=True))
        for cases in groups:
            for stages, total, used in _sums(problems, cases):
                fits = cases[0].degree * stages * cases[0].least_devices <= problems[0].devices
                if stages < 2 or not fits.any() or not math.isfinite(total):
                    continue
                rounds = float((cases[0].rounds + stages - 1)[fits].min())
                reduced_s = min(
                    float(case.sums.gradient_bytes[0, -1]) * min(one.reduction_s_per_byte for one in case.replications)
                    for case in cases
                )
                cost = (rounds * total + watts * reduced_s) / stages
                if cost < best.cost:
                    best = FamilyBound(cost=cost, used=used)
        return best


def _used(found: StagesOnKinds) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((kind, stage.layers) for kind, stage in zip(found.kinds, found.placement.stages, strict=True))


def _sums(
    problems: Sequence[PartitionProblem], cases: tuple[PartitionCase, ...]
) -> Iterator[tuple[int, float, tuple[tuple[int, tuple[int, ...]], ...]]]:
    """Yield, for each number of stages, the least sum of their loads, and memory and layers of each."""
    sums = cases[0].sums
    rest = np.full(len(sums.members), np.inf)
    rest[-1] = 0.0
    chosen: list[tuple[Ints, Ints]] = []
    for stage in range(1, cases[0].most_stages + 1):
        loads = np.stack(
            [
                np.where(
                    case.sums.valid & (case.costs.memory_bytes(stage) <= one.memory_bytes), case.costs.at(stage), np.inf
                )
                for one, case in zip(problems, cases, strict=True)
            ]
        )
        memory = loads.argmin(axis=0)
        total = loads.min(axis=0) + rest[None, :]
        after = total.argmin(axis=1)
        rest = total[np.arange(len(rest)), after]
        chosen.append((after, memory[np.arange(len(rest)), after]))
        at, used = 0, []
        if math.isfinite(rest[0]):
            for ends, kinds in reversed(chosen):
                held = sums.members[ends[at]] & ~sums.members[at]
                used.append((int(kinds[at]), tuple(np.flatnonzero(held).tolist())))
                at = int(ends[at])
        yield stage, float(rest[0]), tuple(used)
