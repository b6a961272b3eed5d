"""What no split beats: the critical path, and all work divided at will over the devices (docs/model-split.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.graph_split.solver import divided_work
from hardplace.graph_split.types import SplitProblem
from hardplace.ndtypes import Floats

_MOST_CLASSES = 2000  # of which the linear programme takes a second
_MOST_RELATED = 2000  # operators of which all pairs are held
_EACH = 20  # of the weightings of devices the pairs are summed with
_HALVINGS = 8

Times = Sequence[Sequence[float]]


def critical_path_s(problem: SplitProblem) -> float:
    """Return the longest way through the graph where each operator runs where it is fastest and nothing is moved.

    On every edge the better of two ways counts: both on one device, or apart with the fastest move; so the way is, over
    the device of each end, the least time at which the operator can end there if devices and links were never busy.
    """
    starts = _earliest_s(problem, problem.times, [0.0] * len(problem.operators))
    return max((min(map(sum, zip(*row, strict=True))) for row in zip(starts, problem.times, strict=True)), default=0.0)


def _earliest_s(problem: SplitProblem, times: Times, ready: Sequence[float]) -> list[list[float]]:
    """Return the least time at which each operator can start on each device, if devices and links were never busy.

    ready: seconds before which an operator does not start anywhere.
    """
    count = range(len(problem.devices))
    starts = [[math.inf] * len(problem.devices) for _ in problem.operators]
    ends = [[math.inf] * len(problem.devices) for _ in problem.operators]
    for one in problem.order:
        for device in count:
            takes_s = times[one][device]
            if takes_s == math.inf:
                continue
            ready_s = ready[one]
            for tensor in problem.inputs[one]:
                source = problem.tensors[tensor].source
                ready_s = max(
                    ready_s, min(ends[source][other] + problem.move_s(tensor, other, device) for other in count)
                )
            starts[one][device], ends[one][device] = ready_s, ready_s + takes_s
    return starts


def _least_after_s(problem: SplitProblem, times: Times, rest: Sequence[float]) -> list[list[float]]:
    """Return the least time from the end of each operator on each device to that of the last one, likewise.

    rest: seconds that follow an operator's end anywhere.
    """
    count = range(len(problem.devices))
    after = [[least_s] * len(problem.devices) for least_s in rest]
    for one in reversed(problem.order):
        for device in count:
            for tensor in problem.outputs[one]:
                for reader in problem.tensors[tensor].readers:
                    least_s = min(
                        problem.move_s(tensor, device, other) + times[reader][other] + after[reader][other]
                        for other in count
                    )
                    after[one][device] = max(after[one][device], least_s)
    return after


@dataclass(frozen=True, slots=True)
class _Windows:
    """What schedules of at most some seconds can have: times, inf where an operator cannot be on a device in any; least
    seconds before its start and after its end."""

    times: Times
    earliest: list[list[float]]
    after: list[list[float]]


def _windows(problem: SplitProblem, upper_s: float) -> _Windows:
    """Return the windows of schedules of at most so many seconds (docs/model-split.md, "Bounds").

    What must run before an operator, divided at will over all devices, takes as long at least before it starts; so does
    what must run after it. An operator whose start, time and rest exceed the limit on a device is not there; then
    others have less room, so again until nothing changes.
    """
    pairs = related(problem)
    times = tuple(tuple(takes if takes <= upper_s else math.inf for takes in row) for row in problem.times)
    while True:
        if any(min(row) == math.inf for row in times):
            return _Windows(times, [], [])
        before, behind = _work_around(times, pairs)
        earliest, after = _earliest_s(problem, times, before), _least_after_s(problem, times, behind)
        fits = [
            [start + takes + rest <= upper_s * (1 + 1e-9) for start, takes, rest in zip(*rows, strict=True)]
            for rows in zip(earliest, times, after, strict=True)
        ]
        for group in problem.groups:
            shared = [all(fits[one][device] for one in group) for device in range(len(problem.devices))]
            for one in group:
                fits[one] = shared
        fewer = tuple(
            tuple(takes if fit else math.inf for takes, fit in zip(*rows, strict=True))
            for rows in zip(times, fits, strict=True)
        )
        if fewer == times:
            return _Windows(times, earliest, after)
        times = fewer


def related(problem: SplitProblem) -> Floats | None:
    """Return which operators run before which, (operators, operators) of 0 and 1; None: too many."""
    count = len(problem.operators)
    if count > _MOST_RELATED:
        return None
    before = np.zeros((count, count), dtype=bool)
    for one in problem.order:
        for tensor in problem.inputs[one]:
            source = problem.tensors[tensor].source
            before[one] |= before[source]
            before[one, source] = True
    return before.astype(np.float64)


def _work_around(times: Times, pairs: Floats | None) -> tuple[list[float], list[float]]:
    """Return the least seconds of what must run before each operator, and of what must run after it: for weights of
    devices that add up to 1 the sum of least weighted times; the most over some weightings."""
    before, after = np.zeros(len(times)), np.zeros(len(times))
    if pairs is None:
        return before.tolist(), after.tolist()
    table = np.array(times)
    alone = [
        np.where(np.isinf(np.delete(table, device, 1)).all(axis=1), table[:, device], 0.0)
        for device in range(table.shape[1])
    ]  # what a device alone can run
    for least in (*alone, *_weighted_least(table)[::_EACH]):
        before = np.maximum(before, pairs @ least)
        after = np.maximum(after, pairs.T @ least)
    return (before * (1 - 1e-12)).tolist(), (after * (1 - 1e-12)).tolist()


def fitting_problem(problem: SplitProblem, upper_s: float) -> SplitProblem:
    """Return the problem with operators unsupported where no schedule of at most so many seconds has them;
    each device is of a kind of its own."""
    times = _windows(problem, upper_s).times
    if any(min(row) == math.inf for row in times):
        return problem
    return replace(
        problem,
        operators=tuple(
            replace(one, time_s={str(device): takes for device, takes in enumerate(row) if takes < math.inf})
            for one, row in zip(problem.operators, times, strict=True)
        ),
        devices=tuple(replace(one, kind=str(device)) for device, one in enumerate(problem.devices)),
    )


def started_load_s(problem: SplitProblem, upper_s: float) -> float:
    """Return a bound of schedules of at most `upper_s`, or that: all work divided at will, and what no device does
    before its first operator can start and after its last one (docs/model-split.md, "Bounds")."""
    count = range(len(problem.devices))
    windows = _windows(problem, upper_s)
    times, earliest, after = windows.times, windows.earliest, windows.after
    if any(min(row) == math.inf for row in times):
        return upper_s
    idle = [0.0 for _ in count]
    for device in count:
        able = [one for one, row in enumerate(times) if row[device] < math.inf]
        if any(sum(takes < math.inf for takes in times[one]) == 1 for one in able):  # the device cannot be left out
            idle[device] = min(earliest[one][device] for one in able) + min(after[one][device] for one in able)
    longest_s = max(
        min(start + takes + rest for start, takes, rest in zip(*rows, strict=True))
        for rows in zip(earliest, times, after, strict=True)
    )
    return max(longest_s * (1 - 1e-12), _divided_s(problem, times, idle))


def makespan_bound_s(problem: SplitProblem, upper_s: float) -> float:
    """Return a bound of all schedules, `upper_s` at the most, by limits that no schedule keeps: halved between what is
    proven and what a schedule has (destructive lower bounds, Klein and Scholl 1999)."""
    low_s = min(upper_s, started_load_s(problem, upper_s))
    high_s = upper_s
    for _ in range(_HALVINGS if len(problem.operators) <= _MOST_RELATED else 0):
        if high_s <= low_s * (1 + 1e-6):
            break
        middle_s = (low_s + high_s) / 2
        reached_s = started_load_s(problem, middle_s)
        low_s = max(low_s, min(middle_s, reached_s))
        if reached_s < middle_s:
            high_s = middle_s
    return low_s


def load_s(problem: SplitProblem) -> float:
    """Return the least time in which the devices do all operators divided at will, within their memories (a linear
    programme over classes of equal operators)."""
    return _divided_s(problem, problem.times, [0.0] * len(problem.devices))


def weighted_load_s(times: Times, idle_s: Sequence[float]) -> float:
    """Return a bound of the same programme without memories, by its dual: for weights w of devices that add up to 1, no
    placement takes less than the sum over operators of min over devices of w t, and of w idle over devices. The best of
    400 weightings.
    """
    table, idle = np.array(times), np.array(idle_s)
    return max(float(least.sum() + weights @ idle) for weights, least in _weightings(table, idle)) * (1 - 1e-11)


def _weighted_least(table: Floats) -> list[Floats]:
    """Return the least weighted time of each operator, by weighting."""
    return [least for _, least in _weightings(table, np.zeros(table.shape[1]))]


def _weightings(table: Floats, idle: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield 400 weightings of the devices, towards those that are busiest, with each operator's least weighted time."""
    weights = np.full(table.shape[1], 1.0 / table.shape[1])
    rows = np.arange(len(table))
    for step in range(400):
        with np.errstate(invalid="ignore"):
            priced = table * weights
        chosen = priced.argmin(axis=1)
        yield weights, priced[rows, chosen]
        load = np.bincount(chosen, weights=table[rows, chosen], minlength=table.shape[1]) + idle
        if not load.max() > 0.0:
            return
        weights = weights * np.exp(0.5 / (1 + step) ** 0.5 * (load / load.max() - load.mean() / load.max()))
        weights = weights / weights.sum()


def _divided_s(problem: SplitProblem, times: Times, idle_s: Sequence[float]) -> float:
    """Return the least time of all operators divided at will, each device idle for so long besides."""
    classes: dict[tuple[tuple[float, ...], float], int] = {}
    for row, one in zip(times, problem.operators, strict=True):
        key = (tuple(row), one.memory_bytes)
        classes[key] = classes.get(key, 0) + 1
    if len(classes) > _MOST_CLASSES:
        return weighted_load_s(times, idle_s)
    memory = [device.memory_bytes for device in problem.devices]
    return divided_work([(row, size, number) for (row, size), number in classes.items()], memory, idle_s)
