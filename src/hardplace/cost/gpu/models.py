"""GPU models that ship with the package, and models of other GPUs by transfer from the nearest relative."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import log2
from pathlib import Path

from hardplace.cost.gpu.datasheet import datasheet, flops_per_clock, gpu
from hardplace.cost.gpu.transfer import (
    HOST_S,
    bounded_gemm,
    carried_attention,
    carried_gemm,
    expected_error,
    under_load,
)
from hardplace.cost.gpu.types import Datasheet, Fit, GpuModel
from hardplace.errors import unknown
from hardplace.files import read
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.units import percent

_DATA = Path(__file__).parent / "data"
# Doublings that another vendor counts for, and a fit of three figures: what it does not fit is of its own relative.
_OTHER_VENDOR, _FEW_ROWS = 4.0, 2.0


def fitted_names() -> tuple[str, ...]:
    """Return the names of the GPUs whose models ship with the package."""
    return tuple(sorted(path.name.removesuffix(".json.gz") for path in _DATA.glob("*.json.gz")))


@cache
def shipped(name: str) -> GpuModel:
    """Return the model of a GPU that ships with the package; BadInput with the nearest names otherwise."""
    if name not in fitted_names():
        raise unknown("GPU with measurements", name, fitted_names())
    return read(_DATA / f"{name}.json.gz", GpuModel)


def gpu_model(name_or_file: str) -> GpuModel:
    """Return the model of a GPU: shipped, calibrated, or by transfer.

    Args:
        name_or_file: Name of the catalogue, a device's TOML file, or a model's .json or .json.gz file that `calibrate`
            wrote.

    Raises:
        BadInput: With the nearest names for an unknown device, and for one that is no GPU.
    """
    if name_or_file in fitted_names():
        return shipped(name_or_file)
    if name_or_file.endswith((".json", ".json.gz")):
        return read(name_or_file, GpuModel)
    return _of_catalogue(name_or_file) if name_or_file in device_names() else model_of(gpu(name_or_file))


@cache
def _of_catalogue(name: str) -> GpuModel:
    """Return the model of a device of the catalogue; a user's file is read anew each time, since it may change."""
    return model_of(gpu(name))


def model_of(chip: Device) -> GpuModel:
    """Return the model of a GPU: the shipped one of its name where its datasheet is this one's, otherwise by transfer.

    From the GPU of its name if that has the same multiprocessors (a board with other clocks or memory), else from the
    nearest one that has, else from the nearest of all; those carried over meet a measured rate of large products.

    Raises:
        BadInput: For a device that is no GPU or that has no published power.
    """
    sheet = datasheet(chip)
    if sheet.name in fitted_names() and shipped(sheet.name).datasheet == sheet:
        return shipped(sheet.name)
    found = _carried(sheet, tuple(name for name in fitted_names() if design_of(device(name)) == design_of(chip)))
    assert isinstance(chip.engine, Multiprocessors)
    reached = chip.engine.matmul_flops_per_s
    if reached is None:
        return found
    return replace(
        found, datasheet=under_load(found.gemm, sheet, reached), gemm=bounded_gemm(found.gemm, sheet, reached)
    )


def _carried(sheet: Datasheet, alike: tuple[str, ...]) -> GpuModel:
    """Return the figures of a relative for a datasheet; alike: fitted GPUs with the same multiprocessors."""
    if not alike:
        return transferred(sheet)
    return transferred(sheet, sheet.name if sheet.name in alike else relative_of(sheet, alike, alike=True), alike=True)


def design_of(chip: Device) -> tuple[object, ...]:
    """Return what tells the designs of multiprocessors apart: vendor, lanes, shared memory, registers, and whether
    tensor cores multiply in 8 and 4 bit floats. Not their rate, which is halved in some boards that are sold."""
    assert isinstance(chip.engine, Multiprocessors)
    low = tuple(kind in chip.engine.flops_per_clock for kind in ("fp8", "fp4"))
    one = chip.engine
    return (chip.vendor, one.vector_lanes, one.shared_memory_bytes, one.register_bytes, *low)


def relative_of(sheet: Datasheet, names: tuple[str, ...], *, alike: bool = False) -> str:
    """Return the nearest of these fitted GPUs: doublings of rate a clock and multiprocessor, of FLOPs a byte, of size.

    Another vendor counts as four doublings, few rows measured as two. alike: their multiprocessors are the same; then
    few rows count nothing, since the rest is of the same design, and board power does.
    """

    def apart(name: str) -> float:
        other = shipped(name).datasheet
        rate = abs(log2(flops_per_clock(sheet) / flops_per_clock(other)))
        ridge = abs(log2(_ridge(sheet) / _ridge(other)))
        size = abs(log2(sheet.multiprocessors / other.multiprocessors))
        vendor = 0.0 if sheet.vendor == other.vendor else _OTHER_VENDOR
        few = 0.0 if alike or shipped(name).residual is not None else _FEW_ROWS
        power = abs(log2(sheet.power_w / other.power_w)) if alike else 0.0
        return 2.0 * rate + ridge + 0.5 * size + vendor + few + power

    return min((name for name in names if name != sheet.name), key=apart)


def transferred(sheet: Datasheet, source: str | None = None, *, alike: bool = False) -> GpuModel:
    """Return a model with this datasheet and the figures of a fitted GPU: `source`, or the nearest relative; alike:
    their multiprocessors are the same.

    Its provenance says from whom and which error to expect. The learned residual stays behind.
    """
    name = source or relative_of(sheet, fitted_names())
    model = shipped(name)
    expected = expected_error(sheet, model.datasheet, alike=alike)
    note = Fit(
        part="all",
        method=f"transferred from {name} with the datasheet of {sheet.name}; error to expect {percent(expected, 0)}",
        source=f"figures of {name}",
        rows=0,
        held_out_rows=0,
        held_out_error=None,
        held_out_error_large=expected,
        noise=None,
    )
    old = model.datasheet
    return replace(
        model,
        datasheet=sheet,
        gemm=carried_gemm(model.gemm, old, sheet, alike=alike),
        residual=None,
        attention={backend: carried_attention(one, old, sheet) for backend, one in model.attention.items()},
        streams={kind: replace(one, launch_s=min(one.launch_s, HOST_S)) for kind, one in model.streams.items()},
        fits=(note,),
    )


def _ridge(sheet: Datasheet) -> float:
    return sheet.tensor_flops_per_s / sheet.memory_bandwidth_bytes_per_s
