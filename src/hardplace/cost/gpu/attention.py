"""Time of attention on a GPU: flash attention by backend, and unfused attention as GEMMs and a softmax."""

from __future__ import annotations

import numpy as np

from hardplace.cost.gpu.measured import AttentionRows
from hardplace.cost.gpu.types import AttentionParameters, Datasheet, Floats, Ints

_BLOCK = 128  # queries of a block, and keys of a trip of its loop
_PAD = 16  # head dimensions that are not fitted are padded to a multiple of this


def attention_s(rows: AttentionRows, sheet: Datasheet, fitted: AttentionParameters) -> Floats:
    """Return seconds of each kernel with one backend, forward or backward; rows.backend and rows.time_s are not read.

    A block of queries meets the keys before it (causal) or all of them; its scores take the longer of tensor and
    exponential units; the blocks fill the chip in waves; memory and L2 carry what they must (docs/model-gpu.md).
    """
    batch, sequence, heads, kv_heads, dim = (
        np.asarray(one, dtype=np.float64) for one in (rows.batch, rows.sequence, rows.heads, rows.kv_heads, rows.head_dim)
    )
    count, clock_hz = sheet.multiprocessors, sheet.clock_hz
    blocks = np.ceil(sequence / _BLOCK)
    longest = _BLOCK * blocks * _BLOCK  # scores of the last block
    met = np.where(rows.causal == 1, (blocks + 1) / (2 * blocks), 1.0)
    tensor_s = 4.0 * head_dim_cost(rows.head_dim, fitted) / sheet.tensor_flops_per_s
    exponential_s = 1.0 / (fitted.exponentials_per_cycle * clock_hz * count)
    score_s = _norm(tensor_s, exponential_s) * np.where(rows.causal == 1, 1.0 + fitted.causal, 1.0)
    tiles = batch * heads * blocks
    share = tiles / count
    waves = np.maximum(share + fitted.wave_rounding * (np.ceil(share) - share), 1.0)
    all_s = tiles * longest * met * score_s * waves / share
    work_s = np.maximum(all_s, longest * score_s * count * fitted.lone) + fitted.block_start_s * waves
    moved = 2.0 * batch * sequence * dim * (2 * heads + 2 * kv_heads)
    memory_s = moved / (sheet.memory_bandwidth_bytes_per_s * fitted.dram_efficiency)
    l2_s = tiles * met * 4.0 * blocks * _BLOCK * dim / (fitted.l2_bytes_per_cycle * clock_hz * count)
    kernel_s = _norm(work_s, memory_s, l2_s) * np.where(rows.backward == 1, fitted.backward, 1.0)
    return np.asarray(kernel_s + fitted.launch_s)


def head_dim_cost(head_dim: Ints, fitted: AttentionParameters) -> Floats:
    """Return head dimension / efficiency: fitted, or, between fitted ones, interpolated after padding.

    Below the least that was fitted the work is padded to that one; above the largest it grows in proportion.
    """
    known = np.array(fitted.head_dims, dtype=np.float64)
    cost = known / np.array(fitted.efficiency)
    padded = np.ceil(head_dim / _PAD) * _PAD
    exact = np.isin(head_dim, known)
    # Odd head dimensions (72, 80) may run on a slow path: only multiples of 32 stand for their neighbours.
    regular = known % 32 == 0
    if not regular.any():
        regular[:] = True
    between = np.interp(padded, known[regular], np.maximum.accumulate(cost[regular]))
    beyond = np.maximum(padded / known[regular][-1], 1.0)
    at = np.searchsorted(known, head_dim).clip(max=len(known) - 1)
    return np.asarray(np.where(exact, cost[at], between * beyond))


def _norm(*parts: Floats | float) -> Floats:
    """Return the 4-norm."""
    return np.asarray(sum(np.asarray(part) ** 4 for part in parts) ** 0.25)
