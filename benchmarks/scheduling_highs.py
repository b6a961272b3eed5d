"""PHAZE's integer program in HiGHS beside our schedules, on small operator graphs; one JSON line a case.

python benchmarks/scheduling_highs.py [--seconds 60] [--most 12] FILE...   (needs scipy, which bundles HiGHS)

Variables: makespan T, start t_i, whole y_i, order x_ij (1: i ends before j starts), and core a_ic. A task on all cores
overlaps no other; two tasks on one core of a kind do not overlap; a fused task takes the cores of one index.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from reference_format import BadCase, fail, load, schedule_problem
from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped]
from scipy.sparse import coo_array  # type: ignore[import-untyped]

from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.modes import TENSOR, VECTOR, ancestors
from hardplace.design.scheduling.types import ScheduleProblem

GAP = 1e-4


class Program:
    """Rows `low <= coefficients . variables` of a minimisation with bounded variables."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.upper: list[float] = []
        self.integer: list[int] = []
        self.entries: list[tuple[int, int, float]] = []
        self.low: list[float] = []

    def variable(self, upper: float, *, integer: bool = True, cost: float = 0.0) -> int:
        self.costs.append(cost)
        self.upper.append(upper)
        self.integer.append(int(integer))
        return len(self.costs) - 1

    def row(self, low: float, *terms: tuple[int, float]) -> None:
        self.entries += [(len(self.low), variable, factor) for variable, factor in terms]
        self.low.append(low)

    def solve(self, seconds: float) -> tuple[float | None, float | None, str]:
        """Return makespan, bound, and how it ended."""
        rows, columns, values = zip(*self.entries, strict=True)
        matrix = coo_array((values, (rows, columns)), shape=(len(self.low), len(self.costs))).tocsr()
        found = milp(
            np.array(self.costs),
            integrality=np.array(self.integer),
            bounds=Bounds(0, np.array(self.upper)),
            constraints=LinearConstraint(matrix, np.array(self.low), np.inf),
            options={"time_limit": seconds, "mip_rel_gap": GAP},
        )
        return found.fun, found.mip_dual_bound, "optimal" if found.status == 0 else "time limit"


def program(problem: ScheduleProblem) -> Program:
    """Return PHAZE's integer program with the assignment of cores."""
    engines, count = problem.graph.engines, len(problem.graph.engines)
    before = ancestors(problem.graph)
    horizon = sum(min(pair) for pair in zip(problem.single_s, problem.whole_s, strict=True))
    model = Program()
    span = model.variable(horizon, integer=False, cost=1.0)
    starts = [model.variable(horizon, integer=False) for _ in range(count)]
    whole = [model.variable(1.0) for _ in range(count)]
    cores = []
    for task, engine in enumerate(engines):
        sizes = [
            size for kind, size in ((TENSOR, problem.tensor_cores), (VECTOR, problem.vector_cores)) if engine in kind
        ]
        cores.append([model.variable(1.0) for _ in range(min(sizes))])
        for sign in (1.0, -1.0):  # one core, or the whole chip
            model.row(sign, *((one, sign) for one in cores[task]), (whole[task], sign))
        saved = problem.single_s[task] - problem.whole_s[task]
        model.row(problem.single_s[task], (span, 1.0), (starts[task], -1.0), (whole[task], saved))
    for task in range(count):
        for other in np.flatnonzero(before[task]).tolist():
            saved = problem.single_s[other] - problem.whole_s[other]
            model.row(problem.single_s[other], (starts[task], 1.0), (starts[other], -1.0), (whole[other], saved))
        for other in range(task):
            if not before[task, other]:
                _pair(model, problem, (other, task), starts, whole, cores, horizon)
    return model


def _pair(
    model: Program,
    problem: ScheduleProblem,
    pair: tuple[int, int],
    starts: list[int],
    whole: list[int],
    cores: list[list[int]],
    horizon: float,
) -> None:
    """Add the order of two tasks that precedence leaves open."""
    orders = {}
    for first, second in (pair, pair[::-1]):
        orders[first] = model.variable(1.0)
        saved = problem.single_s[first] - problem.whole_s[first]
        longest = horizon + problem.single_s[first]
        model.row(
            problem.single_s[first] - longest,
            (starts[second], 1.0), (starts[first], -1.0), (whole[first], saved), (orders[first], -longest),
        )  # fmt: skip
    both = tuple((one, 1.0) for one in orders.values())
    model.row(0.0, *both, (whole[pair[0]], -1.0))
    model.row(0.0, *both, (whole[pair[1]], -1.0))
    model.row(-1.0, *((one, -1.0) for one in orders.values()))
    kinds = [problem.graph.engines[task] for task in pair]
    if any(all(engine in group for engine in kinds) for group in (TENSOR, VECTOR)):
        for one, other in zip(cores[pair[0]], cores[pair[1]], strict=False):
            model.row(-1.0, *both, (one, -1.0), (other, -1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--most", type=int, default=12)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    for path in options.files:
        for case in load(path):
            try:
                problem = schedule_problem(case)
            except BadCase as bad:
                fail(path, bad)
            if len(problem.single_s) > options.most:
                continue
            started = time.perf_counter()
            ours = schedule(problem, gap=GAP, work=4.0)
            ours_s = time.perf_counter() - started
            started = time.perf_counter()
            makespan, bound, status = program(problem).solve(options.seconds)
            line = {
                "case": f"{case['graph']}_{problem.tensor_cores}tc_{problem.vector_cores}vc",
                "operators": len(problem.single_s),
                "ours": {"makespan": ours.makespan_s, "bound": ours.bound_s, "status": ours.status.value},
                "ours_seconds": round(ours_s, 4),
                "highs": {"makespan": makespan, "bound": bound, "status": status},
                "highs_seconds": round(time.perf_counter() - started, 4),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
