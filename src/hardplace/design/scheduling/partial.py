"""Exact schedules by best-first search over partial schedules, with dominance (docs/model-scheduling.md).

Tasks are appended in the order of their starts, each as early as its cores allow (`expand`). Of two partial schedules
of the same tasks, one that is nowhere later makes the other superfluous. The least bound of those left open
(`remaining`) bounds every schedule.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import replace
from itertools import count

import numpy as np

from hardplace.design.scheduling.expand import Expansion, PartialSchedule
from hardplace.design.scheduling.remaining import Key, Remaining
from hardplace.design.scheduling.types import Schedule, ScheduleProblem
from hardplace.design.scheduling.verify import agree
from hardplace.ndtypes import Floats

_SLACK = 1e-11  # of the makespan, within which two times count as equal
_BEAM = 16  # partial schedules kept of those with as many tasks, to find a good schedule first
_UNIT = 256  # times at which a core is free, in new partial schedules, that count as one partial schedule
_DIVE = 4_000  # such units at most in the beam search


class PartialSearch:
    """A best-first search over partial schedules that can be stopped and taken up again.

    Args:
        problem: The problem.
        best: Schedule to start from.
        gap: Relative gap at which to stop.
    """

    def __init__(self, problem: ScheduleProblem, best: Schedule, gap: float) -> None:
        self._best, self._gap = best, gap
        self._expansion = Expansion(problem)
        self._remaining = Remaining(self._expansion)
        self._size = self._expansion.size
        self._heap: list[tuple[float, int, int, Key, PartialSchedule]] = []
        self._done = False
        self._left_s = np.inf  # the least bound of what was left out for the gap
        self._slack_s = _SLACK * best.makespan_s
        self._fronts: dict[int, _Front] = {}
        self._ticket = count()
        self._width = sum(map(len, self._expansion.first().rows))

    def _dive(self, deadline: float) -> None:
        """Improve the best schedule by beam search: of the partial schedules with as many tasks, the most promising."""
        full = (1 << self._size) - 1
        best: PartialSchedule | None = None
        upper_s = self._best.makespan_s
        beam, left = [self._expansion.first()], _DIVE
        for _ in range(self._size):
            found: dict[tuple[int, Key], tuple[float, float, PartialSchedule]] = {}
            for partial in beam:
                children = list(self._expansion.children(partial)) if left > 0 else []
                left -= self._units(len(children))
                for child in children:
                    if child.done == full:
                        if child.end < upper_s:
                            best, upper_s = child, child.end
                        continue
                    key, lower_s = self._remaining.look(child, upper_s * (1.0 - self._gap))
                    if key:
                        found[child.done, key] = (lower_s, child.end, child)
            if not found or time.perf_counter() > deadline:
                break
            beam = [one[2] for one in heapq.nsmallest(_BEAM, found.values(), key=lambda one: one[:2])]
        if best is not None:
            self._best = replace(self._expansion.written(best), bound_s=self._best.bound_s)

    def run(self, most: int, deadline: float = np.inf) -> Schedule:
        """Return the best schedule with its lower bound.

        Args:
            most: Partial schedules to expand in this call.
            deadline: Moment of time.perf_counter at which to stop before.
        """
        if not self._heap and not self._done:
            self._dive(deadline)
            self._push(self._best.bound_s, (), self._expansion.first())
        full, heap = (1 << self._size) - 1, self._heap
        while heap and most > 0 and time.perf_counter() < deadline:
            bound_s, _, _, key, partial = heapq.heappop(heap)
            if bound_s >= self._best.makespan_s * (1.0 - self._gap):
                self._left_s = min(self._left_s, bound_s)
                heap.clear()
                break
            if key and key not in self._fronts[partial.done]:
                continue
            self._expansion.cut = False
            children = list(self._expansion.children(partial))
            most -= 1 + self._units(len(children))
            if self._expansion.cut:
                self._left_s = min(self._left_s, bound_s)
            for child in children:
                if child.done == full:
                    self.improve(self._expansion.written(child) if child.end < self._best.makespan_s else self._best)
                    continue
                key, lower_s = self._remaining.look(child, self._best.makespan_s * (1.0 - self._gap))
                if not key:
                    self._left_s = min(self._left_s, max(lower_s, bound_s))
                    continue
                front = self._fronts.setdefault(child.done, _Front(len(key), self._slack_s))
                if front.enters(key):
                    self._push(max(lower_s, bound_s), key, child)
        self._done = not heap
        left_s = min(self._left_s, heap[0][0] if heap else np.inf)
        # Each of the steps to the end may have lost the slack once.
        bound_s = max(self._best.bound_s, min(left_s - self._size * self._slack_s, self._best.makespan_s))
        self._best = replace(self._best, bound_s=bound_s)
        return self._best

    def improve(self, best: Schedule) -> None:
        """Adopt a schedule or a bound that is better.

        Raises:
            Contradiction: Where a lower bound is above a schedule.
        """
        problem = self._expansion.problem
        agree(problem, ("another method", best.bound_s), ("the partial schedules", self._best.makespan_s))
        agree(problem, ("the search of partial schedules", self._best.bound_s), ("another method", best.makespan_s))
        smaller = min(self._best, best, key=lambda one: one.makespan_s)
        bound_s = min(max(self._best.bound_s, best.bound_s), smaller.makespan_s)
        self._best = replace(smaller, bound_s=bound_s)

    def _units(self, children: int) -> int:
        """Return the work of so many partial schedules, which grows with the number of cores."""
        return children * self._width // _UNIT

    def _push(self, bound_s: float, key: Key, partial: PartialSchedule) -> None:
        heapq.heappush(self._heap, (bound_s, -partial.done.bit_count(), next(self._ticket), key, partial))


class _Front:
    """What is compared between partial schedules of the same tasks: none nowhere larger than another."""

    def __init__(self, width: int, slack_s: float) -> None:
        self._rows: Floats = np.empty((0, width))
        self._live: set[Key] = set()
        self._slack_s = slack_s

    def __contains__(self, key: Key) -> bool:
        return key in self._live

    def enters(self, key: Key) -> bool:
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
