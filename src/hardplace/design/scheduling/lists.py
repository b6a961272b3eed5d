"""List schedules: feasible makespans, vectorised over chips, and the best one of a chip written out.

Tasks are served in some order, each as early as the cores of its mode allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.cores import Cores, choices
from hardplace.design.scheduling.modes import OFF_CHIP, TENSOR, VECTOR, Modes, ancestors, modes_of
from hardplace.design.scheduling.service import Choice, Service
from hardplace.design.scheduling.types import Assignment, Schedule, ScheduleProblem, Status, TaskGraph
from hardplace.ndtypes import Floats, Ints

# A mode is chosen if it takes at most so many times as long as the fastest one, the one with fewest cores first.
_PATIENCE = (0.0, 1.2, 2.5, np.inf)


def list_schedule(every: Modes) -> Floats:
    """Return the least makespan of several list schedules on each chip, in seconds, shape (chips,).

    Orders: as recorded, by the critical path to the end, and that for either kind of core; modes: the fastest, those
    with fewer cores where that costs little, the least, and whichever ends first.
    """
    best = np.full(every.seconds.shape[2], np.inf)
    for choice in _choices(every):
        for order in _orders(every):
            best = np.minimum(best, Service(every).run(order, choice))
    return np.where(every.impossible.any(axis=0), np.inf, best)


def best_list_schedule(problem: ScheduleProblem) -> Schedule:
    """Return the best list schedule of one chip; its bound is zero."""
    every = modes_of(problem)
    best: Schedule | None = None
    for choice in _choices(every):
        for order in _orders(every):
            found = in_order(problem, every, order, None if choice is None else choice[:, 0].tolist())
            if best is None or found.makespan_s < best.makespan_s:
                best = found
    assert best is not None
    return best


def _choices(every: Modes) -> Iterator[Choice]:
    """Yield choices of a mode for each task and chip, those that differ on some chip."""
    seen: list[Ints] = []
    for patience in _PATIENCE:
        allowed = np.isfinite(every.seconds)
        if np.isfinite(patience):  # inf times a task of no seconds would be none
            allowed &= every.seconds <= max(patience, 1.0) * every.least_s
        choice = allowed.argmax(axis=0)
        if not any(np.array_equal(choice, other) for other in seen):
            seen.append(choice)
            yield choice
    if len(seen) > 1:
        yield None


def _orders(every: Modes) -> list[list[int]]:
    """Return orders that respect precedence, the same for all chips: by what is urgent on the average one."""
    graph, mean_s = every.graph, every.least_s.mean(axis=1)
    count = len(graph.engines)
    orders = [list(range(count))]
    # Without splits other orders gain next to nothing on whole spaces of chips, and search asks for them often.
    for favoured in ((), TENSOR, VECTOR) if len(every.seconds) > 2 else ((),):
        weight = np.array([4.0 if engine in favoured else 1.0 for engine in graph.engines]) * mean_s
        tail = weight.copy()
        for task in reversed(range(count)):
            for other in graph.predecessors[task]:
                tail[other] = max(tail[other], tail[task] + weight[other])
        order = _by_urgency(graph, tail)
        if order not in orders:
            orders.append(order)
    return orders


def _by_urgency(graph: TaskGraph, urgency: Floats) -> list[int]:
    before = ancestors(graph)
    order: list[int] = []
    pending = set(range(len(graph.engines)))
    while pending:
        ready = [task for task in pending if not any(before[task, other] for other in pending)]
        order.append(min(ready, key=lambda task: (-urgency[task], task)))
        pending.remove(order[-1])
    return order


def in_order(
    problem: ScheduleProblem,
    every: Modes,
    order: list[int],
    chosen: Sequence[int] | None,
    given: Sequence[Cores] | None = None,
) -> Schedule:
    """Return the schedule that serves tasks in order, each as early as its cores allow; its bound is zero.

    Args:
        problem: The problem.
        every: Its modes.
        order: Tasks in the order of service.
        chosen: Mode of each task; None: the one that ends first.
        given: Cores of each task that does not take all of a kind; None: the last to be free of those in time.
    """
    graph = problem.graph
    free: list[list[float]] = [[0.0] * problem.tensor_cores, [0.0] * problem.vector_cores]
    off_chip = dict.fromkeys(OFF_CHIP, 0.0)
    found: dict[int, Assignment] = {}
    for task in order:
        ready = max((found[other].end_s for other in graph.predecessors[task]), default=0.0)
        engine = graph.engines[task]
        if engine in OFF_CHIP:
            start = max(ready, off_chip[engine])
            off_chip[engine] = start + problem.whole_s[task]
            found[task] = Assignment(
                task=task, start_s=start, end_s=off_chip[engine], whole=False, tensor_cores=(), vector_cores=()
            )
            continue
        candidates = range(len(every.seconds)) if chosen is None else (chosen[task],)
        options = []
        for mode in candidates:
            seconds = float(every.seconds[mode, task, 0])
            if seconds < np.inf:
                counts = (int(every.tensor[mode, task, 0]), int(every.vector[mode, task, 0]))
                whole = _is_whole(problem, engine, counts) and mode == len(every.seconds) - 1
                cores, at = _served(free, counts, ready, whole, None if given is None else given[task])
                options.append((max(ready, at) + seconds, mode, max(ready, at), whole, cores))
        end, _, start, whole, cores = min(options, key=lambda option: option[:2])
        for kind in (0, 1):
            for core in cores[kind]:
                free[kind][core] = end
        named = ((), ()) if whole else cores
        found[task] = Assignment(
            task=task, start_s=start, end_s=end, whole=whole, tensor_cores=named[0], vector_cores=named[1]
        )
    return Schedule(
        assignments=tuple(found[task] for task in range(len(graph.engines))),
        makespan_s=max((one.end_s for one in found.values()), default=0.0),
        bound_s=0.0,
        status=Status.FEASIBLE,
    )


def _is_whole(problem: ScheduleProblem, engine: Engine, counts: tuple[int, int]) -> bool:
    """Return whether so many cores are all of the kinds that an engine has."""
    return (engine not in TENSOR or counts[0] == problem.tensor_cores) and (
        engine not in VECTOR or counts[1] == problem.vector_cores
    )


def _served(
    free: list[list[float]], counts: tuple[int, int], ready: float, whole: bool, given: Cores | None
) -> tuple[Cores, float]:
    """Return the cores that a task takes, and when they are free."""
    if whole:
        cores: Cores = (
            tuple(range(len(free[0]))) if counts[0] else (),
            tuple(range(len(free[1]))) if counts[1] else (),
        )
    elif given is not None:
        cores = given
    elif counts[0] and counts[1]:
        both = [max(pair) for pair in zip(*free, strict=False)]
        start = max(ready, sorted(both)[counts[0] - 1])
        fitting = sorted((core for core in range(len(both)) if both[core] <= start), key=lambda core: -both[core])
        cores = (tuple(sorted(fitting[: counts[0]])),) * 2
    else:
        return next(choices(free[0], free[1], counts, ready, paired=False))
    return cores, max(free[kind][core] for kind in (0, 1) for core in cores[kind])
