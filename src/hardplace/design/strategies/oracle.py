"""The oracle of every strategy: the exact score of one chip with one plan family, counted against a budget."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.goals import Costs
from hardplace.design.question import Question
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.regions import chips_of_section
from hardplace.design.search.single import job_of
from hardplace.design.strategies.types import End, Point
from hardplace.design.types import Evaluation, Job, PlanFamily
from hardplace.hardware.phaze import chips_from_rows
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
        self._objective = question.goal.objectives[0]
        scoring = self.search.scoring
        # Sections differ in the capacity of their memory alone; nothing costs less with a larger one.
        self._sections = {size: index for index, one in enumerate(scoring.sections) for size in one.capacities}
        self.chips, self._places = chips_of_section(scoring, 0)
        self._costs = [scoring.limits.costs(one, self.chips)[0] for one in scoring.sections]
        self._within = [scoring.limits.within(costs) for costs in self._costs]
        self.best: Evaluation | None = None
        self.best_score = 0.0
        self.best_tdp_w = math.nan
        self.way: list[Point] = []
        self.seen: dict[tuple[int, PlanFamily], float] = {}

    @property
    def families(self) -> tuple[PlanFamily, ...]:
        """Return the plan families whose states fit the memory at all."""
        return tuple(family for (there,) in self.search.scoring.there for family in there.families)

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
        """Return the score of one chip with the best plan of one family in the objective; 0 if none is within the
        limits.
        """
        if (chip, family) in self.seen:
            return self.seen[chip, family]
        self.check()
        section = self._sections[family.memory_bytes]
        found = self.search.evaluate(self.job(chip, family)) if self._within[section][chip] else None
        value = self._score(found, section, chip) if isinstance(found, Evaluation) else 0.0
        self.seen[chip, family] = value
        if isinstance(found, Evaluation) and value > self.best_score:
            self.best, self.best_score = found, value
            self.best_tdp_w = float(self._costs[section].tdp_w[chip])
            self.way.append(Point(seconds=self.seconds, evaluations=len(self.seen), score=value))
        return value

    def _score(self, found: Evaluation, section: int, chip: int) -> float:
        scoring = self.search.scoring
        in_time = float(scoring.in_time(scoring.models[0], np.array([found.samples_per_s]))[0])
        costs = self._costs[section].take(np.array([chip]))
        return scoring.goal.score(self._objective, in_time, math.nan, costs)

    def allowed(self, row: Row) -> bool:
        """Return whether a chip of these sizes is within the limits in the largest memory, of the space or not."""
        limits = self.search.scoring.limits
        return bool(limits.within(self._costs_of(row))[0])

    def score(self, row: Row, samples_per_s: float) -> float:
        """Return the score of a chip of these sizes at a throughput, in the largest memory."""
        return self.search.scoring.goal.score(self._objective, samples_per_s, math.nan, self._costs_of(row))

    def _costs_of(self, row: Row) -> Costs:
        scoring = self.search.scoring
        return scoring.limits.costs(scoring.sections[-1], chips_from_rows(np.array([row])))[0]

    def job(self, chip: int, family: PlanFamily) -> Job:
        """Return the exact evaluation of one chip with one family."""
        section = self._sections[family.memory_bytes]
        return job_of(self.search.scoring, section, self._places[:, chip : chip + 1], 0, family)

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
