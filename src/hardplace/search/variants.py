"""What a running plan could become on the devices at hand, in rising order of seconds a sample
(docs/model-replan.md, "The space"). Read `Variants.rising` first."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.gpu.fused import decoder_of
from hardplace.cost.gpu.work import Product
from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.pipeline import end_of_step_s
from hardplace.placement.plan import INSIDE_OUT, Dimension, Plan, Schedule, problems
from hardplace.placement.room import room
from hardplace.search.cells import may_fit
from hardplace.search.chain import Chain, chain_of, rank_layers
from hardplace.search.clusters import Fleet, Site, even_cluster
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.kinds import Cuts, Ints, Kind, Timed, bounds, kind_of, timed
from hardplace.search.pricers import pricer_of
from hardplace.search.space import divisors
from hardplace.search.timing import Known, end_of_stage
from hardplace.workload.types import Layer, Recompute, Workload

MICRO_BATCHES = (1, 2, 4, 8, 16)
NEAR = 0.02  # by what share an uneven batch may differ from the running one
Inside = tuple[int, ...]  # how many levels the network has, and the devices in a group of each but the last


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """A way to run the layers, not yet priced, and degrees that it may have on networks alike."""

    plan: Plan
    inside: Inside
    degrees: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """The degrees (in rising order of their bounds) of a kind that are not yet looked at, from `at` on."""

    kind: Kind
    degrees: list[list[int]]
    bounds_s: list[float]
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A plan with the end of the step of every stage; timed: None where `estimate_plan` must price it."""

    plan: Plan
    timed: Timed | None
    ends_s: tuple[float, ...]


_Entry = _Rows | _Next | Timed | _Ended | Plan


