"""Shards of embedding tables on devices by CP-SAT: all of them by classes of equal tables, or those of a few devices.

docs/model-split.md, "Embedding tables". Coefficients are rounded down, so the bound holds; plans are priced again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardplace.graph_split.solver import new_model, solve
from hardplace.graph_split.table_loads import Places
from hardplace.graph_split.tables import EVERYWHERE, TableOption, TableShard, TableSharding, TableSystem

_UNITS = 10_000_000
_UNIT_BYTES = 1024.0  # of HBM, of small devices less


def _unit_bytes(hbm_bytes: float) -> float:
    """Return the bytes that a device's memory is counted in: at most a 2^24th of it, a byte at the least."""
    return min(_UNIT_BYTES, max(1.0, hbm_bytes / 2.0**24))


@dataclass(frozen=True, slots=True, kw_only=True)
class LooseTable:
    """Shards that may move: in one of several ways, each (seconds, bytes) of its shards; and the way and devices now.

    Shards of one table stay on devices of their own.
    """

    ways: tuple[tuple[tuple[float, float], ...], ...]
    way: int
    devices: tuple[int, ...]


def balanced(
    tables: Sequence[LooseTable],
    devices: Sequence[int],
    fixed_s: Mapping[int, float],
    fixed_bytes: Mapping[int, float],
    hbm_bytes: float,
    limit_s: float,
) -> list[tuple[int, tuple[int, ...]]] | None:
    """Return way and devices of each table so that the busiest of `devices` takes least, None where nothing was found.

    fixed_s, fixed_bytes: what each device has besides.
    """
    upper = max(
        fixed_s[one]
        + sum(
            shard[0]
            for table in tables
            for shard, on in zip(table.ways[table.way], table.devices, strict=True)
            if on == one
        )
        for one in devices
    )
    scale, unit_bytes = _UNITS / upper, _unit_bytes(hbm_bytes)
    model = new_model()
    load: dict[int, list[Any]] = {device: [] for device in devices}
    size: dict[int, list[Any]] = {device: [] for device in devices}
    hint: dict[Any, int] = {}
    taken: list[list[tuple[Any, list[tuple[list[int], dict[int, Any]]]]]] = []
    for table in tables:
        chosen = [model.new_bool_var("") for _ in table.ways]
        model.add_exactly_one(chosen)
        ways = []
        for way, (shards, used) in enumerate(zip(table.ways, chosen, strict=True)):
            hint[used] = int(way == table.way)
            kinds: dict[tuple[float, float], list[int]] = {}
            for position, shard in enumerate(shards):
                kinds.setdefault(shard, []).append(position)
            rows = []
            for (takes, held), positions in kinds.items():
                row = {device: model.new_bool_var("") for device in devices}
                model.add(sum(row.values()) == len(positions) * used)
                for device, here in row.items():
                    hint[here] = int(way == table.way and any(table.devices[one] == device for one in positions))
                    load[device].append(math.ceil(takes * scale) * here)
                    size[device].append(math.ceil(held / unit_bytes) * here)
                rows.append((positions, row))
            if len(rows) > 1:
                for device in devices:
                    model.add_at_most_one(row[device] for _, row in rows)
            ways.append((used, rows))
        taken.append(ways)
    top = model.new_int_var(0, math.ceil(upper * scale * (1 + 1e-6)) + len(tables) + 1, "")
    for device in devices:
        model.add(sum(load[device]) + math.ceil(fixed_s[device] * scale) <= top)
        model.add(sum(size[device]) <= math.floor((hbm_bytes - fixed_bytes[device]) / unit_bytes))
    model.minimize(top)
    solved = solve(model, limit_s, hint=hint, gap=1e-4, workers=1)
    if solved.value is None:
        return None
    found = []
    for ways in taken:
        way = next(index for index, (used, _) in enumerate(ways) if solved.value(used))
        where: dict[int, int] = {}
        for positions, row in ways[way][1]:
            on = [device for device, here in row.items() if solved.value(here)]
            where |= dict(zip(positions, on, strict=True))
        found.append((way, tuple(where[position] for position in range(len(where)))))
    return found


