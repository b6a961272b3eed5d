"""Candidates of the search over chips: what its heap holds, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.goals import Costs
from hardplace.design.search.bands import Band
from hardplace.design.search.scoring import FamilyBounds
from hardplace.design.search.sections import Excluded
from hardplace.design.types import Evaluation, Job, RefinementLevel
from hardplace.hardware.space import Box
from hardplace.ndtypes import Bools, Floats, Ints


class Refinement(IntEnum):
    """Level of refinement of a candidate: what its scores are bounded by."""

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
    """All chips of a box in one section, known by their best corner only.

    Attributes:
        section: Index of the section of the space.
        box: First and last place on each axis.
        chips: Number of chips that it counts for: of boxes that are the same but for their bands each a share.
        families: Of the only model, which may matter there, (families,); None: any.
        band: What its chips take; None: whatever they take.
    """

    section: int
    box: Box
    chips: int
    families: Bools | None = None
    band: Band | None = None


@dataclass(frozen=True, slots=True)
class ChipBlock:
    """Chips of one section, each bounded by its parts.

    Attributes:
        section: Index of the section of the space.
        places: Places of the chips on the axes, shape (axes, chips).
        known: Bounds of each chip.
    """

    section: int
    places: Ints
    known: FamilyBounds

    def take(self, index: Ints) -> ChipBlock:
        """Return the block of the chips at these positions."""
        return ChipBlock(self.section, self.places[:, index], self.known.take(index))


@dataclass(slots=True)
class ChipCandidate:
    """One chip with its families of plans for each model: bounds of each, and how far they have been refined.

    Attributes:
        section: Index of the section of the space.
        places: Place of the chip on each axis.
        costs: Costs of the chip.
        samples_per_s: Upper bound of each family, for each model, (families,).
        joules: Lower bound on the energy of a sample of each family, for each model, (families,).
        stages: How far each family is refined, for each model.
        seconds: Lower bounds of the layers, (layers, 1), by model and group of families.
        reached: Best plan so far, by model.
    """

    section: int
    places: Ints
    costs: Costs
    samples_per_s: tuple[Floats, ...]
    joules: tuple[Floats, ...]
    stages: tuple[Ints, ...]
    seconds: dict[tuple[int, tuple[int, int]], LayerTimes]
    reached: dict[int, ReachedPlan] = field(default_factory=dict)

    def copy(self) -> ChipCandidate:
        """Return a copy that can be refined without changing this one."""
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
    """A plan that was reached for one model: on list schedules, until `evaluation` holds the exact ones.

    Attributes:
        job: The exact evaluation that it needs.
        samples_per_s: Throughput reached.
        joules: Energy of a sample, in J.
        evaluation: The exact evaluation; None: not done yet.
    """

    job: Job
    samples_per_s: float
    joules: float
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Reached:
    """A chip that was reached, with its plan for each model.

    Attributes:
        section: Index of the section of the space.
        places: Place of the chip on each axis.
        costs: Costs of the chip.
        plans: Plan of each model; None: a model that does not run on this chip of a set.
    """

    section: int
    places: Ints
    costs: Costs
    plans: tuple[ReachedPlan | None, ...]


Candidate = BoxCandidate | ChipBlock | ChipCandidate


@dataclass(slots=True)
class Count:
    """Candidates (chips times families) and seconds of one level of refinement."""

    entered: int = 0
    discarded: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class SearchCounts:
    """The counts of a search.

    Attributes:
        levels: Candidates by level of refinement.
        beyond: Candidates beyond the limits.
        excluded: What the limits left out.
        within: Most by which anything that was pruned for being within the gap exceeded the front.
    """

    levels: dict[Refinement, Count] = field(default_factory=lambda: {stage: Count() for stage in Refinement})
    beyond: int = 0
    excluded: Excluded = field(default_factory=Excluded)
    within: float = 0.0

    def discard(self, candidate: Candidate, families: int) -> None:
        """Count a candidate with so many plan families that was pruned in the heap, by the bound that put it there."""
        if isinstance(candidate, BoxCandidate):
            self.levels[Refinement.BOX].discarded += candidate.chips * families
        elif isinstance(candidate, ChipBlock):
            self.levels[Refinement.PARTS].discarded += candidate.places.shape[1] * families
        else:
            self.levels[Refinement.SCHEDULE_BOUNDS].discarded += families

    def add(self, other: SearchCounts) -> None:
        """Add the counts of a refinement done elsewhere."""
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
    """How a search ended.

    Attributes:
        reached: Points of the front.
        scores: Scores of each.
        excess: Share by which anything can exceed the front at most.
        stop: Why it ended.
        levels: Candidates by level of refinement.
        progress: Incumbent and bound over time.
        chips: Number of chips of the space.
        candidates: Number of pairs of a chip and a family.
        exact_evaluations: Number of exact evaluations.
        seconds: Wall-clock seconds.
    """

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


def only_plan(reached: Reached) -> ReachedPlan:
    """Return the plan of the only model."""
    (plan,) = reached.plans
    assert plan is not None
    return plan


def evaluated(plan: ReachedPlan | None) -> Evaluation:
    """Return the exact evaluation of a plan of an answer."""
    assert plan is not None
    assert plan.evaluation is not None
    return plan.evaluation
