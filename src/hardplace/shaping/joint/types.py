"""Nouns of the joint search of shape, chip and plan: its answer, and what stands beside it."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.branch_and_bound.types import Progress
from hardplace.design.results import ScoredAnswer
from hardplace.design.types import Evaluation, PlanChoices
from hardplace.shaping.types import Tier
from hardplace.workload.decoder import DecoderShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A shape with a chip and a plan.

    Attributes:
        name: Name of the shape.
        shape: Sizes of the decoder.
        tier: How much the change touches.
        parameters: Parameters of the shape, tied ones once.
        changes: Fields that change, in words.
        divides: Degrees that divide it, in words.
        risks: Risks for quality, in words.
        score: Samples a second, times the trained parameters over the model's own.
        evaluation: Exact evaluation of chip and plan.
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
class ShapeDesignResult(ScoredAnswer):
    """The best shape, chip and plan, with a certificate: no candidate of the space has a score above `bound`.

    Attributes:
        model: Name of the model.
        parameters: Its parameters.
        sequence_length: Tokens of a sample.
        raw: Whether scores are samples a second as they are.
        share: Relative difference of the parameters that is allowed.
        frozen: Fields that stay.
        mlp_step: Step of the MLP width.
        devices: Number of devices.
        batch_samples: Samples of the global batch.
        choices: Choices of a plan.
        shapes: Number of shapes.
        chips: Number of chips.
        opened: Number of shapes that were laid out.
        best: The best shape, chip and plan.
        base: The model's own shape on its best chip.
        then_shape: The best shape for that chip, its chip chosen first; to its own gap.
        target_gap: Relative gap at which the search was to stop.
        limit_s: Time limit in seconds; None: none.
        progress: Incumbent and bound over time.
    """

    model: str
    parameters: int
    sequence_length: int
    raw: bool
    share: float
    frozen: tuple[str, ...]
    mlp_step: int
    devices: int
    batch_samples: int
    choices: PlanChoices
    shapes: int
    chips: int
    opened: int
    best: Fitted
    base: Fitted
    then_shape: Fitted
    target_gap: float
    limit_s: float | None
    progress: tuple[Progress, ...]

    @property
    def score_unit(self) -> str:
        """See ScoredAnswer."""
        return "samples/s" if self.raw else "parameters x samples/s"
