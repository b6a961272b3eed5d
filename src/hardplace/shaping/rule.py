"""A rule of co-design, and the case that it is judged on: a shape, its conditions, a device that prices changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hardplace.shaping.gemms import GemmRow
from hardplace.shaping.price import STATE_BYTES, parameter_counts, saved_bytes, step_s
from hardplace.shaping.sources import PricedDevice
from hardplace.shaping.types import StepConditions, columns
from hardplace.workload.decoder import DecoderShape

MATTERS = 0.01  # share of a step from which a violation fails and advice warns


class Verdict(StrEnum):
    """pass; warn: broken, or to be improved, at little cost; fail: broken at 1 % of the step or more; void: flash
    attention has done away with it."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodesignRule:
    """One rule of co-design, judged on a model.

    Attributes:
        name: Name of the rule.
        value: What the model has, in words.
        verdict: Pass, warn, fail or void.
        cost: Share of the step that the fix saves, for the same parameters (tokens, GPU-seconds) of work; None: there
            is no fix to price.
        fix: Smallest change that keeps the rule; "": none is needed.
        why: Reason of the rule.
    """

    name: str
    value: str
    verdict: Verdict
    cost: float | None
    fix: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCase:
    """A decoder on a device: seconds of its step, and its GEMMs there."""

    shape: DecoderShape
    conditions: StepConditions
    target: PricedDevice
    step_s: float
    gemms: Sequence[GemmRow]

    def saved(self, other: DecoderShape, *, alike: bool = False) -> float:
        """Return the share of the step that another shape saves; alike: time a parameter, where widths change."""
        one = columns([other])  # on its own: shapes in the same columns share their experts
        ratio = float(step_s(one, self.conditions, self.target.timer)[0]) / self.step_s
        if alike:
            ratio *= float(parameter_counts(columns([self.shape]))[0] / parameter_counts(one)[0])
        return 1.0 - ratio

    @property
    def rank_width(self) -> int:
        """What a rank's widths are to be multiples of."""
        return self.target.quantum


def held_bytes(shape: DecoderShape, conditions: StepConditions) -> float:
    """Return bytes on a rank: weights, gradients, AdamW's states without sharding, activations of a micro-batch."""
    one = columns([shape])
    ranks = conditions.tensor * conditions.pipeline
    kept = float(saved_bytes(one, conditions)[0]) / conditions.pipeline
    return STATE_BYTES * float(parameter_counts(one)[0]) / ranks + kept


def requirement(name: str, value: str, *, broken: bool, cost: float | None, fix: str, why: str) -> CodesignRule:
    """Return a rule that is kept, or broken at this cost (None: nothing mends it)."""
    verdict = Verdict.PASS
    if broken:
        verdict = Verdict.FAIL if cost is not None and cost >= MATTERS else Verdict.WARN
    mended = broken and cost is not None
    return CodesignRule(
        name=name, value=value, verdict=verdict, cost=cost if mended else None, fix=fix if mended else "", why=why
    )


def advice(name: str, value: str, *, cost: float | None, fix: str, why: str) -> CodesignRule:
    """Return a rule that only advises, and is heeded where its fix would save little (cost None: there is none)."""
    worth = cost is not None and cost >= MATTERS
    verdict = Verdict.WARN if worth else Verdict.PASS
    return CodesignRule(name=name, value=value, verdict=verdict, cost=cost, fix=fix if worth else "", why=why)


def rounded_up(size: int, multiple: int) -> int:
    """Return the least multiple that is not below a size."""
    return -(-size // multiple) * multiple
