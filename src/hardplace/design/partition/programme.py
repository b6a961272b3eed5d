"""The exact partition into stages: a dynamic programme over downsets of the layer graph, stage by stage from the end.

State: (downset before the stage, stages so far, of them on a tensor-parallel group). With equal devices in every stage
the last one is redundant, and PHAZE's device dimension with it. Recurrence and proofs: docs/model.md, "Placement".
"""

from __future__ import annotations

import math

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.partition.cases import PartitionCase, cases_of, ends_s, replicated_ends_s, shared_ends_s
from hardplace.design.partition.fronts import Front, relaxed, start
from hardplace.design.partition.memory_needs import memory_needs, shortage
from hardplace.design.partition.types import (
    Charge,
    PartitionChoice,
    PartitionProblem,
    PipelinePartition,
    Stage,
)
from hardplace.ndtypes import Bools, Floats


def place(
    problem: PartitionProblem, *, cutoff_s: float = math.inf, some_fits: bool = False
) -> PipelinePartition | Infeasible | None:
    """Return the plan with the least batch time over all variants, replications and partitions; it is optimal.

    Args:
        problem: The problem.
        cutoff_s: Batch time that is of no interest any more.
        some_fits: Whether it is known that some partition fits.

    Returns:
        The partition; Infeasible if none fits; None if some may but none takes less than cutoff_s.
    """
    best: PipelinePartition | None = None
    limit_s = cutoff_s
    cases = cases_of(problem)
    for case in sorted(cases, key=lambda one: float(one.optimistic_s[0])):
        found = _best_of(problem, case, limit_s)
        if found is not None:
            best, limit_s = found, found.batch_s
    if best is not None:
        return best
    if some_fits and not math.isinf(cutoff_s):
        return None
    needs = memory_needs(problem, cases)
    if not math.isinf(cutoff_s) and any(one.fits(problem.memory_bytes) for one in needs):
        return None
    return shortage(problem, needs)


# -- the programme -------------------------------------------------------------------------------------------------


def _loads(problem: PartitionProblem, case: PartitionCase, stage: int, allowed: Bools) -> Floats:
    """Return the load of every pair as the stage-th stage from the end, inf where it is not allowed or does not fit."""
    fits = allowed & (case.costs.memory_bytes(stage) <= problem.memory_bytes)
    return np.where(fits, case.costs.at(stage), np.inf)


def _best_of(problem: PartitionProblem, case: PartitionCase, limit_s: float) -> PipelinePartition | None:
    """Return the best plan of a case if it takes less than limit_s.

    One programme finds the least bottleneck for each number of stages; it serves all replications. What a plan adds at
    the end of the batch is then traded against the bottleneck, exactly: see _tighten and _first_stage.
    """
    best: PipelinePartition | None = None
    chosen: PartitionChoice | None = None
    first_ends_s = replicated_ends_s(case) if problem.charge is Charge.FIRST_STAGE else None
    fronts = [start(case)]
    for stages in range(1, case.most_stages + 1):
        if case.optimistic_s[stages - 1] >= limit_s:
            break
        load = _loads(problem, case, stages, case.sums.valid)
        fronts.append(relaxed(problem, case, fronts[-1], stages, load))
        for groups in fronts[stages]:
            if first_ends_s is not None:
                choice = _first_stage(problem, case, fronts, groups, first_ends_s, limit_s)
                if choice is not None:
                    chosen, limit_s = choice, choice.batch_s
                continue
            found = _slowest_stage(problem, case, fronts, stages, groups, limit_s)
            if found is not None:
                best, limit_s = found, found.batch_s
    if chosen is not None:
        walked = fronts[: chosen.stages + 1]
        return _plan(problem, case, walked, chosen.groups, chosen.which, case.sums.valid, chosen.first)
    return best


def _first_stage(
    problem: PartitionProblem,
    case: PartitionCase,
    fronts: list[Front],
    groups: int,
    first_ends_s: Floats,
    limit_s: float,
) -> PartitionChoice | None:
    """Return the best plan where the first stage alone counts at the end: each with the best that follows it.

    first_ends_s: what the first stage adds at the end, (replications, downsets), without what stages share.
    """
    stages = len(fronts) - 1
    load = _bottlenecks(case, fronts, stages, groups, 0, _row(problem, case, 0, stages, case.sums.valid))
    reachable = np.flatnonzero(np.isfinite(load))
    if not len(reachable):
        return None
    load, turns = load[reachable], case.rounds + stages - 1
    ends = first_ends_s[:, reachable]
    floor_s = load.min() * turns + ends.min(axis=1)
    open_ = np.flatnonzero(case.usable(problem.devices, stages, groups) & (floor_s < limit_s))
    if not len(open_):
        return None
    total = load * turns[open_, None] + (ends[open_] + shared_ends_s(case, stages, 0)[reachable])
    row, column = np.unravel_index(np.argmin(total), total.shape)
    batch_s = float(total[row, column])
    if batch_s >= limit_s:
        return None
    return PartitionChoice(batch_s, stages, groups, int(open_[row]), int(reachable[column]))


def _slowest_stage(
    problem: PartitionProblem, case: PartitionCase, fronts: list[Front], stages: int, groups: int, limit_s: float
) -> PipelinePartition | None:
    """Return the best plan where the slowest stage counts at the end of a batch."""
    bottleneck_s = fronts[stages][groups][0]
    if not np.isfinite(bottleneck_s):
        return None
    best: PipelinePartition | None = None
    loads_s = bottleneck_s * (case.rounds + stages - 1)
    for which in np.argsort(loads_s, kind="stable").tolist():
        if not case.usable(problem.devices, stages, groups)[which]:
            continue
        end_s = ends_s(case, which, stages)
        # The slowest of the stages is at least their mean.
        if loads_s[which] + end_s[0, -1] / stages >= limit_s:
            continue
        found = _tighten(problem, case, fronts, stages, groups, which, end_s, limit_s)
        if found is not None:
            best, limit_s = found, found.batch_s
    return best


def _tighten(
    problem: PartitionProblem,
    case: PartitionCase,
    fronts: list[Front],
    stages: int,
    groups: int,
    which: int,
    end_s: Floats,
    limit_s: float,
) -> PipelinePartition | None:
    """Return the best plan of one shape and replication by trading bottleneck against end of batch.

    The least bottleneck among plans whose stages all end below a limit only rises as that limit falls. So: take
    the best plan without a limit; forbid every stage that ends as late as its slowest one; solve again; until the
    bottleneck with the mean end cannot beat the best plan. Each plan skipped has both larger.
    """
    best: PipelinePartition | None = None
    allowed = case.sums.valid
    rounds = case.rounds[which] + stages - 1
    while True:
        found = _plan(problem, case, fronts, groups, which, allowed, None)
        if found.batch_s < limit_s:
            best, limit_s = found, found.batch_s
        if found.bottleneck_s * rounds + end_s[0, -1] / stages >= limit_s:
            return best
        allowed = allowed & (end_s < found.end_of_batch_s)  # one of its own stages is among those: it never comes back
        fronts = [start(case)]
        for stage in range(1, stages + 1):
            fronts.append(relaxed(problem, case, fronts[-1], stage, _loads(problem, case, stage, allowed)))
        if groups not in fronts[stages] or not np.isfinite(fronts[stages][groups][0]):
            return best


# -- from fronts to a plan -----------------------------------------------------------------------------------------


def _bottlenecks(case: PartitionCase, fronts: list[Front], stage: int, groups: int, at: int, load: Floats) -> Floats:
    """Return, for each downset after a stage that starts at `at`, the bottleneck of it and the best that follows."""
    wide = case.sums.tensor_parallel[at]
    value = np.full(len(load), np.inf)
    for kind, mask in ((0, ~wide), (1, wide)):
        rest = fronts[stage - 1].get(groups - kind)
        if rest is not None:
            value = np.where(mask, np.maximum(load, rest), value)
    return value


def _plan(
    problem: PartitionProblem,
    case: PartitionCase,
    fronts: list[Front],
    groups: int,
    which: int,
    allowed: Bools,
    first: int | None,
) -> PipelinePartition:
    """Return the plan that the fronts hold, walked from the first stage; first: the downset after it, if chosen."""
    at, found, ends, count = 0, [], [], len(fronts) - 1
    for stage in range(count, 0, -1):
        value = _bottlenecks(case, fronts, stage, groups, at, _row(problem, case, at, stage, allowed))
        following = int(np.argmin(value)) if first is None or stage < count else first
        ends.append(float(ends_s(case, which, count, at)[following]))
        found.append(stage_of(problem, case, which, at, following, stage, ends[-1]))
        groups -= int(case.sums.tensor_parallel[at, following])
        at = following
    bottleneck_s = max(one.load_s for one in found)
    end_s = ends[0] if problem.charge is Charge.FIRST_STAGE else max(ends)
    rounds = int(case.rounds[which])
    return PipelinePartition(
        tensor_parallel=case.variant.tensor_parallel,
        data_parallel=case.replications[which].data_parallel,
        micro_batches_per_replica=rounds,
        stages=tuple(found),
        batch_s=bottleneck_s * (rounds + count - 1) + end_s,
        bottleneck_s=bottleneck_s,
        end_of_batch_s=end_s,
    )


def _row(problem: PartitionProblem, case: PartitionCase, start: int, stage: int, allowed: Bools) -> Floats:
    """Return one row of _loads."""
    costs = case.costs
    memory = costs.fixed_bytes[start] + (stage - 1) * costs.stash_bytes[start]
    return np.where(allowed[start] & (memory <= problem.memory_bytes), costs.at(stage)[start], np.inf)


def stage_of(
    problem: PartitionProblem, case: PartitionCase, which: int, start: int, end: int, stage: int, end_s: float
) -> Stage:
    """Return a stage; end_s: what it adds at the end of a batch, its reduction and its optimizer step."""
    sums, costs, one = case.sums, case.costs, case.replications[which]
    load_s = float(costs.at(stage)[start, end])
    again = 2.0 if problem.recompute and stage > 1 else 1.0
    memory = float(costs.fixed_bytes[start, end] + (stage - 1) * costs.stash_bytes[start, end])
    state = float(costs.state_bytes[start, end])
    held = sums.members[end] & ~sums.members[start]
    computing_s = float(again * sums.forward_s[start, end] + sums.backward_s[start, end])
    optimizer_s = float(sums.optimizer_s[start, end]) / one.optimizer_shards
    return Stage(
        layers=tuple(np.flatnonzero(held).tolist()),
        devices=case.variant.tensor_parallel if sums.tensor_parallel[start, end] else 1,
        load_s=load_s,
        transfer_s=max(0.0, load_s - computing_s),
        memory_bytes=memory,
        state_bytes=state,
        activation_bytes=memory - state,
        reduction_s=end_s - optimizer_s,
        optimizer_s=optimizer_s,
    )
