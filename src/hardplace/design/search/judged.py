"""The value in a search's objective of a plan that was searched for something else, such as one to compare with."""

from __future__ import annotations

from hardplace.cost.types import Ints
from hardplace.design.search.scoring import Scoring
from hardplace.design.types import Evaluation


def score_of(scoring: Scoring, places: Ints, evaluation: Evaluation) -> float | None:
    """Return the score of a plan of the only model on the chip at these places of the space's axes, shape (axes, 1).

    It is in the first objective of the scoring's goal, more is better. None where no section has the plan's memory, or
    its family.
    """
    wanted = evaluation.family
    for section, place in enumerate(scoring.sections):
        if wanted.memory_bytes not in place.capacities:
            continue
        for number, family in enumerate(scoring.there[section][0].families):
            if (family.micro_batch, family.recompute, family.tensor_parallel) == (
                wanted.micro_batch, wanted.recompute, wanted.tensor_parallel,
            ):  # fmt: skip
                joules = float(scoring.known(section, places, places).joules[0][number, 0])
                costs, _, _ = scoring.limits.costs(place, scoring.space.at(places))
                return scoring.goal.score(scoring.goal.objectives[0], evaluation.samples_per_s, joules, costs)
    return None
