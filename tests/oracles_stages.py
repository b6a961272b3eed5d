"""Brute force for chips of their own per stage: every assignment of stages to chips, from docs/model-search.md.

Loads, ends and memory of a stage are `oracles_placement`'s, seconds of layers `oracles_search`'s, straight from the
documents; the package's search is asked only for its answer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Objective
from hardplace.design.partition.types import PartitionProblem
from hardplace.design.search.explore import DesignSearch
from hardplace.design.stage_chips.answer import stage_chips
from hardplace.design.stage_chips.bound import StageBounds
from hardplace.design.stage_chips.least_layers import LeastLayers
from oracles_chip import Chip
from oracles_placement import end_s, load_s, memory_bytes, partitions
from oracles_search import Asked, Costs, chips, problem, random_asked


def plans(problems: Sequence[PartitionProblem], kinds: int) -> Iterator[tuple[float, int, int]]:
    """Yield seconds of a batch, stages and kinds of every plan on at most so many kinds.

    Args:
        problems: The same problem on each kind.
        kinds: Kinds at most.
    """
    variants = [one.variants[0] for one in problems]
    groups = sorted({tuple(sorted(set(one))) for one in combinations_with_replacement(range(len(problems)), kinds)})
    for stages in partitions(variants[0]):
        count = len(stages)
        for which, first in enumerate(variants[0].replications):
            degree = first.data_parallel
            if degree * count * variants[0].tensor_parallel > problems[0].devices:
                continue
            if problems[0].divisible and problems[0].micro_batches % degree:
                continue
            rounds = math.ceil(problems[0].micro_batches / degree) + count - 1
            rows = []
            for one, variant in zip(problems, variants, strict=True):
                mine, row = variant.replications[which], []
                for at, stage in enumerate(stages):
                    fits = memory_bytes(one, variant, mine, stage, count - at) <= one.memory_bytes
                    load = load_s(one, variant, mine, stage, count - at) if fits else math.inf
                    row.append((load, end_s(variant, mine, stage, count)))
                rows.append(row)
            for group in groups:
                for chosen in product(group, repeat=count):
                    if len(set(chosen)) < len(group):
                        continue
                    load = max(rows[kind][at][0] for at, kind in enumerate(chosen))
                    end = max(rows[kind][at][1] for at, kind in enumerate(chosen))
                    yield load * rounds + end, count, len(group)


def within(asked: Asked) -> list[tuple[Chip, Costs]]:
    """Return the chips within the limits."""
    budget = asked.question.budget
    return [
        (chip, costs)
        for chip, costs in chips(asked.question.space, asked.question.setting)
        if costs["area"] <= budget.area_mm2
        and (budget.tdp_w is None or costs["tdp"] <= budget.tdp_w)
        and (budget.usd is None or costs["usd"] <= budget.usd)
        and (budget.memory_bytes is None or chip.memory_bytes <= budget.memory_bytes)
    ]


def best_scores(asked: Asked, kinds: Sequence[int], least_stages: int = 1) -> dict[int, float]:
    """Return the best score of so many stages or more, for each number of kinds of chip at most; 0: no plan fits."""
    question, (model,) = asked.question, asked.models
    setting, choices = question.setting, question.choices
    there = within(asked)
    found = dict.fromkeys(kinds, 0.0)
    for size, again, tensor in product(choices.micro_batches, choices.recompute, choices.tensor_parallel):
        if setting.batch_samples % size or not there:
            continue
        problems = [problem(model, chip, setting, size, tensor, recompute=again) for chip, _ in there]
        for most in kinds:
            best = min((cost for cost, count, _ in plans(problems, most) if count >= least_stages), default=math.inf)
            found[most] = max(found[most], setting.batch_samples / best)
    return found


def random_stages(seed: str) -> Asked:
    """Return a random question of one model about a few chips, by throughput.

    Many or few arrays, many or few lanes, more or less memory. A limit on area leaves no chip with the most of both, so
    that one chip need not be the best for every layer, or in some draws all but the largest.
    """
    number = 0
    while True:
        rng = random.Random(f"{seed}:{number}")
        number += 1
        asked = random_asked(rng)
        question = asked.question
        if len(asked.models) > 1 or question.goal.devices < 3 or not 3 <= len(asked.models[0].order) <= 5:
            continue
        axes = {"tensor_cores": (1, rng.choice((4, 24))), "vector_cores": (1, rng.choice((4, 16))), "clock_hz": ()}
        small = rng.choice((0.35, 0.5, 1.0))  # of what one stage needs
        memories = tuple(replace(one, bytes=float(round(small * one.bytes))) for one in question.space.memories)
        for axis in ("array_columns", "vector_lanes", "links_bytes_per_s"):
            axes[axis] = getattr(question.space, axis)[:1]
        space = replace(question.space, **axes, memories=memories)
        most = space.tensor_cores[-1], space.vector_cores[-1]
        every = [(chip, costs["area"]) for chip, costs in chips(space, question.setting)]
        both = min(area for chip, area in every if (chip.arrays, chip.vector_cores) == most)
        area_mm2 = both * 0.999 if rng.random() < 0.8 else sorted(area for _, area in every)[-2] * 1.001
        budget = replace(question.budget, area_mm2=area_mm2, tdp_w=None, usd=None, step_s=None)
        goal = replace(question.goal, objectives=(Objective.THROUGHPUT,))
        asked = replace(asked, question=replace(question, budget=budget, goal=goal, space=space))
        if 2 <= len(within(asked)) <= 6:
            return asked


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What is wrong with an answer ("": nothing), and what it reached.

    Attributes:
        wrong: What is wrong.
        gain: What the best pair gains over the best single chip; nan where nothing fits.
        missed: By what share the answer is below the best pair.
        gap: Its gap.
    """

    wrong: str
    gain: float
    missed: float
    gap: float


