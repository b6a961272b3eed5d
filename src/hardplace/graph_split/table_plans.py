"""Where embedding tables lie on equal devices so that the busiest takes least: a bound, a list rule, exchanges, CP-SAT.

docs/model-split.md, "Embedding tables". Every plan is priced again from its options before it is given.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.graph_split.table_model import LooseTable, Places, balanced, by_classes
from hardplace.graph_split.tables import EmbeddingTable, TableOption, TableSharding, TableSystem, options_of
from hardplace.ndtypes import Floats

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
    """No plan was found: bytes of HBM that the tables need at least, and that there are; `table`: the largest shard."""

    needed_bytes: float
    available_bytes: float
    table: str
    shard_bytes: float


def plan_tables(
    tables: Sequence[EmbeddingTable],
    system: TableSystem,
    *,
    allowed: Sequence[TableSharding] = tuple(TableSharding),
    limit_s: float = 10.0,
) -> TablePlan | TableShortage:
    """Return the plan with the least seconds of the busiest device that was found, and a bound; or what is short.

    Shards of one table lie on devices of their own where there are as many; those of a row-wise table on all devices in
    order, of a table-row-wise one on those of a node.
    """
    began_s = time.monotonic()
    ends_s = began_s + limit_s
    if not tables:
        raise BadInput("tables", "none", "one table at least")
    options = [options_of(table, system, allowed) for table in tables]
    fits = [[one for one in ways if _fits(one, system)] for ways in options]
    for table, ways, left in zip(tables, options, fits, strict=True):
        if not left:
            least = min(max(shard.hbm_bytes for shard in one.shards) for one in ways)
            return TableShortage(
                needed_bytes=least, available_bytes=system.hbm_bytes, table=table.name, shard_bytes=least
            )
    bound_s = least_busiest_s(fits, system)
    search = _TableSearch(tables, fits, system)
    search.starts(bound_s, began_s + 0.15 * limit_s)
    search.rebalance(bound_s, began_s + 0.4 * limit_s, 12)
    classes = _classes(tables)
    if len(classes) * system.devices * 2 <= _WHOLE and search.value_s > bound_s * (1 + 1e-9):
        left_s = max(0.5, ends_s - time.monotonic()) * (0.75 if search.best is not None else 1.0)
        upper = search.value_s if search.best is not None else sum(_longest(ways[0]) for ways in fits)
        places, below_s = by_classes(fits, system, classes, search.best, upper, left_s)
        search.offer(places)
        bound_s = max(bound_s, below_s)
    search.rebalance(bound_s, ends_s, 60)
    if search.best is None:
        needed = sum(min(sum(shard.hbm_bytes for shard in one.shards) for one in ways) for ways in fits)
        largest = max(range(len(tables)), key=lambda one: min(_most_bytes(way) for way in fits[one]))
        return TableShortage(
            needed_bytes=needed, available_bytes=system.devices * system.hbm_bytes, table=tables[largest].name,
            shard_bytes=min(_most_bytes(way) for way in fits[largest]),
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


def _padded(ways: Sequence[TableOption]) -> list[TableOption]:
    """Return as many options for every table, the last one again."""
    return [*ways, *[ways[-1]] * (len(TableSharding) - len(ways))]


def _fits(option: TableOption, system: TableSystem) -> bool:
    return _most_bytes(option) <= system.hbm_bytes and len(option.shards) <= max(system.devices, 1) * 64


def _most_bytes(option: TableOption) -> float:
    return max(shard.hbm_bytes for shard in option.shards)


def _classes(tables: Sequence[EmbeddingTable]) -> list[list[int]]:
    """Return equal tables together; one whose width leaves a narrower last column shard is alone."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(tables):
        odd = index if one.width > 32 and one.width % 32 else -1
        found.setdefault((one.rows, one.width, one.pooling, odd), []).append(index)
    return list(found.values())


