"""Matmuls on systolic arrays: cycles by dataflow and by split over cores, vectorised over matmuls and chips.

Equations in docs/model-cost.md, "Tensor core". Stationary dataflows as in SCALE-Sim (arXiv 1811.02883); with double
buffering the next stationary tile is loaded behind the current one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.precision import BF16, Precision
from hardplace.cost.types import Dataflow, Matmul
from hardplace.ndtypes import Floats, Ints

_STREAM_CUTS = (2, 3, 4, 6, 8, 12, 16, 32, 64)  # parts of the streamed dimension that go to different cores
_REDUCTION_CUTS = (2, 4, 8, 16, 32, 64)  # parts of k whose sums are added up through the shared buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """Columns of chips, shape (1, chips): cores, rows and columns of their arrays; cycles a byte of exchanged sums."""

    cores: Floats
    rows: Floats
    columns: Floats
    exchange: float
    double_buffered: bool

    def steps(self, stream: Floats) -> Floats:
        """Return cycles of one stationary tile past which `stream` rows flow (output stationary: k slices)."""
        if self.double_buffered:
            return np.maximum(stream, self.rows)
        return np.asarray(stream + self.skew)

    @property
    def skew(self) -> Floats:
        """Cycles to load a tile and to drain the last row across the array."""
        return 2.0 * self.rows + self.columns - 2.0


def _columns(matmuls: tuple[Matmul, ...]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return batch, m, n, k as columns, shape (matmuls, 1)."""
    shape = np.array([(p.batch, p.m, p.n, p.k) for p in matmuls], dtype=np.float64).reshape(-1, 4)
    return shape[:, :1], shape[:, 1:2], shape[:, 2:3], shape[:, 3:]


def _packed(batch: Floats, deep: Floats, wide: Floats, arrays: _Arrays) -> Floats:
    """Return the batch after small products are put side by side on the diagonal of an array, in powers of two."""
    fit = np.asarray(np.minimum(arrays.rows / deep, arrays.columns / wide))
    if not np.any(fit >= 2.0):
        return batch
    return np.asarray(np.where(fit >= 2.0, np.ceil(batch / np.ldexp(0.5, np.frexp(fit)[1])), batch))


def _stationary(batch: Floats, stream: Floats, wide: Floats, deep: Floats, sums: Floats, arrays: _Arrays) -> Floats:
    """Return cycles with a tile of (deep x wide) held while `stream` rows flow: weights held, or inputs.

    Columns of tiles go to the cores whole, or cut along the stream, or along the reduction (then `sums` partial
    results for each further part are exchanged); the best of a fixed set of cuts that no core count exceeds.
    """
    jobs = _packed(batch, deep, wide, arrays) * np.ceil(wide / arrays.columns)
    tiles = np.ceil(deep / arrays.rows)
    best = np.ceil(jobs / arrays.cores) * tiles * arrays.steps(stream)
    most = arrays.cores.max()
    if most == 1.0:
        return np.asarray(best)
    cuts = [arrays.cores, *(np.full((1, 1), float(cut)) for cut in _STREAM_CUTS if cut <= most)]
    for cut in cuts:
        cycles = np.ceil(jobs * cut / arrays.cores) * tiles * arrays.steps(np.ceil(stream / cut))
        best = np.minimum(best, np.where(cut <= arrays.cores, cycles, np.inf))
    for parts in (float(one) for one in _REDUCTION_CUTS if one <= most):
        cycles = np.ceil(jobs * parts / arrays.cores) * np.ceil(tiles / parts) * arrays.steps(stream)
        cycles = cycles + (parts - 1.0) * sums * arrays.exchange
        best = np.minimum(best, np.where(parts <= arrays.cores, cycles, np.inf))
    return np.asarray(best)


def _output(batch: Floats, m: Floats, n: Floats, k: Floats, sums: Floats, arrays: _Arrays) -> Floats:
    """Return cycles with a tile of the result held while k streams; tiles, or parts of k, go to the cores."""
    jobs = _packed(batch, m, n, arrays) * np.ceil(m / arrays.rows) * np.ceil(n / arrays.columns)

    def tile(slices: Floats) -> Floats:
        if arrays.double_buffered:
            return arrays.steps(slices)
        return np.asarray(slices + arrays.rows + arrays.columns - 2.0)

    best = np.ceil(jobs / arrays.cores) * tile(k)
    most = arrays.cores.max()
    for parts in (float(one) for one in _REDUCTION_CUTS if one <= most):
        cycles = np.ceil(jobs * parts / arrays.cores) * tile(np.ceil(k / parts))
        cycles = cycles + (parts - 1.0) * sums * arrays.exchange
        best = np.minimum(best, np.where(parts <= arrays.cores, cycles, np.inf))
    return np.asarray(best)


def array_cycles(
    matmuls: tuple[Matmul, ...],
    cores: Ints,
    rows: Ints,
    columns: Ints,
    precision: Precision = BF16,
    *,
    dataflows: tuple[Dataflow, ...] = tuple(Dataflow),
    double_buffered: bool = True,
    exchange_bytes_per_cycle: float = np.inf,
) -> Floats:
    """Return the cycles of each matmul on `cores` arrays of rows x columns, shape (matmuls, chips).

    The best of the dataflows, each with its edge tiles whole. Double-buffered: one fill and drain in all; otherwise one
    a tile, as SCALE-Sim has it.

    Args:
        matmuls: The products.
        cores: Number of arrays, (chips,).
        rows: Rows of an array, (chips,).
        columns: Columns of an array, (chips,).
        precision: Format of operands and sums.
        dataflows: Operands that may be held while the others stream.
        double_buffered: Whether the next stationary tile is loaded behind the current one.
        exchange_bytes_per_cycle: What the shared buffer takes of the partial sums of a matmul that is split along k
            (written and read once each).

    Source: docs/model-cost.md, "Tensor core".
    """
    batch, m, n, k = _columns(matmuls)
    count, high, wide = (np.asarray(value, dtype=np.float64)[None, :] for value in (cores, rows, columns))
    deep = np.ceil(k / max(1.0, precision.rate))  # several products a unit and cycle
    sums = batch * m * n
    arrays = _Arrays(
        cores=count,
        rows=high,
        columns=wide,
        exchange=2.0 * precision.sum_bytes / exchange_bytes_per_cycle,
        double_buffered=double_buffered,
    )
    best = np.full(np.broadcast_shapes(batch.shape, count.shape), np.inf)
    if Dataflow.WEIGHT in dataflows:
        best = np.minimum(best, _stationary(batch, m, n, deep, sums, arrays))
    if Dataflow.INPUT in dataflows:
        best = np.minimum(best, _stationary(batch, n, m, deep, sums, arrays))
    if Dataflow.OUTPUT in dataflows:
        best = np.minimum(best, _output(batch, m, n, deep, sums, arrays))
    fill = arrays.skew if double_buffered else 0.0
    return np.asarray(best * max(1.0, 1.0 / precision.rate) + fill)
