"""What Megatron-LM and Megatron-Bridge cannot express."""

from __future__ import annotations

from hardplace.cost.layers.software import Graphs
from hardplace.exports.limits.mends import no_pipeline, smaller_tensor, to, to_zero
from hardplace.exports.limits.shared import BRANCHES, EMPTY, LONG_ENOUGH, is_one_of
from hardplace.exports.limits.stages import same_order
from hardplace.exports.limits.types import TrainerLimit
from hardplace.plans.plan import INSIDE_OUT, ContextExchange, Dimension, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute

# Optimizers of --use-precision-aware-optimizer: Transformer Engine's FusedAdam keeps their states.
PRECISION_AWARE = (OptimizerKind.ADAMW_8BIT, OptimizerKind.ADAMW_BF16_MOMENTS, OptimizerKind.ADAMW_REMAINDERS)


def _instances(plan: Plan) -> int:
    return plan.replicas // plan.sharded_over


MEGATRON = (
    BRANCHES,
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
        mends=to(order=INSIDE_OUT),
    ),
    TrainerLimit(
        field="pipeline",
        reason="encoders with decoders have no pipeline there (since megatron-core 0.14)",
        broken=lambda plan, facts: facts.encoder_decoder and plan.pipeline > 1,
        mends=no_pipeline,
    ),
    TrainerLimit(
        field="schedule",
        reason="its pipelines run 1F1B, plain or interleaved",
        broken=lambda plan, facts: plan.pipeline > 1 and plan.schedule is not PipelineSchedule.ONE_F_ONE_B,
        mends=lambda plan, facts: (
            {"schedule": PipelineSchedule.ONE_F_ONE_B, **({"virtual": 1} if plan.schedule.folds else {})},
        ),
    ),
    TrainerLimit(
        field="virtual",
        reason="interleaving takes at least as many micro-batches as stages (NVIDIA-NeMo/Speech#14288)",
        broken=lambda plan, facts: plan.virtual > 1 and plan.micro_batches % plan.pipeline > 0,
        mends=to(virtual=1),
    ),
    EMPTY,
    *LONG_ENOUGH,
    TrainerLimit(
        field="zero",
        reason="gradients and weights are sharded by Megatron-FSDP, which has no pipeline",
        broken=lambda plan, facts: plan.zero > 1 and plan.pipeline > 1,
        mends=to_zero(1),
    ),
    TrainerLimit(
        field="optimizer",
        reason="Muon keeps all its states on every rank there (NVIDIA/Megatron-LM#6048)",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.MUON and plan.zero > 0,
        mends=to_zero(0),
    ),
    TrainerLimit(
        field="optimizer",
        reason="its main parameters are fp32 or fp16",
        broken=is_one_of("optimizer", OptimizerKind.ADAMW_BF16),
        mends=to(optimizer=OptimizerKind.ADAMW),
    ),
    TrainerLimit(
        field="optimizer",
        reason="8-bit and 16-bit moments, and remainders of weights, go with the distributed optimizer",
        broken=lambda plan, facts: plan.optimizer in PRECISION_AWARE and plan.zero == 0,
        mends=to_zero(1),
    ),
    TrainerLimit(
        field="offload_layers",
        reason="activations in host memory go without a pipeline (Megatron Core's transformer_config)",
        broken=lambda plan, facts: plan.offload_layers > 0 and plan.pipeline > 1,
        mends=to(offload_layers=0),
    ),
    TrainerLimit(
        field="recompute_modules",
        reason="mlp_act, moe_up, context, qkv_proj and out_proj are of XLA's policies, op is torchtitan's",
        broken=lambda plan, facts: bool(
            {"mlp_act", "moe_up", "context", "qkv_proj", "out_proj", "op"} & set(plan.recompute_modules)
        ),
        mends=to(recompute=Recompute.NONE, recompute_modules=()),
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
        broken=is_one_of("gradient", "bf16+fp32"),
        mends=to(gradient="fp32"),
    ),
    TrainerLimit(
        field="sequence",
        reason="experts beside tensor parallelism need it (NVIDIA/Megatron-LM#1587, NVIDIA-NeMo/RL#1075)",
        broken=lambda plan, facts: facts.experts > 1 and plan.tensor > 1 and not plan.sequence,
        mends=to(sequence=True),
    ),
    TrainerLimit(
        field="shard",
        reason="optimizer instances must divide the replicas of experts as well",
        broken=lambda plan, facts: (
            plan.zero > 0 and plan.shard > 0 and plan.expert > 1 and plan.expert_replicas % _instances(plan) > 0
        ),
        mends=to(shard=0),
    ),
    TrainerLimit(
        field="tensor_overlap",
        reason="collectives beside products go with sequence parallelism",
        broken=lambda plan, facts: plan.tensor > 1 and plan.ways.tensor_overlap and not plan.sequence,
        mends=to(tensor_overlap=False),
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
        mends=to(expert_overlap=False),
    ),
    TrainerLimit(
        field="graphs",
        reason="full recompute goes with graphs of whole passes or with none",
        broken=lambda plan, facts: (
            plan.ways.graphs in (Graphs.PARTIAL, Graphs.LAYER) and plan.recompute is Recompute.FULL
        ),
        mends=to(graphs=Graphs.NONE),
    ),
    TrainerLimit(
        field="overlap",
        reason="Muon's gradients are reduced after the backward pass",
        broken=lambda plan, facts: plan.optimizer is OptimizerKind.MUON and plan.overlap and plan.replicas > 1,
        mends=to(overlap=False),
    ),
    TrainerLimit(
        field="graphs",
        reason="graphs of whole passes go without experts divided over ranks",
        broken=lambda plan, facts: plan.ways.graphs is Graphs.FULL and plan.expert > 1,
        mends=to(graphs=Graphs.NONE),
    ),
    TrainerLimit(
        field="context_exchange",
        reason="Transformer Engine exchanges heads where tensor x context divides those of keys",
        broken=lambda plan, facts: plan.exchanges_heads and facts.kv_heads % (plan.tensor * plan.context) > 0,
        mends=to(context_exchange=ContextExchange.RING),
    ),
    TrainerLimit(
        field="tensor",
        reason="the heads of keys must be a multiple of it",
        broken=lambda plan, facts: facts.kv_heads % plan.tensor > 0,
        mends=smaller_tensor,
    ),
)
