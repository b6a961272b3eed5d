"""List schedules: feasible makespans, vectorised over chips, and the best one of a chip written out.

Tasks are served in some order, each as early as the cores of its mode allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hardplace.cost.types import Engine, Floats, Ints
from hardplace.scheduling.cores import Cores, choices
from hardplace.scheduling.modes import OFF_CHIP, TENSOR, VECTOR, Modes, ancestors, modes, modes_of
from hardplace.scheduling.types import Assignment, Rule, Schedule, ScheduleProblem, Status, TaskGraph

# A mode is chosen if it takes at most so many times as long as the fastest one, the one with fewest cores first.
_PATIENCE = (0.0, 1.2, 2.5, np.inf)
_GROUPS = 64  # of cores, where tasks take several; a task on fewer cores takes a group
_Choice = Ints | None  # of a mode for each task and chip, (tasks, chips); None: whichever ends first


def list_schedule(
    graph: TaskGraph,
    tensor_cores: Ints,
    vector_cores: Ints,
    single_s: Floats,
    whole_s: Floats,
    *,
    splits: tuple[int, ...] = (),
    split_s: Floats | None = None,
    rule: Rule = Rule.EXCLUSIVE,
) -> Floats:
    """Return the least makespan (seconds) of several list schedules on each chip, shape (chips,).

    Arguments as in lower_bound. Orders: as recorded, by the longest way to the end, and that for either kind of
    core; modes: the fastest, those with fewer cores where that costs little, the least, and whichever ends first.
    """
    every = modes(graph, tensor_cores, vector_cores, single_s, whole_s, splits=splits, split_s=split_s, rule=rule)
    best = np.full(whole_s.shape[1], np.inf)
    for choice in _choices(every):
        for order in _orders(every):
            best = np.minimum(best, _Service(every).run(order, choice))
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


def _choices(every: Modes) -> Iterator[_Choice]:
    """Yield choices of a mode for each task and chip."""
    for patience in _PATIENCE:
        allowed = np.isfinite(every.seconds)
        with np.errstate(invalid="ignore"):
            allowed &= every.seconds <= np.maximum(patience * every.least_s, every.least_s)
        yield allowed.argmax(axis=0)
    yield None


def _orders(every: Modes) -> list[list[int]]:
    """Return orders that respect precedence, the same for all chips: by what is urgent on the average one."""
    graph, mean_s = every.graph, every.least_s.mean(axis=1)
    count = len(graph.engines)
    orders = [list(range(count))]
    for favoured in ((), TENSOR, VECTOR):
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


class _Service:
    """When cores are free while tasks are served, on many chips at once; cores of a chip in groups if they are many."""

    def __init__(self, every: Modes) -> None:
        self._every = every
        tasks, chips = every.least_s.shape
        some = (np.isfinite(every.seconds), every.tensor, every.vector)
        split = any(
            np.any(
                finite & (tensor > 1) & (tensor < every.cores[0]) | finite & (vector > 1) & (vector < every.cores[1])
            )
            for finite, tensor, vector in zip(*some, strict=True)
        )
        # Where tasks run on one core or all, more cores than tasks are of no use.
        slots = min(_GROUPS if split else tasks, int(max(cores.max() for cores in every.cores)))
        largest = np.maximum(*every.cores)
        self._size = np.maximum(1, -(-largest // slots)) if split else np.ones_like(largest)
        index = np.arange(slots)[None, :]
        # (chips, groups); groups that a chip does not have are never free.
        groups = [np.maximum(1, cores // self._size) for cores in every.cores]
        self._free = [np.where(index < count[:, None], 0.0, np.inf) for count in groups]
        self._busy_until = [np.zeros(chips), np.zeros(chips)]  # when the last task of a kind of core ends
        self._off_chip = {engine: np.zeros(chips) for engine in OFF_CHIP}
        self._end = np.zeros((tasks, chips))

    def run(self, order: list[int], choice: _Choice) -> Floats:
        """Return the makespan of serving tasks in order, each in its chosen mode, shape (chips,)."""
        graph = self._every.graph
        for task in order:
            ready = np.zeros(self._end.shape[1])
            for other in graph.predecessors[task]:
                ready = np.maximum(ready, self._end[other])
            engine = graph.engines[task]
            if engine in OFF_CHIP:
                start = np.maximum(ready, self._off_chip[engine])
                self._off_chip[engine] = self._end[task] = start + self._every.least_s[task]
            else:
                self._place(task, engine, ready, None if choice is None else choice[task])
        return np.asarray(self._end.max(axis=0))

    def _place(self, task: int, engine: Engine, ready: Floats, chosen: Ints | None) -> None:
        kinds = [kind for kind, group in ((0, TENSOR), (1, VECTOR)) if engine in group]
        free = np.maximum(*self._free) if len(kinds) == 2 else self._free[kinds[0]]
        ranked: Floats | None = None
        start, mode = np.full(len(ready), np.inf), np.full(len(ready), -1)
        least = np.full(len(ready), np.inf)
        for one in range(len(self._every.seconds)):
            possible = np.isfinite(self._every.seconds[one, task])
            possible = possible if chosen is None else possible & (chosen == one)
            if not possible.any():
                continue
            taken = self._taken(one, task)
            held = [taken[kind] >= self._every.cores[kind] for kind in (0, 1)]
            count = -(-taken[kinds[0]] // self._size)
            if (count == 1).all():
                at = free.min(axis=1)
            else:
                ranked = np.sort(free, axis=1) if ranked is None else ranked
                inside = np.minimum(count, ranked.shape[1]) - 1
                at = np.take_along_axis(ranked, inside[:, None], axis=1)[:, 0]
            partly = np.where(np.isfinite(at), at, 0.0) if len(kinds) == 2 else at
            whole = np.maximum(
                *(np.where(one_held, busy, 0.0) for one_held, busy in zip(held, self._busy_until, strict=True))
            )
            every_one = held[kinds[0]] & held[kinds[-1]]
            begin = np.maximum(ready, np.where(every_one, whole, partly))
            possible &= every_one | np.isfinite(at)
            end = np.where(possible, begin + self._every.seconds[one, task], np.inf)
            better = end < least
            least, start, mode = (
                np.where(better, end, least),
                np.where(better, begin, start),
                np.where(better, one, mode),
            )
        self._take(task, kinds, free, start, mode, least)

    def _taken(self, mode: int, task: int) -> tuple[Ints, Ints]:
        return self._every.tensor[mode, task], self._every.vector[mode, task]

    def _take(self, task: int, kinds: list[int], free: Floats, start: Floats, mode: Ints, end: Floats) -> None:
        """Give the task the last free of the cores that are free in time, or all of a kind."""
        self._end[task] = end
        column = np.arange(len(mode))
        taken = [table[mode, task, column] for table in (self._every.tensor, self._every.vector)]
        held = [taken[kind] >= self._every.cores[kind] for kind in (0, 1)]
        count = np.where(held[kinds[0]] & held[kinds[-1]], 0, -(-taken[kinds[0]] // self._size))
        most = int(count.max())
        # Latest first among those in time; the others after them.
        key = np.where(free <= start[:, None], -free, np.inf)
        if most == 1:
            mine = np.zeros(free.shape, dtype=bool)
            mine[column, key.argmin(axis=1)] = count == 1
        elif most > 1:
            rank = np.empty(free.shape, dtype=np.int64)
            np.put_along_axis(rank, key.argsort(axis=1), np.arange(free.shape[1])[None, :], axis=1)
            mine = rank < count[:, None]
        for kind in (0, 1):
            row = self._free[kind]
            if kind in kinds and most:
                row[mine] = np.broadcast_to(end[:, None], row.shape)[mine]
            row[:] = np.where(held[kind][:, None] & np.isfinite(row), end[:, None], row)
            used = taken[kind] > 0
            self._busy_until[kind] = np.where(used, np.maximum(self._busy_until[kind], end), self._busy_until[kind])


def in_order(
    problem: ScheduleProblem,
    every: Modes,
    order: list[int],
    chosen: Sequence[int] | None,
    given: Sequence[Cores] | None = None,
) -> Schedule:
    """Return the schedule that serves tasks in order, each as early as its cores allow; its bound is zero.

    every: the problem's modes, chosen: which of them each task takes; without it, the one that ends first.
    given: the cores of each task that does not take all of a kind; without it, the last to be free of those in time.
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
