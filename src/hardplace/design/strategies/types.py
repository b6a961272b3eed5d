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
    """The best found after so many seconds and exact evaluations."""

    seconds: float
    evaluations: int
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one strategy found: chip and plan in words, and its way there (a point at each improvement, and the end)."""

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
    """The best-first search of the same question: what it reached, what nothing can exceed, and its way there."""

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
