"""The best plan of a graph's stages with their degrees and ways, exactly: docs/model-split.md, "Stages with degrees".

A limit T on every stage's seconds leaves a programme over downsets: the fewest devices from a cut to the end, by the
sum of the data degrees. The least T that has a plan is found by halving; every plan lowers T to what it takes itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cuts import graph_cuts
from hardplace.errors import Contradiction
from hardplace.graph_split.stage_ways import (
    OperatorWay,
    ParallelStage,
    StageDimension,
    WaysProblem,
    stage_s,
    stage_violations,
)
from hardplace.ndtypes import Floats, Ints

_PRECISION = 1e-10  # of the least T, relative
_MOST_CUTS = 1000

_Kept = tuple[
    tuple[int, int, tuple[float, ...]], ...
]  # operator, tensor degree, extra bytes of its ways above the least


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """The plan with the least seconds of its slowest stage that was found; none has less than bound_s, which is
    value_s (1 - 1e-10) unless the search was stopped."""

    stages: tuple[ParallelStage, ...]
    value_s: float
    bound_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageShortage:
    """No plan fits: the least bytes of a device with which one would, inf where none does."""

    needed_bytes: float


@dataclass(frozen=True, slots=True)
class _StageChoices:
    """What the operators between two cuts can take on one tensor degree, a row for each choice of ways that no other
    beats: seconds that data parallelism divides, seconds of the all-reduce, bytes in flight, fixed bytes."""

    before: int
    after: int
    tensor: int
    rows: Floats  # (choices, 4)


def best_stages(problem: WaysProblem, *, limit_s: float = math.inf, gap: float = 0.0) -> StagePlan | StageShortage:
    """Return the plan with the least seconds between two samples, proven, or what memory is short.

    limit_s: seconds after which no other limit is tried; the first plan takes as long as it takes. gap: relative gap of
    rates at which it may stop.
    """
    began_s = time.monotonic()
    programme = _StageProgramme(problem)
    stages = programme.plan(math.inf, problem.memory_bytes)
    if stages is None:
        return StageShortage(needed_bytes=programme.least_memory())
    high_s = max(stage_s(problem, one) for one in stages)
    low_s = 0.0
    while high_s * (1 - _PRECISION) > low_s and time.monotonic() - began_s < limit_s:
        if high_s <= max(low_s, problem.work_bound_s) * (1 + gap):
            break
        wide = low_s <= 0.0 or high_s > 2 * low_s
        middle_s = high_s / 2 if wide else (low_s + high_s) / 2
        if high_s - middle_s < 1e-6 * high_s:  # the plan at hand is probably the best: prove it
            middle_s = high_s * (1 - _PRECISION)
        better = programme.plan(middle_s, problem.memory_bytes)
        if better is None:
            low_s = middle_s
        else:
            stages, high_s = better, max(stage_s(problem, one) for one in better)
    broken = stage_violations(problem, stages)
    if broken:
        raise Contradiction(f"a plan of {problem.name} breaks a rule: {broken[0]}")
    bound_s = min(high_s, max(low_s, problem.work_bound_s))
    return StagePlan(stages=tuple(stages), value_s=high_s, bound_s=bound_s, seconds=time.monotonic() - began_s)


class _StageProgramme:
    """The choices of every pair of cuts, made once; a plan within a limit of seconds and of memory on demand."""

    def __init__(self, problem: WaysProblem) -> None:
        self.problem = problem
        cuts = graph_cuts(len(problem.operators), [(a, b) for a, b, _ in problem.edges], _MOST_CUTS)
        self.members = cuts.members
        most = min(problem.devices, problem.micro_batches)
        self.most = most
        data = [1] if StageDimension.DATA in problem.without else range(1, most + 1)
        self.degrees: Ints = np.array([one for one in data if problem.micro_batches % one == 0])
        tensors = sorted({way.tensor for ways in problem.ways for way in ways})
        if StageDimension.TENSOR in problem.without:
            tensors = [one for one in tensors if one == 1]
        self.allowed = {
            (one, tensor): problem.allowed(one, tensor) for one in range(len(problem.operators)) for tensor in tensors
        }
        sizes = cuts.members.sum(axis=1)
        self.order = [int(one) for one in np.argsort(-sizes, kind="stable")]
        self.fitted_bytes = -1.0
        self.fitted: dict[int, list[_StageChoices]] = {}
        self.empty, self.full = self.order[-1], self.order[0]
        self.choices: dict[int, list[_StageChoices]] = {one: [] for one in self.order}
        sums: dict[_Kept, Floats] = {(): np.zeros((1, 4))}
        for before, after in np.argwhere(cuts.valid):
            held = [int(one) for one in np.flatnonzero(cuts.members[after] & ~cuts.members[before])]
            for tensor in tensors:
                rows = self._rows(held, tensor, sums)
                if rows is not None:
                    self.choices[int(before)].append(_StageChoices(int(before), int(after), tensor, rows))

    def plan(self, limit_s: float, memory_bytes: float) -> list[ParallelStage] | None:
        """Return a plan whose stages all take at most so many seconds, None where there is none."""
        if memory_bytes != self.fitted_bytes:
            self.fitted_bytes, self.fitted = memory_bytes, self._fitted(memory_bytes)
        fewest = {one: np.full(self.most + 1, np.inf) for one in self.order}
        fewest[self.full][0] = 0.0
        steps: dict[int, list[tuple[int, int, int, int]]] = {}
        for before in self.order[1:]:
            row = fewest[before]
            steps[before] = []
            for one in self.fitted[before]:
                rest = fewest[one.after]
                if not rest.min() <= self.problem.devices:
                    continue
                for data, last in self._reach(one.rows, limit_s):
                    steps[before].append((one.after, one.tensor, data, last))
                    np.minimum(
                        row[data : last + 1], rest[: last + 1 - data] + data * one.tensor, out=row[data : last + 1]
                    )
        if not fewest[self.empty].min() <= self.problem.devices:
            return None
        total = int(np.argmin(fewest[self.empty]))
        at, stages = self.empty, []
        while at != self.full:
            after, tensor, data = next(
                (after, tensor, data)
                for after, tensor, data, last in steps[at]
                if data <= total <= last and fewest[after][total - data] + data * tensor == fewest[at][total]
            )
            stages.append(self._stage(at, after, tensor, data, -(-total // data), memory_bytes))
            at, total = after, total - data
        return stages

    def least_memory(self) -> float:
        """Return about the least bytes of a device with which there is a plan, at most 0.1 % more; inf: none."""
        if self.plan(math.inf, 1e300) is None:
            return math.inf
        low, high = self.problem.memory_bytes, 2 * self.problem.memory_bytes + 1
        while self.plan(math.inf, high) is None:
            low, high = high, 2 * high
        while high > 1.001 * low:
            middle = (low + high) / 2
            low, high = (low, middle) if self.plan(math.inf, middle) is not None else (middle, high)
        return high

    def _fitted(self, memory_bytes: float) -> dict[int, list[_StageChoices]]:
        """Return the choices within a memory, with minus the most micro-batches in flight for bytes."""
        found: dict[int, list[_StageChoices]] = {}
        for before, choices in self.choices.items():
            found[before] = []
            for one in choices:
                in_flight = _most_in_flight(one.rows, memory_bytes)
                rows = np.column_stack([one.rows[:, :2], -in_flight])[in_flight >= 1]
                if len(rows):
                    found[before].append(replace(one, rows=_unbeaten(rows)))
        return found

    def _reach(self, rows: Floats, limit_s: float) -> list[tuple[int, int]]:
        """Return each data degree with the greatest sum of degrees, its own and later ones, at which a stage fits."""
        share = 1 / self.degrees
        fast = rows[:, 0] * share[:, None] + rows[:, 1] * (1 - share[:, None]) <= limit_s
        most = np.where(fast, -rows[:, 2], 0.0).max(axis=1) * self.degrees
        good = np.flatnonzero(most >= self.degrees)
        last = np.minimum(most[good], self.most).astype(int)
        return list(zip(self.degrees[good].tolist(), last.tolist(), strict=True))

    def _rows(self, held: Sequence[int], tensor: int, sums: dict[_Kept, Floats]) -> Floats | None:
        """Return the choices of the operators of a stage that no other choice beats, None where a way is missing.

        sums: of operators with their ways, without what crosses the stage's ends; a stage is one operator more than
        another that stands there.
        """
        problem, inside, moved = self.problem, set(held), 0.0
        kept: list[tuple[int, int, tuple[float, ...]]] = []
        for operator in held:
            numbers = self.allowed[operator, tensor]
            if not numbers:
                return None
            extra = [_extra_bytes(problem.ways[operator][number], inside) for number in numbers]
            least = min(extra)
            moved += least
            kept.append((operator, tensor, tuple(size - least for size in extra)))
        known = len(kept)
        while tuple(kept[:known]) not in sums:
            known -= 1
        for count in range(known + 1, len(kept) + 1):
            operator, _, extra_bytes = kept[count - 1]
            numbers = self.allowed[operator, tensor]
            rows = [
                self._row(problem.ways[operator][one], size) for one, size in zip(numbers, extra_bytes, strict=True)
            ]
            both = sums[tuple(kept[: count - 1])][:, None, :] + _unbeaten(np.array(rows))[None, :, :]
            sums[tuple(kept[:count])] = _unbeaten(both.reshape(-1, 4))
        moved += sum(size for a, b, size in problem.edges if (a in inside) != (b in inside))
        return np.asarray(sums[tuple(kept)] + np.array([2 * moved / problem.bytes_per_s, 0.0, 0.0, 0.0]))

    def _row(self, way: OperatorWay, extra_bytes: float) -> tuple[float, float, float, float]:
        speed = self.problem.bytes_per_s
        return (
            way.seconds + 2 * extra_bytes / speed, 4 * way.parameter_bytes / self.problem.micro_batches / speed,
            way.in_flight_bytes, way.fixed_bytes,
        )  # fmt: skip

    def _stage(
        self, before: int, after: int, tensor: int, data: int, in_flight: int, memory_bytes: float
    ) -> ParallelStage:
        """Return the stage with the ways of least seconds that fit, operator by operator along the unbeaten sums."""
        held = [int(one) for one in np.flatnonzero(self.members[after] & ~self.members[before])]
        inside = set(held)
        sums: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
        for operator in held:
            grown = []
            for number in self.allowed[operator, tensor]:
                way = self.problem.ways[operator][number]
                work_s, reduce_s, flying, fixed = self._row(way, _extra_bytes(way, inside))
                takes_s, size = work_s / data + reduce_s * (1 - 1 / data), flying * in_flight + fixed
                grown += [(takes + takes_s, held_bytes + size, (*ways, number)) for takes, held_bytes, ways in sums]
            grown.sort()
            sums, least = [], math.inf
            for one in grown:
                if one[1] < least * (1 - 1e-13):
                    sums.append(one)
                    least = one[1]
        ways = next(ways for _, size, ways in sums if size <= memory_bytes * (1 + 1e-12))
        return ParallelStage(operators=tuple(held), ways=ways, data=data, tensor=tensor)


def _extra_bytes(way: OperatorWay, inside: set[int]) -> float:
    return sum(size for other, size in way.extra_bytes.items() if other not in inside)


def _most_in_flight(rows: Floats, memory_bytes: float) -> Floats:
    """Return how many micro-batches of each choice fit, 0 where none does."""
    room = memory_bytes * (1 + 1e-12) - rows[:, 3]
    flying = np.maximum(rows[:, 2], np.maximum(room, 0) / 2.0**40)  # without bytes of its own: 2^40 of them
    count = np.divide(room, flying, out=np.full(len(rows), 2.0**40), where=flying > 0)
    return np.where(room >= 0, np.floor(count), 0.0)


def _unbeaten(rows: Floats) -> Floats:
    """Return the rows that no other row beats: none is as small in every column."""
    rows = rows[np.lexsort(rows.T[::-1])]
    again = np.zeros(len(rows), dtype=bool)
    again[1:] = (rows[1:] == rows[:-1]).all(axis=1)
    rows = rows[~again]
    smaller = np.ones((len(rows), len(rows)), dtype=bool)
    for column in rows.T:
        smaller &= column[None, :] <= column[:, None]
    return np.asarray(rows[smaller.sum(axis=1) == 1])
