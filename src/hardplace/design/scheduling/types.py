"""Nouns of scheduling: a task graph, the problem of one chip, and its solution with a lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from hardplace.certificate import gap_of
from hardplace.cost.types import Engine, KernelGraph


class SharingRule(StrEnum):
    """What a task on all cores of its kind leaves to the other kind: nothing (PHAZE), or all of it."""

    EXCLUSIVE = "exclusive"
    SHARING = "sharing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGraph:
    """A task graph in topological order: predecessors of a task have smaller indices.

    Attributes:
        engines: What each task needs.
        predecessors: Tasks that each waits for.
        names: Names of the tasks, for messages; may be left out.
        layer: Name of the layer, for messages; may be left out.
    """

    engines: tuple[Engine, ...]
    predecessors: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    layer: str = ""

    @classmethod
    def of(cls, graph: KernelGraph) -> TaskGraph:
        """Return the task graph of the kernels of a phase of a layer."""
        return cls(
            engines=tuple(kernel.engine for kernel in graph.kernels),
            predecessors=tuple(kernel.predecessors for kernel in graph.kernels),
            names=tuple(kernel.name for kernel in graph.kernels),
            layer=graph.layer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProblem:
    """One task graph on one chip. Collectives and copies take whole_s on an engine of their own.

    Attributes:
        graph: The tasks.
        tensor_cores: Number of tensor cores.
        vector_cores: Number of vector cores.
        single_s: Seconds of each task on one core.
        whole_s: Seconds of each task on all cores of its kind.
        splits: Numbers of cores between; one is used only where it is smaller than the number of cores.
        split_s: Seconds on splits[j] > 1 cores of its kind (a fused task: of both kinds), (splits, tasks); inf where a
            task may not.
        rule: What a task on all cores of its kind leaves to the other kind.
    """

    graph: TaskGraph
    tensor_cores: int
    vector_cores: int
    single_s: tuple[float, ...]
    whole_s: tuple[float, ...]
    splits: tuple[int, ...] = ()
    split_s: tuple[tuple[float, ...], ...] = ()
    rule: SharingRule = SharingRule.EXCLUSIVE


class Status(StrEnum):
    """Whether the makespan is proven optimal."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """When and where a task runs.

    Attributes:
        task: Index of the task.
        start_s: Start.
        end_s: End.
        whole: Whether it runs on all cores of its kind.
        tensor_cores: Indices of the tensor cores that it takes; () on all of its kind.
        vector_cores: Indices of the vector cores that it takes; () on all of its kind.
    """

    task: int
    start_s: float
    end_s: float
    whole: bool
    tensor_cores: tuple[int, ...]
    vector_cores: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule with a proven lower bound on any makespan.

    Attributes:
        assignments: When and where each task runs, in task order.
        makespan_s: Seconds from the first start to the last end.
        bound_s: Lower bound on any makespan.
        status: Whether the makespan is proven optimal.
    """

    assignments: tuple[Assignment, ...]
    makespan_s: float
    bound_s: float
    status: Status

    @property
    def gap(self) -> float:
        """Return the gap of the rate, makespan / bound - 1: how much faster another schedule can be at most."""
        if self.makespan_s <= 0.0:
            return 0.0
        return gap_of(1.0 / self.makespan_s, 1.0 / self.bound_s if self.bound_s > 0.0 else math.inf)
