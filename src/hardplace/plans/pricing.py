"""Pricing of a plan's work on a device: a GPU's fitted model or the closed forms of arrays, with what steps reach."""

from __future__ import annotations

import math
from dataclasses import replace

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.gpu.amd import AITER, with_amd
from hardplace.cost.gpu.attention import backend_named, stand_in, with_older
from hardplace.cost.gpu.cudnn import with_cudnn
from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.models import model_of, shipped
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.gpu.transfer import carried_attention
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.layers.low_precision import CastBytes, Fp8Recipe
from hardplace.cost.layers.software import (
    LAUNCHED,
    ON_ARRAY_SOFTWARE,
    ON_ARRAYS,
    SOFTWARE,
    Dispatcher,
    Graphs,
    on_arrays_of,
    software_named,
)
from hardplace.cost.one_chip.described_device import DescribedDevice
from hardplace.errors import BadInput
from hardplace.hardware.device import Arrays, Device
from hardplace.plans.anchors import Anchor, anchor_problems
from hardplace.plans.device_contradictions import check_device
from hardplace.plans.efficiencies import (
    FIGURES,
    anchored,
    efficiencies,
    fitted,
    generation,
    generation_of_arrays,
    is_fitted,
    rows_together,
    slower,
)
from hardplace.plans.plan import Format, Plan
from hardplace.plans.pricer import Efficiencies, StepPricer

# Measured over predicted on Trainium 1 before its own runs were fitted (docs/model-training.md, section 6).
_UNFITTED = 1.8
# Share of the fp32 peak that batched products of misaligned 16-bit operands reach before CUDA 11.7: on A100 12.2 of
# 19.5 TFLOP/s, bf16, 384 products of 1024 x 1024 x 140, CUDA 11.6 (132.7 with 128; with 11.7 85.6):
# pytorch/pytorch#83272.
_ON_CORES = 0.63
_ULTRA = 5.0  # fp4 over 16-bit peak above which it is Blackwell Ultra (dense 6; Blackwell 4)
_AMPERE = "a100-80gb-sxm"  # where Triton's first FlashAttention was measured beside FA2
_HOPPER = 4096.0  # tensor FLOPs a clock of a multiprocessor from which cuDNN's and FA3's kernels run


def pricer_of(chip: Device | DescribedDevice, plan: Plan) -> StepPricer:
    """Return the pricer of a plan's work on a device, in the plan's precision, as its software reaches it.

    A GPU's kernels are timed by its fitted model, those of a chip with arrays by closed forms, those of a described
    accelerator by the generated model.

    Raises:
        BadInput: For a device that contradicts the plan (`device_contradictions`), or has no figures of its attention
            kernels.
    """
    check_device(chip, plan)
    if isinstance(chip, DescribedDevice):
        return _on_description(chip, plan)
    if isinstance(chip.engine, Arrays):
        return _on_arrays(chip, plan)
    low, wide = plan.precision if plan.precision.low else None, 1.0
    half = _half_flops_per_s(chip)
    peak = half if low is None else chip.peak_flops_per_s(low.value)
    if plan.precision is Format.FP32:
        wide = half / (chip.peak_flops_per_s("tf32") if "tf32" in chip.dtypes else chip.vector_flops_per_s)
    model, ratios = with_amd(model_of(chip)), _ratios(chip)
    first = shipped(_AMPERE)
    ampere = carried_attention(first.attention["fa2"], first.datasheet, model.datasheet)
    kernels = with_older(model.attention, ampere)
    kernels = with_cudnn(kernels, model.datasheet, ultra=ratios.get("fp4", 0.0) > _ULTRA)
    model = replace(model, attention=kernels)
    kind = generation(model.datasheet)
    if plan.software in ON_ARRAY_SOFTWARE:
        raise BadInput(f"software: {plan.software}: {chip.name} is a GPU: expected software of GPUs")
    reached = efficiencies(kind, plan.ways, flash=plan.flash, named=bool(plan.software), ratios=ratios)
    found = _own(reached, chip, plan)
    notes = [
        *_lacking(chip, plan),
        *_unmeasured(chip, kind, plan),
        *(fit.method for fit in model.fits if fit.part == "all"),
    ]
    if found.products != 1.0:
        notes.append(_reached(chip, found))
    if low is not None:
        rate = found.low_rate if low is Format.FP8 else found.fp4_rate
        notes.append(
            f"products in {low} at {rate:g} times the rate of bf16, from kernels alone; {recipe_of(chip, plan)} scaling"
        )
    return StepPricer(
        kind=kind,
        peak_flops_per_s=model.datasheet.tensor_flops_per_s,
        plan_flops_per_s=peak / wide,
        timer=GpuTimer(
            model=replace(model, residual=None),
            attention=_attention(model, plan),
            fused_softmax=plan.habits.fused_softmax,
            unaligned_flops_per_s=_unaligned_flops_per_s(chip, plan),
        ),
        efficiencies=found,
        low=low,
        casts=_casts(chip, plan, plan.software),
        wide=wide,
        flash=plan.flash,
        tensor_overlap=plan.ways.tensor_overlap,
        deduplicates=plan.ways.dispatcher is not Dispatcher.ALL_TO_ALL,
        launched=LAUNCHED[plan.ways.graphs],
        experts_launched=1.0 if plan.ways.graphs is Graphs.PARTIAL else LAUNCHED[plan.ways.graphs],
        blocked_s=plan.habits.blocked_s,
        software=plan.software,
        notes=tuple(notes),
    )


