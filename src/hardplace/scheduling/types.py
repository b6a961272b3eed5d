"""Nouns of the scheduling step: a task graph, the problem of one chip, and its solution with a bound."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.cost.types import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskGraph:
    """Tasks with the engine each needs; predecessors of a task have smaller indices (topological order)."""

    engines: tuple[Engine, ...]
    predecessors: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProblem:
    """One task graph on one chip: seconds of each task on one core, and on all cores of its kind (then alone)."""

    graph: TaskGraph
    tensor_cores: int
    vector_cores: int
    single_s: tuple[float, ...]
    whole_s: tuple[float, ...]


class Status(StrEnum):
    """Whether the makespan is proven optimal."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """When and where a task runs; cores are -1 where none of that kind is used or where it runs on all of them."""

    task: int
    start_s: float
    end_s: float
    whole: bool
    tensor_core: int
    vector_core: int


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
