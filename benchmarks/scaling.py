"""How a search would spread over workers: its refinements, with their seconds, replayed on 1 to 1,024 of them.

The search runs once in this process. Each refinement is done when the loop starts it, on the data that it has then, and
its processor seconds are kept, as are those of the loop between two calls. The replay then gives the same refinements,
in the order in which the loop started them, to so many workers, and lets the loop wait where it waited: for the result
that it started first (docs/distributed.md). Not in it: the network, the start of a worker, what workers would bound
again because each keeps its own memory of kernels.

    python benchmarks/scaling.py [--write]
    python benchmarks/scaling.py --two [--write]        # on an idle machine: one process and two, by the clock
"""

from __future__ import annotations

import heapq
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from hardplace import api
from hardplace.branch_and_bound import loop
from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.problem import Done, Refinable
from hardplace.branch_and_bound.processes import Processes
from hardplace.branch_and_bound.steps import RefinementRequest, step
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.exact.evaluator import Task, in_process
from hardplace.design.fingerprint import asked as asked_of
from hardplace.design.journal import Journalled, journal
from hardplace.design.question import Question, question_of
from hardplace.design.search.explore import DesignSearch
from hardplace.design.types import Job, Outcome

DOCUMENT = Path(__file__).parents[1] / "docs" / "distributed.md"
MARKS = ("<!-- scaling: benchmarks/scaling.py -->", "<!-- /scaling -->")
TWO_MARKS = ("<!-- two processes: benchmarks/scaling.py --two -->", "<!-- /two processes -->")
WORKERS = (1, 2, 4, 8, 16, 64, 256, 1024)
ASKED = {"setting": "hbm3", "space": "reticle", "devices": 1024, "batch": 4096, "limits": {}, "ideal": False}
QUESTIONS: tuple[tuple[str, tuple[str, ...], dict[str, Any], float], ...] = (
    ("`search llama2-7b`", ("llama2-7b",), {}, 0.01),
    ("`search bert-large --space open --gap 0.001`", ("bert-large",), {"space": "open"}, 0.001),
    ("`search gpt3-175b --gap 0.0003`", ("gpt3-175b",), {}, 0.0003),
)

# One of seconds, and one of about a minute in one process; of six models 30 % were left after a minute.
_FOUR = ("bert-large", "llama2-7b", "gpt2-xl", "gpt3-175b")
LONG: tuple[tuple[str, tuple[str, ...], dict[str, Any], float], ...] = (
    ("one chip for bert-large, llama2-7b; open, gap 0.1 %", ("bert-large", "llama2-7b"), {"space": "open"}, 0.001),
    (f"one chip for {', '.join(_FOUR)}; open, gap 0.01 %", _FOUR, {"space": "open"}, 0.0001),
)


@dataclass(frozen=True, slots=True)
class Event:
    """What the loop did, after so many seconds of its own; seconds: of a refinement that it started."""

    kind: Literal["start", "finish", "drop"]
    number: int
    own_s: float
    seconds: float = 0.0


class Recorder:
    """An evaluator (`problem.Evaluator`) whose refinements are done in this process, when they start, and timed."""

    def __init__(self, evaluator: Any, clock: Callable[[], float] = time.process_time) -> None:
        self._evaluator, self._clock = evaluator, clock
        self._done: dict[int, Done[Any, Any, Any]] = {}
        self.events: list[Event] = []

    def evaluate(self, job: Job) -> Outcome:
        """Evaluate a job exactly."""
        outcome: Outcome = self._evaluator.evaluate(job)
        return outcome

    def steps(self, problem: Refinable[Any, Job, Outcome]) -> Recorder:
        """Return where the refinements of a problem are done: here."""
        self._problem, self._last_s = problem, self._clock()
        return self

    def of(self, tasks: Mapping[str, Task]) -> Recorder:
        """Return a recorder of other models."""
        return Recorder(self._evaluator.of(tasks), self._clock)

    def _own_s(self) -> float:
        now = self._clock()
        own, self._last_s = now - self._last_s, now
        return own

    def start(self, number: int, candidate: Any, reached: tuple[Any, ...]) -> None:
        """Do a refinement, and keep its result and its seconds."""
        own = self._own_s()
        self._done[number] = step(self._problem, self._evaluator, RefinementRequest(candidate, reached, None))
        self.events.append(Event("start", number, own, self._own_s()))

    def finish(self, number: int) -> Done[Any, Any, Any]:
        """Return the result of a refinement."""
        self.events.append(Event("finish", number, self._own_s()))
        return self._done.pop(number)

    def drop(self, number: int) -> None:
        """Drop a refinement."""
        self.events.append(Event("drop", number, self._own_s()))
        self._done.pop(number, None)


def replayed_s(events: list[Event], workers: int) -> float:
    """Return the seconds that the loop would take with so many workers, each doing one refinement at a time.

    Refinements begin in the order in which they were started; one that was dropped before it began is never done.
    """
    now, free = 0.0, [0.0] * workers
    queue: list[tuple[int, float, float]] = []  # started and not begun: number, when, seconds
    ended: dict[int, float] = {}

    def begin(until: float) -> None:
        while queue and max(free[0], queue[0][1]) <= until:
            number, when, seconds = queue.pop(0)
            ended[number] = max(heapq.heappop(free), when) + seconds
            heapq.heappush(free, ended[number])

    for event in events:
        now += event.own_s
        if event.kind == "start":
            queue.append((event.number, now, event.seconds))
        elif event.kind == "drop":
            begin(now)
            queue[:] = [one for one in queue if one[0] != event.number]
        else:
            while event.number not in ended:
                begin(max(free[0], queue[0][1]))
            now = max(now, ended[event.number])
    return now


