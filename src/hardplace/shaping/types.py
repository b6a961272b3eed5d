"""Nouns of model shapes: shapes as columns, the conditions they run in, alternatives and their ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np

from hardplace.answers import Answer
from hardplace.ndtypes import Ints
from hardplace.plans.anchors import Anchor
from hardplace.workload.decoder import DecoderShape, Degrees

FIELDS = ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab")
UNFUSED = "unfused"  # attention as products and a softmax


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConditions:
    """Conditions in which shapes run.

    Attributes:
        micro_batch: Samples of a micro-batch.
        tensor: Tensor-parallel degree.
        sequence: Sequence parallelism.
        pipeline: Pipeline stages.
        attention: "unfused", or a backend of flash attention ("default": PyTorch's).
        anchor: What steps of one's own system say of its figures; None: nothing was measured.
    """

    micro_batch: int = 1
    tensor: int = 1
    sequence: bool = False
    pipeline: int = 1
    attention: str = "default"
    anchor: Anchor | None = None

    @property
    def flash(self) -> bool:
        """Return whether attention is one kernel."""
        return self.attention != UNFUSED

    @property
    def degrees(self) -> Degrees:
        """Return how a layer is divided."""
        return Degrees(tensor=self.tensor, sequence=self.sequence, micro_batch=self.micro_batch, flash=self.flash)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeColumns:
    """Many decoders as columns of one length (FIELDS); what they share (sequence, kind of layer) is that of `base`."""

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
    """A shape on one device, beside the model asked about.

    Attributes:
        device: Name of the device.
        step_s: Forward and backward of one micro-batch on one rank over all pipeline stages.
        speedup: The model's time over this one's.
        per_parameter: The same, times the ratio of trained parameters (a padded vocabulary's rows aside).
        band: Half width of the confidence band of ln(speedup), from the errors of the device's model.
    """

    device: str
    step_s: float
    speedup: float
    per_parameter: float
    band: float

    @property
    def tie(self) -> bool:
        """Return whether the difference is within the model's error: measure both."""
        return abs(float(np.log(self.per_parameter))) <= self.band


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One shape: what changes, its parameters and memory, its speed on each device, its risks.

    Attributes:
        shape: Sizes of the decoder.
        tier: How much the change touches.
        changes: Fields that change, in words.
        parameters: Number of parameters.
        state_bytes: Weights, gradients and AdamW's states without sharding over replicas, of the fullest rank on
            average.
        saved_bytes: Activations of one micro-batch.
        divides: Degrees that divide it, in words.
        risks: Risks for quality, in words.
        devices: Speed on each device.
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
        """Return the least speed-up per parameter over the devices."""
        return min(one.per_parameter for one in self.devices)

    @property
    def tie(self) -> bool:
        """Return whether no device tells it apart from the model."""
        return all(one.tie for one in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ranking(Answer):
    """Alternatives to a model's shape that are faster for each parameter, best first within their tier.

    One for each depth, width and kind of heads.

    Attributes:
        model: Name of the model.
        shape: Its own shape.
        parameters: Its parameters.
        budget: Least and most parameters of an alternative.
        conditions: Conditions in which shapes run.
        candidates: Number of shapes that were priced.
        indivisible: Number of shapes left out because a degree does not divide them.
        mlp_step: Step of the MLP width.
        safe: Alternatives of the safe tier.
        reshaped: Alternatives of the reshaped tier.
        base: The model's own shape.
        notes: What is left out or was taken for the figures.
    """

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
        """Return the model's own shape, then the safe ones, then the reshaped ones."""
        return (self.base, *self.safe, *self.reshaped)
