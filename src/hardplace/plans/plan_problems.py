"""What contradicts itself in a plan, whatever model and devices it is for: values out of range, degrees that do not go
together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from hardplace.cost.gpu.cudnn import CUDNN_FP8
from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import SOFTWARE
from hardplace.errors import BadInput
from hardplace.plans.plan import GRADIENT_BYTES, MODULES, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute

_WITHOUT_BF16 = (Format.FP32, Format.FP16)
_MOST = 2**24  # of a degree or a batch
_COUNTS = ("global_batch", "tensor", "pipeline", "virtual", "data", "context", "expert", "micro_batch")


_CHECKED = {*_COUNTS, "zero", "shard", "recompute_layers", "offload_layers", "gradient", "fragmentation"}
_CHECKED |= {"reserve_bytes", "software"}
_FIELDS = tuple(one.name for one in fields(Plan) if one.name in _CHECKED)  # of which a value by itself may be wrong


def expected_of(name: str, value: Any) -> str:
    """Return what a field of a plan should be, where a value by itself is not that; "" where it is."""
    if name in _COUNTS:
        return "" if 1 <= value <= _MOST else "a whole number from 1" if value < 1 else f"at most {_MOST:,}"
    if name == "zero":
        return "" if 0 <= value <= 3 else "0, 1, 2 or 3"
    if name in ("shard", "recompute_layers", "offload_layers"):
        return "" if 0 <= value <= _MOST else "a whole number from 0" if value < 0 else f"at most {_MOST:,}"
    if name == "gradient":
        return "" if value in GRADIENT_BYTES else "fp32, bf16 or bf16+fp32"
    if name == "fragmentation":
        return "" if value is None or 0.0 <= value < 1.0 else "a share from 0 to below 1"
    if name == "reserve_bytes":
        return "" if value is None or 0.0 <= value <= 2.0**60 else "bytes from 0 to 2^60"
    if name == "software":
        return "" if value in SOFTWARE else " or ".join(sorted(one for one in SOFTWARE if one))
    return ""


def problems(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a plan by itself, one line each; whether it suits a model is checked elsewhere."""
    for name in _FIELDS:
        value = getattr(plan, name)
        if expected := expected_of(name, value):
            yield f"{name}: {value!r}: expected {expected}"
            if name in _COUNTS:
                return
    if plan.global_batch % (plan.data * plan.micro_batch):
        yield (
            f"global_batch: {plan.global_batch}: expected a multiple of data x micro_batch, "
            f"{plan.data} x {plan.micro_batch}"
        )
    if plan.optimizer is OptimizerKind.ADAMW_REMAINDERS and (plan.zero == 3 or plan.precision in _WITHOUT_BF16):
        wanted, found = ("zero 0 to 2", "zero 3") if plan.zero == 3 else ("precision bf16 or less", plan.precision)
        yield f"optimizer: {plan.optimizer}: expected {wanted} with it, not {found} (bf16 weights hold the rest)"
    if plan.zero == 3 and plan.pipeline > 1:
        yield f"zero: 3: expected pipeline 1 with it, not {plan.pipeline} (weights would be gathered every micro-batch)"
    if plan.shard > 0 and plan.replicas % plan.shard:
        yield f"shard: {plan.shard}: expected 0 or a divisor of data x context, {plan.replicas}"
    yield from _scaled(plan)
    if plan.backend == CUDNN_FP8 and not plan.precision.low:
        yield f"backend: {plan.backend}: expected precision fp8 or fp4 with it, not {plan.precision}"
    if plan.sequence and plan.tensor == 1:
        yield "sequence: true: expected tensor 2 or more with it"
    if plan.virtual > 1 and plan.pipeline == 1:
        yield f"virtual: {plan.virtual}: expected pipeline 2 or more with it"
    if plan.virtual > 1 and plan.schedule in (PipelineSchedule.GPIPE, PipelineSchedule.ZERO_BUBBLE):
        yield f"virtual: {plan.virtual}: expected schedule 1f1b with it"
    if plan.schedule.folds:
        yield from _folded(plan)
    elif plan.virtual > 1 and plan.micro_batches % plan.pipeline:
        yield (
            f"virtual: {plan.virtual}: interleaving expects the {plan.micro_batches} micro-batches of a replica to be "
            f"a multiple of pipeline, {plan.pipeline}"
        )
    if plan.stage_ranks % plan.expert:
        yield f"expert: {plan.expert}: expected a divisor of tensor x context x data, {plan.stage_ranks}"
    if plan.stages and len(plan.stages) != plan.pipeline:
        yield f"stages: {list(plan.stages)}: expected {plan.pipeline} numbers, one a pipeline stage"
    if plan.assignment and sorted(set(plan.assignment)) != list(range(plan.pipeline)):
        yield f"assignment: {list(plan.assignment)}: expected a stage a layer, each of 0 to {plan.pipeline - 1} used"
    if plan.kinds and len(plan.kinds) != plan.pipeline:
        yield f"kinds: {list(plan.kinds)}: expected {plan.pipeline} devices, one a pipeline stage"
    if plan.order_problem():
        yield f"order: {[str(one) for one in plan.order]}: expected {plan.order_problem()}"
    if plan.software in SOFTWARE and plan.exchange_problem():
        yield f"context_exchange: {plan.context_exchange}: expected {plan.exchange_problem()}"
    unknown = [one for one in plan.recompute_modules if one not in MODULES]
    if unknown or (plan.recompute_modules and plan.recompute is not Recompute.SELECTIVE):
        expected = f"some of {', '.join(MODULES)}, with recompute selective"
        yield f"recompute_modules: {list(plan.recompute_modules)}: expected {expected}"
    elif "op" in plan.recompute_modules and len(plan.recompute_modules) > 1:
        yield f"recompute_modules: {list(plan.recompute_modules)}: expected op alone, which says of every operator"
    if plan.recompute_layers > 0 and plan.recompute is not Recompute.FULL:
        yield f"recompute_layers: {plan.recompute_layers}: expected 0, or a number of layers with recompute full"


