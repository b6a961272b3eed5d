"""The shapes of a stated space whose parameters are within a budget (docs/model-shape.md, "Space").

Every field runs over a closed set; the width of the MLP, in which parameters are linear, over what the budget leaves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from hardplace.errors import BadInput, unknown
from hardplace.ndtypes import Ints
from hardplace.shaping.price import parameter_counts
from hardplace.shaping.types import FIELDS, ShapeColumns, StepConditions, columns
from hardplace.units import percent
from hardplace.workload.decoder import DecoderShape

ASPECT = 1.5  # hidden / layers may be at most so many times the model's, or the model's so many times it
_DEPTH, _WIDTH = 0.5, 0.4  # share by which layers and hidden size may differ
_MLP = 1.25  # ratio either way by which ffn / hidden may differ
_PADDED = 0.03  # share by which the safe tier pads the MLP
_HEAD_DIMS = (64, 80, 96, 128, 160, 192, 256)
_PADS = (1, 8, 64, 128, 256)
_MOST_SKELETONS = 2_000_000
_LARGEST = 300_000  # candidates: beyond, the MLP is taken in coarser steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSpace:
    """The shapes of a space within the budget of parameters, in columns.

    Attributes:
        shapes: The shapes, the first of them the model's own.
        parameters: Parameters of each.
        trained: The same without the rows that pad the vocabulary.
        safe: Whether each is of the tier that keeps depth and width.
        indivisible: Number of shapes left out because a degree does not divide them.
        mlp_step: Step of the MLP width.
        unmade: Number of shapes left out because no recording has them (joint search).
    """

    shapes: ShapeColumns
    parameters: Ints
    trained: Ints
    safe: np.ndarray
    indivisible: int
    mlp_step: int
    unmade: int = 0


def space(
    shape: DecoderShape,
    conditions: StepConditions,
    quantum: int,
    share: float,
    frozen: Sequence[str] = (),
    ranges: Mapping[str, tuple[int, ...]] | None = None,
) -> ShapeSpace:
    """Return the shapes within a relative difference of the model's parameters.

    Args:
        shape: The model's own shape.
        conditions: Conditions in which shapes run.
        quantum: What widths are multiples of.
        share: Relative difference of the parameters.
        frozen: Fields that stay.
        ranges: Values of fields that replace the default ones.

    Raises:
        BadInput: With the nearest reachable number of parameters, where no shape is within the budget.
    """
    _check_own(shape, conditions)
    asked = ranges or {}
    values = _values(shape, conditions, quantum, frozen, asked)
    free = not ({*frozen, *asked} >= {"heads", "head_dim"})
    wanted = int(parameter_counts(columns([shape]))[0])
    skeletons, dropped = _skeletons(shape, values, conditions, bounded="hidden" not in asked, whole=free)
    step = max(quantum, 64) * conditions.tensor
    found = skeletons
    if len(skeletons):
        found, step = _filled(shape, skeletons, values, (wanted, share), step)
    safe = _safe(shape, values, conditions, frozen, asked)
    joined = _joined(columns([shape]), safe, found)
    counts = parameter_counts(joined)
    kept = np.abs(counts / wanted - 1.0) <= share
    kept[0] = True
    if not kept[1:].any():
        raise _impossible(shape, skeletons, values, wanted, share, frozen)
    shapes = joined.take(kept)
    plain = replace(shapes, vocab=np.full(len(shapes), shape.vocab, dtype=np.int64))
    return ShapeSpace(
        shapes=shapes,
        parameters=counts[kept],
        trained=parameter_counts(plain),
        safe=_is_safe(shape, shapes),
        indivisible=dropped,
        mlp_step=step,
    )


def _values(
    shape: DecoderShape,
    conditions: StepConditions,
    quantum: int,
    frozen: Sequence[str],
    ranges: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Return the values of each field: frozen, as asked for, or a default set about the model's own."""
    for name in frozen:
        if name not in FIELDS:
            raise unknown("field", name, FIELDS)
        if name in ranges:
            raise BadInput("freeze", name, "no range of the same field")
    step = max(quantum, 64)
    pads = sorted({*_PADS, quantum, 64 * conditions.tensor})
    defaults = {
        "layers": tuple(range(math.ceil(shape.layers * (1 - _DEPTH)), math.floor(shape.layers * (1 + _DEPTH)) + 1)),
        "hidden": _multiples(shape.hidden, _WIDTH, step),
        "head_dim": tuple(sorted({*_HEAD_DIMS, shape.head_dim})),
        "heads": (),  # as many as make up the same share of the hidden size
        "kv_heads": (),  # as many queries a head of keys as the model has, or as many heads
        "ffn": (),  # what the budget leaves
        "vocab": tuple(sorted({-(-shape.vocab // pad) * pad for pad in pads})),
    }
    if min(ranges.get("vocab", (shape.vocab,))) < shape.vocab:
        raise BadInput("ranges", f"vocab: {min(ranges['vocab'])}", f"at least the model's {shape.vocab} (padding only)")
    fixed = {name: (getattr(shape, name),) for name in frozen}
    return defaults | fixed | dict(ranges)


def _multiples(size: int, share: float, step: int) -> tuple[int, ...]:
    first, last = math.ceil(size * (1 - share) / step), math.floor(size * (1 + share) / step)
    return tuple(sorted({*(step * number for number in range(first, last + 1)), size}))


def _skeletons(
    shape: DecoderShape,
    values: Mapping[str, tuple[int, ...]],
    conditions: StepConditions,
    *,
    bounded: bool,
    whole: bool,
) -> tuple[ShapeColumns, int]:
    """Return all but the width of the MLP, which is 1, and how many were left out because a degree divides them not.

    bounded: the aspect ratio is held within ASPECT of the model's. whole: the heads make up the same share of the
    hidden size.
    """
    if (
        math.prod(len(values[name]) for name in ("layers", "hidden", "head_dim", "heads") if values[name])
        > _MOST_SKELETONS
    ):
        raise BadInput("ranges", None, f"at most {_MOST_SKELETONS} combinations of layers, hidden and heads")
    made: list[tuple[int, ...]] = []
    dropped = 0
    share = shape.heads * shape.head_dim / shape.hidden
    for layers, hidden, width in product(values["layers"], values["hidden"], values["head_dim"]):
        aspect = hidden / layers / (shape.hidden / shape.layers)
        if bounded and not 1 / ASPECT <= aspect <= ASPECT:
            continue
        for heads in values["heads"] or (round(share * hidden / width),):
            if heads < 1 or (whole and heads * width != round(share * hidden)):
                continue
            for kv_heads in values["kv_heads"] or _kv_heads(shape, heads):
                if heads % kv_heads:
                    continue
                if not _divides(heads, kv_heads, layers, conditions):
                    dropped += 1
                    continue
                made += [(layers, hidden, heads, kv_heads, width, 1, vocab) for vocab in values["vocab"]]
    table = np.array(made, dtype=np.int64).reshape(-1, len(FIELDS))
    return ShapeColumns(base=shape, **dict(zip(FIELDS, table.T, strict=True))), dropped


def _kv_heads(shape: DecoderShape, heads: int) -> tuple[int, ...]:
    if shape.kv_heads == shape.heads:
        return (heads,)
    group = shape.heads // shape.kv_heads
    return tuple(sorted({one for one in (shape.kv_heads, heads // group) if one and heads % one == 0}))


def _check_own(shape: DecoderShape, conditions: StepConditions) -> None:
    """Raise BadInput where tensor parallelism does not divide the model itself."""
    t = conditions.tensor
    for what, size in (("heads", shape.heads), ("MLP width", shape.ffn)):
        if size % t:
            raise BadInput("tensor", t, f"a divisor of the model's {what}, {size}")
    if shape.kv_heads % t and t % shape.kv_heads:
        raise BadInput("tensor", t, f"a divisor or a multiple of the model's {shape.kv_heads} KV heads")


def _divides(heads: int, kv_heads: int, layers: int, conditions: StepConditions) -> bool:
    t = conditions.tensor
    return heads % t == 0 and (kv_heads % t == 0 or t % kv_heads == 0) and layers % conditions.pipeline == 0


def _filled(
    shape: DecoderShape,
    skeletons: ShapeColumns,
    values: Mapping[str, tuple[int, ...]],
    budget: tuple[int, float],
    step: int,
) -> tuple[ShapeColumns, int]:
    """Return skeletons with every width of the MLP, in steps, that meets the budget and the ratio to hidden; and the
    step, doubled until there are not too many."""
    wanted, share = budget
    one = parameter_counts(skeletons)
    each = (parameter_counts(replace(skeletons, ffn=skeletons.ffn + 1)) - one).astype(np.float64)
    none = one - each
    if values["ffn"]:
        return _chosen(skeletons, values["ffn"], (none, each), budget), 1
    ratio = shape.ffn / shape.hidden
    low = np.maximum((wanted * (1 - share) - none) / each, skeletons.hidden * ratio / _MLP)
    high = np.minimum((wanted * (1 + share) - none) / each, skeletons.hidden * ratio * _MLP)
    while True:
        first, last = np.ceil(low / step).astype(np.int64), np.floor(high / step).astype(np.int64)
        counts = np.maximum(last - first + 1, 0)
        if counts.sum() <= _LARGEST:
            break
        step *= 2
    rows = np.repeat(np.arange(len(skeletons)), counts)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return replace(skeletons.take(rows), ffn=(first[rows] + offsets) * step), step


def _chosen(
    skeletons: ShapeColumns, widths: tuple[int, ...], linear: tuple[np.ndarray, np.ndarray], budget: tuple[int, float]
) -> ShapeColumns:
    """Return skeletons with these widths of the MLP, those within the budget only."""
    none, each = linear
    wanted, share = budget
    taken, ffn = [], []
    for width in widths:
        rows = np.flatnonzero(np.abs((none + each * width) / wanted - 1.0) <= share)
        taken.append(rows)
        ffn.append(np.full(len(rows), width, dtype=np.int64))
    return replace(skeletons.take(np.concatenate(taken)), ffn=np.concatenate(ffn))


def _safe(
    shape: DecoderShape,
    values: Mapping[str, tuple[int, ...]],
    conditions: StepConditions,
    frozen: Sequence[str],
    ranges: Mapping[str, tuple[int, ...]],
) -> ShapeColumns:
    """Return the shapes that keep depth and width: MLP and vocabulary padded, heads split another way."""
    if any(getattr(shape, name) not in values[name] for name in ("layers", "hidden") if values[name]):
        return columns([shape]).take(np.zeros(0, dtype=np.int64))
    t = conditions.tensor
    most = math.floor(shape.ffn * (1 + _PADDED))
    widths = {-(-shape.ffn // pad) * pad for pad in (1, 8, 16, 32, 64, 128, 256, 64 * t)}
    ffns = [one for one in sorted(widths) if one <= most and one % t == 0] or [shape.ffn]
    if "ffn" in frozen or "ffn" in ranges:
        ffns = list(values["ffn"])
    splits = [
        (shape.heads * shape.head_dim // width, shape.kv_heads * shape.head_dim // width, width)
        for width in values["head_dim"]
        if not shape.heads * shape.head_dim % width and not shape.kv_heads * shape.head_dim % width
    ]
    made = [
        (shape.layers, shape.hidden, heads, kv_heads, width, ffn, vocab)
        for (heads, kv_heads, width), ffn, vocab in product(splits, ffns, values["vocab"])
        if heads % kv_heads == 0
        and _divides(heads, kv_heads, shape.layers, conditions)
        and (not values["heads"] or heads in values["heads"])
        and (not values["kv_heads"] or kv_heads in values["kv_heads"])
    ]
    table = np.array(made, dtype=np.int64).reshape(-1, len(FIELDS))
    return ShapeColumns(base=shape, **dict(zip(FIELDS, table.T, strict=True)))


def _is_safe(shape: DecoderShape, shapes: ShapeColumns) -> np.ndarray:
    """Return which shapes keep depth, width, the projections of attention, and half of the heads at least."""
    same = (
        (2 * shapes.heads >= shape.heads)
        & (shapes.layers == shape.layers)
        & (shapes.hidden == shape.hidden)
        & (shapes.vocab >= shape.vocab)
    )
    for heads, own in ((shapes.heads, shape.heads), (shapes.kv_heads, shape.kv_heads)):
        same &= heads * shapes.head_dim == own * shape.head_dim
    return np.asarray(same & (shapes.ffn >= shape.ffn) & (shapes.ffn <= shape.ffn * (1 + _PADDED)))


def _joined(*parts: ShapeColumns) -> ShapeColumns:
    """Return shapes one after the other, each once, in order of first appearance."""
    table = np.concatenate([np.stack([getattr(part, name) for name in FIELDS], axis=1) for part in parts])
    _, first = np.unique(table, axis=0, return_index=True)
    table = table[np.sort(first)]
    return ShapeColumns(base=parts[0].base, **{name: table[:, place].copy() for place, name in enumerate(FIELDS)})


def _impossible(
    shape: DecoderShape,
    skeletons: ShapeColumns,
    values: Mapping[str, tuple[int, ...]],
    wanted: int,
    share: float,
    frozen: Sequence[str],
) -> BadInput:
    """Return the error that says which number of parameters the fields can reach at all."""
    said = f"params: {percent(share, 3)}: no shape"
    fixed = f" with {', '.join(f'{name} {getattr(shape, name)}' for name in frozen)} frozen" if frozen else ""
    if not len(skeletons):
        return BadInput(f"{said}{fixed}: no heads, layers and widths of these values divide each other and the degrees")
    ratio = shape.ffn / shape.hidden
    ends = [skeletons.hidden * ratio / _MLP, skeletons.hidden * ratio * _MLP]
    if values["ffn"]:
        ends = [np.full(len(skeletons), width) for width in (min(values["ffn"]), max(values["ffn"]))]
    tried = [replace(skeletons, ffn=np.maximum(end, 1.0).astype(np.int64)) for end in ends]
    counts = np.concatenate([parameter_counts(one) for one in tried])
    nearest = int(counts[np.argmin(np.abs(counts - wanted))])
    if abs(nearest / wanted - 1.0) <= share:
        return BadInput(f"{said}{fixed} but the model's own: expected a wider range, or a larger share")
    return BadInput(
        f"{said}{fixed}: the nearest that can be reached has {nearest / 1e9:.3f} B parameters, "
        f"{percent(nearest / wanted - 1.0, 2, sign=True)} of {wanted / 1e9:.3f} B"
    )
