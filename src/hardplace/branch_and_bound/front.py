"""Pareto front: what a search has reached and no other point beats in every objective."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from hardplace.ndtypes import Floats

Scores = tuple[float, ...]
P = TypeVar("P")


@dataclass(slots=True)
class Front(Generic[P]):
    """Pareto front of points (scores, payload): none is at least as good as another in every score; more is better.

    With one score it holds one point, the incumbent. No score is negative; a score of 0 is a model that does not run on
    a chip of a set, which any point matches.

    Attributes:
        points: The points, each with its scores and its payload.
    """

    points: list[tuple[Scores, P]] = field(default_factory=list)

    def excess(self, scores: Scores) -> float:
        """Return the least share by which some point must grow to be at least these scores; inf without points.

        An excess of at most e means: some point, each score times 1 + e, is at least as good in every score. Negative
        where a point is better in every score.
        """
        shares = (max(_share(a, b) for a, b in zip(scores, point, strict=True)) for point, _ in self.points)
        return min(shares, default=math.inf) - 1.0

    def excesses(self, scores: Floats) -> Floats:
        """Return the excess of each column of scores.

        Args:
            scores: Shape (objectives, candidates).

        Returns:
            Shape (candidates,).
        """
        if not self.points:
            return np.full(scores.shape[1], np.inf)
        reached = np.array([point for point, _ in self.points])
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(scores[None, :, :] > 0.0, scores[None, :, :] / reached[:, :, None], 0.0)
        return np.asarray(shares.max(axis=1).min(axis=0) - 1.0)

    def offer(self, scores: Scores, payload: P) -> bool:
        """Add a point unless one at least as good is there, and drop the points that it dominates.

        Returns:
            Whether the point was added.
        """
        if any(all(a >= b for a, b in zip(point, scores, strict=True)) for point, _ in self.points):
            return False
        left = [
            (point, other)
            for point, other in self.points
            if any(a > b for a, b in zip(point, scores, strict=True))
        ]  # fmt: skip
        self.points = [*left, (scores, payload)]  # at once: an interrupt leaves the one or the other
        return True

    @property
    def offered(self) -> tuple[tuple[Scores, P], ...]:
        """Return the points that carry something: of a copy that began with scores alone those offered since."""
        return tuple((scores, payload) for scores, payload in self.points if payload is not None)

    @property
    def best(self) -> float:
        """Return the largest first score; 0 without points."""
        return max((point[0] for point, _ in self.points), default=0.0)


def _share(possible: float, reached: float) -> float:
    if possible <= 0.0:
        return 0.0
    return possible / reached if reached > 0.0 else math.inf
