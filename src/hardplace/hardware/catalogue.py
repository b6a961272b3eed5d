"""The catalogue of devices and nodes, and the reading of a user's own ones (TOML)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hardplace.errors import BadInput, unknown
from hardplace.files import read_toml
from hardplace.hardware.device import (
    DTYPES,
    FASTEST_CLOCK,
    Arrays,
    Device,
    Multiprocessors,
    Node,
    NodeLevel,
    OnDie,
    Provenance,
)
from hardplace.hardware.records import MOST_COUNT, Record
from hardplace.hardware.technology import MEMORY_PJ_PER_BIT, NODES

_DEVICES = Path(__file__).parent / "devices"
_NODES = Path(__file__).parent / "nodes"
_PEAK_SLACK = 0.03  # between a published peak and count x rate x clock: vendors round the clock

_T = TypeVar("_T")


def device_names() -> tuple[str, ...]:
    """Return the names of the devices that ship with the package."""
    return tuple(sorted(path.stem for path in _DEVICES.glob("*.toml")))


def node_names() -> tuple[str, ...]:
    """Return the names of the nodes that ship with the package."""
    return tuple(sorted(path.stem for path in _NODES.glob("*.toml")))


def device(name_or_file: str) -> Device:
    """Return a device of the catalogue, or of a TOML file.

    Raises:
        BadInput: With the nearest names if there is none, or with file, field and value for the first fault.
    """
    return _find(name_or_file, "device", _DEVICES, device_names(), read_device)


def node(name_or_file: str) -> Node:
    """Return a node of the catalogue, or of a TOML file.

    Raises:
        BadInput: With the nearest names if there is none, or with file, field and value for the first fault.
    """
    return _find(name_or_file, "node", _NODES, node_names(), read_node)


def _find(name: str, what: str, folder: Path, names: tuple[str, ...], read: Callable[[Path], _T]) -> _T:
    if name in names:
        shipped: _T = _shipped(read, folder / f"{name}.toml")
        return shipped
    if name.endswith(".toml") or os.path.exists(name):  # False for names that no path can have
        return read(Path(name))
    raise unknown(what, name, names)


@cache
def _shipped(read: Callable[[Path], _T], path: Path) -> _T:
    """Return what a file of the package holds; a user's file may change between two looks."""
    return read(path)


def read_device(path: Path) -> Device:
    """Return the device that a TOML file describes.

    Raises:
        BadInput: One line, for the first fault in it.
    """
    top = _top(path)
    chip, buffer, memory = top.table("chip"), top.table("buffer"), top.table("memory")
    engine, parts = _engine(top)
    links, parts_links = _links(top)
    peaks = top.table("peak") if top.has("peak") else None
    die = top.table("die") if top.has("die") else None
    found = Device(
        name=top.text("name"),
        title=top.text("title"),
        vendor=top.text("vendor"),
        engine=engine,
        process=chip.text("process"),
        node_nm=chip.quantity("node", "nm"),
        clock_hz=chip.quantity("clock", "Hz"),
        max_clock_hz=_optional(chip, "max_clock", "Hz"),
        die_area_mm2=_optional(chip, "die_area", "mm2"),
        transistors=chip.number("transistors") if chip.has("transistors") else None,
        tdp_w=_optional(chip, "tdp", "W"),
        price_usd=_optional(chip, "price", "USD"),
        buffer_bytes=int(buffer.quantity("size", "B")),
        buffer_bandwidth_bytes_per_s=_optional(buffer, "bandwidth", "B/s"),
        memory_kind=memory.choice("kind", MEMORY_PJ_PER_BIT),
        memory_bytes=memory.quantity("size", "B"),
        memory_bandwidth_bytes_per_s=memory.quantity("bandwidth", "B/s"),
        memory_stacks=memory.count("stacks") if memory.has("stacks") else None,
        on_die=_on_die(die),
        buffer_banks=buffer.count("banks") if buffer.has("banks") else 1,
        outer_node_nm=_optional(chip, "outer_node", "nm"),
        **links,
        published_peaks={t: peaks.quantity(t, "FLOP/s") for t in peaks.keys(DTYPES, "type")} if peaks else {},
        provenance=(),
    )
    records = [top, chip, buffer, memory, *parts, *parts_links, *(table for table in (peaks, die) if table)]
    _check(found, path, buffer)
    return _with_provenance(found, records)


def _top(path: Path) -> Record:
    """Return the whole file as a record that knows its sources."""
    data = read_toml(path)
    sources = data.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(text, str) for text in sources.values()):
        raise BadInput(f"{path}: sources: expected a table of texts")
    top = Record(str(path), data, sources=sources)
    top.has("sources")
    return top


