"""Bounds of boxes of chips within limits on area and TDP against every chip in them that the limits leave.

    python benchmarks/certificates_limits.py 300 --seed 0 [--objective throughput-per-watt]

Random sub-spaces of `open` and of PHAZE's area model, limits between what their chips take, random boxes. What a chip
reaches is the placement of its list schedules, family by family, which no bound of a box that has it may be below.
Prints a line for each violation, how many there were and how many chips both limits left out; exit code 1 if any.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Goal, Objective
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PipelinePartition
from hardplace.design.question import Question
from hardplace.design.search.bands import Band
from hardplace.design.search.ceilings import ceilings
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.scoring import Scoring
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.settings import HBM3, as_reached, with_devices
from hardplace.hardware.space import MemoryChoice
from hardplace.hardware.types import PowerLimit
from hardplace.ndtypes import Floats, Ints
from hardplace.units import GIB
from search_questions import question, small_space  # type: ignore[import-not-found]

MODELS = ("opt-350m", "bert-base", "gpt2-xl")
OBJECTIVES = (Objective.THROUGHPUT, Objective.PER_WATT, Objective.PER_DOLLAR, Objective.ENERGY, Objective.CARBON)
BANDED = (Objective.THROUGHPUT, Objective.TDP, Objective.PRICE)
BOXES = 12


def asked(random: np.random.Generator, objectives: tuple[Objective, ...] = OBJECTIVES) -> Question:
    """Return a question about a random space of which both limits leave some chips and leave out others; its objective
    is one of these.
    """

    def some(*values: Any, most: int = 2) -> tuple[Any, ...]:
        return tuple(sorted(random.choice(values, size=random.integers(1, most + 1), replace=False).tolist()))

    stacks = int(random.choice([2, 4]))
    parts = random.random() < 0.8
    axes: dict[str, Any] = {
        "tensor_cores": some(1, 3, 8, 20, 40, most=3), "vector_cores": some(1, 8, 32, 128, most=3),
        "buffer_bytes": some(2 * 2**20, 8 * 2**20, 32 * 2**20), "least_area_share": 0.0,
        "links_bytes_per_s": some(150e9, 450e9, most=1),
        "memories": (MemoryChoice(kind="HBM3", stacks=stacks, bytes=16 * GIB * stacks,
                                  bandwidth_bytes_per_s=670e9 * stacks),),
    }  # fmt: skip
    if parts:
        axes |= {
            "array_rows": some(32, 96, 128, 256), "array_columns": some(64, 160, 256),
            "vector_lanes": some(16, 64, 512, 1024), "clock_hz": some(0.5e9, 0.9e9, 1.2e9, 1.8e9),
            "area_model": Preset.PARTS, "node_nm": float(random.choice([7.0, 5.0])),
        }  # fmt: skip
    else:
        axes |= {"array_rows": some(32, 128, 256), "array_columns": some(16, 64, 256)}
    space = small_space(**axes)
    power = PowerLimit(node_nm=space.node_nm, dtype="bf16", memory_kind="HBM3", clock_hz=HBM3.clock_hz)
    real = as_reached(HBM3, power if parts else None)
    made: Question = question(
        str(random.choice(MODELS)),
        setting=replace(
            with_devices(real if random.random() < 0.7 else HBM3, int(random.choice([4, 8]))), batch_samples=16
        ),
        space=space,
        goal=Goal(objectives=(objectives[int(random.integers(len(objectives)))],)),
        budget={"tdp_w": 1e9},
        micro_batches=(1,),
        recompute=(False, True),
        tensor_parallel=(1, 2),
    )
    scoring = DesignSearch(question=replace(made, budget=replace(made.budget, area_mm2=1e9)), ends=ENDS).scoring
    costs, _, _ = scoring.limits.costs(scoring.sections[0], made.space.at(made.space.whole.places()))
    area, tdp = (float(np.quantile(taken, random.uniform(0.3, 0.95))) for taken in (costs.area_mm2, costs.tdp_w))
    return replace(made, budget=replace(made.budget, area_mm2=area, tdp_w=tdp))


ENDS = StoppingRule(gap=0.01)


def reached(scoring: Scoring, places: Ints) -> Floats:
    """Return the samples a second that each family reaches on each chip, (families, chips), 0 where none fits."""
    layout, there, section = scoring.models[0], scoring.there[0][0], scoring.sections[0]
    found = np.zeros((len(there.families), places.shape[1]))
    for group, members in there.members.items():
        upper = layout.kernels[group].list_schedules(scoring.space.at(places), section.setting)
        for member in members:
            for chip in range(places.shape[1]):
                which = there.families[member]
                problem = layout.problem(which, section.setting, upper.at(chip), there.replications[group])
                plan = place(problem)
                found[member, chip] = layout.batch / plan.batch_s if isinstance(plan, PipelinePartition) else 0.0
    return found


def violations(made: Question, random: np.random.Generator) -> tuple[list[str], int]:
    """Return what chips reach beyond the bounds of boxes that have them, and how many chips both limits leave out."""
    scoring = DesignSearch(question=made, ends=ENDS).scoring
    (of,) = made.goal.objectives
    space, section, limits = made.space, scoring.sections[0], scoring.limits
    every = space.whole.places()
    costs, _, _ = limits.costs(section, space.at(every))
    inside = limits.within(costs)
    beyond = (costs.area_mm2 > made.budget.area_mm2 * 1.000001) & (
        costs.tdp_w > float(made.budget.tdp_w or 0) * 1.000001
    )
    chosen = random.permutation(np.flatnonzero(inside))[:16]
    places = every[:, chosen]
    speed = reached(scoring, places)
    known = scoring.known(0, places, places)
    scores = scoring.vectors(replace(known, samples_per_s=(speed,)))[0]
    said = []
    tops = np.array([[len(values) - 1] for values in space.values])
    for turn in range(BOXES):
        low = np.where(turn == 0, 0, random.integers(0, places + 1))
        high = np.where(turn == 0, tops, random.integers(places, tops + 1))
        box = scoring.known(0, low, high)
        left = ceilings(limits, section, low, high)
        chips = space.at(places)
        for name, over in (
            # Speeds that bound samples a second and W, or a USD, are none of samples a second alone.
            (
                "samples/s",
                (speed > box.samples_per_s[0] * (1 + 1e-9)).any(axis=0)
                & (of not in (Objective.PER_WATT, Objective.PER_DOLLAR)),
            ),
            ("score", scores > scoring.vectors(box)[0] * (1 + 1e-9)),
            ("tensor cores", chips.tensor_cores > left.tensor_cores),
            ("vector cores", chips.vector_cores > left.vector_cores),
        ):
            said += [f"{name} of chip {places[:, chip].tolist()} beyond its box" for chip in np.flatnonzero(over)]
        if space.area_model is Preset.PARTS:
            said += _beyond_bands(scoring, (places, low, high), speed, random)
    return said, int(beyond.sum())


def _beyond_bands(
    scoring: Scoring, boxes: tuple[Ints, Ints, Ints], speed: Floats, random: np.random.Generator
) -> list[str]:
    """Return what chips reach beyond the bounds of random bands of boxes that have them."""
    places, low, high = boxes
    costs, _, _ = scoring.limits.costs(scoring.sections[0], scoring.space.at(places))
    bands = [
        Band(over_w=tdp_w * random.uniform(0.8, 0.9999), most_w=tdp_w * random.uniform(1.0, 1.1))
        for tdp_w in costs.tdp_w
    ]
    said = []
    for of in (scoring.goal.objectives, BANDED):
        judge = replace(scoring, goal=replace(scoring.goal, objectives=of))
        at_chips = judge.known(0, places, places)
        reached_scores = judge.vectors(replace(at_chips, samples_per_s=(speed,)))
        over = (reached_scores > judge.vectors(judge.known(0, low, high, bands=bands)) * (1 + 1e-9)).any(axis=0)
        said += [f"{of} of chip {places[:, chip].tolist()} beyond its band" for chip in np.flatnonzero(over)]
    return said


def main() -> None:
    """Try so many sub-spaces."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--objective", type=Objective, choices=OBJECTIVES, help="of every question; else random ones")
    options = parser.parse_args()
    objectives = (options.objective,) if options.objective else OBJECTIVES
    wrong = out = 0
    for number in range(options.count):
        random = np.random.default_rng((options.seed, number))
        said, beyond = violations(asked(random, objectives), random)
        wrong, out = wrong + bool(said), out + bool(beyond)
        for line in said[:3]:
            print(f"{number}: {line}")
    print(f"{wrong} sub-spaces with violations of {options.count}, seed {options.seed}; both limits out in {out}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
