"""Nouns of the search: candidate plans, evaluations, and the exploration with its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer, Infeasible
from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.certificate import Certificate, gap_of
from hardplace.cost.types import Engine
from hardplace.design.partition.types import PipelinePartition
from hardplace.design.scheduling.types import Schedule
from hardplace.hardware.types import Accelerator, Budget, Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChoices:
    """What a plan may choose beside the chip; every combination is a candidate."""

    memory_bytes: tuple[float, ...]
    micro_batches: tuple[int, ...]
    recompute: tuple[bool, ...]
    tensor_parallel: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFamily:
    """One combination of Choices; the placement within it is found exactly."""

    memory_bytes: float
    micro_batch: int
    recompute: bool
    tensor_parallel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSchedule:
    """The schedule of a layer's forward or backward kernels on one chip."""

    kernels: tuple[str, ...]
    engines: tuple[Engine, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSchedule:
    """Both phases of one distinct layer for one micro-batch, and the optimizer step on its unsharded states."""

    layer: str
    forward: PhaseSchedule
    backward: PhaseSchedule
    optimizer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A share of the time of a batch or of the memory of a stage: seconds or bytes, by what it is spent on."""

    name: str
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A chip with its best plan of one family: what it reaches, and the bound on what the pair could reach.

    order: which of `layers` each layer of the model is, from input to loss (placement stages index into it).
    time: shares of placement.batch_s on the bottleneck stage. model FLOPs utilisation counts no recompute.
    """

    chip: Accelerator
    family: PlanFamily
    placement: PipelinePartition
    layers: tuple[LayerSchedule, ...]
    order: tuple[int, ...]
    samples_per_s: float
    bound_samples_per_s: float
    model_flops_utilisation: float
    time: tuple[Cause, ...]


Outcome = Evaluation | Infeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One exact evaluation, as plain data: the best plan of a family for a model on a chip.

    max_stages: pipeline stages at most; None: as many as there are layers.
    """

    model: str
    chip: Accelerator
    family: PlanFamily
    max_stages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A plan to compare with, named, or what it lacks. score: of the objective where that is not the speed."""

    name: str
    evaluation: Evaluation | None
    infeasible: Infeasible | None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementLevel:
    """One level of refinement: candidates (chip, family) that reached it, those discarded by its bound, its time."""

    name: str
    entered: int
    discarded: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Chips of the space with the chosen plan held fixed: columns of one length.

    samples_per_s is what the plan reaches there with list schedules (an achieved value); bound_samples_per_s is
    what no plan of the space can exceed on that chip. sampled: a choice of the space's chips, not all.
    """

    area_mm2: tuple[float, ...]
    samples_per_s: tuple[float, ...]
    bound_samples_per_s: tuple[float, ...]
    label: tuple[str, ...]
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DesignResult(Answer):
    """The answer of a search with its certificate: no candidate of the space exceeds `bound`.

    score, bound: of the objective, more is better, in `unit` (or its inverse, where less of it is better). tdp_w, usd:
    of the best's chip, where a limit or the objective asks what chips cost.
    """

    version: str
    model: str
    parameters: int
    sequence_length: int
    setting: str
    space: str
    objective: str
    unit: str
    inverse: bool
    budget: Budget
    cluster: Cluster
    batch_samples: int
    optimizer: str
    choices: PlanChoices
    target_gap: float
    limit_s: float | None
    chips_in_space: int
    candidates: int
    best: Evaluation
    baselines: tuple[Baseline, ...]
    score: float
    bound: float
    stop: Stop
    seconds: float
    exact_evaluations: int
    levels: tuple[RefinementLevel, ...]
    progress: tuple[Progress, ...]
    cloud: Cloud
    notes: tuple[str, ...]
    tdp_w: float | None = None
    usd: float | None = None

    @property
    def gap(self) -> float:
        """By what share the best of the space can be better than the answer at most."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """The proof that nothing searched is better than its bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit=f"1/({self.unit})" if self.inverse else self.unit,
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One chip and plan of a frontier: its value in each objective, in that objective's unit."""

    values: tuple[float, ...]
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParetoResult(Answer):
    """What is best in several objectives: no candidate beats every point by more than the gap in all of them.

    inverse: whether less of a unit is better. points: none is at least as good as another in every objective.
    """

    version: str
    model: str
    setting: str
    space: str
    objectives: tuple[str, ...]
    units: tuple[str, ...]
    inverse: tuple[bool, ...]
    budget: Budget
    devices: int
    points: tuple[FrontierPoint, ...]
    gap: float
    stop: Stop
    seconds: float
    chips_in_space: int
    candidates: int
    exact_evaluations: int
    levels: tuple[RefinementLevel, ...]
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "points"

    @property
    def certificate(self) -> Certificate:
        """The proof that nothing searched is better than its bound."""
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
    """A model on its chip: which of the answer's chips, its plan there, its value and that of its own best chip."""

    model: str
    chip: int
    score: float
    own_best: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SharedResult(Answer):
    """One chip for several models, or the best few of a fleet: which model runs where.

    score, bound: of the combination, more is better; own_best of a run is what its score is divided by.
    """

    version: str
    setting: str
    space: str
    objective: str
    unit: str
    combine: str
    weights: tuple[float, ...]
    budget: Budget
    devices: int
    chips: tuple[Accelerator, ...]
    runs: tuple[ModelOnChip, ...]
    score: float
    bound: float
    stop: Stop
    seconds: float
    chips_in_space: int
    candidates: int
    exact_evaluations: int
    levels: tuple[RefinementLevel, ...]
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "runs"

    @property
    def gap(self) -> float:
        """By what share the best of the space can be better than the answer at most."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """The proof that nothing searched is better than its bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit=f"{self.combine} of shares of each model's own best",
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )
