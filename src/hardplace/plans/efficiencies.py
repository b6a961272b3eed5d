"""Efficiencies of training steps by device and software: one centre with offsets (docs/model-training.md, section
6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from hardplace.cost.gpu.datasheet import flops_per_clock
from hardplace.cost.gpu.types import Datasheet
from hardplace.cost.layers.software import ON_ARRAY_SOFTWARE, software_named
from hardplace.cost.layers.ways import Ways, ways
from hardplace.errors import BadInput
from hardplace.files import read
from hardplace.hardware.device import Arrays, Device
from hardplace.plans.anchors import Anchor
from hardplace.plans.pricer import Efficiencies

_FILE = Path(__file__).parent / "data" / "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The prior of a figure of a step.

    Attributes:
        start: Value where no row says anything of it.
        least: Least value that is physically possible.
        most: Largest value that is physically possible.
        floor: Value that offsets multiply the distance from.
        on_arrays: `start` of chips with arrays; None: the same.
    """

    start: float
    least: float
    most: float
    floor: float = 0.0
    on_arrays: float | None = None


# Why no less and no more: docs/model-training.md, section 6.
FIGURES = {
    "products": Figure(start=1.12, least=0.95, most=2.5),
    "low": Figure(start=1.0, least=0.7, most=1.5),
    "attention": Figure(start=1.15, least=0.9, most=2.5),
    "streams": Figure(start=1.0, least=0.5, most=4.0),
    "tensor": Figure(start=0.9, least=0.4, most=2.0),
    "sync_s": Figure(start=1e-4, least=5e-6, most=1e-3),
    "expert": Figure(start=0.9, least=0.1, most=3.0),
    "context": Figure(start=0.3, least=0.02, most=1.0),
    "exposed": Figure(start=0.4, least=0.05, most=1.0),
    "looped": Figure(start=0.4, least=0.05, most=1.0),
    "shown": Figure(start=0.02, least=0.005, most=1.0, on_arrays=0.3),
    "contention": Figure(start=0.1, least=0.02, most=0.6),
    "reduction": Figure(start=1.2, least=1.0, most=4.0),
    "launch_s": Figure(start=1.2e-5, least=2e-6, most=6e-5),
    "step_s": Figure(start=3e-3, least=1e-4, most=4e-2),
}
GPUS, ARRAYS = "gpus", "arrays"
EAGER, UNFUSED = "eager", "unfused"

# Rates of fp8 products over 16-bit ones of large GEMMs alone: the best of each, stas00/ml-engineering@744d01e (maximum
# achievable matmul) and AMD (ROCm/rocm-blogs@8e01195, measuring-max-achievable-flops-part2), by generation. Others and
# fp4: that share of the datasheet's ratio (C: no kernel table at hand).
LOW_SHARE = {"fp8": 0.92, "fp4": 0.8}
_FP8 = {"nvidia-4096-700": 1.77, "nvidia-8192-1000": 1.97, "nvidia-8192-1200": 1.98, "nvidia-8192-1100": 1.90}
_FP8 |= {"amd-2048-750": 1.80, "amd-2048-1000": 1.80}


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEfficiencies:
    """The figures that `benchmarks/fit_training.py` fitted.

    Attributes:
        method: How, in words.
        centre: Centre by kind of device (`GPUS`, `ARRAYS`) and figure.
        devices: Factors by generation of device.
        software: Factors by software.
        flags: Factors by flag (`flags_of`).
        rows: Number of rows by "generation software".
        fabrics: Share of its rate that a fabric between nodes reaches.
        unnamed: Factors of plans that name no software, or one without a fitted run, by generation: none is faster than
            the best published run. By "generation eager" of software whose modules are eager, and by "generation
            unfused" of attention that is no one kernel, which fall short of that run by what they move.
    """

    method: str
    centre: Mapping[str, Mapping[str, float]]
    devices: Mapping[str, Mapping[str, float]]
    software: Mapping[str, Mapping[str, float]]
    flags: Mapping[str, Mapping[str, float]]
    rows: Mapping[str, int]
    fabrics: Mapping[str, float]
    unnamed: Mapping[str, Mapping[str, float]]


def generation(sheet: Datasheet) -> str:
    """Return the key of GPUs that are alike: vendor, tensor FLOPs a clock of a multiprocessor, board power in W."""
    return f"{sheet.vendor.lower()}-{flops_per_clock(sheet):.0f}-{sheet.power_w:.0f}"


def generation_of_arrays(chip: Device) -> str:
    """Return the key of chips with arrays that are alike: vendor, FLOPs a clock of an array, peak in TFLOP/s.

    Their power is seldom published.

    Raises:
        BadInput: For a GPU.
    """
    if not isinstance(chip.engine, Arrays):
        raise BadInput(f"{chip.name}: a GPU: expected a chip with arrays")
    peak = chip.peak_flops_per_s("bf16")
    return f"{chip.vendor.lower()}-{peak / chip.engine.count / chip.clock_hz:.0f}-{peak / 1e12:.0f}"


