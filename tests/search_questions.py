"""Questions about small spaces of chips, and their answers by trying everything: the oracle of the search's tests."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.exact.evaluator import in_process
from hardplace.design.goals import Goal
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.single import job_of
from hardplace.design.types import PlanChoices
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.settings import HBM3, PHAZE
from hardplace.hardware.space import AXES, ChipSpace, MemoryChoice
from hardplace.hardware.space_files import space as named
from hardplace.hardware.types import Budget, Setting
from hardplace.units import GIB, MIB
from hardplace.workload.load import load

SMALL: dict[str, Any] = {
    "tensor_cores": (4, 16),
    "array_rows": (64, 128),
    "array_columns": (128,),
    "vector_cores": (2, 32),
    "buffer_bytes": (2 * 2**20, 32 * 2**20),
}
# Lanes untied, clocks, memories and links of their own, parts at 7 nm.
OPEN: dict[str, Any] = {
    "tensor_cores": (8, 24),
    "array_rows": (96,),
    "array_columns": (64, 160),
    "vector_cores": (16,),
    "vector_lanes": (64, 256),
    "buffer_bytes": (24 * 2**20,),
    "clock_hz": (0.9e9, 1.4e9),
    "memories": (
        MemoryChoice(kind="HBM3", stacks=4, bytes=64 * GIB, bandwidth_bytes_per_s=2.68e12),
        MemoryChoice(kind="HBM3", stacks=6, bytes=96 * GIB, bandwidth_bytes_per_s=4.02e12),
    ),
    "links_bytes_per_s": (150e9, 450e9),
    "area_model": Preset.PARTS,
    "area_limit_mm2": 800.0,
    "least_area_share": 0.0,
}
# A few hundred chips of PHAZE's space with eight plan families, and a handful with one, for PHAZE's setting.
CHIPS = replace(named("phaze"), array_rows=(64, 128), array_columns=(64, 128), buffer_bytes=(2 * MIB, 8 * MIB))
TINY = replace(
    CHIPS,
    array_rows=(128,),
    array_columns=(128,),
    tensor_cores=(1, 2, 8),
    vector_cores=(1, 2, 8),
    buffer_bytes=(2 * MIB,),
)
ONE_PLAN = PlanChoices(memory_bytes=(80.0 * GIB,), micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
PLANS = replace(ONE_PLAN, micro_batches=(1, 2), recompute=(False, True), tensor_parallel=(1, 2))


def small_space(**axes: Any) -> ChipSpace:
    """Return PHAZE's space with fewer values, or others."""
    return replace(named("phaze"), **{**SMALL, **axes})


def question(
    *models: str,
    setting: Setting = HBM3,
    space: ChipSpace | None = None,
    goal: Goal | None = None,
    budget: dict[str, float] | None = None,
    **choices: tuple[float, ...],
) -> Question:
    """Return a question about a small space; llama2-7b if no model is named."""
    names = models or ("llama2-7b",)
    chosen: dict[str, Any] = {
        "memory_bytes": (80.0 * GIB,),
        "micro_batches": (1, 2),
        "recompute": (False, True),
        "tensor_parallel": (1, 4),
        **choices,
    }
    space = space or small_space()
    goal = goal or Goal(weights=(1.0,) * len(names), norms=(1.0,) * len(names))
    return Question(
        workloads=tuple(load(name) for name in names),
        setting=setting,
        budget=replace(Budget(area_mm2=space.area_limit_mm2), **(budget or {})),
        space=space,
        choices=PlanChoices(**chosen),
        goal=replace(goal, devices=setting.cluster.devices),
    )


def small(model: str = "opt-350m", chips: ChipSpace = CHIPS, choices: PlanChoices = PLANS) -> Question:
    """Return a question about a few hundred chips of PHAZE's space in its setting."""
    return replace(question(model, setting=PHAZE, space=chips), choices=choices)


def exhaustive(asked: Question, gap: float, work: float = 1.0) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return (reached, bound) scores of every chip within the limits, by evaluating every family of every model on it.

    With several objectives, of every chip with every family. Boxes, parts and bounds of schedules play no role. work:
    effort on schedules (0: list schedules).
    """
    search, evaluator = DesignSearch(question=asked, ends=StoppingRule(gap=gap)), in_process(asked, gap, work=work)
    scoring, goal = search.scoring, asked.goal
    found = []
    for index, section in enumerate(scoring.sections):
        for place in product(*(range(len(values)) for values in asked.space.values)):
            places = np.array(place).reshape(len(AXES), 1)
            chips = scoring.space.at(places)
            costs, _, _ = scoring.limits.costs(section, chips)
            if not (scoring.limits.within(costs) & scoring.limits.large(chips, costs))[0]:
                continue
            joules = scoring.known(index, places, places).joules
            values = []  # by model: (scores reached, scores at most) of each family
            for model, there in enumerate(scoring.there[index]):
                rows = []
                for number, family in enumerate(there.families):
                    outcome = evaluator.evaluate(job_of(scoring, index, places, model, family))
                    if isinstance(outcome, Infeasible):
                        continue
                    energy = joules[model][number]
                    both = []
                    for speed in (outcome.samples_per_s, outcome.bound_samples_per_s):
                        slow = asked.budget.step_s and asked.setting.batch_samples / speed > asked.budget.step_s
                        one = np.array([0.0 if slow else speed])
                        both.append([float(goal.scores(o, one, energy, costs)[0]) for o in goal.objectives])
                    rows.append(both)
                values.append(rows)
            if len(goal.objectives) > 1:
                found += [(tuple(reached), tuple(most)) for reached, most in values[0]]
            elif all(values) or (goal.shared and any(values)):
                best = np.array(
                    [[max((row[which][0] for row in rows), default=0.0) for rows in values] for which in (0, 1)]
                )
                reached, most = (goal.vectors(row[None, :, None])[:, 0] for row in best)
                found.append((tuple(reached.tolist()), tuple(most.tolist())))
    return found
