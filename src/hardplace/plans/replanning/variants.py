"""Plans that a running one could become on the devices at hand, in rising order of seconds a sample.

Read `RisingPlans.rising` first; which plans there are: `plans.replanning.degrees`. Source: docs/model-replan.md,
"Bounds".
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.layers.work import GemmWork
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.memory import stage_memory
from hardplace.plans.pipeline import end_of_step_s
from hardplace.plans.plan import Plan
from hardplace.plans.replanning.bounds import BoundedPlan, RunBounds, WaysToCut, bounds, kind_of, timed
from hardplace.plans.replanning.degrees import DegreeTable, rows, virtuals, zeros
from hardplace.plans.replanning.devices import AvailableDevices, Inside
from hardplace.plans.timing import end_of_stage, tied_s, ties_s
from hardplace.workload.types import Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """The degrees (in rising order of their bounds) of a kind that are not yet looked at, from `at` on."""

    kind: RunBounds
    degrees: list[list[int]]
    bounds_s: list[float]
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedPlan:
    """A plan with its ZeRO stage and the end of the step of every stage.

    Attributes:
        plan: The plan.
        timed: Its lower bounds; None where `estimate_plan` must price it.
        ends_s: Seconds of the end of the step of every stage.
    """

    plan: Plan
    timed: BoundedPlan | None
    ends_s: tuple[float, ...]


_Entry = DegreeTable | _Next | BoundedPlan | ShardedPlan | Plan


class RisingPlans:
    """Plans on the devices at hand that keep what the running plan fixes.

    `considered` counts degrees and ways to run the layers that were looked at, of the running batch.
    """

    def __init__(self, hand: AvailableDevices) -> None:
        self.hand = hand
        self.considered = 0
        self._cuts = WaysToCut(hand.running, hand.pricer.casts)
        self._kinds: dict[tuple[Plan, Inside], RunBounds] = {}

    def rising(self, *, uneven: bool = False, limit_s: float = math.inf) -> Iterator[PlanEstimate]:
        """Yield all plans that fit, in rising order of seconds a sample, exactly, as far as those are below a limit.

        Args:
            uneven: Of batches near the running one instead, which more devices divide.
            limit_s: Seconds a sample.
        """
        counter = itertools.count()
        heap: list[tuple[float, int, _Entry]] = []

        def push(bound_s: float, one: _Entry) -> None:
            heapq.heappush(heap, (bound_s, next(counter), one))

        for some in rows(self.hand, uneven=uneven):
            self.considered += 0 if uneven else len(some.degrees)
            push(self._peak_s(some), some)
        while heap and heap[0][0] < limit_s:
            bound_s, _, one = heapq.heappop(heap)
            match one:
                case DegreeTable():
                    more = self._priced_rows(one)
                    push(more.bounds_s[0], more)
                case _Next():
                    if one.at + 1 < len(one.degrees):
                        push(one.bounds_s[one.at + 1], replace(one, at=one.at + 1))
                    for way in self._scheduled(one.kind, one.degrees[one.at]):
                        push(max(bound_s, way.least_s / way.plan.global_batch), way)
                case BoundedPlan():
                    for ended, least_s in self._divided(one):
                        push(max(bound_s, least_s / ended.plan.global_batch), ended)
                case ShardedPlan():
                    step_s = self._step_s(one)
                    if step_s < math.inf:
                        push(step_s / one.plan.global_batch, one.plan)
                case Plan():
                    yield self.hand.estimate(one)

    def _peak_s(self, some: DegreeTable) -> float:
        """Return a lower bound of seconds a sample: matrix products at four times the peak of 16 bit (fp4's)."""
        chain = self.hand.chain(replace(some.plan, recompute=Recompute.NONE))
        flops = {
            one: sum(work.flops for work in (*one.forward, *one.backward) if isinstance(work, GemmWork))
            for one in dict.fromkeys(chain.whole)
        }
        most = int((some.degrees[:, 0] * some.degrees[:, 1]).max()) * some.plan.micro_batch
        total = sum(flops[one] for one in chain.whole)
        return total / (4.0 * self.hand.pricer.peak_flops_per_s * most)

    def _priced_rows(self, some: DegreeTable) -> _Next:
        """Return the degrees of a way to run the layers by their bounds."""
        plan = replace(some.plan, global_batch=1)
        key = (plan, some.network)
        if key not in self._kinds:
            pipeline, data, _ = some.degrees[0].tolist()
            site = self.hand.site(replace(plan, pipeline=pipeline, data=data))
            chain, plain = self.hand.chain(plan), self.hand.chain(replace(plan, recompute=Recompute.NONE))
            self._kinds[key] = kind_of(some.plan, chain, plain, site, self.hand.known(some.network))
        kind = self._kinds[key]
        bounds_s = bounds(kind, some.degrees, self._cuts)
        order = np.argsort(bounds_s, kind="stable")
        return _Next(kind=kind, degrees=some.degrees[order].tolist(), bounds_s=bounds_s[order].tolist(), at=0)

    def _scheduled(self, kind: RunBounds, degrees: list[int]) -> Iterator[BoundedPlan]:
        """Yield the ways to cut the stages and their chunks."""
        pipeline, data, batch = degrees
        plan = replace(kind.plan, pipeline=pipeline, data=data, global_batch=batch)
        hop_s = 0.0
        if pipeline > 1:
            fleet = self.hand.fleet(plan.devices)
            hop_s = fleet.hop_s(plan, fleet.of_stages(plan), kind.chain.crossing_bytes([0, 1]))
        for stages in self._cuts.ways(pipeline):
            cut = self._cuts.cut(pipeline, stages, kind.chain)
            for virtual in virtuals(self.hand.running, plan, cut.last - cut.first):
                if virtual > max(1, cut.most_chunks):
                    continue
                yield timed(kind, replace(plan, virtual=virtual, stages=stages), cut, hop_s)

    def _divided(self, way: BoundedPlan) -> Iterator[tuple[ShardedPlan, float]]:
        """Yield what ZeRO may divide, as far as it fits, with a lower bound of the seconds of a step."""
        fixed_s = self.hand.pricer.efficiencies.step_s
        for one in zeros(self.hand, way):
            if one.zero >= 2 or one.recompute_layers:  # layers take other seconds: priced whole
                yield ShardedPlan(plan=one, timed=None, ends_s=()), way.least_s
                continue
            chain = way.kind.chain
            cut = self._cuts.held(chain, one)
            if any(
                stage_memory(one, at, hold).total_bytes > self.hand.chip.memory_bytes
                for at, hold in enumerate(cut.holds)
            ):
                continue
            site = self.hand.site(one)
            shared_s = ties_s(chain.shared, one, self.hand.fleet(one.devices))
            forward_s, backward_s, _ = way.chunks_s()
            known: dict[object, float] = {}
            ends = []
            sides = zip(map(sum, forward_s), map(sum, backward_s), strict=True)
            for stage, places, twice, hold, (f, b) in zip(
                cut.layers, cut.places, cut.twice, cut.holds, sides, strict=True
            ):
                key = hold.parameters, hold.expert_parameters, len(stage), f, b
                if key not in known:
                    known[key] = end_of_stage(stage, one, site, f, b, twice)
                ends.append(known[key] + tied_s(chain.shared, shared_s, places))
            least_s = max(way.least_s + min(ends), float((way.done_s + ends).max()))
            yield ShardedPlan(plan=one, timed=way, ends_s=tuple(ends)), least_s + fixed_s

    def _step_s(self, ended: ShardedPlan) -> float:
        """Return the seconds of a step as `estimate_plan` has them; inf where it does not fit."""
        if ended.timed is None:
            estimate = self.hand.estimate(ended.plan)
            return estimate.step_s if estimate.fits else math.inf
        run = ended.timed.run()
        return run.total_s + end_of_step_s(ended.ends_s, run.ends_s) + self.hand.pricer.efficiencies.step_s

    def nearest(self) -> tuple[Plan, int, float] | None:
        """Return the plan that is nearest to fit, with its fullest stage and the bytes that it is short of.

        Of plans as divided as they go (all recomputed, micro-batches of 1); None where there are no degrees at all.
        """
        best: tuple[Plan, int, float] | None = None
        for some in rows(self.hand, uneven=False):
            if some.plan.recompute is not Recompute.FULL or some.plan.recompute_layers or some.plan.micro_batch > 1:
                continue
            for pipeline in np.unique(some.degrees[:, 0]).tolist():
                data = int(some.degrees[some.degrees[:, 0] == pipeline, 1].max())
                zero = (3 if pipeline == 1 else 1) if data * some.plan.context > 1 else 0
                plan = replace(some.plan, pipeline=pipeline, data=data, zero=zero)
                holds = self._cuts.held(self.hand.chain(plan), plan).holds
                full = [stage_memory(plan, at, hold).total_bytes for at, hold in enumerate(holds)]
                stage = max(range(pipeline), key=full.__getitem__)
                over = full[stage] - self.hand.chip.memory_bytes
                if best is None or over < best[2]:
                    best = plan, stage, over
        return best
