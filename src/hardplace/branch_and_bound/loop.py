"""Best-first branch and bound: a heap of candidates by their bounds, refined until none can matter.

A candidate has scores, one for each objective, that nothing in it exceeds; more is better. What is reached is kept in a
Pareto front (`branch_and_bound.front`), and a candidate matters as far as its scores exceed the front. The loop refines
the one that exceeds it most; when that is no more than the gap, the front is the answer for everything
(docs/model-search.md). It serves `design` and `shaping.joint`; `plans` has heaps of its own.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hardplace.branch_and_bound.front import Front, Scores
from hardplace.branch_and_bound.problem import C, Problem, Steps
from hardplace.branch_and_bound.types import LIMITS, Progress, Stop, StoppingRule

P = TypeVar("P")  # what a point of the front carries
_Entry = tuple[float, float, int, Scores, C]  # key, tie-breaker, serial number, scores, candidate
PROOF_SHARE = 0.85  # of a time limit; the rest is for what follows the proof
_REST_SHARE = 0.95  # after which no more of that is begun
AHEAD = 8  # refinements under way at most; the answer depends on it, so it is the same wherever they are done


class TimeUp(Exception):
    """The time limit of a search has passed; raised inside a refinement, whose candidate then stays as it was."""


@dataclass(slots=True)
class Deadline:
    """When a search has to end, and the answer that it is a part of.

    Attributes:
        limit_s: Seconds from the start until the answer; None: never.
        start_s: Start, on the clock of time.perf_counter.
        share: Share of the limit after which the search ends: what follows it has the rest.
    """

    limit_s: float | None = None
    start_s: float = field(default_factory=time.perf_counter)
    share: float = 1.0

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start_s

    @property
    def ends_s(self) -> float:
        """Return the moment at which the search ends, on the clock of time.perf_counter."""
        return math.inf if self.limit_s is None else self.start_s + self.share * self.limit_s

    @property
    def over(self) -> bool:
        """Return whether the time of the search has passed."""
        return time.perf_counter() > self.ends_s

    @property
    def past(self) -> bool:
        """Return whether the time limit has passed, with what follows the search."""
        return self.limit_s is not None and self.elapsed_s > self.limit_s

    @property
    def rest(self) -> Deadline:
        """Return the deadline of what follows the search, which leaves time to print and to draw."""
        return Deadline(limit_s=self.limit_s, start_s=self.start_s, share=_REST_SHARE)

    @property
    def half(self) -> Deadline:
        """Return the deadline at half of the time limit that is left from now."""
        left_s = None if self.limit_s is None else max(0.0, self.limit_s - self.elapsed_s)
        return Deadline(limit_s=None if left_s is None else left_s / 2)

    def check(self) -> None:
        """Raise TimeUp if the time of the search has passed."""
        if self.over:
            raise TimeUp

    def __reduce__(self) -> tuple[Any, ...]:
        """Send what has passed of it, not when it began: the clocks of two machines have nothing in common."""
        return _begun, (self.limit_s, self.elapsed_s, self.share)


def _begun(limit_s: float | None, elapsed_s: float, share: float) -> Deadline:
    return Deadline(limit_s=limit_s, start_s=time.perf_counter() - elapsed_s, share=share)


def deadline_of(ends: StoppingRule) -> Deadline:
    """Return the deadline of an answer whose search has its share of the time limit."""
    start_s = time.perf_counter() if ends.start_s is None else ends.start_s
    return Deadline(limit_s=ends.limit_s, start_s=start_s, share=PROOF_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the loop ended.

    Attributes:
        stop: Why.
        excess: Share by which anything can exceed the front at most; inf if the front is empty, 0 where that is because
            nothing is possible.
        evaluations: Number of exact evaluations.
        progress: Incumbent and bound over time.
    """

    stop: Stop
    excess: float
    evaluations: int
    progress: tuple[Progress, ...]