def _ratios(chip: Device) -> dict[str, float]:
    """Return the peaks of fp8 and fp4 over that of 16 bit, of those that a device has."""
    half = _half_flops_per_s(chip)
    return {str(one): chip.peak_flops_per_s(one.value) / half for one in Format if one.low and one.value in chip.dtypes}


def _half_flops_per_s(chip: Device) -> float:
    return chip.peak_flops_per_s("bf16" if "bf16" in chip.dtypes else "fp16")


def recipe_of(chip: Device, plan: Plan, software: str | None = None) -> Fp8Recipe | None:
    """Return how a plan's tensors in low precision are scaled on a device; None: none is in low precision.

    Args:
        chip: The device.
        plan: The plan.
        software: What runs it; None: as the plan says.
    """
    if not plan.precision.low:
        return None
    if plan.precision is Format.FP4:
        return Fp8Recipe.NVFP4
    habits = software_named(plan.software if software is None else software)
    return plan.fp8_recipe or (Fp8Recipe.MXFP8 if habits.fine_fp8 and _from_blackwell(chip) else habits.fp8_recipe)


def _from_blackwell(chip: Device) -> bool:
    return chip.vendor == "NVIDIA" and "fp4" in chip.dtypes


def _casts(chip: Device, plan: Plan, software: str) -> CastBytes | None:
    """Return what casts to a plan's low precision move on a device; None in 16 bit."""
    recipe = recipe_of(chip, plan, software)
    if recipe is None:
        return None
    habits = software_named(software)
    return CastBytes(
        recipe=recipe,
        layouts=_from_blackwell(chip),
        sends=habits.sends_casts,
        gathers=plan.fp8_gather,
        keeps=habits.keeps_casts,
        norms=not habits.eager,
    )


def _own(found: Efficiencies, chip: Device | DescribedDevice, plan: Plan) -> Efficiencies:
    """Return figures with what a plan's anchor says of them; BadInput for an anchor of another system."""
    if plan.anchor is None:
        return found
    check_anchor(plan.anchor, chip.name, plan.software)
    return anchored(found, plan.anchor, flash=plan.flash)


def check_anchor(anchor: Anchor, device_name: str, software: str) -> None:
    """Raise BadInput for an anchor of another version, with impossible figures, or of another device or software."""
    for problem in anchor_problems(anchor, FIGURES):
        raise BadInput(f"anchor: {problem}")
    if (anchor.device, anchor.software) != (device_name, software):
        said = f"{anchor.device} with {anchor.software or 'no software named'}"
        raise BadInput(f"anchor: {said}: expected {device_name} with {software or 'no software named'}, the plan's")


def _attention(model: GpuModel, plan: Plan) -> str:
    """Return whose attention kernels a plan runs: its own, else cuDNN's or FA3's from Hopper on, or AITER's, where the
    software has them, else PyTorch's default (FA2)."""
    if not plan.flash:
        return "unfused"
    if plan.backend:
        return backend_named(plan.backend, model)
    makers = AITER in model.attention or flops_per_clock(model.datasheet) >= _HOPPER
    usual = plan.habits.attention if makers else "default"
    return stand_in(usual, model) or backend_named("default", model)


def _unaligned_flops_per_s(chip: Device, plan: Plan) -> float:
    """Return the rate of attention's products at most where 8 does not divide the head dimension."""
    old = plan.habits.needs_aligned_heads and chip.vendor == "NVIDIA"
    return _ON_CORES * chip.vector_flops_per_s if old else math.inf


def _lacking(chip: Device, plan: Plan) -> list[str]:
    """Return what says that a device runs a plan in another 16-bit format than the plan's."""
    if plan.precision is Format.BF16 and "bf16" not in chip.dtypes:
        return [f"{chip.name} has no bf16: priced as fp16, which needs its loss scaled"]
    return []


def _unmeasured(chip: Device, kind: str, plan: Plan) -> list[str]:
    """Return what says that no published run of a device and a software together was fitted."""
    if not is_fitted(kind):
        return [f"{chip.name}: no published run on it was fitted: figures are the centre of other devices"]
    if not plan.software:
        return [f"no software named: the centre of those known{_held(kind, plan)}"]
    if not rows_together(kind, plan.software):
        name = SOFTWARE[plan.software].title
        return [f"{chip.name} with {name}: no published run of both together was fitted"]
    return []


