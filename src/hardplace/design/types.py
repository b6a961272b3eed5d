"""Nouns of the search over chips: families of plans, exact evaluations, and answers with their certificates."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.answers import Infeasible
from hardplace.cost.types import Engine
from hardplace.design.partition.types import PipelinePartition
from hardplace.design.scheduling.types import Schedule
from hardplace.hardware.types import Accelerator


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
class ExistingChip:
    """A chip that exists, beside an answer: its best plan in the same model and setting, and what it takes.

    Attributes:
        name: Name in the catalogue.
        title: Full name.
        evaluation: Exact evaluation of its best plan, on a chip of the model that stands for it; None: none fits.
        infeasible: What the plans lack; None where one fits.
        area_mm2: Area of all dies.
        tdp_w: Thermal design power.
        usd: Cost of making, by the model.
        published: Which of area and TDP are published; the others are the model's.
        beyond: Limits of the question that it exceeds.
        score: What it reaches of the question's objective, more is better; 0 where no plan fits.
        fitted_samples_per_s: Throughput of the same plan by the model that is fitted on the device's kernels; None:
            there is no such model, or it does not take the plan.
    """

    name: str
    title: str
    evaluation: Evaluation | None
    infeasible: Infeasible | None
    area_mm2: float
    tdp_w: float
    usd: float
    published: tuple[str, ...]
    beyond: tuple[str, ...]
    score: float
    fitted_samples_per_s: float | None = None

    @property
    def samples_per_s(self) -> float:
        """Return the throughput of its best plan; 0 where none fits."""
        return 0.0 if self.evaluation is None else self.evaluation.samples_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """An answer where one assumption is changed, under its plan with list schedules.

    Attributes:
        change: Change of the assumption, relative.
        samples_per_s: Throughput of the answer's chip; 0 where it is beyond a limit.
        usd: Cost of making it.
        best_samples_per_s: Throughput of the fastest chip near it that is within the limits; 0: none is.
        best_chip: That chip's name.
        best_is_answer: Whether that is the answer.
    """

    change: float
    samples_per_s: float
    usd: float
    best_samples_per_s: float
    best_chip: str
    best_is_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What one assumption does to an answer.

    Attributes:
        factor: The assumption: die area, TDP, HBM bandwidth, link bandwidth, clock, or wafer price.
        low: With less of it.
        high: With more of it.
        wins_below: Relative change downwards from which another chip near the answer is faster; None: not within reach.
        wins_above: The same upwards.
    """

    factor: str
    low: Variation
    high: Variation
    wins_below: float | None
    wins_above: float | None


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
