"""What a trainer cannot do with a plan: nouns of the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hardplace.plans.plan import Plan

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What limits ask of a model.

    Attributes:
        layers: Layers that are cut into stages.
        sequence: Tokens of a sample.
        kv_heads: Heads of keys.
        experts: Number of experts; 1: none.
        encoder_decoder: Whether it has two stacks.
        cut_experts: Whether tensor parallelism alone cuts each expert, as models do that run as recorded.
    """

    layers: int
    sequence: int
    kv_heads: int
    experts: int
    encoder_decoder: bool
    cut_experts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerLimit:
    """One thing that a trainer cannot do.

    Attributes:
        field: Field of a plan that asks for it.
        reason: Why, with its source.
        broken: Whether a plan asks for it.
        mends: Changes of fields that no longer do, best first.
        cut: Whether it is of how the stages are cut, which a search knows last.
    """

    field: str
    reason: str
    broken: Callable[[Plan, ModelFacts], bool]
    mends: Callable[[Plan, ModelFacts], Iterable[Changes]] = lambda plan, facts: ()
    cut: bool = False
