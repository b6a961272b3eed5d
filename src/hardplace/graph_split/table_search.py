"""Search of a plan of embedding tables: list rules with exchanges first, then a few devices at a time by CP-SAT."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace

from hardplace.graph_split.table_exchanges import TableExchanges
from hardplace.graph_split.table_loads import Places, most_bytes, priced
from hardplace.graph_split.table_model import LooseTable, balanced, by_classes
from hardplace.graph_split.tables import MOBILE, EmbeddingTable, TableOption, TableSystem


class TableSearch:
    """The best plan so far: of each table the number of its option and the devices of its shards."""

    def __init__(
        self, tables: Sequence[EmbeddingTable], options: Sequence[Sequence[TableOption]], system: TableSystem
    ) -> None:
        self.tables, self.options, self.system = tables, options, system
        self._exchanges = TableExchanges(options, system)
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
        """Try list rules: ways chosen for shards of at most a share of a target; then exchanges at the busiest device
        of their plans, the best plan first: of that one however little time there is, so that a loaded machine does
        not give a worse plan."""
        listed: list[tuple[float, int, Places]] = []
        for target in (1.0, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0):
            if self.best is not None and time.monotonic() > ends_s:
                break
            for share in (1.0, 0.5, 0.25, 0.1):
                for by_bytes in (False, True):
                    places = self._exchanges.listed(bound_s * target, share, by_bytes)
                    if places is not None:
                        self.offer(places)
                        listed.append((max(priced(places, self.options, self.system)[0]), len(listed), places))
        for number, (_, _, places) in enumerate(sorted(listed)):
            if self.value_s <= bound_s * (1 + 1e-6) or (number and time.monotonic() > ends_s):
                return
            self.offer(self._exchanges.improved(places, ends_s if number else math.inf))

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
        place = {device: index for index, device in enumerate(chosen)}
        loose: list[int] = []
        numbers: list[list[int]] = []
        for one, (way, where) in enumerate(self.best):
            ways = [
                index for index, option in enumerate(self.options[one])
                if option.sharding in MOBILE and len(option.shards) <= len(chosen)
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
        for one, (way, where) in enumerate(self.best):
            ways = [
                index for index, option in enumerate(self.options[one])
                if option.sharding in MOBILE and len(option.shards) <= len(chosen)
            ]  # fmt: skip
            if self.options[one][way].sharding not in MOBILE or not chosen & set(where):
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