class Variants:
    """Plans of one model on one kind of device that keep what the running plan fixes; room_for: whether so many nodes
    with so many devices each are there, of `devices` in all."""

    def __init__(
        self,
        workload: Workload,
        chip: Device,
        node: Node,
        running: Plan,
        devices: int,
        room_for: Callable[[int, int], bool] = lambda nodes, each: True,
    ) -> None:
        self.workload, self.chip, self.node, self.running = workload, chip, node, running
        self.devices, self.room_for = devices, room_for
        self.pricer, self.decoder = pricer_of(chip, running), decoder_of(workload)
        self.considered = self.priced = 0
        self._cuts = Cuts(running)
        self._known: dict[Inside, Known] = {}
        self._made: dict[tuple[int, bool], tuple[Layer, ...]] = {}
        self._chains: dict[tuple[object, ...], Chain] = {}
        self._fleets: dict[int, Fleet | None] = {}
        self._kinds: dict[tuple[Plan, Inside], Kind] = {}

    # -- one plan ---------------------------------------------------------------------------------------------------

    def estimate(self, plan: Plan) -> PlanEstimate:
        """Return what a plan costs; BadInput where it does not suit the model or the nodes."""
        fleet = self._fleet(plan.devices)
        self.priced += 1
        return estimate_plan(self._chain(plan), plan, fleet, self._known.setdefault(_inside(fleet), {}))

    def _fleet(self, devices: int) -> Fleet:
        """Return so many of the devices; BadInput where they do not fill their nodes."""
        site = Site(
            device=self.chip.name,
            cluster=even_cluster(self.node, devices),
            pricer=self.pricer,
            memory_bytes=self.chip.memory_bytes,
        )
        return Fleet(sites=(site,))

    def _placed(self, devices: int) -> Fleet | None:
        """Return so many of the devices; None where they do not fill nodes, or not so many nodes are there."""
        if devices not in self._fleets:
            found: Fleet | None = None
            if devices <= self.devices:
                try:
                    found = self._fleet(devices)
                    each = found.sites[0].cluster.levels[0].devices
                    found = found if self.room_for(devices // each, each) else None
                except BadInput:
                    found = None
            self._fleets[devices] = found
        return self._fleets[devices]

    def _chain(self, plan: Plan) -> Chain:
        """Return a plan's layers, with the plain ones beside where it recomputes; BadInput where a degree divides
        nothing."""
        again = 1 if plan.recompute is not Recompute.NONE else 0
        key = (plan.tensor, plan.sequence, plan.micro_batch, plan.recompute)
        if key not in self._chains:
            made: tuple[Layer, ...] = ()
            if self.decoder is None:
                if key[:2] not in self._made:
                    self._made[key[:2]] = rank_layers(self.workload, plan)
                made = self._made[key[:2]]
            self._chains[key] = chain_of(self.workload, made, self.decoder, replace(plan, recompute_layers=again))
        return self._chains[key]

    def _divides(self, plan: Plan) -> bool:
        """Return whether a plan's degrees divide the model."""
        try:
            self._chain(plan)
        except BadInput:
            return False
        return True

    # -- all plans --------------------------------------------------------------------------------------------------

    def rising(self, *, uneven: bool = False, limit_s: float = math.inf) -> Iterator[PlanEstimate]:
        """Yield all plans that fit, in rising order of seconds a sample, exactly, as far as those are below a limit.

        uneven: of batches near the running one instead, which more devices divide.
        """
        counter = itertools.count()
        heap: list[tuple[float, int, _Entry]] = []

        def push(bound_s: float, one: _Entry) -> None:
            heapq.heappush(heap, (bound_s, next(counter), one))

        for rows in self._rows(uneven):
            push(self._peak_s(rows), rows)
        while heap and heap[0][0] < limit_s:
            bound_s, _, one = heapq.heappop(heap)
            match one:
                case _Rows():
                    more = self._priced_rows(one)
                    push(more.bounds_s[0], more)
                case _Next():
                    if one.at + 1 < len(one.degrees):
                        push(one.bounds_s[one.at + 1], replace(one, at=one.at + 1))
                    for way in self._scheduled(one.kind, one.degrees[one.at]):
                        push(max(bound_s, way.least_s / way.plan.global_batch), way)
                case Timed():
                    for ended, least_s in self._divided(one):
                        push(max(bound_s, least_s / ended.plan.global_batch), ended)
                case _Ended():
                    step_s = self._step_s(one)
                    if step_s < math.inf:
                        push(step_s / one.plan.global_batch, one.plan)
                case Plan():
                    yield self.estimate(one)

    def _rows(self, uneven: bool) -> Iterator[_Rows]:
        """Yield the ways to run a layer, each with the degrees that the devices at hand allow it."""
        running = self.running
        base = replace(running, order=self._order(), stages=(), assignment=(), zero=0, shard=0, virtual=1)
        recomputes = [(one, 0) for one in Recompute if not (running.flash and one is Recompute.SELECTIVE)]
        if running.recompute_layers:
            recomputes.append((running.recompute, running.recompute_layers))
        schedules = dict.fromkeys((Schedule.ONE_F_ONE_B, Schedule.ZERO_BUBBLE, running.schedule))
        for tensor in sorted({*divisors(self.node.levels[0].devices or self.devices), running.tensor}):
            sequence = tensor > 1 and (running.sequence or running.tensor == 1)
            ranked = replace(base, tensor=tensor, sequence=sequence, micro_batch=1)
            if tensor * running.context > self.devices or not self._divides(ranked):
                continue
            for inside, degrees in (self._near(ranked) if uneven else self._even(ranked)).items():
                for micro_batch in MICRO_BATCHES:
                    able = degrees[(degrees[:, 2] // degrees[:, 1]) % micro_batch == 0]
                    for (recompute, count), schedule in itertools.product(recomputes, schedules):
                        here = able if schedule is Schedule.ONE_F_ONE_B else able[able[:, 0] > 1]
                        if len(here):
                            self.considered += len(here)
                            plan = replace(ranked, micro_batch=micro_batch, schedule=schedule, recompute=recompute)
                            yield _Rows(plan=replace(plan, recompute_layers=count), inside=inside, degrees=here)

    def _order(self) -> tuple[Dimension, ...]:
        """Return the running plan's order of degrees, if collectives within a layer then do not depend on pipeline and
        data degree, else Megatron-LM's."""
        own = self.running.order
        inner = own[0] is Dimension.TENSOR and (self.running.context == 1 or own[1] is Dimension.CONTEXT)
        return own if inner else INSIDE_OUT

    def _pipelines(self) -> range:
        layers = max(1, len(self.workload.order) - 2)
        branches = any(edge.target != edge.source + 1 for edge in self.workload.edges)
        return range(1, 2 if branches else layers + 1)

    def _even(self, ranked: Plan) -> dict[Inside, Ints]:
        """Return (pipeline, data, batch) of all degrees that divide the batch and that there is room for."""
        width, batch = ranked.tensor * ranked.context, ranked.global_batch
        rows = [
            (pipeline, data, batch)
            for pipeline in self._pipelines()
            for data in divisors(batch)
            if width * pipeline * data <= self.devices and (width * data) % ranked.expert == 0
        ]
        return self._grouped(ranked, rows)

    def _near(self, ranked: Plan) -> dict[Inside, Ints]:
        """Return for each pipeline the most replicas that there is room for, with the nearest batch they divide."""
        width, asked = ranked.tensor * ranked.context, ranked.global_batch
        rows = []
        for pipeline in self._pipelines():
            data = self.devices // (width * pipeline)
            while data > 1 and self._placed(width * pipeline * data) is None:
                data -= 1
            batch = round(asked / data) * data if data else 0
            near = 0 < abs(batch - asked) <= NEAR * asked
            if batch and near and (width * data) % ranked.expert == 0:
                rows.append((pipeline, data, batch))
        return self._grouped(ranked, rows)

    def _grouped(self, ranked: Plan, rows: list[tuple[int, int, int]]) -> dict[Inside, Ints]:
        """Return the degrees that there is room for, by the network that they see."""
        found: dict[Inside, list[tuple[int, int, int]]] = {}
        for row in rows:
            fleet = self._placed(ranked.tensor * ranked.context * row[0] * row[1])
            if fleet is not None:
                found.setdefault(_inside(fleet), []).append(row)
        return {inside: np.array(some, dtype=np.int64) for inside, some in found.items()}

    # -- bounds and seconds -----------------------------------------------------------------------------------------

    def _peak_s(self, rows: _Rows) -> float:
        """Return a lower bound of seconds a sample: matrix products at four times the peak of 16 bit (fp4's)."""
        chain = self._chain(replace(rows.plan, recompute=Recompute.NONE))
        distinct = {id(one): one for one in chain.whole}
        flops = {
            key: sum(work.flops for work in (*one.forward, *one.backward) if isinstance(work, Product))
            for key, one in distinct.items()
        }
        most = int((rows.degrees[:, 0] * rows.degrees[:, 1]).max()) * rows.plan.micro_batch
        total = sum(flops[id(one)] for one in chain.whole)
        return total / (4.0 * self.pricer.peak_flops_per_s * most)

    def _priced_rows(self, rows: _Rows) -> _Next:
        """Return the degrees of a way to run the layers by their bounds."""
        plan = replace(rows.plan, global_batch=1)
        if (plan, rows.inside) not in self._kinds:
            pipeline, data, _ = rows.degrees[0].tolist()
            site = self._fleet(plan.tensor * plan.context * pipeline * data).sites[0]
            chain, plain = self._chain(plan), self._chain(replace(plan, recompute=Recompute.NONE))
            known = self._known.setdefault(rows.inside, {})
            self._kinds[plan, rows.inside] = kind_of(rows.plan, chain, plain, site, known)
        kind = self._kinds[plan, rows.inside]
        bounds_s = bounds(kind, rows.degrees, self._cuts)
        order = np.argsort(bounds_s, kind="stable")
        return _Next(kind=kind, degrees=rows.degrees[order].tolist(), bounds_s=bounds_s[order].tolist(), at=0)

    def _scheduled(self, kind: Kind, degrees: list[int]) -> Iterator[Timed]:
        """Yield the ways to cut the stages and their chunks."""
        pipeline, data, batch = degrees
        plan = replace(kind.plan, pipeline=pipeline, data=data, global_batch=batch)
        hop_s = 0.0
        if pipeline > 1:
            fleet = self._fleet(plan.devices)
            hop_s = fleet.hop_s(plan, fleet.of_stages(plan), kind.chain.crossing_bytes([0, 1]))
        for stages in self._cuts.ways(pipeline):
            cut = self._cuts.cut(pipeline, stages, kind.chain)
            virtuals = [1]
            if plan.schedule is Schedule.ONE_F_ONE_B and pipeline > 1 and plan.micro_batches % pipeline == 0:
                virtuals = divisors(-(-(cut.last - cut.first) // pipeline))
                if self.running.pipeline == pipeline:
                    virtuals = sorted({*virtuals, self.running.virtual})
            for virtual in virtuals:
                yield timed(kind, replace(plan, virtual=virtual, stages=stages), cut, hop_s)

    def _divided(self, way: Timed) -> Iterator[tuple[_Ended, float]]:
        """Yield what ZeRO may divide, as far as it fits, with a lower bound of the seconds of a step."""
        fixed_s = self.pricer.efficiencies.step_s
        for one in self._zeros(way):
            if one.zero >= 2 or one.recompute_layers:  # layers take other seconds: priced whole
                yield _Ended(plan=one, timed=None, ends_s=()), way.least_s
                continue
            stages, holds = self._cuts.held(way.kind.chain, one)
            if any(room(one, at, hold).total_bytes > self.chip.memory_bytes for at, hold in enumerate(holds)):
                continue
            site = self._fleet(one.devices).sites[0]
            forward_s, backward_s, _ = way.chunks_s()
            known: dict[object, float] = {}
            ends = []
            for stage, hold, f, b in zip(stages, holds, map(sum, forward_s), map(sum, backward_s), strict=True):
                key = hold.parameters, hold.expert_parameters, len(stage), f, b
                if key not in known:
                    known[key] = sum(end_of_stage(stage, one, site, f, b))
                ends.append(known[key])
            least_s = max(way.least_s + min(ends), float((way.done_s + ends).max()))
            yield _Ended(plan=one, timed=way, ends_s=tuple(ends)), least_s + fixed_s

    def _zeros(self, way: Timed) -> Iterator[Plan]:
        plan, own = way.plan, self.running.shard
        memory, replicas = [self.chip.memory_bytes] * plan.pipeline, plan.data * plan.context
        # ZeRO-2 scatters gradients after every micro-batch: no framework joins it to a pipeline.
        apart = plan.pipeline == 1 or self.running.zero == 2
        for zero in (0, 1, 2, 3) if replicas > 1 else (0,):
            if zero == 2 and not apart:
                continue
            for over in sorted({0, own}) if zero and own and replicas % own == 0 else (0,):
                one = replace(plan, zero=zero, shard=over)
                if may_fit(way.kind.weights, way.cut.last - way.cut.first, one, memory) and not any(problems(one)):
                    yield one

    def _step_s(self, ended: _Ended) -> float:
        """Return the seconds of a step as `estimate_plan` has them; inf where it does not fit."""
        if ended.timed is None:
            estimate = self.estimate(ended.plan)
            return estimate.step_s if estimate.fits else math.inf
        run = ended.timed.run()
        return run.total_s + end_of_step_s(ended.ends_s, run.ends_s) + self.pricer.efficiencies.step_s

    def nearest(self) -> tuple[Plan, int, float] | None:
        """Return, of plans as divided as they go (all recomputed, micro-batches of 1), the one that is nearest to fit,
        with its fullest stage and the bytes that it is short of; None where there are no degrees at all."""
        best: tuple[Plan, int, float] | None = None
        for rows in self._rows(False):
            if rows.plan.recompute is not Recompute.FULL or rows.plan.recompute_layers or rows.plan.micro_batch > 1:
                continue
            for pipeline in np.unique(rows.degrees[:, 0]).tolist():
                data = int(rows.degrees[rows.degrees[:, 0] == pipeline, 1].max())
                zero = (3 if pipeline == 1 else 1) if data * rows.plan.context > 1 else 0
                plan = replace(rows.plan, pipeline=pipeline, data=data, zero=zero)
                holds = self._cuts.held(self._chain(plan), plan)[1]
                full = [room(plan, at, hold).total_bytes for at, hold in enumerate(holds)]
                stage = max(range(pipeline), key=full.__getitem__)
                over = full[stage] - self.chip.memory_bytes
                if best is None or over < best[2]:
                    best = plan, stage, over
        return best


def _inside(fleet: Fleet) -> Inside:
    """Return what collectives within a layer see of the network: not how many groups its last level joins."""
    levels = fleet.sites[0].cluster.levels
    return len(levels), *(level.devices for level in levels[: -1 if len(levels) > 1 else None])
