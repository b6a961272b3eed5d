"""Nouns of a joint search: what it answers, and what it answers beside that."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.answers import Answer
from hardplace.branch_and_bound.types import Progress, Stop
from hardplace.certificate import Certificate, gap_of
from hardplace.design.types import Evaluation, PlanChoices, RefinementLevel
from hardplace.hardware.types import Budget
from hardplace.shaping.types import Tier
from hardplace.workload.decoder import DecoderShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A shape with a chip and a plan. score: samples a second, times the trained parameters over the model's own.

    parameters: of the shape, tied ones once. divides, risks: as `hardplace shape` says them.
    """

    name: str
    shape: DecoderShape
    tier: Tier
    parameters: int
    changes: tuple[str, ...]
    divides: str
    risks: tuple[str, ...]
    score: float
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ShapeDesignResult(Answer):
    """The best shape, chip and plan with a certificate: no candidate of the space has a score above `bound`.

    raw: scores are samples a second as they are. base: the model's own shape on its best chip. then_shape: the best
    shape for that chip, its chip chosen first; to its own gap. candidates: shapes x chips x plan families. opened:
    shapes that were laid out.
    """

    version: str
    model: str
    parameters: int
    sequence_length: int
    setting: str
    space: str
    raw: bool
    share: float
    frozen: tuple[str, ...]
    mlp_step: int
    budget: Budget
    devices: int
    batch_samples: int
    choices: PlanChoices
    shapes: int
    chips: int
    candidates: int
    opened: int
    best: Fitted
    base: Fitted
    then_shape: Fitted
    score: float
    bound: float
    target_gap: float
    limit_s: float | None
    stop: Stop
    seconds: float
    levels: tuple[RefinementLevel, ...]
    progress: tuple[Progress, ...]
    notes: tuple[str, ...]

    @property
    def gap(self) -> float:
        """By what share the best of the space can be better than the answer at most."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """The proof that nothing searched is better than its bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit="samples/s" if self.raw else "parameters x samples/s",
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )
