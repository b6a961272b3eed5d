"""Layers into stages where each stage may be on a device of another kind: an exact programme over downsets.

State: (downset before the stage, stages so far). Recurrence and bounds: docs/model-search.md, "A chip for each stage".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.design.partition.cases import PartitionCase, cases_of, ends_s
from hardplace.design.partition.programme import stage_of
from hardplace.design.partition.types import PartitionProblem, PipelinePartition, Stage
from hardplace.ndtypes import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StagesOnKinds:
    """A plan whose stages are on devices of several kinds.

    Attributes:
        placement: Stages from input to loss, and the time of a batch.
        kinds: Index of the kind of each stage.
    """

    placement: PipelinePartition
    kinds: tuple[int, ...]

    @property
    def cost(self) -> float:
        """Return the seconds of a batch."""
        return self.placement.batch_s


@dataclass(frozen=True, slots=True)
class _Alike:
    """One data-parallel degree of a problem on every kind.

    Attributes:
        problems: The problem on each kind.
        cases: Its case on each kind.
        which: Index of the replication in each case.
        ends: What each pair of downsets adds at the end of a batch as a stage, by number of stages and kind.
    """

    problems: Sequence[PartitionProblem]
    cases: tuple[PartitionCase, ...]
    which: int
    ends: dict[int, tuple[Floats, ...]]

    @property
    def rounds(self) -> float:
        """Return the micro-batches of a replica."""
        return float(self.cases[0].rounds[self.which])

    @property
    def most_stages(self) -> int:
        """Return the stages for which there are devices and layers."""
        case, problem = self.cases[0], self.problems[0]
        devices = float(case.degree[self.which]) * case.least_devices
        return min(len(case.variant.layers), int(problem.devices // devices), problem.max_stages or case.most_stages)

    def ends_of(self, stages: int) -> tuple[Floats, ...]:
        """Return what stages add at the end of a batch with so many of them, for each kind."""
        if stages not in self.ends:
            self.ends[stages] = tuple(ends_s(case, self.which, stages) for case in self.cases)
        return self.ends[stages]

    def loads(self, stage: int, late_s: float = math.inf, stages: int = 0) -> list[Floats]:
        """Return the loads as the stage-th from the end on each kind, inf where one does not fit or ends at late_s."""
        found = []
        for kind, (problem, case) in enumerate(zip(self.problems, self.cases, strict=True)):
            fits = case.sums.valid & (case.costs.memory_bytes(stage) <= problem.memory_bytes)
            if math.isfinite(late_s):
                fits = fits & (self.ends_of(stages)[kind] < late_s)
            found.append(np.where(fits, case.costs.at(stage), np.inf))
        return found

    def floor_s(self) -> tuple[float, float, float]:
        """Return seconds of all layers on the best kind for each, of the longest of them, and what all add at the end
        at least.
        """
        both = np.array([[one.forward_s + one.backward_s for one in case.variant.layers] for case in self.cases])
        least = both.min(axis=0)
        end = min(case.replications[self.which].reduction_s_per_byte for case in self.cases)
        update = min(
            float(case.sums.optimizer_s[0, -1]) / case.replications[self.which].optimizer_shards for case in self.cases
        )
        return float(least.sum()), float(least.max()), end * float(self.cases[0].sums.gradient_bytes[0, -1]) + update


def place_on_kinds(
    problems: Sequence[PartitionProblem], *, least_stages: int = 1, cutoff: float = math.inf
) -> StagesOnKinds | None:
    """Return the plan with the least seconds of a batch in which each stage is on one of the kinds; it is optimal.

    Args:
        problems: The problem with the seconds, the memory and the links of each kind: one variant, the same graph.
        least_stages: Stages at least.
        cutoff: Seconds that are of no interest any more.

    Returns:
        The plan; None where none takes less than cutoff, or none fits.
    """
    best: StagesOnKinds | None = None
    for one in _degrees(problems):
        found = _best_of(one, least_stages, best.cost if best is not None else cutoff)
        best = found or best
    return best


def _degrees(problems: Sequence[PartitionProblem]) -> Iterator[_Alike]:
    """Yield each data-parallel degree on all kinds, that with the most replicas first."""
    groups = list(zip(*(cases_of(problem) for problem in problems), strict=True))
    every = [(cases, which) for cases in groups for which in range(len(cases[0].replications))]
    for cases, which in sorted(every, key=lambda one: -float(one[0][0].degree[one[1]])):
        yield _Alike(problems, cases, which, {})


def _best_of(one: _Alike, least_stages: int, limit: float) -> StagesOnKinds | None:
    """Return the best plan of a data-parallel degree if it takes less than the limit."""
    best: StagesOnKinds | None = None
    total_s, longest_s, end_s = one.floor_s()
    stages = np.arange(1, one.most_stages + 1)
    floor = np.maximum(total_s / stages, longest_s) * (one.rounds + stages - 1) + end_s / stages
    after = np.minimum.accumulate(floor[::-1])[::-1]
    fronts = [_start(one)]
    for count in stages.tolist():
        if after[count - 1] >= limit:
            break
        fronts.append(_relaxed(fronts[-1], one.loads(count)))
        if count < least_stages or floor[count - 1] >= limit:
            continue
        found = _tightened(one, fronts, count, end_s, limit)
        if found is not None:
            best, limit = found, found.cost
    return best


def _start(one: _Alike) -> Floats:
    """Return the bottleneck from each downset to the end without a stage."""
    rest = np.full(len(one.cases[0].sums.members), np.inf)
    rest[-1] = -np.inf
    return rest


def _relaxed(rest: Floats, loads: list[Floats]) -> Floats:
    """Return the least maximum of a stage's load, on the kind where it is least, and what follows."""
    return np.asarray(np.min([np.maximum(load, rest[None, :]).min(axis=1) for load in loads], axis=0))


