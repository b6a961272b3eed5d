"""Limits that several trainers share."""

from __future__ import annotations

from collections.abc import Callable

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.limits.mends import (
    by_operator,
    even,
    fewer_recomputed,
    no_context,
    no_pipeline,
    to,
    whole_sequences,
)
from hardplace.exports.limits.stages import empty_chunk, same_order
from hardplace.exports.limits.types import ModelFacts, TrainerLimit
from hardplace.plans.plan import INSIDE_OUT, ContextExchange, Format, OptimizerKind, Plan
from hardplace.workload.types import Recompute


def is_one_of(name: str, *values: object) -> Callable[[Plan, ModelFacts], bool]:
    """Return whether a field of a plan has one of these values."""
    return lambda plan, facts: getattr(plan, name) in values


BRANCHES = TrainerLimit(
    field="assignment",
    reason="stages are consecutive layers there",
    broken=lambda plan, facts: bool(plan.assignment) and plan.pipeline > 1,
    mends=no_pipeline,
)
KINDS = TrainerLimit(
    field="kinds",
    reason="all devices are of one kind there",
    broken=lambda plan, facts: len(set(plan.kinds)) > 1,
)
ORDER = TrainerLimit(
    field="order",
    reason="ranks are laid out tensor, context, data, pipeline from the inside out",
    broken=lambda plan, facts: not same_order(plan, INSIDE_OUT),
    mends=to(order=INSIDE_OUT),
)
NO_PIPELINE = TrainerLimit(
    field="pipeline",
    reason="its configuration says no stages; they are written into the model's code",
    broken=lambda plan, facts: plan.pipeline > 1 and not plan.assignment,
    mends=no_pipeline,
)
NO_SEQUENCE = TrainerLimit(
    field="sequence",
    reason="tensor parallelism keeps whole sequences between layers there",
    broken=is_one_of("sequence", True),
    mends=whole_sequences,
)
NO_SELECTIVE = TrainerLimit(
    field="recompute",
    reason="what is written for it recomputes whole layers, or none",
    broken=is_one_of("recompute", Recompute.SELECTIVE),
    mends=fewer_recomputed,
)
ONLY_BY_OPERATOR = TrainerLimit(
    field="recompute_modules",
    reason="its selective recompute is by operator (recompute_modules op), or of whole layers",
    broken=lambda plan, facts: plan.recompute is Recompute.SELECTIVE and plan.recompute_modules != ("op",),
    mends=by_operator,
)
ALL_OR_NOTHING = TrainerLimit(
    field="recompute_layers",
    reason="all layers are recomputed there, or none",
    broken=lambda plan, facts: plan.recompute_layers > 0,
    mends=fewer_recomputed,
)
NO_8BIT = TrainerLimit(
    field="optimizer",
    reason="8-bit states are not among its optimizers",
    broken=is_one_of("optimizer", OptimizerKind.ADAMW_8BIT),
    mends=to(optimizer=OptimizerKind.ADAMW),
)
NO_16BIT_STATES = TrainerLimit(
    field="optimizer",
    reason="16-bit moments with fp32 weights, or remainders of weights, are not among its optimizers",
    broken=is_one_of("optimizer", OptimizerKind.ADAMW_BF16_MOMENTS, OptimizerKind.ADAMW_REMAINDERS),
    mends=to(optimizer=OptimizerKind.ADAMW),
)
NO_OFFLOADED_LAYERS = TrainerLimit(
    field="offload_layers",
    reason="activations stay on the devices there",
    broken=lambda plan, facts: plan.offload_layers > 0,
    mends=to(offload_layers=0),
)
EMPTY = TrainerLimit(
    field="stages",
    reason="a stage or chunk without layers waits for ever (NVIDIA/Megatron-LM#1852)",
    broken=empty_chunk,
    mends=even,
    cut=True,
)
FP32_SUMS = TrainerLimit(
    field="gradient",
    reason="gradients are added up and reduced in fp32 alone there",
    broken=lambda plan, facts: plan.gradient != "fp32" and plan.optimizer is not OptimizerKind.ADAMW_BF16,
    mends=to(gradient="fp32"),
)
PLAIN_DISPATCH = TrainerLimit(
    field="dispatcher",
    reason="tokens reach their experts by plain all-to-alls there",
    broken=lambda plan, facts: plan.expert > 1 and plan.ways.dispatcher is not Dispatcher.ALL_TO_ALL,
    mends=to(dispatcher=Dispatcher.ALL_TO_ALL),
)
NO_EXPERT_OVERLAP = TrainerLimit(
    field="expert_overlap",
    reason="the exchange of experts stands between their products there",
    broken=lambda plan, facts: plan.expert > 1 and plan.ways.expert_overlap,
    mends=to(expert_overlap=False),
)
NO_TENSOR_OVERLAP = TrainerLimit(
    field="tensor_overlap",
    reason="tensor-parallel collectives stand between products there",
    broken=lambda plan, facts: plan.tensor > 1 and plan.ways.tensor_overlap,
    mends=to(tensor_overlap=False),
)
NO_GRAPHS = TrainerLimit(
    field="graphs",
    reason="kernels are launched one by one there",
    broken=lambda plan, facts: plan.ways.graphs is not Graphs.NONE,
    mends=to(graphs=Graphs.NONE),
)
NO_HEAD_EXCHANGE = TrainerLimit(
    field="context_exchange",
    reason="keys are gathered or passed around a ring there",
    broken=lambda plan, facts: plan.exchanges_heads,
    mends=to(context_exchange=ContextExchange.ALL_GATHER),
)


def scaled_as(*recipes: Fp8Recipe) -> TrainerLimit:
    """Return the limit of a trainer that has these recipes of fp8 alone."""
    names = " or ".join(recipes)
    return TrainerLimit(
        field="fp8_recipe",
        reason=f"tensors in fp8 are scaled as {names} there",
        broken=lambda plan, facts: (
            plan.precision is Format.FP8 and plan.fp8_recipe is not None and plan.fp8_recipe not in recipes
        ),
        mends=to(fp8_recipe=recipes[0]),
    )


WEIGHTS_IN_16BIT = TrainerLimit(
    field="fp8_gather",
    reason="weights are gathered in 16 bit there",
    broken=is_one_of("fp8_gather", True),
    mends=to(fp8_gather=False),
)
ONE_ALIKE = (BRANCHES, KINDS, ORDER, NO_16BIT_STATES, NO_OFFLOADED_LAYERS)  # of all but Megatron's


def _context_cut(plan: Plan, facts: ModelFacts) -> bool:
    return plan.context > 1 and facts.sequence % (2 * plan.context) > 0


def _tensor_cut(plan: Plan, facts: ModelFacts) -> bool:
    return plan.sequence and facts.sequence % (plan.tensor * plan.context) > 0


LONG_ENOUGH = (
    TrainerLimit(
        field="context",
        reason="each rank takes two pieces of a sequence, which twice the degree must divide",
        broken=_context_cut,
        mends=no_context,
    ),
    TrainerLimit(
        field="sequence",
        reason="tensor x context must divide the sequence with it",
        broken=_tensor_cut,
        mends=whole_sequences,
    ),
)


WHOLE_CONTEXT = TrainerLimit(
    field="shard",
    reason="context ranks are always among those that share the weights: a multiple of context",
    broken=lambda plan, facts: plan.zero > 0 and plan.shard > 0 and plan.shard % plan.context > 0,
    mends=to(shard=0),
)