def nearest(kind: str, known: FittedEfficiencies) -> str:
    """Return the fitted generation that stands for one: itself, else of its family the nearest board power or peak; ""
    without.
    """
    family, _, size = kind.rpartition("-")
    alike = [name for name in known.devices if name.rpartition("-")[0] == family]
    return min(alike, key=lambda name: abs(float(name.rpartition("-")[2]) - float(size)), default="")


def is_fitted(kind: str) -> bool:
    """Return whether published runs of the generation were fitted."""
    return kind in fitted().devices


def rows_together(kind: str, software: str) -> int:
    """Return how many fitted rows a generation of device and a software have together."""
    return fitted().rows.get(f"{kind} {software}", 0)


@cache
def fitted() -> FittedEfficiencies:
    """Return the fitted efficiencies that ship with the package."""
    return read(_FILE, FittedEfficiencies)


def flags_of(how: Ways) -> tuple[str, ...]:
    """Return the flags of a way to run that have figures of their own."""
    return (
        "tensor overlapped" if how.tensor_overlap else "tensor not overlapped",
        f"dispatcher {how.dispatcher}",
        *(("experts overlapped",) if how.expert_overlap else ()),
    )


def figure_values(
    kind: str, how: Ways, known: FittedEfficiencies, *, named: bool, flash: bool = True
) -> dict[str, float]:
    """Return the figures of a generation with a way to run: centre times factors, within what is possible.

    named: a plan names its software. Without, or of software that no fitted run had, none is faster than the best
    published run. flash: attention is one kernel.
    """
    centre = known.centre[ARRAYS if how.software in ON_ARRAY_SOFTWARE else GPUS]
    tables = [known.devices.get(nearest(kind, known), {}), known.software.get(how.software, {})]
    tables += [known.flags.get(flag, {}) for flag in flags_of(how)]
    slowed = {} if named and how.software in known.software else slower(kind, how, known, flash=flash)
    found = {}
    for name, figure in FIGURES.items():
        value = centre.get(name, figure.start) - figure.floor
        for table in tables:
            value *= table.get(name, 1.0)
        found[name] = min(figure.most, max(figure.least, value + figure.floor)) * slowed.get(name, 1.0)
    return found


def slower(kind: str, how: Ways, known: FittedEfficiencies, *, flash: bool = True) -> Mapping[str, float]:
    """Return the factors by which software without a fitted run is held to the best published run."""
    near = nearest(kind, known)
    every = known.unnamed.get(near, {})
    if not flash:
        return known.unnamed.get(f"{near} {UNFUSED}", every)
    return known.unnamed.get(f"{near} {EAGER}", every) if software_named(how.software).eager else every


def efficiencies(
    kind: str,
    how: Ways | None = None,
    found: FittedEfficiencies | None = None,
    *,
    flash: bool = True,
    named: bool = False,
    ratios: Mapping[str, float] | None = None,
) -> Efficiencies:
    """Return the efficiencies of steps on a generation of device.

    Args:
        kind: Key of the generation.
        how: Way to run; None: no software named.
        found: Other figures than those that ship.
        flash: Attention is one kernel; products and a softmax otherwise.
        named: A plan names the software; that of arrays alone is known without.
        ratios: Peaks of fp8 and fp4 over that of 16 bit, of the datasheet; 2 and 4 where it says none.
    """
    sheet = {"fp8": 2.0, "fp4": 4.0} | dict(ratios or {})
    rates = Efficiencies(
        low_rate=_FP8.get(kind, sheet["fp8"] * LOW_SHARE["fp8"]), fp4_rate=sheet["fp4"] * LOW_SHARE["fp4"]
    )
    values = figure_values(kind, how or ways(), found or fitted(), named=named, flash=flash)
    return with_values(rates, values, flash=flash)


def with_values(rates: Efficiencies, values: Mapping[str, float], *, flash: bool = True) -> Efficiencies:
    """Return the efficiencies with these figures by name, with the rates of low precision of others."""
    return replace(rates, **values if flash else {**values, "attention": values["products"]})


def values_of(found: Efficiencies) -> dict[str, float]:
    """Return the figures of efficiencies by name."""
    return {name: float(getattr(found, name)) for name in FIGURES}


def anchored(found: Efficiencies, anchor: Anchor, *, flash: bool = True) -> Efficiencies:
    """Return figures with what steps of one's own system say of them, within what is possible."""
    values = values_of(found)
    for name, figure in FIGURES.items():
        values[name] = min(figure.most, max(figure.least, values[name] * anchor.times(name)))
    return with_values(found, values, flash=flash)
