"""One chip on one sheet: area and power by part, peaks and ridge points, cost and carbon."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.bill import Activity, bill
from hardplace.hardware.blueprint import of_device, training_dtype
from hardplace.hardware.catalogue import device, device_names, node, node_names
from hardplace.hardware.device import Arrays, Device, Provenance
from hardplace.hardware.money import ChipCost, cost
from hardplace.hardware.remainder import DIE_SPREAD, TDP_SPREAD
from hardplace.hardware.settings import setting
from hardplace.hardware.technology import technology
from hardplace.hardware.types import own_buffer_bytes
from hardplace.units import MIB

_SPACE_NAME = re.compile(r"(\d+)x(\d+)x(\d+)-(\d+)x(\d+)-(\d+)MiB", re.ASCII)
MOST = 2**16  # cores of a kind, rows, columns, lanes, MiB of buffer
OTHER = "not modelled"  # what a published die or TDP has above the sum of the parts


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPart:
    """A part of the chip and what it takes, in mm2 or W."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Peak of the matrix engines for one type of operand, and the FLOPs a byte where memory stops being the bound."""

    dtype: str
    flops_per_s: float
    ridge_flops_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSheet:
    """What `hardplace chip` prints and draws. Published figures are None where there are none.

    die_interval_mm2, tdp_interval_w: 80 % interval of the model's totals. area and power: the model's parts, and OTHER
    where the published total is larger. Cost and carbon are of the published die and TDP where there are such, else of
    the model's.
    """

    name: str
    title: str
    vendor: str
    process: str
    node_nm: float
    clock_hz: float
    engines: str
    memory: str
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    buffer_bytes: int
    buffer_bandwidth_bytes_per_s: float | None
    link_bandwidth_bytes_per_s: float | None
    training_dtype: str
    peaks: tuple[Peak, ...]
    vector_flops_per_s: float
    area: tuple[SheetPart, ...]
    power: tuple[SheetPart, ...]
    model_die_mm2: float
    die_interval_mm2: tuple[float, float]
    published_die_mm2: float | None
    die_is_bound: bool
    model_tdp_w: float
    tdp_interval_w: tuple[float, float]
    published_tdp_w: float | None
    activity: Activity
    dies: int
    good_share: float
    cost: tuple[SheetPart, ...]
    embodied_kg: float
    use_kg: float
    provenance: tuple[Provenance, ...]
    notes: tuple[str, ...]


def find(name: str) -> Device:
    """Return a device of the catalogue, of a TOML file, or the chip of a search by its name (8x128x128-2x128-128MiB).

    Raises BadInput with the nearest names if there is none.
    """
    if name not in device_names() and (match := _SPACE_NAME.fullmatch(name)):
        return _of_space(name, *map(_size, match.groups()))
    if name in node_names():
        raise BadInput(f"{name} is a node, not a chip; expected its device, {node(name).device}")
    return device(name)


def _size(digits: str) -> int:
    """Return a number, or 0 for one that is out of range however long it is."""
    return int(digits) if len(digits.lstrip("0")) <= 9 else 0


def _of_space(name: str, count: int, rows: int, columns: int, cores: int, lanes: int, mib: int) -> Device:
    """Return a chip of the search as a device of 7 nm with the memory of the setting hbm3."""
    if not all(0 < size <= MOST for size in (count, rows, columns, cores, lanes, mib)):
        raise BadInput(f"{name}: expected numbers from 1 to {MOST}: cores, rows, columns, cores, lanes, MiB")
    shared = setting("hbm3")
    return Device(
        name=name,
        title=f"A chip of the search space: {name}",
        vendor="",
        engine=Arrays(
            count=count,
            rows=rows,
            columns=columns,
            macs_per_clock={"bf16": 1.0},
            vector_cores=cores,
            vector_lanes=lanes,
            register_bytes=int(own_buffer_bytes(lanes)),
        ),
        process="7 nm",
        node_nm=7.0,
        clock_hz=shared.clock_hz,
        buffer_bytes=mib * MIB,
        buffer_bandwidth_bytes_per_s=shared.buffer_bandwidth_bytes_per_s,
        memory_kind="HBM3",
        memory_bytes=min(shared.memory_capacities_bytes),
        memory_bandwidth_bytes_per_s=shared.memory_bandwidth_bytes_per_s,
        link_bandwidth_bytes_per_s=shared.cluster.levels[0].bandwidth_bytes_per_s,
        published_peaks={},
        provenance=(),
    )


