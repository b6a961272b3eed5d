"""CP-SAT: the one module of this package that imports OR-Tools. Models are built on what `new_model` returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedModel:
    """What CP-SAT reached.

    Attributes:
        value: Reads a variable of the best solution; None: there is none.
        objective: Its objective.
        bound: Objective that nothing is below.
        proven: Whether it is optimal.
        impossible: Whether it is proven that there is no solution.
    """

    value: Callable[[Any], int] | None
    objective: float
    bound: float
    proven: bool
    impossible: bool


def new_model() -> Any:
    """Return an empty CP-SAT model."""
    from ortools.sat.python import cp_model

    return cp_model.CpModel()


def solve(
    model: Any,
    limit_s: float,
    *,
    hint: Mapping[Any, int] | None = None,
    workers: int = 8,
    gap: float = 0.0,
    deterministic: float | None = None,
) -> SolvedModel:
    """Minimise a model.

    Args:
        model: Of `new_model`.
        limit_s: Wall-clock seconds of the search.
        hint: Values to start from.
        workers: Threads of the solver.
        gap: Relative gap at which it may stop.
        deterministic: Limit of work in the solver's own unit besides, for answers that repeat; None: none.
    """
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.01, limit_s)
    solver.parameters.num_workers = workers
    solver.parameters.relative_gap_limit = gap
    solver.parameters.random_seed = 1
    if deterministic is not None:
        solver.parameters.max_deterministic_time = deterministic
    if hint:
        for variable, value in hint.items():
            model.add_hint(variable, value)
    status = solver.solve(model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return SolvedModel(
        value=solver.value if found else None,
        objective=solver.objective_value if found else float("inf"),
        bound=solver.best_objective_bound,
        proven=status == cp_model.OPTIMAL,
        impossible=status == cp_model.INFEASIBLE,
    )


def whole_bytes(sizes: Sequence[float], room_bytes: float, unit_bytes: float = 1.0) -> tuple[list[int], int]:
    """Return sizes and a room for them as whole numbers of one unit, rounded such that all that fits still does.

    The unit is larger where the room has more than 2^40 of it, and a size beyond the room is the least that does not
    fit, so that sums keep to the solver's 63 bits.
    """
    unit = max(unit_bytes, room_bytes / 2.0**40)
    room = math.floor(room_bytes / unit * (1 + 1e-12))
    return [math.floor(size / unit) if size / unit < room + 1 else room + 1 for size in sizes], room


def divided_work(
    classes: Sequence[tuple[Sequence[float], float, int]],
    memory_bytes: Sequence[float],
    idle_s: Sequence[float],
    *,
    limit_s: float = 10.0,
) -> float:
    """Return the least T such that fractions of operators fill no device beyond T seconds or its memory, by linear
    programme.

    Args:
        classes: Of equal operators: seconds on each device (inf: not supported), bytes, number of them.
        memory_bytes: Memory of each device.
        idle_s: Seconds of each device beside them.
        limit_s: Seconds of the solver.

    Returns:
        T in seconds; 0 where it is not solved.
    """
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.SetTimeLimit(int(limit_s * 1000))
    most = solver.NumVar(0, solver.infinity(), "")
    scale = max((number * row[0] for row, _, number in classes if row[0] < math.inf), default=1.0) or 1.0
    times = [solver.Constraint(-solver.infinity(), -one / scale) for one in idle_s]
    rooms = [solver.Constraint(-solver.infinity(), 1.0) if 0 < one < math.inf else None for one in memory_bytes]
    for time in times:
        time.SetCoefficient(most, -1.0)
    for row, size, number in classes:
        whole = solver.Constraint(1.0, 1.0)
        for device, takes in enumerate(row):
            if takes < math.inf and not (size > 0 and memory_bytes[device] == 0):
                share = solver.NumVar(0, 1, "")
                whole.SetCoefficient(share, 1.0)
                times[device].SetCoefficient(share, number * takes / scale)
                room = rooms[device]
                if room is not None:
                    room.SetCoefficient(share, number * size / memory_bytes[device])
    solver.Minimize(most)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return 0.0
    return float(solver.Objective().Value()) * scale * (1 - 1e-9)
