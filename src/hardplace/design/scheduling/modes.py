"""Modes of tasks: the ways in which each may run on many chips at once, and which of them can be left out.

A mode takes a number of cores of either kind for some seconds. Modes are in order: one core, each split, all cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.types import Engine
from hardplace.design.scheduling.types import ScheduleProblem, SharingRule, TaskGraph
from hardplace.errors import BadInput
from hardplace.ndtypes import Bools, Floats, Ints

TENSOR, VECTOR = (Engine.TENSOR, Engine.BOTH), (Engine.VECTOR, Engine.BOTH)
OFF_CHIP = (Engine.NETWORK, Engine.COPY)  # engines of their own, each for one task at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """The modes of every task on every chip. A collective or copy takes no core.

    Attributes:
        graph: The tasks.
        seconds: Seconds, inf where a task may not run so, (modes, tasks, chips).
        tensor: Tensor cores taken, (modes, tasks, chips).
        vector: Vector cores taken, (modes, tasks, chips).
        cores: Tensor and vector cores of each chip, (chips,) each.
        impossible: Whether a chip has no way to run a task, (tasks, chips); all seconds of such a chip are zero.
    """

    graph: TaskGraph
    seconds: Floats
    tensor: Ints
    vector: Ints
    cores: tuple[Ints, Ints]
    impossible: Bools

    @property
    def least_s(self) -> Floats:
        """Return the seconds of the fastest mode, (tasks, chips)."""
        return np.asarray(self.seconds.min(axis=0))


def of(graph: TaskGraph, *engines: Engine) -> Bools:
    """Return which tasks need one of these engines, shape (tasks,)."""
    return np.array([engine in engines for engine in graph.engines], dtype=bool)


def ancestors(graph: TaskGraph) -> Bools:
    """Return whether column j must end before row i starts, shape (tasks, tasks)."""
    before = np.zeros((len(graph.engines), len(graph.engines)), dtype=bool)
    for task, predecessors in enumerate(graph.predecessors):
        for other in predecessors:
            before[task] |= before[other]
            before[task, other] = True
    return before


def modes(
    graph: TaskGraph,
    tensor_cores: Ints,
    vector_cores: Ints,
    single_s: Floats,
    whole_s: Floats,
    *,
    splits: tuple[int, ...] = (),
    split_s: Floats | None = None,
    rule: SharingRule = SharingRule.EXCLUSIVE,
) -> Modes:
    """Return the modes that an optimal schedule of each chip may need.

    Args:
        graph: The tasks.
        tensor_cores: Tensor cores of each chip, (chips,).
        vector_cores: Vector cores of each chip, (chips,).
        single_s: Seconds on one core, (tasks, chips); inf where a task may not run so.
        whole_s: Seconds on all cores of its kind, (tasks, chips).
        splits: Numbers of cores between.
        split_s: Seconds on these, (splits, tasks, chips).
        rule: What a task on all cores of its kind leaves to the other kind.

    Raises:
        BadInput: Naming layer and task, for a cycle, a time that is negative or missing (nan), or no cores of a kind
            that is needed.
    """
    check(graph, tensor_cores, vector_cores, single_s, whole_s, splits, split_s)
    # Of a kind that nothing needs there may be none; one that is idle changes nothing.
    tensor_cores, vector_cores = np.maximum(tensor_cores, 1), np.maximum(vector_cores, 1)
    on_tensor, on_vector = of(graph, *TENSOR)[:, None], of(graph, *VECTOR)[:, None]
    off_chip = of(graph, *OFF_CHIP)[:, None]
    everything = (rule is SharingRule.EXCLUSIVE) & ~off_chip
    smaller = np.where(on_tensor & on_vector, np.minimum(tensor_cores, vector_cores), 0)
    smaller = np.where(on_tensor & ~on_vector, tensor_cores, np.where(on_vector & ~on_tensor, vector_cores, smaller))
    seconds, tensor, vector = [], [], []
    for index, count in enumerate((1, *splits)):
        mine = single_s if index == 0 else _not_none(split_s)[index - 1]
        seconds.append(mine if index == 0 else np.where(count < smaller, mine, np.inf))
        tensor.append(np.broadcast_to(count * on_tensor, whole_s.shape))
        vector.append(np.broadcast_to(count * on_vector, whole_s.shape))
    seconds[0] = np.where(off_chip, whole_s, seconds[0])
    seconds.append(whole_s)
    tensor.append(np.where(on_tensor | everything, tensor_cores, 0))
    vector.append(np.where(on_vector | everything, vector_cores, 0))
    every_s = np.stack(seconds)
    impossible = np.isinf(every_s.min(axis=0))
    return _useful(
        Modes(
            graph=graph,
            seconds=np.where(impossible.any(axis=0), 0.0, every_s) if impossible.any() else every_s,
            tensor=np.stack(tensor),
            vector=np.stack(vector),
            cores=(tensor_cores, vector_cores),
            impossible=impossible,
        )
    )


def modes_of(problem: ScheduleProblem) -> Modes:
    """Return the modes of one chip's problem, as arrays with one chip; errors as for `modes`."""
    count = len(problem.graph.engines)
    rows = {"one core": problem.single_s, "all cores": problem.whole_s}
    if len(problem.splits) != len(problem.split_s):
        expected = f"expected one row for each of the {len(problem.splits)} splits"
        raise BadInput(f"layer {problem.graph.layer}: {len(problem.split_s)} rows of times on splits: {expected}")
    rows |= {f"{cores} cores": row for cores, row in zip(problem.splits, problem.split_s, strict=True)}
    for where, row in rows.items():
        if len(row) != count:
            missing = place(problem.graph, min(len(row), count - 1))
            raise BadInput(f"{missing}: {len(row)} times on {where}: expected one for each of the {count} operators")
    return modes(
        problem.graph,
        np.array([problem.tensor_cores]),
        np.array([problem.vector_cores]),
        _seconds(problem.single_s)[:, None],
        _seconds(problem.whole_s)[:, None],
        splits=problem.splits,
        split_s=np.array([_seconds(row) for row in problem.split_s]).reshape(
            len(problem.splits), len(problem.single_s), 1
        ),
        rule=problem.rule,
    )


