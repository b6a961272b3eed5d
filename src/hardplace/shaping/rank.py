"""Rank the shapes of a space on devices: speed-up, band of confidence, memory, what to heed. Read `ranked` first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.layers.timer import kernels_s
from hardplace.cost.layers.types import Layout
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork, Work
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats, Ints
from hardplace.shaping.price import STATE_BYTES, parts, saved_bytes, step_s
from hardplace.shaping.sources import PricedDevice, ShapeSource
from hardplace.shaping.space import ShapeSpace, space
from hardplace.shaping.types import (
    FIELDS,
    Alternative,
    OnDevice,
    Ranking,
    ShapeColumns,
    StepConditions,
    Tier,
)
from hardplace.units import percent
from hardplace.workload.decoder import DecoderShape

TOP = 10
# Half width of the band over the mean absolute error: two standard deviations, of 1.2533 mean absolute errors each.
BAND = 2.0 * 1.2533
_LABELS = {"ffn": "MLP", "vocab": "vocabulary", "kv_heads": "KV heads", "head_dim": "head dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeQuery:
    """What shapes are searched.

    Attributes:
        share: Relative difference of the number of parameters.
        frozen: Fields that stay.
        ranges: Values of other fields.
        top: Alternatives of each tier.
    """

    share: float
    frozen: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[int, ...]] | None = None
    top: int = TOP


def ranked(
    model: ShapeSource, targets: Sequence[PricedDevice], conditions: StepConditions, asked: ShapeQuery
) -> Ranking:
    """Rank the alternatives to a model's shape, best first by the least speed-up per parameter over the devices.

    Args:
        model: The model, as a shape.
        targets: The devices, with what prices shapes on them.
        conditions: Conditions in which shapes run.
        asked: What shapes are searched.

    Raises:
        BadInput: For a model that is no dense decoder, and where nothing is within the budget.
    """
    shape = dense(model)
    found = space(shape, conditions, max(one.quantum for one in targets), asked.share, asked.frozen, asked.ranges)
    seconds = np.stack([step_s(found.shapes, conditions, one.timer) for one in targets])
    counts, trained = found.parameters, found.trained
    least = (seconds[:, :1] / seconds * trained / trained[0]).min(axis=0)
    order = np.argsort(-least, kind="stable")
    faster = order[least[order] > 1.0]
    safe = _families(found.shapes, faster[found.safe[faster]], asked.top)
    reshaped = _families(found.shapes, faster[~found.safe[faster]], asked.top)
    rows = np.array([0, *safe, *reshaped], dtype=np.int64)
    few = replace(
        found, shapes=found.shapes.take(rows), parameters=counts[rows], trained=trained[rows], safe=found.safe[rows]
    )
    listed = _alternatives(few, seconds[:, rows], targets, conditions)
    split = 1 + len(safe)
    return Ranking(
        model=model.name,
        shape=shape,
        parameters=int(counts[0]),
        budget=(float(counts[0] * (1 - asked.share)), float(counts[0] * (1 + asked.share))),
        conditions=conditions,
        candidates=len(found.shapes),
        indivisible=found.indivisible,
        mlp_step=found.mlp_step,
        safe=listed[1:split],
        reshaped=listed[split:],
        base=listed[0],
        notes=tuple(dict.fromkeys(note for one in targets for note in one.notes)),
    )


def dense(model: ShapeSource) -> DecoderShape:
    """Return the shape of a dense decoder; BadInput, one line, for anything else."""
    shape = model.shape
    if shape is None:
        kinds = "expected a decoder of equal layers (Llama, GPT, Mistral, Qwen and alike)"
        raise BadInput(f"{model.name}: {kinds}: shapes of other models are not searched")
    if shape.experts is not None:
        raise BadInput(f"{model.name}: a mixture of experts: expected a dense decoder (hardplace audit takes it)")
    return shape


def _families(shapes: ShapeColumns, order: Ints, top: int) -> list[int]:
    """Return the first of each depth, width and kind of heads, at most `top`: neighbours in the MLP are much alike."""
    seen: dict[tuple[int, ...], int] = {}
    for row in order.tolist():
        key = tuple(int(getattr(shapes, name)[row]) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim"))
        seen.setdefault(key, row)
        if len(seen) == top:
            break
    return list(seen.values())


def _alternatives(
    found: ShapeSpace, seconds: Floats, targets: Sequence[PricedDevice], conditions: StepConditions
) -> tuple[Alternative, ...]:
    """Return shapes, the model's own first, beside it; seconds: of a step, shape (devices, shapes)."""
    shapes, counts, trained = found.shapes, found.parameters, found.trained
    kept = saved_bytes(shapes, conditions)
    bands = [bands_of(shapes, conditions, target) for target in targets]
    base, ranks = shapes.at(0), conditions.tensor * conditions.pipeline

    def on(row: int) -> tuple[OnDevice, ...]:
        return tuple(
            OnDevice(
                device=target.name,
                step_s=float(times[row]),
                speedup=float(times[0] / times[row]),
                per_parameter=float(times[0] / times[row] * trained[row] / trained[0]),
                band=float(band[row]),
            )
            for target, times, band in zip(targets, seconds, bands, strict=True)
        )

    return tuple(
        Alternative(
            shape=shapes.at(row),
            tier=Tier.SAFE if found.safe[row] else Tier.RESHAPED,
            changes=changes_of(base, shapes.at(row)),
            parameters=int(counts[row]),
            state_bytes=STATE_BYTES * float(counts[row]) / ranks,
            saved_bytes=float(kept[row]) / conditions.pipeline,
            divides=divides(shapes.at(row)),
            risks=risks_of(base, shapes.at(row)),
            devices=on(row),
        )
        for row in range(len(shapes))
    )


