"""What a search is asked."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.design.goals import Goal
from hardplace.design.types import PlanChoices
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.types import Budget, Setting
from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a search is asked: the models, what all candidates share, the chips and the plans to choose from."""

    workloads: tuple[Workload, ...]
    setting: Setting
    budget: Budget
    space: ChipSpace
    choices: PlanChoices
    goal: Goal
