"""The partition programme for one plan family on many chips at once: least bottlenecks, for bounds."""

from __future__ import annotations

import numpy as np

from hardplace.design.partition.cases import cases_of
from hardplace.design.partition.lattice import transfers_s
from hardplace.design.partition.types import PartitionProblem
from hardplace.ndtypes import Floats


def least_bottlenecks(problem: PartitionProblem, forward_s: Floats, backward_s: Floats, most_stages: int) -> Floats:
    """Return the least bottleneck load for 1 to most_stages stages on each chip, in seconds, shape (stages, chips).

    The memory is that of the replication that divides the optimizer states most, so the result is a lower bound for all
    of them; transfers between stages must cost the same under all (`design.exact.partition_problem`).

    Args:
        problem: One variant; its layers' own times are not used.
        forward_s: Forward pass of each layer, (layers, chips).
        backward_s: Backward pass of each layer, (layers, chips).
        most_stages: Stages at most.
    """
    cases = cases_of(problem)
    if not cases:
        return np.full((most_stages, forward_s.shape[1]), np.inf)
    case = max(cases, key=lambda one: max(each.optimizer_shards for each in one.replications))
    # Those that divide the states most have the most replicas, and so the fewest stages: that limit is not for all.
    possible = max(one.most_stages for one in cases)
    arriving, leaving = transfers_s(case.sums, case.replications[0])
    inside = case.sums.members.astype(np.float64)
    forward, backward = inside @ forward_s, inside @ backward_s
    count, chips = forward.shape
    after = [np.flatnonzero(row) for row in case.sums.valid[:-1]]
    last, inner = [], []
    for start, ends in enumerate(after):
        ahead = forward[ends] - forward[start]
        out = leaving[start, ends][:, None]
        rest = arriving[start, ends][:, None] + ahead + backward[ends] - backward[start]
        last.append(rest + out)
        inner.append(rest + np.maximum(ahead, out) if problem.recompute else last[-1])
    front = np.full((count, chips), np.inf)
    front[-1] = -np.inf
    found = np.full((most_stages, chips), np.inf)
    for stage in range(1, min(most_stages, possible) + 1):
        fits = case.costs.memory_bytes(stage) <= problem.memory_bytes
        following = np.full((count, chips), np.inf)
        for start, ends in enumerate(after):
            kept = fits[start, ends]
            if kept.any():
                load = (last if stage == 1 else inner)[start][kept]
                following[start] = np.maximum(load, front[ends[kept]]).min(axis=0)
        front = following
        found[stage - 1] = front[0]
    return found
