"""Seconds of what replicas send each other of weights and gradients, as ZeRO divides them."""

from __future__ import annotations

from hardplace.cost.collectives import Ring, broadcast_s
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import GemmWork, LayerWork
from hardplace.cost.types import Collective
from hardplace.plans.fleet import DevicePool
from hardplace.plans.memory import weight_bytes
from hardplace.plans.plan import GRADIENT_BYTES, Plan


def replicas_of(plan: Plan) -> tuple[Ring, Ring]:
    """Return the process groups that reduce gradients: of dense layers, and of experts."""
    return Ring(members=plan.replicas, stride=plan.replica_stride), Ring(
        members=plan.expert_replicas, stride=plan.expert * plan.stage_stride
    )


def sent_bytes(plan: Plan, site: DevicePool) -> float:
    """Return the bytes of a weight that replicas gather, of products that may run in low precision."""
    casts = site.pricer.casts
    return weight_bytes(plan) if casts is None else casts.gathered_bytes


def layer_gather_s(layer: LayerWork, plan: Plan, site: DevicePool) -> float:
    """Return seconds of gathering weights, trained, frozen and packed, from the replicas that hold shares of them."""
    low = any(isinstance(one, GemmWork) and one.low for one in layer.forward)
    weights, size = layer.weights, sent_bytes(plan, site) if low else weight_bytes(plan)
    dense = size * (weights.parameters + weights.frozen_parameters) + weights.packed_bytes
    experts = size * (weights.expert_parameters + weights.expert_frozen_parameters) + weights.expert_packed_bytes
    return over_replicas_s((dense, experts), plan, site, Collective.ALL_GATHER, 1)


def over_replicas_s(
    held: tuple[float, float], plan: Plan, site: DevicePool, collective: Collective, bytes_each: float
) -> float:
    """Return seconds of a collective of parameters (dense, of experts) over their replicas (ZeRO's shards, if
    fewer)."""
    total_s = 0.0
    for count, ring in zip(held, replicas_of(plan), strict=True):
        if count and ring.members > 1:
            members = ring.members
            if plan.shard and collective is not Collective.ALL_REDUCE:
                members = min(members, plan.shard)
            part = Ring(members=members, stride=ring.stride)
            total_s += site.pricer.exchange_s(collective, float(bytes_each * count), site.cluster, part)
    return total_s


def owners_broadcast_s(held: tuple[int, int], tensors: int, plan: Plan, site: DevicePool) -> float:
    """Return seconds in which the ranks that own a stage's tensors whole send their weights to the others, one after
    another. Nothing runs beside them, so they take what they take alone."""
    total_s = 0.0
    for count, ring in zip(held, replicas_of(plan), strict=True):
        members = min(ring.members, plan.shard or ring.members)
        if count and members > 1:
            part, owners = Ring(members=members, stride=ring.stride), min(members, max(1, tensors))
            each_bytes = weight_bytes(plan) * count / owners
            total_s += owners * broadcast_s(site.cluster, part.members, part.stride, each_bytes)
    return total_s


def between_groups_s(held: tuple[int, int], plan: Plan, site: DevicePool) -> float:
    """Return seconds of adding up the gradients of a shard (dense, of experts) over the groups of a hybrid sharding."""
    total_s = 0.0
    for count, ring in zip(held, replicas_of(plan), strict=True):
        if count and ring.members > plan.shard:
            between = Ring(members=-(-ring.members // plan.shard), stride=ring.stride * plan.shard)
            part = GRADIENT_BYTES[plan.gradient] * count / plan.shard
            total_s += site.pricer.exchange_s(Collective.ALL_REDUCE, part, site.cluster, between)
    return total_s


def weights_cast_s(whole: int, plan: Plan, site: DevicePool) -> float:
    """Return seconds of casting a rank's weights to low precision, once a step; under ZeRO-3 passes cast them.

    Embeddings and head are counted too, though they stay in 16 bit.
    """
    casts = site.pricer.casts
    if casts is None or plan.zero == 3 or not casts.weight_bytes:
        return 0.0
    return site.pricer.moved_s(Stream.ELEMENTWISE, casts.weight_bytes * whole)
