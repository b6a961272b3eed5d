"""A small, consistent exploration, written by hand: derived numbers follow from the layers' schedules."""

from __future__ import annotations

from itertools import pairwise

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.cost.types import Engine
from hardplace.design.partition.types import PipelinePartition, Stage
from hardplace.design.results import DesignResult
from hardplace.design.scheduling.types import Assignment, Schedule, Status
from hardplace.design.types import (
    Baseline,
    Cause,
    Cloud,
    Evaluation,
    LayerSchedule,
    PhaseSchedule,
    PlanChoices,
    PlanFamily,
    RefinementLevel,
)
from hardplace.hardware.types import Accelerator, Budget, Cluster, NetworkLevel

SEQUENCE, BATCH, DATA_PARALLEL = 4096, 768, 64
TRANSFER_S, REDUCTION_S, OPTIMIZER_S = 0.2e-3, 9e-3, 2e-3


def chip(tensor_cores: int = 4, vector_cores: int = 2, area_mm2: float = 250.0) -> Accelerator:
    return Accelerator(
        name=f"{tensor_cores}x128x128-{vector_cores}x128-32MiB",
        tensor_cores=tensor_cores,
        array_rows=128,
        array_columns=128,
        vector_cores=vector_cores,
        vector_lanes=128,
        buffer_bytes=32 * 2**20,
        clock_hz=1.05e9,
        memory_bytes=80 * 2**30,
        memory_bandwidth_bytes_per_s=3.35e12,
        buffer_bandwidth_bytes_per_s=5.5e12,
        area_mm2=area_mm2,
    )


def phase(*kernels: tuple[str, Engine, float, float, bool, int], slack: float = 1.0) -> PhaseSchedule:
    """Kernels as (name, engine, start in ms, end in ms, whole, core)."""
    assignments = tuple(
        Assignment(
            task=task,
            start_s=start * 1e-3,
            end_s=end * 1e-3,
            whole=whole,
            tensor_cores=(core,) if engine in (Engine.TENSOR, Engine.BOTH) and not whole else (),
            vector_cores=(core,) if engine in (Engine.VECTOR, Engine.BOTH) and not whole else (),
        )
        for task, (_, engine, start, end, whole, core) in enumerate(kernels)
    )
    makespan = max(item.end_s for item in assignments)
    return PhaseSchedule(
        kernels=tuple(kernel[0] for kernel in kernels),
        engines=tuple(kernel[1] for kernel in kernels),
        schedule=Schedule(
            assignments=assignments,
            makespan_s=makespan,
            bound_s=makespan * slack,
            status=Status.OPTIMAL if slack == 1.0 else Status.FEASIBLE,
        ),
    )


def layers() -> tuple[LayerSchedule, ...]:
    tensor, vector, both, network = Engine.TENSOR, Engine.VECTOR, Engine.BOTH, Engine.NETWORK
    return (
        LayerSchedule(
            layer="embedding",
            forward=phase(("embed_tokens", vector, 0.0, 0.3, True, -1)),
            backward=phase(("embed_tokens grad", vector, 0.0, 0.5, True, -1)),
            optimizer_s=0.4e-3,
        ),
        LayerSchedule(
            layer="block",
            forward=phase(
                ("input_layernorm rms_norm", vector, 0.0, 0.1, True, -1),
                ("self_attn.q_proj forward", tensor, 0.1, 0.7, False, 0),
                ("self_attn.k_proj forward", tensor, 0.1, 0.7, False, 1),
                ("self_attn.v_proj forward", tensor, 0.1, 0.7, False, 2),
                ("self_attn.rotary mul +3", vector, 0.7, 0.8, False, 1),
                ("self_attn attention", both, 0.8, 1.4, True, -1),
                ("self_attn.o_proj forward", tensor, 1.4, 1.6, True, -1),
                ("all_reduce", network, 1.6, 1.9, False, -1),
                ("mlp.gate_proj forward", tensor, 1.9, 2.4, True, -1),
                ("mlp.up_proj forward", tensor, 2.4, 2.9, True, -1),
                ("mlp.act_fn silu +1", vector, 2.9, 3.0, False, 0),
                ("mlp.down_proj forward", tensor, 3.0, 3.5, True, -1),
                slack=0.98,
            ),
            backward=phase(
                ("mlp.down_proj dgrad", tensor, 0.0, 0.5, True, -1),
                ("mlp.act_fn silu_backward +1", vector, 0.5, 0.6, False, 0),
                ("mlp.down_proj wgrad", tensor, 0.5, 1.9, False, 0),
                ("mlp.up_proj dgrad", tensor, 0.6, 2.0, False, 1),
                ("mlp.gate_proj dgrad", tensor, 0.6, 2.0, False, 2),
                ("self_attn.o_proj dgrad", tensor, 2.0, 2.2, True, -1),
                ("self_attn attention_backward", both, 2.2, 3.6, True, -1),
                ("self_attn.qkv dgrad", tensor, 3.6, 4.4, True, -1),
                ("all_reduce grad", network, 4.4, 4.7, False, -1),
                ("self_attn.qkv wgrad", tensor, 4.4, 5.6, True, -1),
                ("input_layernorm grad", vector, 5.6, 5.9, True, -1),
                slack=0.99,
            ),
            optimizer_s=0.2e-3,
        ),
        LayerSchedule(
            layer="head",
            forward=phase(("lm_head forward", tensor, 0.0, 2.0, True, -1), ("loss", vector, 2.0, 2.4, True, -1)),
            backward=phase(("loss grad", vector, 0.0, 0.3, True, -1), ("lm_head grad", tensor, 0.3, 4.3, True, -1)),
            optimizer_s=0.4e-3,
        ),
    )


