"""List schedules: feasible makespans, vectorised over chips, and the best one of a chip written out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hardplace.cost.types import Engine, Floats, Ints
from hardplace.scheduling.bounds import Bools, always_whole, ancestors
from hardplace.scheduling.types import Assignment, Schedule, ScheduleProblem, Status, TaskGraph

# A task that is not always whole goes on one core if that takes at most so many times as long as on all of them;
# and, last, however long it takes.
_PATIENCE = (0.0, 1.2, 2.5)


def list_schedule(
    graph: TaskGraph, tensor_cores: Ints, vector_cores: Ints, single_s: Floats, whole_s: Floats
) -> Floats:
    """Return the least makespan (seconds) of several list schedules on each chip, shape (chips,).

    Arguments as in lower_bound. Orders: as recorded, and by the longest way to the end; modes: whole, or single
    where that costs little.
    """
    best = np.full(whole_s.shape[1], np.inf)
    for whole in _modes(graph, single_s, whole_s):
        for order in _orders(graph, np.minimum(single_s, whole_s)):
            ends = _ends(graph, order, whole, tensor_cores, vector_cores, single_s, whole_s)
            best = np.minimum(best, ends)
    return best


def best_list_schedule(problem: ScheduleProblem) -> Schedule:
    """Return the best list schedule of one chip; its makespan is list_schedule's."""
    single_s, whole_s = (np.array([column]).T for column in (problem.single_s, problem.whole_s))
    tensor_cores, vector_cores = np.array([problem.tensor_cores]), np.array([problem.vector_cores])
    best: Schedule | None = None
    for whole in _modes(problem.graph, single_s, whole_s):
        for order in _orders(problem.graph, np.minimum(single_s, whole_s)):
            found = in_order(problem, order, whole[:, 0].tolist())
            if best is None or found.makespan_s < best.makespan_s:
                best = found
    assert best is not None
    assert np.isclose(
        best.makespan_s,
        list_schedule(problem.graph, tensor_cores, vector_cores, single_s, whole_s)[0],
        rtol=1e-9,
    )
    return best


def _modes(graph: TaskGraph, single_s: Floats, whole_s: Floats) -> Iterator[Bools]:
    """Yield choices of whole (True) or single for each task and chip."""
    fixed = always_whole(graph, single_s, whole_s)
    for patience in _PATIENCE:
        yield fixed | (single_s > patience * whole_s)
    yield fixed


def _orders(graph: TaskGraph, least_s: Floats) -> list[list[int]]:
    """Return orders that respect precedence: as recorded, and by the longest way to the end on the average chip."""
    count = len(graph.engines)
    mean_s = least_s.mean(axis=1)
    tail = np.zeros(count)
    for task in reversed(range(count)):
        for other in graph.predecessors[task]:
            tail[other] = max(tail[other], tail[task] + mean_s[task])
    urgent = [-(tail[task] + mean_s[task]) for task in range(count)]
    before = ancestors(graph)
    order: list[int] = []
    pending = set(range(count))
    while pending:
        ready = [task for task in pending if not any(before[task, other] for other in pending)]
        chosen = min(ready, key=lambda task: (urgent[task], task))
        order.append(chosen)
        pending.remove(chosen)
    return [list(range(count)), order]


def _ends(
    graph: TaskGraph,
    order: list[int],
    whole: Bools,
    tensor_cores: Ints,
    vector_cores: Ints,
    single_s: Floats,
    whole_s: Floats,
) -> Floats:
    """Return the makespan of serving tasks in order, each as early as its cores allow, shape (chips,)."""
    count, chips = whole_s.shape
    slots = min(count, int(max(tensor_cores.max(), vector_cores.max())))
    index = np.arange(slots)[:, None]
    # When each core is free; cores that a chip does not have never are. More cores than tasks are of no use.
    tensor = np.where(index < tensor_cores[None, :], 0.0, np.inf)
    vector = np.where(index < vector_cores[None, :], 0.0, np.inf)
    network = np.zeros(chips)
    every = np.zeros(chips)
    end = np.zeros((count, chips))
    column = np.arange(chips)
    for task in order:
        ready = np.zeros(chips)
        for other in graph.predecessors[task]:
            ready = np.maximum(ready, end[other])
        engine = graph.engines[task]
        if engine is Engine.NETWORK:
            network = end[task] = np.maximum(ready, network) + whole_s[task]
            continue
        free = {Engine.TENSOR: tensor, Engine.VECTOR: vector, Engine.BOTH: np.maximum(tensor, vector)}[engine]
        core = free.argmin(axis=0)
        alone = whole[task]
        start = np.maximum(ready, np.where(alone, every, free[core, column]))
        end[task] = start + np.where(alone, whole_s[task], single_s[task])
        for cores, used in ((tensor, engine is not Engine.VECTOR), (vector, engine is not Engine.TENSOR)):
            if used:
                cores[core, column] = end[task]
            cores[:] = np.where(alone & np.isfinite(cores), end[task], cores)
        every = np.maximum(every, end[task])
    return np.asarray(end.max(axis=0))


def in_order(
    problem: ScheduleProblem, order: list[int], whole: list[bool], given: list[tuple[int, int]] | None = None
) -> Schedule:
    """Return the schedule that serves tasks in order, each as early as its cores allow; its bound is zero.

    The rule of _ends for one chip, with cores written down. given: the (tensor, vector) core of each single task,
    -1 where it takes none; without it, those that are free first.
    """
    graph = problem.graph
    tensor, vector = [0.0] * problem.tensor_cores, [0.0] * problem.vector_cores
    network, every = 0.0, 0.0
    found: dict[int, Assignment] = {}
    for task in order:
        ready = max((found[other].end_s for other in graph.predecessors[task]), default=0.0)
        engine = graph.engines[task]
        cores = (-1, -1)
        if engine is Engine.NETWORK:
            start = max(ready, network)
            network = start + problem.whole_s[task]
        elif whole[task]:
            start = max(ready, every)
        else:
            cores = given[task] if given is not None else _earliest(engine, tensor, vector)
            start = max([ready] + [free[core] for free, core in zip((tensor, vector), cores, strict=True) if core >= 0])
        alone = whole[task] and engine is not Engine.NETWORK
        seconds = problem.whole_s[task] if alone or engine is Engine.NETWORK else problem.single_s[task]
        end = start + seconds
        found[task] = Assignment(
            task=task, start_s=start, end_s=end, whole=alone, tensor_core=cores[0], vector_core=cores[1]
        )
        if engine is Engine.NETWORK:
            continue
        every = max(every, end)
        if alone:
            tensor, vector = [end] * len(tensor), [end] * len(vector)
        for free, core in zip((tensor, vector), cores, strict=True):
            if core >= 0:
                free[core] = end
    return Schedule(
        assignments=tuple(found[task] for task in range(len(graph.engines))),
        makespan_s=max((one.end_s for one in found.values()), default=0.0),
        bound_s=0.0,
        status=Status.FEASIBLE,
    )


def _earliest(engine: Engine, tensor: list[float], vector: list[float]) -> tuple[int, int]:
    """Return the (tensor core, vector core) that are free first; a fused task takes both of one index."""
    if engine is Engine.TENSOR:
        return min(range(len(tensor)), key=tensor.__getitem__), -1
    if engine is Engine.VECTOR:
        return -1, min(range(len(vector)), key=vector.__getitem__)
    core = min(range(min(len(tensor), len(vector))), key=lambda one: max(tensor[one], vector[one]))
    return core, core
