"""What the stages of a partition need of memory at least, whatever a device has: what fits, and what is short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.partition.cases import PartitionCase, cases_of
from hardplace.design.partition.fronts import relaxed, start
from hardplace.design.partition.types import PartitionProblem, Replication


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """What the fullest stage of any partition holds at least under replications with the same memory.

    Attributes:
        tensor_parallel: Tensor-parallel degree.
        replications: Data-parallel degrees with their costs.
        least_devices: Least devices of a stage.
        least_bytes: For 1, 2, ... stages the least memory of the fullest one; inf where there is no partition.
    """

    tensor_parallel: int
    replications: tuple[Replication, ...]
    least_devices: int
    least_bytes: tuple[float, ...]

    def fits(self, memory_bytes: float) -> bool:
        """Return whether some partition fits so much memory."""
        return any(needed <= memory_bytes for needed in self.least_bytes)


def memory_needs(problem: PartitionProblem, cases: Sequence[PartitionCase] | None = None) -> tuple[MemoryNeeds, ...]:
    """Return what the cases of a problem need; its memory and the times of its layers play no part.

    Args:
        problem: The problem.
        cases: Its cases, where they are known.
    """
    return tuple(
        MemoryNeeds(
            tensor_parallel=case.variant.tensor_parallel,
            replications=case.replications,
            least_devices=case.least_devices,
            least_bytes=_least_bytes(problem, case),
        )
        for case in (cases_of(problem) if cases is None else cases)
    )


def _least_bytes(problem: PartitionProblem, case: PartitionCase) -> tuple[float, ...]:
    front, least = start(case), []
    allowed = replace(case.costs, fixed_bytes=np.where(case.sums.valid, case.costs.fixed_bytes, np.inf))
    for stage in range(1, case.most_stages + 1):
        front = relaxed(problem, case, front, stage, allowed.memory_bytes(stage))
        least.append(min((float(rest[0]) for rest in front.values()), default=math.inf))
    return tuple(least)


def feasible_shapes(
    problem: PartitionProblem, needs: Sequence[MemoryNeeds] | None = None
) -> list[tuple[Replication, int]]:
    """Return every (replication, stages) for which some partition fits the memory; times play no part.

    Args:
        problem: The problem.
        needs: Its needs of memory, where they are known.
    """
    return [
        (replication, stages)
        for case in (memory_needs(problem) if needs is None else needs)
        for stages, needed in enumerate(case.least_bytes, start=1)
        if needed <= problem.memory_bytes
        for replication in case.replications
        if replication.data_parallel * stages * case.least_devices <= problem.devices
    ]


def shortage(problem: PartitionProblem, needs: Sequence[MemoryNeeds] | None = None) -> Infeasible:
    """Return what the least demanding plan of an infeasible problem lacks: devices, or memory of a device.

    Args:
        problem: The problem.
        needs: Its needs of memory, where they are known.
    """
    least = [
        (needed, case.tensor_parallel)
        for case in (memory_needs(problem) if needs is None else needs)
        for needed in case.least_bytes
        if math.isfinite(needed)
    ]
    if not least:
        fewest = min((float(variant.tensor_parallel) for variant in problem.variants), default=1.0)
        return Infeasible(
            what="devices",
            needed=fewest,
            available=float(problem.devices),
            unit="devices",
            remedy="more devices, a lower tensor-parallel degree, or a data-parallel degree that divides the batch",
        )
    needed, width = min(least)
    return Infeasible(
        what=f"memory of a device in the least demanding plan (tensor parallel {width})",
        needed=needed,
        available=problem.memory_bytes,
        unit="bytes",
        remedy="more memory a device, more stages or tensor parallelism, a smaller micro-batch"
        + ("" if problem.recompute else ", or recompute"),
    )
