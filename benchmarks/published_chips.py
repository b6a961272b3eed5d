"""Read published chips: the catalogue's devices and validation/published_chips.csv, with die, TDP and trust."""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.device import Arrays, Device, Multiprocessors, OnDie, Trust

VALIDATION = Path(__file__).parents[1] / "validation"
_KIB, _MIB = 2**10, 2**20
_NO_SUM = ("MI300",)  # a sum of areas of 12 dies from memory is no published area
_CAP_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedChip:
    """A chip with what was published of it; None: not published. tdp_w: the most drawn where that was measured."""

    device: Device
    die: str
    die_mm2: float | None
    die_trust: str
    tdp_w: float | None
    tdp_trust: str
    drawn: bool
    capped: bool = False

    @property
    def gpu(self) -> bool:
        """Whether its engines are multiprocessors."""
        return isinstance(self.device.engine, Multiprocessors)

    @property
    def family(self) -> str:
        """Return gpu or array."""
        return "gpu" if self.gpu else "array"

    @property
    def demand(self) -> float:
        """Return units times clock, to which the power of two products of one die is in proportion."""
        return self.device.engine.count * self.device.clock_hz


def published_chips() -> list[PublishedChip]:
    """Return all published chips with a die or a TDP.

    A product is capped where another one of the same die has more TDP a unit and clock, by a quarter or more: its TDP
    is what its card or slot takes, and its clock falls under load.
    """
    table = tomllib.loads((VALIDATION / "chips.toml").read_text())
    dies = {name: die for die, names in table["dies"].items() for name in names}
    found = [
        _of_catalogue(device(name), dies.get(name, name), table["drawn"])
        for name in device_names()
        if name not in table["variants"]
    ]
    with (VALIDATION / "published_chips.csv").open() as file:
        found += [_of_row(row) for row in csv.DictReader(file)]
    found = [chip for chip in found if chip.die_mm2 is not None or chip.tdp_w is not None]
    most: dict[str, float] = {}
    for chip in found:
        if chip.tdp_w is not None:
            most[chip.die] = max(most.get(chip.die, 0.0), chip.tdp_w / chip.demand)
    return [_with_cap(chip, most.get(chip.die)) for chip in found]


def _with_cap(chip: PublishedChip, most: float | None) -> PublishedChip:
    capped = chip.tdp_w is not None and most is not None and chip.tdp_w / chip.demand < _CAP_SHARE * most
    return PublishedChip(**{name: getattr(chip, name) for name in chip.__slots__ if name != "capped"}, capped=capped)


def _of_catalogue(one: Device, die: str, drawn: dict[str, float]) -> PublishedChip:
    trust = {item.field: str(item.trust) for item in one.provenance}
    return PublishedChip(
        device=one,
        die=die,
        die_mm2=None if die in _NO_SUM else one.die_area_mm2,
        die_trust=trust.get("chip.die_area", ""),
        tdp_w=drawn.get(one.name, one.tdp_w),
        tdp_trust=str(Trust.A) if one.name in drawn else trust.get("chip.tdp", ""),
        drawn=one.name in drawn,
    )


def _of_row(row: dict[str, str]) -> PublishedChip:
    def number(field: str) -> float:
        return float(row[field] or 0.0)

    types = row["types"].split()
    engine: Multiprocessors | Arrays
    if row["multiprocessors"]:
        engine = Multiprocessors(
            count=int(row["multiprocessors"]),
            flops_per_clock={dtype: 2 * int(row["macs_per_clock"]) for dtype in types},
            vector_lanes=int(row["vector_lanes"]),
            shared_memory_bytes=int(number("shared_memory_kib") * _KIB),
            register_bytes=int(number("registers_kib") * _KIB),
            vector_lanes_fp64=int(number("lanes_fp64")),
        )
    else:
        engine = Arrays(
            count=int(row["arrays"]),
            rows=int(row["rows"]),
            columns=int(row["columns"]),
            macs_per_clock=dict.fromkeys(types, 1.0),
            vector_cores=int(row["vector_cores"]),
            vector_lanes=int(row["vector_lanes"]),
        )
    on_die = OnDie(
        multiprocessors=int(number("multiprocessors_on_die")) or None,
        buffer_bytes=int(number("buffer_on_die_mib") * _MIB) or None,
        stacks=int(number("interfaces_on_die")) or None,
    )
    fields: dict[str, Any] = {
        "name": row["name"], "title": row["name"], "vendor": "", "process": f"{row['node_nm']} nm",
        "published_peaks": {}, "provenance": (),
    }  # fmt: skip
    made = Device(
        **fields,
        engine=engine,
        node_nm=number("node_nm"),
        clock_hz=number("clock_mhz") * 1e6,
        buffer_bytes=int(number("buffer_mib") * _MIB),
        buffer_banks=int(row["buffer_banks"]),
        memory_kind=row["memory"] or "DDR5",
        memory_bytes=1.0,
        memory_bandwidth_bytes_per_s=number("memory_gb_s") * 1e9,
        memory_stacks=int(number("interfaces")) or None,
        link_bandwidth_bytes_per_s=number("links_gb_s") * 1e9,
        on_die=on_die,
        outer_node_nm=7.0 if row["die"] in _NO_SUM else None,
    )
    return PublishedChip(
        device=made,
        die=row["die"],
        die_mm2=number("die_mm2") or None,
        die_trust=row["die_trust"],
        tdp_w=number("tdp_w") or None,
        tdp_trust=row["tdp_trust"],
        drawn=False,
    )
