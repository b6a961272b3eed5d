"""Lower bounds on the batch time of families of plans, vectorised over chips (proofs in docs/model.md, "Search
bounds").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cuts import connected
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.exact.partition_problem import hops
from hardplace.design.partition.types import Replication
from hardplace.hardware.types import Setting
from hardplace.ndtypes import Floats
from hardplace.workload.types import Shard, Workload
from hardplace.workload.weights import parts_of, shared_weights, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FeasiblePlans:
    """The plans of one family that fit the memory, by number of stages: columns of one length.

    For each number of stages: the most replicas, half as many, and all fewer as one. A row that stands for several
    degrees has the least of each column, so it bounds all of them.

    Attributes:
        stages: Pipeline stages.
        rounds: Micro-batches of a replica plus stages less one.
        reduction_s_per_byte: Gradient reduction, seconds a byte.
        latency_s: Latency of the gradient reduction.
        shards: Ranks that divide the optimizer states.
    """

    stages: Floats
    rounds: Floats
    reduction_s_per_byte: Floats
    latency_s: Floats
    shards: Floats


def shapes(feasible: list[tuple[Replication, int]], micro_batches: int) -> FeasiblePlans:
    """Return the feasible plans of (replication, stages) pairs as columns.

    Args:
        feasible: Pairs that fit the memory.
        micro_batches: Micro-batches of a global batch.
    """
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
                latency_s = min(one.reduction_latency_s if one.data_parallel > 1 else 0.0 for one in group)
                rows.append((stages, rounds, per_byte, latency_s, max(one.optimizer_shards for one in group)))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    return FeasiblePlans(
        stages=columns[0],
        rounds=columns[1],
        reduction_s_per_byte=columns[2],
        latency_s=columns[3],
        shards=columns[4],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundInputs:
    """Inputs of the bounds: the layers of a shard at one micro-batch size, and what passes between them.

    Attributes:
        counts: How often each distinct layer is there, shape (layers,).
        reduced_bytes: Gradients of each, shape (layers,).
        once: How often the trained parameters of each count over the model where shared ones count once, shape
            (layers,).
        own: Least share of them that a layer of this kind shares with no other, shape (layers,).
        hop_s: Least seconds that a stage pays for all that comes in, or for all that goes out; 0 where the graph is not
            connected.
        sources: Positions that read nothing of others; inf where they are not counted.
        sinks: Positions that none reads; inf where they are not counted.
    """

    counts: Floats
    reduced_bytes: Floats
    once: Floats
    own: Floats
    hop_s: float
    sources: float = math.inf
    sinks: float = math.inf

    def paid(self, stages: Floats) -> Floats:
        """Return how often `hop_s` is paid at least by so many stages together (proof in docs/model.md, section 7)."""
        into, out = np.maximum(1.0, stages - self.sources), np.maximum(1.0, stages - self.sinks)
        return np.where(stages > 1, np.maximum(stages, into + out), 0.0)


def chain(workload: Workload, shard: Shard, setting: Setting, micro_batch: int) -> BoundInputs:
    """Return the inputs of the bounds for a model on the network of a setting."""
    layers = shard.layers
    trained = np.array([sum(weights_of(layer)[:2]) for layer in layers], dtype=np.float64)
    once = np.bincount(np.array(workload.order), minlength=len(layers)).astype(np.float64)
    own = np.ones(len(layers))
    shared = shared_weights(workload, layers)
    for at, part in enumerate(parts_of(shared, len(workload.order)) if shared else ()):
        index = workload.order[at]
        own[index] = min(own[index], 1.0 - sum(part[:2]) / max(1.0, trained[index]))
    for one in shared:
        for at in one.layers[1:]:
            once[workload.order[at]] -= sum(one.sizes[:2]) / max(1.0, trained[workload.order[at]])
    outer = setting.cluster.levels[-1]
    made = linked(
        workload.order,
        trained * setting.optimizer.reduction_bytes,
        [(source, target, float(size.at(micro_batch))) for source, target, size in hops(workload, layers)],
        s_per_byte=1.0 / outer.bandwidth_bytes_per_s,
        latency_s=outer.latency_s,
    )
    return replace(made, once=once, own=own)


def linked(
    order: Sequence[int],
    reduced_bytes: Floats,
    handed: Iterable[tuple[int, int, float]],
    *,
    s_per_byte: float,
    latency_s: float,
) -> BoundInputs:
    """Return the inputs of the bounds for layers in some order, on links of one kind.

    Args:
        order: Which distinct layer stands at each position.
        reduced_bytes: Gradients of each distinct layer.
        handed: (source, target, bytes) of each tensor between two positions.
        s_per_byte: Seconds a byte of a link.
        latency_s: Latency of a link.
    """
    edges = [edge for edge in handed if edge[2] > 0.0]  # for a tensor without elements nothing is paid
    least_bytes = min((size for _, _, size in edges), default=0.0)
    counts = np.bincount(np.array(order), minlength=len(reduced_bytes)).astype(np.float64)
    joined = connected(len(order), [(source, target) for source, target, _ in edges])
    return BoundInputs(
        counts=counts,
        reduced_bytes=reduced_bytes,
        once=counts,
        own=np.ones(len(counts)),
        hop_s=least_bytes * s_per_byte + latency_s if joined else 0.0,
        sources=len(order) - len({target for _, target, _ in edges}),
        sinks=len(order) - len({source for source, _, _ in edges}),
    )


def _bottlenecks_s(seconds: LayerTimes, links: BoundInputs, stages: Floats, recompute: bool) -> Floats:
    """Return lower bounds on the load of the slowest of so many stages, shape (stage counts, chips)."""
    both = seconds.forward_s + seconds.backward_s
    total = links.counts[:, None] * both
    count = stages[:, None]
    best = (total.sum(axis=0)[None, :] + links.paid(count) * links.hop_s) / count
    if recompute:
        # All stages but the last run the forward part again: a share of at least rho of what they hold.
        rho = np.divide(seconds.forward_s, both, out=np.zeros_like(both), where=both > 0)
        again = (total * (1.0 + rho)).sum(axis=0)[None, :] / (count + rho.max(axis=0)[None, :])
        best = np.maximum(best, np.where(count > 1.0, again, 0.0))
    for layer, number in enumerate(links.counts):
        # Some stage has at least ceil(n / stages) of the n layers of a kind.
        best = np.maximum(best, np.ceil(number / stages)[:, None] * both[layer][None, :])
    return np.asarray(best)


def batch_bound_s(
    seconds: LayerTimes,
    links: BoundInputs,
    recompute: bool,
    options: FeasiblePlans,
    bottlenecks_s: Floats | None = None,
) -> Floats:
    """Return a lower bound on the batch time of any plan of a family on each chip; inf if none fits.

    Args:
        seconds: Lower bounds of the layers, (layers, chips).
        links: Layers and what passes between them.
        recompute: Whether stages recompute.
        options: Plans that fit the memory.
        bottlenecks_s: Least bottleneck loads by number of stages, (stages, chips), where they are known; else closed
            forms.

    Returns:
        Seconds, shape (chips,).
    """
    chips = seconds.forward_s.shape[1]
    if not len(options.stages):
        return np.full(chips, np.inf)
    stages, which = np.unique(options.stages, return_inverse=True)
    if bottlenecks_s is None:
        load = _bottlenecks_s(seconds, links, stages, recompute)
    else:
        load = bottlenecks_s[stages.astype(np.int64) - 1]
    # End of the batch: the slowest stage is at least the mean, and at least the one with most layers of a kind.
    per_byte, shards, count = options.reduction_s_per_byte[:, None], options.shards[:, None], options.stages[:, None]
    update_s = links.once @ seconds.optimizer_s
    end = (float(links.once @ links.reduced_bytes) * per_byte + update_s[None, :] / shards) / count
    for layer, number in enumerate(links.counts):
        held = np.ceil(number / count)
        own = links.reduced_bytes[layer] * per_byte + seconds.optimizer_s[layer][None, :] / shards
        end = np.maximum(end, held * links.own[layer] * own)
    batch = load[which] * options.rounds[:, None] + end + options.latency_s[:, None]
    return np.asarray(batch.min(axis=0))
