"""Inputs of the bounds on the batch time of families of plans: the plans that fit, the layers, and what passes between
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hardplace.cuts import connected
from hardplace.design.exact.partition_problem import hops
from hardplace.design.partition.types import Replication
from hardplace.design.search.whole_layers import FullestStages, WholeLayers
from hardplace.hardware.types import Setting
from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.workload.types import Shard, Workload
from hardplace.workload.weights import SharedWeights, parts_of, shared_weights, weights_of


@dataclass(frozen=True, kw_only=True)
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
        plans: Of each the (replicas, stages) that hold least memory.
        whole: Stages of whole layers; None: not known.
    """

    stages: Floats
    rounds: Floats
    reduction_s_per_byte: Floats
    latency_s: Floats
    shards: Floats
    plans: tuple[tuple[int, int], ...] = ()
    whole: WholeLayers | None = None

    @cached_property
    def fullest(self) -> FullestStages | None:
        """Return what the fullest stage of each holds at least; worked out when a bound first asks; None: not known."""
        return None if self.whole is None else self.whole.fullest(self.plans)

    def take(self, index: Ints) -> FeasiblePlans:
        """Return the rows at these positions, without what their fullest stages hold."""
        return FeasiblePlans(
            stages=self.stages[index],
            rounds=self.rounds[index],
            reduction_s_per_byte=self.reduction_s_per_byte[index],
            latency_s=self.latency_s[index],
            shards=self.shards[index],
        )


def shapes(
    feasible: list[tuple[Replication, int]],
    micro_batches: int,
    whole: WholeLayers | None = None,
) -> FeasiblePlans:
    """Return the feasible plans of (replication, stages) pairs as columns.

    Args:
        feasible: Pairs that fit the memory.
        micro_batches: Micro-batches of a global batch.
        whole: Stages of whole layers; None: not known.
    """
    # By degree, the largest first.
    ways = sorted({one.data_parallel: one for one, _ in feasible}.values(), key=lambda one: -one.data_parallel)
    place = {one.data_parallel: index for index, one in enumerate(ways)}
    counts = sorted({stages for _, stages in feasible})
    row = {stages: index for index, stages in enumerate(counts)}
    there = np.zeros((len(counts), len(ways)), dtype=bool)
    there[[row[stages] for _, stages in feasible], [place[one.data_parallel] for one, _ in feasible]] = True
    before = np.cumsum(there, axis=1)  # of each degree how many there are up to it
    # The most replicas, half as many, all fewer: rows of one number of stages next to one another.
    groups = np.stack([there & (before == 1), there & (before == 2), there & (before > 2)], axis=1)
    groups = groups.reshape(3 * len(counts), len(ways))
    some = groups.any(axis=1)
    groups, stages = groups[some], np.repeat(np.array(counts, dtype=np.int64), 3)[some]
    degree, shards = (
        np.array([getattr(one, name) for one in ways], dtype=np.int64) for name in ("data_parallel", "optimizer_shards")
    )
    per_byte = np.array([one.reduction_s_per_byte for one in ways])
    latency_s = np.array([one.reduction_latency_s if one.data_parallel > 1 else 0.0 for one in ways])
    # Where states are divided most, least memory is held, so what fits there bounds all.
    most = np.where(groups, shards, 0).argmax(axis=1) if len(ways) else stages
    return FeasiblePlans(
        stages=stages.astype(np.float64),
        rounds=(micro_batches // np.where(groups, degree, 1).max(axis=1, initial=1) + stages - 1).astype(np.float64),
        reduction_s_per_byte=np.where(groups, per_byte, np.inf).min(axis=1, initial=np.inf),
        latency_s=np.where(groups, latency_s, np.inf).min(axis=1, initial=np.inf),
        shards=np.where(groups, shards, 0).max(axis=1, initial=0).astype(np.float64),
        plans=tuple(zip(degree[most].tolist(), stages.tolist(), strict=True)),
        whole=whole,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLayers:
    """The only layer that reads from none and the only one that none reads: of several stages the first has the one,
    the last the other.

    Attributes:
        at: Position of each.
        layers: Which distinct layer each is.
        alone: Share of its parameters that each holds, where what it has several times counts once.
        between: Which distinct layers stand elsewhere too, (layers,).
        shared: What both hold: bytes of gradient, and how many layers hold it.
        s_per_byte: Seconds a byte of the links between stages.
        latency_s: Latency of one of them.
    """

    at: tuple[int, int]
    layers: tuple[int, int]
    between: Bools
    alone: tuple[float, float] = (1.0, 1.0)
    shared: tuple[tuple[float, int], ...] = ()
    s_per_byte: float = 0.0
    latency_s: float = 0.0

    def adding_up_s(self, stages: Floats) -> Floats:
        """Return the seconds in which the first and the last of so many stages, two or more, add up what they share."""
        found = np.zeros(len(stages))
        for size, holders in self.shared:
            members = np.maximum(np.minimum(stages, float(holders)), 1.0)
            found = found + 2.0 * (members - 1.0) * (self.s_per_byte * size / members + self.latency_s)
        return found


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
        ends: The layers at both ends, where there is one at each; None: not known.
    """

    counts: Floats
    reduced_bytes: Floats
    once: Floats
    own: Floats
    hop_s: float
    sources: float = math.inf
    sinks: float = math.inf
    ends: EndLayers | None = None

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
    at_ends = made.ends
    if at_ends is not None:
        at_ends = _with_shared(at_ends, shared, trained, setting.optimizer.gradient_bytes)
    return replace(made, once=once, own=own, ends=at_ends)


def _with_shared(ends: EndLayers, shared: Sequence[SharedWeights], trained: Floats, gradient_bytes: float) -> EndLayers:
    """Return the layers at both ends with what both hold; trained: parameters of each distinct layer."""
    again = [sum(sum(one.sizes[:2]) * max(0, one.layers.count(at) - 1) for one in shared) for at in ends.at]
    first, last = (1.0 - more / max(1.0, trained[kind]) for more, kind in zip(again, ends.layers, strict=True))
    both = tuple(
        (float(gradient_bytes * sum(one.sizes[:2])), len(set(one.layers)))
        for one in shared
        if sum(one.sizes[:2]) and set(ends.at) <= set(one.layers)
    )
    return replace(ends, alone=(first, last), shared=both)


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
    read, written = {source for source, _, _ in edges}, {target for _, target, _ in edges}
    sources = [at for at in range(len(order)) if at not in written]
    sinks = [at for at in range(len(order)) if at not in read]
    ends = None
    if len(sources) == len(sinks) == 1 and sources != sinks:
        at = (sources[0], sinks[0])
        inner = np.bincount(np.delete(np.array(order), at), minlength=len(reduced_bytes)) > 0
        ends = EndLayers(
            at=at, layers=(order[at[0]], order[at[1]]), between=inner, s_per_byte=s_per_byte, latency_s=latency_s
        )
    return BoundInputs(
        counts=counts,
        reduced_bytes=reduced_bytes,
        once=counts,
        own=np.ones(len(counts)),
        hop_s=least_bytes * s_per_byte + latency_s if joined else 0.0,
        sources=len(sources),
        sinks=len(sinks),
        ends=ends,
    )
