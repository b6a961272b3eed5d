"""What `tables` asks, from a file of tables and devices, and its answer with a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from hardplace.answers import Answer, Infeasible
from hardplace.certificate import Certificate, gap_of
from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.graph_split.table_plans import TablePlan, TableShortage, plan_tables
from hardplace.graph_split.table_step import StepSystem
from hardplace.graph_split.table_steps import StepPlan, plan_step
from hardplace.graph_split.tables import TORCHREC, EmbeddingTable, TableSharding, TableSystem
from hardplace.units import format_quantity

PRICES = ("torchrec", "step")
_SPEEDS = ("hbm_bytes_per_s", "node_bytes_per_s", "network_bytes_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedTable:
    """One table: how it lies, and the device of each of its shards."""

    table: str
    sharding: str
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChoice:
    """What one number of devices with one batch reaches."""

    devices: int
    batch_per_device: int
    step_s: float
    bound_s: float
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TablesResult(Answer):
    """Embedding tables on devices. busiest_s: by TorchRec's prices the busiest device's, by ours the step's seconds;
    bound_s: no plan on these devices with this batch has less.

    device_s, device_bytes: seconds and HBM of each device. choices: of several batches and numbers of devices.
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
    batch_per_device: int = 1
    choices: tuple[TableChoice, ...] = ()
    prices: str = "torchrec"

    ROWS = "tables"

    @property
    def samples_per_s(self) -> float:
        """Of all devices."""
        return self.batch_per_device * len(self.device_s) / self.busiest_s

    @property
    def certificate(self) -> Certificate | None:
        """The proof, as steps a second, of several choices as samples a second; considered: tables x devices, the
        single places that a plan is made of."""
        score, bound, unit = 1.0 / self.busiest_s, 1.0 / self.bound_s, "steps/s"
        places = len(self.device_s)
        if self.choices:
            score, unit = self.samples_per_s, "samples/s"
            bound = max(one.batch_per_device * one.devices / one.bound_s for one in self.choices)
            places = sum(one.devices for one in self.choices)
        stop = "proven" if gap_of(score, bound) <= 1e-9 else "the time ran out or no exchange gained"
        return Certificate(
            score=score, bound=max(score, bound), unit=unit, stop=stop, considered=len(self.tables) * places,
            seconds=self.search_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TableQuestion:
    """What is asked beside the file: allowed ways, whose prices, batches and numbers of devices to search; empty: the
    file's own."""

    allowed: tuple[str, ...] = ()
    prices: str = "torchrec"
    batches: tuple[int, ...] = ()
    devices: tuple[int, ...] = ()


def asked_tables(path: str | PathLike[str], asked: TableQuestion, limit_s: float) -> TablesResult | Infeasible:
    """Return the plan of a file of tables (docs/formats.md, "Embedding tables"), or what is short.

    Of several batches and numbers of devices the one with the most samples a second.
    """
    where = Path(path)
    data = read_json(where)
    if not isinstance(data, dict):
        raise BadInput(str(where), None, "an object with tables and devices")
    if not limit_s > 0 or not math.isfinite(limit_s):
        raise BadInput("seconds", limit_s, "a number above 0")
    if asked.prices not in PRICES:
        raise unknown("prices", asked.prices, PRICES)
    ours = asked.prices == "step"
    names = tuple(TableSharding) if ours else TORCHREC
    chosen = asked.allowed or data.get("sharding_types", names)
    if not isinstance(chosen, list | tuple) or not all(isinstance(one, str) for one in chosen):
        raise BadInput(f"{where}: sharding_types", chosen, "a list of names")
    ways = [one for one in dict.fromkeys(chosen) if ours or one != "data_parallel" or one in asked.allowed]
    for one in ways:
        if one not in names:
            raise unknown("sharding", str(one), names)
    tables = _tables(where, data)
    step = _step(where, data) if ours else None
    if step is not None and not step.host_bytes_per_s:
        if "host_cached" in asked.allowed:
            raise BadInput("sharding", "host_cached", f"host_bytes_per_s in the step of {where}")
        ways = [one for one in ways if one != "host_cached"]
    if not ways:
        raise BadInput(f"{where}: sharding_types", ", ".join(chosen) or "none", f"one of {', '.join(names)} at least")
    found: list[TablesResult] = []
    short: list[tuple[TableSystem, Infeasible]] = []
    grid = [
        _system(where, data, devices, batch)
        for devices in asked.devices or (None,)
        for batch in asked.batches or (None,)
    ]
    name = str(data.get("name", where.name.split(".")[0]))
    for system in grid:
        answer = _planned(name, tables, system, step, [TableSharding(one) for one in ways], limit_s / len(grid))
        if isinstance(answer, Infeasible):
            short.append((system, answer))
        else:
            found.append(answer)
    if not found:
        return short[0][1]
    best = max(found, key=lambda one: one.samples_per_s)
    tried = tuple(
        TableChoice(
            devices=len(one.device_s), batch_per_device=one.batch_per_device, step_s=one.busiest_s,
            bound_s=one.bound_s, samples_per_s=one.samples_per_s,
        )
        for one in found
    )  # fmt: skip
    none = ", ".join(f"{one.devices:,} x {one.batch_per_device:,}" for one, _ in short)
    notes = (
        (*best.notes, f"no plan was found, and nothing is claimed, for {none} (devices x samples of each)")
        if short
        else best.notes
    )
    return replace(
        best, choices=tried if len(grid) > 1 else (), search_s=sum(one.search_s for one in found), notes=notes
    )


def _system(where: Path, data: dict[str, Any], devices: int | None, batch: int | None) -> TableSystem:
    """Return the file's system with another number of devices or another batch of each."""
    usual = TableSystem(devices=1, devices_per_node=1, hbm_bytes=1, batch_per_device=1)
    hbm, node, network = (_number(where, data, key, least=1) if key in data else getattr(usual, key) for key in _SPEEDS)
    count = int(_number(where, data, "devices", least=1)) if devices is None else devices
    if count < 1:
        raise BadInput("devices", count, "1 device at least")
    system = TableSystem(
        devices=count,
        devices_per_node=min(count, int(_number(where, data, "devices_per_node", least=1))),
        hbm_bytes=_number(where, data, "hbm_bytes", least=1),
        batch_per_device=int(_number(where, data, "batch_per_device", least=1)) if batch is None else batch,
        hbm_bytes_per_s=hbm,
        node_bytes_per_s=node,
        network_bytes_per_s=network,
    )
    if system.batch_per_device < 1:
        raise BadInput("batch", system.batch_per_device, "1 sample of a device at least")
    if system.devices % system.devices_per_node:
        raise BadInput(f"{where}: devices", system.devices, f"whole nodes of {system.devices_per_node}")
    return system


def _step(where: Path, data: dict[str, Any]) -> StepSystem:
    """Return what the file says of the step around the tables."""
    told = data.get("step")
    if not isinstance(told, dict):
        raise BadInput(f"{where}: step", told, "an object with bottom, top and flops_per_s, for our prices")
    place = Path(f"{where}: step")
    unknown_names = set(told) - {"bottom", "top", "flops_per_s", "skew", "optimizer_bytes", "host_bytes_per_s"}
    if unknown_names:
        known = "bottom, top, flops_per_s, skew, optimizer_bytes, host_bytes_per_s"
        raise BadInput(f"{place}: {min(unknown_names)}", None, known)
    for key in ("bottom", "top"):
        widths = told.get(key)
        if (
            not isinstance(widths, list)
            or len(widths) < 2
            or not all(isinstance(one, int) and not isinstance(one, bool) and 0 < one < 2**31 for one in widths)
        ):
            raise BadInput(f"{place}: {key}", widths, "two widths of an MLP or more, whole numbers from 1")
    return StepSystem(
        bottom=tuple(told["bottom"]), top=tuple(told["top"]), flops_per_s=_number(place, told, "flops_per_s", least=1),
        skew=_number(place, told, "skew", least=0) if "skew" in told else 0.0,
        optimizer_bytes=_number(place, told, "optimizer_bytes", least=0) if "optimizer_bytes" in told else 4.0,
        host_bytes_per_s=_number(place, told, "host_bytes_per_s", least=1) if "host_bytes_per_s" in told else 0.0,
    )  # fmt: skip


def _tables(where: Path, data: dict[str, Any]) -> list[EmbeddingTable]:
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
    return tables


def _planned(
    name: str,
    tables: list[EmbeddingTable],
    system: TableSystem,
    step: StepSystem | None,
    allowed: list[TableSharding],
    limit_s: float,
) -> TablesResult | Infeasible:
    """Return the plan on one system, or what is short."""
    found: TablePlan | TableShortage | StepPlan
    if step is None:
        found = plan_tables(tables, system, allowed=allowed, limit_s=limit_s)
    else:
        found = plan_step(tables, system, step, allowed, limit_s)
    if isinstance(found, TableShortage):
        alone = found.shard_bytes > system.hbm_bytes
        return Infeasible(
            title=name, what=f"HBM for a shard of {found.table}" if alone else "HBM of all devices",
            needed=found.shard_bytes if alone else found.needed_bytes,
            available=system.hbm_bytes if alone else found.available_bytes, unit="B",
            remedy=_remedy(found, alone=alone),
            proven=found.proven,
        )  # fmt: skip
    plan, value_s, bound_s = (
        (found.plan, found.value_s, found.bound_s)
        if isinstance(found, StepPlan)
        else (found, found.busiest_s, found.bound_s)
    )
    notes = ("TorchRec's prices: lookups and exchanges alone; no dense part, overlap, skew or cache",)
    if isinstance(found, StepPlan):
        notes = (
            f"our prices: the step, of which the MLPs take {format_quantity(found.dense.always_s, 's', 3)}; exchanges "
            f"hide under the bottom MLP, {format_quantity(found.dense.hidden_s, 's', 3)}; host memory is not limited",
        )
    return TablesResult(
        name=name, busiest_s=value_s, bound_s=bound_s, search_s=plan.seconds,
        hbm_bytes=system.hbm_bytes, device_s=plan.device_s, device_bytes=plan.device_bytes,
        tables=tuple(
            ShardedTable(table=one.table, sharding=one.sharding.value, devices=one.devices) for one in plan.places
        ),
        notes=notes, batch_per_device=system.batch_per_device, prices="torchrec" if step is None else "step",
    )  # fmt: skip


def _remedy(found: TableShortage, *, alone: bool) -> str:
    """Return what would mend a shortage of HBM."""
    if not found.proven:
        return "more seconds, more devices, or more HBM: no plan was found that fits"
    mends = "more devices, more HBM, or a way that divides the rows of the largest table"
    if alone or found.needed_bytes > found.available_bytes:
        return mends
    return f"{mends}: no plan keeps within each device's HBM"


def _number(where: Path, data: dict[str, Any], field_name: str, *, least: float) -> float:
    value = data.get(field_name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < math.inf:
        raise BadInput(f"{where}: {field_name}", value, f"a number from {least:g}")
    return float(value)
