"""A device with systolic arrays in the terms of the cost model: one chip as columns of length one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.precision import PRECISIONS, Precision
from hardplace.errors import BadInput
from hardplace.hardware.bill import Energies, areas, energies
from hardplace.hardware.blueprint import Blueprint, of_device
from hardplace.hardware.device import Arrays, Device
from hardplace.hardware.settings import setting
from hardplace.hardware.technology import technology
from hardplace.hardware.types import Chips, Cluster, NetworkLevel, Setting
from hardplace.ndtypes import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMachine:
    """A device in the terms of the cost model.

    Attributes:
        device: The device.
        chips: The chip, as columns of length one.
        setting: Memory system and network.
        precision: Format of operands and sums.
        plan: Blueprint for area and energy.
        energy: Energy of operations and bytes.
        notes: What was taken for the figures.
    """

    device: Device
    chips: Chips
    setting: Setting
    precision: Precision
    plan: Blueprint
    energy: Energies
    notes: tuple[str, ...]

    @property
    def dtype(self) -> str:
        """Return the type that operands are computed in."""
        return self.precision.name


def chip_energies(device: Device, dtype: str) -> tuple[Blueprint, Floats, Energies]:
    """Return a device's blueprint, its die (published, otherwise modelled; shape (1,)) and its energies in `dtype`."""
    plan, tech = of_device(device), technology(device.node_nm)
    die_mm2 = np.array([device.die_area_mm2 or float(np.sum(list(areas(plan, tech).values())))])
    return plan, die_mm2, energies(plan, tech, die_mm2, dtype)


def machine(device: Device, dtype: str) -> ArrayMachine:
    """Return a device with arrays in the terms of the cost model, computing in `dtype` or in what it falls back to.

    Raises:
        BadInput: For a GPU, whose kernels are not those of arrays, and for a type that the chip cannot compute in.
    """
    engine = device.engine
    if not isinstance(engine, Arrays):
        raise BadInput(
            f"{device.name}: a GPU; expected a chip with arrays, such as tpu-v4, trainium2 or a file of yours"
        )
    used, words = device.supports(dtype)
    if used not in PRECISIONS:
        raise BadInput(f"{device.name}: operands of {used}: expected one of {', '.join(PRECISIONS)}")
    shared = setting("hbm3")
    notes = [words] if words else []
    if device.buffer_bandwidth_bytes_per_s is None:
        notes.append(f"buffer bandwidth is not published: {shared.buffer_bandwidth_bytes_per_s / 1e12:g} TB/s taken")
    plan, die_mm2, energy = chip_energies(device, used)
    columns = {
        "tensor_cores": engine.count,
        "array_rows": engine.rows,
        "array_columns": engine.columns,
        "vector_cores": engine.vector_cores,
        "vector_lanes": engine.vector_lanes,
        "buffer_bytes": device.buffer_bytes,
    }
    alone = NetworkLevel(name="none", devices=1, bandwidth_bytes_per_s=np.inf, latency_s=0.0)
    return ArrayMachine(
        device=device,
        chips=Chips(
            **{name: np.array([value], dtype=np.int64) for name, value in columns.items()},
            area_mm2=die_mm2,
            clock_hz=None,
        ),
        setting=replace(
            shared,
            name=device.name,
            description=device.title,
            clock_hz=device.clock_hz,
            memory_bandwidth_bytes_per_s=device.memory_bandwidth_bytes_per_s,
            buffer_bandwidth_bytes_per_s=device.buffer_bandwidth_bytes_per_s or shared.buffer_bandwidth_bytes_per_s,
            memory_capacities_bytes=(device.memory_bytes,),
            cluster=Cluster(devices=1, levels=(alone,)),
        ),
        precision=replace(PRECISIONS[used], rate=engine.macs_per_clock[used]),
        plan=plan,
        energy=energy,
        notes=tuple(notes),
    )
