"""One plan of one model on GPUs that exist: seconds of a step, where they go, and memory by stage.

Every equation, with units and sources: docs/model-placement.md. Read `estimate_plan` first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.cost.gpu.decoder import DecoderShape, Degrees, block, embedding, head
from hardplace.cost.gpu.price import Pricer, Ring, Seconds
from hardplace.cost.gpu.recorded import layer_work
from hardplace.cost.gpu.streams import Stream
from hardplace.cost.gpu.work import Attending, LayerWork, Product
from hardplace.cost.types import Collective
from hardplace.errors import BadInput
from hardplace.hardware.types import Cluster
from hardplace.placement.pipeline import end_of_step_s, pipelined
from hardplace.placement.plan import GRADIENT_BYTES, STATE_BYTES, Plan, stage_layers
from hardplace.placement.room import WEIGHT_BYTES, Held, Room, room
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Group, Parallelism, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A model's layers on one rank, in order: what runs before the repeated layers, these, and what runs after."""

    before: tuple[LayerWork, ...]
    layers: tuple[LayerWork, ...]
    after: tuple[LayerWork, ...]
    sequence_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a step's seconds, by name; of the busiest stage."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEstimate:
    """What a plan costs. shares add up to step_s. memory: by stage. mfu: without recompute, whole attention, over the
    peak of 16-bit products."""

    plan: Plan
    devices: int
    step_s: float
    shares: tuple[Share, ...]
    memory: tuple[Room, ...]
    memory_bytes: float
    mfu: float
    tokens_per_s: float
    stage_layers: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether every stage fits the device."""
        return all(one.total_bytes <= self.memory_bytes for one in self.memory)


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
    """Return a recorded model's layers on one rank; BadInput if it is no chain of layers or a degree divides nothing."""
    degrees = Parallelism(tensor=plan.tensor, sequence=plan.sequence, context=plan.context, expert=plan.expert)
    check_degrees(workload, degrees)
    if any(edge.target != edge.source + 1 for edge in workload.edges) and plan.pipeline > 1:
        raise BadInput(f"{workload.name}: layers branch: expected pipeline 1 (only chains are cut into stages here)")
    made = shard(workload, degrees).layers
    work = {index: layer_work(made[index], plan.micro_batch, plan.recompute) for index in set(workload.order)}
    often = Counter(workload.order).most_common(1)[0][0]
    places = [place for place, index in enumerate(workload.order) if index == often]
    start, end = places[0], places[-1] + 1
    chain = tuple(work[index] for index in workload.order)
    return Chain(
        before=chain[:start],
        layers=chain[start:end],
        after=chain[end:],
        sequence_length=workload.sequence_length,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Seconds of a layer: forward, backward with recompute, data-parallel traffic that compute does not hide."""

    forward: Seconds
    backward: Seconds
    forward_gather_s: float
    backward_gather_s: float

    @property
    def forward_s(self) -> float:
        return self.forward.total_s + self.forward_gather_s

    @property
    def backward_s(self) -> float:
        return self.backward.total_s + self.backward_gather_s


Known = dict[int, tuple[LayerWork, Seconds, Seconds]]  # by id: the layer (kept alive), its forward, its backward


def estimate_plan(
    chain: Chain, plan: Plan, cluster: Cluster, pricer: Pricer, memory_bytes: float, known: Known | None = None
) -> PlanEstimate:
    """Return seconds and memory of a plan; cluster: of exactly the plan's devices.

    known: layers already priced on this cluster by this pricer, for callers with many plans of one chain.
    """
    known = {} if known is None else known
    if cluster.devices != plan.devices:
        raise BadInput(
            f"tensor x context x data x pipeline: {plan.tensor} x {plan.context} x {plan.data} x {plan.pipeline} = "
            f"{plan.devices}: expected the number of devices, {cluster.devices}"
        )
    counts = stage_layers(len(chain.layers), plan)
    stages = _stages(chain, counts)
    distinct = {id(one): one for stage in stages for one in stage}
    priced = {key: _priced(one, plan, cluster, pricer, known) for key, one in distinct.items()}
    forward_s = [sum(priced[id(one)].forward_s for one in stage) for stage in stages]
    backward_s = [sum(priced[id(one)].backward_s for one in stage) for stage in stages]
    boundary = chain.layers[0].output_bytes
    hop = Ring(members=2, stride=plan.tensor * plan.context * plan.data)
    hop_s = pricer.exchange_s(Collective.POINT_TO_POINT, boundary, cluster, hop) if plan.pipeline > 1 else 0.0
    chunks = [[[one / plan.virtual] * plan.virtual for one in side] for side in (forward_s, backward_s)]
    nothing = [[0.0] * plan.virtual] * plan.pipeline
    run = pipelined(*chunks, nothing, hop_s, plan.micro_batches, plan.schedule)
    ends = [_end(stage, plan, cluster, pricer, f, b) for stage, f, b in zip(stages, forward_s, backward_s, strict=True)]
    end_s = end_of_step_s([sum(one) for one in ends], run.ends_s)
    step_s = run.total_s + end_s
    parts = sum((priced[id(one)].forward + priced[id(one)].backward for one in stages[run.stage]), Seconds())
    gathers_s = sum(priced[id(one)].forward_gather_s + priced[id(one)].backward_gather_s for one in stages[run.stage])
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
    return PlanEstimate(
        plan=plan,
        devices=plan.devices,
        step_s=step_s,
        shares=shares,
        memory=tuple(room(plan, index, _held(stage)) for index, stage in enumerate(stages)),
        memory_bytes=memory_bytes,
        mfu=flops / (step_s * plan.devices * pricer.model.datasheet.tensor_flops_per_s),
        tokens_per_s=plan.global_batch * chain.sequence_length / step_s,
        stage_layers=counts,
        notes=_notes(pricer),
    )


def _stages(chain: Chain, counts: Sequence[int]) -> list[tuple[LayerWork, ...]]:
    stages, start = [], 0
    for index, count in enumerate(counts):
        stage = chain.layers[start : start + count]
        start += count
        if index == 0:
            stage = (*chain.before, *stage)
        if index == len(counts) - 1:
            stage = (*stage, *chain.after)
        stages.append(stage)
    return stages


def _groups(plan: Plan) -> dict[Group, Ring]:
    """Return the ranks of each collective: tensor innermost, then context, data, pipeline (Megatron-LM's order).

    Experts fold into tensor x context x data, innermost first.
    """
    return {
        Group.TENSOR: Ring(members=plan.tensor, stride=1),
        Group.CONTEXT: Ring(members=plan.context, stride=plan.tensor),
        Group.EXPERT: Ring(members=plan.expert, stride=1),
    }


def _replicas(plan: Plan) -> tuple[Ring, Ring]:
    """Return the ranks that share the gradients of dense layers, and of experts."""
    whole = plan.tensor * plan.context * plan.data
    return Ring(members=plan.data * plan.context, stride=plan.tensor), Ring(
        members=whole // plan.expert, stride=plan.expert
    )


def _priced(layer: LayerWork, plan: Plan, cluster: Cluster, pricer: Pricer, known: Known) -> _Layer:
    """Return a layer's seconds; under ZeRO-3 its weights are gathered in each pass and its gradients scattered."""
    if id(layer) not in known:
        groups = _groups(plan)
        forward = pricer.seconds(layer.forward, cluster, groups)
        known[id(layer)] = layer, forward, pricer.seconds((*layer.again, *layer.backward), cluster, groups)
    _, forward, backward = known[id(layer)]
    if plan.zero < 3:
        return _Layer(forward=forward, backward=backward, forward_gather_s=0.0, backward_gather_s=0.0)
    gather_s = _traffic_s(layer, plan, cluster, pricer, Collective.ALL_GATHER, WEIGHT_BYTES)
    scatter_s = _traffic_s(layer, plan, cluster, pricer, Collective.REDUCE_SCATTER, GRADIENT_BYTES[plan.gradient])
    hidden = pricer.efficiencies.hidden if plan.overlap else 0.0
    return _Layer(
        forward=forward,
        backward=backward,
        forward_gather_s=_beside_s(gather_s, forward.compute_s, hidden, pricer.efficiencies.contention),
        backward_gather_s=_beside_s(gather_s + scatter_s, backward.compute_s, hidden, pricer.efficiencies.contention),
    )


def _beside_s(traffic_s: float, compute_s: float, hidden: float, contention: float) -> float:
    """Return what traffic beside compute adds: what does not hide, and what it slows the compute down by."""
    inside_s = min(traffic_s, hidden * compute_s)
    return traffic_s - inside_s + contention * inside_s


def _traffic_s(
    layer: LayerWork, plan: Plan, cluster: Cluster, pricer: Pricer, collective: Collective, bytes_each: int
) -> float:
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
            total_s += pricer.exchange_s(collective, float(bytes_each * count), cluster, part)
    return total_s


def _end(
    stage: Sequence[LayerWork], plan: Plan, cluster: Cluster, pricer: Pricer, forward_s: float, backward_s: float
) -> tuple[float, float]:
    """Return a stage's (exposed reduction and gather, optimizer step) in seconds.

    Reduction hides behind the last micro-batch's backward but for its last layer, gather behind the first forward.
    """
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
        whole_s = _traffic_s(whole, plan, cluster, pricer, Collective.ALL_REDUCE, gradient)
        exposed_s = max(whole_s - hidden * backward_s, whole_s / max(1, len(stage)))
    elif plan.zero < 3:
        scatter_s = _traffic_s(whole, plan, cluster, pricer, Collective.REDUCE_SCATTER, gradient)
        gather_s = _traffic_s(whole, plan, cluster, pricer, Collective.ALL_GATHER, WEIGHT_BYTES)
        exposed_s = max(scatter_s - hidden * backward_s, scatter_s / max(1, len(stage)))
        exposed_s += max(gather_s - hidden * forward_s, gather_s / max(1, len(stage)))
    if plan.shard and plan.zero and plan.shard < plan.data * plan.context:
        between = Ring(members=plan.data * plan.context // plan.shard, stride=plan.tensor * plan.shard)
        part = gradient * whole.parameters / plan.shard
        all_s = pricer.exchange_s(Collective.ALL_REDUCE, part, cluster, between)
        exposed_s += max(all_s - hidden * backward_s, all_s / max(1, len(stage)))
    return exposed_s, update_s


def _held(stage: Sequence[LayerWork]) -> Held:
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
    for layer in (*chain.before, *chain.layers, *chain.after):
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
