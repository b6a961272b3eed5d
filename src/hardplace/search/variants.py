"""What a running plan could become on the devices at hand, in rising order of seconds a sample
(docs/model-replan.md, "The space"). Read `Variants.rising` first."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.work import LayerWork
from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.pipeline import Pipelined, end_of_step_s, least, pipelined
from hardplace.placement.plan import Plan, Schedule, problems, stage_layers
from hardplace.placement.room import Held, room
from hardplace.search.cells import Weights, may_fit, weights_of
from hardplace.search.chain import Chain, chain_of
from hardplace.search.clusters import Fleet, Site, even_cluster, pricer_of
from hardplace.search.estimate import PlanEstimate, estimate_plan, held
from hardplace.search.space import divisors
from hardplace.search.timing import Known, end_of_stage, layer_seconds
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Layer, Parallelism, Recompute, Workload

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MICRO_BATCHES = (1, 2, 4, 8, 16)
_SIDES = ("forward_s", "backward_s", "weight_s")
NEAR = 0.02  # by what share an uneven batch may differ from the running one


@dataclass(frozen=True, slots=True)
class _Cut:
    """A chain cut into stages: where each begins, and the end; where their chunks do, by number of chunks."""

    first: int
    last: int
    edges: Ints

    def chunks(self, virtual: int) -> Ints:
        """Return where every chunk begins and ends, (stages, chunks + 1): what is always first in the first chunk."""
        low, high = self.edges[:-1, None], self.edges[1:, None]
        start, end = np.maximum(low, self.first), np.minimum(high, self.last)
        inner = start + (end - start) * np.arange(1, virtual) // virtual
        return np.concatenate([low, inner, high], axis=1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Layers of a rank under degrees, micro-batch, recompute and schedule (plan), with seconds of all layers before
    each: (forward, backward, weight gradients; layers + 1). degrees: rows of pipeline, data and batch."""

    plan: Plan
    chain: Chain
    before_s: Floats
    weights: Weights
    degrees: Ints


@dataclass(frozen=True, slots=True)
class _Timed:
    """A plan whose ZeRO is not yet chosen, with lower bounds: when each stage is done, and of the whole step but its
    end."""

    kind: _Kind
    plan: Plan
    cut: _Cut
    hop_s: float
    done_s: Floats
    total_s: float
    runs: list[Pipelined]

    def chunks_s(self) -> list[list[list[float]]]:
        """Return seconds of a micro-batch, [forward, backward, weight gradients][stage][chunk]."""
        found: list[list[list[float]]] = np.diff(self.kind.before_s[:, self.cut.chunks(self.plan.virtual)]).tolist()
        return found

    def run(self) -> Pipelined:
        """Return the pipeline's seconds, worked out once."""
        if not self.runs:
            plan = self.plan
            self.runs.append(pipelined(*self.chunks_s(), self.hop_s, plan.micro_batches, plan.schedule))
        return self.runs[0]


