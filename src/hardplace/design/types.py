"""Nouns of the search over chips: families of plans, exact evaluations, and answers with their certificates."""

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
    """The choices of a plan beside the chip; every combination is a family.

    Attributes:
        memory_bytes: Memory capacities of a chip, in bytes.
        micro_batches: Samples of a micro-batch.
        recompute: Whether stages recompute their activations.
        tensor_parallel: Tensor-parallel degrees.
    """

    memory_bytes: tuple[float, ...]
    micro_batches: tuple[int, ...]
    recompute: tuple[bool, ...]
    tensor_parallel: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFamily:
    """One combination of the choices of a plan; the partition into stages and replicas within it is solved exactly.

    Attributes:
        memory_bytes: Memory capacity of the chip, in bytes.
        micro_batch: Samples of a micro-batch.
        recompute: Whether stages recompute their activations.
        tensor_parallel: Tensor-parallel degree.
    """

    memory_bytes: float
    micro_batch: int
    recompute: bool
    tensor_parallel: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSchedule:
    """The schedule of the forward or backward kernels of a layer on the cores of one chip.

    Attributes:
        kernels: Name of each kernel.
        engines: What runs each kernel: tensor cores, vector cores, both, or the network.
        schedule: Start, end and cores of each kernel, with makespan and lower bound.
    """

    kernels: tuple[str, ...]
    engines: tuple[Engine, ...]
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSchedule:
    """The schedules of one distinct layer for one micro-batch.

    Attributes:
        layer: Name of the layer.
        forward: Schedule of its forward pass.
        backward: Schedule of its backward pass.
        optimizer_s: Seconds of the optimizer step on its unsharded states.
    """

    layer: str
    forward: PhaseSchedule
    backward: PhaseSchedule
    optimizer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A share of the time of a batch or of the memory of a stage.

    Attributes:
        name: What it is spent on.
        amount: Seconds or bytes.
    """

    name: str
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """An exact evaluation: a chip with its best plan of one family, and the bound on what the pair could reach.

    Attributes:
        chip: The chip.
        family: The family of plans.
        placement: Partition into stages, with replicas and memory.
        layers: Schedules of the distinct layers.
        order: Which of `layers` each layer of the model is, from input to loss (stages of the placement index into it).
        samples_per_s: Throughput reached.
        bound_samples_per_s: Upper bound on the throughput of any schedule and any partition of the family on the chip.
        model_flops_utilisation: FLOPs without recompute over the peak of all chips.
        time: Shares of `placement.batch_s` on the bottleneck stage.
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
    """One exact evaluation to do, as plain data: the best plan of a family for a model on a chip.

    Attributes:
        model: Name of the model.
        chip: The chip.
        family: The family of plans.
        max_stages: Pipeline stages at most; None: as many as there are layers.
    """

    model: str
    chip: Accelerator
    family: PlanFamily
    max_stages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A plan to compare the answer with, or what it lacks.

    Attributes:
        name: What it is, such as TPUv4 or pure data parallel.
        evaluation: Its exact evaluation; None where it does not fit.
        infeasible: What it lacks; None where it fits.
        score: Score in the objective, where that is not the speed.
    """

    name: str
    evaluation: Evaluation | None
    infeasible: Infeasible | None
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementLevel:
    """One level of refinement of the search, in numbers.

    Attributes:
        name: What bounds a candidate at this level.
        entered: Candidates (chip, family) that reached it.
        discarded: Candidates pruned by its bound.
        seconds: Time spent on it.
    """

    name: str
    entered: int
    discarded: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Chips of the space with the chosen plan held fixed, for the page: columns of one length.

    Attributes:
        area_mm2: Die area.
        samples_per_s: Throughput that the plan reaches there with list schedules.
        bound_samples_per_s: Throughput that no plan of the space can exceed on that chip.
        label: Name of the chip.
        sampled: Whether these are a random choice of the space's chips, not all.
    """

    area_mm2: tuple[float, ...]
    samples_per_s: tuple[float, ...]
    bound_samples_per_s: tuple[float, ...]
    label: tuple[str, ...]
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DesignResult(Answer):
    """The answer of a search over chips, with its certificate: no candidate of the space exceeds `bound`.

    Attributes:
        version: Version of the package.
        model: Name of the model.
        parameters: Its trained parameters.
        sequence_length: Tokens of a sample.
        setting: Name of the setting.
        space: Name of the space of chips.
        objective: What was made as large, or as small, as possible.
        unit: Unit of the objective as people read it.
        inverse: Whether less of `unit` is better; score and bound are then of its inverse.
        budget: Limits on chips and plans.
        cluster: Devices and their network.
        batch_samples: Samples of the global batch.
        optimizer: Name of the optimizer.
        choices: Choices of a plan.
        target_gap: Relative gap at which the search was to stop.
        limit_s: Time limit in seconds; None: none.
        chips_in_space: Number of chips of the space.
        candidates: Number of pairs of a chip and a family of plans.
        best: The incumbent: chip and plan.
        baselines: Plans to compare with.
        score: Score of the incumbent, more is better.
        bound: Upper bound on the score of every candidate.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search.
        exact_evaluations: Number of exact evaluations.
        levels: Candidates by level of refinement.
        progress: Incumbent and bound over time.
        cloud: Chips with the plan held fixed, for the page.
        notes: What is left out or was taken for the figures.
        tdp_w: Thermal design power of the best chip in W, where a limit or the objective asks for it.
        usd: Price of making the best chip in USD, where a limit or the objective asks for it.
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
        """Return by what share the best of the space can be better than the answer at most: bound / score - 1."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no candidate has a score above the bound."""
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
    """One point of a Pareto front: a chip with its plan.

    Attributes:
        values: Its value in each objective, in that objective's unit.
        evaluation: Its exact evaluation.
    """

    values: tuple[float, ...]
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParetoResult(Answer):
    """A Pareto front of chips and plans: no candidate beats every point by more than the gap in all objectives.

    Attributes:
        version: Version of the package.
        model: Name of the model.
        setting: Name of the setting.
        space: Name of the space of chips.
        objectives: The objectives.
        units: Unit of each as people read it.
        inverse: Whether less of a unit is better, for each.
        budget: Limits on chips and plans.
        devices: Number of devices.
        points: The front; none is at least as good as another in every objective.
        gap: Share by which anything can exceed the front at most.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search.
        chips_in_space: Number of chips of the space.
        candidates: Number of pairs of a chip and a family of plans.
        exact_evaluations: Number of exact evaluations.
        levels: Candidates by level of refinement.
        notes: What is left out or was taken for the figures.
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
class SharedResult(Answer):
    """One chip for several models, or the best set of a few chips: which model runs where.

    Attributes:
        version: Version of the package.
        setting: Name of the setting.
        space: Name of the space of chips.
        objective: What was made as large, or as small, as possible for each model.
        unit: Unit of the objective.
        combine: How the models' scores become one.
        weights: Weight of each model.
        budget: Limits on chips and plans.
        devices: Number of devices of each model.
        chips: The chips.
        runs: Which model runs on which chip.
        score: Combined score, more is better; 1: every model is as good as on its own best chip.
        bound: Upper bound on the combined score.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search.
        chips_in_space: Number of chips of the space.
        candidates: Number of pairs of a chip and a family of plans.
        exact_evaluations: Number of exact evaluations.
        levels: Candidates by level of refinement.
        notes: What is left out or was taken for the figures.
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
        """Return by what share the best of the space can be better than the answer at most: bound / score - 1."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no candidate has a combined score above the bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit=f"{self.combine} of shares of each model's own best",
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )
