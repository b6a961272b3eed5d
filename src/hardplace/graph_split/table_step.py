"""Prices of embedding tables within a whole training step.

Distinct rows, optimizer states, both networks, host memory with a cache, and the dense part, data-parallel and
overlapped. Equations: docs/model-split.md, "Our prices of tables".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hardplace.graph_split.tables import EmbeddingTable, TableOption, TableShard, TableSharding, TableSystem
from hardplace.ndtypes import Floats

_SECTOR_BYTES = 32  # a row is read in whole sectors
_INDEX_BYTES = 8
_SORT_BYTES = 128  # an index is read and written with its place, 16 bytes, in four passes of a radix sort
_CACHED_SHARE = 0.1  # of the rows of a table in host memory that lie in HBM
_BINS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSystem:
    """What a step has besides the tables' devices.

    bottom, top: widths of the MLPs, inputs first. flops_per_s: that a device reaches in them. skew: exponent of Zipf's
    law of the rows, 0 uniform. optimizer_bytes: of states a row (row-wise Adagrad: 4). host_bytes_per_s: of the link to
    host memory; 0: tables are not put there.
    """

    bottom: tuple[int, ...]
    top: tuple[int, ...]
    flops_per_s: float
    skew: float = 0.0
    optimizer_bytes: float = 4.0
    host_bytes_per_s: float = 0.0

    @property
    def parameters(self) -> int:
        """Weights and biases of both MLPs."""
        return sum(a * b + b for widths in (self.bottom, self.top) for a, b in pairwise(widths))

    def forward_s(self, widths: Sequence[int], samples: int) -> float:
        """Return the seconds of an MLP's forward pass on a device; backward takes twice as long."""
        return 2.0 * samples * sum(a * b for a, b in pairwise(widths)) / self.flops_per_s


def distinct_rows(rows: int, draws: float, skew: float) -> float:
    """Return how many different rows so many draws touch, expected."""
    _, size, share = _zipf(rows, skew)
    return float((size * -np.expm1(draws * np.log1p(-np.minimum(share, 1 - 1e-12)))).sum())


def tail_share(rows: int, kept: float, skew: float) -> float:
    """Return the share of draws that fall beyond the `kept` most frequent rows."""
    first, size, share = _zipf(rows, skew)
    inside = np.clip(kept - (first - 1), 0, size)
    return float(max(0.0, 1.0 - (inside * share).sum()))


def _zipf(rows: int, skew: float) -> tuple[Floats, Floats, Floats]:
    """Return bins of the ranks of rows, (bins,): the first rank, how many rows, and the probability of each of them."""
    count = min(rows, _BINS)
    edges = np.linspace(1, rows + 1, count + 1) if rows == count else np.geomspace(1, rows + 1, count + 1)
    edges = np.unique(np.floor(edges).astype(np.int64))
    edges[-1] = rows + 1
    first, size = edges[:-1].astype(float), np.diff(edges).astype(float)
    middle = np.sqrt(first * (first + size - 1))
    weight = middle**-skew
    return first, size, weight / (weight * size).sum()


def exchange_s(output_bytes: float, system: TableSystem) -> float:
    """Return the seconds in which a device gives every other its part of an output, on both networks at once."""
    near = (min(system.devices, system.devices_per_node) - 1) / system.devices
    far = max(0, system.devices - system.devices_per_node) / system.devices
    return output_bytes * max(near / system.node_bytes_per_s, far / system.network_bytes_per_s)


