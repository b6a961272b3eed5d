"""Loads of devices under a plan of embedding tables: seconds and bytes of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardplace.graph_split.tables import TableOption, TableSystem

Places = list[tuple[int, tuple[int, ...]]]  # of each table its option's number and the devices of its shards


def priced(
    places: Sequence[tuple[int, tuple[int, ...]]], options: Sequence[Sequence[TableOption]], system: TableSystem
) -> tuple[list[float], list[float]]:
    """Return seconds and bytes of each device; places: of each table the option and the devices of its shards."""
    seconds: list[list[float]] = [[] for _ in range(system.devices)]
    held: list[list[float]] = [[] for _ in range(system.devices)]
    for ways, (way, where) in zip(options, places, strict=True):
        for shard, device in zip(ways[way].shards, where, strict=True):
            seconds[device].append(shard.seconds)
            held[device].append(shard.hbm_bytes)
    return [math.fsum(one) for one in seconds], [math.fsum(one) for one in held]


def most_bytes(option: TableOption) -> float:
    """Return the bytes of an option's largest shard."""
    return max(shard.hbm_bytes for shard in option.shards)


def longest(option: TableOption) -> float:
    """Return the seconds of an option's longest shard."""
    return max(shard.seconds for shard in option.shards)
