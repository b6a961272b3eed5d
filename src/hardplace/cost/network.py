"""Collectives on network levels: latency and bandwidth terms (docs/model-cost.md, "Collectives")."""

from __future__ import annotations

import math

from hardplace.cost.collectives import parts
from hardplace.hardware.types import Cluster


def scatter_s(cluster: Cluster, group: int, stride: int) -> tuple[float, float]:
    """Return (seconds a byte, seconds of latency) of a reduce-scatter or an all-gather of a tensor.

    Hierarchical: each level scatters what the level inside it left, (g-1)/g of its share, in log2 g steps
    (recursive halving; Thakur et al. 2005). group: members; stride: devices from one member to the next.
    """
    s_per_byte, latency_s, share = 0.0, 0.0, 1.0
    for part in parts(cluster, group, stride):
        members, level = part.members, part.level
        s_per_byte += share * (members - 1) / members / level.reached_bytes_per_s
        latency_s += math.ceil(math.log2(members)) * level.latency_s
        share /= members
    return s_per_byte, latency_s


def all_reduce_s(cluster: Cluster, group: int, stride: int, tensor_bytes: float) -> float:
    """Return seconds of an all-reduce: a reduce-scatter and an all-gather of the tensor."""
    s_per_byte, latency_s = scatter_s(cluster, group, stride)
    return 2.0 * (s_per_byte * tensor_bytes + latency_s)
