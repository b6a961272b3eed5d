"""Partitions of one plan: the plans that differ only in where stages are cut, bounded and priced exactly.

Source: docs/model-placement.md, "Partitions".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from hardplace.cuts import Bottleneck, Cut, bottleneck
from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.plans.fleet import Fleet
from hardplace.plans.pipeline import simulated_micro_batches
from hardplace.plans.placement.critical_paths import Effort, PathBounds, StepPath, critical_paths
from hardplace.plans.placement.hops import Hops
from hardplace.plans.placement.stage_bounds import LastPasses, PrefixBounds, around, last_passes, step_bounds
from hardplace.plans.placement.stages import Stages
from hardplace.plans.plan import Plan
from hardplace.plans.simulate_many import stages_done_s
from hardplace.plans.timing import ties_s

_Standing = tuple[Ints, LastPasses]  # stages that may stand at a place of the pipeline, by index, and their last passes
_AT_ONCE = 256
_ROUNDING = 1e-12  # by which a bound that is met may be above the step, whose sums are in another order


@dataclass(frozen=True, slots=True)
class PricedCuts:
    """A partition with its price.

    Attributes:
        cut: The cut after each stage.
        step_s: Seconds of a step.
    """

    cut: Cut
    step_s: float


class PlanPartitions:
    """All partitions of one plan into stages, bounded and priced.

    `free_s` is, where so many layers of a stage are recomputed, a lower bound without regard to memory, which holds for
    any larger number of them too; 0: none (of one micro-batch under hybrid sharding, where two reductions hide behind a
    second of recompute, and where activations wait in host memory, of which recompute leaves less to move).

    Args:
        plan: The plan, all but its stages.
        fleet: Its devices.
        by_site: Every stage that may be cut, on each kind of device.
        hops: Seconds of a boundary tensor.
        ends: Ends of the step known for the same degrees and sharding; this adds to it.
        simulated: When the stages of cuts are done, known for the same layers and schedule; this adds to it.
        paths: Critical paths known for as many stages and micro-batches of the same schedule; this adds to them.
        limit_s: What is not faster than this is of no interest.
    """

    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        by_site: dict[str, Stages],
        hops: Hops,
        ends: dict[object, float],
        simulated: dict[Cut, Floats],
        paths: list[StepPath],
        limit_s: float,
    ) -> None:
        self.plan, self.fleet, self._ends, self._by_site = plan, fleet, ends, by_site
        self._simulated, self._hops, self._paths = simulated, hops, paths
        self.sites = fleet.of_stages(plan)
        self.chain = by_site[self.sites[0].device].parts.chain
        self._near = around([one.parts for one in by_site.values()], plan)
        self._ties_s = ties_s(self.chain.shared, plan, fleet)
        self._fixed_s = max(site.pricer.efficiencies.step_s for site in fleet.sites)
        self.free_s = 0.0
        self.bottleneck = self._bounded(limit_s, late=plan.recompute_layers > 0 and math.isfinite(limit_s))

    @property
    def least_s(self) -> float:
        """Return a lower bound on every partition; inf where none fits or none is below the limit."""
        return self.bottleneck.least

    def _stages(self, stage: int) -> Stages:
        return self._by_site[self.sites[stage].device]

    def _bounded(self, limit_s: float, *, late: bool) -> Bottleneck:
        """Return bounds of every stage at every place: first without the end of the step, then with it for those that a
        partition below the limit may have. late: memory comes last, what is known before in free_s."""
        plan = self.plan
        unsure = bool(plan.offload_layers) or (plan.zero and plan.shard and plan.micro_batches == 1)
        chosen, costs = self._standing(limit_s, late)
        found = bottleneck(costs)
        if math.isinf(limit_s) and math.isfinite(found.least):  # what is not below one of its own is of no interest
            limit_s = self.prices([found.best()])[0].step_s * (1.0 + 1e-9)
            if plan.virtual > 1 and not self.chain.second:
                chosen, costs = self._standing(limit_s, late)
                found = bottleneck(costs)
        self.free_s = found.least * (1.0 - _ROUNDING) if late and not unsure else 0.0
        if found.least >= limit_s:
            return found
        costs = self._ended(chosen, list(found.useful(limit_s)), costs)
        found = bottleneck(costs)
        self.free_s = found.least * (1.0 - _ROUNDING) if late and not unsure else 0.0
        if not late or found.least >= limit_s:
            return found
        for stage, cost in enumerate(costs):
            one = self._stages(stage)
            here = one.at(*np.nonzero(cost < limit_s))
            here = here[one.fits(plan, stage, here)]
            costs[stage] = self._spread(one, here, cost[one.low[here], one.high[here]])
        return bottleneck(costs)

    def _ended(self, chosen: Sequence[_Standing], useful: Sequence[Bools], costs: Sequence[Floats]) -> list[Floats]:
        """Return bounds with the last backward pass on its way up and the end of the step, as matrices over pairs of
        cuts.

        Args:
            chosen: By place, the stages that may stand there, with their last passes.
            useful: By place, the pairs of cuts that a partition below the limit may have.
            costs: Bounds without that, as matrices.
        """
        left: list[_Standing] = []
        for stage, ((here, last), pairs) in enumerate(zip(chosen, useful, strict=True)):
            which = pairs[last.low, last.high]
            left.append((here[which], last.of(which, self._end_s(self._stages(stage), here[which]))))
        bounds = step_bounds([last for _, last in left], costs[0].shape[0])
        found = []
        for stage, ((here, _), bound, cost) in enumerate(zip(left, bounds, costs, strict=True)):
            found.append(np.maximum(self._spread(self._stages(stage), here, bound + self._fixed_s), cost))
        return found

    def _standing(self, limit_s: float, late: bool) -> tuple[list[_Standing], list[Floats]]:
        """Return, by stage, the stages that may stand there with their last passes, and bounds of a step without its
        end as matrices over pairs of cuts. late: without regard to memory."""
        plan, apart = self.plan, self.plan.schedule.apart
        roles: dict[tuple[str, bool, bool], Ints] = {}
        chosen: list[_Standing] = []
        costs = []
        ahead = PrefixBounds(len(self._near.down_s), self._near) if plan.virtual > 1 and not self.chain.second else None
        for stage in range(plan.pipeline):
            one, ends = self._stages(stage), (stage == 0, stage == plan.pipeline - 1)
            if (one.site.device, *ends) not in roles:
                here = one.allowed(*ends)
                near = plan.micro_batches * one.load_s[here] + self._fixed_s < limit_s
                roles[one.site.device, *ends] = here[near]
            here = roles[one.site.device, *ends]
            if not late:
                here = here[one.fits(plan, stage, here)]
            before = self._near if ahead is None else ahead.near()
            last = last_passes(one, plan, here, stage, before, self._hops)
            total = last.least_s + np.maximum(last.rest_s, before.up_s[last.low] + stage * last.hop_s)
            if ahead is not None:
                ahead.past(one, here[total + self._fixed_s < limit_s], apart=apart)
            costs.append(self._spread(one, here, total + self._fixed_s))
            chosen.append((here, last))
        return chosen, costs

    def _end_s(self, one: Stages, here: Ints) -> Floats:
        """Return the end of the step of stages, with the gradients that they share with others."""
        return np.asarray(one.end_s(self.plan, here, self._ends) + one.sharing.tied_s(self._ties_s, here))

    def _spread(self, one: Stages, here: Ints, values: Floats) -> Floats:
        """Return values of stages as a matrix over pairs of cuts, inf elsewhere."""
        found = np.full(one.parts.cuts.valid.shape, np.inf)
        found[one.low[here], one.high[here]] = values
        return found

    def prices(self, cuts: Sequence[Cut]) -> list[PricedCuts]:
        """Return the seconds of a step of each partition, as `estimate_plan` has them."""
        fresh = [cut for cut in cuts if cut not in self._simulated]
        if fresh:
            self._simulated.update(zip(fresh, self._done_s(fresh).T, strict=True))
        done = np.array([self._simulated[cut] for cut in cuts]).T
        step_s = (done + self._ends_of(cuts)).max(axis=0) + self._fixed_s
        return [PricedCuts(cut, float(one)) for cut, one in zip(cuts, step_s, strict=True)]

    def _places(self, cuts: Sequence[Cut]) -> Iterator[Ints]:
        """Yield the stages of partitions, one place of the pipeline after the other, (cuts,)."""
        after = np.array(cuts).reshape(len(cuts), self.plan.pipeline)
        before = np.concatenate([np.zeros((len(cuts), 1), dtype=np.int64), after[:, :-1]], axis=1)
        for stage in range(self.plan.pipeline):
            yield self._stages(stage).at(before[:, stage], after[:, stage])

    def _done_s(self, cuts: Sequence[Cut]) -> Floats:
        """Return when each stage of each partition is done, (stages, cuts)."""
        plan, hops_s = self.plan, self._hops.of_cuts(np.array(cuts))
        return stages_done_s(self._seconds_of(cuts), hops_s, plan.micro_batches, plan.schedule)

    def _seconds_of(self, cuts: Sequence[Cut]) -> Floats:
        """Return the seconds of partitions' passes, (forward, backward, weight gradient; stages; chunks; cuts)."""
        of_places = enumerate(self._places(cuts))
        return np.stack([self._stages(stage).seconds[:, :, which] for stage, which in of_places], axis=1)

    def _ends_of(self, cuts: Sequence[Cut]) -> Floats:
        """Return the end of the step of partitions, (stages, cuts)."""
        return np.array([self._end_s(self._stages(stage), which) for stage, which in enumerate(self._places(cuts))])

    def below(self, limit_s: float, most: int) -> tuple[list[PricedCuts], float]:
        """Return partitions that may be faster than a limit, priced, and a lower bound on those left (inf: none).

        The bounds are made anew for the limit, so they are as tight as it is.

        Args:
            limit_s: Seconds of a step.
            most: Partitions to price; at most one more is.
        """
        tight = self._bounded(limit_s, late=False)
        cuts = list(islice(tight.below(limit_s), most + 1))
        batches = (cuts[start : start + _AT_ONCE] for start in range(0, len(cuts), _AT_ONCE))
        left_s = math.inf if len(cuts) <= most else max(self.least_s, tight.least)
        return [one for batch in batches for one in self.prices(batch)], left_s

    @property
    def exact(self) -> bool:
        """Whether a price simulates all micro-batches, so that no step takes less than any path of its passes."""
        return simulated_micro_batches(self.plan.pipeline, self.plan.micro_batches) == self.plan.micro_batches

    def by_paths(self, limit_s: float, effort: Effort) -> tuple[list[PricedCuts], float]:
        """Return what `below` does, by critical paths: each ends all partitions in which it takes as long as the limit,
        or as the fastest one found. Of more micro-batches than are simulated nothing is proven, and the partitions are
        those that are fast with as many as are.

        Args:
            limit_s: Seconds of a step.
            effort: When to give up.
        """
        tight = self._bounded(limit_s, late=False)
        if tight.least >= limit_s:
            return [], math.inf
        useful, plan = list(tight.useful(limit_s)), self.plan
        places = [self._stages(stage) for stage in range(plan.pipeline)]
        ends_s = [self._end_s(one, one.at(*np.nonzero(pairs))) for one, pairs in zip(places, useful, strict=True)]
        times = simulated_micro_batches(plan.pipeline, plan.micro_batches)

        def run(cuts: Sequence[Cut]) -> tuple[Floats, list[StepPath]]:
            seconds, ends = self._seconds_of(cuts), self._ends_of(cuts)
            return critical_paths(seconds, self._hops.least_s, ends, times, plan.schedule)

        bounds = PathBounds(places, useful, ends_s, self._hops.least_s, self._paths)
        cuts, whole = bounds.fastest(run, tight.best(), limit_s - self._fixed_s if self.exact else math.inf, effort)
        batches = (cuts[start : start + _AT_ONCE] for start in range(0, len(cuts), _AT_ONCE))
        left_s = math.inf if whole and self.exact else max(self.least_s, tight.least)
        return [one for batch in batches for one in self.prices(batch)], left_s

    def left(self, limit_s: float) -> tuple[float, float]:
        """Return a lower bound on the partitions that may be faster than a limit, inf where none may, and how many
        they are; the bounds are made anew for the limit."""
        tight = self._bounded(limit_s, late=False)
        return (max(self.least_s, tight.least), tight.count_below(limit_s)) if tight.least < limit_s else (math.inf, 0)

    def first(self) -> PricedCuts:
        """Return the partition with the least bound, priced."""
        return self.prices([self.bottleneck.best()])[0]

    def better(self, limit_s: float, most: int) -> Iterator[list[PricedCuts]]:
        """Yield the prices of every partition whose bound is below a limit, some at a time, `most` in all."""
        found = islice(self.bottleneck.below(limit_s), most)
        while batch := list(islice(found, _AT_ONCE)):
            yield self.prices(batch)

    def places(self, cut: Cut) -> list[int]:
        """Return the stage of every layer."""
        members = self._stages(0).parts.cuts.members
        return [int(np.argmax(members[list(cut), layer])) for layer in range(len(self.chain.whole))]

    def planned(self, cut: Cut) -> Plan:
        """Return the plan with its stages."""
        if self.plan.pipeline == 1:
            return self.plan
        places = self.places(cut)
        if self.chain.edges:
            return replace(self.plan, assignment=tuple(places))
        inner = places[self.chain.inner]
        return replace(self.plan, stages=tuple(inner.count(stage) for stage in range(self.plan.pipeline)))
