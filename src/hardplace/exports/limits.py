"""What a trainer cannot express of a plan, each with its reason and the changes that mend it: the table of
capabilities. Sources: the trainers' own code and issues, named where one is the reason (docs/exports.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.targets import Target
from hardplace.plans.chain import chunk_layers
from hardplace.plans.plan import (
    INSIDE_OUT,
    ContextExchange,
    Dimension,
    Format,
    OptimizerKind,
    PipelineSchedule,
    Plan,
    stage_layers,
)
from hardplace.workload.types import Recompute

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What limits ask of a model.

    Attributes:
        layers: Layers that are cut into stages.
        sequence: Tokens of a sample.
        kv_heads: Heads of keys.
        experts: Number of experts; 1: none.
        encoder_decoder: Whether it has two stacks.
    """

    layers: int
    sequence: int
    kv_heads: int
    experts: int
    encoder_decoder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerLimit:
    """One thing that a trainer cannot do.

    Attributes:
        field: Field of a plan that asks for it.
        reason: Why, with its source.
        broken: Whether a plan asks for it.
        mends: Changes of fields that no longer do, best first.
        cut: Whether it is of how the stages are cut, which a search knows last.
    """

    field: str
    reason: str
    broken: Callable[[Plan, ModelFacts], bool]
    mends: Callable[[Plan, ModelFacts], Iterable[Changes]] = lambda plan, facts: ()
    cut: bool = False


def broken_limits(target: Target, plan: Plan, facts: ModelFacts, *, cut: bool = True) -> Iterator[TrainerLimit]:
    """Yield the limits of a trainer that a plan breaks; cut: those of its stages' layers too."""
    for limit in LIMITS[target]:
        if (cut or not limit.cut) and limit.broken(plan, facts):
            yield limit


def layers_by_chunk(plan: Plan, layers: int) -> tuple[tuple[int, ...], ...]:
    """Return the model's own layers by stage and chunk."""
    sizes = (layers,) if plan.pipeline == 1 else stage_layers(layers, plan)
    return tuple(chunk_layers(size, stage, plan) for stage, size in enumerate(sizes))


def empty_chunk(plan: Plan, facts: ModelFacts) -> bool:
    """Return whether a chunk has nothing to do: no layer, and neither embedding nor loss."""
    if plan.assignment or plan.pipeline == 1:
        return False
    found = layers_by_chunk(plan, facts.layers)
    ends = {(0, 0), (plan.pipeline - 1, plan.virtual - 1)}
    return any(
        not size and (stage, chunk) not in ends for stage, row in enumerate(found) for chunk, size in enumerate(row)
    )


def same_order(plan: Plan, other: tuple[Dimension, ...]) -> bool:
    """Return whether an order of degrees lays the same ranks together: degrees of 1 may stand anywhere."""

    def counted(order: tuple[Dimension, ...]) -> list[Dimension]:
        return [one for one in order if getattr(plan, one) > 1]

    return counted(plan.order) == counted(other)


# -- changes that mend ------------------------------------------------------------------------------------------------


def _to(**changes: Any) -> Callable[[Plan, ModelFacts], Iterable[Changes]]:
    """Return what always gives these changes."""
    return lambda plan, facts: (changes,)


