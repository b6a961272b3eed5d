"""Matmuls on systolic arrays: cycles by dataflow and memory traffic by tiling, vectorised over matmuls and chips.

Equations in docs/model.md, "Tensor core". Stationary dataflows as in SCALE-Sim (arXiv 1811.02883) with the next
stationary tile loaded behind the current one; tilings as in Goto and van de Geijn's analysis of blocked GEMM.
"""

from __future__ import annotations

import numpy as np

from hardplace.cost.types import Floats, Ints, Matmul

ELEMENT_BYTES = 2  # bf16 operands
ACCUMULATOR_BYTES = 4  # fp32 partial sums


def _columns(matmuls: tuple[Matmul, ...]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return batch, m, n, k as columns, shape (matmuls, 1)."""
    shape = np.array([(p.batch, p.m, p.n, p.k) for p in matmuls], dtype=np.float64).reshape(-1, 4)
    return shape[:, :1], shape[:, 1:2], shape[:, 2:3], shape[:, 3:]


def _streamed(jobs: Floats, inner: Floats, stream: Floats, rows: Floats, cores: Floats) -> Floats:
    """Return cycles of a dataflow with a stationary tile: jobs x inner tiles, past each of which `stream` rows flow.

    Jobs go to the cores whole, or each is cut along the stream so that idle cores get a part; the best of
    three cuts (none, as many as there are idle cores for a job, one a core).
    """
    best = np.full(np.broadcast_shapes(jobs.shape, cores.shape), np.inf)
    for cut in (np.ones_like(cores), np.maximum(1.0, np.floor(cores / jobs)), cores):
        rounds = np.ceil(jobs * cut / cores)
        # Loading the next tile (one row a cycle) is hidden behind the stream unless the stream is shorter.
        best = np.minimum(best, rounds * inner * np.maximum(np.ceil(stream / cut), rows))
    return best


def array_cycles(matmuls: tuple[Matmul, ...], cores: Ints, rows: Ints, columns: Ints) -> Floats:
    """Return cycles of each matmul on `cores` arrays of rows x columns, shape (matmuls, chips).

    The best of weight, input and output stationary, each with its edge tiles whole, plus one fill and drain.
    """
    batch, m, n, k = _columns(matmuls)
    count, high, wide = (np.asarray(value, dtype=np.float64)[None, :] for value in (cores, rows, columns))
    deep = np.ceil(k / high)
    weight = _streamed(batch * np.ceil(n / wide), deep, m, high, count)
    inputs = _streamed(batch * np.ceil(m / wide), deep, n, high, count)
    tiles = batch * np.ceil(m / high) * np.ceil(n / wide)
    output = np.ceil(tiles / count) * np.maximum(k, high)
    return np.asarray(np.minimum(np.minimum(weight, inputs), output) + 2 * high + wide - 2)


def _strips(resident: Floats, depth: Floats, words: Floats) -> Floats:
    """Return into how many strips `resident` rows of length depth fall, so that a strip and two streamed rows fit."""
    rows = np.floor((words - 2 * depth) / (depth + 1))
    return np.where(rows >= 1, np.ceil(resident / np.maximum(rows, 1)), np.inf)


def _held_output(m: Floats, n: Floats, k: Floats, buffer: Floats) -> Floats:
    """Return operand words read where an output tile stays in the buffer with its fp32 sums while k streams past."""
    words = buffer / ACCUMULATOR_BYTES
    side = np.sqrt(words)
    best = np.full(np.broadcast_shapes(m.shape, buffer.shape), np.inf)
    for cuts_n in (np.ones_like(n), np.floor(n / side), np.ceil(n / side)):
        cuts = np.maximum(1.0, cuts_n)
        across = np.ceil(n / cuts)
        # 4 a b + 2 * 2 (a + b) bytes: sums, and two slices of each operand.
        down = np.floor((words - across) / (across + 1))
        passes = np.where(down >= 1, np.ceil(m / np.maximum(down, 1)), np.inf)
        best = np.minimum(best, m * k * cuts + k * n * passes)
    return best


def traffic_bytes(matmuls: tuple[Matmul, ...], buffer_bytes: Floats) -> Floats:
    """Return bytes between memory and a buffer for each matmul, shape (matmuls, buffers).

    The best of: strips of either operand held while the other streams; an output tile held while both stream
    (either way round); never below each operand and the result once.
    """
    batch, m, n, k = _columns(matmuls)
    buffer = np.asarray(buffer_bytes, dtype=np.float64)[None, :]
    words = buffer / ELEMENT_BYTES
    with np.errstate(invalid="ignore"):
        left_held = m * k + k * n * _strips(m, k, words)
        right_held = k * n + m * k * _strips(n, k, words)
        output_held = np.minimum(_held_output(m, n, k, buffer), _held_output(n, m, k, buffer))
    operands = np.minimum(np.minimum(left_held, right_held), output_held)
    return np.asarray(ELEMENT_BYTES * batch * (operands + m * n))
