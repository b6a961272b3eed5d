"""Exact schedules by best-first search over partial schedules, with dominance (docs/model-scheduling.md).

Tasks are appended one by one, each as early as its cores allow. Of two partial schedules of the same tasks, one that is
nowhere later makes the other superfluous. The least bound among those left open bounds every schedule.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from hardplace.cost.types import Engine, Floats
from hardplace.scheduling.alike import alike
from hardplace.scheduling.bounds import energy, least_tails, weights
from hardplace.scheduling.cores import Cores, choices
from hardplace.scheduling.lists import in_order
from hardplace.scheduling.modes import OFF_CHIP, modes_of
from hardplace.scheduling.types import Schedule, ScheduleProblem

_SLACK = 1e-11  # of the makespan, within which two times count as equal
_NOWHERE: Cores = ((), ())
_Key = tuple[float, ...]
_Row = tuple[float, ...]


def by_partial_schedules(
    problem: ScheduleProblem, best: Schedule, gap: float, most: int, *, deadline: float = np.inf
) -> Schedule:
    """Return the best schedule and its bound after at most so many partial schedules; best: one to start from.

    deadline: of time.perf_counter, at which to stop before.
    """
    search = _Search(problem, best, gap)
    return search.run(most, deadline)


@dataclass(frozen=True, slots=True)
class _Mode:
    index: int
    seconds: float
    counts: tuple[int, int]  # of tensor and of vector cores
    all_of: tuple[bool, bool]  # whether that is all of a kind


@dataclass(frozen=True, slots=True)
class _Partial:
    """What matters of a partial schedule for what follows (seconds): when cores and the other engines are free."""

    done: int  # bit mask of tasks
    rows: tuple[_Row, _Row]  # when each tensor core, each vector core is free
    off_chip: _Row
    ready: _Row  # when the predecessors so far of each task have ended
    end: float
    step: tuple[int, int, Cores]  # the last task, its mode, its cores
    before: _Partial | None


class _Search:
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
        # The least number of cores of each kind that each task takes in any mode.
        self._least = [
            tuple(min((mode.counts[kind] for mode in each), default=0) for kind in (0, 1)) for each in self._modes
        ]
        self._rests: dict[int, tuple[list[int], list[float], list[float]]] = {}

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
                found.append(_Mode(index, seconds, (tensor, vector), all_of))
        return found

    def run(self, most: int, deadline: float) -> Schedule:
        """Return the best schedule with its bound."""
        size = self._size
        upper_s, found, left_s = self._best.makespan_s, None, np.inf
        ticket = count()
        fronts: dict[int, _Front] = {}
        slack_s = _SLACK * upper_s
        heap: list[tuple[float, int, int, _Key, _Partial]] = [(self._best.bound_s, 0, next(ticket), (), self._first())]
        full = (1 << size) - 1
        while heap and most > 0 and (most % 16 or time.perf_counter() < deadline):
            bound_s, _, _, key, partial = heapq.heappop(heap)
            if bound_s >= upper_s * (1.0 - self._gap):
                left_s = min(left_s, bound_s)
                break
            if key and key not in fronts[partial.done]:
                continue
            most -= 1
            for child in self._children(partial):
                if child.done == full:
                    if child.end < upper_s:
                        upper_s, found = child.end, child
                    continue
                key, lower_s = self._look(child)
                lower_s = max(lower_s, bound_s)
                if lower_s >= upper_s * (1.0 - self._gap):
                    left_s = min(left_s, lower_s)
                    continue
                front = fronts.setdefault(child.done, _Front(len(key), slack_s))
                if front.enters(key):
                    heapq.heappush(heap, (lower_s, -child.done.bit_count(), next(ticket), key, child))
        if heap:
            left_s = min(left_s, heap[0][0])
        best = self._best if found is None else self._written(found)
        # Each of the steps to the end may have lost the slack once.
        return replace(best, bound_s=max(self._best.bound_s, min(left_s - size * slack_s, best.makespan_s)))

    def _first(self) -> _Partial:
        rows = []
        for kind, cores in enumerate(self._cores):
            # More cores than the tasks can take that do not take all of them are of no use.
            most = sum(
                max((mode.counts[kind] for mode in each if not mode.all_of[kind]), default=0) for each in self._modes
            )
            rows.append((0.0,) * min(cores, max(1, most)))
        nothing = (0.0,) * len(OFF_CHIP)
        return _Partial(0, (rows[0], rows[1]), nothing, (0.0,) * self._size, 0.0, (-1, -1, _NOWHERE), None)

    def _children(self, partial: _Partial) -> Iterator[_Partial]:
        fused = bool(self._fused & ~partial.done)
        for task, engine in enumerate(self._problem.graph.engines):
            if partial.done >> task & 1 or self._needs[task] & ~partial.done:
                continue
            ready = partial.ready[task]
            if engine in OFF_CHIP:
                which = OFF_CHIP.index(engine)
                end = max(ready, partial.off_chip[which]) + self._problem.whole_s[task]
                off_chip = tuple(end if index == which else one for index, one in enumerate(partial.off_chip))
                yield self._with(partial, (task, -1, _NOWHERE), end, partial.rows, off_chip)
                continue
            for mode in self._modes[task]:
                yield from self._on_cores(partial, task, mode, ready, fused)

    def _on_cores(self, partial: _Partial, task: int, mode: _Mode, ready: float, fused: bool) -> Iterator[_Partial]:
        rows = partial.rows
        used = [kind for kind in (0, 1) if mode.counts[kind]]
        if all(mode.all_of[kind] for kind in used):
            start_s = max([ready] + [max(rows[kind]) for kind in used])
            yield self._given(partial, task, mode, used, _NOWHERE, start_s)
            return
        for cores, free in choices(*rows, mode.counts, ready, paired=fused):
            yield self._given(partial, task, mode, [], cores, max(ready, free))

    def _given(
        self, partial: _Partial, task: int, mode: _Mode, held: list[int], cores: Cores, start_s: float
    ) -> _Partial:
        end = start_s + mode.seconds
        rows = list(partial.rows)
        for kind in (0, 1):
            if kind in held:
                rows[kind] = (end,) * len(rows[kind])
            elif cores[kind]:
                taken = cores[kind]
                rows[kind] = tuple(end if index in taken else one for index, one in enumerate(rows[kind]))
        return self._with(partial, (task, mode.index, cores), end, (rows[0], rows[1]), partial.off_chip)

    def _with(
        self,
        partial: _Partial,
        step: tuple[int, int, Cores],
        end: float,
        rows: tuple[_Row, _Row],
        off_chip: _Row,
    ) -> _Partial:
        task = step[0]
        ready = list(partial.ready)
        ready[task] = 0.0
        for later in self._followers[task]:
            ready[later] = max(ready[later], end)
        return _Partial(partial.done | 1 << task, rows, off_chip, tuple(ready), max(partial.end, end), step, partial)

    def _rest(self, done: int) -> tuple[list[int], list[float], list[float]]:
        """Return the tasks that are left, and the energy and the time off the cores that they take in all."""
        if done not in self._rests:
            left = [task for task in range(self._size) if not done >> task & 1]
            self._rests[done] = (
                left,
                [float(energy[left].sum()) for energy in self._energies],
                [sum(seconds[task] for task in left) for seconds in self._off_chip],
            )
        return self._rests[done]

    def _look(self, partial: _Partial) -> tuple[_Key, float]:
        """Return what is compared between partial schedules of the same tasks, and a bound on the makespan."""
        left, energies, off_chip_s = self._rest(partial.done)
        ready, done = partial.ready, partial.done
        # Nothing can start before this, so that it does not matter what is free earlier.
        now = min(ready[task] for task in left if not self._needs[task] & ~done)
        tensor, vector = ([max(now, free) for free in row] for row in partial.rows)
        off_chip = [max(now, free) for free in partial.off_chip]
        rest = [max(now, ready[task]) for task in left]
        ranked = (sorted(tensor), sorted(vector))
        together = min(max(pair) for pair in zip(tensor, vector, strict=False))
        lower = max(partial.end, *(free + seconds for free, seconds in zip(off_chip, off_chip_s, strict=True)))
        engines = self._problem.graph.engines
        for task, start in zip(left, rest, strict=True):
            engine = engines[task]
            if engine in OFF_CHIP:
                start = max(start, off_chip[OFF_CHIP.index(engine)])
            else:
                for row, least in zip(ranked, self._least[task], strict=True):
                    if least:
                        start = max(start, row[min(least, len(row)) - 1])
                if engine is Engine.BOTH:
                    start = max(start, together)
            lower = max(lower, start + self._tails[task])
        means = (_mean(tensor, self._cores[0]), _mean(vector, self._cores[1]))
        for weight, energy_s in zip(self._weights, energies, strict=True):
            lower = max(lower, weight * means[0] + (1.0 - weight) * means[1] + energy_s)
        if self._fused & ~done:
            shared = min(len(tensor), len(vector))
            pairs = sorted(zip(tensor, vector, strict=False))
            free_at = [one for pair in pairs for one in pair] + sorted(tensor[shared:]) + sorted(vector[shared:])
        else:
            free_at = [*ranked[0], *ranked[1]]
        return (*off_chip, *free_at, *rest), lower

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
    """Return when cores are free on average; those beyond the list are free as early as the earliest in it."""
    return (sum(free) + (cores - len(free)) * min(free)) / cores


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
