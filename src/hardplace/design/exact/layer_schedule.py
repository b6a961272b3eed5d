"""The scheduling problems of one layer on one chip, and their solutions: the answer of `schedule`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.branch_and_bound.types import check_gap
from hardplace.certificate import Certificate
from hardplace.cost.arrays.splits import powers_of_two, split_seconds
from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.kernels.recompute import joined
from hardplace.cost.types import Engine, KernelGraph
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.types import Assignment, ScheduleProblem, SharingRule, TaskGraph
from hardplace.design.types import PhaseSchedule
from hardplace.errors import unknown
from hardplace.hardware.phaze import accelerator
from hardplace.hardware.types import Accelerator, Chips, Setting
from hardplace.workload.sharding import shard
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.types import Layer, Parallelism, Phase, Workload


class LayerPass(StrEnum):
    """Pass of a layer that is scheduled as one graph; RECOMPUTE is the recomputed forward pass with the backward
    pass.
    """

    FORWARD = "forward"
    BACKWARD = "backward"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerQuestion:
    """One layer on one chip: what its schedules depend on.

    Attributes:
        layer: The layer.
        tensor_parallel: Tensor-parallel degree.
        micro_batch: Samples of a micro-batch.
        chips: The chip, alone.
        setting: Memory system and network.
        rule: How kernels on all cores share the chip with others.
        splits: Whether a kernel may run on 2, 4, ... cores of its kind, besides on one and on all.
    """

    layer: Layer
    tensor_parallel: int
    micro_batch: int
    chips: Chips
    setting: Setting
    rule: SharingRule = SharingRule.EXCLUSIVE
    splits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledPass:
    """One pass of a layer with its schedule.

    A core that only waits while a kernel has the whole chip to itself is not in use.

    Attributes:
        name: The pass.
        phase: Kernels and their schedule, in seconds from the start of the pass.
        tensor_utilisation: Share of the tensor cores' time that is spent on a kernel, 0 to 1.
        vector_utilisation: Share of the vector cores' time, 0 to 1.
    """

    name: str
    phase: PhaseSchedule
    tensor_utilisation: float
    vector_utilisation: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LayerScheduleResult(Answer):
    """The schedules of one layer's passes on the cores of a chip, for one micro-batch.

    Attributes:
        model: Name of the model.
        layer: Name of the layer.
        micro_batch: Samples of the micro-batch.
        tensor_parallel: Tensor-parallel degree.
        setting: Memory system and network, by name.
        rule: How kernels on all cores share the chip with others.
        splits: Whether kernels may run on 2, 4, ... cores.
        chip: The chip.
        passes: The passes, in the order in which they were asked for.
        seconds: Wall-clock seconds of the search.
    """

    ROWS: ClassVar[str] = "passes"

    model: str
    layer: str
    micro_batch: int
    tensor_parallel: int
    setting: str
    rule: SharingRule
    splits: bool
    chip: Accelerator
    passes: tuple[ScheduledPass, ...]
    seconds: float = 0.0

    @property
    def certificate(self) -> Certificate:
        """Return the proof, as layers a second of all passes together; considered: kernels on cores, up to 10^18."""
        cores = self.chip.tensor_cores + self.chip.vector_cores
        kernels = sum(len(one.phase.kernels) for one in self.passes)
        slowest = max((one.phase.schedule for one in self.passes), key=lambda one: one.gap)
        return Certificate(
            score=1.0 / sum(one.phase.schedule.makespan_s for one in self.passes),
            bound=1.0 / sum(one.phase.schedule.bound_s for one in self.passes),
            unit="layers/s", stop=slowest.status.value, considered=min(cores**kernels, 10**18), seconds=self.seconds,
        )  # fmt: skip


def cores_taken(item: Assignment) -> int:
    """Return on how many cores of its kind a kernel runs that does not run on all of them; 0 on no cores."""
    return max(len(item.tensor_cores), len(item.vector_cores))


def layer_of(workload: Workload, tensor_parallel: int, name: str | None) -> Layer:
    """Return a layer as one rank has it, by its name.

    Args:
        workload: The model.
        tensor_parallel: Tensor-parallel degree.
        name: Name of the layer; None: the one that the model repeats most.

    Raises:
        BadInput: For a degree that the model does not have, and a name that is no layer's.
    """
    parallelism = Parallelism(tensor=tensor_parallel)
    check_degrees(workload, parallelism)
    layers = shard(workload, parallelism).layers
    if name is None:
        return layers[max(workload.order, key=workload.order.count)]
    for layer in layers:
        if layer.name == name:
            return layer
    raise unknown("layer", name, [layer.name for layer in layers])


def schedule_layer(
    question: LayerQuestion, model: str, passes: Sequence[LayerPass], *, gap: float, limit_s: float | None
) -> LayerScheduleResult:
    """Return the best schedules found of a layer's passes.

    Args:
        question: The layer and the chip.
        model: Name of the model.
        passes: The passes.
        gap: Gap of the rate, makespan / bound - 1, at which the schedule of a pass is good enough.
        limit_s: Seconds for each pass; None: no limit.

    Raises:
        BadInput: For a gap that is no share.
    """
    check_gap(gap)
    start_s = perf_counter()
    shorter = gap / (1.0 + gap)  # the same as a share of the makespan, which schedulers stop at
    chip = accelerator(question.chips, 0, question.setting, question.setting.memory_capacities_bytes[-1])
    return LayerScheduleResult(
        model=model, layer=question.layer.name, micro_batch=question.micro_batch,
        tensor_parallel=question.tensor_parallel, setting=question.setting.name, rule=question.rule,
        splits=question.splits, chip=chip,
        passes=tuple(
            scheduled_pass(which.value, schedule_pass(question, which, gap=shorter, limit_s=limit_s), chip)
            for which in passes
        ),
        seconds=perf_counter() - start_s,
    )  # fmt: skip


def scheduled_pass(name: str, phase: PhaseSchedule, chip: Accelerator) -> ScheduledPass:
    """Return a pass with the utilisation of its cores."""
    shares = []
    for engine, cores in ((Engine.TENSOR, chip.tensor_cores), (Engine.VECTOR, chip.vector_cores)):
        busy_s = sum(
            (item.end_s - item.start_s) * (cores if item.whole else cores_taken(item))
            for item, mine in zip(phase.schedule.assignments, phase.engines, strict=True)
            if mine in (engine, Engine.BOTH)
        )
        whole_s = cores * phase.schedule.makespan_s
        shares.append(busy_s / whole_s if whole_s > 0 else 0.0)
    return ScheduledPass(name=name, phase=phase, tensor_utilisation=shares[0], vector_utilisation=shares[1])


def pass_graph(question: LayerQuestion, which: LayerPass) -> KernelGraph:
    """Return the kernel graph of one pass of the layer."""
    cycles = question.setting.function_cycles
    forward, backward = (
        kernel_graph(question.layer, phase, question.micro_batch, cycles) for phase in (Phase.FORWARD, Phase.BACKWARD)
    )
    if which is LayerPass.RECOMPUTE:
        return joined(question.layer, forward, backward)
    return forward if which is LayerPass.FORWARD else backward


def problem(question: LayerQuestion, graph: KernelGraph) -> ScheduleProblem:
    """Return the scheduling problem of a graph of the layer's kernels."""
    chips = question.chips
    pricing = (graph.kernels, chips, question.setting, question.tensor_parallel)
    times = kernel_times(*pricing)
    splits = powers_of_two(chips) if question.splits else ()
    return ScheduleProblem(
        graph=TaskGraph.of(graph),
        tensor_cores=int(chips.tensor_cores[0]),
        vector_cores=int(chips.vector_cores[0]),
        single_s=tuple(times.single_s[:, 0].tolist()),
        whole_s=tuple(times.whole_s[:, 0].tolist()),
        splits=splits,
        split_s=tuple(map(tuple, split_seconds(*pricing, splits)[:, :, 0].tolist())),
        rule=question.rule,
    )


def schedule_pass(question: LayerQuestion, which: LayerPass, *, gap: float, limit_s: float | None) -> PhaseSchedule:
    """Return the best schedule found of one pass, with its lower bound; limits as in `scheduling.exact.schedule`."""
    one = problem(question, pass_graph(question, which))
    return PhaseSchedule(
        kernels=one.graph.names,
        engines=one.graph.engines,
        schedule=schedule(one, gap=gap, limit_s=limit_s),
    )
