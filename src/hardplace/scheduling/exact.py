"""Exact schedules of one task graph on one chip: CP-SAT, warm started, with redundant work constraints.

PHAZE's integer program (arXiv 2407.13143): a task on the whole chip excludes all other compute tasks; a fused task on
one core takes the tensor and the vector core of one index. Every answer carries a proven bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hardplace.cost.types import Engine
from hardplace.scheduling.alike import alike
from hardplace.scheduling.bounds import always_whole, lower_bound
from hardplace.scheduling.lists import best_list_schedule, in_order
from hardplace.scheduling.partial import by_partial_schedules
from hardplace.scheduling.phases import by_phases
from hardplace.scheduling.types import Schedule, ScheduleProblem, Status

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, CpSolver

_FIRST_SHARE = 0.1  # of the work limit, for a first try and for each phase
_PARTIAL = 8_000  # partial schedules looked at for each unit of work, in about a second
_FEW_CORES = 8  # for which naming cores in the model of a phase helps more than it costs
_UNITS = 1_000_000  # of time in the best list schedule: durations are rounded down to them
_TENSOR, _VECTOR = (Engine.TENSOR, Engine.BOTH), (Engine.VECTOR, Engine.BOTH)


def schedule(problem: ScheduleProblem, *, gap: float = 0.0005, work: float = 1.0) -> Schedule:
    """Return the best schedule found and a proven bound on any makespan.

    gap: relative gap at which to stop. work: limit of the solver in its deterministic seconds; at the limit the best
    schedule so far is returned, with what is proven. Raises nothing for a hard problem.
    """
    if not problem.graph.engines:
        return Schedule(assignments=(), makespan_s=0.0, bound_s=0.0, status=Status.OPTIMAL)
    # Partial schedules prove nearly serial graphs and many alike tasks, CP-SAT few cores, phases many cores, where the
    # relaxation of CP-SAT is weak: each is tried for a short time, then partial schedules and CP-SAT at length.
    few = problem.tensor_cores + problem.vector_cores <= _FEW_CORES
    short = _FIRST_SHARE * work

    def phased(best: Schedule) -> Schedule:
        found = by_phases(problem, lambda phase: _solved(phase, _listed(phase), gap / 4, short, named=few), gap)
        return best if found is None else _better(best, found)

    best = _listed(problem)
    for improve in (
        lambda best: by_partial_schedules(problem, best, gap, int(_PARTIAL * short)),
        lambda best: _solved(problem, best, gap, short),
        phased,
        lambda best: by_partial_schedules(problem, best, gap, int(_PARTIAL * work)),
        lambda best: _solved(problem, best, gap, work),
    ):
        if best.bound_s < best.makespan_s * (1.0 - gap):
            best = improve(best)
    # Durations are rounded to a millionth of the makespan, so that is what "optimal" can mean.
    proven = best.bound_s >= best.makespan_s * (1.0 - max(gap, len(problem.single_s) / _UNITS))
    return replace(best, status=Status.OPTIMAL if proven else Status.FEASIBLE)


def _better(one: Schedule, other: Schedule) -> Schedule:
    """Return the schedule with the smaller makespan, with the larger of both bounds."""
    best = min(one, other, key=lambda each: each.makespan_s)
    return replace(best, bound_s=min(max(one.bound_s, other.bound_s), best.makespan_s))


def _listed(problem: ScheduleProblem) -> Schedule:
    """Return the best list schedule with the closed-form bound."""
    best = best_list_schedule(problem)
    columns = (np.array([problem.single_s]).T, np.array([problem.whole_s]).T)
    cores = (np.array([problem.tensor_cores]), np.array([problem.vector_cores]))
    bound_s = float(lower_bound(problem.graph, *cores, *columns)[0])
    return replace(best, bound_s=min(bound_s, best.makespan_s))


def _solved(problem: ScheduleProblem, best: Schedule, gap: float, work: float, *, named: bool = False) -> Schedule:
    """Return what CP-SAT makes of a schedule; cores are named in the model if so asked, or if that fails afterwards."""
    if best.bound_s >= best.makespan_s * (1.0 - gap):
        return best
    fixed = always_whole(problem.graph, np.array([problem.single_s]).T, np.array([problem.whole_s]).T)[:, 0]
    for pinned in (True,) if named else (False, True):
        found, done = _Model(problem, best, fixed.tolist(), pinned=pinned).solve(gap, work)
        best = _better(best, found)
        if done:
            break
    return best


@dataclass(slots=True)
class _Task:
    start: Any
    end: Any
    alone: Any  # whether it has the whole chip; a constant where that is known
    single: Any  # its interval on one core
    whole: Any  # its interval on the whole chip


class _Model:
    """The constraint model of one problem. pinned: with a core of each kind for every fused task."""

    def __init__(self, problem: ScheduleProblem, hint: Schedule, fixed: list[bool], *, pinned: bool) -> None:
        from ortools.sat.python import cp_model

        self._problem = problem
        self._hint = hint
        self._scale = _UNITS / hint.makespan_s
        self._model: CpModel = cp_model.CpModel()
        self._tasks = [self._task(index, fixed[index]) for index in range(len(fixed))]
        self._span = self._model.new_int_var(int(hint.bound_s * self._scale), self._units(hint.makespan_s) + 1, "span")
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

    def _task(self, index: int, fixed: bool) -> _Task:
        model, problem, hint = self._model, self._problem, self._hint.assignments[index]
        horizon = self._units(self._hint.makespan_s) + 1
        start = model.new_int_var(0, horizon, f"start{index}")
        end = model.new_int_var(0, horizon, f"end{index}")
        network = problem.graph.engines[index] is Engine.NETWORK
        whole_first = problem.whole_s[index] < problem.single_s[index]
        # On one core in the same time a task excludes nothing: whole is of no use.
        decided = 0 if network or not (whole_first or fixed) else 1 if fixed else None
        alone = model.new_bool_var(f"alone{index}") if decided is None else model.new_constant(decided)
        single = model.new_optional_interval_var(
            start, self._units(problem.single_s[index]), end, ~alone, f"single{index}"
        )
        whole = model.new_optional_interval_var(start, self._units(problem.whole_s[index]), end, alone, f"whole{index}")
        model.add_hint(start, self._units(hint.start_s))
        if decided is None:
            model.add_hint(alone, hint.whole)
        return _Task(start, end, alone, single, whole)

    def _precede(self) -> None:
        for index, task in enumerate(self._tasks):
            self._model.add(self._span >= task.end)
            for other in self._problem.graph.predecessors[index]:
                self._model.add(task.start >= self._tasks[other].end)

    def _share(self) -> None:
        """Share cores: a whole task takes all of both kinds; collectives share the network alone."""
        engines = self._problem.graph.engines
        compute = [task for task, engine in zip(self._tasks, engines, strict=True) if engine is not Engine.NETWORK]
        for kind, cores in ((_TENSOR, self._problem.tensor_cores), (_VECTOR, self._problem.vector_cores)):
            mine = [task.single for task, engine in zip(self._tasks, engines, strict=True) if engine in kind]
            everyone = [task.whole for task in compute]
            self._model.add_cumulative(mine + everyone, [1] * len(mine) + [cores] * len(everyone), cores)
        self._model.add_no_overlap([task.whole for task in compute])
        self._model.add_no_overlap(
            [task.single for task, engine in zip(self._tasks, engines, strict=True) if engine is Engine.NETWORK]
        )

    def _pin(self) -> None:
        """Name the cores: a fused task has one index for both."""
        engines, problem = self._problem.graph.engines, self._problem
        rows: tuple[list[list[Any]], list[list[Any]]] = (
            [[] for _ in range(problem.tensor_cores)],
            [[] for _ in range(problem.vector_cores)],
        )
        for index, (task, engine) in enumerate(zip(self._tasks, engines, strict=True)):
            if engine is Engine.NETWORK:
                continue
            kinds = [kind for kind, group in ((0, _TENSOR), (1, _VECTOR)) if engine in group]
            taken = []
            for core in range(min(len(rows[kind]) for kind in kinds)):
                here = self._model.new_bool_var(f"on{index}.{core}")
                taken.append(here)
                interval = self._model.new_optional_interval_var(
                    task.start, self._units(problem.single_s[index]), task.end, here, f"at{index}.{core}"
                )
                for kind in kinds:
                    rows[kind][core].append(interval)
            self._model.add(sum(taken) == 1).only_enforce_if(~task.alone)
            self._model.add(sum(taken) == 0).only_enforce_if(task.alone)
        for row in (*rows[0], *rows[1]):
            self._model.add_no_overlap(row)

    def _work(self) -> None:
        """Bound the span by work: whole tasks one after the other, single ones spread over the cores of a kind."""
        problem = self._problem
        for kind, cores in ((_TENSOR, problem.tensor_cores), (_VECTOR, problem.vector_cores)):
            terms: list[Any] = []
            for index, (task, engine) in enumerate(zip(self._tasks, problem.graph.engines, strict=True)):
                if engine is Engine.NETWORK:
                    continue
                alone = cores * self._units(problem.whole_s[index])
                spread = self._units(problem.single_s[index]) if engine in kind else 0
                terms.append(spread + (alone - spread) * task.alone)
            self._model.add(cores * self._span >= sum(terms))

    def _break_symmetry(self) -> None:
        """Start the first of two alike tasks first."""
        for task, other in zip(self._tasks, alike(self._problem), strict=True):
            if other is not None:
                self._model.add(self._tasks[other].start <= task.start)

    def solve(self, gap: float, work: float) -> tuple[Schedule, bool]:
        """Return the schedule found with the proven bound, and whether its cores could be named as it stands."""
        from ortools.sat.python import cp_model

        solver: CpSolver = cp_model.CpSolver()
        solver.parameters.max_deterministic_time = work
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        solver.parameters.relative_gap_limit = gap / 2
        solver.parameters.catch_sigint_signal = False
        status = solver.solve(self._model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return self._hint, True
        bound_s = max(self._hint.bound_s, solver.best_objective_bound / self._scale)
        starts = [solver.value(task.start) for task in self._tasks]
        ends = [solver.value(task.end) for task in self._tasks]
        whole = [bool(solver.value(task.alone)) for task in self._tasks]
        order = sorted(range(len(starts)), key=lambda index: (starts[index], ends[index], index))
        given = _name_cores(self._problem, starts, ends, whole, order)
        found = in_order(self._problem, order, whole, given)
        return replace(found, bound_s=bound_s), given is not None


def _name_cores(
    problem: ScheduleProblem, starts: list[int], ends: list[int], whole: list[bool], order: list[int]
) -> list[tuple[int, int]] | None:
    """Return (tensor, vector) cores for single tasks with fixed times, or None if there are none: depth first.

    A fused task takes the core of one index of both kinds. Cores that are free at a task's start and were used alike
    are interchangeable, so one of them is tried.
    """
    engines = problem.graph.engines
    single = [index for index in order if not whole[index] and engines[index] is not Engine.NETWORK]
    cores = [(-1, -1)] * len(starts)
    free: tuple[list[int], list[int]] = ([0] * problem.tensor_cores, [0] * problem.vector_cores)
    steps = 100_000

    def place(depth: int) -> bool:
        nonlocal steps
        steps -= 1
        if depth == len(single) or steps < 0:
            return depth == len(single)
        task = single[depth]
        kinds = [kind for kind, group in ((0, _TENSOR), (1, _VECTOR)) if engines[task] in group]
        tried = set()
        for core in range(min(len(free[kind]) for kind in kinds)):
            pair = tuple(max(0, row[core] - starts[task]) if core < len(row) else -1 for row in free)
            if pair in tried or any(free[kind][core] > starts[task] for kind in kinds):
                continue
            tried.add(pair)
            before = [free[kind][core] for kind in kinds]
            for kind in kinds:
                free[kind][core] = ends[task]
            cores[task] = (core if 0 in kinds else -1, core if 1 in kinds else -1)
            if place(depth + 1):
                return True
            for kind, value in zip(kinds, before, strict=True):
                free[kind][core] = value
        return False

    return cores if place(0) else None
