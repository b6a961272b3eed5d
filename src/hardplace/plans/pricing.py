"""What prices a plan's work on a device: a GPU's fitted model or the closed forms of arrays, and what steps reach."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.arrays.machine import machine
from hardplace.cost.arrays.timer import ArrayTimer
from hardplace.cost.gpu.models import model_of
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.errors import BadInput
from hardplace.hardware.device import Arrays, Device
from hardplace.plans.efficiencies import (
    DEFAULT,
    ON_ARRAYS,
    efficiencies,
    generation,
    generation_of_arrays,
    is_fitted,
)
from hardplace.plans.plan import Format, Plan
from hardplace.plans.pricer import Efficiencies, Low, StepPricer

# Measured over predicted on Trainium 1 before its own runs were fitted (docs/model-training.md, section 6).
_UNFITTED = 1.8
_LOW = {Format.FP8: Low.FP8, Format.FP4: Low.FP4}


def pricer_of(chip: Device, plan: Plan, stack: str | None = None, backend: str = "default") -> StepPricer:
    """Return what prices a plan's work on a device, in the plan's precision, with a software's fitted efficiencies.

    A GPU's kernels are timed by its fitted model, those of a chip with arrays by their closed forms. stack: the usual
    one of the kind of device if None. Raises BadInput for a device that has no rate for the plan's precision.
    """
    if isinstance(chip.engine, Arrays):
        return _on_arrays(chip, plan, stack or ON_ARRAYS)
    low, wide = _LOW.get(plan.precision), 1.0
    half = chip.peak_flops_per_s("bf16" if "bf16" in chip.dtypes else "fp16")
    if low is not None:
        chip.peak_flops_per_s(low.value)
    elif plan.precision is Format.FP32:
        wide = half / (chip.peak_flops_per_s("tf32") if "tf32" in chip.dtypes else chip.vector_flops_per_s)
    model = model_of(chip)
    kind = generation(model.datasheet)
    found = efficiencies(kind, stack or DEFAULT, flash=plan.flash)
    notes = [fit.method for fit in model.fits if fit.part == "all"]
    if found.products != 1.0:
        notes.append(_reached(chip, found))
    if low is not None:
        rate = found.low_rate if low is Low.FP8 else found.fp4_rate
        notes.append(f"products in {low} at {rate:g} times the rate of bf16, fitted on training runs")
    return StepPricer(
        kind=kind,
        peak_flops_per_s=model.datasheet.tensor_flops_per_s,
        timer=GpuTimer(model=replace(model, residual=None), attention=backend if plan.flash else "unfused"),
        efficiencies=found,
        low=low,
        wide=wide,
        flash=plan.flash,
        notes=tuple(notes),
    )


def _on_arrays(chip: Device, plan: Plan, stack: str) -> StepPricer:
    """Return what prices work on a chip with arrays; 8-bit products at the arrays' own ratio of rates."""
    if str(plan.precision) not in chip.dtypes:
        able = [str(one) for one in Format if str(one) in chip.dtypes]
        raise BadInput(
            f"precision: {plan.precision}: {chip.name} does not multiply in it: expected {' or '.join(able)}"
        )
    low, wide, half = _LOW.get(plan.precision), 1.0, chip.peak_flops_per_s("bf16")
    kind = generation_of_arrays(chip)
    found, on = efficiencies(kind, stack, flash=plan.flash), machine(chip, "bf16")
    notes = [*on.notes, f"{chip.name}: kernels by closed forms of arrays, not fitted on kernels", _reached(chip, found)]
    if not is_fitted(kind):
        notes.append(
            f"{chip.name}: no published runs were fitted: steps may take up to {_UNFITTED:g} times these seconds"
        )
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
        timer=ArrayTimer(machine=on, flash=plan.flash),
        efficiencies=found,
        low=low,
        wide=wide,
        flash=plan.flash,
        notes=tuple(notes),
    )


def _reached(chip: Device, found: Efficiencies) -> str:
    return (
        f"{chip.name}: products take {found.products:.3g} and attention {found.attention:.3g} times their seconds "
        f"alone, fitted on training runs"
    )