def step_options(
    table: EmbeddingTable, system: TableSystem, step: StepSystem, allowed: Sequence[TableSharding]
) -> tuple[TableOption, ...]:
    """Return each allowed way of a table with its prices."""
    width, found = table.width, []
    for sharding in allowed:
        if sharding is TableSharding.COLUMN_WISE:
            block = min(system.least_columns, width)
            widths = [block] * (width // block) + ([width % block] if width % block else [])
            parts = [(table.rows, one, 1.0) for one in widths]
        elif sharding in (TableSharding.ROW_WISE, TableSharding.TABLE_ROW_WISE):
            count = system.devices if sharding is TableSharding.ROW_WISE else system.devices_per_node
            block = -(-table.rows // count)
            held = [max(0, min(block, table.rows - block * one)) for one in range(count)]
            parts = [(rows, width, rows / table.rows) for rows in held]  # what is not there is not looked up
        elif sharding is TableSharding.DATA_PARALLEL:
            parts = [(table.rows, width, 1.0 / system.devices)] * system.devices
        else:
            if sharding is TableSharding.HOST_CACHED and not step.host_bytes_per_s:
                continue
            parts = [(table.rows, width, 1.0)]
        known: dict[tuple[int, int, float], TableShard] = {}
        for part in parts:
            if part not in known:
                known[part] = _shard(table, system, step, sharding, *part)
        found.append(TableOption(sharding=sharding, shards=tuple(known[part] for part in parts)))
    return tuple(found)


def _shard(
    table: EmbeddingTable,
    system: TableSystem,
    step: StepSystem,
    sharding: TableSharding,
    rows: int,
    width: int,
    share: float,
) -> TableShard:
    """Return a shard: rows and width that it holds, and its share of the step's indices."""
    value, everywhere = system.value_bytes, sharding is TableSharding.DATA_PARALLEL
    samples = system.batch_per_device * (1 if everywhere else system.devices)
    indices = samples * table.pooling * (1.0 if everywhere else share)
    output = float(value * samples * width)
    row_bytes = math.ceil(value * width / _SECTOR_BYTES) * _SECTOR_BYTES
    touched = distinct_rows(rows, indices, step.skew) if rows else 0.0
    forward = _INDEX_BYTES * indices + row_bytes * indices + output
    backward = _SORT_BYTES * indices + output + touched * 2 * (row_bytes + step.optimizer_bytes)
    held = rows * (value * width + step.optimizer_bytes)
    forward_s, backward_s = forward / system.hbm_bytes_per_s, backward / system.hbm_bytes_per_s
    exchange = reduce = exchange_s(output, system)
    if everywhere:  # gradients of the whole table are summed over devices, once forth and once back
        exchange, reduce = 0.0, 2 * exchange_s(float(value * rows * width), system)
    elif sharding is TableSharding.TABLE_ROW_WISE:
        exchange = reduce = _two_levels_s(output, system)
    elif sharding is TableSharding.HOST_CACHED:
        missed = min(touched, indices * tail_share(rows, _CACHED_SHARE * rows, step.skew))
        forward_s += missed * row_bytes / step.host_bytes_per_s
        backward_s += missed * (row_bytes + step.optimizer_bytes) / step.host_bytes_per_s
        held = held * _CACHED_SHARE
    return TableShard(
        rows=rows, width=width,
        hbm_bytes=math.ceil(held + _INDEX_BYTES * indices + 2 * output) if rows else 0.0,
        forward_s=forward_s, forward_exchange_s=exchange, backward_s=backward_s, backward_exchange_s=reduce,
    )  # fmt: skip


def _two_levels_s(output_bytes: float, system: TableSystem) -> float:
    """Return the seconds of sums within the node, then of a node's part among nodes."""
    size = min(system.devices, system.devices_per_node)
    inside = output_bytes * (size - 1) / size / system.node_bytes_per_s
    nodes = system.devices / size
    return inside + output_bytes / size * (nodes - 1) / nodes / system.network_bytes_per_s


def without_exchange(option: TableOption) -> TableOption:
    """Return an option as if exchanges were hidden."""
    return replace(
        option,
        shards=tuple(replace(one, forward_exchange_s=0.0, backward_exchange_s=0.0) for one in option.shards),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A step: `always_s` of the dense part, what exchanges can hide under (`hidden_s`), its gradients' all-reduce."""

    always_s: float
    hidden_s: float
    reduce_s: float

    def seconds(self, local_s: Sequence[float], exchange_s: Sequence[float]) -> float:
        """Return the step's seconds of what each device does with its tables and of its exchanges."""
        slowest = max(local + max(0.0, moved - self.hidden_s) for local, moved in zip(local_s, exchange_s, strict=True))
        return self.always_s + max(slowest, self.reduce_s)

    def bound_s(self, with_exchange_s: float, local_s: float) -> float:
        """Return what no step is below, of bounds of the busiest device with and without its exchanges."""
        return self.always_s + max(with_exchange_s - self.hidden_s, local_s, self.reduce_s)


def step_time(system: TableSystem, step: StepSystem) -> StepTime:
    """Return the dense part of a step: MLPs three times their forward pass; exchanges hide under the bottom one."""
    bottom = 3 * step.forward_s(step.bottom, system.batch_per_device)
    top = 3 * step.forward_s(step.top, system.batch_per_device)
    gradients = 2 * exchange_s(float(system.value_bytes * step.parameters), system)
    return StepTime(always_s=bottom + top, hidden_s=bottom, reduce_s=gradients)
