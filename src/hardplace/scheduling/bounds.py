"""Lower bounds on the makespan of a task graph, vectorised over chips (proofs in docs/model.md, "Scheduling")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hardplace.cost.types import Engine, Floats, Ints
from hardplace.scheduling.types import TaskGraph

Bools = npt.NDArray[np.bool_]

# Weights of tensor-core against vector-core work in the energetic bound; any value gives a bound.
_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def ancestors(graph: TaskGraph) -> Bools:
    """Return whether column j must end before row i starts, shape (tasks, tasks)."""
    before = np.zeros((len(graph.engines), len(graph.engines)), dtype=bool)
    for task, predecessors in enumerate(graph.predecessors):
        for other in predecessors:
            before[task] |= before[other]
            before[task, other] = True
    return before


def always_whole(graph: TaskGraph, single_s: Floats, whole_s: Floats) -> Bools:
    """Return which tasks run on the whole chip in some optimal schedule of each chip, shape (tasks, chips).

    A task on one core that lasts at least as long as it would on the whole chip followed by everything that may
    overlap it, one after the other on the whole chip, is better off whole. Tasks known to be whole overlap nothing, so
    the argument repeats until nothing changes.
    """
    before = ancestors(graph)
    apart = (~(before | before.T | np.eye(len(before), dtype=bool))).astype(np.float64)
    network = _of(graph, Engine.NETWORK)[:, None]
    fixed = np.zeros(whole_s.shape, dtype=bool)
    while True:
        beside = apart @ np.where(fixed, 0.0, whole_s)
        grown = fixed | (~network & (single_s >= whole_s + beside))
        if np.array_equal(grown, fixed):
            return fixed
        fixed = grown


def lower_bound(graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats) -> Floats:
    """Return a lower bound on the makespan (seconds) on each chip, shape (chips,).

    tensor_cores, vector_cores: (chips,). single_s, whole_s: (tasks, chips). The end of the graph counts as a task
    that follows all others.
    """
    return np.asarray(_earliest_starts(graph, tensor_cores, vector_cores, single_s, whole_s)[-1])


def least_tails(graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats) -> Floats:
    """Return a lower bound on the seconds from the start of each task to the end of the graph, shape (tasks, chips).

    Arguments as in lower_bound. It is the earliest start, in the graph run backwards, and the task itself.
    """
    last = len(graph.engines) - 1
    followers: list[list[int]] = [[] for _ in graph.engines]
    for task, predecessors in enumerate(graph.predecessors):
        for other in predecessors:
            followers[other].append(task)
    backwards = TaskGraph(
        engines=graph.engines[::-1],
        predecessors=tuple(tuple(sorted(last - task for task in followers[last - row])) for row in range(last + 1)),
    )
    starts = _earliest_starts(backwards, tensor_cores, vector_cores, single_s[::-1], whole_s[::-1])
    fixed = always_whole(graph, single_s, whole_s)
    return np.asarray(starts[:-1][::-1] + np.where(fixed, whole_s, np.minimum(single_s, whole_s)))


def work_shares(
    graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats
) -> tuple[tuple[float, ...], list[Floats]]:
    """Return weights of tensor-core work, and for each the least time each task takes from a window it lies in.

    Times of shape (tasks, chips); that of a collective is zero.
    """
    fixed = always_whole(graph, single_s, whole_s)
    return _WEIGHTS, _energies(graph, tensor_cores, vector_cores, single_s, whole_s, fixed)


def _earliest_starts(
    graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats
) -> Floats:
    """Return the least start of each task, then of the end of the graph, shape (tasks + 1, chips).

    The largest of: the end of a predecessor; the end of any ancestor and the energy of all that lies between.
    """
    count, chips = whole_s.shape
    before = ancestors(graph)
    fixed = always_whole(graph, single_s, whole_s)
    least_s = np.where(fixed, whole_s, np.minimum(single_s, whole_s))
    energies = _energies(graph, tensor_cores, vector_cores, single_s, whole_s, fixed)
    network_s = np.where(_of(graph, Engine.NETWORK)[:, None], whole_s, 0.0)
    starts, end = np.zeros((count + 1, chips)), np.zeros((count, chips))
    for task in range(count + 1):
        above = np.ones(count, dtype=bool) if task == count else before[task]
        start = np.max([energy[above].sum(axis=0) for energy in (*energies, network_s)], axis=0)
        after = [other for other in range(count) if above[other]]
        if after:
            between = (before.T[after] & above).astype(np.float64)
            window = np.max([between @ energy for energy in (*energies, network_s)], axis=0)
            start = np.maximum(start, (end[after] + window).max(axis=0))
        starts[task] = start
        if task < count:
            end[task] = start + least_s[task]
    return starts


def _of(graph: TaskGraph, *engines: Engine) -> Bools:
    return np.array([engine in engines for engine in graph.engines], dtype=bool)


def _energies(
    graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats, fixed: Bools
) -> list[Floats]:
    """Return for each weight the least time that each task takes from a window in which it lies, (tasks, chips)."""
    tensor = _of(graph, Engine.TENSOR, Engine.BOTH)[:, None].astype(np.float64)
    vector = _of(graph, Engine.VECTOR, Engine.BOTH)[:, None].astype(np.float64)
    energies = []
    for weight in _WEIGHTS:
        share = weight * tensor / tensor_cores[None, :] + (1.0 - weight) * vector / vector_cores[None, :]
        spread = np.minimum(whole_s, share * single_s)
        energies.append(np.where(_of(graph, Engine.NETWORK)[:, None], 0.0, np.where(fixed, whole_s, spread)))
    return energies