def by_classes(
    options: Sequence[Sequence[TableOption]],
    system: TableSystem,
    classes: Sequence[Sequence[int]],
    start: Places | None,
    upper: float,
    limit_s: float,
    *,
    fixed_s: Sequence[float] = (),
    fixed_bytes: Sequence[float] = (),
    gap: float = 1e-6,
    workers: int = 8,
) -> tuple[Places | None, float]:
    """Return the places that CP-SAT finds over classes of equal tables, None if none, and its bound; inf where it
    proves that there are none.

    start: places that take `upper` seconds, None where none are known. A class has the options of its first table.
    fixed_s, fixed_bytes: what each device has besides.
    """
    scale, count, size = _UNITS / upper, system.devices, system.devices_per_node
    unit_bytes = _unit_bytes(system.hbm_bytes)
    nodes = max(1, count // size)
    model = new_model()
    busy: list[list[Any]] = [[] for _ in range(count)]
    held: list[list[Any]] = [[] for _ in range(count)]
    kept: dict[tuple[int, int], list[list[Any]]] = {}
    hint: dict[Any, int] = {}

    def add(device: int, shard: TableShard, number: Any) -> None:
        busy[device].append(math.floor(shard.seconds * scale) * number)
        held[device].append(math.floor(shard.hbm_bytes / unit_bytes) * number)

    for index, members in enumerate(classes):
        ways, most = options[members[0]], len(members)
        numbers = [model.new_int_var(0, most, "") for _ in ways]
        model.add(sum(numbers) == most)
        for way, (option, number) in enumerate(zip(ways, numbers, strict=True)):
            now = [start[one][1] for one in members if start[one][0] == way] if start else []
            hint[number] = len(now)
            if option.sharding in EVERYWHERE:
                kept[index, way] = [[number]]
                for device, shard in enumerate(option.shards):
                    add(device, shard, number)
                continue
            if option.sharding is TableSharding.TABLE_ROW_WISE:
                row = [model.new_int_var(0, most, "") for _ in range(nodes)]
                model.add(sum(row) == number)
                kept[index, way] = [list(row)]
                for node, variable in enumerate(row):
                    hint[variable] = sum(where[0] == node * size for where in now)
                    for position, shard in enumerate(option.shards):
                        add(node * size + position, shard, variable)
                continue
            kinds: dict[tuple[int, float], list[int]] = {}
            for position, shard in enumerate(option.shards):
                kinds.setdefault((shard.width, shard.hbm_bytes), []).append(position)
            rows = []
            for positions in kinds.values():
                row = [model.new_int_var(0, most * len(positions), "") for _ in range(count)]
                model.add(sum(row) == number * len(positions))
                for device, variable in enumerate(row):
                    hint[variable] = sum(where[position] == device for where in now for position in positions)
                    add(device, option.shards[positions[0]], variable)
                rows.append(row)
            if len(option.shards) <= count:
                for device in range(count):
                    model.add(sum(row[device] for row in rows) <= number)
            kept[index, way] = [list(row) for row in rows]
    top = model.new_int_var(0, math.ceil(upper * scale * (1 + 1e-9)) + 1, "")
    for device in range(count):
        other_s, other_bytes = (fixed[device] if fixed else 0.0 for fixed in (fixed_s, fixed_bytes))
        model.add(sum(busy[device]) + math.floor(other_s * scale) <= top)
        model.add(sum(held[device]) <= math.floor((system.hbm_bytes - other_bytes) / unit_bytes))
    model.minimize(top)
    solved = solve(model, limit_s, hint=hint, gap=gap, workers=workers)
    bound = (upper if start else math.inf) if solved.impossible else max(0.0, solved.bound) / scale
    return None if solved.value is None else _dealt(options, system, classes, kept, solved.value), bound


def _dealt(
    options: Sequence[Sequence[TableOption]],
    system: TableSystem,
    classes: Sequence[Sequence[int]],
    kept: Mapping[tuple[int, int], list[list[Any]]],
    value: Any,
) -> Places:
    """Return the places of each table from how many of its class lie where: equal shards are dealt in turn, so
    that those
    of one table lie on devices of their own."""
    places: Places = [(0, ())] * len(options)
    for index, members in enumerate(classes):
        todo = list(members)
        for way, option in enumerate(options[members[0]]):
            rows = kept[index, way]
            if option.sharding in EVERYWHERE:
                for _ in range(value(rows[0][0])):
                    places[todo.pop()] = (way, tuple(range(system.devices)))
                continue
            if option.sharding is TableSharding.TABLE_ROW_WISE:
                size = system.devices_per_node
                for node, variable in enumerate(rows[0]):
                    for _ in range(value(variable)):
                        places[todo.pop()] = (way, tuple(range(node * size, (node + 1) * size)))
                continue
            decks = [[device for device, v in enumerate(row) for _ in range(value(v))] for row in rows]
            number = sum(map(len, decks)) // len(option.shards)
            for turn in range(number):
                places[todo.pop()] = (way, tuple(device for deck in decks for device in deck[turn::number]))
    return places
