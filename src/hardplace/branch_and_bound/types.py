"""TODO."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """When a search may stop: at a relative gap (0.01: nothing in the space is more than 1 % better), after so many
    wall seconds, after so many exact evaluations (None: no such limit).

    exhaustive: it evaluates every candidate, of `design.search.exhaustive.MOST` at most, to the end instead.
    """

    gap: float
    limit_s: float | None = None
    evaluations: int | None = None
    exhaustive: bool = False


ONE_PERCENT = StoppingRule(gap=0.01)


class Stop(StrEnum):
    """Why the search ended."""

    GAP = "gap reached"
    OPTIMAL = "optimal"
    SCHEDULES = "schedule solver stopped"  # the rest of the gap is that of the best candidate's own schedules
    SECONDS = "time limit"
    EVALUATIONS = "evaluations spent"
    INTERRUPTED = "interrupted"


LIMITS = (Stop.SECONDS, Stop.EVALUATIONS, Stop.INTERRUPTED)  # what ends a search before it has proved anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Incumbent (0: none yet) and bound of the objective at a moment of the search; more is better."""

    seconds: float
    score: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing(Progress):
    """What is still done after the search, with its incumbent and bound: what to compare with, the page's chips."""

    doing: str