def _optional(record: Record, field: str, unit: str) -> float | None:
    return record.quantity(field, unit) if record.has(field) else None


def _engine(top: Record) -> tuple[Multiprocessors | Arrays, list[Record]]:
    """Return the engines of a device, [gpu] or [array], and the tables they were read from."""
    if top.has("gpu") == top.has("array"):
        raise BadInput(f"{top.path}: expected one of the tables [gpu] and [array]")
    if top.has("gpu"):
        gpu = top.table("gpu")
        rates = gpu.table("flops_per_clock")
        engine: Multiprocessors | Arrays = Multiprocessors(
            count=gpu.count("multiprocessors"),
            flops_per_clock={t: rates.count(t) for t in rates.keys(DTYPES, "type")},
            vector_lanes=gpu.count("vector_lanes"),
            shared_memory_bytes=int(gpu.quantity("shared_memory", "B")),
            register_bytes=int(gpu.quantity("registers", "B")),
            vector_lanes_fp64=gpu.count("vector_lanes_fp64") if gpu.has("vector_lanes_fp64") else 0,
            matmul_flops_per_s=_optional(gpu, "matmul", "FLOP/s"),
        )
        return engine, [gpu, rates]
    array = top.table("array")
    rates = array.table("macs_per_clock")
    engine = Arrays(
        count=array.count("arrays"),
        rows=array.count("rows"),
        columns=array.count("columns"),
        macs_per_clock={t: rates.number(t) for t in rates.keys(DTYPES, "type")},
        vector_cores=array.count("vector_cores"),
        vector_lanes=array.count("vector_lanes"),
        devices=array.count("devices") if array.has("devices") else 1,
    )
    return engine, [array, rates]


def _on_die(die: Record | None) -> OnDie:
    """Return what is on the die, all of which may be missing."""
    if die is None:
        return OnDie()
    return OnDie(
        multiprocessors=die.count("multiprocessors") if die.has("multiprocessors") else None,
        buffer_bytes=int(die.quantity("buffer", "B")) if die.has("buffer") else None,
        stacks=die.count("stacks") if die.has("stacks") else None,
    )


def _links(top: Record) -> tuple[dict[str, Any], list[Record]]:
    """Return the fields of the links, all of which may be missing."""
    if not top.has("links"):
        return {}, []
    links = top.table("links")
    return {
        "link_bandwidth_bytes_per_s": _optional(links, "bandwidth", "B/s"),
        "links": links.count("count") if links.has("count") else None,
        "host_bandwidth_bytes_per_s": _optional(links, "host_bandwidth", "B/s"),
    }, [links]


def _check(found: Device, path: Path, buffer: Record) -> None:
    """Raise BadInput where the figures of a device contradict one another."""
    for dtype, peak in found.published_peaks.items():
        if dtype in found.dtypes and abs(found.peak_flops_per_s(dtype) / peak - 1) > _PEAK_SLACK:
            raise BadInput(
                f"{path}: peak.{dtype}: {peak / 1e12:.4g} TFLOP/s: expected what the engines and the clock give, "
                f"{found.peak_flops_per_s(dtype) / 1e12:.4g} TFLOP/s (dense, 2 operations a multiply-add)"
            )
    reached = found.engine.matmul_flops_per_s if isinstance(found.engine, Multiprocessors) else None
    most = FASTEST_CLOCK * max(map(found.peak_flops_per_s, {"bf16", "fp16"} & {*found.dtypes}), default=0.0)
    if reached is not None and reached > most:
        raise BadInput(
            f"{path}: gpu.matmul: {reached:.4g}: expected at most {FASTEST_CLOCK} times the peak, {most:.4g} FLOP/s"
        )
    for field, node_nm in (("node", found.node_nm), ("outer_node", found.outer_node_nm or found.node_nm)):
        if node_nm not in NODES:
            raise BadInput(
                f"{path}: chip.{field}: {node_nm:g} nm: expected one of {', '.join(f'{n:g}' for n in NODES)} nm"
            )
    _check_on_die(found, path)
    if isinstance(found.engine, Arrays):
        # A stationary tile, the row that streams past it, and the row of fp32 sums that leaves it.
        rows, columns = found.engine.rows, found.engine.columns
        tile = 2 * rows * columns + 2 * rows + 4 * columns
        if found.buffer_bytes < tile:
            raise BadInput(
                f"{buffer.where('size')}: {found.buffer_bytes} B: expected at least one tile of a "
                f"{rows} x {columns} array, {tile} B"
            )


