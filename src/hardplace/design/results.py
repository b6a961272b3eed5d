"""The answers of searches over chips: one model, a Pareto front, several models; each with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.certificate import Certificate, gap_of
from hardplace.design.partition.types import PipelinePartition
from hardplace.design.types import (
    Baseline,
    Cloud,
    Evaluation,
    ExistingChip,
    PlanChoices,
    PlanFamily,
    RefinementLevel,
    Sensitivity,
)
from hardplace.hardware.existing import EXISTING
from hardplace.hardware.types import Accelerator, Budget, Cluster


def not_compared(existing: tuple[ExistingChip, ...]) -> tuple[str, ...]:
    """Return the names of chips that exist and that an answer left out, as its time limit had passed."""
    there = {one.name for one in existing}
    return tuple(name for name in EXISTING if name not in there)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SearchAnswer(Answer):
    """What every answer of a search over chips says.

    Attributes:
        version: Version of the package.
        setting: Name of the setting.
        space: Name of the space of chips.
        budget: Limits on chips and plans.
        candidates: Number of pairs of a chip and a family of plans; with shapes, of triples.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search.
        levels: Candidates by level of refinement.
        notes: What is left out or was taken for the figures.
    """

    version: str
    setting: str
    space: str
    budget: Budget
    candidates: int
    stop: Stop
    seconds: float
    levels: tuple[RefinementLevel, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ScoredAnswer(SearchAnswer):
    """An answer with one score: no candidate of the space exceeds `bound`.

    Attributes:
        score: What the answer reaches, more is better.
        bound: Upper bound on the score of every candidate.
    """

    score: float
    bound: float

    @property
    def score_unit(self) -> str:
        """The unit of score and bound."""
        raise NotImplementedError

    @property
    def gap(self) -> float:
        """Return by what share the best of the space can be better than the answer at most: bound / score - 1."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no candidate has a score above the bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit=self.score_unit,
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DesignResult(ScoredAnswer):
    """The answer of a search over chips, with its certificate: no candidate of the space exceeds `bound`.

    Attributes:
        model: Name of the model.
        parameters: Its trained parameters.
        sequence_length: Tokens of a sample.
        objective: What was made as large, or as small, as possible.
        unit: Unit of the objective as people read it.
        inverse: Whether less of `unit` is better; score and bound are then of its inverse.
        cluster: Devices and their network.
        batch_samples: Samples of the global batch.
        optimizer: Name of the optimizer.
        choices: Choices of a plan.
        target_gap: Relative gap at which the search was to stop.
        limit_s: Time limit in seconds; None: none.
        chips_in_space: Number of chips of the space.
        best: The incumbent: chip and plan.
        baselines: Plans to compare with.
        exact_evaluations: Number of exact evaluations.
        progress: Incumbent and bound over time.
        cloud: Chips with the plan held fixed, for the page.
        tdp_w: Thermal design power of the best chip in W, of a space by parts and where a limit or the objective asks
            for it.
        usd: Price of making the best chip in USD, likewise.
        existing: Chips that exist, in the same model and setting; of a space by parts.
        sensitivity: What each assumption does to the answer; of a space by parts, by throughput.
        ideal: Whether kernels and links reach all of their rates.
    """

    model: str
    parameters: int
    sequence_length: int
    objective: str
    unit: str
    inverse: bool
    cluster: Cluster
    batch_samples: int
    optimizer: str
    choices: PlanChoices
    target_gap: float
    limit_s: float | None
    chips_in_space: int
    best: Evaluation
    baselines: tuple[Baseline, ...]
    exact_evaluations: int
    progress: tuple[Progress, ...]
    cloud: Cloud
    tdp_w: float | None = None
    usd: float | None = None
    existing: tuple[ExistingChip, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()
    ideal: bool = True

    @property
    def best_existing(self) -> ExistingChip | None:
        """Return the chip that exists within the limits and reaches most of the objective; None where there is none."""
        within = [chip for chip in self.existing if not chip.beyond and chip.samples_per_s > 0.0]
        return max(within, key=lambda chip: chip.score, default=None)

    @property
    def score_unit(self) -> str:
        """See ScoredAnswer."""
        return f"1/({self.unit})" if self.inverse else self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One point of a Pareto front: a chip with its plan.

    Attributes:
        values: Its value in each objective, in that objective's unit.
        evaluation: Its exact evaluation.
    """

    values: tuple[float, ...]
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParetoResult(SearchAnswer):
    """A Pareto front of chips and plans: no candidate beats every point by more than the gap in all objectives.

    Attributes:
        model: Name of the model.
        objectives: The objectives.
        units: Unit of each as people read it.
        inverse: Whether less of a unit is better, for each.
        devices: Number of devices.
        points: The front; none is at least as good as another in every objective.
        gap: Share by which anything can exceed the front at most.
        chips_in_space: Number of chips of the space.
        exact_evaluations: Number of exact evaluations.
    """

    model: str
    objectives: tuple[str, ...]
    units: tuple[str, ...]
    inverse: tuple[bool, ...]
    devices: int
    points: tuple[FrontierPoint, ...]
    gap: float
    chips_in_space: int
    exact_evaluations: int

    ROWS: ClassVar[str] = "points"

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no candidate exceeds the front by more than the gap."""
        return Certificate(
            score=1.0,
            bound=1.0 + self.gap,
            unit="of each objective",
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOnChip:
    """A model on its chip of a set.

    Attributes:
        model: Name of the model.
        chip: Index of the chip among the answer's.
        score: Its score there.
        own_best: Score on the chip that is best for this model alone, by which `score` is divided.
        evaluation: Its exact evaluation.
    """

    model: str
    chip: int
    score: float
    own_best: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SharedResult(ScoredAnswer):
    """One chip for several models, or the best set of a few chips: which model runs where.

    Attributes:
        objective: What was made as large, or as small, as possible for each model.
        unit: Unit of the objective.
        combine: How the models' scores become one.
        weights: Weight of each model.
        devices: Number of devices of each model.
        chips: The chips.
        runs: Which model runs on which chip.
        chips_in_space: Number of chips of the space.
        exact_evaluations: Number of exact evaluations.
    """

    objective: str
    unit: str
    combine: str
    weights: tuple[float, ...]
    devices: int
    chips: tuple[Accelerator, ...]
    runs: tuple[ModelOnChip, ...]
    chips_in_space: int
    exact_evaluations: int

    ROWS: ClassVar[str] = "runs"

    @property
    def score_unit(self) -> str:
        """See ScoredAnswer."""
        return f"{self.combine} of shares of each model's own best"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOnChip:
    """A pipeline stage on its chip.

    Attributes:
        stage: Number of the stage, from 1 at the input.
        chip: Index of the chip among the answer's.
        layers: Number of its layers.
        load_s: Seconds of a micro-batch, with transfers.
        memory_bytes: Memory of a device.
        capacity_bytes: Memory that the chip has.
        end_s: Gradient reduction and optimizer step of a batch.
    """

    stage: int
    chip: int
    layers: int
    load_s: float
    memory_bytes: float
    capacity_bytes: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StagesResult(ScoredAnswer):
    """One kind of chip or two for the stages of a pipeline; no plan with any chip for any stage exceeds `bound`.

    Attributes:
        model: Name of the model.
        objective: What was made as large as possible.
        unit: Unit of the objective.
        devices: Number of devices.
        batch_samples: Samples of the global batch.
        chips: The chips, one or two; the plan's memory is that of each.
        tdp_w: Thermal design power of each in W; empty where nothing asks for it.
        family: The family of the plan; its memory is that of the chip with most.
        placement: Stages from input to loss, and the time of a batch.
        stages: Which stage is on which chip.
        samples_per_s: Throughput reached.
        one_kind: The best single chip with its plan.
        one_kind_score: What it reaches of the objective.
        one_kind_bound: Upper bound on the score of every single chip and plan.
        stages_bound: Upper bound on the score of every plan of two stages or more, whatever chip each is on.
        pairs_tried: Pairs of chips that were tried; 0: there was no time, or no other chip.
        chips_in_space: Number of chips of the space.
        exact_evaluations: Number of exact evaluations.
    """

    model: str
    objective: str
    unit: str
    devices: int
    batch_samples: int
    chips: tuple[Accelerator, ...]
    tdp_w: tuple[float, ...]
    family: PlanFamily
    placement: PipelinePartition
    stages: tuple[StageOnChip, ...]
    samples_per_s: float
    one_kind: Evaluation
    one_kind_score: float
    one_kind_bound: float
    stages_bound: float
    pairs_tried: int
    chips_in_space: int
    exact_evaluations: int

    ROWS: ClassVar[str] = "stages"

    @property
    def gain(self) -> float:
        """Return by what share two kinds of chip are better than the best one; 0 where one is the answer."""
        return self.score / self.one_kind_score - 1.0

    @property
    def score_unit(self) -> str:
        """See ScoredAnswer."""
        return self.unit
