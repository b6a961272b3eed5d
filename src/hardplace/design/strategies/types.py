"""Nouns of a comparison of strategies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.design.goals import Objective


class End(StrEnum):
    """Why a strategy ended."""

    OWN = "its own stop"
    SECONDS = "seconds"
    EVALUATIONS = "evaluations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The incumbent of a strategy at a moment.

    Attributes:
        seconds: Seconds since the start.
        evaluations: Exact evaluations so far.
        score: Score of the incumbent in the objective, more is better.
    """

    seconds: float
    evaluations: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one strategy found.

    Attributes:
        strategy: Name of the strategy.
        source: Paper that it is from.
        score: Score of its best in the objective, more is better; 0 where it found nothing.
        samples_per_s: Throughput of its best.
        tdp_w: TDP of its best; None where nothing asks for it.
        chip: Chip of its best.
        plan: Plan of its best, in words.
        evaluations: Number of exact evaluations.
        chips: Number of chips that it evaluated.
        seconds: Wall-clock seconds.
        end: Why it ended.
        way: A point at each improvement, and the end.
    """

    strategy: str
    source: str
    score: float
    samples_per_s: float
    tdp_w: float | None
    chip: str
    plan: str
    evaluations: int
    chips: int
    seconds: float
    end: End
    way: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """The certified search of the same question.

    Attributes:
        score: Score of its best in the objective, more is better.
        bound_score: Upper bound on the score of every candidate.
        samples_per_s: Throughput of its best.
        tdp_w: TDP of its best; None where nothing asks for it.
        chip: Chip of its best.
        plan: Plan of its best, in words.
        evaluations: Number of exact evaluations.
        seconds: Wall-clock seconds.
        stop: Why it stopped.
        way: A point at each improvement, and the end.
    """

    score: float
    bound_score: float
    samples_per_s: float
    tdp_w: float | None
    chip: str
    plan: str
    evaluations: int
    seconds: float
    stop: str
    way: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Answer):
    """Strategies beside the certified search, on one question; limits that are None were not given.

    Scores are of the objective, in its unit (`goals.UNITS`).
    """

    version: str
    model: str
    setting: str
    objective: Objective
    area_mm2: float
    tdp_w: float | None
    chips_in_space: int
    candidates: int
    seed: int
    limit_s: float | None
    limit_evaluations: int | None
    certified: Certified
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "trials"
