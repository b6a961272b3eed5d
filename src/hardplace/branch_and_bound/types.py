"""Nouns of branch and bound: when a search may stop, why it stopped, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """When a search may stop.

    Attributes:
        gap: Relative gap, from 0 to below 1; 0.01: no candidate of the space is more than 1 % better.
        limit_s: Wall-clock seconds; None: no limit.
        start_s: Moment of time.perf_counter from which they count; None: where the search begins.
        evaluations: Number of exact evaluations; None: no limit.
        exhaustive: Evaluate every candidate to the end instead, of `design.search.exhaustive.MOST` at most.
    """

    gap: float
    limit_s: float | None = None
    start_s: float | None = None
    evaluations: int | None = None
    exhaustive: bool = False

    def __post_init__(self) -> None:
        """Raise BadInput for a gap that is none."""
        check_gap(self.gap)


def check_gap(gap: float) -> None:
    """Raise BadInput for a relative gap that is none."""
    if not 0.0 <= gap < 1.0:
        raise BadInput("gap", gap, "a share from 0 to below 1")


ONE_PERCENT = StoppingRule(gap=0.01)


class Stop(StrEnum):
    """Why a search stopped."""

    GAP = "gap reached"
    OPTIMAL = "optimal"
    SCHEDULES = "schedule solver stopped"  # the rest of the gap is that of the best candidate's own schedules
    RELAXED = "bound as close as it gets"  # the rest of the gap is that of what the bound leaves out
    SECONDS = "time limit"
    EVALUATIONS = "evaluations spent"
    INTERRUPTED = "interrupted"


LIMITS = (Stop.SECONDS, Stop.EVALUATIONS, Stop.INTERRUPTED)  # what ends a search before it has proved anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Incumbent and bound of the objective at a moment of the search; more is better.

    Attributes:
        seconds: Seconds since the start.
        score: Score of the incumbent; 0: none yet.
        bound: Upper bound on the score of every candidate.
    """

    seconds: float
    score: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing(Progress):
    """Progress after the search proper: plans to compare with and the page's chips are still being evaluated.

    Attributes:
        doing: What is being done, in words.
    """

    doing: str
