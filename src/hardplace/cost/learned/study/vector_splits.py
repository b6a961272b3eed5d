"""The study on fp32 kernels: unseen shapes, far shapes, unseen kinds of kernels, an unseen device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hardplace.cost.learned.features import features
from hardplace.cost.learned.fitting.boosting import booster
from hardplace.cost.learned.fitting.fit_vector import (
    far_and_near,
    fit_vector_model,
)
from hardplace.cost.learned.judge import score
from hardplace.cost.learned.measured import MeasuredKernels
from hardplace.cost.learned.packed import trees_sum
from hardplace.cost.learned.predict import LIMIT, equation_s, vector_times
from hardplace.cost.learned.study.types import StudySplit
from hardplace.cost.learned.types import FAMILIES, PRODUCTS, VectorModel, VectorSheet
from hardplace.ndtypes import Floats

_ITERATIONS, _LEAVES = 600, 31
Sheets = Mapping[str, VectorSheet]
EQUATION, RESIDUAL, LEARNED, SHIPPED = "equation", "with residual", "learned", "as shipped"


class Learned:
    """A purely learned model: log time from logarithms of sizes and of what the sheet says, all families at once."""

    def __init__(self, rows: MeasuredKernels, sheets: Sheets) -> None:
        self.trained = booster(_ITERATIONS, _LEAVES).fit(learned_columns(rows, sheets), np.log(rows.time_s))

    def seconds(self, rows: MeasuredKernels, sheets: Sheets) -> Floats:
        """Return predicted seconds."""
        return np.asarray(np.exp(self.trained.predict(learned_columns(rows, sheets))))


def learned_columns(rows: MeasuredKernels, sheets: Sheets) -> Floats:
    """Return features of kernels of any family: sizes, FLOPs, bytes, the sheet, one column for each family."""
    of = rows.kernels
    sizes = [np.log2(np.asarray(one, dtype=np.float64)) for one in (of.b, of.m, of.n, of.k, of.h)]
    b, m, n, k, h = (np.exp2(one) for one in sizes)
    known = {op: family for family, names in FAMILIES.items() for op in names}
    family = np.array([known[op] for op in of.op])
    product = np.isin(family, PRODUCTS)
    flops = np.where(product, 2 * b * m * n * k, b * h)
    moved = np.where(product, 4 * b * (m * n + m * k + n * k), 4 * b * h * of.operands)
    sheet = [sheets[name] for name in rows.device]
    peak = np.array([one.fp32_flops_per_s for one in sheet])
    bandwidth = np.array([one.memory_bandwidth_bytes_per_s for one in sheet])
    columns = [*sizes, np.log2(flops), np.log2(moved), np.log2(peak), np.log2(bandwidth)]
    columns += [np.log2([one.multiprocessors for one in sheet]), np.log2([one.l2_bytes for one in sheet])]
    columns += [np.log2(flops / peak), np.log2(moved / bandwidth)]
    return np.stack([*columns, *((family == name).astype(np.float64) for name in FAMILIES)], axis=1)


def unseen_shapes(
    train: MeasuredKernels, test: MeasuredKernels, sheets: Sheets, model: VectorModel
) -> Iterator[StudySplit]:
    """Yield scores on shapes not fitted, on devices that were: the published test shapes; then far and near ones."""
    learned = Learned(train, sheets)
    for family in FAMILIES:
        of = test.of(family)
        of = of.take(np.isin(np.array(of.device), list(model.sheets)))
        yield _judged("unseen shapes, measured devices", family, of, sheets, model, learned)
    far_mask = np.zeros(len(train.time_s), dtype=bool)
    keys = np.array([f"{device} {op}" for device, op in zip(train.device, train.kernels.op, strict=True)])
    for key in np.unique(keys):
        index = np.flatnonzero(keys == key)
        far_mask[index[far_and_near(train.take(index))[0]]] = True
    seen = train.take(~far_mask)
    refitted, relearned = fit_vector_model(seen, sheets, "study"), Learned(seen, sheets)
    for family in FAMILIES:
        of = train.take(far_mask).of(family)
        yield _judged("shapes with more work than any fitted", family, of, sheets, refitted, relearned)


def unseen_kinds(
    train: MeasuredKernels, test: MeasuredKernels, sheets: Sheets, model: VectorModel
) -> Iterator[StudySplit]:
    """Yield scores on kinds of kernels that were not fitted: the equation takes the figures of the nearest kind."""
    relatives = {"bmm": "linear", "linear": "bmm", "softmax": "elementwise", "layer_norm": "elementwise"}
    for family, other in relatives.items():
        kept = np.ones(len(train.time_s), dtype=bool)
        kept[np.isin(np.array(train.kernels.op), FAMILIES[family])] = False
        learned = Learned(train.take(kept), sheets)
        of = test.of(family)
        of = of.take(np.isin(np.array(of.device), list(model.families[other].devices)))
        parts = [of.of(family, name) for name in of.devices]
        together = _joined(parts)
        plain, corrected = [], []
        for part in parts:
            sheet, figures = sheets[part.device[0]], model.families[other]
            seconds = equation_s(part.kernels, sheet, dict(figures.devices[sheet.name]), other)
            columns = features(part.kernels, sheet, seconds, other)
            change = np.clip(trees_sum(figures.residual[sheet.name], columns), -LIMIT, LIMIT)
            plain.append(seconds)
            corrected.append(seconds * np.exp(change))
        times = {
            EQUATION: np.concatenate(plain),
            RESIDUAL: np.concatenate(corrected),
            LEARNED: learned.seconds(together, sheets),
        }
        yield StudySplit(
            question="unseen kinds of kernels", split=f"{family}, by {other}", rows=len(together.time_s),
            scores=tuple(score(name, seconds, together) for name, seconds in times.items()),
        )  # fmt: skip
    fresh = ("addu", "divu", "mul", "mulu", "powu", "relu")
    of = test.take(np.isin(np.array(test.kernels.op), fresh) & np.isin(np.array(test.device), list(model.sheets)))
    yield _judged("unseen kinds of kernels", "elementwise", of, sheets, model, Learned(train, sheets))


def unseen_device(train: MeasuredKernels, test: MeasuredKernels, sheets: Sheets) -> Iterator[StudySplit]:
    """Yield scores on each device left out of the fit, and on those that have test rows only."""
    learned = Learned(train, sheets)
    full = fit_vector_model(train, sheets, "study")
    for family in FAMILIES:
        of = test.of(family)
        of = of.take(~np.isin(np.array(of.device), train.devices))
        if len(of.time_s):
            device = ", ".join(of.devices)
            yield _judged("unseen device", f"{family}, {device}", of, sheets, full, learned)
    for left in train.devices:
        rest = train.take(np.array(train.device) != left)
        model, other = fit_vector_model(rest, sheets, "study"), Learned(rest, sheets)
        for family in FAMILIES:
            of = test.of(family, left)
            yield _judged("unseen device", f"{family}, {left}", of, sheets, model, other)


def _judged(
    question: str, split: str, rows: MeasuredKernels, sheets: Sheets, model: VectorModel, learned: Learned
) -> StudySplit:
    """Return the scores of equation, equation with residual, what ships, and the learned model."""
    family = split.split(",")[0]
    parts = [rows.of(family, name) for name in rows.devices]
    together = _joined(parts)
    plain, corrected, shipped = [], [], []
    for part in parts:
        sheet = sheets[part.device[0]]
        times = vector_times(part.kernels, sheet, family, model)
        forced = vector_times(part.kernels, sheet, family, _far_reaching(model))
        plain.append(times.equation_s)
        corrected.append(forced.seconds)
        shipped.append(times.seconds)
    times_s = {
        EQUATION: np.concatenate(plain),
        RESIDUAL: np.concatenate(corrected),
        LEARNED: learned.seconds(together, sheets),
        SHIPPED: np.concatenate(shipped),
    }
    return StudySplit(
        question=question, split=split, rows=len(together.time_s),
        scores=tuple(score(name, seconds, together) for name, seconds in times_s.items()),
    )  # fmt: skip


def _far_reaching(model: VectorModel) -> VectorModel:
    """Return the model with residuals however far a device is."""
    return VectorModel(
        families=model.families, sheets=model.sheets, reach=float("inf"), width=model.width, source=model.source
    )


def _joined(parts: list[MeasuredKernels]) -> MeasuredKernels:
    from dataclasses import fields

    from hardplace.cost.learned.types import VectorKernels

    names = [field.name for field in fields(VectorKernels)][1:]
    return MeasuredKernels(
        kernels=VectorKernels(
            op=tuple(op for part in parts for op in part.kernels.op),
            **{name: np.concatenate([getattr(part.kernels, name) for part in parts]) for name in names},
        ),
        device=tuple(device for part in parts for device in part.device),
        split=tuple(split for part in parts for split in part.split),
        time_s=np.concatenate([part.time_s for part in parts]),
    )
