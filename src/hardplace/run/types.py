"""Nouns of a run: what a plan predicts of a rank, what the rank counted, and what both make."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

Traffic = dict[str, tuple[int, float]]  # "group kind" -> collectives in a step, bytes of their whole tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCounts:
    """Bytes of one rank and its collectives of one step; predicted by the plan, or counted.

    Attributes:
        weights_bytes: Weights at the fullest moment.
        gradients_bytes: Gradients at the fullest moment.
        states_bytes: Optimizer states.
        saved_bytes: What autograd keeps for the backward pass, at the fullest moment.
        traffic: Collectives by process group, kind and bytes.
    """

    weights_bytes: float
    gradients_bytes: float
    states_bytes: float
    saved_bytes: float
    traffic: Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class RankResult:
    """What one rank found.

    Attributes:
        rank: Index of the rank.
        stage: Its pipeline stage.
        losses: Loss of each step; None: not of the last stage.
        gradient_error: Largest error over its parameters, relative to the largest entry of that gradient.
        worst: Parameter of that.
        counted: Bytes and collectives, counted.
        seconds: Seconds of each step.
    """

    rank: int
    stage: int
    losses: tuple[float | None, ...]
    gradient_error: float
    worst: str
    counted: RankCounts
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A plan's run beside the single process and the prediction.

    Attributes:
        losses: Loss of each step.
        reference: Loss of each step of the single process.
        ranks: What each rank found.
        predicted: What the plan predicts of each rank.
        notes: What torch does otherwise than the plan says.
    """

    losses: tuple[float, ...]
    reference: tuple[float, ...]
    ranks: tuple[RankResult, ...]
    predicted: tuple[RankCounts, ...]
    notes: tuple[str, ...]

    @property
    def loss_error(self) -> float:
        """Return the largest relative difference of a loss."""
        return max(abs(a - b) / abs(b) for a, b in zip(self.losses, self.reference, strict=True))

    @property
    def step_s(self) -> float:
        """Return the seconds of a step: of each its slowest rank, of these the median.

        The first step, whose gradients are compared, and the last, whose collectives are counted, are left out where
        there are others; of two it is the last.
        """
        steps = [max(times) for times in zip(*(one.seconds for one in self.ranks), strict=True)]
        return statistics.median(steps[1:-1] or steps[-1:])

    @property
    def gradient_error(self) -> float:
        """Return the largest relative difference of a gradient's entry."""
        return max(one.gradient_error for one in self.ranks)
