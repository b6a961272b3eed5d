"""What DeepSpeed cannot express."""

from __future__ import annotations

from hardplace.cost.layers.software import Dispatcher
from hardplace.exports.limits.mends import exchanging, no_context, to, to_zero
from hardplace.exports.limits.shared import (
    ALL_OR_NOTHING,
    NO_8BIT,
    NO_EXPERT_OVERLAP,
    NO_GRAPHS,
    NO_PIPELINE,
    NO_SELECTIVE,
    NO_SEQUENCE,
    ONE_ALIKE,
    is_one_of,
)
from hardplace.exports.limits.types import TrainerLimit
from hardplace.plans.plan import Format, OptimizerKind

DEEPSPEED = (
    *ONE_ALIKE,
    TrainerLimit(
        field="dispatcher",
        reason="experts are reached by plain all-to-alls or DeepEP there",
        broken=lambda plan, facts: plan.expert > 1 and plan.ways.dispatcher is Dispatcher.HYBRIDEP,
        mends=lambda plan, facts: ({"dispatcher": Dispatcher.DEEPEP}, {"dispatcher": Dispatcher.ALL_TO_ALL}),
    ),
    NO_EXPERT_OVERLAP,
    NO_GRAPHS,
    NO_PIPELINE,
    TrainerLimit(
        field="context",
        reason="sequences are divided by an exchange of heads there (Ulysses)",
        broken=lambda plan, facts: plan.context > 1 and not plan.exchanges_heads,
        mends=exchanging,
    ),
    TrainerLimit(
        field="context",
        reason="the process groups of its exchange of heads have no tensor parallelism",
        broken=lambda plan, facts: plan.exchanges_heads and plan.tensor > 1,
        mends=no_context,
    ),
    TrainerLimit(
        field="context",
        reason="it must divide the heads of keys, or be a multiple of them",
        broken=lambda plan, facts: (
            plan.exchanges_heads and facts.kv_heads % plan.context > 0 and plan.context % facts.kv_heads > 0
        ),
        mends=no_context,
    ),
    NO_SEQUENCE,
    NO_SELECTIVE,
    ALL_OR_NOTHING,
    TrainerLimit(
        field="shard",
        reason="its second partition (hpZ) is of weights alone, with stage 3",
        broken=lambda plan, facts: plan.shard > 0 and plan.zero in (1, 2),
        mends=to(shard=0),
    ),
    TrainerLimit(
        field="precision",
        reason="an fp8 or fp4 section is ignored there",
        broken=is_one_of("precision", Format.FP8, Format.FP4),
        mends=to(precision=Format.BF16),
    ),
    NO_8BIT,
    TrainerLimit(
        field="optimizer",
        reason="bf16 states go with ZeRO 1 or more",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.ADAMW_BF16 and plan.zero == 0,
        mends=to_zero(1),
    ),
    TrainerLimit(
        field="gradient",
        reason="training in fp32 adds gradients up in fp32",
        broken=lambda plan, facts: plan.precision is Format.FP32 and plan.gradient != "fp32",
        mends=to(gradient="fp32"),
    ),
    TrainerLimit(
        field="gradient",
        reason="16-bit gradients stay beside their fp32 sums",
        broken=lambda plan, facts: plan.gradient == "fp32" and plan.precision is not Format.FP32,
        mends=to(gradient="bf16+fp32"),
    ),
    TrainerLimit(
        field="offload",
        reason="states in host memory go with ZeRO 1 or more",
        broken=lambda plan, facts: plan.offload and plan.zero == 0,
        mends=to_zero(1),
    ),
)
