"""What a plan predicts of each rank of a run in fp32: bytes at rest, bytes that autograd keeps, collectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardplace.cost.layers.work import CollectiveWork, LayerWork
from hardplace.cost.types import Collective
from hardplace.plans.chain import LayerChain, of_workload, stage_work, stages_of
from hardplace.plans.chunks import held, kept_again
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.plan import Dimension, Format, OptimizerKind, Plan
from hardplace.plans.simulate import Pass, order
from hardplace.run.types import RankCounts, Traffic
from hardplace.workload.memory import saved_bytes
from hardplace.workload.sharding import shard
from hardplace.workload.types import Parallelism, Recompute, Workload
from hardplace.workload.weights import surplus

_FP32_BYTES = 4  # of fp32, in which runs are compared
_SHORT_BYTES = 2  # of the elements that layers' work is laid out in


def in_fp32(plan: Plan) -> Plan:
    """Return the plan as it is run: fp32 throughout, so that gradients can be held to 1e-5."""
    return replace(plan, precision=Format.FP32, optimizer=OptimizerKind.ADAMW, gradient="fp32", offload=False)


def predicted_counts(
    workload: Workload, kept: Workload, plan: Plan, chunks: Sequence[Sequence[int]]
) -> tuple[RankCounts, ...]:
    """Return what a plan predicts of each of its ranks; tokens of the loss's own exchange are fp32 either way.

    Args:
        workload: Recording of the module.
        kept: Recording of the module in fp32, for what autograd keeps.
        plan: The plan, in fp32.
        chunks: Layers by stage and chunk.
    """
    chain = of_workload(workload, plan)
    places = stages_of(chain, plan)
    stages = stage_work(chain, plan, places)
    members = [{layer for layer, at in enumerate(places) if at == stage} for stage in range(plan.pipeline)]
    twice = [surplus(chain.shared, layers) for layers in members]
    saved = predicted_saved(kept, plan, chunks)
    found = [
        _stage(chain, plan, index, stage, held(stage, again, kept_again(chain, plan, index, own)), most)
        for index, (stage, again, own, most) in enumerate(zip(stages, twice, members, saved, strict=True))
    ]
    return tuple(found[stage_of(plan, rank)] for rank in range(plan.devices))


def stage_of(plan: Plan, rank: int) -> int:
    """Return the pipeline stage of a rank."""
    return rank // plan.stride(Dimension.PIPELINE) % plan.pipeline


def _stage(
    chain: LayerChain, plan: Plan, index: int, stage: Sequence[LayerWork], contents: StageContents, saved_bytes: float
) -> RankCounts:
    memory = stage_memory(replace(plan, software=""), index, contents)  # at the step's end, whatever the loop
    traffic: Traffic = {}

    def add(name: str, count: int, size: float) -> None:
        if count and size:
            before = traffic.get(name, (0, 0.0))
            traffic[name] = before[0] + count, before[1] + size

    statistics = float(_FP32_BYTES * chain.sequence_length * plan.micro_batch // plan.context)
    for layer in stage:
        for work in (*layer.forward, *layer.again, *layer.backward):
            if isinstance(work, CollectiveWork):
                wide = 1 if work.bytes == statistics else _FP32_BYTES / _SHORT_BYTES
                add(f"{work.group} {work.collective}", plan.micro_batches, plan.micro_batches * wide * work.bytes)
    for name, count, size in _replicas(plan, contents.parameters):
        add(name, count, size)
    experts = contents.expert_parameters
    if plan.expert_replicas > 1:
        kind = "expert replicas" if plan.expert > 1 else "data"
        add(f"{kind} {Collective.ALL_REDUCE}", int(plan.zero == 0), float(_FP32_BYTES * experts))
    if plan.pipeline > 1:
        sends = plan.micro_batches * (2 * plan.virtual - (index == 0) - (index == plan.pipeline - 1))
        boundary = _FP32_BYTES / _SHORT_BYTES * chain.crossing_bytes([0, 1])
        add("pipeline send", sends, sends * boundary)
    return RankCounts(
        weights_bytes=memory.weights_bytes,
        gradients_bytes=memory.gradients_bytes,
        states_bytes=memory.states_bytes,
        saved_bytes=saved_bytes,
        traffic=traffic,
    )


def _replicas(plan: Plan, parameters: int) -> list[tuple[str, int, float]]:
    """Return the collectives of weights and gradients over the replicas: the number is of passes over all weights."""
    if plan.replicas == 1:
        return []
    size, times = float(_FP32_BYTES * parameters), plan.micro_batches
    groups = plan.replicas // plan.sharded_over
    found = {
        0: [(Collective.ALL_REDUCE, 1)],
        1: [(Collective.REDUCE_SCATTER, 1), (Collective.ALL_GATHER, 1)],
        2: [(Collective.REDUCE_SCATTER, times), (Collective.ALL_GATHER, 1)],
        3: [(Collective.REDUCE_SCATTER, times), (Collective.ALL_GATHER, 2 * times)],
    }[plan.zero]
    named = [(f"data {kind}", passes, passes * size) for kind, passes in found]
    if plan.zero and groups > 1:
        between = 1 if plan.zero == 1 else times
        named.append((f"data {Collective.ALL_REDUCE}", between, between * size / plan.sharded_over))
    return named


def predicted_saved(kept: Workload, plan: Plan, chunks: Sequence[Sequence[int]]) -> list[float]:
    """Return the most bytes that autograd keeps on a rank of each stage, at the fullest moment of the schedule.

    Every pass keeps the saved storages of its chunk's layers from its forward pass to its backward pass; layers that
    are computed again keep their input.

    Args:
        kept: Recording of the module in fp32; embedding first, head and loss last.
        plan: The plan.
        chunks: Layers by stage and chunk.
    """
    rank = shard(
        kept, Parallelism(tensor=plan.tensor, sequence=plan.sequence, context=plan.context, expert=plan.expert)
    )
    first, inner = kept.order[0], kept.order[1:-1]
    found: list[float] = []
    at = [0] * len(chunks)
    place = 0
    sizes: list[list[float]] = [[] for _ in chunks]
    for chunk in range(plan.virtual):
        for stage, by_chunk in enumerate(chunks):
            total = 0.0
            for index in inner[place : place + by_chunk[chunk]]:
                again = at[stage] < (plan.recompute_layers or len(inner))
                mode = plan.recompute if again else Recompute.NONE
                total += float(saved_bytes(rank.layers[index], mode).at(plan.micro_batch))
                at[stage] += 1
            place += by_chunk[chunk]
            sizes[stage].append(total)
    sizes[0][0] += float(rank.layers[first].saved_bytes.at(plan.micro_batch))
    sizes[-1][-1] += float(rank.layers[kept.order[-1]].saved_bytes.at(plan.micro_batch))
    for stage, by in enumerate(sizes):
        now = most = 0.0
        for phase, _, chunk in order(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule):
            now += by[chunk] * {Pass.FORWARD: 1, Pass.BACKWARD: -1}.get(phase, 0)
            most = max(most, now)
        found.append(most)
    return found
