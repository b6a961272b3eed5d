"""The study on 16-bit GEMMs of newer GPUs: unseen shapes, models and devices, with the product's own parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardplace.cost.gpu.fitting.fit import GEMM_START, fit_every_row
from hardplace.cost.gpu.gemm import gemm_s
from hardplace.cost.gpu.measured import GemmRows, read_gemms
from hardplace.cost.gpu.models import relative_of, shipped
from hardplace.cost.gpu.residual import corrected_s
from hardplace.cost.gpu.transfer import carried_gemm
from hardplace.cost.gpu.types import Datasheet, GemmParameters, Trees
from hardplace.cost.learned.fitting.boosting import booster
from hardplace.cost.learned.judge import PredictorScore, kendall_tau, mean_interval
from hardplace.cost.learned.study.types import StudySplit
from hardplace.errors import BadInput
from hardplace.files import read_text
from hardplace.ndtypes import Bools, Floats

_TRAINED_ON = ("a100-80gb-sxm", "h100-sxm")
_UNSEEN = ("b200-sxm", "l40s", "t4", "mi210")
_WIDTHS = {"Llama 70B (8192)": 8192, "DeepSeek-V3 (7168)": 7168, "13B models (5120)": 5120}
_DEVICE = "16-bit GEMMs: unseen device"
_ITERATIONS, _LEAVES = 600, 31


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """GEMMs of one device."""

    sheet: Datasheet
    rows: GemmRows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitted:
    """Figures and trees of the training devices, and the learned model of both."""

    figures: Mapping[str, tuple[Datasheet, GemmParameters, Trees | None]]
    learned: Any


def gemm_splits(folder: Path) -> Iterator[StudySplit]:
    """Yield the scores on each split; folder: validation/gpu."""
    seen = {name: _read(folder, name) for name in _TRAINED_ON}
    quarter = {name: _quarter(of.rows) for name, of in seen.items()}
    fitted = _fit({name: _take(of, ~quarter[name]) for name, of in seen.items()})
    for name, of in seen.items():
        yield _judged("16-bit GEMMs: unseen shapes", name, _take(of, quarter[name]), fitted)
    for title, width in _WIDTHS.items():
        inside = {name: (of.rows.shapes.n == width) | (of.rows.shapes.k == width) for name, of in seen.items()}
        fitted = _fit({name: _take(of, ~inside[name]) for name, of in seen.items()})
        for name, of in seen.items():
            yield _judged("16-bit GEMMs: unseen models", f"{title}, {name}", _take(of, inside[name]), fitted)
    for source, other in (_TRAINED_ON, _TRAINED_ON[::-1]):  # which decides what ships for an unseen device
        yield _judged(f"{_DEVICE}, calibration", f"{other}, by {source}", seen[other], _fit({source: seen[source]}))
    fitted = _fit(seen)
    for name in _UNSEEN:
        yield _judged(_DEVICE, name, _read(folder, name), fitted)


def _read(folder: Path, name: str) -> _Measured:
    paths = [path for path in (folder / f"gemm_{name}.csv.gz", folder / f"gemm_{name}.csv") if path.is_file()]
    rows = read_gemms([(str(paths[0]), read_text(paths[0]))]) if paths else None
    if rows is None:
        raise BadInput(str(folder / f"gemm_{name}.csv.gz"), None, "the GEMMs of validation/gpu")
    return _Measured(sheet=shipped(name).datasheet, rows=rows)


def _take(of: _Measured, chosen: Bools) -> _Measured:
    return _Measured(sheet=of.sheet, rows=of.rows.take(np.flatnonzero(chosen)))


def _quarter(rows: GemmRows) -> Bools:
    """Return a quarter of the (n, k) pairs: drawn by pair, so that no pair is on both sides."""
    keys = rows.shapes.n * 2**21 + rows.shapes.k
    pairs = np.unique(keys)
    drawn = np.random.default_rng(0).permutation(pairs)[: len(pairs) // 4]
    return np.isin(keys, drawn)


def _fit(parts: Mapping[str, _Measured]) -> _Fitted:
    figures = {}
    for name, of in parts.items():
        figures[name] = (of.sheet, *fit_every_row(of.sheet, of.rows, GEMM_START))
    columns = np.concatenate([_columns(of) for of in parts.values()])
    target = np.log(np.concatenate([of.rows.time_s for of in parts.values()]))
    return _Fitted(figures=figures, learned=booster(_ITERATIONS, _LEAVES).fit(columns, target))


def _columns(of: _Measured) -> Floats:
    """Return features: sizes, FLOPs, bytes, what the sheet says, and the roofline's parts."""
    m, n, k = (np.asarray(one, dtype=np.float64) for one in (of.rows.shapes.m, of.rows.shapes.n, of.rows.shapes.k))
    sheet, flops, moved = of.sheet, 2 * m * n * k, 2 * (m * n + m * k + n * k)
    peak, bandwidth = sheet.tensor_flops_per_s, sheet.memory_bandwidth_bytes_per_s
    columns = [m, n, k, m * n, flops, moved, flops / peak, moved / bandwidth]
    columns += [np.full_like(m, one) for one in (peak, bandwidth, sheet.multiprocessors, sheet.l2_bytes, sheet.power_w)]
    return np.log2(np.stack(columns, axis=1))


def _judged(question: str, split: str, of: _Measured, fitted: _Fitted) -> StudySplit:
    name = of.sheet.name
    source = name if name in fitted.figures else relative_of(of.sheet, tuple(fitted.figures))
    sheet, figures, trees = fitted.figures[source]
    if source != name:
        figures = carried_gemm(figures, sheet, of.sheet)
    plain = gemm_s(of.rows.shapes, [(of.sheet, figures)])[:, 0]
    times = {
        "equation": plain,
        "with residual": corrected_s(of.rows.shapes, of.sheet, plain, trees) if trees is not None else plain,
        "learned": np.exp(fitted.learned.predict(_columns(of))),
    }
    times["as shipped"] = times["with residual"] if source == name else plain
    return StudySplit(
        question=question,
        split=split,
        rows=len(plain),
        scores=tuple(_score(key, t, of.rows) for key, t in times.items()),
    )


def _score(predictor: str, predicted_s: Floats, rows: GemmRows) -> PredictorScore:
    error = np.abs(predicted_s / rows.time_s - 1.0)
    low, high = mean_interval(error, list(zip(rows.shapes.n.tolist(), rows.shapes.k.tolist(), strict=True)))
    return PredictorScore(
        predictor=predictor, rows=len(error), mape=float(error.mean()), low=low, high=high,
        tau=kendall_tau(predicted_s, rows.time_s),
    )  # fmt: skip
