"""Rank the shapes of a space on devices: speed-up, band of confidence, memory, what to heed. Read `ranked` first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cost.columns import kernels_s
from hardplace.cost.gpu.decoder import DecoderShape
from hardplace.cost.gpu.work import Attending, Exchange, Moved, Product, Work
from hardplace.cost.types import Floats, Ints
from hardplace.errors import BadInput
from hardplace.search.shapes.price import parts, saved_bytes, step_s
from hardplace.search.shapes.sources import Model, Target
from hardplace.search.shapes.space import ASPECT, space
from hardplace.search.shapes.types import (
    FIELDS,
    Alternative,
    Conditions,
    OnDevice,
    Ranking,
    Shapes,
    Tier,
    columns,
)

TOP = 10
# Half width of the band over the mean absolute error: two standard deviations, of 1.2533 mean absolute errors each.
BAND = 2.0 * 1.2533
_STATE_BYTES = 2 + 4 + 12  # of a parameter: weight, gradient in fp32, AdamW's fp32 weight and moments
_LABELS = {"ffn": "MLP", "vocab": "vocabulary", "kv_heads": "KV heads", "head_dim": "head dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What shapes are searched: share of the parameters they may differ by, fields that stay, values of others."""

    share: float
    frozen: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[int, ...]] | None = None
    top: int = TOP


def ranked(model: Model, targets: Sequence[Target], conditions: Conditions, asked: Asked) -> Ranking:
    """Return the alternatives to a model's shape, best first by the least speed-up per parameter over the devices.

    Raises BadInput for a model that is no dense decoder, and where nothing is within the budget.
    """
    shape = dense(model)
    found = space(shape, conditions, max(one.quantum for one in targets), asked.share, asked.frozen, asked.ranges)
    seconds = np.stack([step_s(found.shapes, conditions, one.timer) for one in targets])
    counts = found.parameters.astype(np.float64)
    raw = seconds[:, :1] / seconds
    least = (raw * counts / counts[0]).min(axis=0)
    order = np.argsort(-least, kind="stable")
    safe = _families(found.shapes, order[found.safe[order] & (order != 0)], asked.top)
    reshaped = _families(found.shapes, order[~found.safe[order]], asked.top)

    def alternative(row: int) -> Alternative:
        return _alternative(found.shapes.at(row), shape, int(counts[row]), int(counts[0]), seconds[:, row],
                            seconds[:, 0], targets, conditions, safe=bool(found.safe[row]))  # fmt: skip

    listed = {row: alternative(row) for row in (0, *safe, *reshaped)}
    best = max(listed, key=lambda row: least[row])
    return Ranking(
        model=model.name,
        shape=shape,
        parameters=int(counts[0]),
        budget=(counts[0] * (1 - asked.share), counts[0] * (1 + asked.share)),
        conditions=conditions,
        candidates=len(found.shapes),
        indivisible=found.indivisible,
        best=listed[best],
        safe=tuple(listed[row] for row in safe),
        reshaped=tuple(listed[row] for row in reshaped),
        base=listed[0],
        notes=tuple(dict.fromkeys(note for one in targets for note in one.notes)),
    )


def dense(model: Model) -> DecoderShape:
    """Return the shape of a dense decoder; BadInput, one line, for anything else."""
    shape = model.shape
    if shape is None:
        kinds = "expected a decoder of equal layers (Llama, GPT, Mistral, Qwen and alike)"
        raise BadInput(f"{model.name}: {kinds}: shapes of other models are not searched")
    if shape.experts is not None:
        raise BadInput(f"{model.name}: a mixture of experts: expected a dense decoder (hardplace audit takes it)")
    return shape


