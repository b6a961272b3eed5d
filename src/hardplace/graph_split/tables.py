"""Embedding tables on many devices: the ways to shard one, and what TorchRec's planner says each costs.

Equations: docs/model-split.md, "Embedding tables". Constants are the defaults of TorchRec 1.8.0
(BSD-3-Clause), of which
only prices were compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_INDEX_BYTES = 8
_LEAST_WIDTH = 32  # a row is read in as many values at least
_COPY = 2.455  # batched copy of gradients, in passes over the output
_PENALTIES = ((128, 1.0), (64, 1.15), (0, 1.75))  # of narrow rows, from this width on


class TableSharding(StrEnum):
    """How a table lies on devices; the last two have no price of TorchRec's."""

    TABLE_WISE = "table_wise"
    COLUMN_WISE = "column_wise"
    ROW_WISE = "row_wise"
    TABLE_ROW_WISE = "table_row_wise"
    DATA_PARALLEL = "data_parallel"
    HOST_CACHED = "host_cached"


TORCHREC = (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE, TableSharding.ROW_WISE, TableSharding.TABLE_ROW_WISE)
EVERYWHERE = (TableSharding.ROW_WISE, TableSharding.DATA_PARALLEL)  # a shard on every device
MOBILE = (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE, TableSharding.HOST_CACHED)  # shards anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingTable:
    """A table: rows, values a row, and indices that a sample looks up and sums."""

    name: str
    rows: int
    width: int
    pooling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSystem:
    """Equal devices in nodes, and the batch of each device (samples)."""

    devices: int
    devices_per_node: int
    hbm_bytes: float
    batch_per_device: int
    value_bytes: int = 4
    hbm_bytes_per_s: float = 897 * 2.0**30
    node_bytes_per_s: float = 600 * 2.0**30
    network_bytes_per_s: float = 12.5 * 2.0**30
    least_columns: int = 32

    @property
    def link_bytes_per_s(self) -> float:
        """Of exchanges among all devices."""
        return self.node_bytes_per_s if self.devices <= self.devices_per_node else self.network_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShard:
    """A part of a table on one device: bytes with its buffers, and seconds of a step by part."""

    rows: int
    width: int
    hbm_bytes: float
    forward_s: float
    forward_exchange_s: float
    backward_s: float
    backward_exchange_s: float

    @property
    def seconds(self) -> float:
        """Of a step on its device."""
        return self.forward_s + self.forward_exchange_s + self.backward_s + self.backward_exchange_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOption:
    """One way to shard a table: its shards, in order of the devices."""

    sharding: TableSharding
    shards: tuple[TableShard, ...]


def options_of(
    table: EmbeddingTable, system: TableSystem, allowed: Sequence[TableSharding] = TORCHREC
) -> tuple[TableOption, ...]:
    """Return each allowed way of a table with TorchRec's prices."""
    found = []
    for sharding in allowed:
        parts: list[tuple[int, int, float]] = []  # rows, width, share of the indices
        if sharding is TableSharding.TABLE_WISE:
            parts = [(table.rows, table.width, 1.0)]
        elif sharding is TableSharding.COLUMN_WISE:
            block = min(system.least_columns, table.width)
            widths = [block] * (table.width // block) + ([table.width % block] if table.width % block else [])
            parts = [(table.rows, width, 1.0) for width in widths]
        else:
            count = system.devices if sharding is TableSharding.ROW_WISE else system.devices_per_node
            block = -(-table.rows // count)
            parts = [(max(0, min(block, table.rows - block * one)), table.width, 1.0 / count) for one in range(count)]
        shards = tuple(_shard(table, system, sharding, *part) for part in parts)
        found.append(TableOption(sharding=sharding, shards=shards))
    return tuple(found)


def _shard(
    table: EmbeddingTable, system: TableSystem, sharding: TableSharding, rows: int, width: int, share: float
) -> TableShard:
    """Return a shard and its price: indices, rows and output pass through HBM; outputs are exchanged,
    gradients back."""
    samples = system.batch_per_device * system.devices
    indices = samples * table.pooling * share
    read = _INDEX_BYTES * indices
    output = float(system.value_bytes * samples * width)
    looked_up = system.value_bytes * indices * max(width, _LEAST_WIDTH)
    whole_rows = sharding in (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE)
    penalty = next(factor for least, factor in _PENALTIES if width >= least) if whole_rows else 1.0
    forward_s = (read + looked_up + output) * penalty / system.hbm_bytes_per_s
    if sharding is TableSharding.TABLE_ROW_WISE:
        exchange_s = output / system.node_bytes_per_s
        if system.devices > system.devices_per_node:
            exchange_s += output / system.devices_per_node / system.network_bytes_per_s
    else:
        exchange_s = output / system.link_bytes_per_s
    copy_s = 0.0 if whole_rows else _COPY * output / system.hbm_bytes_per_s
    held = rows * width * system.value_bytes
    return TableShard(
        rows=rows,
        width=width,
        hbm_bytes=math.ceil(held + read + output) if rows else 0.0,
        forward_s=forward_s,
        forward_exchange_s=exchange_s,
        backward_s=2 * forward_s,
        backward_exchange_s=exchange_s + copy_s,
    )
