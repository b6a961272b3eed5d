"""Nouns of a comparison of strategies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from hardplace.answers import Answer


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
        samples_per_s: Throughput of the incumbent.
    """

    seconds: float
    evaluations: int
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one strategy found.

    Attributes:
        strategy: Name of the strategy.
        source: Paper that it is from.
        samples_per_s: Throughput of its best.
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
    samples_per_s: float
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
        samples_per_s: Throughput of its best.
        bound_samples_per_s: Upper bound on the throughput of every candidate.
        chip: Chip of its best.
        plan: Plan of its best, in words.
        evaluations: Number of exact evaluations.
        seconds: Wall-clock seconds.
        stop: Why it stopped.
        way: A point at each improvement, and the end.
    """

    samples_per_s: float
    bound_samples_per_s: float
    chip: str
    plan: str
    evaluations: int
    seconds: float
    stop: str
    way: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Answer):
    """Strategies beside the certified search, on one question; limits that are None were not given."""

    version: str
    model: str
    setting: str
    area_mm2: float
    chips_in_space: int
    candidates: int
    seed: int
    limit_s: float | None
    limit_evaluations: int | None
    certified: Certified
    trials: tuple[Trial, ...]

    ROWS: ClassVar[str] = "trials"
