"""Optimistic batch times of plan families, vectorised over chips (proofs in docs/model.md, "Search bounds")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.types import Floats
from hardplace.hardware.types import Chips, Setting
from hardplace.placement.types import Replication
from hardplace.search.plans import hops
from hardplace.search.profile import Kernels, LayerSeconds
from hardplace.search.types import PlanFamily
from hardplace.workload.types import Shard, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """What fits the memory of one family, by stage count: the most replicas, half as many, and all fewer as one.

    Columns of one length: stages; rounds (micro-batches of a replica plus stages less one); seconds a byte and of
    latency of the gradient reduction; shards of the optimizer states. A row that stands for several degrees has
    the least of each, so it is a bound for all of them.
    """

    stages: Floats
    rounds: Floats
    reduction_s_per_byte: Floats
    latency_s: Floats
    shards: Floats


def shapes(feasible: list[tuple[Replication, int]], micro_batches: int) -> Shapes:
    """Return the shapes of the feasible (replication, stages) pairs."""
    by_stages: dict[int, list[Replication]] = {}
    for replication, stages in feasible:
        by_stages.setdefault(stages, []).append(replication)
    rows = []
    for stages, choices in sorted(by_stages.items()):
        ordered = sorted(choices, key=lambda one: -one.data_parallel)
        for group in (ordered[:1], ordered[1:2], ordered[2:]):
            if group:
                rounds = micro_batches // max(one.data_parallel for one in group) + stages - 1
                per_byte = min(one.reduction_s_per_byte for one in group)
                latency_s = min(one.reduction_latency_s for one in group)
                rows.append((stages, rounds, per_byte, latency_s, max(one.optimizer_shards for one in group)))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return Shapes(
        stages=columns[0],
        rounds=columns[1],
        reduction_s_per_byte=columns[2],
        latency_s=columns[3],
        shards=columns[4],
    )


def _bottleneck_s(seconds: LayerSeconds, counts: Floats, stages: float, recompute: bool, hop_s: float) -> Floats:
    """Return a lower bound on the load of the slowest of `stages` stages, shape (chips,)."""
    both = seconds.forward_s + seconds.backward_s
    total = counts[:, None] * both
    # Some stage has at least ceil(n / stages) of the n layers of a kind.
    integral = (np.ceil(counts / stages)[:, None] * both).max(axis=0)
    transfers = 2.0 * (stages - 1) * hop_s
    mean = (total.sum(axis=0) + transfers) / stages
    if recompute and stages > 1:
        # All stages but the last run the forward part again: a share of at least rho of what they hold.
        rho = np.divide(seconds.forward_s, both, out=np.zeros_like(both), where=both > 0)
        again = ((total * (1.0 + rho)).sum(axis=0)) / (stages + rho.max(axis=0))
        mean = np.maximum(mean, again)
    return np.asarray(np.maximum(integral, mean))


def batch_bound_s(
    workload: Workload,
    shard: Shard,
    setting: Setting,
    family: PlanFamily,
    seconds: LayerSeconds,
    options: Shapes,
    bottlenecks_s: Floats | None = None,
) -> Floats:
    """Return a lower bound on the batch time of any plan of a family on each chip, shape (chips,); inf if none fits.

    bottlenecks_s: least loads by number of stages, (stages, chips), where they are known; else closed forms.
    """
    layers = shard.layers
    counts = np.bincount(np.array(workload.order), minlength=len(layers)).astype(np.float64)
    parameters = np.array([layer.parameters for layer in layers], dtype=np.float64)
    reduced = float(counts @ parameters) * setting.optimizer.reduction_bytes
    update_s = counts @ seconds.optimizer_s
    sizes = [size.at(family.micro_batch) for _, _, size in hops(workload, layers)]
    outer = setting.cluster.levels[-1]
    # Every cut of a connected graph crosses at least one of its tensors.
    hop_s = min(sizes, default=0) / outer.bandwidth_bytes_per_s + outer.latency_s
    best = np.full(seconds.forward_s.shape[1], np.inf)
    for stages in np.unique(options.stages):
        if bottlenecks_s is None:
            load = _bottleneck_s(seconds, counts, stages, family.recompute, hop_s)
        else:
            load = bottlenecks_s[int(stages) - 1]
        for row in np.flatnonzero(options.stages == stages):
            end = reduced / stages * options.reduction_s_per_byte[row] + options.latency_s[row]
            end_s = end + update_s / stages / options.shards[row]
            best = np.minimum(best, load * options.rounds[row] + end_s)
    return best


def roofline(kernels: Kernels, chips: Chips, setting: Setting) -> LayerSeconds:
    """Return what physics allows each layer on each chip: work over peak, of arrays, lanes and memory alike."""
    macs, cycles, streamed = kernels.work()
    arrays = chips.tensor_cores * chips.array_rows * chips.array_columns * setting.clock_hz
    lanes = chips.vector_cores * chips.vector_lanes * setting.clock_hz
    memory = np.full(len(chips), setting.memory_bandwidth_bytes_per_s)
    parts = [
        work[:, :, None] / rate[None, None, :] for work, rate in ((macs, arrays), (cycles, lanes), (streamed, memory))
    ]
    seconds = np.maximum(np.maximum(parts[0], parts[1]), parts[2])
    return LayerSeconds(
        forward_s=seconds[:, 0], backward_s=seconds[:, 1], optimizer_s=np.zeros((len(macs), len(chips)))
    )
