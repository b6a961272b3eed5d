"""Nouns of the joint search of shape, chip and plan: its answer, and what stands beside it."""

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
class ShapeDesignResult(Answer):
    """The best shape, chip and plan, with a certificate: no candidate of the space has a score above `bound`.

    Attributes:
        version: Version of the package.
        model: Name of the model.
        parameters: Its parameters.
        sequence_length: Tokens of a sample.
        setting: Name of the setting.
        space: Name of the space of chips.
        raw: Whether scores are samples a second as they are.
        share: Relative difference of the parameters that is allowed.
        frozen: Fields that stay.
        mlp_step: Step of the MLP width.
        budget: Limits on chips and plans.
        devices: Number of devices.
        batch_samples: Samples of the global batch.
        choices: Choices of a plan.
        shapes: Number of shapes.
        chips: Number of chips.
        candidates: Shapes x chips x plan families.
        opened: Number of shapes that were laid out.
        best: The best shape, chip and plan.
        base: The model's own shape on its best chip.
        then_shape: The best shape for that chip, its chip chosen first; to its own gap.
        score: Score of the best.
        bound: Upper bound on the score of every candidate.
        target_gap: Relative gap at which the search was to stop.
        limit_s: Time limit in seconds; None: none.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search.
        levels: Candidates by level of refinement.
        progress: Incumbent and bound over time.
        notes: What is left out or was taken for the figures.
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
        """Return by what share the best of the space can be better than the answer at most: bound / score - 1."""
        return gap_of(self.score, self.bound)

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no candidate has a score above the bound."""
        return Certificate(
            score=self.score,
            bound=self.bound,
            unit="samples/s" if self.raw else "parameters x samples/s",
            stop=self.stop.value,
            considered=self.candidates,
            seconds=self.seconds,
        )
