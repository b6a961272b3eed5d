"""How far a GPU model is from measurements: errors by class of size, with the noise of the measurements beside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.gpu.attention import attention_s, stand_in
from hardplace.cost.gpu.fitting.calibrate import least_s
from hardplace.cost.gpu.fitting.fit import large
from hardplace.cost.gpu.gemm import LAYOUTS, alignment_bits
from hardplace.cost.gpu.measured import AttentionRows, GemmRows
from hardplace.cost.gpu.residual import corrected_gemm_s
from hardplace.cost.gpu.types import GpuModel
from hardplace.errors import BadInput
from hardplace.ndtypes import Bools, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """Errors of one class: |predicted / measured - 1|, mean and worst; bias: median of predicted / measured - 1.

    without_residual: mean error of the model without its learned correction (GEMMs). roofline: mean error of the
    datasheet's roofline (GEMMs). noise: mean spread of the sources where several measured a shape.
    """

    name: str
    rows: int
    mean: float
    worst: float
    bias: float
    noise: float | None
    without_residual: float | None = None
    roofline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTable:
    """Errors on one device; held_out: only shapes that no fit has seen."""

    device: str
    what: str
    held_out: bool
    scale: float
    rows: tuple[ErrorRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferError:
    """Errors of large GEMMs on a GPU with the figures of another one and the GPU's own datasheet, no row measured.

    Attributes:
        device: The GPU.
        of: Whose figures.
        mean: Mean relative error.
        bias: Median of predicted / measured - 1.
        mean_scaled: Mean relative error after one scalar.
    """

    device: str
    of: str
    mean: float
    bias: float
    mean_scaled: float


def gemm_errors(model: GpuModel, rows: GemmRows, *, every_row: bool, scaled: bool = False) -> ErrorTable:
    """Return the errors by class of size, layout and alignment; of held-out (n, k) only, unless every_row.

    scaled: divide out the median ratio (of large GEMMs) first: how well the model ranks shapes on a machine of another
    absolute speed.
    """
    chosen = np.ones(len(rows.time_s), dtype=bool) if every_row else rows.held_out
    if not chosen.any():
        raise BadInput("no row has a held-out (n, k); expected some, or all rows to be taken")
    rows = rows.take(np.flatnonzero(chosen))
    predicted = corrected_gemm_s(rows.shapes, model.datasheet, model.gemm, model.residual)
    plain = corrected_gemm_s(rows.shapes, model.datasheet, model.gemm, None)
    most = large(rows) if large(rows).any() else np.ones(len(predicted), dtype=bool)
    scale = float(np.median(rows.time_s[most] / predicted[most])) if scaled else 1.0
    floor = least_s(rows, model.datasheet)
    found = []
    for name, mask in _gemm_classes(rows):
        if mask.any():
            row = _row(name, predicted[mask] * scale, rows.time_s[mask], rows.spread[mask])
            without = float(np.abs(plain[mask] * scale / rows.time_s[mask] - 1.0).mean())
            bound = float(np.abs(floor[mask] / rows.time_s[mask] - 1.0).mean())
            found.append(replace(row, without_residual=without, roofline=bound))
    return ErrorTable(device=model.datasheet.name, what="gemm", held_out=not every_row, scale=scale, rows=tuple(found))


def _gemm_classes(rows: GemmRows) -> list[tuple[str, Bools]]:
    m, n, k = rows.shapes.m, rows.shapes.n, rows.shapes.k
    bits = alignment_bits(rows.shapes)
    classes: list[tuple[str, Bools]] = [
        ("all", m > 0),
        ("m >= 1024, n and k >= 512", large(rows)),
        ("m >= 1024, n or k < 512", (m >= 1024) & ~((n >= 512) & (k >= 512))),
        ("m 257 to 1023", (m > 256) & (m < 1024)),
        ("m 17 to 256", (m > 16) & (m <= 256)),
        ("m 1 to 16", m <= 16),
    ]
    if (rows.shapes.layout > 0).any():
        classes += [(f"layout {name}", rows.shapes.layout == code) for code, name in enumerate(LAYOUTS)]
    if (rows.shapes.batch > 1).any():
        classes.append(("batched", rows.shapes.batch > 1))
    if (bits < 5).any():
        classes += [(f"alignment {1 << power}", bits == power) for power in range(5)]
    return classes


def attention_errors(model: GpuModel, rows: AttentionRows, *, every_row: bool) -> tuple[ErrorTable, ...]:
    """Return a table for each backend in the rows that the model knows; BadInput if it knows none of them."""
    names = np.array(rows.backend)
    held = np.ones(len(names), dtype=bool) if every_row else rows.held_out
    if not held.any():
        raise BadInput(
            "no row has a held-out (sequence, heads, kv heads, head dimension); expected some, or all rows to be taken"
        )
    tables = []
    for backend in sorted(set(rows.backend)):
        of = rows.take(np.flatnonzero((names == backend) & held))
        figures = stand_in(backend, model)
        if len(of.time_s) and figures is not None:
            predicted = attention_s(of, model.datasheet, model.attention[figures])
            tables.append(_attention_table(model.datasheet.name, backend, of, predicted, every_row))
    if not tables:
        known = ", ".join(sorted(model.attention)) or "none"
        raise BadInput(f"no row has a backend that {model.datasheet.name} has figures for: expected {known}")
    return tuple(tables)


def _attention_table(device: str, backend: str, rows: AttentionRows, predicted: Floats, every_row: bool) -> ErrorTable:
    long = rows.sequence >= 1024
    classes: list[tuple[str, Bools]] = [
        ("all", rows.sequence > 0),
        ("s >= 1024", long),
        ("s >= 1024, causal", long & (rows.causal == 1)),
        ("s >= 1024, not causal", long & (rows.causal == 0)),
        ("s >= 1024, backward", long & (rows.backward == 1)),
        ("s < 1024", ~long),
    ]
    classes += [(f"s >= 1024, d = {dim}", long & (rows.head_dim == dim)) for dim in sorted(set(rows.head_dim.tolist()))]
    found = [_row(name, predicted[mask], rows.time_s[mask], rows.spread[mask]) for name, mask in classes if mask.any()]
    return ErrorTable(device=device, what=f"attention {backend}", held_out=not every_row, scale=1.0, rows=tuple(found))


def _row(name: str, predicted: Floats, measured: Floats, spread: Floats) -> ErrorRow:
    ratio = predicted / measured - 1.0
    known = spread[np.isfinite(spread)]
    return ErrorRow(
        name=name,
        rows=len(ratio),
        mean=float(np.abs(ratio).mean()),
        worst=float(np.abs(ratio).max()),
        bias=float(np.median(ratio)),
        noise=float(known.mean()) if len(known) else None,
    )
