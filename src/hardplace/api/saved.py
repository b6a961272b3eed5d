"""Answers that were saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from hardplace.answers import Answer


def read(path: str | os.PathLike[str]) -> Answer:
    """Return a saved answer, equal to the one that was saved.

    Args:
        path: A file that `Answer.save` or a command wrote.

    Returns:
        The answer, of the class that the file names.

    Raises:
        BadInput: For a file that is no answer, and for one that another version wrote, which it names.
    """
    from hardplace.answers import Infeasible, read_answer
    from hardplace.cost.one_chip.estimate import OperatorEstimate
    from hardplace.described.answer import DescribedAccelerator
    from hardplace.described.parameters import ParameterResult
    from hardplace.design.exact.layer_schedule import LayerScheduleResult
    from hardplace.design.results import DesignResult, ParetoResult, SharedResult, StagesResult
    from hardplace.design.strategies.types import Comparison
    from hardplace.graph_split.answer import SplitResult
    from hardplace.graph_split.table_answer import TablesResult
    from hardplace.plans.estimate import PlanEstimate
    from hardplace.plans.infeasible import PlanInfeasible
    from hardplace.plans.placement.plan_frontier import PlanFrontier
    from hardplace.plans.placement.result import PlacementResult
    from hardplace.plans.replanning.replan import ReplanResult
    from hardplace.shaping.audit import Audit
    from hardplace.shaping.joint.types import ShapeDesignResult
    from hardplace.shaping.types import Ranking

    kinds = (
        Audit, Comparison, DescribedAccelerator, DesignResult, Infeasible, LayerScheduleResult, OperatorEstimate,
        ParameterResult, ParetoResult, PlacementResult, PlanEstimate, PlanFrontier, PlanInfeasible, Ranking,
        ReplanResult, ShapeDesignResult, SharedResult, SplitResult, StagesResult, TablesResult,
    )  # fmt: skip
    return read_answer(Path(path), {kind.__name__: kind for kind in kinds})