def _held(kind: str, plan: Plan) -> str:
    """Return what says how much slower kernels are taken so that simple plans do not pass the best published run of a
    generation, or of the nearest one; "" where they do not anyway."""
    factor = max(slower(kind, plan.ways, fitted(), flash=plan.flash).values(), default=1.0)
    return f", kernels {factor:.3g} times slower: no faster than the best published run" if factor > 1.0 else ""


def _on_arrays(chip: Device, plan: Plan) -> StepPricer:
    """Return what prices work on a chip with arrays; 8-bit products at the arrays' own ratio of rates."""
    low, wide = plan.precision if plan.precision.low else None, 1.0
    half = chip.peak_flops_per_s("bf16")
    if plan.software not in ("", *ON_ARRAY_SOFTWARE):
        expected = " or ".join(ON_ARRAY_SOFTWARE)
        raise BadInput(f"software: {plan.software}: {chip.name} has arrays: expected {expected}, or none")
    kind = generation_of_arrays(chip)
    usual = on_arrays_of(chip.vendor)
    how = replace(plan, software=plan.software or usual).ways
    reached = efficiencies(kind, how, flash=plan.flash, named=bool(plan.software))
    found, on = _own(reached, chip, plan), machine(chip, "bf16")
    notes = [*on.notes, f"{chip.name}: kernels by closed forms of arrays, not fitted on kernels", _reached(chip, found)]
    if not is_fitted(kind):
        notes.append(
            f"{chip.name}: no published runs were fitted: steps may take up to {_UNFITTED:g} times these seconds"
        )
    if not plan.software and (held := _held(kind, plan)):
        notes.append(f"no software named: {SOFTWARE[usual].title}{held}")
    notes.append(f"{chip.name}: memory is what Megatron-LM keeps; compilers for arrays may keep less")
    if low is not None:
        rate = chip.peak_flops_per_s(low.value) / half
        found = replace(found, low_rate=rate, fp4_rate=rate)
        notes.append(f"products in {low} at {rate:g} times the rate of bf16, as the datasheet has it")
    elif plan.precision is Format.FP32:
        wide = half / chip.peak_flops_per_s("fp32")
    return StepPricer(
        kind=kind,
        peak_flops_per_s=half,
        plan_flops_per_s=(half if low is None else chip.peak_flops_per_s(low.value)) / wide,
        timer=ArrayTimer(machine=on, flash=plan.flash, group_rows=SOFTWARE[how.software].group_rows),
        efficiencies=found,
        low=low,
        casts=_casts(chip, plan, how.software),
        wide=wide,
        flash=plan.flash,
        tensor_overlap=how.tensor_overlap,
        software=how.software,
        notes=tuple(notes),
    )


def _on_description(chip: DescribedDevice, plan: Plan) -> StepPricer:
    """Return what prices work on a described accelerator, in the one format that its memory holds."""
    from hardplace.cost.one_chip.described_timer import DescribedTimer  # its mappings are of no use to other devices

    if str(plan.precision) not in chip.dtypes:
        able = [str(one) for one in Format if str(one) in chip.dtypes]
        held = chip.chip.dtype
        expected = f"expected {' or '.join(able)}" if able else "expected elements of 2 or 4 bytes"
        raise BadInput(f"precision: {plan.precision}: {chip.name} has {held}: {expected}")
    if plan.software not in ("", *ON_ARRAY_SOFTWARE):
        raise BadInput(f"software: {plan.software}: {chip.name} is described: expected none")
    peak = chip.chip.peak_flops_per_s
    kind = f"described-{peak / 1e12:.3g}-0"
    found = _own(efficiencies(kind, replace(plan.ways, software=ON_ARRAYS), flash=False), chip, plan)
    return StepPricer(
        kind=kind,
        peak_flops_per_s=peak,
        plan_flops_per_s=peak,
        timer=DescribedTimer(chip=chip.chip),
        efficiencies=found,
        flash=False,
        software=ON_ARRAYS,
        notes=(
            f"{chip.name}: kernels by its description's generated model, attention as two products and a softmax; "
            "nothing is fitted on it",
            f"{chip.name}: no published run on it was fitted: figures of a step are the centre of other devices",
            *((f"{chip.name}: memory is without attention's scores, as of a fused kernel",) if plan.flash else ()),
        ),
    )


def _reached(chip: Device, found: Efficiencies) -> str:
    return (
        f"{chip.name}: in a step, matrix products take {found.products:.3g} x and attention {found.attention:.3g} x "
        f"their time when run alone (fitted on published runs)"
    )
