"""Fit the kernels that only move bytes, and what a step takes beyond its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.transfer import HOST_S
from hardplace.cost.gpu.types import Datasheet, Fit, StepOverhead, StreamParameters
from hardplace.cost.layers.types import Stream
from hardplace.csv_table import Table, parse
from hardplace.errors import BadInput
from hardplace.ndtypes import Floats

_LARGEST_BYTES = 1 << 50
_LARGE_BYTES = 2e8  # smaller kernels count less in a fit
_RANGES = {"efficiency": (0.02, 1.0), "wide_row": (1e3, 1e6), "launch_s": (5e-7, 2e-4)}
_TERMS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRows:
    """Measured kernels of one kind: bytes moved, elements of a row, seconds."""

    kind: Stream
    moved_bytes: Floats
    row: Floats
    time_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """Measured steps: number and summed seconds of their kernels, and the whole step's seconds."""

    kernels: Floats
    kernels_s: Floats
    time_s: Floats


def read_streams(files: Sequence[tuple[str, str]]) -> tuple[StreamRows, ...]:
    """Return the kernels of CSV texts whose column kind names a Stream: columns bytes, row (may be empty), us."""
    found = []
    for place, text in files:
        table = parse(text, place)
        if not table.has("kind"):
            continue
        kinds = table.texts("kind")
        for kind in Stream:
            rows = [row for row, name in enumerate(kinds) if name == kind]
            if rows:
                found.append(_stream(kind, table.take(rows)))
    return tuple(found)


def _stream(kind: Stream, table: Table) -> StreamRows:
    for name in ("bytes", "us"):
        if name not in table.columns:
            raise BadInput(f"{table.place}: column {name}: missing; expected it for kernels of kind {kind}")
    return StreamRows(
        kind=kind,
        moved_bytes=table.whole("bytes", _LARGEST_BYTES).astype(np.float64),
        row=table.whole("row", _LARGEST_BYTES, 0).astype(np.float64),
        time_s=table.latencies_s(["us"], 1e-6)[:, 0],
    )


def read_steps(files: Sequence[tuple[str, str]]) -> StepRows | None:
    """Return the steps (kind "step") of CSV texts: columns kernels (number), kernels_us (their sum) and us."""
    for place, text in files:
        table = parse(text, place)
        rows = [row for row, name in enumerate(table.texts("kind")) if name == "step"] if table.has("kind") else []
        if not rows:
            continue
        table = table.take(rows)
        for name in ("kernels", "kernels_us", "us"):
            if name not in table.columns:
                raise BadInput(f"{table.place}: column {name}: missing; expected it for steps")
        return StepRows(
            kernels=table.whole("kernels", 1 << 30).astype(np.float64),
            kernels_s=table.latencies_s(["kernels_us"], 1e-6)[:, 0],
            time_s=table.latencies_s(["us"], 1e-6)[:, 0],
        )
    return None


def fit_stream(sheet: Datasheet, rows: StreamRows, gemm_launch_s: float, source: str) -> tuple[StreamParameters, Fit]:
    """Return the figures of one kind. A launch above 10 us is the host's and is fitted, but not kept: a GEMM's is."""
    count, bandwidth = len(rows.time_s), sheet.memory_bandwidth_bytes_per_s
    varied = len(set(rows.row.tolist())) > 1

    def predict_s(figures: dict[str, float]) -> Floats:
        slow = 1.0 + rows.row / figures["wide_row"] if varied else np.ones(count)
        return figures.get("launch_s", gemm_launch_s) + rows.moved_bytes * slow / (bandwidth * figures["efficiency"])

    weight = np.clip(rows.moved_bytes / _LARGE_BYTES, 0.05, 1.0)
    start = {"efficiency": 0.6} | ({"wide_row": 1e5} if varied else {}) | ({"launch_s": 5e-6} if count > 2 else {})
    found = fit(predict_s, start, {name: _RANGES[name] for name in start}, rows.time_s, weight)
    error = float(np.abs(predict_s(found) / rows.time_s - 1.0).mean())
    launch_s = found.get("launch_s", gemm_launch_s)
    fitted = StreamParameters(
        efficiency=float(f"{found['efficiency']:.4g}"),
        wide_row=float(f"{found['wide_row']:.5g}") if varied else 0.0,
        launch_s=float(f"{launch_s if launch_s < HOST_S else gemm_launch_s:.4g}"),
    )
    note = Fit(
        part=rows.kind.value,
        method=f"fitted; mean error on its own rows {error:.1%}",
        source=source,
        rows=count,
        held_out_rows=0,
        held_out_error=None,
        held_out_error_large=None,
        noise=None,
    )
    return fitted, note


def fit_overhead(rows: StepRows) -> StepOverhead:
    """Return the overhead that fits measured steps best, each of its figures zero or more.

    Least squares of relative errors over (share of the kernels' time, gap a kernel, constant), the best subset of
    columns with no negative figure; with fewer than four steps the share alone.
    """
    beyond = 1.0 - rows.kernels_s / rows.time_s
    columns = np.stack([rows.kernels_s, rows.kernels, np.ones(len(rows.kernels))], axis=1) / rows.time_s[:, None]
    most = _TERMS if len(beyond) > _TERMS else 1
    best, figures = float((beyond**2).sum()), np.zeros(_TERMS)
    for size in range(1, most + 1):
        for subset in combinations(range(_TERMS), size) if most > 1 else [(0,)]:
            found, *_ = np.linalg.lstsq(columns[:, subset], beyond, rcond=None)
            left = float(((columns[:, subset] @ found - beyond) ** 2).sum())
            if found.min() >= 0 and left < best:
                best, figures = left, np.zeros(_TERMS)
                figures[list(subset)] = found
    return StepOverhead(framework=float(figures[0]), gap_s=float(figures[1]), constant_s=float(figures[2]))
