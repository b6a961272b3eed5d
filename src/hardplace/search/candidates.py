"""What the search's heap holds, and how a search ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hardplace.cost.types import Floats, Ints
from hardplace.search.profile import LayerSeconds
from hardplace.search.types import Evaluation, Job, Level, PlanFamily, Progress, Stop


class Refinement(IntEnum):
    """How far a candidate has been refined."""

    ROOFLINE = 0
    SCHEDULE_BOUNDS = 1
    PLACED_ON_BOUNDS = 2
    EXACT = 3


LEVEL_NAMES = {
    Refinement.ROOFLINE: "roofline",
    Refinement.SCHEDULE_BOUNDS: "schedule bounds",
    Refinement.PLACED_ON_BOUNDS: "placement on schedule bounds",
    Refinement.EXACT: "exact schedules and placement",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Chips at one micro-batch size and tensor-parallel degree, known by their roofline only."""

    group: tuple[int, int]
    chips: Ints


@dataclass(frozen=True, slots=True)
class Pair:
    """One chip with one family; lower and upper hold its layers' bounds and reachable seconds."""

    chip: int
    family: PlanFamily
    lower: LayerSeconds
    upper: LayerSeconds
    stage: Refinement


@dataclass(frozen=True, slots=True)
class Reached:
    """What was reached by a job: on list schedules, until evaluation holds the exact ones."""

    job: Job
    evaluation: Evaluation | None


@dataclass(slots=True)
class Count:
    """Candidates and seconds of one level, while the search runs."""

    entered: int = 0
    discarded: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """How the search ended: the incumbent (None if nothing fits), the bound, and the account of it."""

    best: Evaluation | None
    bound_batch_s: float
    stop: Stop
    levels: tuple[Level, ...]
    progress: tuple[Progress, ...]
    roofline_batch_s: Floats
    candidates: int
    exact_evaluations: int
    seconds: float


def refined(pair: Pair, stage: Refinement) -> Pair:
    """Return the pair at its next level."""
    return Pair(chip=pair.chip, family=pair.family, lower=pair.lower, upper=pair.upper, stage=stage)
