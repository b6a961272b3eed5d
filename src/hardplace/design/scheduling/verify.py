"""A check of schedules and of bounds that shares nothing with the methods that find them.

It is written from docs/model-scheduling.md, "The problem": no modes, no list schedules, no solver.
"""

from __future__ import annotations

from collections.abc import Iterator

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import Assignment, Schedule, ScheduleProblem, SharingRule
from hardplace.errors import Contradiction

SLACK = 1e-9  # of the makespan, within which two times count as equal


def verify(problem: ScheduleProblem, schedule: Schedule) -> Schedule:
    """Verify a schedule and return it: precedence, durations, cores and its own bound.

    Raises:
        Contradiction: For a schedule that breaks one of them.
    """
    for wrong in _violations(problem, schedule):
        raise Contradiction(f"{_layer(problem)}a schedule that is none: {wrong}")
    return schedule


def agree(problem: ScheduleProblem, bound: tuple[str, float], found: tuple[str, float]) -> None:
    """Check that a lower bound does not exceed a makespan that was found.

    Args:
        problem: The problem.
        bound: Who says so, and the bound in seconds.
        found: Who says so, and the makespan in seconds.

    Raises:
        Contradiction: Where it does.
    """
    if not bound[1] <= found[1] * (1.0 + SLACK):
        raise Contradiction(
            f"{_layer(problem)}{bound[0]} proves that no schedule takes less than {bound[1]:.9g} s, "
            f"but one of {found[0]} takes {found[1]:.9g} s"
        )


def _layer(problem: ScheduleProblem) -> str:
    return f"layer {problem.graph.layer}: " if problem.graph.layer else ""


def _violations(problem: ScheduleProblem, schedule: Schedule) -> Iterator[str]:
    """Yield what a schedule violates, the first thing first."""
    items, graph = schedule.assignments, problem.graph
    slack_s = SLACK * schedule.makespan_s
    if [item.task for item in items] != list(range(len(graph.engines))):
        yield f"{len(items)} assignments of {len(graph.engines)} tasks, or not in their order"
        return
    last_s = max((item.end_s for item in items), default=0.0)
    if not abs(last_s - schedule.makespan_s) <= slack_s:
        yield f"the last task ends at {last_s:.9g} s, the makespan is {schedule.makespan_s:.9g} s"
    if not schedule.bound_s <= schedule.makespan_s + slack_s:
        yield f"a makespan of {schedule.makespan_s:.9g} s is below its bound, {schedule.bound_s:.9g} s"
    for item in items:
        if not item.start_s >= 0.0:
            yield f"task {item.task} starts at {item.start_s:.9g} s"
        early = [other for other in graph.predecessors[item.task] if items[other].end_s > item.start_s + slack_s]
        if early:
            yield f"task {item.task} starts before task {early[0]} ends"
        seconds = _seconds(problem, item)
        if seconds is None:
            yield f"task {item.task} is on cores on which it may not run"
        elif not abs(item.end_s - item.start_s - seconds) <= slack_s:
            yield f"task {item.task} lasts {item.end_s - item.start_s:.9g} s instead of {seconds:.9g} s"
    yield from _overlaps(problem, schedule, slack_s)


def _overlaps(problem: ScheduleProblem, schedule: Schedule, slack_s: float) -> Iterator[str]:
    """Yield pairs of tasks that have a core, or an engine of their own, at the same time."""
    taken: dict[tuple[Engine, int], tuple[float, int]] = {}  # until when, and by which task
    for item in sorted(schedule.assignments, key=lambda one: (one.start_s, one.end_s)):
        for place in _places(problem, item):
            until_s, other = taken.get(place, (0.0, -1))
            if until_s > item.start_s + slack_s:
                yield f"tasks {other} and {item.task} are on the same core or engine at once"
                return
            taken[place] = (max(until_s, item.end_s), item.task)


def _places(problem: ScheduleProblem, item: Assignment) -> list[tuple[Engine, int]]:
    """Return the cores and engines that a task has to itself while it runs."""
    engine = problem.graph.engines[item.task]
    if engine in (Engine.NETWORK, Engine.COPY):
        return [(engine, 0)]
    tensor, vector = item.tensor_cores, item.vector_cores
    if item.whole:
        everything = problem.rule is SharingRule.EXCLUSIVE
        tensor = tuple(range(problem.tensor_cores)) if everything or engine is not Engine.VECTOR else ()
        vector = tuple(range(problem.vector_cores)) if everything or engine is not Engine.TENSOR else ()
    return [(Engine.TENSOR, core) for core in tensor] + [(Engine.VECTOR, core) for core in vector]


def _seconds(problem: ScheduleProblem, item: Assignment) -> float | None:
    """Return how long a task lasts on the cores it has; None where it may not run on them."""
    engine = problem.graph.engines[item.task]
    if engine in (Engine.NETWORK, Engine.COPY):
        return problem.whole_s[item.task] if not (item.whole or item.tensor_cores or item.vector_cores) else None
    if item.whole:
        return problem.whole_s[item.task] if not (item.tensor_cores or item.vector_cores) else None
    kinds = []
    if engine is not Engine.VECTOR:
        kinds.append((item.tensor_cores, problem.tensor_cores))
    if engine is not Engine.TENSOR:
        kinds.append((item.vector_cores, problem.vector_cores))
    of_others = (engine is Engine.VECTOR and item.tensor_cores) or (engine is Engine.TENSOR and item.vector_cores)
    known = all(len(set(cores)) == len(cores) and all(0 <= one < count for one in cores) for cores, count in kinds)
    alike = all(sorted(cores) == sorted(kinds[0][0]) for cores, _ in kinds)
    count = len(kinds[0][0])
    if of_others or not known or not alike or not count:
        return None
    if count == 1:
        return problem.single_s[item.task]
    if count in problem.splits and count < min(there for _, there in kinds):
        return problem.split_s[problem.splits.index(count)][item.task]
    return None
