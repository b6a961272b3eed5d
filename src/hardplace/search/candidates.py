"""What the search's heap holds, and how a search ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from hardplace.cost.types import Floats, Ints
from hardplace.hardware.axes import Box
from hardplace.search.goals import Costs
from hardplace.search.profile import LayerSeconds
from hardplace.search.types import Evaluation, Job, Level, Progress, Stop


class Refinement(IntEnum):
    """How far a candidate has been refined: what its scores are bounded by."""

    BOX = 0
    PARTS = 1
    SCHEDULE_BOUNDS = 2
    PLACED_ON_BOUNDS = 3
    EXACT = 4


LEVEL_NAMES = {
    Refinement.BOX: "boxes",
    Refinement.PARTS: "parts",
    Refinement.SCHEDULE_BOUNDS: "schedule bounds",
    Refinement.PLACED_ON_BOUNDS: "placement on schedule bounds",
    Refinement.EXACT: "exact schedules and placement",
}


@dataclass(frozen=True, slots=True)
class Region:
    """All chips of a box in one section, known by their best corner only."""

    section: int
    box: Box


@dataclass(frozen=True, slots=True)
class Block:
    """Chips of one section by their places on the axes, (axes, chips), each known by its parts.

    samples_per_s, joules: by model, (families, chips); costs: of the chips.
    """

    section: int
    places: Ints
    samples_per_s: tuple[Floats, ...]
    joules: tuple[Floats, ...]
    costs: Costs


@dataclass(slots=True)
class Seconds:
    """Bounds and reachable seconds of the layers of many chips; a chip's column is taken when it is needed."""

    lower: LayerSeconds
    upper: LayerSeconds
    column: int


@dataclass(slots=True)
class One:
    """One chip with its families, for each model: what each reaches at most, and how far that has been refined.

    samples_per_s, joules: by model, (families,). seconds: by (model, family). reached: by model, the best plan so far.
    """

    section: int
    places: Ints
    costs: Costs
    samples_per_s: tuple[Floats, ...]
    joules: tuple[Floats, ...]
    stages: tuple[Ints, ...]
    seconds: dict[tuple[int, int], Seconds]
    reached: dict[int, Plan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was reached for one model: on list schedules, until evaluation holds the exact ones."""

    job: Job
    samples_per_s: float
    joules: float
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Reached:
    """A chip that was reached, with its plan for each model."""

    section: int
    places: Ints
    costs: Costs
    plans: tuple[Plan, ...]


@dataclass(slots=True)
class Count:
    """Candidates (chips times families) and seconds of one level, while the search runs."""

    entered: int = 0
    discarded: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """How the search ended: what was reached, by what share anything can exceed it, and the account of it."""

    reached: tuple[Reached, ...]
    scores: tuple[tuple[float, ...], ...]
    excess: float
    stop: Stop
    levels: tuple[Level, ...]
    progress: tuple[Progress, ...]
    chips: int
    candidates: int
    exact_evaluations: int
    seconds: float