def _moved(name: str, plan: Plan) -> Iterator[Changes]:
    """Yield a degree's devices given to data, tensor and context parallelism in every way that the batch allows."""
    degree = getattr(plan, name)
    gone: dict[str, Any] = {name: 1, "shard": 0}
    if name == "pipeline":
        gone |= {"virtual": 1, "stages": (), "assignment": (), "kinds": (), "schedule": PipelineSchedule.ONE_F_ONE_B}
    for data in (one for one in range(degree, 0, -1) if degree % one == 0):
        micro_batch = next(
            (one for one in (plan.micro_batch, 1) if plan.global_batch % (plan.data * data * one) == 0), None
        )
        if micro_batch is None:
            continue
        for tensor in (one for one in range(degree // data, 0, -1) if degree // data % one == 0):
            context = degree // data // tensor
            if name == "context" and context > 1:
                continue
            yield {
                **gone,
                "data": plan.data * data,
                "tensor": plan.tensor * tensor,
                "micro_batch": micro_batch,
                **({"context": plan.context * context} if name != "context" else {}),
            }


def _no_pipeline(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    yield from _moved("pipeline", plan)


def _no_context(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    yield from _moved("context", plan)


def _no_expert(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    yield {"expert": 1}


def _even(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    if facts.layers >= plan.pipeline:
        yield {"stages": ()}
        yield {"stages": (), "virtual": 1}
    yield from _no_pipeline(plan, facts)


def _fewer_recomputed(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    yield {"recompute": Recompute.FULL, "recompute_layers": 0}
    yield {"recompute": Recompute.NONE, "recompute_layers": 0}


def _zeros(*values: int) -> Callable[[Plan, ModelFacts], Iterator[Changes]]:
    def found(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
        for value in values:
            yield {"zero": value, "shard": plan.shard if value else 0}

    return found


# -- limits that several trainers share -------------------------------------------------------------------------------


def _is(name: str, *values: object) -> Callable[[Plan, ModelFacts], bool]:
    return lambda plan, facts: getattr(plan, name) in values


def _instances(plan: Plan) -> int:
    return plan.replicas // plan.sharded_over


_BRANCHES = TrainerLimit(
    field="assignment",
    reason="stages are consecutive layers there",
    broken=lambda plan, facts: bool(plan.assignment) and plan.pipeline > 1,
    mends=_no_pipeline,
)
_KINDS = TrainerLimit(
    field="kinds",
    reason="all devices are of one kind there",
    broken=lambda plan, facts: len(set(plan.kinds)) > 1,
)
_ORDER = TrainerLimit(
    field="order",
    reason="ranks are laid out tensor, context, data, pipeline from the inside out",
    broken=lambda plan, facts: not same_order(plan, INSIDE_OUT),
    mends=_to(order=INSIDE_OUT),
)
_NO_PIPELINE = TrainerLimit(
    field="pipeline",
    reason="its configuration says no stages; they are written into the model's code",
    broken=lambda plan, facts: plan.pipeline > 1 and not plan.assignment,
    mends=_no_pipeline,
)
_NO_SEQUENCE = TrainerLimit(
    field="sequence",
    reason="tensor parallelism keeps whole sequences between layers there",
    broken=_is("sequence", True),
    mends=_to(sequence=False),
)
_NO_SELECTIVE = TrainerLimit(
    field="recompute",
    reason="attention alone is not recomputed there",
    broken=_is("recompute", Recompute.SELECTIVE),
    mends=_fewer_recomputed,
)
_ALL_OR_NOTHING = TrainerLimit(
    field="recompute_layers",
    reason="all layers are recomputed there, or none",
    broken=lambda plan, facts: plan.recompute_layers > 0,
    mends=_fewer_recomputed,
)
_NO_8BIT = TrainerLimit(
    field="optimizer",
    reason="8-bit states are not among its optimizers",
    broken=_is("optimizer", OptimizerKind.ADAMW_8BIT),
    mends=_to(optimizer=OptimizerKind.ADAMW),
)
_EMPTY = TrainerLimit(
    field="stages",
    reason="a stage or chunk without layers waits for ever (NVIDIA/Megatron-LM#1852)",
    broken=empty_chunk,
    mends=_even,
    cut=True,
)
_FP32_SUMS = TrainerLimit(
    field="gradient",
    reason="gradients are added up and reduced in fp32 alone there",
    broken=lambda plan, facts: plan.gradient != "fp32" and plan.optimizer is not OptimizerKind.ADAMW_BF16,
    mends=_to(gradient="fp32"),
)
_PLAIN_DISPATCH = TrainerLimit(
    field="dispatcher",
    reason="tokens reach their experts by plain all-to-alls there",
    broken=lambda plan, facts: plan.expert > 1 and plan.ways.dispatcher is not Dispatcher.ALL_TO_ALL,
    mends=_to(dispatcher=Dispatcher.ALL_TO_ALL),
)
_NO_EXPERT_OVERLAP = TrainerLimit(
    field="expert_overlap",
    reason="the exchange of experts stands between their products there",
    broken=lambda plan, facts: plan.expert > 1 and plan.ways.expert_overlap,
    mends=_to(expert_overlap=False),
)
_NO_TENSOR_OVERLAP = TrainerLimit(
    field="tensor_overlap",
    reason="tensor-parallel collectives stand between products there",
    broken=lambda plan, facts: plan.tensor > 1 and plan.ways.tensor_overlap,
    mends=_to(tensor_overlap=False),
)
_NO_GRAPHS = TrainerLimit(
    field="graphs",
    reason="kernels are launched one by one there",
    broken=lambda plan, facts: plan.ways.graphs is not Graphs.NONE,
    mends=_to(graphs=Graphs.NONE),
)
_ONE_ALIKE = (_BRANCHES, _KINDS, _ORDER)


def _context_cut(plan: Plan, facts: ModelFacts) -> bool:
    return plan.context > 1 and facts.sequence % (2 * plan.context) > 0


def _tensor_cut(plan: Plan, facts: ModelFacts) -> bool:
    return plan.sequence and facts.sequence % (plan.tensor * plan.context) > 0


_LONG_ENOUGH = (
    TrainerLimit(
        field="context",
        reason="each rank takes two pieces of a sequence, which twice the degree must divide",
        broken=_context_cut,
        mends=_no_context,
    ),
    TrainerLimit(
        field="sequence",
        reason="tensor x context must divide the sequence with it",
        broken=_tensor_cut,
        mends=_to(sequence=False),
    ),
)


def _smaller_tensor(plan: Plan, facts: ModelFacts) -> Iterator[Changes]:
    """Yield the largest smaller tensor degrees that divide the heads of keys, the rest given to data parallelism."""
    for tensor in range(plan.tensor - 1, 0, -1):
        if plan.tensor % tensor == 0 and facts.kv_heads % tensor == 0:
            data = plan.data * plan.tensor // tensor
            if plan.global_batch % (data * plan.micro_batch) == 0:
                yield {"tensor": tensor, "data": data, "sequence": plan.sequence and tensor > 1, "shard": 0}
                return


_MEGATRON = (
    _BRANCHES,
    TrainerLimit(
        field="order",
        reason="ranks are laid out tensor, context, data, pipeline or tensor, context, pipeline, data",
        broken=lambda plan, facts: (
            not same_order(plan, INSIDE_OUT)
            and not (
                plan.expert == 1
                and same_order(plan, (Dimension.TENSOR, Dimension.CONTEXT, Dimension.PIPELINE, Dimension.DATA))
            )
        ),
        mends=_to(order=INSIDE_OUT),
    ),
    TrainerLimit(
        field="pipeline",
        reason="encoders with decoders have no pipeline there (since megatron-core 0.14)",
        broken=lambda plan, facts: facts.encoder_decoder and plan.pipeline > 1,
        mends=_no_pipeline,
    ),
    TrainerLimit(
        field="schedule",
        reason="its pipelines run 1F1B, plain or interleaved",
        broken=lambda plan, facts: plan.pipeline > 1 and plan.schedule is not PipelineSchedule.ONE_F_ONE_B,
        mends=_to(schedule=PipelineSchedule.ONE_F_ONE_B),
    ),
    TrainerLimit(
        field="virtual",
        reason="interleaving takes at least as many micro-batches as stages (NVIDIA-NeMo/Speech#14288)",
        broken=lambda plan, facts: plan.virtual > 1 and plan.micro_batches % plan.pipeline > 0,
        mends=_to(virtual=1),
    ),
    _EMPTY,
    *_LONG_ENOUGH,
    TrainerLimit(
        field="zero",
        reason="gradients and weights are sharded by Megatron-FSDP, which has no pipeline",
        broken=lambda plan, facts: plan.zero > 1 and plan.pipeline > 1,
        mends=_zeros(1),
    ),
    TrainerLimit(
        field="optimizer",
        reason="Muon keeps all its states on every rank there (NVIDIA/Megatron-LM#6048)",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.MUON and plan.zero > 0,
        mends=_zeros(0),
    ),
    TrainerLimit(
        field="optimizer",
        reason="its main parameters are fp32 or fp16",
        broken=_is("optimizer", OptimizerKind.ADAMW_BF16),
        mends=_to(optimizer=OptimizerKind.ADAMW),
    ),
    TrainerLimit(
        field="optimizer",
        reason="8-bit states go with the distributed optimizer",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.ADAMW_8BIT and plan.zero == 0,
        mends=_zeros(1),
    ),
    TrainerLimit(
        field="offload",
        reason="states in host memory go with the distributed optimizer and Adam",
        broken=lambda plan, facts: plan.offload and (plan.zero == 0 or plan.optimizer is OptimizerKind.MUON),
        mends=lambda plan, facts: ({"zero": 1, "optimizer": OptimizerKind.ADAMW}, {"offload": False}),
    ),
    TrainerLimit(
        field="gradient",
        reason="there is one buffer of gradients, fp32 or bf16",
        broken=_is("gradient", "bf16+fp32"),
        mends=_to(gradient="fp32"),
    ),
    TrainerLimit(
        field="sequence",
        reason="experts beside tensor parallelism need it (NVIDIA/Megatron-LM#1587, NVIDIA-NeMo/RL#1075)",
        broken=lambda plan, facts: facts.experts > 1 and plan.tensor > 1 and not plan.sequence,
        mends=_to(sequence=True),
    ),
    TrainerLimit(
        field="shard",
        reason="optimizer instances must divide the replicas of experts as well",
        broken=lambda plan, facts: (
            plan.zero > 0 and plan.shard > 0 and plan.expert > 1 and plan.expert_replicas % _instances(plan) > 0
        ),
        mends=_to(shard=0),
    ),
    TrainerLimit(
        field="tensor_overlap",
        reason="collectives beside products go with sequence parallelism",
        broken=lambda plan, facts: plan.tensor > 1 and plan.ways.tensor_overlap and not plan.sequence,
        mends=_to(tensor_overlap=False),
    ),
    TrainerLimit(
        field="expert_overlap",
        reason="it goes with virtual stages where there is a pipeline, without full recompute and in 16 bit",
        broken=lambda plan, facts: (
            plan.expert > 1
            and plan.ways.expert_overlap
            and (
                (plan.pipeline > 1 and plan.virtual == 1)
                or plan.recompute is Recompute.FULL
                or plan.precision is Format.FP32
            )
        ),
        mends=_to(expert_overlap=False),
    ),
    TrainerLimit(
        field="graphs",
        reason="full recompute goes with graphs of whole passes or with none",
        broken=lambda plan, facts: (
            plan.ways.graphs in (Graphs.PARTIAL, Graphs.LAYER) and plan.recompute is Recompute.FULL
        ),
        mends=_to(graphs=Graphs.NONE),
    ),
    TrainerLimit(
        field="overlap",
        reason="Muon's gradients are reduced after the backward pass",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.MUON and plan.overlap and plan.replicas > 1,
        mends=_to(overlap=False),
    ),
    TrainerLimit(
        field="graphs",
        reason="graphs of whole passes go without experts divided over ranks",
        broken=lambda plan, facts: plan.ways.graphs is Graphs.FULL and plan.expert > 1,
        mends=_to(graphs=Graphs.NONE),
    ),
    TrainerLimit(
        field="tensor",
        reason="the heads of keys must be a multiple of it",
        broken=lambda plan, facts: facts.kv_heads % plan.tensor > 0,
        mends=_smaller_tensor,
    ),
)


def _sharded_data(plan: Plan) -> int:
    """Return torchtitan's data_parallel_shard_degree: context ranks stand inside what FSDP shards over."""
    return max(1, plan.sharded_over // plan.context) if plan.zero else 1


_WHOLE_CONTEXT = TrainerLimit(
    field="shard",
    reason="context ranks are always among those that share the weights: a multiple of context",
    broken=lambda plan, facts: plan.zero > 0 and plan.shard > 0 and plan.shard % plan.context > 0,
    mends=_to(shard=0),
)
_FSDP = (
    _WHOLE_CONTEXT,
    TrainerLimit(
        field="zero",
        reason="FSDP2 shards gradients wherever it shards states",
        broken=lambda plan, facts: plan.zero == 1 and plan.replicas > 1,
        mends=_zeros(2),
    ),
    TrainerLimit(
        field="zero",
        reason="context ranks share the weights through FSDP2",
        broken=lambda plan, facts: plan.zero == 0 and plan.context > 1,
        mends=_zeros(2, 3),
    ),
    TrainerLimit(
        field="offload",
        reason="weights and gradients would move to the host with the states",
        broken=_is("offload", True),
        mends=_to(offload=False),
    ),
    _NO_SELECTIVE,
    _ALL_OR_NOTHING,
)

LIMITS: dict[Target, tuple[TrainerLimit, ...]] = {
    Target.MEGATRON: _MEGATRON,
    Target.MEGATRON_BRIDGE: (_KINDS, *_MEGATRON),
    Target.TORCHTITAN: (
        *_ONE_ALIKE,
        _NO_EXPERT_OVERLAP,
        TrainerLimit(
            field="graphs",
            reason="graphs capture whole passes, without pipeline and without experts divided over ranks",
            broken=lambda plan, facts: (
                plan.ways.graphs in (Graphs.PARTIAL, Graphs.LAYER)
                or (plan.ways.graphs is Graphs.FULL and (plan.pipeline > 1 or plan.expert > 1))
            ),
            mends=_to(graphs=Graphs.NONE),
        ),
        *_FSDP,
        *_LONG_ENOUGH,
        _EMPTY,
        TrainerLimit(
            field="context_exchange",
            reason="0.3.0 gathers keys and values",
            broken=lambda plan, facts: plan.context > 1 and plan.context_exchange is ContextExchange.RING,
            mends=_to(context_exchange=ContextExchange.ALL_GATHER),
        ),
        TrainerLimit(
            field="precision",
            reason="it has no loss scaling",
            broken=_is("precision", Format.FP16),
            mends=_to(precision=Format.BF16),
        ),
        _NO_8BIT,
        TrainerLimit(
            field="optimizer",
            reason="SGD is not among its optimizers",
            broken=_is("optimizer", OptimizerKind.SGD),
            mends=_to(optimizer=OptimizerKind.ADAMW),
        ),
        _FP32_SUMS,
        TrainerLimit(
            field="expert",
            reason="expert groups lie within sharded data x context x tensor, not across its replicas",
            broken=lambda plan, facts: (
                plan.expert > 1 and plan.tensor * plan.context * _sharded_data(plan) % plan.expert > 0
            ),
            mends=lambda plan, facts: ({"shard": 0, "zero": max(2, plan.zero)}, {"expert": 1}),
        ),
    ),
    Target.DEEPSPEED: (
        *_ONE_ALIKE,
        TrainerLimit(
            field="dispatcher",
            reason="experts are reached by plain all-to-alls or DeepEP there",
            broken=lambda plan, facts: plan.expert > 1 and plan.ways.dispatcher is Dispatcher.HYBRIDEP,
            mends=lambda plan, facts: ({"dispatcher": Dispatcher.DEEPEP}, {"dispatcher": Dispatcher.ALL_TO_ALL}),
        ),
        _NO_EXPERT_OVERLAP,
        _NO_GRAPHS,
        _NO_PIPELINE,
        TrainerLimit(
            field="context",
            reason="sequences are divided by heads there (Ulysses), which this plan does not mean",
            broken=lambda plan, facts: plan.context > 1,
            mends=_no_context,
        ),
        _NO_SEQUENCE,
        _NO_SELECTIVE,
        _ALL_OR_NOTHING,
        TrainerLimit(
            field="shard",
            reason="its second partition (hpZ) is of weights alone, with stage 3",
            broken=lambda plan, facts: plan.shard > 0 and plan.zero in (1, 2),
            mends=_to(shard=0),
        ),
        TrainerLimit(
            field="precision",
            reason="an fp8 or fp4 section is ignored there",
            broken=_is("precision", Format.FP8, Format.FP4),
            mends=_to(precision=Format.BF16),
        ),
        _NO_8BIT,
        TrainerLimit(
            field="optimizer",
            reason="bf16 states go with ZeRO 1 or more",
            broken=lambda plan, facts: plan.optimizer is OptimizerKind.ADAMW_BF16 and plan.zero == 0,
            mends=_zeros(1),
        ),
        TrainerLimit(
            field="gradient",
            reason="16-bit gradients stay beside their fp32 sums",
            broken=lambda plan, facts: plan.gradient == "fp32" and plan.precision is not Format.FP32,
            mends=_to(gradient="bf16+fp32"),
        ),
        TrainerLimit(
            field="offload",
            reason="states in host memory go with ZeRO 1 or more",
            broken=lambda plan, facts: plan.offload and plan.zero == 0,
            mends=_zeros(1),
        ),
    ),
    Target.ACCELERATE: (
        *_ONE_ALIKE,
        _NO_TENSOR_OVERLAP,
        _NO_GRAPHS,
        _NO_PIPELINE,
        *_FSDP,
        TrainerLimit(
            field="zero",
            reason="tensor parallelism beside replicas needs FSDP2",
            broken=lambda plan, facts: plan.zero == 0 and plan.tensor > 1 and plan.data > 1,
            mends=_zeros(2, 3),
        ),
        TrainerLimit(
            field="expert",
            reason="experts are not divided there",
            broken=lambda plan, facts: plan.expert > 1,
            mends=_no_expert,
        ),
        _NO_SEQUENCE,
        TrainerLimit(
            field="precision",
            reason="fp4 is not among its formats",
            broken=_is("precision", Format.FP4),
            mends=lambda plan, facts: ({"precision": Format.FP8}, {"precision": Format.BF16}),
        ),
        TrainerLimit(
            field="gradient",
            reason="gradients are reduced in one type, fp32 or bf16",
            broken=_is("gradient", "bf16+fp32"),
            mends=_to(gradient="fp32"),
        ),
    ),
    Target.MAXTEXT: (
        *_ONE_ALIKE,
        TrainerLimit(
            field="tensor",
            reason="tensor x context must divide the tokens of a micro-batch, which devices share evenly",
            broken=lambda plan, facts: plan.micro_batch * facts.sequence % (plan.tensor * plan.context) > 0,
        ),
        _PLAIN_DISPATCH,
        TrainerLimit(
            field="schedule",
            reason="its pipeline passes all micro-batches forward before any comes back",
            broken=lambda plan, facts: plan.pipeline > 1 and plan.schedule is not PipelineSchedule.GPIPE,
            mends=lambda plan, facts: (
                {"schedule": PipelineSchedule.GPIPE, "virtual": 1, "stages": ()},
                *_no_pipeline(plan, facts),
            ),
        ),
        TrainerLimit(
            field="stages",
            reason="its stages have equally many layers, and divide the micro-batches",
            broken=lambda plan, facts: (
                plan.pipeline > 1
                and (
                    len({size for row in layers_by_chunk(plan, facts.layers) for size in row}) > 1
                    or plan.micro_batches % plan.pipeline > 0
                )
            ),
            mends=_even,
            cut=True,
        ),
        _WHOLE_CONTEXT,
        TrainerLimit(
            field="zero",
            reason="gradients are sharded with the weights there, or not at all",
            broken=lambda plan, facts: plan.zero == 2 and plan.replicas > 1,
            mends=_zeros(3, 1),
        ),
        TrainerLimit(
            field="shard",
            reason="optimizer states are sharded over all replicas",
            broken=lambda plan, facts: plan.zero == 1 and plan.shard > 0,
            mends=_to(shard=0),
        ),
        _NO_SELECTIVE,
        _ALL_OR_NOTHING,
        TrainerLimit(
            field="precision",
            reason="it has neither fp16 nor fp4",
            broken=_is("precision", Format.FP16, Format.FP4),
            mends=lambda plan, facts: ({"precision": Format.BF16},),
        ),
        TrainerLimit(
            field="precision",
            reason="fp8 goes without accumulation, so with one micro-batch or a pipeline",
            broken=lambda plan, facts: plan.precision is Format.FP8 and plan.pipeline == 1 and plan.micro_batches > 1,
            mends=lambda plan, facts: (
                {"micro_batch": plan.global_batch // plan.data},
                {"precision": Format.BF16},
            ),
        ),
        _NO_8BIT,
        TrainerLimit(
            field="gradient",
            reason="gradients have one type, fp32 or bf16",
            broken=_is("gradient", "bf16+fp32"),
            mends=_to(gradient="fp32"),
        ),
    ),
}
