"""Datasheets for the GPU model from the catalogue of devices."""

from __future__ import annotations

from hardplace.cost.gpu.types import Datasheet
from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Multiprocessors


def datasheet(device: Device) -> Datasheet:
    """Return what the GPU model needs to know of a device; BadInput if it is no GPU or has no published power."""
    if not isinstance(device.engine, Multiprocessors):
        raise BadInput(f"{device.name}: a systolic array: expected a GPU (multiprocessors)")
    if device.tdp_w is None:
        raise BadInput(f"{device.name}: chip.tdp: missing; expected the board power, which bounds the rate of GEMMs")
    dtype = "bf16" if "bf16" in device.dtypes else "fp16"
    return Datasheet(
        name=device.name,
        vendor=device.vendor,
        multiprocessors=device.engine.count,
        clock_hz=device.clock_hz,
        tensor_flops_per_s=device.peak_flops_per_s(dtype),
        memory_bandwidth_bytes_per_s=device.memory_bandwidth_bytes_per_s,
        l2_bytes=float(device.buffer_bytes),
        power_w=device.tdp_w,
    )
