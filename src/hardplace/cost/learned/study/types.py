"""Nouns of the study."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.cost.learned.judge import PredictorScore


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySplit:
    """How the predictors do on one split.

    Attributes:
        question: What is asked.
        split: Which rows are judged.
        rows: How many.
        scores: Of each predictor.
    """

    question: str
    split: str
    rows: int
    scores: tuple[PredictorScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegretScore:
    """What choosing a mapping by a predictor costs, means over layers.

    Attributes:
        predictor: Its name.
        top1: Cycles of the mapping it ranks first, over the best's, less 1.
        worst1: The same of the worst layer.
        top5: Cycles of the best of the five it ranks first, over the best's, less 1.
        tau: Kendall's rank correlation over a layer's mappings.
        mape: Mean absolute error of the cycles.
    """

    predictor: str
    top1: float
    worst1: float
    top5: float
    tau: float
    mape: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingResult:
    """How the predictors choose mappings of some layers.

    Attributes:
        question: What is asked.
        split: The accelerator.
        layers: Layers judged.
        mappings: Mappings simulated.
        scores: Of each predictor.
    """

    question: str
    split: str
    layers: int
    mappings: int
    scores: tuple[RegretScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionScore:
    """What grouping the layers of a block by a predictor costs.

    Attributes:
        predictor: Its name; nothing fused: every layer alone.
        groups: Groups that it chooses.
        cycles: The simulator's cycles of them.
        regret: Cycles over the best grouping's, less 1.
    """

    predictor: str
    groups: int
    cycles: int
    regret: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionResult:
    """How the predictors group the layers of a block.

    Attributes:
        accelerator: Name of the description.
        block: What the layers are.
        layers: Layers.
        ways: Groups that fit, each with its numbers of strips.
        scores: Of each predictor.
    """

    accelerator: str
    block: str
    layers: int
    ways: int
    scores: tuple[FusionScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResults:
    """All results of the study.

    Attributes:
        splits: Of times of kernels.
        mappings: Of choices of mappings.
        fusions: Of choices of fusions.
    """

    splits: tuple[StudySplit, ...]
    mappings: tuple[MappingResult, ...]
    fusions: tuple[FusionResult, ...]