def _scaled(plan: Plan) -> Iterator[str]:
    """Yield what does not go with a plan's recipe of scaling, or with weights kept in fp8."""
    recipe, precision = plan.fp8_recipe, plan.precision
    needed = Format.FP4 if recipe is Fp8Recipe.NVFP4 else Format.FP8
    if recipe is not None and precision is not needed:
        yield f"fp8_recipe: {recipe}: expected precision {needed} with it, not {precision}"
    if plan.fp8_gather and precision is not Format.FP8:
        yield f"fp8_gather: true: expected precision fp8 with it, not {precision}"
    if plan.fp8_gather and plan.zero == 0:
        yield "fp8_gather: true: expected zero 1, 2 or 3 with it: without, no weights are gathered"


def _folded(plan: Plan) -> Iterator[str]:
    """Yield what does not go with a plan's V-shaped schedule."""
    if plan.pipeline == 1:
        yield f"schedule: {plan.schedule}: expected pipeline 2 or more with it"
    if plan.virtual != 2:
        yield f"virtual: {plan.virtual}: expected 2 with schedule {plan.schedule}, whose stages have two chunks"
    if plan.schedule is PipelineSchedule.DUALPIPE_V and plan.micro_batches < 2 * plan.pipeline:
        expected = f"micro-batches of twice the stages or more with it, {2 * plan.pipeline}"
        yield f"schedule: {plan.schedule}: expected {expected}, not {plan.micro_batches}"
    if plan.recompute_layers:
        yield f"recompute_layers: {plan.recompute_layers}: expected 0, all layers, with schedule {plan.schedule}"
    if plan.offload_layers:
        yield (
            f"offload_layers: {plan.offload_layers}: expected 0 with schedule {plan.schedule}: weight gradients, which "
            "run apart, read activations once more"
        )
    if plan.assignment:
        yield f"assignment: expected none with schedule {plan.schedule}, whose layers are a chain"
    if plan.stages and min(plan.stages[1:], default=2) < 2:
        yield f"stages: {list(plan.stages)}: expected a layer for each of the two chunks of every stage but the first"


def check_sound(plan: Plan, where: str) -> None:
    """Raise BadInput for a plan that contradicts itself. where: the file that holds it, or "plan"."""
    for problem in problems(plan):
        raise BadInput(f"{where}: {problem}")
