"""Exchanges of embedding tables between devices: a list rule, pairs dealt anew, other ways, a few devices by CP-SAT."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hardplace.graph_split.table_model import LooseTable, Places, balanced, by_classes
from hardplace.graph_split.tables import EmbeddingTable, TableOption, TableSharding, TableSystem
from hardplace.ndtypes import Floats


class TableSearch:
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
                        self.offer(self._improved(places, ends_s))
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
            limit_s = max(0.05, min(0.4, ends_s - time.monotonic()))
            rule = self._classes_anew if tried % 4 < 3 else self._shards_anew
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
        ordered = [sorted(one, key=lambda index: -most_bytes(options[index][0])) for one in classes.values()]
        start = [
            (ways.index(self.best[one][0]), tuple(place[device] for device in self.best[one][1]))
            for one, ways in zip(loose, numbers, strict=True)
        ]
        found, _ = by_classes(
            options, replace(self.system, devices=len(chosen)), ordered, start, max(seconds[d] for d in
            chosen), limit_s,
            fixed_s=[fixed[device][0] for device in chosen], fixed_bytes=[fixed[device][1] for device in chosen],
            gap=5e-4, workers=2,
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
            small = [one for one in range(len(ways)) if longest(ways[one]) <= target_s * share]
            small = small or [min(range(len(ways)), key=lambda one: longest(ways[one]))]
            sums = [sum(shard.hbm_bytes if by_bytes else shard.seconds for shard in option.shards) for option in ways]
            chosen.append(min(small, key=sums.__getitem__))
        busy, held = np.zeros(system.devices), np.zeros(system.devices)
        places: Places = [(0, ())] * len(chosen)
        rank = {TableSharding.ROW_WISE: 0, TableSharding.TABLE_ROW_WISE: 1}
        order = sorted(
            range(len(chosen)),
            key=lambda one: (
                rank.get(self.options[one][chosen[one]].sharding, 2),
                -longest(self.options[one][chosen[one]]),
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

    def _improved(self, places: Places, ends_s: float) -> Places:
        """Return a plan after exchanges and other ways of tables on the busiest device, in turn until neither gains."""
        value_s = math.inf
        for _ in range(60):
            places = self._paired(self._exchanged(places, ends_s), ends_s)
            after_s = max(priced(places, self.options, self.system)[0])
            if after_s >= value_s * (1 - 1e-9) or time.monotonic() > ends_s:
                break
            value_s = after_s
            other = self._another_way(places)
            if other is None:
                break
            places = other
        return places

    def _paired(self, places: Places, ends_s: float) -> Places:
        """Return a plan after dealing all loose shards of the busiest device and another one anew, until none gains.

        Which shards the first one keeps is a subset sum, nearest to half from below, over times in steps of 2^-18.
        """
        found = [(way, list(where)) for way, where in places]
        seconds, held = priced(places, self.options, self.system)
        on: list[dict[tuple[int, int], tuple[float, float]]] = [{} for _ in seconds]
        for one, (way, where) in enumerate(places):
            option = self.options[one][way]
            if option.sharding in (TableSharding.TABLE_WISE, TableSharding.COLUMN_WISE):
                for position, device in enumerate(where):
                    on[device][one, position] = (option.shards[position].seconds, option.shards[position].hbm_bytes)
        gained = True
        while gained and time.monotonic() < ends_s:
            worst = max(range(len(seconds)), key=seconds.__getitem__)
            gained = False
            for other in sorted(range(len(seconds)), key=seconds.__getitem__):
                if other == worst:
                    continue
                shared = {one for one, _ in on[worst]} & {one for one, _ in on[other]}
                loose = [(key, on[d][key]) for d in (worst, other) for key in on[d] if key[0] not in shared]
                kept = _half([takes for _, (takes, _) in loose], seconds[worst], seconds[other], on[worst], shared)
                first = {key: value for keep, (key, value) in zip(kept, loose, strict=True) if keep}
                second = {key: value for keep, (key, value) in zip(kept, loose, strict=True) if not keep}
                loads = []
                for device, mine in ((worst, first), (other, second)):
                    old = [value for key, value in on[device].items() if key[0] not in shared]
                    loads.append(
                        tuple(
                            base - sum(one[part] for one in old) + sum(one[part] for one in mine.values())
                            for part, base in ((0, seconds[device]), (1, held[device]))
                        )
                    )
                fits = max(one[1] for one in loads) <= self.system.hbm_bytes
                if fits and max(one[0] for one in loads) < seconds[worst] * (1 - 1e-9):
                    for device, mine, (busy_s, full) in zip((worst, other), (first, second), loads, strict=True):
                        stay = {key: value for key, value in on[device].items() if key[0] in shared}
                        on[device], seconds[device], held[device] = {**stay, **mine}, busy_s, full
                        for one, position in mine:
                            found[one][1][position] = device
                    gained = True
                    break
        return [(way, tuple(where)) for way, where in found]

    def _another_way(self, places: Places) -> Places | None:
        """Return the plan with one table of the busiest device in another way, after which those touched take least."""
        seconds, held = priced(places, self.options, self.system)
        worst = int(np.argmax(seconds))
        least_s, best = seconds[worst] * (1 - 1e-9), None
        for one, (way, where) in enumerate(places):
            if worst not in where:
                continue
            busy, full = np.array(seconds), np.array(held)
            for shard, device in zip(self.options[one][way].shards, where, strict=True):
                busy[device] -= shard.seconds
                full[device] -= shard.hbm_bytes
            for number, option in enumerate(self.options[one]):
                there = None if number == way else self._where(option, busy, full)
                if there is None:
                    continue
                after = busy[list(there)] + [shard.seconds for shard in option.shards]
                touched_s = max(float(after.max()), float(busy[worst]))
                if len(set(there)) == len(there) and touched_s < least_s:
                    least_s, best = touched_s, (one, number, there)
        if best is None:
            return None
        changed = list(places)
        changed[best[0]] = best[1:]
        return changed

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


def _half(
    takes: Sequence[float],
    first_s: float,
    second_s: float,
    on_first: Mapping[tuple[int, int], tuple[float, float]],
    shared: set[int],
) -> list[bool]:
    """Return which shards the first of two devices keeps so that both are busy as alike as can be."""
    fixed_s = first_s - sum(value[0] for key, value in on_first.items() if key[0] not in shared)
    step = max(first_s, second_s) / 2**18
    steps = [round(one / step) for one in takes]
    reached = [1]
    for one in steps:
        reached.append(reached[-1] | reached[-1] << one)
    target = max(0, round(((first_s + second_s) / 2 - fixed_s) / step))
    left = (reached[-1] & ((1 << target + 1) - 1)).bit_length() - 1
    kept = []
    for index in range(len(steps) - 1, -1, -1):
        keep = not reached[index] >> left & 1
        left -= steps[index] if keep else 0
        kept.append(keep)
    return kept[::-1]


def longest(option: TableOption) -> float:
    """Return the seconds of an option's longest shard."""
    return max(shard.seconds for shard in option.shards)
