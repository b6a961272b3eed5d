"""Exchanges of embedding tables between devices: a list rule to begin with, moves and swaps, pairs of devices dealt
anew, another way of one table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from hardplace.graph_split.table_loads import Places, longest, priced
from hardplace.graph_split.tables import EVERYWHERE, MOBILE, TableOption, TableSharding, TableSystem
from hardplace.ndtypes import Floats


class TableExchanges:
    """Plans of tables without a solver: one from a list rule, and a plan made better by exchanges.

    Args:
        options: For each table the ways in which it may be sharded, with their prices.
        system: The devices.
    """

    def __init__(self, options: Sequence[Sequence[TableOption]], system: TableSystem) -> None:
        self.options, self.system = options, system

    def listed(self, target_s: float, share: float, by_bytes: bool) -> Places | None:
        """Return the plan of a list rule; None: a shard of it fits no device.

        Each table goes the way with the smallest sum of those whose shards are all small; then the tables, largest
        shard first, each shard on the least busy device with memory for it.

        Args:
            target_s: Seconds that the busiest device should have.
            share: Largest shard that is small, as a share of them.
            by_bytes: Whether the sum is of bytes, not of seconds.
        """
        system = self.system
        chosen = []
        for ways in self.options:
            small = [one for one in range(len(ways)) if longest(ways[one]) <= target_s * share]
            small = small or [min(range(len(ways)), key=lambda one: longest(ways[one]))]
            sums = [sum(shard.hbm_bytes if by_bytes else shard.seconds for shard in option.shards) for option in ways]
            chosen.append(min(small, key=sums.__getitem__))
        busy, held = np.zeros(system.devices), np.zeros(system.devices)
        places: Places = [(0, ())] * len(chosen)
        rank = {**dict.fromkeys(EVERYWHERE, 0), TableSharding.TABLE_ROW_WISE: 1}
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
        """Return the devices of an option's shards, least busy first, where they fit; None: nowhere."""
        system = self.system
        room = system.hbm_bytes - held
        if option.sharding in EVERYWHERE:
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

    def improved(self, places: Places, ends_s: float) -> Places:
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
            if option.sharding in MOBILE:
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
            if self.options[one][way].sharding in MOBILE
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
