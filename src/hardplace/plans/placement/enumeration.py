"""The plans of a space, dimension by dimension: degrees, orders, schedules, recompute, sharding
(docs/model-placement.md, "The space")."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hardplace.cost.collectives import Ring, parts
from hardplace.plans.fleet import Fleet
from hardplace.plans.placement.space import ModelDims, PlanSpace, contexts_of
from hardplace.plans.plan import INSIDE_OUT, ContextExchange, Dimension, PipelineSchedule, Plan
from hardplace.plans.replica_traffic import replicas_of
from hardplace.plans.timing import groups_of
from hardplace.workload.types import Recompute

MICRO_BATCHES = (1, 2, 4, 8, 16)  # samples


def divisors(number: int) -> list[int]:
    """Return the divisors of a number in rising order."""
    small = [one for one in range(1, int(number**0.5) + 1) if number % one == 0]
    return sorted({*small, *(number // one for one in small)})


def rank_degrees(space: PlanSpace, base: Plan, shape: ModelDims, fleet: Fleet) -> Iterator[Plan]:
    """Yield the ways to divide a layer: tensor, sequence, context and how its ranks see the whole sequence, expert.

    Tensor parallelism stays within the innermost network level, where every run stays that efficiencies are fitted on,
    unless asked for more.
    """
    devices = fleet.devices
    inner = min(site.cluster.levels[0].devices for site in fleet.sites)
    usual = [one for one in ContextExchange if one is not ContextExchange.ALL_TO_ALL or base.habits.exchanges_heads]
    for tensor in space.of("tensor", [one for one in divisors(devices) if one <= inner]):
        for sequence in space.of("sequence", (False, True)):
            for context in contexts_of(space, shape):
                for exchange in space.of("context_exchange", usual) if context > 1 else (None,):
                    for expert in space.of("expert", divisors(shape.experts)):
                        if devices % (tensor * context) or (sequence and tensor == 1) or shape.heads % tensor:
                            continue
                        yield replace(
                            base,
                            tensor=tensor,
                            sequence=sequence,
                            context=context,
                            context_exchange=exchange or ContextExchange.ALL_GATHER,
                            expert=expert,
                        )


def pipelines(space: PlanSpace, ranked: Plan, shape: ModelDims, fleet: Fleet) -> Iterator[Plan]:
    """Yield pipeline and data degrees that use all devices, with the kind of device of each stage and micro-batches."""
    width = ranked.tensor * ranked.context
    for pipeline in space.of("pipeline", divisors(fleet.devices // width)):
        data, left = divmod(fleet.devices, width * pipeline)
        if left or pipeline > shape.layers + 2 or not space.allows("data", data) or ranked.global_batch % data:
            continue
        if width * data % ranked.expert:
            continue
        each = ranked.global_batch // data
        for kinds in _kinds(fleet, width * data, pipeline):
            for micro_batch in space.of("micro_batch", MICRO_BATCHES):
                if each % micro_batch == 0:
                    yield replace(ranked, pipeline=pipeline, data=data, micro_batch=micro_batch, kinds=kinds)


def _kinds(fleet: Fleet, replica: int, pipeline: int) -> Iterator[tuple[str, ...]]:
    if len(fleet.sites) == 1:
        yield ()
        return
    counts = {site.device: site.cluster.devices // replica for site in fleet.sites}
    if sum(counts.values()) != pipeline or any(site.cluster.devices % replica for site in fleet.sites):
        return
    for names in itertools.permutations(counts):
        yield tuple(name for name in names for _ in range(counts[name]))


def orders(space: PlanSpace, plan: Plan, fleet: Fleet) -> list[Plan]:
    """Return a plan with each order of its degrees that puts some process group on other network levels.

    Tensor is innermost unless asked for otherwise.
    """
    seen: dict[object, Plan] = {}
    tensor, *others = INSIDE_OUT
    for order in space.of("order", [(tensor, *rest) for rest in itertools.permutations(others)]):
        one = replace(plan, order=order)
        if not one.order_problem():
            seen.setdefault(_landing(one, fleet), one)
    return list(seen.values())


def _landing(plan: Plan, fleet: Fleet) -> object:
    """Return the levels that each group of ranks meets on, and over how many ZeRO may shard within a node."""
    dense, experts = replicas_of(plan)
    hop = Ring(members=2 if plan.pipeline > 1 else 1, stride=plan.stride(Dimension.PIPELINE))
    rings = [*groups_of(plan).values(), dense, experts, hop]
    levels = tuple(
        tuple((part.members, part.level.name) for part in parts(site.cluster, ring.members, ring.stride))
        for site in fleet.sites
        for ring in rings
    )
    return levels, _near(plan, fleet)


def schedules(space: PlanSpace, plan: Plan, shape: ModelDims) -> list[tuple[PipelineSchedule, int]]:
    """Return schedules with their virtual stages: of 1F1B the divisors of a stage's layers, rounded up, of a V 2."""
    if plan.pipeline == 1:
        allowed = [one for one in space.of("schedule", (PipelineSchedule.ONE_F_ONE_B,)) if not one.folds]
        return [(one, 1) for one in allowed[:1] if space.allows("virtual", 1)]
    each = -(-shape.layers // plan.pipeline)
    chunked = [1] if shape.branches or plan.micro_batches % plan.pipeline else divisors(each)
    found = []
    for schedule in space.schedules:
        if schedule.folds:
            if not shape.branches and space.allows("virtual", 2) and _fills(schedule, plan, shape):
                found.append((schedule, 2))
            continue
        for virtual in space.of("virtual", chunked) if schedule is PipelineSchedule.ONE_F_ONE_B else (1,):
            if space.allows("virtual", virtual) and (virtual == 1 or (chunked != [1] and virtual <= each)):
                found.append((schedule, virtual))
    return found


def _fills(schedule: PipelineSchedule, plan: Plan, shape: ModelDims) -> bool:
    """Return whether a V's chunks have a layer each (embedding and head count as one), and DualPipeV its
    micro-batches."""
    few = schedule is PipelineSchedule.DUALPIPE_V and plan.micro_batches < 2 * plan.pipeline
    return shape.layers >= 2 * (plan.pipeline - 1) and not few


def recomputes(space: PlanSpace, plan: Plan, shape: ModelDims) -> list[tuple[Recompute, int]]:
    """Return what is recomputed, and of how many of each stage's layers (0: all; of layers whose
    activations wait in host memory all, or none)."""
    usual = tuple(Recompute) if not plan.flash or space.eases else (Recompute.NONE, Recompute.FULL)
    found: list[tuple[Recompute, int]] = []
    for kind in space.of("recompute", usual):
        if kind is Recompute.FULL:
            found += [(kind, count) for count in _recomputed(space, plan, shape)]
        elif space.allows("recompute_layers", 0):
            found.append((kind, 0))
    return found


def eased(plan: Plan, kind: Recompute, count: int) -> Plan:
    """Return a plan that recomputes so: with its modules where that is selective, without them else."""
    modules = plan.recompute_modules if kind is Recompute.SELECTIVE else ()
    return replace(plan, recompute=kind, recompute_layers=count, recompute_modules=modules)


def more_recomputed(space: PlanSpace, plan: Plan, shape: ModelDims) -> list[int]:
    """Return, of a plan that recomputes so many layers of each stage, the larger numbers that the space has, rising."""
    count = plan.recompute_layers
    more = [one for one in _recomputed(space, plan, shape) if one > count > 0]
    if space.within is None:
        return more
    return [one for one in more if space.admits(replace(plan, recompute_layers=one))]


def _recomputed(space: PlanSpace, plan: Plan, shape: ModelDims) -> Sequence[int]:
    """Return how many of each stage's layers full recompute may take, in rising order; 0: all."""
    if "recompute_layers" in space.fixed:
        return sorted(one for one in space.fixed["recompute_layers"] if one <= shape.layers)
    return range(1 if shape.branches or plan.offload_layers else -(-shape.layers // plan.pipeline))


def shards(space: PlanSpace, plan: Plan, fleet: Fleet) -> list[tuple[int, int]]:
    """Return ZeRO stages with the replicas that they shard over: all, or those within the innermost network level."""
    replicas = plan.replicas
    zeros = (0, 1, 2, 3) if replicas > 1 else (0,)
    inner = _near(plan, fleet)
    near = (0, inner) if inner else (0,)
    found = []
    for zero in space.of("zero", zeros):
        if plan.pipeline > 1 and (zero == 3 or (zero == 2 and "zero" not in space.fixed)):
            continue  # not in DeepSpeed or Megatron-LM; ZeRO-2 if asked for
        found += [(zero, shard) for shard in space.of("shard", near) if zero or not shard]
    return [(zero, shard) for zero, shard in found if not shard or replicas % shard == 0]


def _near(plan: Plan, fleet: Fleet) -> int:
    """Return the replicas within the innermost network level, if ZeRO may shard over them alone; else 0."""
    inner = min(site.cluster.levels[0].devices for site in fleet.sites) // plan.replica_stride
    return inner if 1 < inner < plan.replicas and plan.replicas % inner == 0 else 0


def whole_plans(
    plan: Plan,
    sharded: Sequence[tuple[int, int]],
    schedules: Sequence[tuple[PipelineSchedule, int]],
    kinds: Sequence[tuple[Recompute, int]],
) -> Iterator[Plan]:
    """Yield the plans of the same degrees, before their stages are cut, with each sharding, schedule and recompute."""
    for (zero, shard), (schedule, virtual), (kind, count) in itertools.product(sharded, schedules, kinds):
        yield replace(eased(plan, kind, count), zero=zero, shard=shard, schedule=schedule, virtual=virtual)
