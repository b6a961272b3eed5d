"""Exact schedules by best-first search over partial schedules, with dominance (docs/model.md, "Scheduling").

Tasks are appended one by one, each as early as its cores allow. Of two partial schedules of the same tasks, one that is
nowhere later makes the other superfluous. The least bound among those left open bounds every schedule.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from hardplace.cost.types import Engine, Floats
from hardplace.scheduling.alike import alike
from hardplace.scheduling.bounds import always_whole, least_tails, work_shares
from hardplace.scheduling.lists import in_order
from hardplace.scheduling.types import Schedule, ScheduleProblem

_TENSOR, _VECTOR = (Engine.TENSOR, Engine.BOTH), (Engine.VECTOR, Engine.BOTH)
_SLACK = 1e-11  # of the makespan, within which two times count as equal
_Key = tuple[float, ...]


def by_partial_schedules(problem: ScheduleProblem, best: Schedule, gap: float, most: int) -> Schedule:
    """Return the best schedule and its bound after at most so many partial schedules; best: one to start from."""
    search = _Search(problem, best, gap)
    return search.run(most)


@dataclass(frozen=True, slots=True)
class _Partial:
    """What matters of a partial schedule for what follows (seconds): when cores and the network are free."""

    done: int  # bit mask of tasks
    tensor: tuple[float, ...]
    vector: tuple[float, ...]
    network: float
    every: float  # when all compute tasks so far have ended
    ready: tuple[float, ...]  # when the predecessors so far of each task have ended
    step: tuple[int, bool, tuple[int, int]]  # the last task, whether whole, its cores
    before: _Partial | None


class _Search:
    def __init__(self, problem: ScheduleProblem, best: Schedule, gap: float) -> None:
        graph = problem.graph
        size = len(graph.engines)
        columns = (np.array([problem.single_s]).T, np.array([problem.whole_s]).T)
        cores = (np.array([problem.tensor_cores]), np.array([problem.vector_cores]))
        self._problem, self._best, self._gap, self._size = problem, best, gap, size
        self._fixed = always_whole(graph, *columns)[:, 0].tolist()
        self._tails = least_tails(graph, *cores, *columns)[:, 0].tolist()
        weights, energies = work_shares(graph, *cores, *columns)
        self._weights = weights
        self._energies = [energy[:, 0] for energy in energies]
        self._needs = [sum(1 << other for other in before) for before in graph.predecessors]
        for task, other in enumerate(alike(problem)):
            self._needs[task] |= 0 if other is None else 1 << other
        self._followers = [
            [later for later in range(size) if task in graph.predecessors[later]] for task in range(size)
        ]
        self._network = [
            seconds if engine is Engine.NETWORK else 0.0
            for engine, seconds in zip(graph.engines, problem.whole_s, strict=True)
        ]
        self._fused = sum(
            1 << task for task in range(size) if graph.engines[task] is Engine.BOTH and not self._fixed[task]
        )
        self._rests: dict[int, tuple[list[int], list[float], float]] = {}

    def run(self, most: int) -> Schedule:
        """Return the best schedule with its bound."""
        size = self._size
        upper_s, found, left_s = self._best.makespan_s, None, np.inf
        ticket = count()
        fronts: dict[int, _Front] = {}
        slack_s = _SLACK * upper_s
        heap: list[tuple[float, int, int, _Key, _Partial]] = [(self._best.bound_s, 0, next(ticket), (), self._first())]
        full = (1 << size) - 1
        while heap and most > 0:
            bound_s, _, _, key, partial = heapq.heappop(heap)
            if bound_s >= upper_s * (1.0 - self._gap):
                left_s = min(left_s, bound_s)
                break
            if key and key not in fronts[partial.done]:
                continue
            most -= 1
            for child in self._children(partial):
                if child.done == full:
                    end_s = max(child.every, child.network)
                    if end_s < upper_s:
                        upper_s, found = end_s, child
                    continue
                key, lower_s = self._look(child)
                lower_s = max(lower_s, bound_s)
                if lower_s >= upper_s * (1.0 - self._gap):
                    left_s = min(left_s, lower_s)
                    continue
                front = fronts.setdefault(child.done, _Front(len(key), slack_s))
                if front.enters(key):
                    heapq.heappush(heap, (lower_s, -child.done.bit_count(), next(ticket), key, child))
        if heap:
            left_s = min(left_s, heap[0][0])
        best = self._best if found is None else self._written(found)
        # Each of the steps to the end may have lost the slack once.
        return replace(best, bound_s=max(self._best.bound_s, min(left_s - size * slack_s, best.makespan_s)))

    def _first(self) -> _Partial:
        problem = self._problem
        # More cores than tasks that may run on one are of no use.
        most = max(1, self._size - sum(self._fixed) - sum(engine is Engine.NETWORK for engine in problem.graph.engines))
        tensor, vector = (0.0,) * min(problem.tensor_cores, most), (0.0,) * min(problem.vector_cores, most)
        return _Partial(0, tensor, vector, 0.0, 0.0, (0.0,) * self._size, (-1, False, (-1, -1)), None)

    def _children(self, partial: _Partial) -> Iterator[_Partial]:
        problem = self._problem
        fused = bool(self._fused & ~partial.done)
        for task, engine in enumerate(problem.graph.engines):
            if partial.done >> task & 1 or self._needs[task] & ~partial.done:
                continue
            ready = partial.ready[task]
            if engine is Engine.NETWORK:
                yield self._with(partial, task, False, (-1, -1), max(ready, partial.network))
                continue
            if self._fixed[task] or problem.whole_s[task] < problem.single_s[task]:
                yield self._with(partial, task, True, (-1, -1), max(ready, partial.every))
            if not self._fixed[task]:
                for cores, free in _choices(partial, engine, ready, fused):
                    yield self._with(partial, task, False, cores, max(ready, free))

    def _with(self, partial: _Partial, task: int, whole: bool, cores: tuple[int, int], start_s: float) -> _Partial:
        problem = self._problem
        network = problem.graph.engines[task] is Engine.NETWORK
        end = start_s + (problem.whole_s[task] if whole or network else problem.single_s[task])
        ready = list(partial.ready)
        ready[task] = 0.0
        for later in self._followers[task]:
            ready[later] = max(ready[later], end)
        tensor, vector = partial.tensor, partial.vector
        if whole:
            tensor, vector = (end,) * len(tensor), (end,) * len(vector)
        if cores[0] >= 0:
            tensor = (*tensor[: cores[0]], end, *tensor[cores[0] + 1 :])
        if cores[1] >= 0:
            vector = (*vector[: cores[1]], end, *vector[cores[1] + 1 :])
        return _Partial(
            partial.done | 1 << task,
            tensor,
            vector,
            end if network else partial.network,
            partial.every if network else max(partial.every, end),
            tuple(ready),
            (task, whole, cores),
            partial,
        )

    def _rest(self, done: int) -> tuple[list[int], list[float], float]:
        """Return the tasks left, their energy at each weight, and their seconds of network."""
        if done not in self._rests:
            left = [task for task in range(self._size) if not done >> task & 1]
            self._rests[done] = (
                left,
                [float(energy[left].sum()) for energy in self._energies],
                sum(self._network[task] for task in left),
            )
        return self._rests[done]

    def _look(self, partial: _Partial) -> tuple[_Key, float]:
        """Return what is compared between partial schedules of the same tasks, and a bound on the makespan."""
        left, energies, network_s = self._rest(partial.done)
        ready, done = partial.ready, partial.done
        # Nothing can start before this, so that it does not matter what is free earlier.
        now = min(ready[task] for task in left if not self._needs[task] & ~done)
        tensor = [max(now, free) for free in partial.tensor]
        vector = [max(now, free) for free in partial.vector]
        network, every = max(now, partial.network), max(now, partial.every)
        rest = [max(now, ready[task]) for task in left]
        first = {Engine.TENSOR: min(tensor), Engine.VECTOR: min(vector), Engine.NETWORK: network}
        first[Engine.BOTH] = min(max(pair) for pair in zip(tensor, vector, strict=False))
        lower = max(every if partial.every > 0 else 0.0, network + network_s)
        for task, start in zip(left, rest, strict=True):
            free = every if self._fixed[task] else first[self._problem.graph.engines[task]]
            lower = max(lower, max(start, free) + self._tails[task])
        means = (_mean(tensor, self._problem.tensor_cores), _mean(vector, self._problem.vector_cores))
        for weight, energy in zip(self._weights, energies, strict=True):
            lower = max(lower, weight * means[0] + (1.0 - weight) * means[1] + energy)
        if self._fused & ~done:
            shared = min(len(tensor), len(vector))
            pairs = sorted(zip(tensor, vector, strict=False))
            free_at = [one for pair in pairs for one in pair] + sorted(tensor[shared:]) + sorted(vector[shared:])
        else:
            free_at = sorted(tensor) + sorted(vector)
        return (network, every, *free_at, *rest), lower

    def _written(self, last: _Partial) -> Schedule:
        steps = []
        partial: _Partial | None = last
        while partial is not None and partial.before is not None:
            steps.append(partial.step)
            partial = partial.before
        size = self._size
        whole, cores = [False] * size, [(-1, -1)] * size
        for task, alone, given in steps:
            whole[task], cores[task] = alone, given
        return in_order(self._problem, [task for task, _, _ in reversed(steps)], whole, cores)


def _choices(partial: _Partial, engine: Engine, ready: float, fused: bool) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield (tensor, vector) cores for a single task, with when they are free; cores alike in this only once."""
    if engine is not Engine.BOTH and not fused:
        # The last to become free of those free in time, else the first to: any other choice can be exchanged for it.
        row = partial.tensor if engine is Engine.TENSOR else partial.vector
        core = max(range(len(row)), key=lambda one: (row[one] <= ready, row[one] if row[one] <= ready else -row[one]))
        yield ((core, -1) if engine is Engine.TENSOR else (-1, core)), row[core]
        return
    rows = (partial.tensor, partial.vector)
    kinds = [kind for kind, group in ((0, _TENSOR), (1, _VECTOR)) if engine in group]
    seen = set()
    for core in range(min(len(rows[kind]) for kind in kinds)):
        pair = tuple(row[core] if core < len(row) else -1.0 for row in rows)
        if pair not in seen:
            seen.add(pair)
            yield (core if 0 in kinds else -1, core if 1 in kinds else -1), max(rows[kind][core] for kind in kinds)


def _mean(free: list[float], cores: int) -> float:
    """Return when cores are free on average; those beyond the list are free as early as the earliest in it."""
    return (sum(free) + (cores - len(free)) * min(free)) / cores


class _Front:
    """What is compared between partial schedules of the same tasks: none nowhere larger than another."""

    def __init__(self, width: int, slack_s: float) -> None:
        self._rows: Floats = np.empty((0, width))
        self._live: set[_Key] = set()
        self._slack_s = slack_s

    def __contains__(self, key: _Key) -> bool:
        return key in self._live

    def enters(self, key: _Key) -> bool:
        """Add a key unless another one is nowhere larger, to the slack; drop those that it makes superfluous."""
        if key in self._live:
            return False
        row = np.array(key)
        if (self._rows <= row + self._slack_s).all(axis=1).any():
            return False
        # Without slack here, so that it does not add up from one to the next.
        worse = (self._rows >= row).all(axis=1)
        if worse.any():
            self._live.difference_update(map(tuple, self._rows[worse].tolist()))
            self._rows = self._rows[~worse]
        self._rows = np.vstack([self._rows, row])
        self._live.add(key)
        return True
