"""Small questions for tests of the search."""

from dataclasses import replace

from hardplace.hardware.axes import Space
from hardplace.hardware.settings import PHAZE
from hardplace.hardware.spaces import space
from hardplace.hardware.types import Budget
from hardplace.search.goals import Goal
from hardplace.search.question import Question
from hardplace.search.types import Choices
from hardplace.units import GIB, MIB
from hardplace.workload.load import load

WHOLE = space("phaze")
SMALL = replace(WHOLE, array_rows=(64, 128), array_columns=(64, 128), buffer_bytes=(2 * MIB, 8 * MIB))
FEW = (1, 2, 8)
TINY = replace(
    SMALL, array_rows=(128,), array_columns=(128,), tensor_cores=FEW, vector_cores=FEW, buffer_bytes=(2 * MIB,)
)
ONE_PLAN = Choices(memory_bytes=(80.0 * GIB,), micro_batches=(1,), recompute=(False,), tensor_parallel=(1,))
PLANS = replace(ONE_PLAN, micro_batches=(1, 2), recompute=(False, True), tensor_parallel=(1, 2))


def small(model: str = "opt-350m", chips: Space = SMALL, choices: Choices = PLANS) -> Question:
    """Return a question about a few hundred chips of PHAZE's space in its setting."""
    return Question(
        workloads=(load(model),),
        setting=PHAZE,
        budget=Budget(area_mm2=WHOLE.area_limit_mm2),
        space=chips,
        choices=choices,
        goal=Goal(devices=PHAZE.cluster.devices),
    )
