"""What a running plan could become on the devices at hand, in rising order of seconds a sample
(docs/model-replan.md, "The space"). Read `Variants.rising` first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.pipeline import least_s
from hardplace.placement.plan import Plan, Schedule, problems, stage_layers
from hardplace.search.cells import Weights, may_fit, weights_of
from hardplace.search.chain import Chain, chain_of
from hardplace.search.clusters import Fleet, Site, even_cluster, pricer_of
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.space import divisors
from hardplace.search.timing import Known, layer_seconds
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Layer, Parallelism, Recompute, Workload

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MICRO_BATCHES = (1, 2, 4, 8, 16)
_SIDES = ("forward_s", "backward_s", "weight_s")
NEAR = 0.02  # by what share an uneven batch may differ from the running one


@dataclass(frozen=True, slots=True)
class _Kind:
    """Layers of a rank under degrees, micro-batch, recompute and schedule (plan), with seconds of all layers before
    each: (forward, backward, weight gradients; layers + 1). Degrees: rows of pipeline, data and batch."""

    plan: Plan
    chain: Chain
    before_s: Floats
    weights: Weights
    degrees: Ints

    @property
    def ends(self) -> tuple[int, int]:
        """Where the layers that are cut begin and end."""
        return len(self.chain.before), len(self.chain.whole) - len(self.chain.after)

    def cuts(self, plan: Plan) -> Ints:
        """Return where each stage begins, and the end."""
        if plan.pipeline == 1:
            return np.array([0, len(self.chain.whole)])
        first, last = self.ends
        found = np.concatenate([[0], first + np.cumsum(stage_layers(last - first, plan))])
        found[-1] = len(self.chain.whole)
        return np.asarray(found)

    def chunks_s(self, plan: Plan) -> Floats:
        """Return seconds of a micro-batch: (forward, backward, weight gradients; stages; chunks)."""
        first, last = self.ends
        cuts = self.cuts(plan)
        start, end = np.maximum(cuts[:-1], first), np.minimum(cuts[1:], last)
        inner = start[:, None] + (end - start)[:, None] * np.arange(1, plan.virtual) // plan.virtual
        edges = np.concatenate([cuts[:-1, None], inner, cuts[1:, None]], axis=1)
        return np.diff(self.before_s[:, edges], axis=2)


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
        self.pricer = pricer_of(chip, running)
        self.considered = self.priced = 0
        self._known: dict[object, Known] = {}
        self._made: dict[tuple[int, bool], tuple[Layer, ...] | None] = {}
        self._chains: dict[tuple[object, ...], tuple[Chain, Chain]] = {}
        self._fleets: dict[int, Fleet | None] = {}

    # -- one plan ---------------------------------------------------------------------------------------------------

    def estimate(self, plan: Plan) -> PlanEstimate:
        """Return what a plan costs; BadInput where it does not suit the model or the nodes."""
        check_degrees(self.workload, _degrees(plan))
        self._made.setdefault((plan.tensor, plan.sequence), shard(self.workload, _degrees(plan)).layers)
        return self._estimate(plan, _fleet(self, plan.devices))

    def _estimate(self, plan: Plan, fleet: Fleet) -> PlanEstimate:
        self.priced += 1
        return estimate_plan(self._chain(plan), plan, fleet, self._known_on(fleet))

    def fleet(self, devices: int) -> Fleet | None:
        """Return so many of the devices; None where they do not fill nodes, or not so many nodes are there."""
        if devices not in self._fleets:
            found: Fleet | None
            try:
                found = _fleet(self, devices)
                each = found.sites[0].cluster.levels[0].devices
                found = found if self.room_for(devices // each, each) else None
            except BadInput:
                found = None
            self._fleets[devices] = found
        return self._fleets[devices]

    def _known_on(self, fleet: Fleet) -> Known:
        """Return layers priced on nodes alike: collectives within a layer do not see how many nodes there are beyond."""
        levels = fleet.sites[0].cluster.levels
        key = (len(levels), *(level.devices for level in levels[: -1 if len(levels) > 1 else None]))
        return self._known.setdefault(key, {})

    def _layers(self, plan: Plan) -> tuple[Layer, ...] | None:
        """Return the layers of a rank; None where a degree divides nothing of the model."""
        key = (plan.tensor, plan.sequence)
        if key not in self._made:
            try:
                check_degrees(self.workload, _degrees(plan))
                self._made[key] = shard(self.workload, _degrees(plan)).layers
            except BadInput:
                self._made[key] = None
        return self._made[key]

    def _chain(self, plan: Plan) -> Chain:
        """Return a plan's layers: recomputed as it says, with the plain ones beside where it recomputes only some."""
        made = self._layers(plan)
        assert made is not None
        if plan.recompute is Recompute.SELECTIVE:
            return chain_of(self.workload, made, plan)
        key = (plan.tensor, plan.sequence, plan.micro_batch)
        if key not in self._chains:
            both = chain_of(self.workload, made, replace(plan, recompute=Recompute.FULL, recompute_layers=1))
            self._chains[key] = both, replace(both, layers=both.plain or both.layers, plain=())
        return self._chains[key][0 if plan.recompute is Recompute.FULL else 1]

    # -- all plans --------------------------------------------------------------------------------------------------

    def rising(self, *, uneven: bool = False) -> Iterator[PlanEstimate]:
        """Yield all plans that fit, in rising order of seconds a sample, exactly.

        uneven: of batches near the running one instead, which more devices divide.
        """
        counter = itertools.count()
        heap: list[tuple[float, int, object]] = []

        def push(bound_s: float, one: object) -> None:
            heapq.heappush(heap, (bound_s, next(counter), one))

        for kind in self._kinds(uneven):
            bounds = self._bounds(kind)
            order = np.argsort(bounds, kind="stable")
            push(float(bounds[order[0]]), (kind, bounds[order], order, 0))
        while heap:
            bound_s, _, one = heapq.heappop(heap)
            match one:
                case PlanEstimate():
                    yield one
                case Plan():
                    estimate = self._estimate(one, _fleet(self, one.devices))
                    if estimate.fits:
                        push(estimate.step_s / one.global_batch, estimate)
                case (_Kind() as kind, Plan() as plan):
                    for zero in self._zeros(kind, plan):
                        push(bound_s, zero)
                case (kind, bounds, order, at):
                    if at + 1 < len(order):
                        push(float(bounds[at + 1]), (kind, bounds, order, at + 1))
                    pipeline, data, batch = kind.degrees[order[at]].tolist()
                    plan = replace(kind.plan, pipeline=pipeline, data=data, global_batch=batch)
                    for scheduled in self._schedules(kind, plan):
                        push(max(bound_s, self._least_s(kind, scheduled)), (kind, scheduled))

    def _kinds(self, uneven: bool) -> Iterator[_Kind]:
        """Yield the ways to run a layer, each with the degrees that the devices at hand allow it."""
        running = self.running
        base = replace(running, stages=(), assignment=(), zero=0, shard=0, virtual=1, recompute_layers=0)
        recomputes = [(one, 0) for one in Recompute if not (running.flash and one is Recompute.SELECTIVE)]
        if running.recompute_layers:
            recomputes.append((running.recompute, running.recompute_layers))
        schedules = dict.fromkeys((Schedule.ONE_F_ONE_B, Schedule.ZERO_BUBBLE, running.schedule))
        for tensor in sorted({*divisors(self._per_node()), running.tensor}):
            sequence = tensor > 1 and (running.sequence or running.tensor == 1)
            ranked = replace(base, tensor=tensor, sequence=sequence)
            if self._layers(ranked) is None:
                continue
            degrees = self._near(ranked) if uneven else self._even(ranked)
            for micro_batch in MICRO_BATCHES:
                able = degrees[(degrees[:, 2] // degrees[:, 1]) % micro_batch == 0]
                for (recompute, count), schedule in itertools.product(recomputes, schedules):
                    here = able if schedule is Schedule.ONE_F_ONE_B else able[able[:, 0] > 1]
                    if len(here):
                        plan = replace(ranked, micro_batch=micro_batch, schedule=schedule, recompute=recompute)
                        self.considered += len(here)
                        yield self._kind(replace(plan, recompute_layers=count), here)

    def _per_node(self) -> int:
        inner = self.node.levels[0].devices
        return min(self.devices, inner) if inner else self.devices

    def _pipelines(self) -> range:
        layers = max(1, len(self.workload.order) - 2)
        branches = any(edge.target != edge.source + 1 for edge in self.workload.edges)
        return range(1, 2 if branches else layers + 1)

    def _even(self, ranked: Plan) -> Ints:
        """Return (pipeline, data, batch) of all degrees that divide the batch and that there is room for."""
        width, batch = ranked.tensor * ranked.context, ranked.global_batch
        rows = [
            (pipeline, data, batch)
            for pipeline in self._pipelines()
            for data in divisors(batch)
            if width * pipeline * data <= self.devices
            and (width * data) % ranked.expert == 0
            and self.fleet(width * pipeline * data) is not None
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def _near(self, ranked: Plan) -> Ints:
        """Return for each pipeline the most replicas that there is room for, with the nearest batch they divide."""
        width, asked = ranked.tensor * ranked.context, ranked.global_batch
        rows = []
        for pipeline in self._pipelines():
            data = self.devices // (width * pipeline)
            while data > 1 and self.fleet(width * pipeline * data) is None:
                data -= 1
            batch = round(asked / data) * data if data else 0
            if batch and batch != asked and abs(batch - asked) <= NEAR * asked and (width * data) % ranked.expert == 0:
                if self.fleet(width * pipeline * data) is not None:
                    rows.append((pipeline, data, batch))
        return np.array(rows, dtype=np.int64).reshape(-1, 3)

    def _kind(self, plan: Plan, degrees: Ints) -> _Kind:
        chain = self._chain(plan)
        priced_as = self._chain(replace(plan, recompute=Recompute.NONE)) if plan.recompute_layers else chain
        first = degrees[0].tolist()
        fleet = _fleet(self, plan.tensor * plan.context * int(first[0]) * int(first[1]))
        site, known = fleet.sites[0], self._known_on(fleet)
        priced = {id(one): layer_seconds(one, plan, site, known) for one in priced_as.whole}
        seconds = np.array([[getattr(priced[id(one)], side) for one in priced_as.whole] for side in _SIDES])
        before_s = np.concatenate([np.zeros((3, 1)), np.cumsum(seconds, axis=1)], axis=1)
        plain = self._chain(replace(plan, recompute=Recompute.NONE, recompute_layers=0))
        return _Kind(plan, chain, before_s, weights_of(plain.layers, chain.layers), degrees)

    def _bounds(self, kind: _Kind) -> Floats:
        """Return lower bounds of seconds a sample by degrees: all micro-batches on the slowest stage."""
        total, slowest = kind.before_s.sum(axis=0), {}
        for pipeline in np.unique(kind.degrees[:, 0]).tolist():
            loads = [
                np.diff(total[kind.cuts(replace(kind.plan, pipeline=pipeline, stages=stages))]).max()
                for stages in self._stages(pipeline)
            ]
            slowest[pipeline] = min(loads)
        load_s = np.array([slowest[one] for one in kind.degrees[:, 0].tolist()])
        return np.asarray(load_s / (kind.degrees[:, 1] * kind.plan.micro_batch))

    def _stages(self, pipeline: int) -> tuple[tuple[int, ...], ...]:
        """Return the ways to cut stages: even, and as the running plan has them."""
        own = self.running.stages
        return ((), own) if own and pipeline == self.running.pipeline else ((),)

    def _schedules(self, kind: _Kind, plan: Plan) -> Iterator[Plan]:
        first, last = kind.ends
        each = -(-(last - first) // plan.pipeline)
        virtuals = [1]
        if plan.schedule is Schedule.ONE_F_ONE_B and plan.pipeline > 1 and plan.micro_batches % plan.pipeline == 0:
            virtuals = divisors(each)
            if self.running.pipeline == plan.pipeline:
                virtuals = sorted({*virtuals, self.running.virtual})
        for virtual, stages in itertools.product(virtuals, self._stages(plan.pipeline)):
            one = replace(plan, virtual=virtual, stages=stages)
            if not any(problems(one)):
                yield one

    def _least_s(self, kind: _Kind, plan: Plan) -> float:
        """Return a lower bound of seconds a sample of a plan with its schedule, whatever ZeRO divides."""
        if plan.pipeline == 1:
            return 0.0
        fleet = _fleet(self, plan.devices)
        hop_s = fleet.hop_s(plan, fleet.of_stages(plan), kind.chain.crossing_bytes([0, 1]))
        forward_s, backward_s, weight_s = kind.chunks_s(plan)
        return least_s(forward_s, backward_s, weight_s, hop_s, plan.micro_batches, plan.schedule) / plan.global_batch

    def _zeros(self, kind: _Kind, plan: Plan) -> Iterator[Plan]:
        """Yield what ZeRO may divide, as far as it may fit."""
        replicas, own = plan.data * plan.context, self.running.shard
        memory = [self.chip.memory_bytes] * plan.pipeline
        for zero in (0, 1, 2, 3) if replicas > 1 else (0,):
            for over in {0, own} if zero and replicas % max(1, own) == 0 else {0}:
                one = replace(plan, zero=zero, shard=over)
                if not any(problems(one)) and may_fit(kind.weights, kind.ends[1] - kind.ends[0], one, memory):
                    yield one


def _degrees(plan: Plan) -> Parallelism:
    return Parallelism(tensor=plan.tensor, sequence=plan.sequence, context=plan.context, expert=plan.expert)


def _fleet(variants: Variants, devices: int) -> Fleet:
    site = Site(
        device=variants.chip.name,
        cluster=even_cluster(variants.node, devices),
        pricer=variants.pricer,
        memory_bytes=variants.chip.memory_bytes,
    )
    return Fleet(sites=(site,))
