"""A graph in series: operators that all others run before or after cut it into segments, each solved by itself.

docs/model-split.md, "Series". The bound is the sum of the segments' bounds; their schedules, one after the other, are a
schedule of the graph where no tensor passes by the end of a segment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardplace.graph_split.bounds import fitting_problem, makespan_bound_s, related
from hardplace.graph_split.checker import violations
from hardplace.graph_split.exact import scheduled
from hardplace.graph_split.lists import heft, peft
from hardplace.graph_split.types import GraphOperator, OperatorRun, SplitProblem, SplitSchedule, TensorTransfer


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOutcome:
    """What the segments reach: schedule, None where they are no schedule of the graph; seconds that none is below."""

    schedule: SplitSchedule | None
    bound_s: float


@dataclass(frozen=True, slots=True)
class _Segment:
    """The operators after one end up to the next, by index: `problem` has the first end before them, in no time."""

    members: tuple[int, ...]
    tensors: tuple[int, ...]
    problem: SplitProblem
    led: bool  # whether it has a first end


def in_series(problem: SplitProblem, upper_s: float, limit_s: float) -> SeriesOutcome:
    """Return the schedule of a graph's segments one after the other, and the sum of their bounds.

    Args:
        problem: Operators, devices and links.
        upper_s: Makespan of the best schedule known.
        limit_s: Seconds of the search.
    """
    segments, whole = _segments(problem, upper_s)
    if len(segments) < 2:
        return SeriesOutcome(schedule=None, bound_s=0.0)
    ends_s = time.monotonic() + limit_s
    runs: dict[int, OperatorRun] = {}
    moves: list[TensorTransfer] = []
    at_s = bound_s = 0.0
    left = sum(len(one.members) for one in segments if len(one.members) > 1)
    for one in segments:
        share = len(one.members) / max(1, left) if len(one.members) > 1 else 0.0
        left -= len(one.members) if len(one.members) > 1 else 0
        found, least_s = _solved(one.problem, share * (ends_s - time.monotonic()))
        bound_s += least_s
        whole &= found is not None
        if not whole or found is None:
            continue
        lead = 1 if one.led else 0
        begins_s = found.runs[0].start_s if lead else 0.0  # when the first end is there
        for index, run in zip(one.members, found.runs[lead:], strict=True):
            start_s = at_s + run.start_s - begins_s
            end_s = start_s + problem.times[index][run.device]
            runs[index] = replace(run, operator=index, start_s=start_s, end_s=end_s)
        for move in found.transfers:
            moves.append(
                replace(
                    move, tensor=one.tensors[move.tensor], start_s=at_s + move.start_s - begins_s,
                    end_s=at_s + move.end_s - begins_s,
                )
            )  # fmt: skip
        at_s = max(runs[index].end_s for index in one.members)
    schedule = None
    if whole:
        schedule = SplitSchedule(runs=tuple(runs[one] for one in range(len(runs))), transfers=tuple(moves))
        if violations(problem, schedule):  # memory, which a segment has for itself
            schedule = None
    return SeriesOutcome(schedule=schedule, bound_s=min(bound_s * (1 - 1e-12), upper_s))


def _solved(problem: SplitProblem, limit_s: float) -> tuple[SplitSchedule | None, float]:
    """Return the best schedule of a segment that was found, and its bound."""
    starts = [one for one in (heft(problem), peft(problem)) if one is not None]
    if not starts:
        return None, 0.0
    best = min(starts, key=lambda one: one.makespan_s)
    bound_s = makespan_bound_s(problem, best.makespan_s)
    if best.makespan_s > bound_s * (1 + 1e-9) and limit_s > 0.0:
        outcome = scheduled(fitting_problem(problem, best.makespan_s), best, limit_s)
        bound_s = max(bound_s, outcome.bound_s)
        if outcome.schedule is not None and outcome.schedule.makespan_s < best.makespan_s:
            best = outcome.schedule
    return best, min(bound_s, best.makespan_s)


def _segments(problem: SplitProblem, upper_s: float) -> tuple[list[_Segment], bool]:
    """Return the segments of schedules of at most so many seconds, and whether no tensor or group passes by an end.

    An end is an operator that one device alone can have, and that every other one runs before or after.
    """
    before = related(problem)
    if before is None:
        return [], False
    fitting = fitting_problem(problem, upper_s)
    count = len(problem.operators)
    known = before.sum(axis=0) + before.sum(axis=1)
    ends = [
        one for one in problem.order
        if known[one] == count - 1 and sum(takes < math.inf for takes in fitting.times[one]) == 1
    ]  # fmt: skip
    number = {one: int(sum(before[one, end] for end in ends)) for one in range(count)}  # of ends before it
    members: list[list[int]] = [[] for _ in range(len(ends) + 1)]
    for one in range(count):
        members[number[one]].append(one)
    segments, whole = [], True
    for index, mine in enumerate(members):
        if not mine:
            continue
        segment = _segment(fitting, mine, ends[index - 1] if index else None)
        segments.append(segment)
    inside = {tensor for one in segments for tensor in one.tensors}
    homes = [{number[one] for one in group} for group in problem.groups]
    for index, tensor in enumerate(problem.tensors):
        places = {number[reader] for reader in tensor.readers}
        allowed = {number[tensor.source]} if tensor.source not in ends else {number[tensor.source] + 1}
        whole &= not tensor.readers or (places <= allowed and index in inside)
    return segments, whole and all(len(one) == 1 for one in homes)


def _segment(problem: SplitProblem, members: Sequence[int], lead: int | None) -> _Segment:
    """Return the part of a problem with these operators, after the end before them."""
    held = [*([] if lead is None else [lead]), *members]
    place = {one: index for index, one in enumerate(held)}
    operators: list[GraphOperator] = [problem.operators[one] for one in held]
    if lead is not None:
        kinds = problem.operators[lead].time_s
        operators[0] = replace(operators[0], time_s=dict.fromkeys(kinds, 0.0), memory_bytes=0.0, group=None)
    tensors, numbers = [], []
    for index, tensor in enumerate(problem.tensors):
        readers = tuple(place[one] for one in tensor.readers if one in place and one != lead)
        if tensor.source in place and readers:
            tensors.append(replace(tensor, source=place[tensor.source], readers=readers))
            numbers.append(index)
    part = replace(problem, operators=tuple(operators), tensors=tuple(tensors))
    return _Segment(tuple(members), tuple(numbers), part, lead is not None)