class Loop(Generic[C, P]):
    """One run of branch and bound: open candidates, refinements under way, the front.

    The deadline is that of its stopping rule, or of the search that it is a part of.
    """

    def __init__(
        self,
        problem: Problem[C, Any, Any],
        front: Front[P],
        steps: Steps[C, Any, Any],
        ends: StoppingRule,
        deadline: Deadline,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self._problem, self._front, self._steps = problem, front, steps
        self._ends, self._deadline, self._report = ends, deadline, report
        self._heap: list[_Entry[C]] = []
        self._flight: deque[_Entry[C]] = deque()
        self._closed: list[Scores] = []
        self._serial = 0
        self._merged = 0
        self._evaluations = 0
        self._progress: list[Progress] = []

    def run(self) -> Ended:
        """Refine candidates, the most promising first, until no one matters, or a limit or an interrupt comes."""
        excess, stop, whole = math.inf, Stop.INTERRUPTED, False
        try:
            roots = list(self._problem.roots())
            for scores, candidate in roots:
                self._push(scores, candidate)
            whole = True
            while True:
                excess, reason = self._state()
                self._tell(excess)
                if reason is not None:
                    stop = reason
                    break
                self._deadline.check()
                self._start()
                self._merge()
        except TimeUp:
            stop = Stop.SECONDS
        except KeyboardInterrupt:
            stop = Stop.INTERRUPTED
        if whole:
            excess, _ = self._state()
        for *_, serial, _, _ in self._flight:
            self._steps.drop(serial)
        for *_, candidate in () if stop in LIMITS else (*self._flight, *self._heap):  # what a limit leaves is open
            self._problem.discard(candidate)
        return Ended(stop=stop, excess=excess, evaluations=self._evaluations, progress=tuple(self._progress))

    def _state(self) -> tuple[float, Stop | None]:
        """Return by what share anything can exceed the front, and why to stop, if so."""
        closed = self._settled()
        self._settle()
        opened = max((0.0, *(self._front.excess(entry[3]) for entry in (*self._flight, *self._heap[:1]))))
        excess = max(opened, closed)
        if not (self._heap or self._flight) or opened <= self._enough(closed):
            if excess <= 0.0:
                return excess, Stop.OPTIMAL
            return excess, Stop.GAP if excess <= self._ends.gap else Stop.SCHEDULES
        if self._ends.evaluations is not None and self._evaluations >= self._ends.evaluations:
            return excess, Stop.EVALUATIONS
        return excess, None

    def _settled(self) -> float:
        """Return by what share anything that cannot be refined any more exceeds the front."""
        # It keeps its gap; less than that is not worth anything.
        self._closed = [scores for scores in self._closed if self._front.excess(scores) > 0.0]
        return max((self._front.excess(scores) for scores in self._closed), default=0.0)

    def _enough(self, closed: float) -> float:
        """Return the excess up to which a candidate is left as it is; none is before something was reached."""
        return max(self._ends.gap, closed) if self._front.points else -math.inf

    def _settle(self) -> None:
        """Bring the candidate that exceeds the front most to the top: keys only fall as the front grows."""
        while self._heap:
            key, total, serial, scores, candidate = self._heap[0]
            now = -self._key(scores)
            if now <= key:
                return
            heapq.heapreplace(self._heap, (now, total, serial, scores, candidate))

    def _key(self, scores: Scores) -> float:
        # With one objective the order is that of the scores, whatever the front is.
        return scores[0] if len(scores) == 1 else self._front.excess(scores)

    def _matters(self, entry: _Entry[C]) -> bool:
        return self._front.excess(entry[3]) > self._enough(self._settled())

    def _start(self) -> None:
        """Start the most promising candidates; one at first, then as many more as there are results."""
        reached = tuple(scores for scores, _ in self._front.points)
        while len(self._flight) < min(AHEAD, 1 + self._merged) and self._heap and self._matters(self._heap[0]):
            # A candidate is in the heap or in flight until its result is here, so that an interrupt cannot lose it.
            entry = self._heap[0]
            self._flight.append(entry)
            heapq.heappop(self._heap)
            self._steps.start(entry[2], entry[4], reached)
            self._settle()

    def _merge(self) -> None:
        """Take the result of what was started first; what no longer matters goes back as it was."""
        entry = self._flight[0]
        _, _, serial, scores, _ = entry
        if not self._matters(entry):
            self._steps.drop(serial)
            heapq.heappush(self._heap, entry)
            self._flight.popleft()
            return
        done = self._steps.finish(serial)
        self._merged += 1
        self._evaluations += done.job is not None
        refined = done.refined
        self._problem.add(refined.tally)
        for offered, payload in refined.offers:
            self._front.offer(offered, payload)
        for own, rest in refined.left:
            cut = tuple(min(one, other) for one, other in zip(scores, own, strict=True))
            if rest is None:
                self._closed.append(cut)
            elif self._front.excess(cut) > 0.0:
                self._push(cut, rest)
            else:
                self._problem.discard(rest)
        self._flight.popleft()  # last, so that an interrupt loses nothing: what it left is in the heap by now

    def _push(self, scores: Scores, candidate: C) -> None:
        self._serial += 1
        entry = (-self._key(scores), -math.prod(scores), self._serial, scores, candidate)
        heapq.heappush(self._heap, entry)

    def _tell(self, excess: float) -> None:
        best = self._front.best
        opened = max((entry[3][0] for entry in (*self._flight, *self._heap[:1])), default=0.0)
        bound = best * (1.0 + excess) if best else opened
        now = Progress(seconds=self._deadline.elapsed_s, score=best, bound=bound)
        last = self._progress[-1] if self._progress else None
        if math.isfinite(bound) and (last is None or (last.score, last.bound) != (now.score, now.bound)):
            self._progress.append(now)
        if self._report is not None:
            self._report(now)
