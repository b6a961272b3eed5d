"""Where embedding tables lie on equal devices so that the busiest takes least: a bound, a list rule, exchanges, CP-SAT.

docs/model-split.md, "Embedding tables". Every plan is priced again from its options before it is given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.errors import BadInput
from hardplace.graph_split.table_loads import most_bytes, priced
from hardplace.graph_split.table_model import by_classes
from hardplace.graph_split.table_search import TableSearch
from hardplace.graph_split.tables import TORCHREC, EmbeddingTable, TableOption, TableSharding, TableSystem, options_of

_FEW = 1000  # tables x devices
_WHOLE = 25_000  # variables up to which CP-SAT takes the whole problem


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """One table: how it is sharded, and the device of each shard in the option's order."""

    table: str
    sharding: TableSharding
    devices: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """A plan: seconds and bytes of each device, the busiest's seconds, and a bound that no plan beats."""

    places: tuple[TablePlace, ...]
    device_s: tuple[float, ...]
    device_bytes: tuple[float, ...]
    bound_s: float
    seconds: float

    @property
    def busiest_s(self) -> float:
        """Seconds of the busiest device, which set the step's."""
        return max(self.device_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShortage:
    """No plan was found: bytes of HBM that the tables need at least, and that there are; `table`: the largest shard.

    proven: whether none exists, by a table that fits nowhere, the sum of bytes, or the constraint model.
    """

    needed_bytes: float
    available_bytes: float
    table: str
    shard_bytes: float
    proven: bool


def plan_tables(
    tables: Sequence[EmbeddingTable],
    system: TableSystem,
    *,
    allowed: Sequence[TableSharding] = TORCHREC,
    limit_s: float = 10.0,
    options: Sequence[Sequence[TableOption]] | None = None,
) -> TablePlan | TableShortage:
    """Return the plan with the least seconds of the busiest device that was found, and a bound; or what is short.

    Shards of one table lie on devices of their own where there are as many; those of a row-wise table on all devices in
    order, of a table-row-wise one on those of a node. options: of each table its ways with other prices than
    TorchRec's; data-parallel shards lie on all devices, those in host memory anywhere.
    """
    began_s = time.monotonic()
    ends_s = began_s + limit_s
    if not tables:
        raise BadInput("tables", "none", "one table at least")
    if options is None:
        options = [options_of(table, system, allowed) for table in tables]
    fits = [[one for one in ways if _fits(one, system)] for ways in options]
    for table, ways, left in zip(tables, options, fits, strict=True):
        if not left:
            least = min(max(shard.hbm_bytes for shard in one.shards) for one in ways)
            return TableShortage(
                needed_bytes=least, available_bytes=system.hbm_bytes, table=table.name, shard_bytes=least, proven=True
            )
    bound_s = least_busiest_s(fits, system)
    search = TableSearch(tables, fits, system)
    search.starts(bound_s, began_s + 0.3 * limit_s)
    few = len(tables) * system.devices <= _FEW  # which CP-SAT may well prove
    search.rebalance(bound_s, began_s + (0.35 if few else 0.7) * limit_s, 10)
    classes = _classes(tables)
    if len(classes) * system.devices * 2 <= _WHOLE and search.value_s > bound_s * (1 + 1e-9):
        left_s = max(0.5, ends_s - time.monotonic()) * (0.9 if search.best is not None else 1.0)
        upper = search.value_s if search.best is not None else _most_s(fits)
        places, below_s = by_classes(fits, system, classes, search.best, upper, left_s)
        search.offer(places)
        bound_s = max(bound_s, below_s)
    search.rebalance(bound_s, ends_s, 60)
    if search.best is None:
        needed = sum(min(sum(shard.hbm_bytes for shard in one.shards) for one in ways) for ways in fits)
        largest = max(range(len(tables)), key=lambda one: min(most_bytes(way) for way in fits[one]))
        return TableShortage(
            needed_bytes=needed, available_bytes=system.devices * system.hbm_bytes, table=tables[largest].name,
            shard_bytes=min(most_bytes(way) for way in fits[largest]),
            proven=math.isinf(bound_s) or needed > system.devices * system.hbm_bytes,
        )  # fmt: skip
    device_s, device_bytes = priced(search.best, fits, system)
    return TablePlan(
        places=tuple(
            TablePlace(table=table.name, sharding=fits[one][way].sharding, devices=where)
            for one, (table, (way, where)) in enumerate(zip(tables, search.best, strict=True))
        ),
        device_s=tuple(device_s), device_bytes=tuple(device_bytes), bound_s=min(bound_s, max(device_s)),
        seconds=time.monotonic() - began_s,
    )  # fmt: skip


def least_busiest_s(options: Sequence[Sequence[TableOption]], system: TableSystem) -> float:
    """Return a bound of the busiest device: the least T such that all tables, each in its cheapest way whose
    shards take
    at most T, take devices x T at most."""
    sums = np.array([[sum(s.seconds for s in one.shards) for one in _padded(ways)] for ways in options])
    most = np.array([[max(s.seconds for s in one.shards) for one in _padded(ways)] for ways in options])

    def enough(seconds: float) -> bool:
        least = np.where(most <= seconds * (1 + 1e-12), sums, np.inf).min(axis=1)
        return bool(least.sum() <= seconds * system.devices * (1 + 1e-12))

    low, high = 0.0, float(sums.min(axis=1).sum() + most.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low


def _most_s(options: Sequence[Sequence[TableOption]]) -> float:
    """Return seconds that no device exceeds in any plan: every table in its slowest way, on one device."""
    return sum(max(sum(shard.seconds for shard in one.shards) for one in ways) for ways in options)


def _padded(ways: Sequence[TableOption]) -> list[TableOption]:
    """Return as many options for every table, the last one again."""
    return [*ways, *[ways[-1]] * (len(TableSharding) - len(ways))]


def _fits(option: TableOption, system: TableSystem) -> bool:
    return most_bytes(option) <= system.hbm_bytes and len(option.shards) <= max(system.devices, 1) * 64


def _classes(tables: Sequence[EmbeddingTable]) -> list[list[int]]:
    """Return equal tables together; one whose width leaves a narrower last column shard is alone."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(tables):
        odd = index if one.width > 32 and one.width % 32 else -1
        found.setdefault((one.rows, one.width, one.pooling, odd), []).append(index)
    return list(found.values())
