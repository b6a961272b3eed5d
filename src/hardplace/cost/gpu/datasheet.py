"""Datasheets for the GPU model from the catalogue of devices."""

from __future__ import annotations

from hardplace.cost.gpu.types import Datasheet
from hardplace.errors import BadInput, unknown
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Device, Multiprocessors


def datasheet(chip: Device) -> Datasheet:
    """Return what the GPU model needs to know of a device; BadInput if it is no GPU or has no published power."""
    if not isinstance(chip.engine, Multiprocessors):
        raise BadInput(f"{chip.name}: a systolic array: expected a GPU (multiprocessors)")
    if chip.tdp_w is None:
        raise BadInput(f"{chip.name}: chip.tdp: missing; expected the board power, which bounds the rate of GEMMs")
    dtype = "bf16" if "bf16" in chip.dtypes else "fp16"
    return Datasheet(
        name=chip.name,
        vendor=chip.vendor,
        multiprocessors=chip.engine.count,
        clock_hz=chip.clock_hz,
        tensor_flops_per_s=chip.peak_flops_per_s(dtype),
        memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s,
        l2_bytes=float(chip.buffer_bytes),
        power_w=chip.tdp_w,
    )


def gpu(name_or_file: str) -> Device:
    """Return a GPU of the catalogue or of a TOML file; BadInput with the nearest GPUs for an unknown name."""
    if not name_or_file.endswith(".toml") and name_or_file not in device_names():
        names = [name for name in device_names() if isinstance(device(name).engine, Multiprocessors)]
        raise unknown("device", name_or_file, names)
    return device(name_or_file)


def flops_per_clock(sheet: Datasheet) -> float:
    """Return the tensor FLOPs a clock and multiprocessor."""
    return sheet.tensor_flops_per_s / sheet.multiprocessors / sheet.clock_hz
