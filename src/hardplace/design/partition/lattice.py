"""The lattice of downsets of a layer graph, and the cost of the stage between two of them: matrices over pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cuts import graph_cuts
from hardplace.design.partition.types import Replication, SharedActivation, SharedLoad, Variant
from hardplace.ndtypes import Bools, Floats

MOST_DOWNSETS = 4096  # pairs of them are held as dense matrices


@dataclass(frozen=True, slots=True)
class Lattice:
    """Sums over the stage between downsets a (what comes before it) and b, shape (downsets, downsets) each.

    Attributes:
        members: Layers of each downset, (downsets, layers).
        valid: Whether a is a proper subset of b.
        tensor_parallel: Whether the stage is on a process group of more than one device.
        forward_s: Forward pass of a micro-batch.
        backward_s: Backward pass of a micro-batch.
        gradient_bytes: Gradients to reduce.
        state_bytes: What every replica holds whole.
        sharded_bytes: What replicas divide among them.
        activation_bytes: Activations of a micro-batch.
        optimizer_s: Optimizer step on unsharded states.
        arriving: Bytes of the boundaries that cross into it.
        leaving: Bytes of the boundaries that cross out of it.
        parted: For each shared weight, which stages hold some but not all of its holders.
    """

    members: Bools
    valid: Bools
    tensor_parallel: Bools
    forward_s: Floats
    backward_s: Floats
    gradient_bytes: Floats
    state_bytes: Floats
    sharded_bytes: Floats
    activation_bytes: Floats
    optimizer_s: Floats
    arriving: Floats
    leaving: Floats
    parted: tuple[Bools, ...]


def lattice(variant: Variant) -> Lattice:
    """Return the lattice of a variant's layer graph."""
    edges = [(edge.source, edge.target) for edge in variant.boundaries]
    cuts = graph_cuts(len(variant.layers), edges, MOST_DOWNSETS)
    members = cuts.members

    def of(field: str) -> Floats:
        return cuts.between(np.array([getattr(layer, field) for layer in variant.layers], dtype=np.float64))

    def counts(shared: Sequence[SharedLoad | SharedActivation]) -> list[Floats]:
        often = [np.bincount(np.array(one.layers), minlength=len(variant.layers)) for one in shared]
        return [cuts.between(one.astype(np.float64)) for one in often]

    def once(field: str, shared: Sequence[SharedLoad | SharedActivation], held: Sequence[Floats]) -> Floats:
        """Return sums in which what layers share counts once a stage."""
        total = of(field)
        for one, count in zip(shared, held, strict=True):
            total = total - getattr(one, field) * np.maximum(0.0, count - 1.0)
        return total

    shared, held = variant.shared, counts(variant.shared)

    source = members[:, [edge.source for edge in variant.boundaries]]
    target = members[:, [edge.target for edge in variant.boundaries]]
    weight = np.array([edge.bytes for edge in variant.boundaries], dtype=np.float64)
    return Lattice(
        members=members,
        valid=cuts.valid,
        tensor_parallel=(of("tensor_parallel") > 0) & (variant.tensor_parallel > 1),
        forward_s=of("forward_s"),
        backward_s=of("backward_s"),
        gradient_bytes=once("gradient_bytes", shared, held),
        state_bytes=once("state_bytes", shared, held),
        sharded_bytes=once("sharded_state_bytes", shared, held),
        activation_bytes=once("activation_bytes", variant.kept, counts(variant.kept)),
        optimizer_s=once("optimizer_s", shared, held),
        arriving=((source & ~target) * weight) @ target.T.astype(np.float64),
        leaving=(~source).astype(np.float64) @ ((source & ~target) * weight).T,
        parted=tuple((count > 0) & (count < len(one.layers)) for one, count in zip(shared, held, strict=True)),
    )


@dataclass(frozen=True, slots=True)
class StageCosts:
    """Load and memory of each pair of downsets as a pipeline stage.

    Attributes:
        load_last_s: Load of a micro-batch, as the last stage of the pipeline.
        load_s: Load of a micro-batch, as any other stage.
        fixed_bytes: Memory whatever the place in the pipeline.
        state_bytes: Of it, weights, gradients and states.
        stash_bytes: Activations of one further micro-batch in flight.
    """

    load_last_s: Floats
    load_s: Floats
    fixed_bytes: Floats
    state_bytes: Floats
    stash_bytes: Floats

    def at(self, stage: int) -> Floats:
        """Return the loads as the stage-th from the end."""
        return self.load_last_s if stage == 1 else self.load_s

    def memory_bytes(self, stage: int) -> Floats:
        """Return the memory as the stage-th from the end: stage - 1 further micro-batches are in flight."""
        return np.asarray(self.fixed_bytes + (stage - 1) * self.stash_bytes)


def transfers_s(sums: Lattice, replication: Replication) -> tuple[Floats, Floats]:
    """Return the seconds of what crosses into and out of each stage."""

    def seconds(size: Floats) -> Floats:
        latency = np.where(size > 0, replication.boundary_latency_s, 0.0)
        return np.asarray(latency + replication.boundary_s_per_byte * size)

    return seconds(sums.arriving), seconds(sums.leaving)


def stage_costs(sums: Lattice, replication: Replication, *, recompute: bool) -> StageCosts:
    """Return the costs of each stage (PHAZE's stage load and memory, arXiv 2407.13143)."""
    arriving, leaving = transfers_s(sums, replication)
    last = arriving + sums.forward_s + leaving + sums.backward_s
    inner = arriving + sums.forward_s + np.maximum(sums.forward_s, leaving) + sums.backward_s if recompute else last
    state = sums.state_bytes + sums.sharded_bytes / replication.optimizer_shards
    return StageCosts(
        load_last_s=last,
        load_s=inner,
        fixed_bytes=state + sums.activation_bytes,
        state_bytes=state,
        stash_bytes=sums.arriving if recompute else sums.activation_bytes,
    )
