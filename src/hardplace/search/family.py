"""The plans that differ only in where the stages are cut: the best of them, exactly (docs/model-placement.md,
"Partitions")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from hardplace.placement.cuts import Bottleneck, bottleneck
from hardplace.placement.plan import Plan
from hardplace.placement.waves import stages_done_s
from hardplace.search.clusters import Fleet
from hardplace.search.stages import Ints, Stages, around, stage_bound_s

Cut = tuple[int, ...]  # the cut after each stage
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Priced:
    """A way to cut the stages, and the seconds of a step."""

    cut: Cut
    step_s: float


class Family:
    """All partitions of one plan, bounded and priced.

    by_site: the stages on each site. ends: what was worked out for the same degrees and sharding; None: the end of the
    step is left out of the bounds. limit_s: what is not faster than this is of no interest.
    """

    def __init__(
        self, plan: Plan, fleet: Fleet, by_site: dict[str, Stages], ends: dict[object, float] | None, limit_s: float
    ) -> None:
        self.plan, self.fleet, self._ends, self._by_site = plan, fleet, ends, by_site
        self.sites = fleet.of_stages(plan)
        self.chain = by_site[self.sites[0].device].parts.chain
        self._near = around([one.parts for one in by_site.values()], plan)
        self._hop_s = 0.0
        if plan.pipeline > 1 and not self.chain.edges:
            self._hop_s = fleet.hop_s(plan, self.sites, self.chain.crossing_bytes([0, 1]))
        self._fixed_s = max(site.pricer.efficiencies.step_s for site in fleet.sites)
        self.fits = True
        self.bottleneck = self._bounded(limit_s)

    @property
    def least_s(self) -> float:
        """A proven lower bound of every partition; inf where none fits or none is below the limit."""
        return self.bottleneck.least

    def _stages(self, stage: int) -> Stages:
        return self._by_site[self.sites[stage].device]

    def allowed(self, stage: int) -> Ints:
        """Return the stages that may stand there: the first begins the model, the last ends it, each has a layer that is
        cut a chunk (first and last may have none where they have what is always theirs)."""
        one, last = self._stages(stage), self.plan.pipeline - 1
        least = np.full(len(one.inner), self.plan.virtual)
        if self.plan.virtual == 1 and last:
            if stage == 0 and self.chain.before:
                least[:] = 0
            if stage == last and self.chain.after:
                least[:] = 0
        if not self.chain.layers or not last:
            least[:] = 0
        bounds = len(self.chain.before), one.last - len(self.chain.after)
        inside = np.ones(len(one.low), dtype=bool)
        if not self.chain.edges:
            inside = (one.low >= (bounds[0] if stage else 0)) & (one.high <= (bounds[1] if stage < last else one.last))
            inside &= (one.high >= bounds[0]) & (one.low <= bounds[1])
        elif self.plan.pipeline > 1:
            least[:] = 0
        right = ((one.low == 0) == (stage == 0)) & ((one.high == one.last) == (stage == last))
        return np.flatnonzero(right & inside & (one.inner >= least))

    def _bounded(self, limit_s: float) -> Bottleneck:
        """Return bounds of every stage at every place; memory first, then seconds."""
        chosen = [self._stages(stage).fit(self.plan, stage, self.allowed(stage)) for stage in range(self.plan.pipeline)]
        self.fits = self._covered(chosen)
        costs = []
        for stage, here in enumerate(chosen):
            one = self._stages(stage)
            count = len(one.parts.cuts.members)
            cost = np.full((count, count), np.inf)
            if self.fits:
                here = here[self.plan.micro_batches * one.load_s[here] + self._fixed_s < limit_s]
                done, total = stage_bound_s(one, self.plan, here, stage, self._near, self._hop_s)
                if self._ends is not None:
                    near = total + self._fixed_s < limit_s
                    here, done, total = here[near], done[near], total[near]
                    total = np.maximum(total, done + one.end_s(self.plan, here, self._ends))
                cost[one.low[here], one.high[here]] = total + self._fixed_s
            costs.append(cost)
        return bottleneck(costs)

    def _covered(self, chosen: Sequence[Ints]) -> bool:
        """Return whether some of the chosen stages lead from the first cut to the last."""
        reached = np.zeros(len(self._stages(0).parts.cuts.members), dtype=bool)
        reached[0] = True
        for stage, here in enumerate(chosen):
            one = self._stages(stage)
            following = np.zeros_like(reached)
            following[one.high[here[reached[one.low[here]]]]] = True
            reached = following
        return bool(reached[-1])

    def prices(self, cuts: Sequence[Cut]) -> list[Priced]:
        """Return the seconds of a step of each way to cut, as `estimate_plan` has them."""
        plan = self.plan
        known = {} if self._ends is None else self._ends
        shape = (3, plan.pipeline, plan.virtual, len(cuts))
        seconds, ends = np.empty(shape), np.empty((plan.pipeline, len(cuts)))
        after = np.array(cuts).reshape(len(cuts), plan.pipeline)
        before = np.concatenate([np.zeros((len(cuts), 1), dtype=np.int64), after[:, :-1]], axis=1)
        for stage in range(plan.pipeline):
            one = self._stages(stage)
            which = one.at(before[:, stage], after[:, stage])
            seconds[:, stage] = one.seconds[:, :, which]
            ends[stage] = one.end_s(plan, which, known)
        hop_s = np.full(len(cuts), self._hop_s)
        if self.chain.edges and plan.pipeline > 1:
            crossing = [self.chain.crossing_bytes(self.places(cut)) for cut in cuts]
            hop_s = np.array([self.fleet.hop_s(plan, self.sites, size) for size in crossing])
        done = stages_done_s(seconds, hop_s, plan.micro_batches, plan.schedule)
        step_s = (done + ends).max(axis=0) + self._fixed_s
        return [Priced(cut, float(one)) for cut, one in zip(cuts, step_s, strict=True)]

    def first(self) -> Priced:
        """Return the partition with the least bound, priced."""
        return self.prices([self.bottleneck.best()])[0]

    def better(self, limit_s: float, most: int) -> Iterator[list[Priced]]:
        """Yield what every partition whose bound is below a limit takes, some at a time, `most` in all."""
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
        inner = places[len(self.chain.before) : len(places) - len(self.chain.after)]
        return replace(self.plan, stages=tuple(inner.count(stage) for stage in range(self.plan.pipeline)))