def recorded(question: Question, gap: float) -> tuple[list[Event], Any]:
    """Run a search and return what its loop did, and what it found."""
    recorder = Recorder(in_process(question, gap))
    search = DesignSearch(question, StoppingRule(gap=gap), evaluator=recorder, within=Deadline())
    return recorder.events, search.run()


def rows_of(name: str, asked: dict[str, Any], models: tuple[str, ...], gap: float, window: int) -> str:
    """Return the row of a search with a window: as it would be if that were the loop's."""
    question = question_of(tuple(api.load(model) for model in models), **{**ASKED, **asked})
    loop.AHEAD = window  # a constant of the loop, which this study alone varies
    events, found = recorded(question, gap)
    started, dropped = (sum(event.kind == kind for event in events) for kind in ("start", "drop"))
    one_s = replayed_s(events, 1)
    speeds = " | ".join(f"{one_s / replayed_s(events, count):.2f}" for count in WORKERS[1:])
    own_s, longest_s = sum(event.own_s for event in events), max(event.seconds for event in events)
    best = found.scores[0][0]
    return (
        f"| {name} | {window} | {started:,} | {dropped:,} | {one_s:.2f} | {own_s:.2f} | {longest_s:.2f} | {speeds} | "
        f"{best:,.2f} | {100 * found.excess:.3f} |"
    )


@dataclass(frozen=True, slots=True)
class Clocked:
    """A search by the clock: seconds, processor seconds of all processes, what it found."""

    wall_s: float
    processor_s: float
    found: tuple[Any, ...]


def clocked(question: Question, gap: float, workers: int) -> Clocked:
    """Run a search with a journal, here or in so many processes, which start within its seconds."""
    began_s, used_s = time.perf_counter(), _processor_s()
    with ExitStack() as stack:
        path = Path(stack.enter_context(TemporaryDirectory())) / "journal"
        kept = stack.enter_context(journal(path, asked_of(question, gap=gap), "", ""))
        pool = stack.enter_context(Processes(workers)) if workers > 1 else None
        evaluator = Journalled(kept, in_process(question, gap), pool)
        search = DesignSearch(question, StoppingRule(gap=gap), evaluator=evaluator, within=Deadline())
        found = search.run()
    said = (found.scores, found.excess, found.stop, found.exact_evaluations, [one.score for one in found.progress])
    return Clocked(time.perf_counter() - began_s, _processor_s() - used_s, said)


def _processor_s() -> float:
    both = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def two(write: bool) -> None:
    """Print the seconds of searches in one process and in two, and write them into docs/distributed.md."""
    lines = ["| search | one process, s | two, s | times as fast | efficiency | processor s | same answer |"]
    lines.append("|---|--:|--:|--:|--:|--:|---|")
    for name, models, asked, gap in LONG:
        question = question_of(tuple(api.load(model) for model in models), **{**ASKED, **asked})
        one, more = (clocked(question, gap, workers) for workers in (1, 2))
        fast = one.wall_s / more.wall_s
        lines.append(
            f"| {name} | {one.wall_s:.1f} | {more.wall_s:.1f} | {fast:.2f} | {fast / 2:.2f} | "
            f"{one.processor_s:.1f}, {more.processor_s:.1f} | {'yes' if one.found == more.found else 'NO'} |"
        )
        print(lines[-1], flush=True)
    lines += ["", f"By the clock, {date.today()}; load at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."]
    print("\n".join(lines))
    if write:
        written(lines, TWO_MARKS)


def written(lines: list[str], marks: tuple[str, str]) -> None:
    """Put lines between their marks in docs/distributed.md."""
    text = DOCUMENT.read_text()
    begin, end = text.index(marks[0]) + len(marks[0]), text.index(marks[1])
    DOCUMENT.write_text(f"{text[:begin]}\n" + "\n".join(lines) + f"\n{text[end:]}")


def main(write: bool) -> None:
    """Print the table, and write it into docs/distributed.md."""
    heads = ["search", "window", "refinements", "dropped", "one worker, s", "loop, s", "longest, s"]
    heads += [f"{count:,} workers, x" for count in WORKERS[1:]] + ["best, samples/s", "gap, %"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    before = loop.AHEAD
    for name, models, asked, gap in QUESTIONS:
        for window in (before, 8 * before):
            lines.append(rows_of(name, asked, models, gap, window))
            print(lines[-1], flush=True)
    load, peak_mib = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += [
        "",
        f"Processor seconds of {date.today()}, on a machine with load {load:.1f}; peak memory {peak_mib:,.0f} MiB.",
    ]
    print("\n".join(lines))
    if write:
        written(lines, MARKS)


if __name__ == "__main__":
    (two if "--two" in sys.argv[1:] else main)("--write" in sys.argv[1:])
