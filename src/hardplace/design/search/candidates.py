"""What the search's heap holds, and how a search ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.goals import Costs
from hardplace.design.search.scoring import FamilyBounds
from hardplace.design.search.sections import Excluded
from hardplace.design.types import Evaluation, Job, RefinementLevel
from hardplace.hardware.space import Box
from hardplace.ndtypes import Floats, Ints


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
class BoxCandidate:
    """All chips of a box in one section, known by their best corner only."""

    section: int
    box: Box


@dataclass(frozen=True, slots=True)
class ChipBlock:
    """Chips of one section by their places on the axes, (axes, chips), each known by its parts."""

    section: int
    places: Ints
    known: FamilyBounds

    def take(self, index: Ints) -> ChipBlock:
        """Return the block of the chips at these positions."""
        return ChipBlock(self.section, self.places[:, index], self.known.take(index))


@dataclass(frozen=True, slots=True)
class LayerBounds:
    """Bounds and reachable seconds of the layers of one chip at one micro-batch size and degree."""

    lower: LayerTimes
    upper: LayerTimes


@dataclass(slots=True)
class ChipCandidate:
    """One chip with its families, for each model: what each reaches at most, and how far that has been refined.

    samples_per_s, joules: by model, (families,). seconds: by (model, group). reached: by model, the best plan so far.
    """

    section: int
    places: Ints
    costs: Costs
    samples_per_s: tuple[Floats, ...]
    joules: tuple[Floats, ...]
    stages: tuple[Ints, ...]
    seconds: dict[tuple[int, tuple[int, int]], LayerBounds]
    reached: dict[int, ReachedPlan] = field(default_factory=dict)

    def copy(self) -> ChipCandidate:
        """Return a candidate that can be refined without touching this one."""
        return ChipCandidate(
            section=self.section,
            places=self.places,
            costs=self.costs,
            samples_per_s=tuple(row.copy() for row in self.samples_per_s),
            joules=self.joules,
            stages=tuple(row.copy() for row in self.stages),
            seconds=dict(self.seconds),
            reached=dict(self.reached),
        )


@dataclass(frozen=True, slots=True)
class ReachedPlan:
    """A plan that was reached for one model: on list schedules, until evaluation holds the exact ones."""

    job: Job
    samples_per_s: float
    joules: float
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Reached:
    """A chip that was reached, with its plan for each model; None: one of a fleet's that does not run there."""

    section: int
    places: Ints
    costs: Costs
    plans: tuple[ReachedPlan | None, ...]


@dataclass(slots=True)
class Count:
    """Candidates (chips times families) and seconds of one level, while the search runs."""

    entered: int = 0
    discarded: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class SearchCounts:
    """What a search has counted: candidates by level, those beyond the limits, and what the limits left out.

    within: the most by which anything that was left alone, for being within the gap, exceeded the front.
    """

    levels: dict[Refinement, Count] = field(default_factory=lambda: {stage: Count() for stage in Refinement})
    beyond: int = 0
    excluded: Excluded = field(default_factory=Excluded)
    within: float = 0.0

    def add(self, other: SearchCounts) -> None:
        """Add what was counted elsewhere."""
        for stage, one in other.levels.items():
            mine = self.levels[stage]
            mine.entered += one.entered
            mine.discarded += one.discarded
            mine.seconds += one.seconds
        self.beyond += other.beyond
        self.excluded.add(other.excluded)
        self.within = max(self.within, other.within)


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """How the search ended: what was reached, by what share anything can exceed it, and the account of it."""

    reached: tuple[Reached, ...]
    scores: tuple[tuple[float, ...], ...]
    excess: float
    stop: Stop
    levels: tuple[RefinementLevel, ...]
    progress: tuple[Progress, ...]
    chips: int
    candidates: int
    exact_evaluations: int
    seconds: float
