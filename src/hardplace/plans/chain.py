"""A model as a chain of layers on one rank, from its shape or as recorded, and the stages that a plan cuts it into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardplace.cost.layers.decoder import block, embedding, head
from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.recorded import FusedLayer, fused_layer
from hardplace.cost.layers.software import Dispatcher
from hardplace.cost.layers.ways import routing_launches
from hardplace.cost.layers.work import LayerWork
from hardplace.errors import BadInput
from hardplace.plans.dividing import check_head_exchange, rank_layers, without_sequence
from hardplace.plans.host_memory import offloaded, still_kept
from hardplace.plans.logits import logits_bytes
from hardplace.plans.plan import GRADIENT_BYTES, ContextExchange, Format, Plan
from hardplace.plans.stage_sizes import check_recomputed, stage_layers
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.kept import SharedKept, shared_kept
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Layer, Recompute, Workload
from hardplace.workload.weights import SharedWeights, WeightSizes, has_experts, repeated, shared_weights

_VOCAB_ROWS = 128  # Megatron-LM's make_vocab_size_divisible_by, of each tensor-parallel rank


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerChain:
    """The layers of a model on one rank: those always on the first stage, those that are cut into stages, those on the
    last.

    Attributes:
        before: Layers that always stand on the first stage (embedding).
        layers: Layers that are cut into stages.
        after: Layers that always stand on the last stage (head, loss).
        sequence_length: Tokens of a sample.
        plain: `layers` without recompute, for plans that recompute some of a stage's layers; () where none does.
        edges: (from, to, bytes) between all layers, where they branch; () for a chain, which hands its first layer's
            output on.
        shared: Weights that several layers hold, each counting them; a device holds them once.
        kept: Activations that several layers keep, each counting them; a device keeps them once.
        mixture: Whether some layer has experts.
        second: Of a chain folded for a V-shaped schedule, whether each layer is in the second chunk of its stage; ():
            not folded.
    """

    before: tuple[LayerWork, ...]
    layers: tuple[LayerWork, ...]
    after: tuple[LayerWork, ...]
    sequence_length: int
    plain: tuple[LayerWork, ...] = ()
    edges: tuple[tuple[int, int, float], ...] = ()
    shared: tuple[SharedWeights, ...] = ()
    kept: tuple[SharedKept, ...] = ()
    mixture: bool = False
    second: tuple[bool, ...] = ()

    @property
    def whole(self) -> tuple[LayerWork, ...]:
        """Return all layers in order."""
        return (*self.before, *self.layers, *self.after)

    @property
    def inner(self) -> slice:
        """Return the slice of all layers that is cut into stages."""
        return slice(len(self.before), len(self.before) + len(self.layers))

    def crossing_bytes(self, stages: Sequence[int]) -> float:
        """Return the most bytes of one micro-batch that pass from one stage to the next.

        Args:
            stages: Stage of every layer, in order.
        """
        if not self.edges:
            return self.layers[0].output_bytes if self.layers else 0.0
        cuts = range(max(stages))
        sums = [sum(size for a, b, size in self.edges if stages[a] <= cut < stages[b]) for cut in cuts]
        return max(sums, default=0.0)


def of_shape(shape: DecoderShape, plan: Plan) -> LayerChain:
    """Return a decoder's layers on one rank, as fused kernels run them; the vocabulary as the software pads it.

    Args:
        shape: Sizes of the decoder.
        plan: The plan, whose degrees divide them.

    Raises:
        BadInput: If a degree does not divide the heads, the sequence or the experts, for experts beside tensor without
            sequence parallelism, and for heads that context ranks cannot exchange.
    """
    for name, degree, size in (
        ("tensor", plan.tensor, shape.heads),
        ("context", plan.context, shape.sequence),
        ("expert", plan.expert, shape.experts.count if shape.experts else 1),
    ):
        if size % degree:
            what = {"tensor": "heads", "context": "sequence", "expert": "experts"}[name]
            raise BadInput(f"{name}: {degree}: expected a divisor of the model's {what}, {size}")
    if shape.experts and plan.tensor > 1 and not plan.sequence:
        raise without_sequence(plan)
    check_head_exchange(plan, shape)
    if plan.habits.pads_vocab:
        rows = _VOCAB_ROWS * plan.tensor
        shape = replace(shape, vocab=-(-shape.vocab // rows) * rows)
    loss_bytes, loss_passes = logits_bytes(shape, plan)
    degrees = Degrees(
        tensor=plan.tensor,
        sequence=plan.sequence,
        context=plan.context,
        exchanges_heads=plan.exchanges_heads,
        whole_keys=plan.context_exchange is ContextExchange.ALL_GATHER,
        blocks_of_keys=plan.habits.blocks_of_keys,
        expert=plan.expert,
        micro_batch=plan.micro_batch,
        flash=plan.flash,
        gradient_bytes=GRADIENT_BYTES[plan.gradient],
        wide=plan.precision is Format.FP32,
        low=plan.precision.low_bytes,
        dropout=plan.habits.dropout,
        fused_loss=plan.loss_in_one,
        loss_bytes=loss_bytes,
        loss_passes=loss_passes,
        eager=plan.habits.eager,
        returns_cache=plan.habits.returns_cache,
        autograd=plan.habits.autograd,
        modules=plan.recompute_modules,
        routing_launches=routing_launches(plan.ways),
        fused_experts=plan.ways.fused_experts,
        stops_early=plan.habits.stops_early,
        sorts_copies=plan.habits.sorts_copies,
        worst_rows=plan.habits.worst_rows,
        worst_gradients=plan.habits.worst_rows and plan.ways.dispatcher is Dispatcher.ALL_TO_ALL,
        fused_dispatch=plan.ways.dispatcher is Dispatcher.HYBRIDEP,
    )
    layers = offloaded(_blocks(shape, degrees, plan.recompute), plan)
    first, last = embedding(shape, degrees), head(shape, degrees)
    more = (layers[-1], last) * shape.predicted
    shared: tuple[SharedWeights, ...] = ()
    if shape.tied:
        table = -(-shape.vocab // degrees.tensor) * shape.hidden
        shared = (SharedWeights(layers=(0, 1 + shape.layers), sizes=WeightSizes(parameters=table)),)
        last = replace(last, repeated_parameters=table)
    return LayerChain(
        before=(first,),
        layers=layers,
        after=(last, *more),
        shared=shared,
        sequence_length=shape.sequence,
        plain=offloaded(_blocks(shape, degrees, Recompute.NONE), plan) if plan.recompute_layers else (),
        mixture=shape.experts is not None,
    )


def _blocks(shape: DecoderShape, degrees: Degrees, recompute: Recompute) -> tuple[LayerWork, ...]:
    """Return the transformer layers, equal ones as one object."""
    known: dict[tuple[bool, bool], LayerWork] = {}
    layers = []
    for number in range(shape.layers):
        dense = shape.experts is None or number < shape.experts.dense_layers
        key = (dense, bool(shape.window) and number % shape.window_every == 0)
        if key not in known:
            known[key] = block(shape, degrees, recompute, number)
        layers.append(known[key])
    return tuple(layers)


def of_workload(workload: Workload, plan: Plan) -> LayerChain:
    """Return a recorded model's layers on one rank.

    A dense decoder runs as fused kernels, as published runs do (`decoder_of`); others run as recorded. The first layer
    stays on the first stage and the last on the last, and neither is recomputed (embedding, head).

    Args:
        workload: The recorded model.
        plan: The plan, whose degrees divide it.

    Raises:
        BadInput: If a degree divides nothing of it, and for modules of a model that runs as recorded.
    """
    shape = decoder_of(workload)
    if shape is None and set(plan.recompute_modules) - {"core_attn"}:
        raise BadInput(
            "recompute_modules",
            list(plan.recompute_modules),
            f"core_attn or none: {workload.name} runs as recorded, where selective recompute is of attention alone",
        )
    layers = () if shape else rank_layers(workload, plan, RankShards(workload))
    return chain_of(workload, tuple(map(fused_layer, layers)), shape, plan)


def chain_of(workload: Workload, made: Sequence[FusedLayer], shape: DecoderShape | None, plan: Plan) -> LayerChain:
    """Return the chain of a decoder's shape, else of layers that are sharded already.

    Args:
        workload: The recorded model.
        made: Its distinct layers on one rank; not read where there is a shape.
        shape: Sizes of the decoder; None: it runs as recorded.
        plan: The plan.
    """
    if shape is not None:
        return of_shape(shape, plan)
    ends = {workload.order[0], workload.order[-1]}
    layers = [one.layer for one in made]
    shared = shared_weights(workload, layers)
    mixture = any(map(has_experts, layers))
    if plan.tensor > 1 and plan.expert == 1:
        # Tensor ranks have parts of the same experts: replicas are those of dense weights.
        made = [replace(one, weights=one.weights.all_dense) for one in made]
        shared = tuple(one._replace(sizes=one.sizes.all_dense) for one in shared)
    kinds = (Recompute.NONE, plan.recompute)
    works = {index: made[index].works(plan.micro_batch, kinds) for index in dict.fromkeys(workload.order)}
    work = {index: by[Recompute.NONE if index in ends else plan.recompute] for index, by in works.items()}
    order = _in_order(work, workload.order, shared)
    plain: tuple[LayerWork, ...] = ()
    if plan.recompute_layers:
        eased = {index: by[Recompute.NONE] for index, by in works.items()}
        plain = _in_order(eased, workload.order, shared)[1:-1]
    if len(order) > 2:
        order = (order[0], *offloaded(order[1:-1], plan), order[-1])
        plain = offloaded(plain, plan)
    if len(order) < 2:
        return LayerChain(
            before=(),
            layers=order,
            after=(),
            sequence_length=workload.sequence_length,
            shared=shared,
            mixture=mixture,
        )
    return LayerChain(
        before=order[:1],
        layers=order[1:-1],
        after=order[-1:],
        sequence_length=workload.sequence_length,
        plain=plain,
        shared=shared,
        kept=still_kept(shared_kept(workload, layers, plan.recompute, plan.micro_batch), plan, len(order) - 2),
        mixture=mixture,
        edges=_edges(workload, layers, plan.micro_batch),
    )


def _in_order(
    work: dict[int, LayerWork], order: Sequence[int], shared: Sequence[SharedWeights]
) -> tuple[LayerWork, ...]:
    """Return the work of all layers; equal ones that repeat the same weights of earlier ones as one object."""
    known: dict[tuple[int, WeightSizes], LayerWork] = {}
    found = []
    for index, again in zip(order, repeated(shared, len(order)), strict=True):
        if (index, again) not in known:
            known[index, again] = replace(
                work[index],
                repeated_parameters=again.parameters,
                repeated_expert_parameters=again.expert_parameters,
            )
        found.append(known[index, again])
    return tuple(found)


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


def stages_of(chain: LayerChain, plan: Plan) -> list[int]:
    """Return the pipeline stage of every layer.

    Raises:
        BadInput: Where the plan's stages or assignment do not suit the model.
    """
    assert plan.pipeline == 1 or plan.schedule.folds == bool(chain.second), "a chain not as the plan runs it"
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
        check_recomputed(len(chain.layers), plan)
        return [0] * count
    # each predicted layer has its head
    sizes = stage_layers(len(chain.layers), plan, 0 if chain.second else (len(chain.after) - 1) // 2)
    inner = [stage for stage, size in enumerate(sizes) for _ in range(size)]
    return [0] * len(chain.before) + inner + [plan.pipeline - 1] * len(chain.after)


def stage_work(chain: LayerChain, plan: Plan, places: Sequence[int]) -> list[tuple[LayerWork, ...]]:
    """Return the layers of each stage; with `recompute_layers` only so many of each are recomputed.

    Args:
        chain: The model's layers.
        plan: The plan.
        places: Stage of every layer (`stages_of`).
    """
    stages: list[list[LayerWork]] = [[] for _ in range(plan.pipeline)]
    seen = [0] * plan.pipeline
    first, last = chain.inner.start, chain.inner.stop
    for place, (layer, stage) in enumerate(zip(chain.whole, places, strict=True)):
        if first <= place < last:
            seen[stage] += 1
            if plan.recompute_layers and seen[stage] > plan.recompute_layers:
                layer = chain.plain[place - first]
        stages[stage].append(layer)
    return [tuple(one) for one in stages]
