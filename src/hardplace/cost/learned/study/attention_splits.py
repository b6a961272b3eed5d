"""The study on attention in 16 bit: one library's kernels on all devices, unseen shapes and devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hardplace.cost.gpu.attention import attention_s
from hardplace.cost.gpu.fitting.fit import attention_figures
from hardplace.cost.gpu.measured import AttentionRows, read_attention
from hardplace.cost.gpu.models import relative_of, shipped
from hardplace.cost.gpu.transfer import carried_attention
from hardplace.cost.gpu.types import AttentionParameters, Datasheet
from hardplace.cost.learned.fitting.boosting import booster
from hardplace.cost.learned.judge import PredictorScore, kendall_tau, mean_interval
from hardplace.cost.learned.study.types import StudySplit
from hardplace.errors import BadInput
from hardplace.files import read_text
from hardplace.ndtypes import Bools, Floats

_BACKEND = "trtllm"  # the only one that was measured on every device
_TRAINED_ON, _UNSEEN = ("a100-80gb-sxm", "h100-sxm"), ("h200-sxm", "b200-sxm", "l40s", "rtx-pro-6000")
_LIMIT = 0.5  # of the residual's logarithm, as of fp32 kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kernels:
    """Attention kernels of one device."""

    sheet: Datasheet
    rows: AttentionRows

    @property
    def keys(self) -> list[tuple[int, ...]]:
        """Return the shape of each row, whatever its batch."""
        rows = self.rows
        return list(
            zip(*(one.tolist() for one in (rows.sequence, rows.heads, rows.kv_heads, rows.head_dim)), strict=True)
        )

    @property
    def columns(self) -> Floats:
        """Return features: sizes, FLOPs, bytes, the roofline's parts, what the sheet says."""
        rows, sheet = self.rows, self.sheet
        batch, length, heads, kv_heads, dim = (
            np.asarray(one, dtype=np.float64)
            for one in (rows.batch, rows.sequence, rows.heads, rows.kv_heads, rows.head_dim)
        )
        flops, moved = 2.0 * batch * heads * length**2 * dim, 4.0 * batch * length * dim * (heads + kv_heads)
        peak, bandwidth = sheet.tensor_flops_per_s, sheet.memory_bandwidth_bytes_per_s
        columns = [batch, length, heads, kv_heads, dim, flops, moved, flops / peak, moved / bandwidth]
        figures = (peak, bandwidth, sheet.multiprocessors, sheet.l2_bytes, sheet.power_w)
        return np.log2(np.stack([*columns, *(np.full_like(batch, one) for one in figures)], axis=1))

    def take(self, chosen: Bools) -> _Kernels:
        """Return some of the rows."""
        return _Kernels(sheet=self.sheet, rows=self.rows.take(np.flatnonzero(chosen)))


def attention_splits(folder: Path) -> Iterator[StudySplit]:
    """Yield the scores on each split; folder: validation/gpu."""
    seen = {name: _read(folder, name) for name in _TRAINED_ON}
    quarter = {name: _quarter(of.keys) for name, of in seen.items()}
    trained = _Trained({name: of.take(~quarter[name]) for name, of in seen.items()})
    for name, of in seen.items():
        yield trained.judged("16-bit attention: unseen shapes", name, of.take(quarter[name]))
    for source, other in (_TRAINED_ON, _TRAINED_ON[::-1]):
        alone = _Trained({source: seen[source]})
        yield alone.judged("16-bit attention: unseen device", f"{other}, by {source}", seen[other])
    trained = _Trained(seen)
    for name in _UNSEEN:
        yield trained.judged("16-bit attention: unseen device", name, _read(folder, name))


class _Trained:
    """The three ways, trained on some devices' kernels."""

    def __init__(self, parts: Mapping[str, _Kernels]):
        """Fit the equation on each device, the residual over it and the learned model on all."""
        self._figures = {name: (of.sheet, attention_figures(of.sheet, of.rows)) for name, of in parts.items()}
        columns = np.concatenate([of.columns for of in parts.values()])
        target = np.log(np.concatenate([of.rows.time_s for of in parts.values()]))
        plain = np.log(np.concatenate([self._equation_s(of) for of in parts.values()]))
        self._residual: Any = booster(150, 8).fit(np.column_stack([columns, plain]), target - plain)
        self._learned: Any = booster(600, 31).fit(columns, target)

    def judged(self, question: str, split: str, of: _Kernels) -> StudySplit:
        """Return the scores on kernels of a device."""
        plain = self._equation_s(of)
        change = self._residual.predict(np.column_stack([of.columns, np.log(plain)]))
        times = {
            "equation": plain,
            "with residual": plain * np.exp(np.clip(change, -_LIMIT, _LIMIT)),
            "learned": np.exp(self._learned.predict(of.columns)),
            "as shipped": plain,
        }
        scores = tuple(_score(key, seconds, of) for key, seconds in times.items())
        return StudySplit(question=question, split=split, rows=len(plain), scores=scores)

    def _equation_s(self, of: _Kernels) -> Floats:
        """Return seconds by the figures of the rows' device, or by those of the nearest fitted one, carried over."""
        name = of.sheet.name
        sheet, figures = self._figures[name if name in self._figures else relative_of(of.sheet, tuple(self._figures))]
        own: AttentionParameters = figures if sheet.name == name else carried_attention(figures, sheet, of.sheet)
        return attention_s(of.rows, of.sheet, own)


def _score(predictor: str, predicted_s: Floats, of: _Kernels) -> PredictorScore:
    error = np.abs(predicted_s / of.rows.time_s - 1.0)
    low, high = mean_interval(error, of.keys)
    return PredictorScore(
        predictor=predictor, rows=len(error), mape=float(error.mean()), low=low, high=high,
        tau=kendall_tau(predicted_s, of.rows.time_s),
    )  # fmt: skip


def _quarter(keys: list[tuple[int, ...]]) -> Bools:
    """Return a quarter of the shapes, drawn by shape, so that none is on both sides."""
    shapes = sorted(set(keys))
    drawn = {shapes[index] for index in np.random.default_rng(0).permutation(len(shapes))[: len(shapes) // 4]}
    return np.array([key in drawn for key in keys])


def _read(folder: Path, name: str) -> _Kernels:
    path = folder / f"attention_{name}.csv.gz"
    if not path.is_file():
        raise BadInput(str(path), None, "the attention kernels of validation/gpu")
    rows = read_attention([(str(path), read_text(path))])
    assert rows is not None
    chosen = (np.array(rows.backend) == _BACKEND) & (rows.causal == 1) & (rows.backward == 0)
    return _Kernels(sheet=shipped(name).datasheet, rows=rows.take(np.flatnonzero(chosen)))
