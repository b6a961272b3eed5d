"""Symmetric tasks: those that may change places, of which only one order need be tried."""

from __future__ import annotations

from hardplace.design.scheduling.types import ScheduleProblem


def alike(problem: ScheduleProblem) -> list[int | None]:
    """Return for each task the last earlier one with the same engine, times, predecessors and followers, if any."""
    graph = problem.graph
    seen: dict[object, int] = {}
    found: list[int | None] = []
    for task, engine in enumerate(graph.engines):
        followers = tuple(later for later, before in enumerate(graph.predecessors) if task in before)
        times = (problem.single_s[task], problem.whole_s[task], *(row[task] for row in problem.split_s))
        key = (engine, times, graph.predecessors[task], followers)
        found.append(seen.get(key))
        seen[key] = task
    return found
