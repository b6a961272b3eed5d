"""Random small questions of `search` against every chip with every plan family evaluated one by one.

    python benchmarks/certificates_search.py 300 --seed 0
    python benchmarks/certificates_search.py 100 --fronts
    python benchmarks/certificates_search.py 100 --ratios

One chip or a fleet, one objective or a frontier, limits, memories that not every model fits. The oracle
(`tests/search_questions.py`) prunes nothing, but prices a chip with the package's own model of cost: it is the search
and its certificate that are tried. `--fronts`: only fronts of the throughput and costs of chips, with list schedules;
`--ratios`: the throughput over the TDP of such chips.
Prints a line for each violation and how many there were; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.answer import explored
from hardplace.design.chip_set import best_chip_set
from hardplace.design.goals import Combine, Goal, Objective
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.errors import BadInput
from hardplace.hardware.settings import HBM3, as_reached, with_devices
from hardplace.hardware.space import MemoryChoice
from hardplace.hardware.types import PowerLimit
from hardplace.units import GIB
from search_questions import OPEN, exhaustive, question, small_space  # type: ignore[import-not-found]

MODELS = ("opt-350m", "bert-base", "bert-large", "gpt2-xl", "opt-6.7b")
NORMS = {"opt-350m": 20.0, "bert-base": 400.0, "bert-large": 100.0, "gpt2-xl": 4.0, "opt-6.7b": 1.0}
GAP = 0.02


def asked(random: np.random.Generator) -> Question:
    """Return a random question about a handful of chips."""

    def some(*values: float, most: int = 2) -> tuple[float, ...]:
        return tuple(sorted(random.choice(values, size=random.integers(1, most + 1), replace=False).tolist()))

    count = int(random.choice([1, 1, 2, 3]))
    models = tuple(random.choice(MODELS[:3] if random.random() < 0.3 else MODELS, size=count, replace=False).tolist())
    memories = tuple(
        MemoryChoice(kind="HBM3", stacks=int(n), bytes=16 * n * GIB, bandwidth_bytes_per_s=670e9 * n)
        for n in some(1, 2, 5)
    )
    axes = {
        "tensor_cores": tuple(int(n) for n in some(2, 8, 24)), "array_rows": (int(random.choice([64, 96, 128])),),
        "array_columns": tuple(int(n) for n in some(64, 160)), "vector_lanes": (64,), "links_bytes_per_s": (),
        "clock_hz": some(0.9e9, 1.4e9, most=1), "memories": memories,
    }  # fmt: skip
    objectives = [Objective(one) for one in random.choice([one.value for one in Objective][:5], size=2, replace=False)]
    pareto = count == 1 and random.random() < 0.3
    goal = Goal(
        objectives=tuple(objectives if pareto else objectives[:1]),
        combine=Combine(random.choice(["geometric", "worst"])),
        weights=(1.0,) * count,
        norms=tuple(NORMS[one] for one in models) if count > 1 else (1.0,),
        fleet=int(random.integers(1, 3)) if count > 1 else 1,
    )
    setting = replace(with_devices(HBM3, int(random.choice([2, 4, 8]))), batch_samples=16)
    budget = {"tdp_w": float(random.choice([150.0, 400.0]))} if random.random() < 0.3 else {}
    choices = {"micro_batches": (1,), "recompute": (False, True), "tensor_parallel": (1, 2)}
    made: Question = question(
        *models, setting=setting, space=small_space(**{**OPEN, **axes}), goal=goal, budget=budget, **choices
    )
    if random.random() < 0.4:  # a limit between what some chips take
        plain = replace(goal, objectives=(Objective.THROUGHPUT,), fleet=1, norms=(1.0,) * count, combine=Combine.WORST)
        speeds = [max(point) for point, _ in exhaustive(replace(made, goal=plain), GAP)]
        if speeds and min(speeds) > 0.0:
            step_s = 16 / float(random.uniform(min(speeds), 1.05 * max(speeds)))
            made = replace(made, budget=replace(made.budget, step_s=step_s))
    return made


def front_asked(random: np.random.Generator, ratio: bool = False) -> Question:
    """Return a random question about the front of throughput and costs of up to a hundred chips, or about their
    throughput over their TDP.
    """

    def some(*values: float, most: int) -> tuple[float, ...]:
        return tuple(sorted(random.choice(values, size=random.integers(1, most + 1), replace=False).tolist()))

    stacks = int(random.choice([2, 4]))
    axes = {
        "tensor_cores": tuple(int(n) for n in some(1, 2, 5, 8, 16, 24, most=4)),
        "array_rows": tuple(int(n) for n in some(64, 96, 128, most=2)),
        "array_columns": tuple(int(n) for n in some(64, 160, most=2)),
        "vector_cores": tuple(int(n) for n in some(4, 16, 64, most=2)),
        "vector_lanes": tuple(int(n) for n in some(32, 64, 512, most=2)),
        "clock_hz": some(0.9e9, 1.2e9, 1.8e9, most=2), "links_bytes_per_s": some(150e9, 450e9, most=2),
        "memories": (MemoryChoice(kind="HBM3", stacks=stacks, bytes=16 * stacks * GIB,
                                  bandwidth_bytes_per_s=670e9 * stacks),),
    }  # fmt: skip
    space = small_space(**{**OPEN, **axes})
    beside = [Objective.TDP]
    if random.random() < 0.5:
        drawn = random.permutation([Objective.TDP.value, Objective.PRICE.value, Objective.AREA.value])
        beside = [Objective(one) for one in drawn[: int(random.choice([1, 1, 1, 2]))]]
    power = PowerLimit(node_nm=space.node_nm, dtype="bf16", memory_kind="HBM3", clock_hz=HBM3.clock_hz)
    real = as_reached(HBM3, power) if random.random() < 0.7 else HBM3
    made: Question = question(
        str(random.choice(MODELS[:4])),
        setting=replace(with_devices(real, int(random.choice([2, 4, 8]))), batch_samples=16),
        space=space,
        goal=Goal(objectives=(Objective.PER_WATT,) if ratio else (Objective.THROUGHPUT, *beside)),
        budget={"tdp_w": float(random.choice([150.0, 400.0]))} if random.random() < 0.5 else {},
        micro_batches=(1,),
        recompute=(False, True),
        tensor_parallel=(1, 2),
    )
    return made


def violation(made: Question, work: float | None = None) -> str | None:
    """Return what is wrong with the search's answer to a question; None where nothing is.

    Args:
        made: The question.
        work: Effort of the oracle's schedules; None: to the end, 0: list schedules.
    """
    every = exhaustive(made, GAP) if work is None else exhaustive(made, GAP, work=work)
    points = [point for point, _ in every]
    goal = made.goal
    try:
        found = explored(DesignSearch(question=made, ends=StoppingRule(gap=GAP)))
    except BadInput as problem:
        return None if "not ruled out" in str(problem) or "below" in str(problem) else f"BadInput: {problem}"
    if goal.shared:
        best = max((best_chip_set(goal, np.array(pair))[0] for pair in product(points, points)), default=0.0)
    else:
        best = max((point[0] for point in points), default=0.0)
    if isinstance(found, Infeasible):
        return f"infeasible, but {best:g} is reached" if best > 0.0 else None
    if goal.shared:
        score = best_chip_set(goal, np.array(found.scores))[0]
    elif len(goal.objectives) > 1:
        for point in points:
            if min(point) > 0.0:
                over = min(max(a / b for a, b in zip(point, one, strict=True)) for one in found.scores) - 1.0
                if over > found.excess + 1e-9:
                    return f"{point} is {over:.3%} beyond the frontier, gap {found.excess:.3%}"
        return None
    else:
        score = found.scores[0][0]
    if best > score * (1.0 + found.excess) * (1.0 + 1e-9):
        return f"{best:g} is reached, bound {score * (1.0 + found.excess):g}"
    return None


def main() -> None:
    """Try so many questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fronts", action="store_true", help="only fronts of the throughput and costs of chips")
    parser.add_argument("--ratios", action="store_true", help="only the throughput over the TDP of such chips")
    options = parser.parse_args()
    wrong, start_s = 0, time.process_time()
    for number in range(options.count):
        random = np.random.default_rng((options.seed, number))
        if options.fronts or options.ratios:
            said = violation(front_asked(random, options.ratios), work=0.0)
        else:
            said = violation(asked(random))
        if said is not None:
            wrong += 1
            print(f"{number}: {said}")
    spent_s = time.process_time() - start_s
    print(f"{options.count} questions: {wrong} wrong, {spent_s:.0f} s of processor time")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