def evaluation(
    *, stages: int = 3, micro_batches: int = 12, recompute: bool = True, on: Accelerator | None = None
) -> Evaluation:
    """Return a plan with four blocks a stage, the embedding on the first and the head on the last."""
    kinds, used = layers(), on or chip()
    order = (0, *([1] * (4 * stages)), 2)
    bounds = [0, *(1 + 4 * (stage + 1) for stage in range(stages - 1)), len(order)]
    held = [tuple(range(*span)) for span in pairwise(bounds)]
    found = tuple(
        _stage(position, stages, [kinds[order[index]] for index in held[position]], held[position], recompute)
        for position in range(stages)
    )
    bottleneck_s = max(stage.load_s for stage in found)
    end_s = max(stage.reduction_s + stage.optimizer_s for stage in found)
    batch_s = bottleneck_s * (micro_batches + stages - 1) + end_s
    samples = DATA_PARALLEL * micro_batches
    return Evaluation(
        chip=used,
        family=PlanFamily(memory_bytes=80 * 2**30, micro_batch=1, recompute=recompute, tensor_parallel=2),
        placement=PipelinePartition(
            tensor_parallel=2,
            data_parallel=DATA_PARALLEL,
            micro_batches_per_replica=micro_batches,
            stages=found,
            batch_s=batch_s,
            bottleneck_s=bottleneck_s,
            end_of_batch_s=end_s,
        ),
        layers=kinds,
        order=order,
        samples_per_s=samples / batch_s,
        bound_samples_per_s=1.004 * samples / batch_s,
        model_flops_utilisation=0.413,
        time=_causes(found, kinds, order, micro_batches),
    )


def _stage(position: int, stages: int, own: list[LayerSchedule], held: tuple[int, ...], recompute: bool) -> Stage:
    forward_s = sum(layer.forward.schedule.makespan_s for layer in own)
    backward_s = sum(layer.backward.schedule.makespan_s for layer in own)
    transfer_s = TRANSFER_S * ((position > 0) + (position < stages - 1))
    again_s = forward_s if recompute and position < stages - 1 else 0.0
    state, activation = 6.5e9 * len(own), 2e9 * min(stages - position, 24) * (3 / max(3, stages))
    return Stage(
        layers=held,
        devices=2,
        load_s=forward_s + again_s + backward_s + transfer_s,
        transfer_s=transfer_s,
        memory_bytes=state + activation + 1.5e9,
        state_bytes=state,
        activation_bytes=activation,
        reduction_s=REDUCTION_S,
        optimizer_s=OPTIMIZER_S,
    )


