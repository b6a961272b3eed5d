"""Efficiencies of training steps by device and software, fitted on the calibration split of validation/training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.types import Datasheet
from hardplace.errors import BadInput
from hardplace.files import read
from hardplace.hardware.device import Arrays, Device
from hardplace.plans.pricer import Efficiencies

_FILE = Path(__file__).parent / "data" / "training.json"
DEFAULT, ON_ARRAYS = "megatron-core", "xla-arrays"  # of GPUs, and of chips with arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class OfGpu:
    """What steps on a generation of devices reach (`Efficiencies`); rows: that it was fitted on.

    low_rate, fp4_rate where no row is in such a precision: judged (C), 0.8 and 0.6 of the datasheets' 2 and 4.
    """

    products: float = 1.0
    attention: float = 1.0
    low_rate: float = 1.6
    fp4_rate: float = 2.4
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfStack:
    """What a software reaches (`Efficiencies`), and which it is; rows: that it was fitted on.

    fragmentation, reserve_bytes: memory lost to its allocator, and held by driver and communication libraries. Where
    no row says anything: as kernels and network alone, half of compute hides traffic, memory judged (C).
    """

    software: str
    products: float = 1.0
    attention: float = 1.0
    streams: float = 1.0
    tensor: float = 1.0
    sync_s: float = 0.0
    expert: float = 1.0
    hidden: float = 0.5
    contention: float = 0.0
    reduction: float = 1.0
    launch_s: float = 0.0
    step_s: float = 0.0
    fragmentation: float = 0.04
    reserve_bytes: float = 2e9
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEfficiencies:
    """What benchmarks/fit_training.py found: by generation of GPU (`generation`), by software, and which share of its
    rate a fabric between nodes reaches."""

    method: str
    gpus: Mapping[str, OfGpu]
    stacks: Mapping[str, OfStack]
    fabrics: Mapping[str, float]


def generation(sheet: Datasheet) -> str:
    """Return the key of GPUs that are alike: vendor, tensor FLOPs a clock of a multiprocessor, board power in W."""
    return f"{sheet.vendor.lower()}-{flops_per_clock(sheet):.0f}-{sheet.power_w:.0f}"


def generation_of_arrays(chip: Device) -> str:
    """Return the key of chips with arrays that are alike: vendor, FLOPs a clock of an array, peak in TFLOP/s (their
    power is seldom published). Raises BadInput for a GPU."""
    if not isinstance(chip.engine, Arrays):
        raise BadInput(f"{chip.name}: a GPU: expected a chip with arrays")
    peak = chip.peak_flops_per_s("bf16")
    return f"{chip.vendor.lower()}-{peak / chip.engine.count / chip.clock_hz:.0f}-{peak / 1e12:.0f}"


def _nearest(kind: str, known: FittedEfficiencies) -> OfGpu:
    """Return the figures of the generation, of the nearest board power or peak; without, those of kernels alone."""
    family, _, size = kind.rpartition("-")
    alike = [name for name in known.gpus if name.rpartition("-")[0] == family]
    if not alike:
        return OfGpu()
    return known.gpus[min(alike, key=lambda name: abs(float(name.rpartition("-")[2]) - float(size)))]


def is_fitted(kind: str) -> bool:
    """Return whether published runs of the generation were fitted."""
    return kind in fitted().gpus


@cache
def fitted() -> FittedEfficiencies:
    """Return the fitted efficiencies that ship with the package."""
    return read(_FILE, FittedEfficiencies)


def efficiencies(
    kind: str, stack: str = DEFAULT, found: FittedEfficiencies | None = None, *, flash: bool = True
) -> Efficiencies:
    """Return the efficiencies of a generation with a software; for one without figures those of kernels alone.

    found: other figures than those that ship. flash: attention is one kernel; products and a softmax otherwise.
    """
    known = found or fitted()
    gpu, software = _nearest(kind, known), known.stacks[stack]
    return Efficiencies(
        products=gpu.products * software.products,
        attention=(gpu.attention if flash else gpu.products) * software.attention,
        low_rate=gpu.low_rate,
        fp4_rate=gpu.fp4_rate,
        streams=software.streams,
        tensor=software.tensor,
        sync_s=software.sync_s,
        expert=software.expert,
        hidden=software.hidden,
        contention=software.contention,
        reduction=software.reduction,
        launch_s=software.launch_s,
        step_s=software.step_s,
    )