def _families(shapes: Shapes, order: Ints, top: int) -> list[int]:
    """Return the first of each depth, width and kind of heads, at most `top`: neighbours in the MLP are much alike."""
    seen: dict[tuple[int, ...], int] = {}
    for row in order.tolist():
        key = tuple(int(getattr(shapes, name)[row]) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim"))
        seen.setdefault(key, row)
        if len(seen) == top:
            break
    return list(seen.values())


def _alternative(
    shape: DecoderShape,
    base: DecoderShape,
    parameters: int,
    base_parameters: int,
    seconds: Floats,
    base_s: Floats,
    targets: Sequence[Target],
    conditions: Conditions,
    *,
    safe: bool,
) -> Alternative:
    ranks = conditions.tensor * conditions.pipeline
    on = []
    for target, one_s, from_s in zip(targets, seconds.tolist(), base_s.tolist(), strict=True):
        on.append(
            OnDevice(
                device=target.name,
                step_s=one_s,
                speedup=from_s / one_s,
                per_parameter=from_s / one_s * parameters / base_parameters,
                band=band(base, shape, conditions, target),
            )
        )
    return Alternative(
        shape=shape,
        tier=Tier.SAFE if safe else Tier.RESHAPED,
        changes=_changes(base, shape),
        parameters=parameters,
        state_bytes=_STATE_BYTES * parameters / ranks,
        saved_bytes=float(saved_bytes(columns([shape]), conditions)[0]) / conditions.pipeline,
        divides=divides(shape),
        risks=_risks(base, shape),
        devices=tuple(on),
    )


def band(base: DecoderShape, shape: DecoderShape, conditions: Conditions, target: Target) -> float:
    """Return the half width of the band of ln(time of base / time of shape), two standard deviations.

    Errors of distinct kernels are taken as independent, with the device's mean error for their kind: a kernel counts
    by how much its share of the step changes, so what both shapes have alike cancels (docs/model-shape.md, "Band").
    """
    shares: dict[Work, list[float]] = {}
    for place, one in enumerate((base, shape)):
        found = _kernel_seconds(one, conditions, target)
        total = sum(found.values())
        for work, seconds in found.items():
            shares.setdefault(work, [0.0, 0.0])[place] += seconds / total
    errors = {Product: target.product_error, Attending: target.attention_error}
    variance = sum(
        (errors.get(type(work), target.stream_error) * (after - before)) ** 2
        for work, (before, after) in shares.items()
    )
    return float(BAND * np.sqrt(variance))


def _kernel_seconds(shape: DecoderShape, conditions: Conditions, target: Target) -> dict[Work, float]:
    """Return the seconds of each distinct kernel of a step; what only moves bytes is one kernel for each kind of
    stream, as its bytes are right and its rate is what is uncertain."""
    found: dict[Work, float] = {}
    for part in parts(columns([shape]), conditions.degrees):
        works = (*part.work.forward, *part.work.again, *part.work.backward)
        for work, seconds in zip(works, kernels_s(works, target.timer, 1)[:, 0].tolist(), strict=True):
            one = _plain(work)
            found[one] = found.get(one, 0.0) + seconds * int(part.times[0])
    return found


def _plain(work: Work) -> Work:
    """Return work with whole numbers for columns of one."""

    def one(value: object) -> int:
        return int(np.asarray(value).reshape(-1)[0])

    match work:
        case Product():
            return Product(m=one(work.m), n=one(work.n), k=one(work.k), batch=work.batch, layout=work.layout,
                           output_bytes=work.output_bytes, low=work.low)  # fmt: skip
        case Attending():
            return Attending(batch=work.batch, heads=one(work.heads), kv_heads=one(work.kv_heads),
                             queries=work.queries, keys=work.keys, head_dim=one(work.head_dim), causal=work.causal,
                             backward=work.backward, window=work.window)  # fmt: skip
        case Moved():
            return Moved(kind=work.kind, bytes=0.0)
        case Exchange():
            return Exchange(collective=work.collective, bytes=0.0, group=work.group)


def _changes(base: DecoderShape, shape: DecoderShape) -> tuple[str, ...]:
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


def _risks(base: DecoderShape, shape: DecoderShape) -> tuple[str, ...]:
    """Return what a change may cost in quality, which nothing here predicts."""
    found = []
    aspect = (shape.hidden / shape.layers) / (base.hidden / base.layers)
    if shape.layers < base.layers:
        found.append(f"{1 - shape.layers / base.layers:.0%} fewer layers: quality may suffer")
    if aspect > 1.25 or aspect < 0.8:
        found.append(f"{aspect:.2f} times the width a layer (at most {ASPECT:g}): train a small pair first")
    if shape.heads / shape.kv_heads > base.heads / base.kv_heads:
        found.append("more queries share keys: quality may suffer")
    if shape.heads < base.heads and shape.hidden == base.hidden:
        found.append(f"{shape.heads} heads for {base.heads}: little or no effect in published ablations; check")
    mlp = (shape.ffn / shape.hidden) / (base.ffn / base.hidden)
    if not 0.9 <= mlp <= 1.1:
        found.append(f"MLP {mlp:.2f} times as wide for its hidden size")
    if shape.vocab > base.vocab:
        found.append("rows of the vocabulary that no token uses: mask them in the loss")
    return tuple(found)
