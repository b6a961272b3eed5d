"""Candidates of the joint search: what its heap holds, the shapes that it is over, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Ended
from hardplace.design.question import Question
from hardplace.design.search.candidates import Candidate, Reached, SearchCounts
from hardplace.design.search.layout import Group
from hardplace.design.types import Evaluation, RefinementLevel
from hardplace.ndtypes import Floats, Ints
from hardplace.shaping.joint.boxes import Layouts
from hardplace.shaping.types import FIELDS, ShapeColumns
from hardplace.workload.reshaping.reshape import Reshaping
from hardplace.workload.types import Workload


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshapes:
    """The shapes of a search beside what is asked of each: columns, the first of them the model's own.

    weights: what samples a second are multiplied by (parameters over the model's own; 1 for raw speed).
    """

    shapes: ShapeColumns
    weights: Floats
    reshaping: Reshaping

    def workload(self, row: int) -> Workload:
        """Return the Workload of one shape."""
        shape = self.shapes.at(row)
        sizes: Mapping[str, int] = {name: getattr(shape, name) for name in FIELDS}
        return self.reshaping.of(sizes, f"{self.reshaping.workload.name}#{row}") if row else self.reshaping.workload

    def take(self, rows: Ints) -> Reshapes:
        """Return these shapes; the first of the rows has to be the model's own."""
        return replace(self, shapes=self.shapes.take(rows), weights=self.weights[rows])


def layouts_of(question: Question, reshapes: Reshapes) -> Layouts:
    """Return how shapes are laid out, with nothing laid out yet."""
    return Layouts(reshaping=reshapes.reshaping, make=reshapes.workload, cycles=question.setting.function_cycles)


@dataclass(frozen=True, slots=True)
class Grouped:
    """All shapes with one group of plans, known by what no shape of their smallest sizes exceeds."""

    group: Group


@dataclass(frozen=True, slots=True)
class Unopened:
    """Shapes with a group of plans by their bounds, the largest first, from a place on: nothing is laid out."""

    group: Group
    order: Ints
    bounds: Floats
    first: int


@dataclass(frozen=True, slots=True)
class Inner:
    """A candidate of the search of one shape with one group of plans. families: of plans that may fit it there."""

    row: int
    group: Group
    candidate: Candidate
    families: int


Element = Grouped | Unopened | Inner


@dataclass(frozen=True, slots=True)
class Best:
    """What was reached: a shape, and the chip and plan for it."""

    row: int
    group: Group
    reached: Reached


@dataclass(slots=True)
class JointCounts:
    """What refinements counted.

    Attributes:
        search: Counts of the searches of single shapes.
        opened: Shapes and groups that were laid out.
        shortages: What is short, of each that does not fit.
        shapes_s: Wall-clock seconds of bounding shapes.
        laying_out_s: Wall-clock seconds of laying them out.
    """

    search: SearchCounts = field(default_factory=SearchCounts)
    opened: set[tuple[int, Group]] = field(default_factory=set)
    shortages: list[Infeasible] = field(default_factory=list)
    shapes_s: float = 0.0
    laying_out_s: float = 0.0

    def add(self, other: JointCounts) -> None:
        """Add the counts of a refinement done elsewhere."""
        self.search.add(other.search)
        self.opened |= other.opened
        self.shortages += other.shortages
        self.shapes_s += other.shapes_s
        self.laying_out_s += other.laying_out_s


@dataclass(frozen=True, slots=True, kw_only=True)
class JointFound:
    """How a joint search ended.

    Attributes:
        best: Shape, chip and plan that were reached; None: nothing was.
        evaluation: Exact evaluation of that.
        score: Weighted samples a second, exact.
        ended: How the loop ended.
        reached: Score that the front has of it, to which the end's excess is relative.
        levels: Candidates by level of refinement.
        shapes_opened: Number of shapes that were laid out.
        candidates: Number of candidates.
        seconds: Wall-clock seconds.
        shortage: What is short, where nothing fits.
    """

    best: Best | None
    evaluation: Evaluation | None
    score: float
    ended: Ended
    reached: float
    levels: tuple[RefinementLevel, ...]
    shapes_opened: int
    candidates: int
    seconds: float
    shortage: Infeasible | None
