"""Exact schedules by best-first search over partial schedules, with dominance (docs/model-scheduling.md).

Tasks are appended in the order of their starts, each as early as its cores allow. Of two partial schedules of the same
tasks, one that is nowhere later makes the other superfluous. The least bound of those left open bounds every schedule.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import NamedTuple

import numpy as np

from hardplace.cost.types import Engine, Floats
from hardplace.scheduling.alike import alike
from hardplace.scheduling.bounds import energy, least_tails, weights
from hardplace.scheduling.cores import Cores, choices
from hardplace.scheduling.lists import in_order
from hardplace.scheduling.modes import OFF_CHIP, modes_of
from hardplace.scheduling.types import Schedule, ScheduleProblem

_SLACK = 1e-11  # of the makespan, within which two times count as equal
_BEAM = 16  # partial schedules kept of those with as many tasks, to find a good schedule first
_CHOICES = 65536  # of cores, looked at for one mode of one task, over the square of their number
_FEWEST_CHOICES = 4
_UNIT = 256  # times at which a core is free, in new partial schedules, that count as one partial schedule
_DIVE = 4_000  # such units at most in the beam search
_NOWHERE: Cores = ((), ())
_Key = tuple[float, ...]
_Row = tuple[float, ...]


def by_partial_schedules(problem: ScheduleProblem, best: Schedule, gap: float, most: int) -> Schedule:
    """Return the best schedule and its bound after at most so many partial schedules; best: one to start from."""
    return PartialSearch(problem, best, gap).run(most)


@dataclass(frozen=True, slots=True)
class _Mode:
    index: int
    seconds: float
    counts: tuple[int, int]  # of tensor and of vector cores
    all_of: tuple[bool, bool]  # whether that is all of a kind
    alone: bool  # whether it is all of each kind that it takes


class _Move(NamedTuple):
    """A task that may be appended: its mode (-1 off the cores), when, and its cores, or whether all of a kind."""

    task: int
    mode: int
    start: float
    seconds: float
    all_of: tuple[bool, bool]
    cores: Cores


@dataclass(frozen=True, slots=True)
class _Partial:
    """What matters of a partial schedule for what follows (seconds): when cores and the other engines are free."""

    done: int  # bit mask of tasks
    rows: tuple[_Row, _Row]  # when each tensor core, each vector core is free
    off_chip: _Row
    ready: _Row  # when the predecessors so far of each task have ended
    end: float
    last: float  # the last start: no later task starts before it
    step: tuple[int, int, Cores]  # the last task, its mode, its cores
    before: _Partial | None


_Class = tuple[Engine, int, int]  # an engine, and the least tensor and vector cores that a task takes


@dataclass(frozen=True, slots=True)
class _Rest:
    """What is left after some tasks: which may start, which have a predecessor done, and bounds for all."""

    soon: list[int]
    reached: list[int]
    tails: list[float]  # the longest of each class
    energies: list[tuple[float, float, float]]  # weight of tensor cores, of vector cores, seconds
    off_chip: list[float]
    fused: bool


class PartialSearch:
    """A search that can be stopped and taken up again; best: a schedule to start from, gap: at which to stop."""

    def __init__(self, problem: ScheduleProblem, best: Schedule, gap: float) -> None:
        graph = problem.graph
        size = len(graph.engines)
        self._problem, self._best, self._gap, self._size = problem, best, gap, size
        self._every = every = modes_of(problem)
        self._cores = (problem.tensor_cores, problem.vector_cores)
        self._modes = [self._modes_of(task) for task in range(size)]
        self._tails = least_tails(every)[:, 0].tolist()
        shares = weights(every)
        self._weights = shares[:, 0].tolist()
        self._energies = [energy(every, weight)[:, 0] for weight in shares]
        self._needs = [sum(1 << other for other in before) for before in graph.predecessors]
        for task, other in enumerate(alike(problem)):
            self._needs[task] |= 0 if other is None else 1 << other
        self._followers = [
            [later for later in range(size) if task in graph.predecessors[later]] for task in range(size)
        ]
        self._off_chip = [
            [seconds if engine is one else 0.0 for engine, seconds in zip(graph.engines, problem.whole_s, strict=True)]
            for one in OFF_CHIP
        ]
        self._fused = sum(
            1 << task
            for task in range(size)
            if graph.engines[task] is Engine.BOTH and any(mode.all_of != (True, True) for mode in self._modes[task])
        )
        self._before = [sum(1 << other for other in before) for before in graph.predecessors]
        # Tasks that need the same engine and at least the same numbers of cores start alike.
        needs: list[_Class] = [
            (
                engine,
                min((mode.counts[0] for mode in modes), default=0),
                min((mode.counts[1] for mode in modes), default=0),
            )
            for engine, modes in zip(graph.engines, self._modes, strict=True)
        ]
        self._classes: list[_Class] = list(dict.fromkeys(needs))
        self._class = [self._classes.index(one) for one in needs]
        self._rests: dict[int, _Rest] = {}
        self._heap: list[tuple[float, int, int, _Key, _Partial]] = []
        self._done = False
        self._left_s = np.inf  # the least bound of what was left out for the gap
        self._slack_s = _SLACK * best.makespan_s
        self._fronts: dict[int, _Front] = {}
        self._ticket = count()
        self._width = sum(map(len, self._first().rows))
        self._cut = False  # whether some choices of cores of the last partial schedule were not looked at

    def _modes_of(self, task: int) -> list[_Mode]:
        """Return a task's modes on cores, none for a collective or copy."""
        if self._problem.graph.engines[task] in OFF_CHIP:
            return []
        found = []
        for index, (seconds, tensor, vector) in enumerate(
            zip(
                self._every.seconds[:, task, 0].tolist(),
                self._every.tensor[:, task, 0].tolist(),
                self._every.vector[:, task, 0].tolist(),
                strict=True,
            )
        ):
            if seconds < np.inf:
                all_of = (tensor == self._cores[0], vector == self._cores[1])
                alone = all(whole or not count for whole, count in zip(all_of, (tensor, vector), strict=True))
                found.append(_Mode(index, seconds, (tensor, vector), all_of, alone))
        return found

    def _dive(self, deadline: float) -> None:
        """Improve the best schedule by beam search: of the partial schedules with as many tasks, the most promising."""
        full = (1 << self._size) - 1
        best: _Partial | None = None
        upper_s = self._best.makespan_s
        beam, left = [self._first()], _DIVE
        for _ in range(self._size):
            found: dict[tuple[int, _Key], tuple[float, float, _Partial]] = {}
            for partial in beam:
                children = list(self._children(partial)) if left > 0 else []
                left -= self._units(len(children))
                for child in children:
                    if child.done == full:
                        if child.end < upper_s:
                            best, upper_s = child, child.end
                        continue
                    key, lower_s = self._look(child, upper_s * (1.0 - self._gap))
                    if key:
                        found[child.done, key] = (lower_s, child.end, child)
            if not found or time.perf_counter() > deadline:
                break
            beam = [one[2] for one in heapq.nsmallest(_BEAM, found.values(), key=lambda one: one[:2])]
        if best is not None:
            self._best = replace(self._written(best), bound_s=self._best.bound_s)

    def run(self, most: int, deadline: float = np.inf) -> Schedule:
        """Return the best schedule with its bound after at most so many partial schedules more.

        deadline: of time.perf_counter, at which to stop before.
        """
        if not self._heap and not self._done:
            self._dive(deadline)
            self._push(self._best.bound_s, (), self._first())
        full, heap = (1 << self._size) - 1, self._heap
        while heap and most > 0 and time.perf_counter() < deadline:
            bound_s, _, _, key, partial = heapq.heappop(heap)
            if bound_s >= self._best.makespan_s * (1.0 - self._gap):
                self._left_s = min(self._left_s, bound_s)
                heap.clear()
                break
            if key and key not in self._fronts[partial.done]:
                continue
            self._cut = False
            children = list(self._children(partial))
            most -= 1 + self._units(len(children))
            if self._cut:
                self._left_s = min(self._left_s, bound_s)
            for child in children:
                if child.done == full:
                    self.improve(self._written(child) if child.end < self._best.makespan_s else self._best)
                    continue
                key, lower_s = self._look(child, self._best.makespan_s * (1.0 - self._gap))
                if not key:
                    self._left_s = min(self._left_s, max(lower_s, bound_s))
                    continue
                front = self._fronts.setdefault(child.done, _Front(len(key), self._slack_s))
                if front.enters(key):
                    self._push(max(lower_s, bound_s), key, child)
        self._done = not heap
        left_s = min(self._left_s, heap[0][0] if heap else np.inf)
        # Each of the steps to the end may have lost the slack once.
        bound_s = max(self._best.bound_s, min(left_s - self._size * self._slack_s, self._best.makespan_s))
        self._best = replace(self._best, bound_s=bound_s)
        return self._best

    def improve(self, best: Schedule) -> None:
        """Take over a schedule or a bound that is better."""
        smaller = min(self._best, best, key=lambda one: one.makespan_s)
        bound_s = min(max(self._best.bound_s, best.bound_s), smaller.makespan_s)
        self._best = replace(smaller, bound_s=bound_s)

    def _units(self, children: int) -> int:
        """Return the work of so many partial schedules, which grows with the number of cores."""
        return children * self._width // _UNIT

    def _push(self, bound_s: float, key: _Key, partial: _Partial) -> None:
        heapq.heappush(self._heap, (bound_s, -partial.done.bit_count(), next(self._ticket), key, partial))

    def _first(self) -> _Partial:
        rows = []
        for kind, cores in enumerate(self._cores):
            # More cores than the tasks can take that do not take all of them are of no use.
            most = sum(
                max((mode.counts[kind] for mode in each if not mode.all_of[kind]), default=0) for each in self._modes
            )
            rows.append((0.0,) * min(cores, max(1, most)))
        nothing = (0.0,) * len(OFF_CHIP)
        return _Partial(0, (rows[0], rows[1]), nothing, (0.0,) * self._size, 0.0, 0.0, (-1, -1, _NOWHERE), None)

    def _children(self, partial: _Partial) -> Iterator[_Partial]:
        """Yield the partial schedules with one task more, but for those where another would have fitted before it."""
        moves = list(self._moves(partial))
        # When each task could end at the earliest, the two that end first.
        ends: dict[int, float] = {}
        for move in moves:
            if move.seconds > 0.0:
                ends[move.task] = min(ends.get(move.task, np.inf), move.start + move.seconds)
        first = sorted((end, task) for task, end in ends.items())[:2]
        for move in moves:
            if all(task == move.task or end > move.start for end, task in first):
                yield self._moved(partial, move)

    def _moves(self, partial: _Partial) -> Iterator[_Move]:
        fused = bool(self._fused & ~partial.done)
        for task, engine in enumerate(self._problem.graph.engines):
            if partial.done >> task & 1 or self._needs[task] & ~partial.done:
                continue
            ready = max(partial.last, partial.ready[task])
            if engine in OFF_CHIP:
                start = max(ready, partial.off_chip[OFF_CHIP.index(engine)])
                yield _Move(task, -1, start, self._problem.whole_s[task], (False, False), _NOWHERE)
                continue
            for mode in self._modes[task]:
                if mode.alone:
                    start = max(max(row) for row, count in zip(partial.rows, mode.counts, strict=True) if count)
                    yield _Move(task, mode.index, max(ready, start), mode.seconds, mode.all_of, _NOWHERE)
                    continue
                found = choices(*partial.rows, mode.counts, ready, paired=fused)
                for cores, free in islice(found, max(_FEWEST_CHOICES, _CHOICES // len(partial.rows[0]) ** 2)):
                    yield _Move(task, mode.index, max(ready, free), mode.seconds, (False, False), cores)
                # What is not looked at keeps its bound: that of the partial schedule.
                self._cut |= next(found, None) is not None

    def _moved(self, partial: _Partial, move: _Move) -> _Partial:
        task, end = move.task, move.start + move.seconds
        rows = list(partial.rows)
        for kind in (0, 1):
            if move.all_of[kind]:
                rows[kind] = (end,) * len(rows[kind])
            elif move.cores[kind]:
                taken = move.cores[kind]
                rows[kind] = tuple(end if index in taken else one for index, one in enumerate(rows[kind]))
        off_chip = partial.off_chip
        if move.mode < 0:
            which = OFF_CHIP.index(self._problem.graph.engines[task])
            off_chip = tuple(end if index == which else one for index, one in enumerate(off_chip))
        ready = list(partial.ready)
        ready[task] = 0.0
        for later in self._followers[task]:
            ready[later] = max(ready[later], end)
        step = (task, move.mode, move.cores)
        longest = max(partial.end, end)
        return _Partial(
            partial.done | 1 << task, (rows[0], rows[1]), off_chip, tuple(ready), longest, move.start, step, partial
        )

    def _rest(self, done: int) -> _Rest:
        """Return what is left to do after these tasks."""
        if done not in self._rests:
            left = [task for task in range(self._size) if not done >> task & 1]
            tails = [0.0] * len(self._classes)
            for task in left:
                tails[self._class[task]] = max(tails[self._class[task]], self._tails[task])
            self._rests[done] = _Rest(
                soon=[task for task in left if not self._needs[task] & ~done],
                reached=[task for task in left if self._before[task] & done],
                tails=tails,
                energies=[
                    (weight, 1.0 - weight, float(energy[left].sum()))
                    for weight, energy in zip(self._weights, self._energies, strict=True)
                ],
                off_chip=[sum(seconds[task] for task in left) for seconds in self._off_chip],
                fused=bool(self._fused & ~done),
            )
        return self._rests[done]

    def _look(self, partial: _Partial, limit_s: float) -> tuple[_Key, float]:
        """Return what is compared between partial schedules of the same tasks, and a bound on the makespan.

        Nothing to compare where the bound reaches the limit.
        """
        rest, ready = self._rest(partial.done), partial.ready
        # Nothing can start before this, so that it does not matter what is free earlier.
        now = max(partial.last, min([ready[task] for task in rest.soon]))
        tensor, vector = (sorted([free if free > now else now for free in row]) for row in partial.rows)
        off_chip = [max(now, free) for free in partial.off_chip]
        lower = max(partial.end, off_chip[0] + rest.off_chip[0], off_chip[1] + rest.off_chip[1])
        means = (_mean(tensor, self._cores[0]), _mean(vector, self._cores[1]))
        for tensor_share, vector_share, energy_s in rest.energies:
            lower = max(lower, tensor_share * means[0] + vector_share * means[1] + energy_s)
        if lower >= limit_s:
            return (), lower
        first = [self._first_start(one, tensor, vector, off_chip) for one in self._classes]
        lower = max([lower] + [start + tail for start, tail in zip(first, rest.tails, strict=True) if tail])
        reached = [ready[task] if ready[task] > now else now for task in rest.reached]
        for task, start in zip(rest.reached, reached, strict=True):
            lower = max(lower, max(start, first[self._class[task]]) + self._tails[task])
        if lower >= limit_s:
            return (), lower
        free_at: list[float] = tensor + vector
        if rest.fused:
            rows = [[max(now, free) for free in row] for row in partial.rows]
            shared = min(len(tensor), len(vector))
            pairs = sorted(zip(*rows, strict=False))
            free_at = [one for pair in pairs for one in pair] + sorted(rows[0][shared:]) + sorted(rows[1][shared:])
        return (now, *off_chip, *free_at, *reached), lower

    def _first_start(self, one: _Class, tensor: list[float], vector: list[float], off_chip: list[float]) -> float:
        """Return when a task of some class can start at the earliest, by its engine; cores in order of time."""
        engine, on_tensor, on_vector = one
        if engine in OFF_CHIP:
            return off_chip[OFF_CHIP.index(engine)]
        start = 0.0
        if on_tensor:
            start = tensor[min(on_tensor, len(tensor)) - 1]
        if on_vector:
            start = max(start, vector[min(on_vector, len(vector)) - 1])
        return start

    def _written(self, last: _Partial) -> Schedule:
        steps = []
        partial: _Partial | None = last
        while partial is not None and partial.before is not None:
            steps.append(partial.step)
            partial = partial.before
        chosen, cores = [-1] * self._size, [_NOWHERE] * self._size
        for task, mode, given in steps:
            chosen[task] = mode
            counts = next((one.counts for one in self._modes[task] if one.index == mode), (0, 0))
            cores[task] = given if given != _NOWHERE else (tuple(range(counts[0])), tuple(range(counts[1])))
        return in_order(self._problem, self._every, [task for task, _, _ in reversed(steps)], chosen, cores)


def _mean(free: list[float], cores: int) -> float:
    """Return when cores are free on average, given in order; those beyond the list are free as early as its first."""
    return (sum(free) + (cores - len(free)) * free[0]) / cores


class _Front:
    """What is compared between partial schedules of the same tasks: none nowhere larger than another."""

    def __init__(self, width: int, slack_s: float) -> None:
        self._rows: Floats = np.empty((0, width))
        self._live: set[_Key] = set()
        self._slack_s = slack_s

    def __contains__(self, key: _Key) -> bool:
        return key in self._live

    def enters(self, key: _Key) -> bool:
        """Add a key unless another one is nowhere larger, to the slack; drop those that it makes superfluous."""
        if key in self._live:
            return False
        row = np.array(key)
        if (self._rows <= row + self._slack_s).all(axis=1).any():
            return False
        # Without slack here, so that it does not add up from one to the next.
        worse = (self._rows >= row).all(axis=1)
        if worse.any():
            self._live.difference_update(map(tuple, self._rows[worse].tolist()))
            self._rows = self._rows[~worse]
        self._rows = np.vstack([self._rows, row])
        self._live.add(key)
        return True
