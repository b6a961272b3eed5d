"""Seconds, parameters and memory of many shapes at once: distinct layers priced once, shapes summed by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.layers.decoder import block, embedding, head
from hardplace.cost.layers.timer import Timer, pass_s
from hardplace.cost.layers.work import LayerWork
from hardplace.ndtypes import Floats, Ints
from hardplace.shaping.types import ShapeColumns, StepConditions
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Recompute

STATE_BYTES = 18  # of a parameter: 16-bit weight, fp32 gradient, AdamW's fp32 weight and two moments
OF_BLOCK = ("hidden", "heads", "kv_heads", "head_dim", "ffn")
OF_ENDS = ("hidden", "vocab")  # what embedding and head depend on; OF_BLOCK: a layer between them


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """One kind of layer of shapes in columns: where each shape finds it, and how often the shape has it."""

    work: LayerWork
    length: int
    which: Ints
    times: Ints


def parts(shapes: ShapeColumns, degrees: Degrees) -> tuple[LayerKind, ...]:
    """Return the kinds of layers of shapes, the distinct ones of each: embedding, blocks (dense, with experts, with a
    window), head."""
    ends, which_end = distinct(shapes, OF_ENDS)
    ones = np.ones(len(shapes), dtype=np.int64)
    blocks, which = distinct(shapes, OF_BLOCK)
    length, sizes = len(blocks), blocks.in_columns()
    found = [LayerKind(work=embedding(ends.in_columns(), degrees), length=len(ends), which=which_end, times=ones)]
    for number, counts in _kinds(shapes.base, int(shapes.layers.max())):
        work = block(sizes, degrees, Recompute.NONE, number)
        found.append(LayerKind(work=work, length=length, which=which, times=counts[shapes.layers]))
    found.append(LayerKind(work=head(ends.in_columns(), degrees), length=len(ends), which=which_end, times=ones))
    return tuple(found)


def step_s(shapes: ShapeColumns, conditions: StepConditions, timer: Timer) -> Floats:
    """Return the seconds of a micro-batch on one rank of each shape, shape (shapes,).

    Forward and backward pass, all pipeline stages added up; the optimizer and traffic between replicas are left out.
    Every stage takes as long as the one with most layers: layers that the stages do not divide count in full.
    """
    total = np.zeros(len(shapes))
    stages = conditions.pipeline
    fullest = -(-shapes.layers // stages) * stages / shapes.layers
    for part in parts(shapes, conditions.degrees):
        for work in (part.work.forward, (*part.work.again, *part.work.backward)):
            one_s = pass_s(work, timer, part.length)
            total += one_s[part.which] * part.times * (fullest if part.work.name == "layer" else 1.0)
    return total


def parameter_counts(shapes: ShapeColumns) -> Ints:
    """Return the parameters of each shape, tied embeddings once, as `cost.layers.decoder.parameters` counts them."""
    total = np.zeros(len(shapes), dtype=np.int64)
    for part in parts(shapes, Degrees()):
        per = part.work.parameters + part.work.expert_parameters
        total += np.broadcast_to(np.asarray(per, dtype=np.int64), part.length)[part.which] * part.times
    return total - (shapes.vocab * shapes.hidden if shapes.base.tied else 0)


def saved_bytes(shapes: ShapeColumns, conditions: StepConditions) -> Floats:
    """Return the activations kept from forward to backward of one micro-batch on a rank, all stages added up, with the
    logits."""
    total = np.zeros(len(shapes))
    for part in parts(shapes, conditions.degrees):
        kept = part.work.saved_bytes + part.work.logits_bytes
        per = np.broadcast_to(np.asarray(kept, dtype=np.float64), part.length)
        total += per[part.which] * part.times
    return total


def distinct(shapes: ShapeColumns, names: tuple[str, ...]) -> tuple[ShapeColumns, Ints]:
    """Return the shapes that differ in these columns, each once, and which of them each shape is."""
    key = np.zeros(len(shapes), dtype=np.int64)
    for name in names:
        values, index = np.unique(getattr(shapes, name), return_inverse=True)
        key = key * len(values) + index.reshape(-1)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return shapes.take(first), which.reshape(-1)


def _kinds(base: DecoderShape, most: int) -> list[tuple[int, Ints]]:
    """Return one layer's number of each kind of block, and how many of it the first 0, 1, ... `most` layers have."""
    kinds: dict[tuple[bool, bool], int] = {}
    of = []
    for number in range(most):
        dense = base.experts is None or number < base.experts.dense_layers
        key = (dense, bool(base.window) and number % base.window_every == 0)
        of.append(kinds.setdefault(key, number))
    return [
        (number, np.concatenate([[0], np.cumsum(np.array(of) == number)]).astype(np.int64)) for number in kinds.values()
    ]
