"""One plan of one model on GPUs that exist: seconds of a step, where they go, and memory by stage.

Every equation, with units and sources: docs/model-placement.md. Read `estimate_plan` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.cost.gpu.decoder import DecoderShape, Degrees, block, embedding, head
from hardplace.cost.gpu.price import Pricer, Ring, Seconds
from hardplace.cost.gpu.recorded import layer_work
from hardplace.cost.gpu.streams import Stream
from hardplace.cost.gpu.work import Attending, LayerWork, Product
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.placement.pipeline import end_of_step_s, pipelined
from hardplace.placement.plan import GRADIENT_BYTES, STATE_BYTES, Dimension, Plan, stage_layers
from hardplace.placement.room import WEIGHT_BYTES, Held, Room, room
from hardplace.search.clusters import Fleet, Site
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Group, Layer, Parallelism, Recompute, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A model's layers on one rank: what is always on the first stage, what is cut into stages, what is on the last.

    plain: `layers` without recompute, for plans that recompute some of a stage's layers; () where none does. edges:
    (from, to, bytes) between all layers where they branch; () for a chain, which hands its first layer's output on.
    """

    before: tuple[LayerWork, ...]
    layers: tuple[LayerWork, ...]
    after: tuple[LayerWork, ...]
    sequence_length: int
    plain: tuple[LayerWork, ...] = ()
    edges: tuple[tuple[int, int, float], ...] = ()

    @property
    def whole(self) -> tuple[LayerWork, ...]:
        """All layers in order."""
        return (*self.before, *self.layers, *self.after)

    def crossing_bytes(self, stages: Sequence[int]) -> float:
        """Return the most bytes that pass from one stage to the next; stages: of every layer, in order."""
        if not self.edges:
            return self.layers[0].output_bytes if self.layers else 0.0
        cuts = range(max(stages))
        sums = [sum(size for a, b, size in self.edges if stages[a] <= cut < stages[b]) for cut in cuts]
        return max(sums, default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a step's seconds, by name; of the busiest stage."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEstimate:
    """What a plan costs. shares add up to step_s. memory: by stage, of memory_bytes each. mfu: without recompute, whole
    attention, over the peak of 16-bit products. forward_s, backward_s: of a micro-batch by stage."""

    plan: Plan
    devices: int
    step_s: float
    shares: tuple[Share, ...]
    memory: tuple[Room, ...]
    memory_bytes: tuple[float, ...]
    mfu: float
    tokens_per_s: float
    stage_layers: tuple[int, ...]
    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]
    hop_s: float
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether every stage fits the device."""
        return all(one.total_bytes <= held for one, held in zip(self.memory, self.memory_bytes, strict=True))


def of_shape(shape: DecoderShape, plan: Plan) -> Chain:
    """Return a decoder's layers on one rank, as fused kernels run them; BadInput if a degree does not divide it."""
    for name, degree, size in (
        ("tensor", plan.tensor, shape.heads),
        ("context", plan.context, shape.sequence),
        ("expert", plan.expert, shape.experts.count if shape.experts else 1),
    ):
        if size % degree:
            what = {"tensor": "heads", "context": "sequence", "expert": "experts"}[name]
            raise BadInput(f"{name}: {degree}: expected a divisor of the model's {what}, {size}")
    degrees = Degrees(
        tensor=plan.tensor,
        sequence=plan.sequence,
        context=plan.context,
        expert=plan.expert,
        micro_batch=plan.micro_batch,
        flash=plan.flash,
        gradient_bytes=GRADIENT_BYTES[plan.gradient],
    )
    known: dict[tuple[bool, bool], LayerWork] = {}
    layers = []
    for number in range(shape.layers):
        dense = shape.experts is None or number < shape.experts.dense_layers
        key = (dense, bool(shape.window) and number % shape.window_every == 0)
        if key not in known:
            known[key] = block(shape, degrees, plan.recompute, number)
        layers.append(known[key])
    last = head(shape, degrees)
    more = (layers[-1], last) * shape.predicted
    return Chain(
        before=(embedding(shape, degrees),),
        layers=tuple(layers),
        after=(last, *more),
        sequence_length=shape.sequence,
    )


