"""The constraint model of a schedule for CP-SAT: warm started, with redundant work and an order of alike tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hardplace.design.scheduling.bounds import least_starts, least_tails, weights
from hardplace.design.scheduling.cores import Cores, choices
from hardplace.design.scheduling.lists import in_order
from hardplace.design.scheduling.modes import OFF_CHIP, Modes, ancestors, modes_of
from hardplace.design.scheduling.symmetry import alike
from hardplace.design.scheduling.types import Assignment, Schedule, ScheduleProblem
from hardplace.errors import Contradiction
from hardplace.ndtypes import Bools

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, CpSolver, CpSolverStatus

UNITS = 1_000_000  # of time in the best list schedule: durations are rounded down to them
_NAMING_STEPS = 20_000
_CHOICES = 64  # of cores, looked at for one task
_PART = 1000  # of a unit, in which work is counted
_WEIGHTS_USED = [0, 5, 6, 7]  # nothing but vector, nothing but tensor, all cores alike, the best: see bounds.weights
_STUCK_S = 60.0  # wall-clock seconds for each deterministic one, far beyond what it takes


@dataclass(slots=True)
class _Way:
    """One mode of one task: whether it is taken, its interval, and the cores that it takes of each kind."""

    mode: int
    units: int
    taken: Any
    interval: Any
    counts: tuple[int, int]


@dataclass(slots=True)
class _Task:
    start: Any
    end: Any
    ways: list[_Way]


class ConstraintModel:
    """The constraint model of one problem. pinned: with named cores for every task that does not take all of them."""

    def __init__(self, problem: ScheduleProblem, hint: Schedule, *, pinned: bool) -> None:
        from ortools.sat.python import cp_model

        self._problem = problem
        self._hint = hint
        self._every: Modes = modes_of(problem)
        self._cores = (problem.tensor_cores, problem.vector_cores)
        self._scale = UNITS / hint.makespan_s
        self._model: CpModel = cp_model.CpModel()
        heads, tails = least_starts(self._every)[:-1, 0], least_tails(self._every)[:, 0]
        # Rounding shortens each of the tasks on a path by a unit at most.
        slack = len(heads) + 1
        self._heads = [max(0, self._units(head) - slack) for head in heads]
        self._tails = [max(0, self._units(tail) - slack) for tail in tails]
        self._tasks = [self._task(index) for index in range(len(heads))]
        self._span = self._model.new_int_var(
            max(0, self._units(hint.bound_s) - slack), self._units(hint.makespan_s) + 1, "span"
        )
        self._precede()
        self._share()
        if pinned:
            self._pin()
        self._work()
        self._break_symmetry()
        self._model.minimize(self._span)

    def _units(self, seconds: float) -> int:
        """Return seconds as whole units, rounded down: every real schedule maps to one of the model, no later."""
        return int(seconds * self._scale)

    def _task(self, index: int) -> _Task:
        model, hint = self._model, self._hint.assignments[index]
        horizon = self._units(self._hint.makespan_s) + 1
        start = model.new_int_var(self._heads[index], max(horizon, self._heads[index]), f"start{index}")
        end = model.new_int_var(0, horizon, f"end{index}")
        modes = [mode for mode, seconds in enumerate(self._every.seconds[:, index, 0]) if np.isfinite(seconds)]
        mine = _mode_taken(self._every, hint)
        ways = []
        for mode in modes:
            units = self._units(float(self._every.seconds[mode, index, 0]))
            counts = (int(self._every.tensor[mode, index, 0]), int(self._every.vector[mode, index, 0]))
            taken = model.new_constant(1) if len(modes) == 1 else model.new_bool_var(f"mode{index}.{mode}")
            interval = model.new_optional_interval_var(start, units, end, taken, f"way{index}.{mode}")
            ways.append(_Way(mode, units, taken, interval, counts))
            if len(modes) > 1:
                model.add_hint(taken, mode == mine)
        if len(modes) > 1:
            model.add_exactly_one(way.taken for way in ways)
        model.add_hint(start, self._units(hint.start_s))
        return _Task(start, end, ways)

    def _precede(self) -> None:
        for index, task in enumerate(self._tasks):
            self._model.add(self._span >= task.end)
            self._model.add(self._span >= task.start + self._tails[index])
            for other in self._problem.graph.predecessors[index]:
                self._model.add(task.start >= self._tasks[other].end)

    def _share(self) -> None:
        """Share the cores of each kind; collectives and copies take turns on engines of their own."""
        for kind, cores in enumerate(self._cores):
            ways = [way for task in self._tasks for way in task.ways if way.counts[kind]]
            self._model.add_cumulative([way.interval for way in ways], [way.counts[kind] for way in ways], cores)
            self._model.add_no_overlap([way.interval for way in ways if way.counts[kind] == cores])
        engines = self._problem.graph.engines
        for engine in OFF_CHIP:
            alone = [task.ways[0].interval for task, one in zip(self._tasks, engines, strict=True) if one is engine]
            self._model.add_no_overlap(alone)

    def _pin(self) -> None:
        """Name the cores: a task of both kinds has the same indices for both."""
        rows: list[list[list[Any]]] = [[[] for _ in range(cores)] for cores in self._cores]
        for index, task in enumerate(self._tasks):
            kinds = [kind for kind in (0, 1) if task.ways[0].counts[kind]]
            partly = [way for way in task.ways if not self._all(way)]
            if not kinds or not partly:
                continue
            size = self._model.new_int_var(0, UNITS + 1, f"size{index}")
            taken = []
            for core in range(min(self._cores[kind] for kind in kinds)):
                here = self._model.new_bool_var(f"on{index}.{core}")
                taken.append(here)
                interval = self._model.new_optional_interval_var(task.start, size, task.end, here, f"at{index}.{core}")
                for kind in kinds:
                    rows[kind][core].append(interval)
            self._model.add(sum(taken) == sum(way.counts[kinds[0]] * way.taken for way in partly))
        for row in (*rows[0], *rows[1]):
            self._model.add_no_overlap(row)

    def _all(self, way: _Way) -> bool:
        """Return whether a mode takes all cores of the kinds it takes."""
        return all(count in (0, cores) for count, cores in zip(way.counts, self._cores, strict=True))

    def _work(self) -> None:
        """Bound windows between tasks by the work that lies in them, at several weights of the two kinds of cores."""
        graph, count = self._problem.graph, len(self._tasks)
        before = ancestors(graph)
        everything = np.ones(count, dtype=bool)
        windows: list[tuple[Any, Any, Bools]] = [(0, self._span, everything)]
        for task in range(count):
            after = before[:, task]
            windows.append((0, self._tasks[task].start, before[task]))
            windows.append((self._tasks[task].end, self._span, after))
            windows += [
                (self._tasks[task].end, self._tasks[later].start, after & before[later])
                for later in np.flatnonzero(after).tolist()
            ]
        for work in self._works():
            for opens, closes, within in windows:
                if within.sum() > 1:
                    terms = [term for task in np.flatnonzero(within).tolist() for term in work[task]]
                    self._model.add(_PART * (closes - opens) >= sum(terms))

    def _works(self) -> list[list[list[Any]]]:
        """Return for each weight and task the terms of its work, in parts of a unit, rounded down."""
        found = []
        for weight in sorted(set(np.round(weights(self._every)[_WEIGHTS_USED, 0], 6).tolist())):
            shares = (_PART * weight / self._cores[0], _PART * (1.0 - weight) / self._cores[1])
            found.append(
                [
                    [
                        int(way.units * (shares[0] * way.counts[0] + shares[1] * way.counts[1])) * way.taken
                        for way in task.ways
                    ]
                    for task in self._tasks
                ]
            )
        return found

    def _break_symmetry(self) -> None:
        """Start the first of two alike tasks first."""
        for task, other in zip(self._tasks, alike(self._problem), strict=True):
            if other is not None:
                self._model.add(self._tasks[other].start <= task.start)

    def solve(self, gap: float, work: float, left_s: float, *, second: bool = False) -> tuple[Schedule, bool]:
        """Return the schedule found with the bound CP-SAT claims, and whether its cores could be named as it stands.

        second: from another seed and without presolve.
        """
        from ortools.sat.python import cp_model

        solver: CpSolver = cp_model.CpSolver()
        solver.parameters.max_deterministic_time = work
        # CP-SAT 9.15 may go on for ever without counting its own work; what it has proved by then is kept
        solver.parameters.max_time_in_seconds = min(left_s, _STUCK_S * (1.0 + work))
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 2 if second else 1
        solver.parameters.cp_model_presolve = not second
        solver.parameters.relative_gap_limit = gap / 2
        solver.parameters.catch_sigint_signal = False
        status = _interruptible(solver, self._model)
        if status in (cp_model.INFEASIBLE, cp_model.MODEL_INVALID):
            raise Contradiction(f"CP-SAT: {solver.status_name(status)}, though the list schedule is a solution")
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return self._hint, True
        bound_s = max(self._hint.bound_s, solver.best_objective_bound / self._scale)
        starts = [solver.value(task.start) for task in self._tasks]
        ends = [solver.value(task.end) for task in self._tasks]
        ways = [next(way for way in task.ways if solver.value(way.taken)) for task in self._tasks]
        order = sorted(range(len(starts)), key=lambda index: (starts[index], ends[index], index))
        given = self._named(starts, ends, ways, order)
        found = in_order(self._problem, self._every, order, [way.mode for way in ways], given)
        return replace(found, bound_s=bound_s), given is not None

    def _named(self, starts: list[int], ends: list[int], ways: list[_Way], order: list[int]) -> list[Cores] | None:
        """Return cores for tasks with fixed times, or None if there are none: depth first."""
        on_cores = [task for task in order if any(ways[task].counts)]
        paired = any(all(way.counts) and not self._all(way) for way in ways)
        named: list[Cores] = [((), ())] * len(starts)
        free: list[list[float]] = [[0.0] * cores for cores in self._cores]
        steps = _NAMING_STEPS

        def place(depth: int) -> bool:
            nonlocal steps
            steps -= 1
            if depth == len(on_cores) or steps < 0:
                return depth == len(on_cores)
            task, start = on_cores[depth], starts[on_cores[depth]]
            before = [list(row) for row in free]
            # What is free by now is alike.
            now = [[max(start, one) for one in row] for row in free]
            options: Iterable[tuple[Cores, float]] = islice(
                choices(now[0], now[1], ways[task].counts, start, paired=paired), _CHOICES
            )
            if self._all(ways[task]):
                everything = self._everything(ways[task])
                options = [(everything, max(now[kind][core] for kind in (0, 1) for core in everything[kind]))]
            for cores, at in options:
                if at > start:
                    continue
                named[task] = cores
                for kind in (0, 1):
                    for core in cores[kind]:
                        free[kind][core] = ends[task]
                if place(depth + 1):
                    return True
                free[:] = [list(row) for row in before]
            return False

        return named if place(0) else None

    def _everything(self, way: _Way) -> Cores:
        return tuple(range(way.counts[0])), tuple(range(way.counts[1]))


def _mode_taken(every: Modes, item: Assignment) -> int:
    """Return the mode in which a task of a schedule runs."""
    counts = (len(item.tensor_cores), len(item.vector_cores))
    last = len(every.seconds) - 1
    if item.whole or counts == (0, 0):
        return last if np.isfinite(every.seconds[last, item.task, 0]) else 0
    tables = (every.tensor[:, item.task, 0], every.vector[:, item.task, 0])
    fitting = (tables[0] == counts[0]) & (tables[1] == counts[1]) & np.isfinite(every.seconds[:, item.task, 0])
    return int(fitting.argmax())


def _interruptible(solver: CpSolver, model: CpModel) -> CpSolverStatus:
    """Solve on a thread of its own: Python takes an interrupt between steps of the main thread, not within a solve."""
    if threading.current_thread() is not threading.main_thread():
        return solver.solve(model)
    with ThreadPoolExecutor(max_workers=1) as pool:
        result = pool.submit(solver.solve, model)
        try:
            return result.result()
        except BaseException:
            while not result.done():  # a solve that has not begun yet does not hear of it
                solver.stop_search()
                time.sleep(0.01)
            raise
