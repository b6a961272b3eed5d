"""Least traffic of a matmul through a buffer: the best of every loop order, tile size and place of storage.

The model, its closed set of candidates and the proof that the set holds the optimum: docs/model-cost.md, "Traffic".
`cost.arrays.mapspace` tries every mapping one by one; the tests compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.precision import BF16, Precision
from hardplace.cost.types import Matmul
from hardplace.ndtypes import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Flat columns of matmuls and buffers: extents, words of the operands in memory, bytes of the buffer.

    slices: copies of a streamed piece that the buffer holds, at most the whole extent along which it streams.
    """

    m: Floats
    n: Floats
    k: Floats
    left: Floats
    right: Floats
    size: Floats
    operand: int
    total: int
    copies: int

    def pick(self, index: np.ndarray) -> _Shape:
        """Return the rows at these positions."""
        columns = (self.m, self.n, self.k, self.left, self.right, self.size)
        m, n, k, left, right, size = (column[index] for column in columns)
        return _Shape(
            m=m, n=n, k=k, left=left, right=right, size=size,
            operand=self.operand, total=self.total, copies=self.copies,
        )  # fmt: skip

    def turned(self, turn: np.ndarray) -> _Shape:
        """Return the rows with left and right operand (and m and n) exchanged where `turn` is true."""
        return _Shape(
            m=np.where(turn, self.n, self.m),
            n=np.where(turn, self.m, self.n),
            k=self.k,
            left=np.where(turn, self.right, self.left),
            right=np.where(turn, self.left, self.right),
            size=self.size, operand=self.operand, total=self.total, copies=self.copies,
        )  # fmt: skip


def _passes(extent: Floats, held: Floats) -> Floats:
    """Return how many tiles of `held` cover `extent`; infinite where not even one fits."""
    return np.where(held >= 1.0, np.ceil(extent / np.maximum(held, 1.0)), np.inf)


def _strips(shape: _Shape) -> Floats:
    """Return operand words of the schemes with one free size: a strip of an operand or of the result is held."""
    e, s = shape.operand, shape.total
    best = np.full_like(shape.m, np.inf)
    for one in (shape, shape.turned(np.ones_like(shape.m, dtype=bool))):
        # A strip of the left operand (rows x k), one column of sums; the right operand streams past.
        row_bytes = s + e * one.left / one.m
        rows = np.floor((one.size - e * np.minimum(one.k, one.copies)) / row_bytes)
        # A strip of the result (rows x n); a column of the left operand is held while a row of the right one streams.
        across = np.floor((one.size - e * np.minimum(one.n, one.copies)) / (s * one.n + e))
        best = np.minimum(best, one.left + one.right * _passes(one.m, np.maximum(rows, across)))
    return best


def _once_bytes(shape: _Shape) -> Floats:
    """Return the least buffer with which every operand is read once, beyond what strips reach."""
    e, s, m, n, left, right = shape.operand, shape.total, shape.m, shape.n, shape.left, shape.right
    least = s * m * n + e * (1.0 + np.minimum(m, n))  # the whole result
    for whole, other, extent in ((right, left / m, n), (left, right / n, m)):
        least = np.minimum(least, s + e * (whole + other))  # a whole operand and one row of the other
        least = np.minimum(least, s * extent + e * (whole + 1.0))  # a whole operand and one row of the result
    return least


def _tile(shape: _Shape, cuts: Floats) -> Floats:
    """Return operand words where the result is held in tiles, n in `cuts` parts and m in as few as then fit."""
    slices = shape.operand * np.minimum(shape.k, shape.copies)
    across = np.ceil(shape.n / cuts)
    down = np.floor((shape.size - slices * across) / (shape.total * across + slices))
    return np.asarray(shape.left * cuts + shape.right * _passes(shape.m, down))


def _tile_bound(shape: _Shape, cuts: Floats) -> Floats:
    """Return a lower bound of `_tile` that is convex in the cuts: without rounding, m in one part at least."""
    slices = shape.operand * np.minimum(shape.k, shape.copies)
    room = shape.size * cuts - slices * shape.n
    parts = shape.m * (shape.total * shape.n + slices * cuts) / np.maximum(room, 1e-9)
    return np.asarray(shape.left * cuts + shape.right * np.where(room > 0.0, np.maximum(1.0, parts), np.inf))


def _start(shape: _Shape) -> Floats:
    """Return whole cuts of n next to the least point of `_tile_bound`, at least 1 and at most n."""
    slices = shape.operand * np.minimum(shape.k, shape.copies)
    total, size, m, n = shape.total, shape.size, shape.m, shape.n
    free = (slices * n + np.sqrt(shape.right * m * n * (total * size + slices**2) / shape.left)) / size
    room = size - slices * m
    whole = np.where(room > 0.0, n * (total * m + slices) / np.where(room > 0.0, room, 1.0), np.inf)
    return np.asarray(np.clip(np.ceil(np.minimum(free, whole)), 1.0, n))


def _tiles(shape: _Shape, best: Floats) -> Floats:
    """Return the least of `best` and `_tile` over every whole number of cuts from 1 to n.

    From the least point of the convex bound outwards, each way until the bound passes the best value found.
    """
    shape = shape.turned(shape.left < shape.right)
    best = best.copy()
    start = _start(shape)
    for step in (1.0, -1.0):
        cuts = start if step > 0 else start - 1.0
        index = np.flatnonzero((cuts >= 1.0) & (_tile_bound(shape, np.maximum(cuts, 1.0)) < best))
        rows, cuts, going = shape.pick(index), cuts[index], np.ones(len(index), dtype=bool)
        while np.any(going):
            if 2 * np.count_nonzero(going) < len(index):
                index, cuts, rows = index[going], cuts[going], rows.pick(going)
            least = best[index] = np.minimum(best[index], _tile(rows, cuts))
            further = np.clip(cuts + step, 1.0, rows.n)
            going = (further != cuts) & (_tile_bound(rows, further) < least)
            cuts = further
    return best


def traffic_bytes(
    matmuls: tuple[Matmul, ...], buffer_bytes: Floats, precision: Precision = BF16, *, double_buffered: bool = True
) -> Floats:
    """Return the least bytes between memory and a buffer for each matmul, shape (matmuls, buffers).

    Operands may be read several times, sums stay in the buffer until they are whole, the result is written once.
    Infinite where not even one element of each fits.

    Args:
        matmuls: The products.
        buffer_bytes: Sizes of the buffer, (buffers,).
        precision: Format of operands and sums.
        double_buffered: Whether a piece that is replaced at every step counts twice.

    Source: docs/model-cost.md, "Traffic".
    """
    table = np.array([(p.batch, p.m, p.n, p.k, p.left_words or p.m * p.k) for p in matmuls], dtype=np.float64)
    sizes = np.asarray(buffer_bytes, dtype=np.float64)
    batch, m, n, k, left = (np.repeat(column, len(sizes)) for column in table.reshape(-1, 5).T)
    shape = _Shape(
        m=m, n=n, k=k, left=left, right=k * n, size=np.tile(sizes, len(matmuls)),
        operand=precision.operand_bytes, total=precision.sum_bytes, copies=2 if double_buffered else 1,
    )  # fmt: skip
    once = left + k * n
    best = np.where(shape.size >= _once_bytes(shape), once, _strips(shape))
    open_ = np.flatnonzero(best > once)
    if len(open_):
        best[open_] = _tiles(shape.pick(open_), best[open_])
    words = precision.operand_bytes * best + precision.result_bytes * m * n
    return np.asarray((batch * words).reshape(len(matmuls), len(sizes)))
