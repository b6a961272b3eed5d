"""Measured fp32 kernels and sheets of GPUs, as read from CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cost.learned.types import FAMILIES, VectorKernels, VectorSheet
from hardplace.csv_table import Table, parse
from hardplace.errors import BadInput, unknown
from hardplace.hardware.catalogue import device, device_names
from hardplace.ndtypes import Bools, Floats, Ints

_MOST = 2**31
_LATENCIES_S = (1e-9, 1e6)
_WATT_PER_BYTE_S = 2.8e-10  # median of the GPUs of validation/learned/devices.csv; where a sheet has no power
_SHEET = {
    "device": (0.0, 0.0),
    "memory_gb_per_s": (1.0, 1e6),
    "sms": (1.0, 1e5),
    "mhz": (1.0, 1e5),
    "fp32_gflops_per_s": (1.0, 1e9),
    "l2_mb": (1e-3, 1e6),
    "tdp_w": (1.0, 1e5),
}  # columns, with the least and the most of each
_OPTIONAL = "tdp_w"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredKernels:
    """Measured kernels.

    Attributes:
        kernels: The kernels.
        device: Device of each.
        split: Split of each; "" where the file has none.
        time_s: Measured seconds of each.
    """

    kernels: VectorKernels
    device: tuple[str, ...]
    split: tuple[str, ...]
    time_s: Floats

    def take(self, rows: Ints | Bools) -> MeasuredKernels:
        """Return these rows."""
        names, splits = np.array(self.device)[rows], np.array(self.split)[rows]
        return MeasuredKernels(
            kernels=self.kernels.take(rows),
            device=tuple(names.tolist()),
            split=tuple(splits.tolist()),
            time_s=self.time_s[rows],
        )

    def of(self, family: str, device: str | None = None) -> MeasuredKernels:
        """Return the rows of a family, and of one device where it is given."""
        chosen = np.isin(np.array(self.kernels.op), FAMILIES[family])
        if device is not None:
            chosen &= np.array(self.device) == device
        return self.take(chosen)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices, sorted."""
        return tuple(sorted(set(self.device)))


def read_kernels(files: Sequence[tuple[str, str]]) -> MeasuredKernels:
    """Return the kernels of CSV texts (place, text): columns op, device, b, m, n, k, h, latency_ms, and maybe split.

    BadInput for an operation that is not known, a missing column, or a size that is missing or not whole.
    """
    parts = [_kernels(parse(text, place)) for place, text in files]
    names = ("b", "m", "n", "k", "h")
    arrays = {name: np.concatenate([getattr(part.kernels, name) for part in parts]) for name in names}
    return MeasuredKernels(
        kernels=VectorKernels(op=tuple(op for part in parts for op in part.kernels.op), **arrays),
        device=tuple(device for part in parts for device in part.device),
        split=tuple(split for part in parts for split in part.split),
        time_s=np.concatenate([part.time_s for part in parts]),
    )


def _kernels(table: Table) -> MeasuredKernels:
    _columns(table, ("op", "device", "b", "m", "n", "k", "h", "latency_ms"))
    ops = table.texts("op")
    known = {op: family for family, names in FAMILIES.items() for op in names}
    texts = {name: table.texts(name) for name in ("b", "m", "n", "k", "h")}
    for row, op in enumerate(ops):
        if op not in known:
            raise BadInput(f"{table.where(row, 'op')}: {unknown('operation', op, tuple(known))}")
        needed = ("b", "m", "n", "k") if op == "bmm" else ("m", "n", "k") if op == "linear" else ("b", "h")
        for column in needed:
            if not texts[column][row]:
                raise BadInput(f"{table.where(row, column)}: empty: expected a whole number")
    sizes = {name: table.whole(name, _MOST, 1) for name in ("b", "m", "n", "k", "h")}
    linear = np.array(ops) == "linear"
    time_s = table.latencies_s(["latency_ms"], 1e-3)[:, 0]
    for row in np.flatnonzero((time_s < _LATENCIES_S[0]) | (time_s > _LATENCIES_S[1])).tolist():
        said = table.texts("latency_ms")[row]
        raise BadInput(f"{table.where(row, 'latency_ms')}: {said!r}: expected ms, 1e-6 to 1e9")
    sizes["b"] = np.where(linear, 1, sizes["b"])
    return MeasuredKernels(
        kernels=VectorKernels(op=tuple(ops), **sizes),
        device=tuple(table.texts("device")),
        split=tuple(table.texts("split")) if table.has("split") else ("",) * len(ops),
        time_s=time_s,
    )


def read_sheets(text: str, place: str) -> dict[str, VectorSheet]:
    """Return the sheets of a CSV text by name.

    Columns device, memory_gb_per_s, sms, mhz, fp32_gflops_per_s, l2_mb, and maybe tdp_w. Without a power it is that of
    the catalogue's device of this name, else from the bandwidth: boards of one bandwidth have about one power.
    """
    table = parse(text, place)
    _columns(table, [name for name in _SHEET if name != _OPTIONAL])
    sheets: dict[str, VectorSheet] = {}
    for row, name in enumerate(table.texts("device")):
        if name in sheets:
            raise BadInput(f"{table.where(row, 'device')}: {name!r}: expected each device once")
        value = {column: _figure(table, row, column) for column in _SHEET if column != "device"}
        bandwidth = value["memory_gb_per_s"] * 1e9
        sheets[name] = VectorSheet(
            name=name,
            multiprocessors=round(value["sms"]),
            clock_hz=value["mhz"] * 1e6,
            fp32_flops_per_s=value["fp32_gflops_per_s"] * 1e9,
            memory_bandwidth_bytes_per_s=bandwidth,
            l2_bytes=value["l2_mb"] * 1e6,
            power_w=value[_OPTIONAL] or _catalogue_power_w(name) or bandwidth * _WATT_PER_BYTE_S,
        )
    return sheets


def _figure(table: Table, row: int, column: str) -> float:
    """Return a number of a sheet within its range; 0 for one that may be empty and is."""
    text = table.texts(column)[row] if table.has(column) else ""
    if column == _OPTIONAL and not text:
        return 0.0
    least, most = _SHEET[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadInput(f"{table.where(row, column)}: {text!r}: expected a number from {least:g} to {most:g}")
    return value


def _catalogue_power_w(name: str) -> float:
    """Return the board power of a device of the catalogue; 0 where there is none."""
    return (device(name).tdp_w or 0.0) if name in device_names() else 0.0


def _columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise BadInput(f"{table.place}: column {name}: missing; expected {', '.join(names)}")