def bands_of(shapes: ShapeColumns, conditions: StepConditions, target: PricedDevice) -> Floats:
    """Return the half width of the band of ln(time of the first shape / time of each), shape (shapes,).

    Errors of distinct kernels are taken as independent, with the device's mean error for their kind: a kernel counts
    by how much its share of the step changes, so what both shapes have alike cancels (docs/model-shape.md, "Band").
    """
    shares = _shares(shapes, conditions, target)
    found = []
    for one in shares:
        gaps = ((kernel, one.get(kernel, 0.0) - shares[0].get(kernel, 0.0)) for kernel in {**one, **shares[0]})
        found.append(sum((_error(kernel, target) * gap) ** 2 for kernel, gap in gaps))
    return np.asarray(BAND * np.sqrt(found))


# Products (with the largest power of two that divides them, at most 32) and attention by their sizes; others by kind,
# whose rate is what is uncertain.
Kernel = tuple[type[Work], int, object]
_ALIGNED = 32


def _error(kernel: Kernel, target: PricedDevice) -> float:
    """Return the mean relative error to expect of a kernel."""
    kind, divisor, _ = kernel
    if kind is GemmWork:
        return target.product_error if divisor == _ALIGNED else target.unaligned_error
    return target.attention_error if kind is AttentionWork else target.stream_error


def _shares(shapes: ShapeColumns, conditions: StepConditions, target: PricedDevice) -> list[dict[Kernel, float]]:
    """Return the share of the step of each distinct kernel of each shape."""
    found: list[dict[Kernel, float]] = [{} for _ in range(len(shapes))]
    for part in parts(shapes, conditions.degrees):
        works = (*part.work.forward, *part.work.again, *part.work.backward)
        for work, seconds in zip(works, kernels_s(works, target.timer, part.length), strict=True):
            keys = _keys(work, part.length)
            for shares, which, times in zip(found, part.which.tolist(), part.times.tolist(), strict=True):
                shares[keys[which]] = shares.get(keys[which], 0.0) + float(seconds[which]) * times
    return [{kernel: one / sum(shares.values()) for kernel, one in shares.items()} for shares in found]


def _keys(work: Work, length: int) -> list[Kernel]:
    """Return what tells a kernel apart, of each of the columns."""

    def rows(*sizes: object) -> list[tuple[int, ...]]:
        table = [np.broadcast_to(np.asarray(size), length).tolist() for size in sizes]
        return list(zip(*table, strict=True))

    match work:
        case GemmWork():
            return [
                (GemmWork, _divisor(one, work.layout), (work.layout, work.batch, *one))
                for one in rows(work.m, work.n, work.k)
            ]
        case AttentionWork():
            return [(AttentionWork, 0, (work.backward, *one)) for one in rows(work.heads, work.kv_heads, work.head_dim)]
        case StreamWork():
            return [(StreamWork, 0, work.kind)] * length
    return [(CollectiveWork, 0, work.collective)] * length


def _divisor(sizes: tuple[int, ...], layout: Layout) -> int:
    """Return the largest power of two, at most 32, that divides the leading dimensions of a product."""
    m, n, k = sizes
    bits = (m if layout is Layout.NT else k) | n | _ALIGNED
    return bits & -bits


def changes_of(base: DecoderShape, shape: DecoderShape) -> tuple[str, ...]:
    """Return the fields in which a shape differs, in words."""
    return tuple(
        f"{_LABELS.get(name, name)} {getattr(base, name)} -> {getattr(shape, name)}"
        for name in FIELDS
        if getattr(base, name) != getattr(shape, name)
    )


def divides(shape: DecoderShape) -> str:
    """Return the powers of two of tensor and pipeline parallelism that divide a shape, in words."""
    tensor = [t for t in (1, 2, 4, 8, 16) if shape.heads % t == shape.ffn % t == shape.vocab % t == 0]
    pipeline = [p for p in (1, 2, 4, 8, 16) if shape.layers % p == 0]
    return f"TP {'/'.join(map(str, tensor))}, PP {'/'.join(map(str, pipeline))}"


def risks_of(base: DecoderShape, shape: DecoderShape) -> tuple[str, ...]:
    """Return what a change may cost in quality, which nothing here predicts."""
    found = []
    aspect = (shape.hidden / shape.layers) / (base.hidden / base.layers)
    if shape.layers < base.layers:
        found.append(f"{percent(1 - shape.layers / base.layers, 0)} fewer layers")
    if aspect > 1.25 or aspect < 0.8:
        found.append(f"{aspect:.2f} x width a layer")
    if shape.heads / shape.kv_heads > base.heads / base.kv_heads:
        found.append("more queries share keys")
    if shape.heads < base.heads:
        found.append(f"{shape.heads} heads for {base.heads}")
    mlp = (shape.ffn / shape.hidden) / (base.ffn / base.hidden)
    if not 0.9 <= mlp <= 1.1:
        found.append(f"MLP / hidden {mlp:.2f} x")
    if shape.vocab > base.vocab:
        found.append("mask padded vocabulary")
    return tuple(found)