def _check_on_die(found: Device, path: Path) -> None:
    """Raise BadInput where a die has less than what is in use of it."""
    count = found.engine.count if isinstance(found.engine, Multiprocessors) else None
    die = found.on_die
    for field, made, used in (
        ("multiprocessors", die.multiprocessors, count),
        ("buffer", die.buffer_bytes, found.buffer_bytes),
        ("stacks", die.stacks, found.memory_stacks),
    ):
        if made is not None and (used is None or made < used):
            raise BadInput(f"{path}: die.{field}: {made}: expected at least what is in use, {used}")


def _with_provenance(found: Device, records: list[Record]) -> Device:
    for record in records:
        record.end()
    return replace(found, provenance=_provenance(records))


def _provenance(records: list[Record]) -> tuple[Provenance, ...]:
    skipped = ("name", "title", "vendor", "device")
    return tuple(one for record in records for one in record.provenance if one.field not in skipped)


def read_node(path: Path) -> Node:
    """Return the node that a TOML file describes, its device by name (a TOML file that is not beside it: as it is).

    Raises:
        BadInput: One line, for the first fault in it.
    """
    top = _top(path)
    found, records = levels_of(path, top)
    answer = Node(
        name=top.text("name"),
        title=top.text("title"),
        device=top.text("device"),
        levels=found,
        price_usd=_optional(top, "price", "USD"),
        provenance=_provenance([top, *records]),
    )
    for record in (top, *records):
        record.end()
    if answer.device in device_names():
        return answer
    if not (path.parent / answer.device).is_file():
        if answer.device.endswith(".toml"):  # of a device that is named beside it, by the file's name
            return answer
        raise BadInput(f"{path}: device: {unknown('device', answer.device, device_names())}")
    return replace(answer, device=_device_name(path.parent / answer.device))


def _device_name(path: Path) -> str:
    """Return the name in a device's file; of a described accelerator the text, which whoever prices it checks."""
    data = read_toml(path)
    name = data.get("name")
    return name if "description" in data and isinstance(name, str) else read_device(path).name


def levels_of(path: Path, top: Record) -> tuple[tuple[NodeLevel, ...], list[Record]]:
    """Return the network levels of a file, inside out, with the tables they were read from.

    Raises:
        BadInput: One line, for the first fault in them.
    """
    top.has("levels")
    levels = top.data.get("levels")
    if not isinstance(levels, list) or not levels or not all(isinstance(level, dict) for level in levels):
        raise BadInput(f"{path}: levels: missing; expected one or more tables [[levels]], inside out")
    records = [Record(str(path), level, f"levels[{index}]", top.sources) for index, level in enumerate(levels)]
    found = tuple(_level(record, last=record is records[-1]) for record in records)
    for inner, outer, record in zip(found, found[1:], records[1:], strict=False):
        if outer.devices is not None and inner.devices is not None and outer.devices <= inner.devices:
            raise BadInput(
                f"{record.where('devices')}: {outer.devices}: expected more than the level inside it, {inner.devices}"
            )
    return found, records


def _is_side(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 < side <= MOST_COUNT


def _level(record: Record, *, last: bool) -> NodeLevel:
    """Return one level; only the last may leave out its number of devices."""
    axes: tuple[int, ...] = ()
    if record.has("axes"):
        sides = record.data["axes"]
        if not isinstance(sides, list) or not sides or not all(_is_side(side) for side in sides):
            raise BadInput(f"{record.where('axes')}: {sides!r}: expected the sides of a torus, such as [4, 4, 4]")
        axes = tuple(sides)
    devices = record.count("devices") if record.has("devices") or not last else None
    meshed = record.data.get("meshed", False)
    record.has("meshed")
    if meshed.__class__ is not bool:
        raise BadInput(f"{record.where('meshed')}: {meshed!r}: expected true or false")
    level = NodeLevel(
        name=record.text("name"),
        devices=devices,
        bandwidth_bytes_per_s=record.quantity("bandwidth", "B/s"),
        latency_s=record.quantity("latency", "s"),
        axes=axes,
        meshed=meshed,
        in_network=record.share("in_network") if record.has("in_network") else 0.0,
        efficiency=record.share("efficiency") if record.has("efficiency") else None,
    )
    product = 1
    for side in axes:
        product *= side
    if axes and devices != product:
        raise BadInput(f"{record.where('axes')}: {list(axes)}: expected sides whose product is devices, {devices}")
    return level