def _seconds(times: Sequence[float | None]) -> Floats:
    """Return times, those that are None as nan: missing."""
    return np.array([np.nan if one is None else one for one in times], dtype=np.float64)


def _not_none(split_s: Floats | None) -> Floats:
    if split_s is None:
        raise BadInput("split_s: missing; expected the seconds of each task on each of the splits")
    return split_s


def _useful(every: Modes) -> Modes:
    """Return the modes without those that some optimal schedule does not use (proofs in docs/model-scheduling.md).

    A mode is left out if one with fewer cores is as fast; or if it lasts at least as long as the fastest mode
    followed by everything that may overlap it, each in its fastest mode, one after the other.
    """
    graph, seconds = every.graph, every.seconds.copy()
    # Modes are nested: each takes the cores of those before it and more.
    earlier = np.minimum.accumulate(seconds, axis=0)[:-1]
    seconds[1:][seconds[1:] >= earlier] = np.inf
    before = ancestors(graph)
    apart = (~(before | before.T | np.eye(len(before), dtype=bool))).astype(np.float64)
    uses = (of(graph, *TENSOR), of(graph, *VECTOR))
    on_chip = ~of(graph, *OFF_CHIP)
    while True:
        fastest = seconds.min(axis=0)
        # All modes that are left take all cores of a kind: such a task overlaps no other one that uses that kind.
        alone = [
            (np.isinf(seconds) | (taken == cores)).all(axis=0)
            for taken, cores in zip((every.tensor, every.vector), every.cores, strict=True)
        ]
        beside = np.empty(fastest.shape)
        for tensor, vector in ((True, False), (False, True), (True, True), (False, False)):
            rows = (uses[0] == tensor) & (uses[1] == vector)
            if rows.any():
                never = (alone[0] & tensor) | (alone[1] & vector)
                beside[rows] = apart[rows] @ np.where(never, 0.0, fastest)
        useless = np.isfinite(seconds) & (seconds > fastest) & (seconds >= fastest + beside) & on_chip[:, None]
        if not useless.any():
            return replace(every, seconds=seconds)
        seconds[useless] = np.inf


def check(
    graph: TaskGraph,
    tensor_cores: Ints,
    vector_cores: Ints,
    single_s: Floats,
    whole_s: Floats,
    splits: tuple[int, ...] = (),
    split_s: Floats | None = None,
) -> None:
    """Check that a scheduling problem makes sense; arguments as for `modes`.

    Raises:
        BadInput: One line that names layer and task.
    """
    check_order(graph)
    for count in splits:
        if count < 2:
            raise BadInput(f"layer {graph.layer}: split on {count} cores: expected two or more; one is single_s")
    tables = [(single_s, "one core"), (whole_s, "all cores")]
    tables += [(_not_none(split_s)[index], f"{count} cores") for index, count in enumerate(splits)]
    for times, where in tables:
        bad = ~(times >= 0)
        if bad.any():
            task, chip = np.argwhere(bad)[0]
            wrong = "missing" if np.isnan(times[task, chip]) else f"{times[task, chip]:g} s"
            raise BadInput(f"{place(graph, task)}: time on {where}: {wrong}: expected one that is not negative")
    for kind, cores, name in ((TENSOR, tensor_cores, "tensor"), (VECTOR, vector_cores, "vector")):
        needy = [task for task, engine in enumerate(graph.engines) if engine in kind]
        if needy and np.any(cores < 1):
            raise BadInput(f"{place(graph, needy[0])}: {int(cores.min())} {name} cores: expected at least one")


def check_order(graph: TaskGraph) -> None:
    """Check the predecessors of a graph.

    Raises:
        BadInput: For predecessors that are no tasks, form a cycle, or come later.
    """
    count = len(graph.engines)
    left = dict(enumerate(graph.predecessors))
    for task, predecessors in left.items():
        for other in predecessors:
            if not 0 <= other < count:
                raise BadInput(f"{place(graph, task)}: predecessor {other}: expected one of the {count} tasks")
    if all(other < task for task, predecessors in left.items() for other in predecessors):
        return
    while ready := [task for task, predecessors in left.items() if not any(other in left for other in predecessors)]:
        for task in ready:
            del left[task]
    if left:
        raise BadInput(f"{place(graph, min(left))}: waits for itself, in a cycle; expected an acyclic graph")
    late = next(task for task, others in enumerate(graph.predecessors) if any(other >= task for other in others))
    raise BadInput(f"{place(graph, late)}: a predecessor comes after it; expected a topological order")


def place(graph: TaskGraph, task: int) -> str:
    """Return where a task is, in words: its layer and its name, as far as they are known."""
    name = graph.names[task] if graph.names else str(task)
    return f"layer {graph.layer}, operator {name}" if graph.layer else f"operator {name}"
