"""Fronts of the partition programme: the least bottleneck from each downset to the end, stage by stage."""

from __future__ import annotations

import numpy as np

from hardplace.design.partition.cases import PartitionCase
from hardplace.design.partition.types import PartitionProblem
from hardplace.ndtypes import Bools, Floats

Front = dict[int, Floats]  # tensor-parallel stages -> least bottleneck from each downset to the end


def relaxed(problem: PartitionProblem, case: PartitionCase, front: Front, stage: int, load: Floats) -> Front:
    """Return, for each downset and number of tensor-parallel stages, the least maximum of load and what follows.

    load: of every pair of downsets as the stage-th stage from the end, inf where it is not allowed.
    """
    following: Front = {}
    wide = case.sums.tensor_parallel
    least_degree = float(case.degree.min())
    for groups, rest in front.items():
        for kind, mask in _kinds(case, wide):
            devices = (groups + kind) * case.variant.tensor_parallel + (stage - groups - kind)
            if devices * least_degree > problem.devices:
                continue
            held = load if mask is None else np.where(mask, load, np.inf)
            value = np.maximum(held, rest[None, :]).min(axis=1)
            known = following.get(groups + kind)
            following[groups + kind] = value if known is None else np.minimum(known, value)
    return following


def _kinds(case: PartitionCase, wide: Bools) -> tuple[tuple[int, Bools | None], ...]:
    """Return whether a stage may be on a tensor-parallel group, with the stages that are; None: all of them."""
    if len(case.groups) == 1:
        return ((case.groups[0], None),)
    return ((0, ~wide), (1, wide))


def start(case: PartitionCase) -> Front:
    """Return the front of no stages: only the whole graph is done."""
    rest = np.full(len(case.sums.members), np.inf)
    rest[-1] = -np.inf
    return {0: rest}
