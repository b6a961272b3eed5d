"""What trainers on FSDP2 cannot express: torchtitan and Accelerate."""

from __future__ import annotations

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Graphs
from hardplace.exports.limits.mends import no_expert, to, to_zero
from hardplace.exports.limits.shared import (
    ALL_OR_NOTHING,
    EMPTY,
    FP32_SUMS,
    LONG_ENOUGH,
    NO_8BIT,
    NO_EXPERT_OVERLAP,
    NO_GRAPHS,
    NO_HEAD_EXCHANGE,
    NO_PIPELINE,
    NO_SELECTIVE,
    NO_SEQUENCE,
    NO_TENSOR_OVERLAP,
    ONE_ALIKE,
    ONLY_BY_OPERATOR,
    WEIGHTS_IN_16BIT,
    WHOLE_CONTEXT,
    is_one_of,
    scaled_as,
)
from hardplace.exports.limits.types import TrainerLimit
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute


def _sharded_data(plan: Plan) -> int:
    """Return torchtitan's data_parallel_shard_degree: context ranks stand inside what FSDP shards over."""
    return max(1, plan.sharded_over // plan.context) if plan.zero else 1


FSDP = (
    WHOLE_CONTEXT,
    TrainerLimit(
        field="zero",
        reason="FSDP2 shards gradients wherever it shards states",
        broken=lambda plan, facts: plan.zero == 1 and plan.replicas > 1,
        mends=to_zero(2),
    ),
    TrainerLimit(
        field="zero",
        reason="context ranks share the weights through FSDP2",
        broken=lambda plan, facts: plan.zero == 0 and plan.context > 1,
        mends=to_zero(2, 3),
    ),
    TrainerLimit(
        field="offload",
        reason="weights and gradients would move to the host with the states",
        broken=is_one_of("offload", True),
        mends=to(offload=False),
    ),
    ALL_OR_NOTHING,
    scaled_as(Fp8Recipe.TENSORWISE),
    WEIGHTS_IN_16BIT,
)


TORCHTITAN = (
    *ONE_ALIKE,
    NO_EXPERT_OVERLAP,
    TrainerLimit(
        field="graphs",
        reason="graphs capture whole passes, without pipeline and without experts divided over ranks",
        broken=lambda plan, facts: (
            plan.ways.graphs in (Graphs.PARTIAL, Graphs.LAYER)
            or (plan.ways.graphs is Graphs.FULL and (plan.pipeline > 1 or plan.expert > 1))
        ),
        mends=to(graphs=Graphs.NONE),
    ),
    *FSDP,
    ONLY_BY_OPERATOR,
    TrainerLimit(
        field="schedule",
        reason="of V-shaped schedules torch.distributed.pipelining has ZBVZeroBubble and DualPipeV",
        broken=is_one_of("schedule", PipelineSchedule.V_HALF, PipelineSchedule.V_MIN),
        mends=to(schedule=PipelineSchedule.ZB_V),
    ),
    TrainerLimit(
        field="recompute",
        reason="torch runs a recomputed layer again for each group of weights where their gradients are apart",
        broken=lambda plan, facts: plan.schedule.folds and plan.recompute is not Recompute.NONE,
        mends=to(recompute=Recompute.NONE, recompute_modules=()),
    ),
    *LONG_ENOUGH,
    EMPTY,
    TrainerLimit(
        field="context_exchange",
        reason="0.3.0 gathers keys and values",
        broken=lambda plan, facts: plan.context > 1 and plan.context_exchange is not ContextExchange.ALL_GATHER,
        mends=to(context_exchange=ContextExchange.ALL_GATHER),
    ),
    TrainerLimit(
        field="precision",
        reason="it has no loss scaling",
        broken=is_one_of("precision", Format.FP16),
        mends=to(precision=Format.BF16),
    ),
    NO_8BIT,
    TrainerLimit(
        field="optimizer",
        reason="SGD is not among its optimizers",
        broken=is_one_of("optimizer", OptimizerKind.SGD),
        mends=to(optimizer=OptimizerKind.ADAMW),
    ),
    FP32_SUMS,
    TrainerLimit(
        field="expert",
        reason="expert groups lie within sharded data x context x tensor, not across its replicas",
        broken=lambda plan, facts: (
            plan.expert > 1 and plan.tensor * plan.context * _sharded_data(plan) % plan.expert > 0
        ),
        mends=lambda plan, facts: ({"shard": 0, "zero": max(2, plan.zero)}, {"expert": 1}),
    ),
)

ACCELERATE = (
    *ONE_ALIKE,
    NO_TENSOR_OVERLAP,
    NO_GRAPHS,
    NO_PIPELINE,
    *FSDP,
    NO_HEAD_EXCHANGE,
    NO_SELECTIVE,
    TrainerLimit(
        field="zero",
        reason="tensor parallelism beside replicas needs FSDP2",
        broken=lambda plan, facts: plan.zero == 0 and plan.tensor > 1 and plan.data > 1,
        mends=to_zero(2, 3),
    ),
    TrainerLimit(
        field="expert",
        reason="experts are not divided there",
        broken=lambda plan, facts: plan.expert > 1,
        mends=no_expert,
    ),
    NO_SEQUENCE,
    TrainerLimit(
        field="precision",
        reason="fp4 is not among its formats",
        broken=is_one_of("precision", Format.FP4),
        mends=lambda plan, facts: ({"precision": Format.FP8}, {"precision": Format.BF16}),
    ),
    TrainerLimit(
        field="gradient",
        reason="gradients are reduced in one type, fp32 or bf16",
        broken=is_one_of("gradient", "bf16+fp32"),
        mends=to(gradient="fp32"),
    ),
)