class _TableSearch:
    """The best plan so far: of each table the number of its option and the devices of its shards."""

    def __init__(
        self, tables: Sequence[EmbeddingTable], options: Sequence[Sequence[TableOption]], system: TableSystem
    ) -> None:
        self.tables, self.options, self.system = tables, options, system
        self.best: Places | None = None
        self.value_s = math.inf

    def offer(self, places: Places | None) -> None:
        """Take a plan if it fits and is better."""
        if places is None:
            return
        seconds, held = priced(places, self.options, self.system)
        if max(held) <= self.system.hbm_bytes and max(seconds) < self.value_s:
            self.best, self.value_s = places, max(seconds)

    def starts(self, bound_s: float, ends_s: float) -> None:
        """Try list rules: ways chosen for shards of at most a share of a target, then exchanges at the busiest
        device."""
        for target in (1.0, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0):
            for share in (1.0, 0.5, 0.25, 0.1):
                for by_bytes in (False, True):
                    if time.monotonic() > ends_s and self.best is not None:
                        return
                    places = self._listed(bound_s * target, share, by_bytes)
                    if places is not None:
                        self.offer(places)
                        self.offer(self._exchanged(places, ends_s))
                    if self.value_s <= bound_s * (1 + 1e-6):
                        return

    def rebalance(self, bound_s: float, ends_s: float, tries: int) -> None:
        """Deal the shards of the busiest device and a few others anew by CP-SAT, until so many tries gain nothing."""
        system, draw = self.system, random.Random(1)
        stalled = tried = 0
        while self.best is not None and stalled < tries and time.monotonic() < ends_s:
            if self.value_s <= bound_s * (1 + 1e-6):
                return
            seconds, held = priced(self.best, self.options, system)
            order = sorted(range(system.devices), key=lambda one: -seconds[one])
            number = min(system.devices, draw.choice((3, 4, 6)))
            chosen = [order[0], *draw.sample(order[-max(number - 1, system.devices // 2) :], number - 1)]
            if len(set(chosen)) < 2:
                return
            limit_s = max(0.05, min(0.6, ends_s - time.monotonic()))
            rule = self._classes_anew if tried % 3 else self._shards_anew
            moved = rule(sorted(set(chosen)), seconds, held, limit_s)
            tried += 1
            stalled += 1
            if moved is None:
                continue
            busy, full = priced(moved, self.options, system)
            gained = max(busy[d] for d in chosen) < max(seconds[d] for d in chosen) * (1 - 1e-9)
            if gained and max(full) <= system.hbm_bytes:  # one of several busiest devices may have gained
                self.best, self.value_s, stalled = moved, max(busy), 0

    def _classes_anew(
        self, chosen: list[int], seconds: Sequence[float], held: Sequence[float], limit_s: float
    ) -> Places | None:
        """Return the plan after dealing anew the tables that lie on a few devices alone, equal prices together."""
        assert self.best is not None
        mobile = (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE)
        place = {device: index for index, device in enumerate(chosen)}
        loose: list[int] = []
        numbers: list[list[int]] = []
        for one, (way, where) in enumerate(self.best):
            ways = [
                index for index, option in enumerate(self.options[one])
                if option.sharding in mobile and len(option.shards) <= len(chosen)
            ]  # fmt: skip
            if way in ways and set(where) <= set(chosen) and len(set(where)) == len(where):
                loose.append(one)
                numbers.append(ways)
        if not loose:
            return None
        fixed = {device: [seconds[device], held[device]] for device in chosen}
        for one in loose:
            way, where = self.best[one]
            for shard, device in zip(self.options[one][way].shards, where, strict=True):
                fixed[device][0] -= shard.seconds
                fixed[device][1] -= shard.hbm_bytes
        options = [[self.options[one][way] for way in ways] for one, ways in zip(loose, numbers, strict=True)]
        classes: dict[object, list[int]] = {}
        for index, ways_of in enumerate(options):
            widths = {shard.width for option in ways_of for shard in option.shards if len(option.shards) > 1}
            key = (
                (index,)
                if len(widths) > 1
                else tuple((len(option.shards), f"{option.shards[0].seconds:.12e}") for option in ways_of)
            )
            classes.setdefault(key, []).append(index)
        ordered = [sorted(one, key=lambda index: -_most_bytes(options[index][0])) for one in classes.values()]
        start = [
            (ways.index(self.best[one][0]), tuple(place[device] for device in self.best[one][1]))
            for one, ways in zip(loose, numbers, strict=True)
        ]
        found, _ = by_classes(
            options, replace(self.system, devices=len(chosen)), ordered, start, max(seconds[d] for d in
            chosen), limit_s,
            fixed_s=[fixed[device][0] for device in chosen], fixed_bytes=[fixed[device][1] for device in chosen],
            workers=2,
        )  # fmt: skip
        if found is None:
            return None
        moved = list(self.best)
        for one, ways, (way, where) in zip(loose, numbers, found, strict=True):
            moved[one] = (ways[way], tuple(chosen[device] for device in where))
        return moved

    def _shards_anew(
        self, chosen: list[int], seconds: Sequence[float], held: Sequence[float], limit_s: float
    ) -> Places | None:
        """Return the plan after dealing anew every shard on a few devices."""
        assert self.best is not None
        loose, members = self._loose(set(chosen))
        fixed_s, fixed_bytes = ({d: values[d] for d in chosen} for values in (seconds, held))
        for table in loose:
            for (takes_s, size), device in zip(table.ways[table.way], table.devices, strict=True):
                fixed_s[device] -= takes_s
                fixed_bytes[device] -= size
        found = balanced(loose, chosen, fixed_s, fixed_bytes, self.system.hbm_bytes, limit_s) if loose else None
        if found is None:
            return None
        moved = list(self.best)
        for (one, positions, ways), (way, where) in zip(members, found, strict=True):
            if positions is None:
                moved[one] = (ways[way], where)
                continue
            devices = list(moved[one][1])
            for position, device in zip(positions, where, strict=True):
                devices[position] = device
            moved[one] = (moved[one][0], tuple(devices))
        return moved

    def _loose(self, chosen: set[int]) -> tuple[list[LooseTable], list[tuple[int, list[int] | None, list[int]]]]:
        """Return what may move among a few devices: tables that lie there alone in another way too, shards of
        others."""
        assert self.best is not None
        loose: list[LooseTable] = []
        members: list[tuple[int, list[int] | None, list[int]]] = []
        mobile = (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE)
        for one, (way, where) in enumerate(self.best):
            ways = [
                index for index, option in enumerate(self.options[one])
                if option.sharding in mobile and len(option.shards) <= len(chosen)
            ]  # fmt: skip
            if self.options[one][way].sharding not in mobile or not chosen & set(where):
                continue
            positions: list[int] | None = None
            if not set(where) <= chosen or way not in ways or len(set(where)) < len(where):
                positions, ways = [index for index, device in enumerate(where) if device in chosen], [way]
                if len({where[index] for index in positions}) < len(positions):
                    continue
            loose.append(
                LooseTable(
                    ways=tuple(
                        tuple(
                            (shard.seconds, shard.hbm_bytes)
                            for index, shard in enumerate(self.options[one][number].shards)
                            if positions is None or index in positions
                        )
                        for number in ways
                    ),
                    way=ways.index(way),
                    devices=where if positions is None else tuple(where[index] for index in positions),
                )
            )
            members.append((one, positions, ways))
        return loose, members

    def _listed(self, target_s: float, share: float, by_bytes: bool) -> Places | None:
        system = self.system
        chosen = []
        for ways in self.options:
            small = [one for one in range(len(ways)) if _longest(ways[one]) <= target_s * share]
            small = small or [min(range(len(ways)), key=lambda one: _longest(ways[one]))]
            sums = [sum(shard.hbm_bytes if by_bytes else shard.seconds for shard in option.shards) for option in ways]
            chosen.append(min(small, key=sums.__getitem__))
        busy, held = np.zeros(system.devices), np.zeros(system.devices)
        places: Places = [(0, ())] * len(chosen)
        rank = {TableSharding.ROW_WISE: 0, TableSharding.TABLE_ROW_WISE: 1}
        order = sorted(
            range(len(chosen)),
            key=lambda one: (
                rank.get(self.options[one][chosen[one]].sharding, 2),
                -_longest(self.options[one][chosen[one]]),
            ),
        )
        for one in order:
            option = self.options[one][chosen[one]]
            where = self._where(option, busy, held)
            if where is None:
                return None
            for shard, device in zip(option.shards, where, strict=True):
                busy[device] += shard.seconds
                held[device] += shard.hbm_bytes
            places[one] = (chosen[one], where)
        return places

    def _where(self, option: TableOption, busy: Floats, held: Floats) -> tuple[int, ...] | None:
        system = self.system
        room = system.hbm_bytes - held
        if option.sharding is TableSharding.ROW_WISE:
            where = tuple(range(system.devices))
            return where if all(room[d] >= s.hbm_bytes for d, s in zip(where, option.shards, strict=True)) else None
        if option.sharding is TableSharding.TABLE_ROW_WISE:
            size = system.devices_per_node
            nodes = sorted(range(system.devices // size), key=lambda node: busy[node * size : (node + 1) * size].max())
            for node in nodes:
                where = tuple(range(node * size, (node + 1) * size))
                if all(room[d] >= s.hbm_bytes for d, s in zip(where, option.shards, strict=True)):
                    return where
            return None
        taken: list[int] = []
        load = busy.copy()
        for shard in option.shards:
            allowed = room >= shard.hbm_bytes
            if len(option.shards) <= system.devices:
                allowed[taken] = False
            if not allowed.any():
                return None
            device = int(np.argmin(np.where(allowed, load, np.inf)))
            taken.append(device)
            load[device] += shard.seconds
            room[device] -= shard.hbm_bytes
        return tuple(taken)

    def _exchanged(self, places: Places, ends_s: float) -> Places:
        """Return a plan after moves and swaps of whole or column shards that make the busiest device less busy."""
        system = self.system
        found = [(way, list(where)) for way, where in places]
        loose = [
            (one, position)
            for one, (way, where) in enumerate(found)
            if self.options[one][way].sharding in (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE)
            for position in range(len(where))
        ]
        if not loose:
            return places
        shards = [self.options[one][found[one][0]].shards[position] for one, position in loose]
        takes, sizes = np.array([s.seconds for s in shards]), np.array([s.hbm_bytes for s in shards])
        at = np.array([found[one][1][position] for one, position in loose])
        owner = np.array([one for one, _ in loose])
        seconds, held_bytes = priced(places, self.options, system)
        busy, held = np.array(seconds), np.array(held_bytes)
        for _ in range(4000):
            if time.monotonic() > ends_s:
                break
            worst = int(np.argmax(busy))
            step = self._step(worst, busy, held, takes, sizes, at, owner)
            if step is None:
                break
            for index, device in step:
                busy[at[index]] -= takes[index]
                held[at[index]] -= sizes[index]
                busy[device] += takes[index]
                held[device] += sizes[index]
                at[index] = device
        for (one, position), device in zip(loose, at, strict=True):
            found[one][1][position] = int(device)
        return [(way, tuple(where)) for way, where in found]

    def _step(
        self, worst: int, busy: Floats, held: Floats, takes: Floats, sizes: Floats, at: Floats, owner: Floats
    ) -> list[tuple[int, int]] | None:
        """Return the move or swap after which the two devices' greater time is least, None where none is less."""
        best, step = busy[worst] * (1 - 1e-12), None
        cap = self.system.hbm_bytes
        mine = np.flatnonzero(at == worst)
        others = np.flatnonzero(at != worst)
        for one in mine:
            siblings = at[owner == owner[one]]
            to = np.maximum(busy + takes[one], busy[worst] - takes[one])
            to[(held + sizes[one] > cap)] = np.inf
            to[siblings] = np.inf
            device = int(np.argmin(to))
            if to[device] < best:
                best, step = float(to[device]), [(int(one), device)]
            if not len(others):
                continue
            there = at[others]
            gain = takes[one] - takes[others]
            pair = np.maximum(busy[there] + gain, busy[worst] - gain)
            pair[gain <= 0] = np.inf
            pair[held[there] + sizes[one] - sizes[others] > cap] = np.inf
            pair[held[worst] - sizes[one] + sizes[others] > cap] = np.inf
            pair[np.isin(there, siblings)] = np.inf
            pair[np.isin(owner[others], owner[mine])] = np.inf
            other = int(np.argmin(pair))
            if pair[other] < best:
                best, step = float(pair[other]), [(int(one), int(there[other])), (int(others[other]), worst)]
        return step


def _longest(option: TableOption) -> float:
    return max(shard.seconds for shard in option.shards)
