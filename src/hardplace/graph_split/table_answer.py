"""What `tables` asks, from a file of tables and devices, and its answer with a certificate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from hardplace.answers import Answer, Infeasible
from hardplace.certificate import Certificate, gap_of
from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.graph_split.table_plans import TableShortage, plan_tables
from hardplace.graph_split.tables import EmbeddingTable, TableSharding, TableSystem


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedTable:
    """One table: how it lies, and the device of each of its shards."""

    table: str
    sharding: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TablesResult(Answer):
    """Embedding tables on devices. busiest_s: of the step, by TorchRec's prices; bound_s: no plan has less.

    device_s, device_bytes: seconds and HBM of each device.
    """

    name: str
    busiest_s: float
    bound_s: float
    search_s: float
    hbm_bytes: float
    device_s: tuple[float, ...]
    device_bytes: tuple[float, ...]
    tables: tuple[ShardedTable, ...]
    notes: tuple[str, ...] = field(default=())

    ROWS = "tables"

    @property
    def certificate(self) -> Certificate | None:
        """The proof, as steps a second; considered: tables x devices, the single places that a plan is made of."""
        score, bound = 1.0 / self.busiest_s, 1.0 / self.bound_s
        stop = "proven" if gap_of(score, bound) <= 1e-9 else "the time ran out or no exchange gained"
        return Certificate(
            score=score, bound=max(score, bound), unit="steps/s", stop=stop,
            considered=len(self.tables) * len(self.device_s), seconds=self.search_s,
        )  # fmt: skip


def asked_tables(path: str | PathLike[str], allowed: Sequence[str], limit_s: float) -> TablesResult | Infeasible:
    """Return the plan of a file of tables (docs/formats.md, "Embedding tables"), or what is short."""
    where = Path(path)
    data = read_json(where)
    if not isinstance(data, dict):
        raise BadInput(str(where), None, "an object with tables and devices")
    names = tuple(TableSharding)
    ways = [one for one in (allowed or data.get("sharding_types", names)) if one != "data_parallel"]
    for one in ways:
        if one not in names:
            raise unknown("sharding", str(one), names)
    system = TableSystem(
        devices=int(_number(where, data, "devices", least=1)),
        devices_per_node=int(_number(where, data, "devices_per_node", least=1)),
        hbm_bytes=_number(where, data, "hbm_bytes", least=1),
        batch_per_device=int(_number(where, data, "batch_per_device", least=1)),
    )
    if system.devices % min(system.devices, system.devices_per_node):
        raise BadInput(f"{where}: devices", system.devices, f"whole nodes of {system.devices_per_node}")
    rows = data.get("tables")
    if not isinstance(rows, list) or not rows:
        raise BadInput(f"{where}: tables", None, "a list of [name, rows, width, pooling]")
    tables = []
    for index, row in enumerate(rows):
        place = f"{where}: tables[{index}]"
        if not isinstance(row, list) or len(row) != 4 or not isinstance(row[0], str):
            raise BadInput(place, row, "[name, rows, width, pooling]")
        for value, what in zip(row[1:], ("rows", "width", "pooling"), strict=True):
            whole = what == "pooling" or isinstance(value, int)
            if not isinstance(value, int | float) or isinstance(value, bool) or not whole or not 0 < value < math.inf:
                raise BadInput(f"{place} {row[0]!r}: {what}", value, "a number above 0, whole but for the pooling")
        tables.append(EmbeddingTable(name=row[0], rows=row[1], width=row[2], pooling=float(row[3])))
    name = str(data.get("name", where.name.split(".")[0]))
    found = plan_tables(tables, system, allowed=[TableSharding(one) for one in ways], limit_s=limit_s)
    if isinstance(found, TableShortage):
        alone = found.shard_bytes > system.hbm_bytes
        return Infeasible(
            title=name, what=f"HBM for a shard of {found.table}" if alone else "HBM of all devices",
            needed=found.shard_bytes if alone else found.needed_bytes,
            available=system.hbm_bytes if alone else found.available_bytes, unit="B",
            remedy="more devices, more HBM, or a way that divides the rows of the largest table",
        )  # fmt: skip
    return TablesResult(
        name=name, busiest_s=found.busiest_s, bound_s=found.bound_s, search_s=found.seconds,
        hbm_bytes=system.hbm_bytes, device_s=found.device_s, device_bytes=found.device_bytes,
        tables=tuple(
            ShardedTable(table=one.table, sharding=one.sharding.value, devices=one.devices) for one in found.places
        ),
        notes=("TorchRec's prices: lookups and exchanges alone; no dense part, overlap, skew or cache",),
    )  # fmt: skip


def _number(where: Path, data: dict[str, Any], field_name: str, *, least: float) -> float:
    value = data.get(field_name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < math.inf:
        raise BadInput(f"{where}: {field_name}", value, f"a number from {least:g}")
    return float(value)
