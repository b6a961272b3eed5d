"""Lower bounds on the makespan of a task graph, vectorised over chips (proofs in docs/model-scheduling.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.modes import OFF_CHIP, Modes, ancestors, of
from hardplace.design.scheduling.types import TaskGraph
from hardplace.ndtypes import Bools, Floats

# Weights of tensor-core against vector-core work in the energetic bound; any value gives a bound.
_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_HALVINGS = 6  # of the interval in which the best weight of a chip lies
_GOLDEN = (5.0**0.5 - 1.0) / 2.0


def lower_bound(every: Modes) -> Floats:
    """Return a lower bound on the makespan on each chip, in seconds, shape (chips,).

    It is inf where a task may not run at all. The end of the graph counts as a task that follows all others. Proof:
    docs/model-scheduling.md.
    """
    return np.where(every.impossible.any(axis=0), np.inf, least_starts(every)[-1])


def least_tails(every: Modes) -> Floats:
    """Return a lower bound on the seconds from the start of each task to the end of the graph, shape (tasks, chips).

    It is the earliest start, in the graph run backwards, and the task itself.
    """
    graph = every.graph
    last = len(graph.engines) - 1
    followers: list[list[int]] = [[] for _ in graph.engines]
    for task, predecessors in enumerate(graph.predecessors):
        for other in predecessors:
            followers[other].append(task)
    backwards = TaskGraph(
        engines=graph.engines[::-1],
        predecessors=tuple(tuple(sorted(last - task for task in followers[last - row])) for row in range(last + 1)),
    )
    turned = replace(
        every,
        graph=backwards,
        seconds=every.seconds[:, ::-1],
        tensor=every.tensor[:, ::-1],
        vector=every.vector[:, ::-1],
    )
    return np.asarray(least_starts(turned)[:-1][::-1] + every.least_s)


def weights(every: Modes) -> Floats:
    """Return weights of tensor-core work for each chip, shape (weights, chips).

    Some that are the same for all chips, that at which all cores count alike, and the one with most energy in all.
    """
    tensor, vector = every.cores
    fixed = np.repeat(np.array(_WEIGHTS)[:, None], every.seconds.shape[2], axis=1)
    alike = tensor / (tensor + vector)
    return np.concatenate([fixed, alike[None, :], _best_weight(every)[None, :]])


def _best_weight(every: Modes) -> Floats:
    """Return the weight of each chip at which the energy of all tasks, a concave function of it, is largest."""
    low, high = np.zeros(every.seconds.shape[2]), np.ones(every.seconds.shape[2])
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = (energy(every, one).sum(axis=0) for one in (left, right))
    for _ in range(_HALVINGS):
        up = at_left < at_right
        low, high = np.where(up, left, low), np.where(up, high, right)
        new = np.where(up, low + _GOLDEN * (high - low), high - _GOLDEN * (high - low))
        at_new = energy(every, new).sum(axis=0)
        left, right = np.where(up, right, new), np.where(up, new, left)
        at_left, at_right = np.where(up, at_right, at_new), np.where(up, at_new, at_left)
    return np.asarray((low + high) / 2.0)


def energy(every: Modes, weight: Floats) -> Floats:
    """Return the least time that each task takes from a window in which it lies, shape (tasks, chips).

    weight: of tensor-core work against vector-core work, shape (chips,).
    """
    shares = (weight / every.cores[0], (1.0 - weight) / every.cores[1])
    least = np.full(every.seconds.shape[1:], np.inf)
    for seconds, tensor, vector in zip(every.seconds, every.tensor, every.vector, strict=True):
        with np.errstate(invalid="ignore"):
            spread = seconds * (shares[0] * tensor + shares[1] * vector)
        least = np.minimum(least, np.where(np.isinf(seconds), np.inf, spread))
    return least


def least_starts(every: Modes) -> Floats:
    """Return the least start of each task, then of the end of the graph, shape (tasks + 1, chips).

    The largest of: the end of a predecessor; the end of any ancestor and the energy of all that lies between.
    """
    graph, least_s = every.graph, every.least_s
    count, chips = least_s.shape
    before = ancestors(graph)
    energies = [energy(every, weight) for weight in weights(every)]
    for engine in OFF_CHIP:
        if engine in graph.engines:
            energies.append(np.where(of(graph, engine)[:, None], least_s, 0.0))
    starts, end = np.zeros((count + 1, chips)), np.zeros((count, chips))
    for task in range(count + 1):
        above = np.ones(count, dtype=bool) if task == count else before[task]
        starts[task] = _least_start(above, before, end, energies)
        if task < count:
            end[task] = starts[task] + least_s[task]
    return starts


def _least_start(above: Bools, before: Bools, end: Floats, energies: list[Floats]) -> Floats:
    """Return the least start of a task with these ancestors, shape (chips,)."""
    start = np.max([energy[above].sum(axis=0) for energy in energies], axis=0)
    after = np.flatnonzero(above)
    if len(after):
        between = (before.T[after] & above).astype(np.float64)
        window = np.max([between @ energy for energy in energies], axis=0)
        start = np.maximum(start, (end[after] + window).max(axis=0))
    return np.asarray(start)


def always_whole(graph: TaskGraph, single_s: Floats, whole_s: Floats) -> Bools:
    """Return which tasks run on the whole chip in some optimal schedule of each chip, shape (tasks, chips).

    Under the exclusive rule without splits, whatever the number of cores: see modes._useful.
    """
    before = ancestors(graph)
    apart = (~(before | before.T | np.eye(len(before), dtype=bool))).astype(np.float64)
    network = of(graph, Engine.NETWORK, Engine.COPY)[:, None]
    fixed = np.zeros(whole_s.shape, dtype=bool)
    least_s = np.minimum(single_s, whole_s)
    while True:
        beside = apart @ np.where(fixed, 0.0, least_s)
        grown = fixed | (~network & (single_s >= whole_s + beside))
        if np.array_equal(grown, fixed):
            return fixed
        fixed = grown
