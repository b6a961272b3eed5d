"""Exact schedules by phases: a shortest path in the lattice of downsets (docs/model-scheduling.md).

A whole task runs alone. So a schedule is a sequence of whole tasks and of phases in which only single tasks run, and
what is done between two of them is a downset. Its makespan is the sum of the whole tasks' times and of the phases' own
makespans, each of them a small problem without modes. Phases are priced by a bound first, and exactly only when
the shortest path uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hardplace.cuts import downsets
from hardplace.design.scheduling.bounds import always_whole
from hardplace.design.scheduling.modes import OFF_CHIP, TENSOR, VECTOR
from hardplace.design.scheduling.symmetry import alike
from hardplace.design.scheduling.types import Assignment, Schedule, ScheduleProblem, SharingRule, Status, TaskGraph
from hardplace.errors import BadInput
from hardplace.ndtypes import Bools, Floats

_MOST_DOWNSETS = 2048  # pairs of them are held as dense matrices
_MOST_PHASES = 4  # priced exactly before the rest is left as a gap


def by_phases(problem: ScheduleProblem, solve: Callable[[ScheduleProblem], Schedule], gap: float) -> Schedule | None:
    """Return the best schedule and its bound by phases, or None where the method does not apply.

    That is for a graph with collectives, splits, sharing or many downsets; and with one core of each kind, where nearly
    all is one phase and nothing is won.

    Args:
        problem: The problem.
        solve: An exact solver for problems whose tasks all run on one core.
        gap: Relative gap at which to stop.
    """
    graph = problem.graph
    if set(graph.engines) & set(OFF_CHIP) or problem.tensor_cores == problem.vector_cores == 1:
        return None
    if problem.splits or problem.rule is not SharingRule.EXCLUSIVE:
        return None
    try:
        # Alike tasks may change places, so they are done in order: far fewer downsets.
        members = downsets(
            [
                [*before, other] if other is not None else before
                for before, other in zip(graph.predecessors, alike(problem), strict=True)
            ],
            _MOST_DOWNSETS,
        )
    except BadInput:
        return None
    lower_s = _arcs(problem, members)
    upper_s = np.where(_adjacent(members), lower_s, np.inf)
    solved: dict[tuple[int, int], Schedule] = {}
    for _ in range(_MOST_PHASES):
        # A phase counts at its bound until it is solved, then at what was reached, so that the path moves on.
        path = _shortest(np.where(np.isfinite(upper_s), upper_s, lower_s))
        unsolved = [arc for arc in path if not np.isfinite(upper_s[arc])]
        for arc in unsolved:
            solved[arc] = solve(_phase(problem, members[arc[1]] & ~members[arc[0]]))
            lower_s[arc], upper_s[arc] = max(lower_s[arc], solved[arc].bound_s), solved[arc].makespan_s
        best = _shortest(upper_s)
        bound_s = min(_length(lower_s, _shortest(lower_s)), _length(upper_s, best))
        if not unsolved or bound_s >= _length(upper_s, best) * (1.0 - gap):
            break
    return _written(problem, members, best, solved, upper_s, bound_s)


def _adjacent(members: Bools) -> Bools:
    """Return which pairs of downsets differ by one task, the second being the larger."""
    inside = members.astype(np.float64)
    size = inside.sum(axis=1)
    subset = inside @ inside.T == size[:, None]
    return np.asarray(subset & (size[None, :] - size[:, None] == 1.0))


def _arcs(problem: ScheduleProblem, members: Bools) -> Floats:
    """Return a lower bound on the time from each downset to each larger one, shape (downsets, downsets).

    One task: whole (or on one core if that is no slower). Several: as one phase of single tasks, at least the longest
    path in it, each kind's work over its cores, and rounds of its shortest task; inf where a task must be whole
    or where the tasks alone, one after the other, take no longer.
    """
    single_s, whole_s = np.array(problem.single_s), np.array(problem.whole_s)
    fixed = always_whole(problem.graph, single_s[:, None], whole_s[:, None])[:, 0]
    least_s = np.where(fixed, whole_s, np.minimum(single_s, whole_s))
    single_s = np.where(fixed, 0.0, single_s)  # inf, it may be; a phase that holds such a task is dropped below
    inside = members.astype(np.float64)
    size = inside.sum(axis=1)
    subset = (inside @ inside.T == size[:, None]) & (size[:, None] < size[None, :])
    phase = np.zeros(subset.shape)
    for kind, cores in (
        (TENSOR, problem.tensor_cores),
        (VECTOR, problem.vector_cores),
    ):
        mine = np.array([engine in kind for engine in problem.graph.engines])
        phase = np.maximum(phase, _between(inside, np.where(mine, single_s, 0.0)) / cores)
        shortest = np.full(subset.shape, np.inf)
        for task in np.flatnonzero(mine):
            held = members[None, :, task] & ~members[:, None, task]
            shortest = np.where(held, np.minimum(shortest, single_s[task]), shortest)
        rounds = np.ceil(np.round(_between(inside, mine.astype(np.float64))) / cores)
        phase = np.maximum(phase, np.where(rounds > 0, rounds * np.where(np.isfinite(shortest), shortest, 0.0), 0.0))
    phase = np.maximum(phase, _longest_paths(problem, members, single_s))
    useless = (_between(inside, fixed.astype(np.float64)) > 0.5) | (phase >= _between(inside, least_s) * (1 - 1e-12))
    arcs = np.where(subset & ~useless, phase, np.inf)
    return np.where(_adjacent(members), _between(inside, least_s), arcs)


def _between(inside: Floats, values: Floats) -> Floats:
    total = inside @ values
    return np.asarray(total[None, :] - total[:, None])


def _longest_paths(problem: ScheduleProblem, members: Bools, single_s: Floats) -> Floats:
    """Return the longest path of single tasks between each pair of downsets."""
    ends: list[Floats] = []
    longest = np.zeros((len(members), len(members)))
    for task, predecessors in enumerate(problem.graph.predecessors):
        held = members[None, :, task] & ~members[:, None, task]
        start = np.zeros(longest.shape)
        for other in predecessors:
            start = np.maximum(start, ends[other])
        ends.append(np.where(held, start + single_s[task], 0.0))
        longest = np.maximum(longest, ends[-1])
    return longest


def _shortest(arcs_s: Floats) -> list[tuple[int, int]]:
    """Return the shortest path from the empty set to the whole graph; subsets come before supersets."""
    count = len(arcs_s)
    far = np.full(count, np.inf)
    far[0] = 0.0
    last = np.zeros(count, dtype=np.int64)
    for node in range(1, count):
        through = far[:node] + arcs_s[:node, node]
        last[node] = int(np.argmin(through))
        far[node] = through[last[node]]
    path, at = [], count - 1
    while at:
        path.append((int(last[at]), at))
        at = int(last[at])
    return path[::-1]


def _length(arcs_s: Floats, path: list[tuple[int, int]]) -> float:
    return float(sum(arcs_s[arc] for arc in path))


def _phase(problem: ScheduleProblem, held: Bools) -> ScheduleProblem:
    """Return the problem of one phase: its tasks alone, each on one core."""
    tasks = np.flatnonzero(held).tolist()
    place = {task: index for index, task in enumerate(tasks)}
    seconds = tuple(problem.single_s[task] for task in tasks)
    graph = TaskGraph(
        engines=tuple(problem.graph.engines[task] for task in tasks),
        predecessors=tuple(
            tuple(place[other] for other in problem.graph.predecessors[task] if other in place) for task in tasks
        ),
    )
    # So slow on the whole chip that no task of the phase would be put there.
    return replace(problem, graph=graph, single_s=seconds, whole_s=tuple(2.0 * sum(seconds) or 1.0 for _ in seconds))


def _written(
    problem: ScheduleProblem,
    members: Bools,
    path: list[tuple[int, int]],
    solved: dict[tuple[int, int], Schedule],
    upper_s: Floats,
    bound_s: float,
) -> Schedule:
    """Return the schedule of a path."""
    found: dict[int, Assignment] = {}
    now = 0.0
    for arc in path:
        tasks = np.flatnonzero(members[arc[1]] & ~members[arc[0]]).tolist()
        if arc in solved:
            for task, item in zip(tasks, solved[arc].assignments, strict=True):
                found[task] = replace(item, task=task, start_s=now + item.start_s, end_s=now + item.end_s)
        else:
            (task,) = tasks
            whole = problem.whole_s[task] <= problem.single_s[task]
            engine = problem.graph.engines[task]
            found[task] = Assignment(
                task=task,
                start_s=now,
                end_s=now + float(upper_s[arc]),
                whole=whole,
                tensor_cores=(0,) if engine in TENSOR and not whole else (),
                vector_cores=(0,) if engine in VECTOR and not whole else (),
            )
        now += float(upper_s[arc])
    return Schedule(
        assignments=tuple(found[task] for task in range(len(found))),
        makespan_s=now,
        bound_s=bound_s,
        status=Status.FEASIBLE,
    )
