"""Partial schedules of one problem, and those with one task more (docs/model-scheduling.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.cores import Cores, choices
from hardplace.design.scheduling.lists import in_order
from hardplace.design.scheduling.modes import OFF_CHIP, modes_of
from hardplace.design.scheduling.symmetry import alike
from hardplace.design.scheduling.types import Schedule, ScheduleProblem

_CHOICES = 65536  # of cores, looked at for one mode of one task, over the square of their number
_FEWEST_CHOICES = 4
_NOWHERE: Cores = ((), ())
Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to run a task on cores."""

    index: int
    seconds: float
    counts: tuple[int, int]  # of tensor and of vector cores
    all_of: tuple[bool, bool]  # whether that is all of a kind
    alone: bool  # whether it is all of each kind that it takes


class ScheduleMove(NamedTuple):
    """A task that may be appended: its mode (-1 off the cores), when, and its cores, or whether all of a kind."""

    task: int
    mode: int
    start: float
    seconds: float
    all_of: tuple[bool, bool]
    cores: Cores


@dataclass(frozen=True, slots=True)
class PartialSchedule:
    """What matters of a partial schedule for what follows (seconds): when cores and the other engines are free."""

    done: int  # bit mask of tasks
    rows: tuple[Row, Row]  # when each tensor core, each vector core is free
    off_chip: Row
    ready: Row  # when the predecessors so far of each task have ended
    end: float
    last: float  # the last start: no later task starts before it
    step: tuple[int, int, Cores]  # the last task, its mode, its cores
    before: PartialSchedule | None


class Expansion:
    """The ways to append a task to a partial schedule; cut: whether some choices of cores were not looked at."""

    def __init__(self, problem: ScheduleProblem) -> None:
        graph = problem.graph
        self.problem, self.size = problem, len(graph.engines)
        self.every = modes_of(problem)
        self.cores = (problem.tensor_cores, problem.vector_cores)
        self.modes = [self._modes_of(task) for task in range(self.size)]
        self.cut = False
        self.needs = [sum(1 << other for other in before) for before in graph.predecessors]
        for task, other in enumerate(alike(problem)):
            self.needs[task] |= 0 if other is None else 1 << other
        self._followers = [
            [later for later in range(self.size) if task in graph.predecessors[later]] for task in range(self.size)
        ]
        self.fused = sum(
            1 << task
            for task in range(self.size)
            if graph.engines[task] is Engine.BOTH and any(mode.all_of != (True, True) for mode in self.modes[task])
        )

    def _modes_of(self, task: int) -> list[Mode]:
        """Return a task's modes on cores, none for a collective or copy."""
        if self.problem.graph.engines[task] in OFF_CHIP:
            return []
        found = []
        for index, (seconds, tensor, vector) in enumerate(
            zip(
                self.every.seconds[:, task, 0].tolist(),
                self.every.tensor[:, task, 0].tolist(),
                self.every.vector[:, task, 0].tolist(),
                strict=True,
            )
        ):
            if seconds < np.inf:
                all_of = (tensor == self.cores[0], vector == self.cores[1])
                alone = all(whole or not count for whole, count in zip(all_of, (tensor, vector), strict=True))
                found.append(Mode(index, seconds, (tensor, vector), all_of, alone))
        return found

    def first(self) -> PartialSchedule:
        """Return the partial schedule of no task."""
        rows = []
        for kind, cores in enumerate(self.cores):
            # More cores than the tasks can take that do not take all of them are of no use.
            most = sum(
                max((mode.counts[kind] for mode in each if not mode.all_of[kind]), default=0) for each in self.modes
            )
            rows.append((0.0,) * min(cores, max(1, most)))
        nothing = (0.0,) * len(OFF_CHIP)
        return PartialSchedule(0, (rows[0], rows[1]), nothing, (0.0,) * self.size, 0.0, 0.0, (-1, -1, _NOWHERE), None)

    def children(self, partial: PartialSchedule) -> Iterator[PartialSchedule]:
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

    def _moves(self, partial: PartialSchedule) -> Iterator[ScheduleMove]:
        fused = bool(self.fused & ~partial.done)
        for task, engine in enumerate(self.problem.graph.engines):
            if partial.done >> task & 1 or self.needs[task] & ~partial.done:
                continue
            ready = max(partial.last, partial.ready[task])
            if engine in OFF_CHIP:
                start = max(ready, partial.off_chip[OFF_CHIP.index(engine)])
                yield ScheduleMove(task, -1, start, self.problem.whole_s[task], (False, False), _NOWHERE)
                continue
            for mode in self.modes[task]:
                if mode.alone:
                    start = max(max(row) for row, count in zip(partial.rows, mode.counts, strict=True) if count)
                    yield ScheduleMove(task, mode.index, max(ready, start), mode.seconds, mode.all_of, _NOWHERE)
                    continue
                found = choices(*partial.rows, mode.counts, ready, paired=fused)
                for cores, free in islice(found, max(_FEWEST_CHOICES, _CHOICES // len(partial.rows[0]) ** 2)):
                    yield ScheduleMove(task, mode.index, max(ready, free), mode.seconds, (False, False), cores)
                # What is not looked at keeps its bound: that of the partial schedule.
                self.cut |= next(found, None) is not None

    def _moved(self, partial: PartialSchedule, move: ScheduleMove) -> PartialSchedule:
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
            which = OFF_CHIP.index(self.problem.graph.engines[task])
            off_chip = tuple(end if index == which else one for index, one in enumerate(off_chip))
        ready = list(partial.ready)
        ready[task] = 0.0
        for later in self._followers[task]:
            ready[later] = max(ready[later], end)
        step = (task, move.mode, move.cores)
        longest = max(partial.end, end)
        return PartialSchedule(
            partial.done | 1 << task, (rows[0], rows[1]), off_chip, tuple(ready), longest, move.start, step, partial
        )

    def written(self, last: PartialSchedule) -> Schedule:
        """Return the schedule that a partial schedule of all tasks stands for."""
        steps = []
        partial: PartialSchedule | None = last
        while partial is not None and partial.before is not None:
            steps.append(partial.step)
            partial = partial.before
        chosen, cores = [-1] * self.size, [_NOWHERE] * self.size
        for task, mode, given in steps:
            chosen[task] = mode
            counts = next((one.counts for one in self.modes[task] if one.index == mode), (0, 0))
            cores[task] = given if given != _NOWHERE else (tuple(range(counts[0])), tuple(range(counts[1])))
        return in_order(self.problem, self.every, [task for task, _, _ in reversed(steps)], chosen, cores)