def of_workload(workload: Workload, plan: Plan) -> Chain:
    """Return a recorded model's layers on one rank; BadInput if a degree divides nothing of it.

    The first layer stays on the first stage and the last on the last, and neither is recomputed (embedding, head).
    """
    degrees = Parallelism(tensor=plan.tensor, sequence=plan.sequence, context=plan.context, expert=plan.expert)
    check_degrees(workload, degrees)
    return chain_of(workload, shard(workload, degrees).layers, plan)


def chain_of(workload: Workload, made: Sequence[Layer], plan: Plan) -> Chain:
    """Return the chain of layers that are sharded already; of the plan, micro-batch and recompute count."""
    ends = {workload.order[0], workload.order[-1]}
    kinds = {index: Recompute.NONE if index in ends else plan.recompute for index in workload.order}
    work = {index: layer_work(made[index], plan.micro_batch, kind) for index, kind in kinds.items()}
    order = tuple(work[index] for index in workload.order)
    inner = workload.order[1:-1]
    plain: tuple[LayerWork, ...] = ()
    if plan.recompute_layers:
        eased = {index: layer_work(made[index], plan.micro_batch, Recompute.NONE) for index in set(inner)}
        plain = tuple(eased[index] for index in inner)
    if len(order) < 2:
        return Chain(before=(), layers=order, after=(), sequence_length=workload.sequence_length)
    return Chain(
        before=order[:1],
        layers=order[1:-1],
        after=order[-1:],
        sequence_length=workload.sequence_length,
        plain=plain,
        edges=_edges(workload, made, plan.micro_batch),
    )


def _edges(workload: Workload, made: Sequence[Layer], micro_batch: int) -> tuple[tuple[int, int, float], ...]:
    """Return what passes between layers that branch, a tensor once for each layer that takes it; () for a chain."""
    if all(edge.target == edge.source + 1 for edge in workload.edges):
        return ()
    found = []
    for edge in workload.edges:
        source = made[workload.order[edge.source]]
        size = source.storages[source.outputs[edge.output]].bytes.at(micro_batch)
        found.append((edge.source, edge.target, float(size)))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSeconds:
    """Seconds of a layer: forward, backward with recompute, data-parallel traffic that compute does not hide."""

    forward: Seconds
    backward: Seconds
    forward_gather_s: float
    backward_gather_s: float

    @property
    def forward_s(self) -> float:
        """Of the forward pass."""
        return self.forward.total_s + self.forward_gather_s

    @property
    def backward_s(self) -> float:
        """Of the backward pass, with recompute."""
        return self.backward.total_s + self.backward_gather_s


# By the layer's id, the site and the groups: the layer (kept alive), its forward, its backward.
Known = dict[tuple[object, ...], tuple[LayerWork, Seconds, Seconds]]


