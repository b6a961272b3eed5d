"""Fit the kernels that only move bytes, and what a step takes beyond its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hardplace.cost.gpu.streams import Stream
from hardplace.cost.gpu.table import Table, parse
from hardplace.cost.gpu.types import Datasheet, Fit, Floats, StepOverhead, StreamParameters
from hardplace.errors import BadInput

_LARGEST_BYTES = 1 << 50
_HOST_S = 1e-5  # a floor above this is the host's time to launch, which a queue hides
_BOUND = 3.0  # times the shortest: from here on bandwidth, not launch, is measured
_WIDE_ROWS = (0.0, *np.geomspace(2**10, 2**20, 41).tolist())
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
    """Return the figures of one kind: efficiency and its fall with the row from rows where bandwidth is what counts.

    The launch is the shortest time; if that is the host's (above 10 us), it is a GEMM's.
    """
    shortest = float(rows.time_s.min())
    launch_s = shortest if shortest < _HOST_S else gemm_launch_s
    chosen = np.flatnonzero(rows.time_s >= _BOUND * shortest)
    if not len(chosen):
        chosen = np.arange(len(rows.time_s))
    rate = rows.moved_bytes[chosen] / (rows.time_s[chosen] - launch_s).clip(1e-9) / sheet.memory_bandwidth_bytes_per_s
    best = (np.inf, 0.0, 0.0)
    varied = len(set(rows.row[chosen].tolist())) > 1
    for wide in _WIDE_ROWS if varied else (0.0,):
        slow = 1.0 + rows.row[chosen] / wide if wide else np.ones(len(chosen))
        efficiency = float(np.median(rate * slow))
        error = float(np.abs(rate * slow / efficiency - 1.0).mean())
        if error < best[0]:
            best = (error, efficiency, wide)
    fitted = StreamParameters(
        efficiency=float(f"{min(best[1], 1.0):.4g}"), wide_row=float(f"{best[2]:.5g}"), launch_s=launch_s
    )
    note = Fit(
        part=rows.kind.value,
        method=f"fitted; mean error on its own rows {best[0]:.1%}",
        source=source,
        rows=len(chosen),
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
    beyond = rows.time_s / rows.time_s - rows.kernels_s / rows.time_s
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
