"""The oracle of every strategy: the exact value of one chip with one plan family, counted against a budget."""

from __future__ import annotations

from functools import cached_property

from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.regions import chips_of_section
from hardplace.design.search.single import job_of
from hardplace.design.strategies.types import End, Point
from hardplace.design.types import Evaluation, Job, PlanFamily
from hardplace.hardware.types import Chips

Row = tuple[int, int, int, int, int, int]  # tensor cores, rows, columns, vector cores, lanes, buffer bytes


class Spent(Exception):
    """The budget is used up; the strategy ends where it is."""

    def __init__(self, end: End) -> None:
        super().__init__(end.value)
        self.end = end


class Oracle:
    """Exact evaluations of a question, each paid for once; laying out the question is part of the time.

    Args:
        question: The question.
        ends: Budget in wall-clock seconds and exact evaluations of a (chip, family) each; its gap is four times that to
            which schedules are solved.
    """

    def __init__(self, question: Question, ends: StoppingRule) -> None:
        self._ends, self._deadline = ends, Deadline(limit_s=ends.limit_s)
        self.search = DesignSearch(question=question, ends=StoppingRule(gap=ends.gap))
        self.chips, self._places = chips_of_section(self.search.scoring, 0)
        self.best: Evaluation | None = None
        self.way: list[Point] = []
        self.seen: dict[tuple[int, PlanFamily], float] = {}

    @property
    def families(self) -> tuple[PlanFamily, ...]:
        """Return the plan families whose states fit the memory at all."""
        return self.search.scoring.there[0][0].families

    @cached_property
    def places(self) -> dict[Row, int]:
        """Return where in the space the chip of given sizes is."""
        return {row: place for place, row in enumerate(rows(self.chips))}

    @cached_property
    def axes(self) -> tuple[frozenset[int], ...]:
        """Return the values that each size takes in the space."""
        return tuple(frozenset(column) for column in zip(*self.places, strict=True))

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self._deadline.elapsed_s

    def check(self) -> None:
        """Raise Spent if the budget is used up; strategies call it where they work without evaluating."""
        if self._deadline.over:
            raise Spent(End.SECONDS)
        if self._ends.evaluations is not None and len(self.seen) >= self._ends.evaluations:
            raise Spent(End.EVALUATIONS)

    def value(self, chip: int, family: PlanFamily) -> float:
        """Return the throughput of one chip with the best plan of one family, in samples a second; 0 if none fits."""
        if (chip, family) in self.seen:
            return self.seen[chip, family]
        self.check()
        found = self.search.evaluate(self.job(chip, family))
        value = found.samples_per_s if isinstance(found, Evaluation) else 0.0
        self.seen[chip, family] = value
        if isinstance(found, Evaluation) and (self.best is None or value > self.best.samples_per_s):
            self.best = found
            self.way.append(Point(seconds=self.seconds, evaluations=len(self.seen), samples_per_s=value))
        return value

    def job(self, chip: int, family: PlanFamily) -> Job:
        """Return the exact evaluation of one chip with one family."""
        return job_of(self.search.scoring, 0, self._places[:, chip : chip + 1], 0, family)

    def most(self, chip: int, families: tuple[PlanFamily, ...]) -> float:
        """Return the largest value of one chip over several families."""
        return max((self.value(chip, family) for family in families), default=0.0)


def rows(chips: Chips) -> list[Row]:
    """Return the sizes of each chip."""
    columns = (
        chips.tensor_cores,
        chips.array_rows,
        chips.array_columns,
        chips.vector_cores,
        chips.vector_lanes,
        chips.buffer_bytes,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))
