"""Cases of the partition problem: a variant under all replications that one run of the dynamic programme serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.design.partition.lattice import Lattice, StageCosts, lattice, stage_costs
from hardplace.design.partition.types import PartitionProblem, Replication, Variant
from hardplace.ndtypes import Bools, Floats


@dataclass(frozen=True, slots=True)
class PartitionCase:
    """One variant under all replications that have the same loads and memory, so that one programme serves them.

    Attributes:
        variant: Layers at one tensor-parallel degree.
        replications: Data-parallel degrees with their costs.
        degree: Data-parallel degree, (replications,).
        rounds: Micro-batches of a replica, (replications,).
        sums: Sums over the stage between two downsets.
        costs: Load and memory of each pair of downsets as a stage.
        groups: Whether a stage may be on a process group of more than one device: 1, 0, or both.
        least_devices: Least devices of a stage.
        most_stages: Stages at most.
        optimistic_s: Lower bound on the batch time with so many stages or more, (most_stages,).
    """

    variant: Variant
    replications: tuple[Replication, ...]
    degree: Floats
    rounds: Floats
    sums: Lattice
    costs: StageCosts
    groups: tuple[int, ...]
    least_devices: int
    most_stages: int
    optimistic_s: Floats

    def usable(self, devices: int, stages: int, groups: int) -> Bools:
        """Return for which replications there are devices for so many stages, `groups` of them tensor parallel."""
        return np.asarray(self.degree * (groups * self.variant.tensor_parallel + stages - groups) <= devices)


def cases_of(problem: PartitionProblem) -> list[PartitionCase]:
    """Return each variant with the replications that the devices and the batch allow, alike ones together."""
    found = []
    for variant in problem.variants:
        sums = lattice(variant)
        sharded = bool(np.any(sums.sharded_bytes))
        least_devices = variant.tensor_parallel if all(one.tensor_parallel for one in variant.layers) else 1
        alike: dict[tuple[float, ...], list[Replication]] = {}
        for one in variant.replications:
            fits = one.data_parallel * least_devices <= problem.devices
            if fits and not (problem.divisible and problem.micro_batches % one.data_parallel):
                shards = one.optimizer_shards if sharded else 1
                alike.setdefault((one.boundary_s_per_byte, one.boundary_latency_s, shards), []).append(one)
        found += [_case(problem, variant, sums, least_devices, tuple(group)) for group in alike.values()]
    return found


def _case(
    problem: PartitionProblem,
    variant: Variant,
    sums: Lattice,
    least_devices: int,
    group: tuple[Replication, ...],
) -> PartitionCase:
    degree = np.array([one.data_parallel for one in group], dtype=np.float64)
    rounds = np.ceil(problem.micro_batches / degree)
    most = min(len(variant.layers), int(problem.devices // (degree.min() * least_devices)))
    most = min(most, problem.max_stages or most)
    # Batch time with s stages or more is at least (mean load or largest layer) x rounds at the most replicas.
    total = float(sums.forward_s[0, -1] + sums.backward_s[0, -1])
    largest = max(layer.forward_s + layer.backward_s for layer in variant.layers)
    stages = np.arange(1, most + 1)
    fits = degree[None, :] * stages[:, None] * least_devices <= problem.devices
    fewest = np.where(fits, rounds[None, :], np.inf).min(axis=1)
    optimistic_s = np.maximum(total / stages, largest) * (fewest + stages - 1)
    return PartitionCase(
        variant=variant,
        replications=group,
        degree=degree,
        rounds=rounds,
        sums=sums,
        costs=stage_costs(sums, group[0], recompute=problem.recompute),
        groups=tuple(sorted({int(one.tensor_parallel and variant.tensor_parallel > 1) for one in variant.layers})),
        least_devices=least_devices,
        most_stages=most,
        optimistic_s=np.minimum.accumulate(optimistic_s[::-1])[::-1],
    )


def ends_s(case: PartitionCase, which: int, stages: int, start: int | slice = slice(None)) -> Floats:
    """Return the seconds that pairs of downsets add at the end of a batch, under one replication.

    What layers of several stages share is added up among them: a ring of as many stages as layers that hold it, at most
    all, 2 (n - 1) / n of its gradient over the links between stages, 2 (n - 1) latencies.

    Args:
        case: The case.
        which: Index of the replication.
        stages: Number of stages.
        start: Index of a downset before the stage; default: all.
    """
    one = case.replications[which]
    latency_s = one.reduction_latency_s if one.data_parallel > 1 else 0.0
    reduction_s = one.reduction_s_per_byte * case.sums.gradient_bytes[start] + latency_s
    found = reduction_s + case.sums.optimizer_s[start] / one.optimizer_shards
    return np.asarray(found + shared_ends_s(case, stages, start))


def shared_ends_s(case: PartitionCase, stages: int, start: int | slice = slice(None)) -> Floats:
    """Return what `ends_s` has of what stages share; it is the same under all replications of a case."""
    one = case.replications[0]
    found = np.zeros_like(case.sums.gradient_bytes[start])
    for held, parted in zip(case.variant.shared, case.sums.parted, strict=True):
        others = min(stages, len(set(held.layers))) - 1
        if others > 0 and held.added_bytes:
            byte_s = one.boundary_s_per_byte * held.added_bytes / (others + 1)
            found = found + parted[start] * (2.0 * others * (byte_s + one.boundary_latency_s))
    return found


def replicated_ends_s(case: PartitionCase) -> Floats:
    """Return `ends_s` of the first stage without what stages share, (replications, downsets)."""
    byte_s = np.array([one.reduction_s_per_byte for one in case.replications])
    latency_s = np.array([one.reduction_latency_s if one.data_parallel > 1 else 0.0 for one in case.replications])
    shards = np.array([one.optimizer_shards for one in case.replications], dtype=np.float64)
    reduction_s = byte_s[:, None] * case.sums.gradient_bytes[0] + latency_s[:, None]
    return np.asarray(reduction_s + case.sums.optimizer_s[0] / shards[:, None])
