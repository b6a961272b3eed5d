"""What no split beats: the critical path, and all work divided at will over the devices (docs/model-split.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hardplace.graph_split.solver import divided_work
from hardplace.graph_split.types import SplitProblem

_MOST_CLASSES = 2000  # of which the linear programme takes a second


def critical_path_s(problem: SplitProblem) -> float:
    """Return the longest way through the graph where each operator runs where it is fastest and nothing is moved.

    On every edge the better of two ways counts: both on one device, or apart with the fastest move; so the way is, over
    the device of each end, the least time at which the operator can end there if devices and links were never busy.
    """
    starts = _earliest_s(problem)
    return max((min(map(sum, zip(*row, strict=True))) for row in zip(starts, problem.times, strict=True)), default=0.0)


def _earliest_s(problem: SplitProblem) -> list[list[float]]:
    """Return the least time at which each operator can start on each device, if devices and links were never busy."""
    count = range(len(problem.devices))
    starts = [[math.inf] * len(problem.devices) for _ in problem.operators]
    ends = [[math.inf] * len(problem.devices) for _ in problem.operators]
    for one in problem.order:
        for device in count:
            takes_s = problem.times[one][device]
            if takes_s == math.inf:
                continue
            ready_s = 0.0
            for tensor in problem.inputs[one]:
                source = problem.tensors[tensor].source
                ready_s = max(
                    ready_s, min(ends[source][other] + problem.move_s(tensor, other, device) for other in count)
                )
            starts[one][device], ends[one][device] = ready_s, ready_s + takes_s
    return starts


def _least_after_s(problem: SplitProblem) -> list[list[float]]:
    """Return the least time from the end of each operator on each device to that of the last one, likewise."""
    count = range(len(problem.devices))
    after = [[0.0] * len(problem.devices) for _ in problem.operators]
    for one in reversed(problem.order):
        for device in count:
            for tensor in problem.outputs[one]:
                for reader in problem.tensors[tensor].readers:
                    least_s = min(
                        problem.move_s(tensor, device, other) + problem.times[reader][other] + after[reader][other]
                        for other in count
                    )
                    after[one][device] = max(after[one][device], least_s)
    return after


def started_load_s(problem: SplitProblem, upper_s: float) -> float:
    """Return a bound of schedules that take less than `upper_s`: all work divided at will, and what no device does
    before its first operator can start and after its last one (docs/model-split.md, "Bounds")."""
    count = range(len(problem.devices))
    times = [tuple(takes if takes < upper_s else math.inf for takes in row) for row in problem.times]
    if any(min(row) == math.inf for row in times):
        return upper_s
    earliest, after = _earliest_s(problem), _least_after_s(problem)
    idle = [0.0 for _ in count]
    for device in count:
        able = [one for one, row in enumerate(times) if row[device] < math.inf]
        if any(sum(takes < math.inf for takes in times[one]) == 1 for one in able):  # the device cannot be left out
            idle[device] = min(earliest[one][device] for one in able) + min(after[one][device] for one in able)
    return _divided_s(problem, times, idle)


def load_s(problem: SplitProblem) -> float:
    """Return the least time in which the devices do all operators divided at will, within their memories (a linear
    programme over classes of equal operators)."""
    return _divided_s(problem, problem.times, [0.0] * len(problem.devices))


def weighted_load_s(times: Sequence[Sequence[float]], idle_s: Sequence[float]) -> float:
    """Return a bound of the same programme without memories, by its dual: for weights w of devices that add up to 1, no
    placement takes less than the sum over operators of min over devices of w t, and of w idle over devices. The best of
    400 weightings.
    """
    table, idle = np.array(times), np.array(idle_s)
    weights = np.full(table.shape[1], 1.0 / table.shape[1])
    best = 0.0
    for step in range(400):
        priced = table * weights
        chosen = priced.argmin(axis=1)
        rows = np.arange(len(table))
        best = max(best, float(priced[rows, chosen].sum() + weights @ idle))
        load = np.bincount(chosen, weights=table[rows, chosen], minlength=table.shape[1]) + idle
        weights = weights * np.exp(0.5 / (1 + step) ** 0.5 * (load / load.max() - load.mean() / load.max()))
        weights = weights / weights.sum()
    return best * (1 - 1e-9)


def _divided_s(problem: SplitProblem, times: Sequence[tuple[float, ...]], idle_s: Sequence[float]) -> float:
    """Return the least time of all operators divided at will, each device idle for so long besides."""
    classes: dict[tuple[tuple[float, ...], float], int] = {}
    for row, one in zip(times, problem.operators, strict=True):
        key = (row, one.memory_bytes)
        classes[key] = classes.get(key, 0) + 1
    if len(classes) > _MOST_CLASSES:
        return weighted_load_s(times, idle_s)
    memory = [device.memory_bytes for device in problem.devices]
    return divided_work([(row, size, number) for (row, size), number in classes.items()], memory, idle_s)