def estimate_plan(chain: Chain, plan: Plan, fleet: Fleet, known: Known | None = None) -> PlanEstimate:
    """Return seconds and memory of a plan; fleet: of exactly the plan's devices.

    known: layers already priced on this fleet, for callers with many plans of one chain.
    """
    known = {} if known is None else known
    if fleet.devices != plan.devices:
        raise BadInput(
            f"tensor x context x data x pipeline: {plan.tensor} x {plan.context} x {plan.data} x {plan.pipeline} = "
            f"{plan.devices}: expected the number of devices, {fleet.devices}"
        )
    places = stages_of(chain, plan)
    stages, sites = stage_work(chain, plan, places), fleet.of_stages(plan)
    priced = [
        {id(one): layer_seconds(one, plan, site, known) for one in stage}
        for stage, site in zip(stages, sites, strict=True)
    ]
    forward_s = [sum(by[id(one)].forward_s for one in stage) for by, stage in zip(priced, stages, strict=True)]
    backward_s = [sum(by[id(one)].backward_s for one in stage) for by, stage in zip(priced, stages, strict=True)]
    hop_s = fleet.hop_s(plan, sites, chain.crossing_bytes(places)) if plan.pipeline > 1 else 0.0
    chunks = [[[one / plan.virtual] * plan.virtual for one in side] for side in (forward_s, backward_s)]
    nothing = [[0.0] * plan.virtual] * plan.pipeline
    run = pipelined(*chunks, nothing, hop_s, plan.micro_batches, plan.schedule)
    ends = [
        end_of_stage(stage, plan, site, f, b)
        for stage, site, f, b in zip(stages, sites, forward_s, backward_s, strict=True)
    ]
    end_s = end_of_step_s([sum(one) for one in ends], run.ends_s)
    step_s = run.total_s + end_s
    busiest = [priced[run.stage][id(one)] for one in stages[run.stage]]
    parts = sum((one.forward + one.backward for one in busiest), Seconds())
    gathers_s = sum(one.forward_gather_s + one.backward_gather_s for one in busiest)
    times = plan.micro_batches
    shares = (
        Share(name="matrix products", seconds=times * parts.products_s),
        Share(name="attention", seconds=times * parts.attention_s),
        Share(name="norms, chains, losses", seconds=times * parts.streams_s),
        Share(name="waits for the host", seconds=times * parts.host_s),
        Share(name="tensor, context and expert exchange", seconds=times * parts.exchange_s),
        Share(name="weights gathered and gradients scattered (ZeRO-3), exposed", seconds=times * gathers_s),
        Share(name="pipeline: filling, draining, hops, slower stages", seconds=run.bubble_s),
        Share(name="end of step: reduction and gather not hidden, optimizer", seconds=end_s),
    )
    flops = _flops(chain, plan)
    each = plan.devices // plan.pipeline
    peak_flops_per_s = each * sum(site.pricer.model.datasheet.tensor_flops_per_s for site in sites)
    return PlanEstimate(
        plan=plan,
        devices=plan.devices,
        step_s=step_s,
        shares=shares,
        memory=tuple(room(plan, index, held(stage)) for index, stage in enumerate(stages)),
        memory_bytes=tuple(site.memory_bytes for site in sites),
        mfu=flops / (step_s * peak_flops_per_s),
        tokens_per_s=plan.global_batch * chain.sequence_length / step_s,
        stage_layers=tuple(
            places[len(chain.before) : len(places) - len(chain.after)].count(one) for one in range(plan.pipeline)
        ),
        forward_s=tuple(forward_s),
        backward_s=tuple(backward_s),
        hop_s=hop_s,
        notes=tuple(dict.fromkeys(note for site in fleet.sites for note in _notes(site.pricer))),
    )


def stages_of(chain: Chain, plan: Plan) -> list[int]:
    """Return the stage of every layer; BadInput where the plan's do not fit the model."""
    count = len(chain.whole)
    if plan.assignment:
        if len(plan.assignment) != count:
            raise BadInput(f"assignment: {len(plan.assignment)} stages: expected one for each of the {count} layers")
        back = [(a, b) for a, b, _ in chain.edges or [(one, one + 1, 0.0) for one in range(count - 1)]]
        if any(plan.assignment[a] > plan.assignment[b] for a, b in back):
            raise BadInput("assignment: a layer stands before one that it needs: expected stages in the model's order")
        return list(plan.assignment)
    if chain.edges and plan.pipeline > 1:
        raise BadInput("assignment: (): expected the stage of every layer, since the model's layers branch")
    if plan.pipeline == 1:
        return [0] * count
    inner = [stage for stage, size in enumerate(stage_layers(len(chain.layers), plan)) for _ in range(size)]
    return [0] * len(chain.before) + inner + [plan.pipeline - 1] * len(chain.after)


