"""The one best-first loop: a heap of candidates by what they can reach at most, refined until none can matter.

A candidate has scores, one an objective, that nothing in it exceeds; more is better. What is reached is kept in a
front (`search.front`), and a candidate matters as far as its scores exceed the front. The loop refines the one that
exceeds it most; when that is no more than the gap, the front is the answer for everything (docs/model-search.md).
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from hardplace.search.front import Front, Scores
from hardplace.search.types import Job, Outcome, Progress, Stop

C = TypeVar("C")
P = TypeVar("P")
_AHEAD = 32  # candidates next to the top whose jobs the evaluator may start


class TimeUp(Exception):
    """The time of a search is over; raised inside a refinement, whose candidate then stays as it was."""


@dataclass(slots=True)
class Deadline:
    """When a search that started at start_s (perf_counter) has to end; limit_s None: never."""

    limit_s: float | None = None
    start_s: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start_s

    def check(self) -> None:
        """Raise TimeUp if the time is over."""
        if self.limit_s is not None and self.elapsed_s > self.limit_s:
            raise TimeUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """When to stop: at a relative gap, at a deadline, after so many exact evaluations."""

    gap: float
    deadline: Deadline
    evaluations: int | None = None


class Evaluator(Protocol):
    """Does exact evaluations. THE seam for a journal, processes and clusters: jobs and outcomes are plain data.

    The loop asks for the outcome of one job at a time, in an order that depends on outcomes alone, so that the answer
    is the same wherever they are done. prefetch tells which ones may be asked for next, the likeliest first.
    """

    def prefetch(self, jobs: Sequence[Job]) -> None:
        """Start these jobs, if there is anything to start them on."""

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job."""


class Problem(Protocol[C]):
    """What is searched. Scores of what refine returns need not be below the candidate's own: the loop cuts them."""

    def roots(self) -> Iterable[tuple[Scores, C]]:
        """Return candidates that hold everything, with their scores."""

    def job(self, candidate: C) -> Job | None:
        """Return the exact evaluation that refining this candidate needs, if any."""

    def refine(self, candidate: C, outcome: Outcome | None) -> Iterable[tuple[Scores, C | None]]:
        """Return what is left of a candidate (None: no more can be learned of it); may offer to the front."""

    def discard(self, candidate: C) -> None:
        """Count a candidate that the loop left unrefined when it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the loop ended. excess: by what share anything can exceed the front; inf if the front is empty."""

    stop: Stop
    excess: float
    evaluations: int
    progress: tuple[Progress, ...]


class Loop(Generic[C, P]):
    """One search: what is open, the front, and where exact evaluations are done."""

    def __init__(
        self,
        problem: Problem[C],
        front: Front[P],
        evaluator: Evaluator,
        stops: Stops,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self._problem, self._front, self._evaluator, self._stops, self._report = (
            problem, front, evaluator, stops, report,
        )  # fmt: skip
        self._heap: list[tuple[float, float, int, Scores, C]] = []
        self._closed: list[Scores] = []
        self._serial = 0
        self._evaluations = 0
        self._progress: list[Progress] = []

    def run(self) -> Ended:
        """Refine candidates, the most promising first, until nothing matters or a limit or an interrupt comes."""
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
                self._stops.deadline.check()
                self._step()
        except TimeUp:
            stop = Stop.SECONDS
        except KeyboardInterrupt:
            stop = Stop.INTERRUPTED
        if whole:
            excess, _ = self._state()
        for *_, candidate in self._heap:
            self._problem.discard(candidate)
        return Ended(stop=stop, excess=excess, evaluations=self._evaluations, progress=tuple(self._progress))

    def _state(self) -> tuple[float, Stop | None]:
        """Return by what share anything can exceed the front, and why to stop, if so."""
        # What cannot be refined any more keeps its gap; less than that is not worth anything.
        self._closed = [scores for scores in self._closed if self._front.excess(scores) > 0.0]
        closed = max((self._front.excess(scores) for scores in self._closed), default=0.0)
        self._settle()
        opened = max(0.0, self._front.excess(self._heap[0][3])) if self._heap else 0.0
        excess = max(opened, closed)
        if not self._heap or opened <= max(self._stops.gap, closed):
            if excess <= 0.0:
                return excess, Stop.OPTIMAL
            return excess, Stop.GAP if excess <= self._stops.gap else Stop.SCHEDULES
        if self._stops.evaluations is not None and self._evaluations >= self._stops.evaluations:
            return excess, Stop.EVALUATIONS
        return excess, None

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

    def _step(self) -> None:
        """Replace the top of the heap by what its refinement leaves of it."""
        *_, scores, candidate = self._heap[0]
        job, outcome = self._problem.job(candidate), None
        if job is not None:
            ahead = (self._problem.job(entry[4]) for entry in heapq.nsmallest(_AHEAD, self._heap))
            self._evaluator.prefetch([one for one in ahead if one is not None])
            outcome = self._evaluator.evaluate(job)
            self._evaluations += 1
        left = list(self._problem.refine(candidate, outcome))
        # The candidate leaves the heap only now, so that an interrupt during its refinement cannot lose it.
        heapq.heappop(self._heap)
        for refined, rest in left:
            cut = tuple(min(one, other) for one, other in zip(scores, refined, strict=True))
            if rest is None:
                self._closed.append(cut)
            else:
                self._push(cut, rest)

    def _push(self, scores: Scores, candidate: C) -> None:
        self._serial += 1
        entry = (-self._key(scores), -math.prod(scores), self._serial, scores, candidate)
        heapq.heappush(self._heap, entry)

    def _tell(self, excess: float) -> None:
        best = self._front.best
        bound = best * (1.0 + excess) if best else (self._heap[0][3][0] if self._heap else 0.0)
        now = Progress(seconds=self._stops.deadline.elapsed_s, score=best, bound=bound)
        last = self._progress[-1] if self._progress else None
        if last is None or (last.score, last.bound) != (now.score, now.bound):
            self._progress.append(now)
        if self._report is not None:
            self._report(now)