@dataclass(frozen=True, slots=True)
class _Ended:
    """A plan with the end of the step of every stage; timed: None where `estimate_plan` must price it."""

    plan: Plan
    timed: _Timed | None
    ends_s: tuple[float, ...]


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
        self._timed: dict[Plan, tuple[Chain, Floats, Weights]] = {}
        self._holds: dict[tuple[object, ...], tuple[list[tuple[LayerWork, ...]], list[Held]]] = {}
        self._cuts: dict[tuple[int, tuple[int, ...]], _Cut] = {}

    # -- one plan ---------------------------------------------------------------------------------------------------

    def estimate(self, plan: Plan) -> PlanEstimate:
        """Return what a plan costs; BadInput where it does not suit the model or the nodes."""
        key = plan.tensor, plan.sequence
        if key not in self._made:
            check_degrees(self.workload, _degrees(plan))
            self._made[key] = shard(self.workload, _degrees(plan)).layers
        return self._estimate(plan, _fleet(self, plan.devices))

    def _estimate(self, plan: Plan, fleet: Fleet) -> PlanEstimate:
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

    def nearest(self) -> tuple[Plan, int, float] | None:
        """Return, of plans as divided as they go (all recomputed, micro-batches of 1), the one that is nearest to fit, with
        its fullest stage and the bytes that it is short of; None where there are no degrees at all."""
        best: tuple[Plan, int, float] | None = None
        for kind in self._kinds(False):
            if kind.plan.recompute is not Recompute.FULL or kind.plan.recompute_layers or kind.plan.micro_batch > 1:
                continue
            for pipeline in np.unique(kind.degrees[:, 0]).tolist():
                data = int(kind.degrees[kind.degrees[:, 0] == pipeline, 1].max())
                zero = (3 if pipeline == 1 else 2) if data * kind.plan.context > 1 else 0
                plan = replace(kind.plan, pipeline=pipeline, data=data, zero=zero)
                _, holds = self._held(kind.chain, self._cut(pipeline, (), kind.chain), plan)
                full = [room(plan, at, hold).total_bytes for at, hold in enumerate(holds)]
                stage = max(range(pipeline), key=full.__getitem__)
                over = full[stage] - self.chip.memory_bytes
                if best is None or over < best[2]:
                    best = plan, stage, over
        return best

    # -- all plans --------------------------------------------------------------------------------------------------

    def rising(self, *, uneven: bool = False, limit_s: float = math.inf) -> Iterator[PlanEstimate]:
        """Yield all plans that fit, in rising order of seconds a sample, exactly, as far as those are below a limit.

        uneven: of batches near the running one instead, which more devices divide.
        """
        counter = itertools.count()
        heap: list[tuple[float, int, object]] = []

        def push(bound_s: float, one: object) -> None:
            heapq.heappush(heap, (bound_s, next(counter), one))

        for kind in self._kinds(uneven):
            bounds = self._bounds(kind)
            order = np.argsort(bounds, kind="stable")
            push(float(bounds[order[0]]), (kind, bounds[order].tolist(), order.tolist(), 0))
        while heap and heap[0][0] < limit_s:
            bound_s, _, one = heapq.heappop(heap)
            match one:
                case Plan():
                    yield self._estimate(one, _fleet(self, one.devices))
                case _Timed():
                    for ended, least_s in self._divided(one):
                        push(max(bound_s, least_s / one.plan.global_batch), ended)
                case _Ended():
                    step_s = self._step_s(one)
                    if step_s < math.inf:
                        push(step_s / one.plan.global_batch, one.plan)
                case (kind, bounds, order, at):
                    if at + 1 < len(order):
                        push(bounds[at + 1], (kind, bounds, order, at + 1))
                    pipeline, data, batch = kind.degrees[order[at]].tolist()
                    plan = replace(kind.plan, pipeline=pipeline, data=data, global_batch=batch)
                    for timed in self._schedules(kind, plan):
                        push(max(bound_s, timed.total_s / batch), timed)

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
        """Return a way to run a layer; its seconds are those of every row of the degrees."""
        key = replace(plan, global_batch=1)
        if key not in self._timed:
            self._timed[key] = self._times(plan, degrees[0].tolist())
        return _Kind(plan, *self._timed[key], degrees)

    def _times(self, plan: Plan, degrees: Sequence[int]) -> tuple[Chain, Floats, Weights]:
        chain = self._chain(plan)
        plain = self._chain(replace(plan, recompute=Recompute.NONE, recompute_layers=0))
        priced_as = plain if plan.recompute_layers else chain
        fleet = _fleet(self, plan.tensor * plan.context * degrees[0] * degrees[1])
        site, known = fleet.sites[0], self._known_on(fleet)
        distinct = {id(one): one for one in priced_as.whole}
        seconds = {}
        for key, one in distinct.items():
            priced = layer_seconds(one, plan, site, known)
            seconds[key] = priced.forward_s, priced.backward_s, priced.weight_s
        table = np.array([seconds[id(one)] for one in priced_as.whole]).T
        before_s = np.concatenate([np.zeros((3, 1)), np.cumsum(table, axis=1)], axis=1)
        return chain, before_s, weights_of(plain.layers, chain.layers)

    def _cut(self, pipeline: int, stages: tuple[int, ...], chain: Chain) -> _Cut:
        """Return the stages of a chain, as `stages_of` has them."""
        key = pipeline, stages
        if key not in self._cuts:
            first, last = len(chain.before), len(chain.whole) - len(chain.after)
            edges = np.array([0, len(chain.whole)])
            if pipeline > 1:
                sizes = stage_layers(last - first, replace(self.running, pipeline=pipeline, stages=stages))
                edges = np.concatenate([[0], first + np.cumsum(sizes)])
                edges[-1] = len(chain.whole)
            self._cuts[key] = _Cut(first, last, edges)
        return self._cuts[key]

    def _bounds(self, kind: _Kind) -> Floats:
        """Return lower bounds of seconds a sample by degrees: all micro-batches on the slowest stage, and the way of the
        first one down to it and of the last one back, a layer a stage; where weight gradients run apart, the way of the
        first one to the last stage and all on it."""
        pipelines = np.unique(kind.degrees[:, 0])
        apart = kind.plan.schedule is Schedule.ZERO_BUBBLE
        layer_s = np.diff(kind.before_s, axis=1)[:2].sum(axis=0)[len(kind.chain.before) :].min()
        slowest, way, last = np.full((3, int(pipelines[-1]) + 1), np.inf)
        total_s, both_s = kind.before_s.sum(axis=0), kind.before_s[:2].sum(axis=0)
        for stages in {(), self.running.stages}:
            here = [one for one in pipelines.tolist() if stages in self._stages(one)]
            if not here:
                continue
            edges = [self._cut(one, stages, kind.chain).edges for one in here]
            starts = np.cumsum([0, *(len(one) for one in edges[:-1])])
            loads = np.diff(total_s[np.concatenate(edges)], append=0.0)  # from one pipeline's end to the next: below 0
            slowest[here] = np.minimum(slowest[here], np.maximum.reduceat(loads, starts))
            final = both_s[[one[-2] for one in edges]]
            way[here] = np.minimum(way[here], final if apart else (np.array(here) - 1) * layer_s)
            last[here] = np.minimum(last[here], both_s[-1] - final)
        pipeline, data, batch = kind.degrees.T
        times = batch // (data * kind.plan.micro_batch)
        if apart:
            return np.asarray(np.maximum(times * slowest[pipeline], way[pipeline] + times * last[pipeline]) / batch)
        hidden = kind.plan.recompute_layers or kind.plan.schedule is Schedule.GPIPE
        return np.asarray((times * slowest[pipeline] + (0.0 if hidden else way[pipeline])) / batch)

    def _stages(self, pipeline: int) -> tuple[tuple[int, ...], ...]:
        """Return the ways to cut stages: even, and as the running plan has them."""
        own = self.running.stages
        return ((), own) if own and pipeline == self.running.pipeline else ((),)

    def _schedules(self, kind: _Kind, plan: Plan) -> Iterator[_Timed]:
        fleet = _fleet(self, plan.devices)
        for stages in self._stages(plan.pipeline):
            cut = self._cut(plan.pipeline, stages, kind.chain)
            hop_s = 0.0
            if plan.pipeline > 1:
                hop_s = fleet.hop_s(plan, fleet.of_stages(plan), kind.chain.crossing_bytes([0, 1]))
            virtuals = [1]
            if plan.schedule is Schedule.ONE_F_ONE_B and plan.pipeline > 1 and plan.micro_batches % plan.pipeline == 0:
                virtuals = divisors(-(-(cut.last - cut.first) // plan.pipeline))
                if self.running.pipeline == plan.pipeline:
                    virtuals = sorted({*virtuals, self.running.virtual})
            for virtual in virtuals:
                one = replace(plan, virtual=virtual, stages=stages)
                yield _Timed(kind, one, cut, hop_s, *_least_s(kind, one, cut, hop_s), [])

    def _divided(self, timed: _Timed) -> Iterator[tuple[_Ended, float]]:
        """Yield what ZeRO may divide, as far as it fits, with a lower bound of the seconds of a step."""
        plan, fixed_s = timed.plan, self.pricer.efficiencies.step_s
        for one in self._zeros(timed):
            if one.zero == 3 or one.recompute_layers:
                yield _Ended(one, None, ()), timed.total_s
                continue
            stages, holds = self._held(timed.kind.chain, timed.cut, timed.plan)
            if any(room(one, at, hold).total_bytes > self.chip.memory_bytes for at, hold in enumerate(holds)):
                continue
            site = _fleet(self, plan.devices).sites[0]
            forward_s, backward_s, _ = timed.chunks_s()
            known: dict[object, float] = {}
            ends = []
            for stage, hold, f, b in zip(stages, holds, map(sum, forward_s), map(sum, backward_s), strict=True):
                key = hold.parameters, hold.expert_parameters, len(stage), f, b
                if key not in known:
                    known[key] = sum(end_of_stage(stage, one, site, f, b))
                ends.append(known[key])
            least_s = max(timed.total_s + min(ends), float((timed.done_s + ends).max()))
            yield _Ended(one, timed, tuple(ends)), least_s + fixed_s

    def _zeros(self, timed: _Timed) -> Iterator[Plan]:
        plan, own = timed.plan, self.running.shard
        memory = [self.chip.memory_bytes] * plan.pipeline
        replicas = plan.data * plan.context
        for zero in (0, 1, 2, 3) if replicas > 1 else (0,):
            for over in {0, own} if zero and replicas % max(1, own) == 0 else {0}:
                one = replace(plan, zero=zero, shard=over)
                fits = may_fit(timed.kind.weights, timed.cut.last - timed.cut.first, one, memory)
                if fits and not any(problems(one)):
                    yield one

    def _held(self, chain: Chain, cut: _Cut, plan: Plan) -> tuple[list[tuple[LayerWork, ...]], list[Held]]:
        """Return each stage's layers, and what they hold."""
        key = id(chain), plan.pipeline, plan.stages
        if key not in self._holds:
            stages = [chain.whole[low:high] for low, high in itertools.pairwise(cut.edges.tolist())]
            self._holds[key] = stages, [held(stage) for stage in stages]
        return self._holds[key]

    def _step_s(self, ended: _Ended) -> float:
        """Return the seconds of a step as `estimate_plan` has them; inf where it does not fit."""
        self.priced += 1
        if ended.timed is None:
            estimate = self._estimate(ended.plan, _fleet(self, ended.plan.devices))
            return estimate.step_s if estimate.fits else math.inf
        run = ended.timed.run()
        return run.total_s + end_of_step_s(ended.ends_s, run.ends_s) + self.pricer.efficiencies.step_s


def _least_s(kind: _Kind, plan: Plan, cut: _Cut, hop_s: float) -> tuple[Floats, float]:
    """Return lower bounds of when each stage is done and of the step without its end, whatever ZeRO divides."""
    if plan.recompute_layers:
        return np.zeros(plan.pipeline), 0.0
    seconds = np.diff(kind.before_s[:, cut.chunks(plan.virtual)])[..., None]
    done, total = least(seconds, np.array([hop_s]), plan.micro_batches, plan.schedule)
    return done[:, 0], float(total[0])


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
