"""Serving tasks in some order on many chips at once, each as early as the cores of its mode allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.modes import OFF_CHIP, TENSOR, VECTOR, Modes
from hardplace.ndtypes import Bools, Floats, Ints

_GROUPS = 64  # of cores, where tasks take several; a task on fewer cores takes a group
Choice = Ints | None  # of a mode for each task and chip, (tasks, chips); None: whichever ends first


@dataclass(frozen=True, slots=True)
class _Use:
    """What a mode of one task takes on each chip, (chips,): groups of cores, or all cores of a kind."""

    seconds: Floats
    groups: Ints
    all_of: tuple[Bools, Bools]
    alone: Bools  # all of each kind that the task needs
    takes: tuple[Bools, Bools]


class Service:
    """When cores are free while tasks are served; cores of a chip are in groups if they are many."""

    def __init__(self, every: Modes) -> None:
        self._every = every
        tasks, chips = every.least_s.shape
        split = _has_splits(every)
        # Where tasks run on one core or all, more cores than tasks are of no use.
        slots = min(_GROUPS if split else tasks, int(max(cores.max() for cores in every.cores)))
        largest = np.maximum(*every.cores)
        self._size = np.maximum(1, -(-largest // slots)) if split else np.ones_like(largest)
        groups = [np.maximum(1, cores // self._size) for cores in every.cores]
        self._there = [np.arange(slots)[None, :] < count[:, None] for count in groups]
        # (chips, groups); groups that a chip does not have are never free.
        self._free = [np.where(there, 0.0, np.inf) for there in self._there]
        self._busy_until = [np.zeros(chips), np.zeros(chips)]  # when the last task on a kind of core ends
        self._off_chip = {engine: np.zeros(chips) for engine in OFF_CHIP}
        self._end = np.zeros((tasks, chips))

    def run(self, order: list[int], choice: Choice) -> Floats:
        """Return the makespan of serving tasks in order, each in its chosen mode, shape (chips,)."""
        graph = self._every.graph
        for task in order:
            ready = np.zeros(self._end.shape[1])
            for other in graph.predecessors[task]:
                ready = np.maximum(ready, self._end[other])
            engine = graph.engines[task]
            if engine in OFF_CHIP:
                start = np.maximum(ready, self._off_chip[engine])
                self._off_chip[engine] = self._end[task] = start + self._every.least_s[task]
            else:
                self._place(task, engine, ready, None if choice is None else choice[task])
        return np.asarray(self._end.max(axis=0))

    def _place(self, task: int, engine: Engine, ready: Floats, chosen: Ints | None) -> None:
        """Run a task in its chosen mode, or in the one that ends first."""
        kinds = [kind for kind, group in ((0, TENSOR), (1, VECTOR)) if engine in group]
        free = np.maximum(*self._free) if len(kinds) == 2 else self._free[kinds[0]]
        uses = []
        for mode in range(len(self._every.seconds)):
            possible = np.isfinite(self._every.seconds[mode, task])
            possible = possible if chosen is None else possible & (chosen == mode)
            if possible.any():
                use = self._use(mode, task, kinds)
                start = np.maximum(ready, self._free_at(free, use))
                uses.append((np.where(possible & np.isfinite(start), start + use.seconds, np.inf), start, use))
        best = np.argmin([end for end, _, _ in uses], axis=0) if len(uses) > 1 else np.zeros(len(ready), dtype=int)
        end = self._end[task] = np.choose(best, [end for end, _, _ in uses])
        start = np.choose(best, [start for _, start, _ in uses])
        groups = np.choose(best, [np.where(use.alone, 0, use.groups) for _, _, use in uses])
        mine = _last_free(free, start, groups)
        for kind in (0, 1):
            if kind in kinds and mine is not None:
                np.copyto(self._free[kind], end[:, None], where=mine)
            all_of = np.choose(best, [use.all_of[kind] for _, _, use in uses])
            if all_of.any():
                np.copyto(self._free[kind], end[:, None], where=all_of[:, None] & self._there[kind])
            takes = np.choose(best, [use.takes[kind] for _, _, use in uses])
            self._busy_until[kind] = np.where(takes, np.maximum(self._busy_until[kind], end), self._busy_until[kind])

    def _use(self, mode: int, task: int, kinds: list[int]) -> _Use:
        taken = (self._every.tensor[mode, task], self._every.vector[mode, task])
        all_of = (taken[0] >= self._every.cores[0], taken[1] >= self._every.cores[1])
        return _Use(
            seconds=self._every.seconds[mode, task],
            groups=-(-taken[kinds[0]] // self._size),
            all_of=all_of,
            alone=all_of[kinds[0]] & all_of[kinds[-1]],
            takes=(taken[0] > 0, taken[1] > 0),
        )

    def _free_at(self, free: Floats, use: _Use) -> Floats:
        """Return when enough cores are free, (chips,); inf where a chip has not as many."""
        until = [np.where(all_of, busy, 0.0) for all_of, busy in zip(use.all_of, self._busy_until, strict=True)]
        every_one = np.maximum(*until)
        if use.alone.all():
            return every_one
        groups = np.where(use.alone, 1, use.groups)
        if (groups == 1).all():
            some = free.min(axis=1)
        else:
            last = np.minimum(groups, free.shape[1]) - 1
            some = np.take_along_axis(np.sort(free, axis=1), last[:, None], axis=1)[:, 0]
        return np.where(use.alone, every_one, some)


def _last_free(free: Floats, start: Floats, groups: Ints) -> Bools | None:
    """Return so many of the groups that are free in time, those that became free last, (chips, groups)."""
    most = int(groups.max())
    if not most:
        return None
    # Latest first among those in time; the others after them.
    key = np.where(free <= start[:, None], -free, np.inf)
    if most == 1:
        mine = np.zeros(free.shape, dtype=bool)
        mine[np.arange(len(start)), key.argmin(axis=1)] = groups == 1
        return mine
    rank = np.empty(free.shape, dtype=np.int64)
    np.put_along_axis(rank, key.argsort(axis=1), np.arange(free.shape[1])[None, :], axis=1)
    return np.asarray(rank < groups[:, None])


def _has_splits(every: Modes) -> bool:
    """Return whether some task may take several cores of a kind, but not all."""
    for seconds, tensor, vector in zip(every.seconds, every.tensor, every.vector, strict=True):
        some = (tensor > 1) & (tensor < every.cores[0]) | (vector > 1) & (vector < every.cores[1])
        if np.any(np.isfinite(seconds) & some):
            return True
    return False
