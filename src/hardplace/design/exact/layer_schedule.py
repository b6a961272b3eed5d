"""The scheduling problems of one layer on one chip, and their solutions: what the command `schedule` shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.cost.arrays.splits import powers_of_two, split_seconds
from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.kernels.recompute import joined
from hardplace.cost.types import KernelGraph
from hardplace.design.scheduling.exact import schedule
from hardplace.design.scheduling.types import ScheduleProblem, SharingRule, TaskGraph
from hardplace.design.types import PhaseSchedule
from hardplace.hardware.types import Chips, Setting
from hardplace.workload.types import Layer, Phase


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
