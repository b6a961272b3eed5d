"""What MaxText cannot express."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher
from hardplace.exports.limits.mends import even, no_pipeline, to, to_zero
from hardplace.exports.limits.shared import (
    ALL_OR_NOTHING,
    NO_8BIT,
    NO_HEAD_EXCHANGE,
    NO_SELECTIVE,
    ONE_ALIKE,
    PLAIN_DISPATCH,
    WEIGHTS_IN_16BIT,
    WHOLE_CONTEXT,
    is_one_of,
    scaled_as,
)
from hardplace.exports.limits.stages import layers_by_chunk
from hardplace.exports.limits.types import TrainerLimit
from hardplace.plans.plan import Format, PipelineSchedule

MAXTEXT = (
    *ONE_ALIKE,
    TrainerLimit(
        field="tensor",
        reason="tensor x context must divide the tokens of a micro-batch, which devices share evenly",
        broken=lambda plan, facts: plan.micro_batch * facts.sequence % (plan.tensor * plan.context) > 0,
    ),
    replace(PLAIN_DISPATCH, broken=is_one_of("dispatcher", Dispatcher.DEEPEP, Dispatcher.HYBRIDEP)),
    TrainerLimit(
        field="schedule",
        reason="its pipeline passes all micro-batches forward before any comes back",
        broken=lambda plan, facts: plan.pipeline > 1 and plan.schedule is not PipelineSchedule.GPIPE,
        mends=lambda plan, facts: (
            {"schedule": PipelineSchedule.GPIPE, "virtual": 1, "stages": ()},
            *no_pipeline(plan, facts),
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
        mends=even,
        cut=True,
    ),
    NO_HEAD_EXCHANGE,
    WHOLE_CONTEXT,
    TrainerLimit(
        field="zero",
        reason="gradients are sharded with the weights there, or not at all",
        broken=lambda plan, facts: plan.zero == 2 and plan.replicas > 1,
        mends=to_zero(3, 1),
    ),
    TrainerLimit(
        field="shard",
        reason="optimizer states are sharded over all replicas",
        broken=lambda plan, facts: plan.zero == 1 and plan.shard > 0,
        mends=to(shard=0),
    ),
    NO_SELECTIVE,
    ALL_OR_NOTHING,
    TrainerLimit(
        field="precision",
        reason="it has neither fp16 nor fp4",
        broken=is_one_of("precision", Format.FP16, Format.FP4),
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
    scaled_as(Fp8Recipe.DELAYED),
    WEIGHTS_IN_16BIT,
    NO_8BIT,
    TrainerLimit(
        field="gradient",
        reason="gradients have one type, fp32 or bf16",
        broken=is_one_of("gradient", "bf16+fp32"),
        mends=to(gradient="fp32"),
    ),
)