def stage_work(chain: Chain, plan: Plan, places: Sequence[int]) -> list[tuple[LayerWork, ...]]:
    """Return each stage's layers; recompute_layers: of those that are cut, only so many of each are recomputed."""
    stages: list[list[LayerWork]] = [[] for _ in range(plan.pipeline)]
    seen = [0] * plan.pipeline
    first, last = len(chain.before), len(chain.before) + len(chain.layers)
    for place, (layer, stage) in enumerate(zip(chain.whole, places, strict=True)):
        if first <= place < last:
            seen[stage] += 1
            if plan.recompute_layers and seen[stage] > plan.recompute_layers:
                layer = chain.plain[place - first]
        stages[stage].append(layer)
    return [tuple(one) for one in stages]


def _groups(plan: Plan) -> dict[Group, Ring]:
    """Return the ranks of each collective; experts fold into tensor x context x data, innermost first."""
    return {
        Group.TENSOR: Ring(members=plan.tensor, stride=plan.stride(Dimension.TENSOR)),
        Group.CONTEXT: Ring(members=plan.context, stride=plan.stride(Dimension.CONTEXT)),
        Group.EXPERT: Ring(members=plan.expert, stride=_innermost(plan)),
    }


def _innermost(plan: Plan) -> int:
    return plan.pipeline if plan.order[0] is Dimension.PIPELINE else 1


def _replicas(plan: Plan) -> tuple[Ring, Ring]:
    """Return the ranks that share the gradients of dense layers, and of experts."""
    whole = plan.tensor * plan.context * plan.data
    stride = min(plan.stride(Dimension.CONTEXT), plan.stride(Dimension.DATA))
    return Ring(members=plan.data * plan.context, stride=stride), Ring(
        members=whole // plan.expert, stride=plan.expert * _innermost(plan)
    )


def layer_seconds(layer: LayerWork, plan: Plan, site: Site, known: Known) -> LayerSeconds:
    """Return a layer's seconds; under ZeRO-3 its weights are gathered in each pass and its gradients scattered."""
    pricer, groups = site.pricer, _groups(plan)
    key = (id(layer), site.device, *groups.values())
    if key not in known:
        forward = pricer.seconds(layer.forward, site.cluster, groups)
        known[key] = layer, forward, pricer.seconds((*layer.again, *layer.backward), site.cluster, groups)
    _, forward, backward = known[key]
    if plan.zero < 3:
        return LayerSeconds(forward=forward, backward=backward, forward_gather_s=0.0, backward_gather_s=0.0)
    gather_s = _traffic_s(layer, plan, site, Collective.ALL_GATHER, WEIGHT_BYTES)
    scatter_s = _traffic_s(layer, plan, site, Collective.REDUCE_SCATTER, GRADIENT_BYTES[plan.gradient])
    hidden = pricer.efficiencies.hidden if plan.overlap else 0.0
    return LayerSeconds(
        forward=forward,
        backward=backward,
        forward_gather_s=_beside_s(gather_s, forward.compute_s, hidden, pricer.efficiencies.contention),
        backward_gather_s=_beside_s(gather_s + scatter_s, backward.compute_s, hidden, pricer.efficiencies.contention),
    )


def _beside_s(traffic_s: float, compute_s: float, hidden: float, contention: float) -> float:
    """Return what traffic beside compute adds: what does not hide, and what it slows the compute down by."""
    inside_s = min(traffic_s, hidden * compute_s)
    return traffic_s - inside_s + contention * inside_s


def _traffic_s(layer: LayerWork, plan: Plan, site: Site, collective: Collective, bytes_each: int) -> float:
    """Return seconds of a collective of a layer's parameters over its replicas (ZeRO's shards, if fewer)."""
    total_s = 0.0
    for count, ring in zip((layer.parameters, layer.expert_parameters), _replicas(plan), strict=True):
        if count and ring.members > 1:
            members = (
                min(ring.members, plan.shard)
                if plan.shard and collective is not Collective.ALL_REDUCE
                else (ring.members)
            )
            part = Ring(members=members, stride=ring.stride)
            total_s += site.pricer.exchange_s(collective, float(bytes_each * count), site.cluster, part)
    return total_s


