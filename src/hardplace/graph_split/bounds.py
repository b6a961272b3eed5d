"""What no split beats: the critical path, and all work divided at will over the devices (docs/model-split.md)."""

from __future__ import annotations

import math

import numpy as np

from hardplace.graph_split.solver import divided_work
from hardplace.graph_split.types import SplitProblem

_MOST_CLASSES = 2000  # of which the linear programme takes a second


def critical_path_s(problem: SplitProblem) -> float:
    """Return the longest way through the graph where each operator runs where it is fastest and nothing is moved.

    On every edge the better of two ways counts: both on one device, or apart with the fastest move; so the way is, over
    the device of each end, the least time at which the operator can end there if devices and links were never busy.
    """
    count = range(len(problem.devices))
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
            ends[one][device] = ready_s + takes_s
    return max((min(row) for row in ends), default=0.0)


def weighted_load_s(problem: SplitProblem) -> float:
    """Return a bound of the same programme without memories, by its dual: for weights w of devices that add up to 1, no
    placement takes less than the sum over operators of min over devices of w t. The best of 400 weightings.
    """
    times = np.array(problem.times)
    weights = np.full(times.shape[1], 1.0 / times.shape[1])
    best = 0.0
    for step in range(400):
        priced = times * weights
        chosen = priced.argmin(axis=1)
        rows = np.arange(len(times))
        best = max(best, float(priced[rows, chosen].sum()))
        load = np.bincount(chosen, weights=times[rows, chosen], minlength=times.shape[1])
        weights = weights * np.exp(0.5 / (1 + step) ** 0.5 * (load / load.max() - load.mean() / load.max()))
        weights = weights / weights.sum()
    return best * (1 - 1e-9)


def load_s(problem: SplitProblem) -> float:
    """Return the least time in which the devices do all operators divided at will, within their memories (a linear
    programme over classes of equal operators)."""
    classes: dict[tuple[tuple[float, ...], float], int] = {}
    for row, one in zip(problem.times, problem.operators, strict=True):
        key = (row, one.memory_bytes)
        classes[key] = classes.get(key, 0) + 1
    memory = [device.memory_bytes for device in problem.devices]
    if len(classes) > _MOST_CLASSES:
        return weighted_load_s(problem)
    return divided_work([(row, size, number) for (row, size), number in classes.items()], memory)