def _tightened(one: _Alike, fronts: list[Floats], count: int, end_s: float, limit: float) -> StagesOnKinds | None:
    """Return the best plan of so many stages, by trading bottleneck against end of batch as `programme` does."""
    best: StagesOnKinds | None = None
    rounds, late_s = one.rounds + count - 1, math.inf
    while math.isfinite(fronts[-1][0]) and float(fronts[-1][0]) * rounds + end_s / count < limit:
        found = _walked(one, fronts, count, late_s)
        if found.cost < limit:
            best, limit = found, found.cost
        late_s = found.placement.end_of_batch_s  # stages that end as late are out: it never comes back
        fronts = [_start(one)]
        for stage in range(1, count + 1):
            fronts.append(_relaxed(fronts[-1], one.loads(stage, late_s, count)))
    return best


def _walked(one: _Alike, fronts: list[Floats], count: int, late_s: float) -> StagesOnKinds:
    """Return the plan that the fronts hold, walked from the first stage."""
    at = 0
    stages: list[Stage] = []
    kinds: list[int] = []
    ends: list[float] = []
    for stage in range(count, 0, -1):
        choices: list[tuple[float, int, int]] = []
        for kind, load in enumerate(one.loads(stage, late_s, count)):
            value = np.maximum(load[at], fronts[stage - 1])
            following = int(np.argmin(value))
            choices.append((float(value[following]), kind, following))
        least = min(value for value, _, _ in choices)
        # Of kinds that are as good the one that the stage before is on.
        good = [(kind, following) for value, kind, following in choices if value == least]
        kind, following = next((each for each in good if kinds and each[0] == kinds[-1]), good[0])
        ends.append(float(one.ends_of(count)[kind][at, following]))
        stages.append(stage_of(one.problems[kind], one.cases[kind], one.which, at, following, stage, ends[-1]))
        kinds.append(kind)
        at = following
    case, rounds = one.cases[0], int(one.rounds)
    bottleneck_s, end_s = max(stage.load_s for stage in stages), max(ends)
    batch_s = bottleneck_s * (rounds + count - 1) + end_s
    placement = PipelinePartition(
        tensor_parallel=case.variant.tensor_parallel,
        data_parallel=case.replications[one.which].data_parallel,
        micro_batches_per_replica=rounds,
        stages=tuple(stages),
        batch_s=batch_s,
        bottleneck_s=bottleneck_s,
        end_of_batch_s=end_s,
    )
    return StagesOnKinds(placement=placement, kinds=tuple(kinds))
