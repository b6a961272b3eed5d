"""Nouns of the scheduling step: a task graph, the problem of one chip, and its solution with a bound."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.cost.types import Engine, KernelGraph


class SharingRule(StrEnum):
    """What a task on all cores of its kind leaves to the other kind: nothing (PHAZE), or all of it."""

    EXCLUSIVE = "exclusive"
    SHARING = "sharing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGraph:
    """Tasks with the engine each needs; predecessors of a task have smaller indices (topological order).

    Names of the tasks and of the layer they come from are for messages; they may be left out.
    """

    engines: tuple[Engine, ...]
    predecessors: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    layer: str = ""

    @classmethod
    def of(cls, graph: KernelGraph) -> TaskGraph:
        """Return the tasks that the kernels of a phase of a layer are."""
        return cls(
            engines=tuple(kernel.engine for kernel in graph.kernels),
            predecessors=tuple(kernel.predecessors for kernel in graph.kernels),
            names=tuple(kernel.name for kernel in graph.kernels),
            layer=graph.layer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProblem:
    """One task graph on one chip: seconds of each task on one core, and on all cores of its kind.

    split_s: shape (splits, tasks), seconds on splits[j] > 1 cores of its kind (a fused task: of both kinds), inf where
    a task may not; a split is used only where it is smaller than the number of cores. Collectives and copies take
    whole_s on an engine of their own.
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
    """When and where a task runs: the cores it takes, by index; none are listed where it runs on all of its kind."""

    task: int
    start_s: float
    end_s: float
    whole: bool
    tensor_cores: tuple[int, ...]
    vector_cores: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Assignments in task order, with the proven lower bound on any makespan."""

    assignments: tuple[Assignment, ...]
    makespan_s: float
    bound_s: float
    status: Status

    @property
    def gap(self) -> float:
        """How far above the best possible makespan this one can be, relative to itself."""
        return 1.0 - self.bound_s / self.makespan_s if self.makespan_s > 0 else 0.0
