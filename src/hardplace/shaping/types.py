"""Nouns of the search for shapes: shapes as columns, the conditions they run in, alternatives and rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from hardplace.answers import Answer
from hardplace.ndtypes import Ints
from hardplace.workload.decoder import DecoderShape, Degrees

FIELDS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
UNFUSED = "unfused"  # attention as products and a softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConditions:
    """What shapes run in: samples of a micro-batch, tensor-parallel degree (with or without sequence parallelism),
    pipeline stages, and attention: "unfused", or a backend of flash attention ("default": PyTorch's)."""

    micro_batch: int = 1
    tensor: int = 1
    sequence: bool = False
    pipeline: int = 1
    attention: str = "default"

    @property
    def flash(self) -> bool:
        """Whether attention is one kernel."""
        return self.attention != UNFUSED

    @property
    def degrees(self) -> Degrees:
        """How a layer is divided."""
        return Degrees(tensor=self.tensor, sequence=self.sequence, micro_batch=self.micro_batch, flash=self.flash)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeColumns:
    """Many decoders as columns of one length (FIELDS); what they share (sequence, kind of layer) is base's."""

    base: DecoderShape
    layers: Ints
    hidden: Ints
    heads: Ints
    kv_heads: Ints
    head_dim: Ints
    ffn: Ints
    vocab: Ints

    def __len__(self) -> int:
        return len(self.layers)

    def take(self, rows: Ints | np.ndarray) -> ShapeColumns:
        """Return these rows, or those where a mask is true."""
        return ShapeColumns(base=self.base, **{name: getattr(self, name)[rows] for name in FIELDS})

    def at(self, row: int) -> DecoderShape:
        """Return one of them."""
        found: dict[str, Any] = {name: int(getattr(self, name)[row]) for name in FIELDS}
        return replace(self.base, **found)

    def in_columns(self) -> DecoderShape:
        """Return a shape whose sizes are these columns; its number of layers is base's."""
        found: dict[str, Any] = {name: getattr(self, name) for name in FIELDS if name != "layers"}
        return replace(self.base, **found)


def columns(shapes: list[DecoderShape]) -> ShapeColumns:
    """Return decoders that differ in FIELDS only as columns."""
    found = {name: np.array([getattr(one, name) for one in shapes], dtype=np.int64) for name in FIELDS}
    return ShapeColumns(base=shapes[0], **found)


class Tier(StrEnum):
    """How much a change touches: padding and head split keep depth and width; the rest changes what is trained."""

    SAFE = "safe"
    RESHAPED = "reshaped"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevice:
    """A shape on one device beside the model asked about.

    step_s: forward and backward of one micro-batch on one rank over all pipeline stages. speedup: of the model's time
    over this one's; per_parameter: the same times the ratio of trained parameters (a padded vocabulary's rows aside).
    band: half width of the band of confidence of ln(speedup), from the errors of the device's model. tie: the band
    holds 1.
    """

    device: str
    step_s: float
    speedup: float
    per_parameter: float
    band: float

    @property
    def tie(self) -> bool:
        """Whether the gap is within the model's error: measure."""
        return abs(float(np.log(self.per_parameter))) <= self.band


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One shape: what changes, its parameters, its memory on a rank, where it stands on each device, what to heed.

    state_bytes: weights, gradients and AdamW's states without sharding over replicas, of the fullest rank on average;
    saved_bytes: activations of one micro-batch. risks: of quality, in words.
    """

    shape: DecoderShape
    tier: Tier
    changes: tuple[str, ...]
    parameters: int
    state_bytes: float
    saved_bytes: float
    divides: str
    risks: tuple[str, ...]
    devices: tuple[OnDevice, ...]

    @property
    def worst(self) -> float:
        """The least speed-up per parameter over the devices."""
        return min(one.per_parameter for one in self.devices)

    @property
    def tie(self) -> bool:
        """Whether no device tells it apart from the model."""
        return all(one.tie for one in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranking(Answer):
    """Alternatives to a model's shape that are faster for each parameter, best first within their tier, one for each
    depth, width and kind of heads. base: the model's own. candidates: all that were priced."""

    model: str
    shape: DecoderShape
    parameters: int
    budget: tuple[float, float]
    conditions: StepConditions
    candidates: int
    indivisible: int
    mlp_step: int
    safe: tuple[Alternative, ...]
    reshaped: tuple[Alternative, ...]
    base: Alternative
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "alternatives"

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """The model's own shape, then the safe ones, then the reshaped ones."""
        return (self.base, *self.safe, *self.reshaped)
