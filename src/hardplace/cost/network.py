"""Collectives on network levels: latency and bandwidth terms (docs/model.md, "Collectives")."""

from __future__ import annotations

import math

from hardplace.hardware.types import Cluster


def _split(cluster: Cluster, group: int, stride: int) -> list[tuple[int, float, float]]:
    """Return (members, bandwidth, latency) of each level, inside out, for a group whose members are stride apart."""
    parts = []
    left, reach = group, stride
    for level in cluster.levels:
        inside = math.gcd(left, max(1, level.devices // reach))
        if level is cluster.levels[-1]:
            inside = left
        if inside > 1:
            parts.append((inside, level.bandwidth_bytes_per_s * level.efficiency, level.latency_s))
        left //= inside
        reach *= inside
    return parts


def scatter_s(cluster: Cluster, group: int, stride: int) -> tuple[float, float]:
    """Return (seconds a byte, seconds of latency) of a reduce-scatter or an all-gather of a tensor.

    Hierarchical: each level scatters what the level inside it left, (g-1)/g of its share, in log2 g steps
    (recursive halving; Thakur et al. 2005). group: members; stride: devices from one member to the next.
    """
    per_byte, latency_s, share = 0.0, 0.0, 1.0
    for members, bandwidth, step_s in _split(cluster, group, stride):
        per_byte += share * (members - 1) / members / bandwidth
        latency_s += math.ceil(math.log2(members)) * step_s
        share /= members
    return per_byte, latency_s


def all_reduce_s(cluster: Cluster, group: int, stride: int, tensor_bytes: float) -> float:
    """Return seconds of an all-reduce: a reduce-scatter and an all-gather of the tensor."""
    per_byte, latency_s = scatter_s(cluster, group, stride)
    return 2.0 * (per_byte * tensor_bytes + latency_s)