def _causes(
    stages: tuple[Stage, ...], kinds: tuple[LayerSchedule, ...], order: tuple[int, ...], rounds: int
) -> tuple[Cause, ...]:
    slowest = max(stages, key=lambda stage: stage.load_s)
    own = [kinds[order[index]] for index in slowest.layers]
    forward_s = sum(layer.forward.schedule.makespan_s for layer in own)
    backward_s = sum(layer.backward.schedule.makespan_s for layer in own)
    shares = {
        "forward": rounds * forward_s,
        "backward": rounds * backward_s,
        "recompute": rounds * (slowest.load_s - slowest.transfer_s - forward_s - backward_s),
        "stage transfers": rounds * slowest.transfer_s,
        "pipeline bubble": (len(stages) - 1) * slowest.load_s,
        "gradient reduction": REDUCTION_S,
        "optimizer step": OPTIMIZER_S,
    }
    return tuple(Cause(name=name, amount=amount) for name, amount in shares.items())


def exploration(
    *, best: Evaluation | None = None, points: int = 40, model: str = "llama2-7b", stop: Stop = Stop.GAP
) -> DesignResult:
    best = best or evaluation()
    peer = evaluation(
        recompute=True,
        on=chip(8, 2, 278.8),
        micro_batches=best.placement.micro_batches_per_replica,
        stages=len(best.placement.stages),
    )
    slower = Baseline(name="TPUv4", evaluation=peer, infeasible=None)
    lacking = Infeasible(
        what="memory of a device", needed=112.4e9, available=85.9e9, unit="bytes", remedy="shard the states"
    )
    levels = (
        RefinementLevel(name="roofline", entered=120 * points, discarded=100 * points, seconds=0.2),
        RefinementLevel(name="schedule bounds", entered=20 * points, discarded=20 * points - 9, seconds=3.1),
        RefinementLevel(name="placement on schedule bounds", entered=9, discarded=5, seconds=1.25),
        RefinementLevel(name="exact schedules and placement", entered=4, discarded=0, seconds=6.4),
    )
    value = best.samples_per_s
    return DesignResult(
        version="0.1.0",
        model=model,
        parameters=6_738_415_616,
        sequence_length=SEQUENCE,
        setting="hbm3",
        space="phaze",
        objective="throughput",
        unit="samples/s",
        inverse=False,
        budget=Budget(area_mm2=278.83),
        cluster=Cluster(
            devices=1024,
            levels=(
                NetworkLevel(name="node", devices=8, bandwidth_bytes_per_s=450e9, latency_s=3.4e-6),
                NetworkLevel(name="between nodes", devices=1024, bandwidth_bytes_per_s=50e9, latency_s=14e-6),
            ),
        ),
        batch_samples=DATA_PARALLEL * best.placement.micro_batches_per_replica,
        optimizer="adamw",
        choices=PlanChoices(
            memory_bytes=(80.0 * 2**30,),
            micro_batches=(1, 2),
            recompute=(False, True),
            tensor_parallel=(1, 2),
        ),
        target_gap=0.01,
        limit_s=None,
        chips_in_space=points,
        candidates=120 * points,
        best=best,
        baselines=(slower, Baseline(name="pure data parallel", evaluation=None, infeasible=lacking)),
        score=best.samples_per_s,
        bound=value * 1.0073,
        stop=stop,
        seconds=11.3,
        exact_evaluations=4,
        levels=levels,
        progress=(
            Progress(seconds=0.2, score=0.0, bound=value * 2.1),
            Progress(seconds=3.3, score=value * 0.93, bound=value * 1.21),
            Progress(seconds=4.6, score=value * 0.97, bound=value * 1.03),
            Progress(seconds=9.0, score=value, bound=value * 1.0073),
        ),
        cloud=cloud(best, points),
        notes=("operators without a model of their own (0.02% of vector elements): cumsum",),
    )


def cloud(best: Evaluation, points: int) -> Cloud:
    """Return the best chip and others below its throughput, spread without randomness."""
    area, value, bound = [best.chip.area_mm2], [best.samples_per_s * 0.997], [best.samples_per_s * 1.6]
    for index in range(1, points):
        share = ((index * 0.618034) % 1.0) ** 0.7
        area.append(3.0 + 275.0 * share)
        value.append(best.samples_per_s * 0.95 * share**0.6 * ((index * 0.754877) % 1.0) ** 0.4)
        bound.append(min(best.samples_per_s * 1.6, value[-1] * 2.5))
    labels = (best.chip.name, *(f"chip-{index}" for index in range(1, points)))
    return Cloud(area_mm2=tuple(area), samples_per_s=tuple(value), bound_samples_per_s=tuple(bound), label=labels)