def bounded(asked: Asked) -> tuple[float, float]:
    """Return the bound on plans of two stages or more, refined to its end, and the best of them on three kinds."""
    question = asked.question
    search = DesignSearch(question=question, ends=StoppingRule(gap=0.01))
    every = (replace(one, memory_bytes=0.0) for there in search.scoring.there for one in there[0].families)
    bounds = StageBounds(LeastLayers(search, Deadline()), tuple(dict.fromkeys(every)))
    if bounds.families:
        bounds.refine(0.001)
    return question.setting.batch_samples / bounds.cost, best_scores(asked, (3,), 2)[3]


def compared(asked: Asked, gap: float) -> Staged:
    """Return how an answer compares with every plan on every pair of chips, and on three."""
    best = best_scores(asked, (1, 2, 3))
    found = stage_chips(asked.question, StoppingRule(gap=gap))
    if isinstance(found, Infeasible):
        wrong = f"infeasible, but {best[3]:g} is reached" if best[3] > 0.0 else ""
        return Staged(wrong=wrong, gain=math.nan, missed=math.nan, gap=math.nan)
    wrong = ""
    if found.score > best[2] * (1.0 + 1e-9):
        wrong = f"{found.score:.9g} is claimed, {best[2]:.9g} is the best on two kinds"
    elif found.score < best[1] / (1.0 + gap) * (1.0 - 1e-9):
        wrong = f"{found.score:.9g} is given, {best[1]:.9g} is the best on one kind"
    else:
        bound, several = bounded(asked)
        if bound < several * (1.0 - 1e-9):
            wrong = f"{several:.9g} is reached on stages, bound {bound:.9g}"
    if found.bound < best[3] * (1.0 - 1e-9):
        wrong = f"{best[3]:.9g} is reached on three kinds, bound {found.bound:.9g}"
    return Staged(wrong=wrong, gain=best[2] / best[1] - 1.0, missed=best[2] / found.score - 1.0, gap=found.gap)
