"""Small questions for tests of the search."""

import numpy as np

from hardplace.hardware.settings import PHAZE
from hardplace.hardware.space import default_budget, phaze_space
from hardplace.search.types import Choices, Question
from hardplace.units import GIB
from hardplace.workload.load import load


def small(every: int = 40, plans: int = 8) -> Question:
    """Return a question about every so many chips of PHAZE's space, with so many plan families (1 or 8)."""
    budget = default_budget()
    chips = phaze_space(budget)
    choices = Choices(
        memory_bytes=(80.0 * GIB,),
        micro_batches=(1, 2)[: plans // 4 + 1],
        recompute=(False, True)[: plans // 4 + 1],
        tensor_parallel=(1, 2)[: plans // 4 + 1],
    )
    return Question(
        workload=load("opt-350m"),
        setting=PHAZE,
        budget=budget,
        chips=chips.take(np.arange(0, len(chips), every)),
        choices=choices,
    )
