"""Exact evaluation of one chip with one plan family: schedules, partition, throughput, shares of time."""

from __future__ import annotations

from hardplace.answers import Infeasible
from hardplace.cost.types import Engine
from hardplace.design.exact.layer_kernels import scheduled_seconds
from hardplace.design.exact.partition_problem import placement_problem
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PartitionProblem, PipelinePartition, Replication, Stage
from hardplace.design.types import Cause, Evaluation, LayerSchedule, PhaseSchedule, PlanFamily
from hardplace.hardware.types import Accelerator, Setting
from hardplace.workload.types import Shard, Workload


def evaluate(
    workload: Workload,
    setting: Setting,
    shard: Shard,
    chip: Accelerator,
    family: PlanFamily,
    layers: tuple[LayerSchedule, ...],
    replications: tuple[Replication, ...],
    max_stages: int | None = None,
) -> Evaluation | Infeasible:
    """Return the best plan of a family on one chip, or what it lacks.

    Args:
        workload: The model.
        setting: The setting, with what the chip brings (`evaluator.on_chip`).
        shard: What one tensor-parallel rank computes.
        chip: The chip.
        family: The family of plans.
        layers: Schedules of the distinct layers there (`LayerKernels.schedules`); what remains of their gaps widens the
            bound of the evaluation, so that it holds for any schedule and any partition.
        replications: Data-parallel degrees with their costs.
        max_stages: Pipeline stages at most; None: as many as there are layers.
    """
    reached = placement_problem(
        workload, shard, setting, family, scheduled_seconds(layers, bound=False), replications, max_stages
    )
    possible = placement_problem(
        workload, shard, setting, family, scheduled_seconds(layers, bound=True), replications, max_stages
    )
    placement, best = place(reached), place(possible)
    if isinstance(placement, Infeasible):
        return placement
    assert isinstance(placement, PipelinePartition)
    assert isinstance(best, PipelinePartition)
    samples_per_s = setting.batch_samples / placement.batch_s
    peak = chip.peak_flops_per_s * placement.devices
    return Evaluation(
        chip=chip,
        family=family,
        placement=placement,
        layers=layers,
        order=workload.order,
        samples_per_s=samples_per_s,
        bound_samples_per_s=setting.batch_samples / best.batch_s,
        model_flops_utilisation=samples_per_s * workload.model_flops_per_sample() / peak,
        time=_time_by_cause(reached, placement, layers, workload.order),
    )


def _exposed_s(phase: PhaseSchedule) -> float:
    """Return seconds of a schedule in which only the network works."""
    busy = sorted(
        (item.start_s, item.end_s)
        for item in phase.schedule.assignments
        if phase.engines[item.task] is not Engine.NETWORK
    )
    covered, reach = 0.0, 0.0
    for start_s, end_s in busy:
        covered += max(0.0, end_s - max(start_s, reach))
        reach = max(reach, end_s)
    networked = any(engine is Engine.NETWORK for engine in phase.engines)
    return max(0.0, phase.schedule.makespan_s - covered) if networked else 0.0


def _time_by_cause(
    problem: PartitionProblem, placement: PipelinePartition, layers: tuple[LayerSchedule, ...], order: tuple[int, ...]
) -> tuple[Cause, ...]:
    """Return the shares of the batch time: the bottleneck stage's micro-batches, the bubble, the end of the batch."""
    rounds = placement.micro_batches_per_replica
    stages = placement.stages
    slowest = max(stages, key=lambda stage: stage.load_s)
    last = max(stages, key=lambda stage: stage.reduction_s + stage.optimizer_s)
    held = [layers[order[index]] for index in slowest.layers]
    forward_s = sum(layer.forward.schedule.makespan_s for layer in held)
    backward_s = sum(layer.backward.schedule.makespan_s for layer in held)
    forward_exposed_s = sum(_exposed_s(layer.forward) for layer in held)
    backward_exposed_s = sum(_exposed_s(layer.backward) for layer in held)
    again = _recomputes(problem, stages, slowest)
    recompute_s = slowest.load_s - slowest.transfer_s - forward_s - backward_s
    causes = {
        "forward": rounds * (forward_s - forward_exposed_s),
        "backward": rounds * (backward_s - backward_exposed_s),
        "recompute": rounds * recompute_s if again else 0.0,
        "tensor-parallel collectives (not hidden)": rounds * (forward_exposed_s + backward_exposed_s),
        "stage transfers": rounds * slowest.transfer_s,
        "pipeline bubble": (len(stages) - 1) * slowest.load_s,
        "gradient reduction": last.reduction_s,
        "optimizer step": last.optimizer_s,
    }
    return tuple(Cause(name=name, amount=amount) for name, amount in causes.items())


def _recomputes(problem: PartitionProblem, stages: tuple[Stage, ...], stage: Stage) -> bool:
    return problem.recompute and stage is not stages[-1]