def end_of_stage(
    stage: Sequence[LayerWork], plan: Plan, site: Site, forward_s: float, backward_s: float
) -> tuple[float, float]:
    """Return a stage's (exposed reduction and gather, optimizer step) in seconds.

    Reduction hides behind the last micro-batch's backward but for its last layer, gather behind the first forward.
    """
    pricer = site.pricer
    whole = LayerWork(
        name="stage",
        forward=(),
        again=(),
        backward=(),
        parameters=sum(one.parameters for one in stage),
        expert_parameters=sum(one.expert_parameters for one in stage),
        saved_bytes=0.0,
        working_bytes=0.0,
        output_bytes=0.0,
    )
    gradient = GRADIENT_BYTES[plan.gradient]
    count = whole.parameters / (plan.sharded_over if plan.zero else 1)
    expert_replicas = _replicas(plan)[1].members
    count += whole.expert_parameters / (min(expert_replicas, plan.sharded_over) if plan.zero else 1)
    moved = count * (gradient + 2 * STATE_BYTES[plan.optimizer] + WEIGHT_BYTES)
    update_s = pricer.moved_s(Stream.OPTIMIZER, moved)
    hidden = pricer.efficiencies.hidden * (1.0 - 1.0 / max(1, len(stage))) if plan.overlap else 0.0
    exposed_s = 0.0
    if plan.zero == 0:
        whole_s = _traffic_s(whole, plan, site, Collective.ALL_REDUCE, gradient)
        exposed_s = max(whole_s - hidden * backward_s, whole_s / max(1, len(stage)))
    elif plan.zero < 3:
        scatter_s = _traffic_s(whole, plan, site, Collective.REDUCE_SCATTER, gradient)
        gather_s = _traffic_s(whole, plan, site, Collective.ALL_GATHER, WEIGHT_BYTES)
        exposed_s = max(scatter_s - hidden * backward_s, scatter_s / max(1, len(stage)))
        exposed_s += max(gather_s - hidden * forward_s, gather_s / max(1, len(stage)))
    if plan.shard and plan.zero and plan.shard < plan.data * plan.context:
        inside = _replicas(plan)[0].stride * plan.shard
        between = Ring(members=plan.data * plan.context // plan.shard, stride=inside)
        part = gradient * whole.parameters / plan.shard
        all_s = pricer.exchange_s(Collective.ALL_REDUCE, part, site.cluster, between)
        exposed_s += max(all_s - hidden * backward_s, all_s / max(1, len(stage)))
    return exposed_s, update_s


def held(stage: Sequence[LayerWork]) -> Held:
    """Return what a stage's layers hold."""
    return Held(
        parameters=sum(one.parameters for one in stage),
        expert_parameters=sum(one.expert_parameters for one in stage),
        saved_bytes=sum(one.saved_bytes for one in stage),
        working_bytes=max(one.working_bytes for one in stage),
        largest_parameters=max(one.parameters + one.expert_parameters for one in stage),
        boundary_bytes=stage[0].output_bytes,
    )


def _flops(chain: Chain, plan: Plan) -> float:
    """Return FLOPs of a step over all devices: forward and backward products and attention, without recompute."""
    rank = 0.0
    for layer in chain.whole:
        for one in (*layer.forward, *layer.backward):
            if isinstance(one, Product):
                rank += one.flops
            elif isinstance(one, Attending):
                products = 4 if one.backward else 2
                rank += 2.0 * products * one.batch * one.heads * one.queries * one.keys * one.head_dim
    return rank * plan.tensor * plan.context * plan.data * plan.micro_batches


def _notes(pricer: Pricer) -> tuple[str, ...]:
    said = [fit.method for fit in pricer.model.fits if fit.part == "all"]
    if pricer.low:
        said.append(
            f"products in fp8 at {pricer.efficiencies.low_rate:g} times the rate of bf16: no fp8 GEMM is fitted"
        )
    return tuple(said)