def sheet(one: Device, node_nm: float | None = None, dtype: str | None = None) -> DeviceSheet:
    """Return the sheet of a device, at its own node or at another one.

    dtype: a type of operand that one asks about; its fallback is among the notes. Raises BadInput for a node outside
    the table and for a type that the chip cannot compute in.
    """
    moved = node_nm is not None and node_nm != one.node_nm
    if node_nm is not None and moved:
        one = replace(one, node_nm=node_nm, die_area_mm2=None, tdp_w=None, process=f"{node_nm:g} nm (asked for)")
    notes = _notes(one, dtype, moved)
    plan, tech = of_device(one), technology(one.node_nm)
    found, family = bill(plan, tech), "gpu" if plan.gpu else "array"
    die, tdp = float(found.die_mm2[0]), float(found.tdp_w[0])
    made = cost(plan, tech, np.array([one.die_area_mm2 or die]), np.array([one.tdp_w or tdp]))
    return DeviceSheet(
        name=one.name,
        title=one.title,
        vendor=one.vendor,
        process=one.process,
        node_nm=one.node_nm,
        clock_hz=one.clock_hz,
        engines=_engines(one),
        memory=one.memory_kind,
        memory_bytes=one.memory_bytes,
        memory_bandwidth_bytes_per_s=one.memory_bandwidth_bytes_per_s,
        buffer_bytes=one.buffer_bytes,
        buffer_bandwidth_bytes_per_s=one.buffer_bandwidth_bytes_per_s,
        link_bandwidth_bytes_per_s=one.link_bandwidth_bytes_per_s,
        training_dtype=training_dtype(one),
        peaks=_peaks(one),
        vector_flops_per_s=one.vector_flops_per_s,
        area=_parts({name: float(part[0]) for name, part in found.area_mm2.items()}, one.die_area_mm2),
        power=_parts({name: float(part[0]) for name, part in found.power_w.items()}, one.tdp_w),
        model_die_mm2=die,
        die_interval_mm2=DIE_SPREAD[family].around(die),
        published_die_mm2=one.die_area_mm2,
        die_is_bound=any(item.field == "chip.die_area" and "upper bound" in item.note for item in one.provenance),
        model_tdp_w=tdp,
        tdp_interval_w=TDP_SPREAD[family].around(tdp),
        published_tdp_w=one.tdp_w,
        activity=Activity(),
        dies=int(made.dies[0]),
        good_share=float(made.good_share[0]),
        cost=_costs(made),
        embodied_kg=float(made.embodied_kg[0]),
        use_kg=float(made.use_kg[0]),
        provenance=one.provenance,
        notes=notes,
    )


def _peaks(one: Device) -> tuple[Peak, ...]:
    return tuple(
        Peak(dtype=name, flops_per_s=one.peak_flops_per_s(name), ridge_flops_per_byte=one.ridge_flops_per_byte(name))
        for name in one.dtypes
    )


def _costs(made: ChipCost) -> tuple[SheetPart, ...]:
    named = (
        ("die", made.die_usd),
        ("memory", made.memory_usd),
        ("package", made.package_usd),
        ("board and cooling", made.board_usd),
    )
    return tuple(SheetPart(name=name, value=float(value[0])) for name, value in named)


def _parts(values: dict[str, float], published: float | None) -> tuple[SheetPart, ...]:
    """Return the parts, largest first, and last what a larger published total leaves over."""
    parts = sorted((SheetPart(name=name, value=value) for name, value in values.items()), key=lambda part: -part.value)
    rest = (published or 0.0) - sum(values.values())
    parts = [part for part in parts if part.value > 0]
    return (*parts, SheetPart(name=OTHER, value=rest)) if rest > 0 else tuple(parts)


def _engines(one: Device) -> str:
    if isinstance(one.engine, Arrays):
        engine = one.engine
        return (
            f"{engine.count} arrays of {engine.rows} × {engine.columns}, {engine.vector_cores} vector "
            f"{'core' if engine.vector_cores == 1 else 'cores'} of {engine.vector_lanes} lanes"
        )
    flops = one.engine.flops_per_clock[training_dtype(one)]
    return (
        f"{one.engine.count} multiprocessors, each {flops // 2} multiply-adds a clock in {training_dtype(one)} "
        f"and {one.engine.vector_lanes} fp32 lanes"
    )


def _notes(one: Device, dtype: str | None, moved: bool) -> tuple[str, ...]:
    notes = []
    if dtype is not None:
        used, words = one.supports(dtype)
        notes.append(words or f"{one.name} computes {used} itself")
    if moved:
        notes.append("published die and TDP do not hold at another node and are left out")
    weak = sorted(item.field for item in one.provenance if item.trust == "C")
    if weak:
        notes.append(f"to check before use (trust C): {', '.join(weak)}")
    return tuple(notes)
