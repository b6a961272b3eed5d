"""Time of attention on a GPU: flash attention by backend, and unfused attention as GEMMs and a softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hardplace.cost.gpu.gemm import gemm_s, gemms, in_range
from hardplace.cost.gpu.measured import AttentionRows
from hardplace.cost.gpu.streams import stream_s
from hardplace.cost.gpu.types import AttentionParameters, Datasheet, GpuModel
from hardplace.cost.layers.types import Layout, Stream
from hardplace.errors import unknown
from hardplace.ndtypes import Floats, Ints

_BLOCK = 128  # queries of a block, and keys of a trip of its loop
_PAD = 32  # head dimensions that are not fitted are padded to a multiple of this
ALIGNED = 8  # elements of 16 bit that tensor cores load at once, 16 bytes
_FUSED_KEYS = 2048  # keys that Megatron-LM's fused softmax of 2021 takes at most
_BELOW = 0.75  # power of the head dimension by which the cost falls below the least that was fitted (FA3: 0.76)


def attention_shapes(
    *,
    batch: int,
    sequence: int,
    heads: int,
    head_dim: int,
    kv_heads: int | None = None,
    causal: bool = True,
    backward: bool = False,
) -> AttentionRows:
    """Return one attention kernel as rows for `attention_s`; its measured time is nan."""
    sizes = {"batch": batch, "sequence": sequence, "heads": heads, "kv_heads": kv_heads or heads, "head_dim": head_dim}
    flags = {"causal": int(causal), "backward": int(backward), "cached": 0}
    arrays = {name: np.array([value], dtype=np.int64) for name, value in (sizes | flags).items()}
    return AttentionRows(backend=("",), time_s=np.array([np.nan]), spread=np.array([np.nan]), **arrays)


def attention_s(rows: AttentionRows, sheet: Datasheet, fitted: AttentionParameters, part: float = 1.0) -> Floats:
    """Return the seconds of each attention kernel with one backend, forward or backward.

    A block of queries meets the keys before it (causal) or all of them; its scores take the longer of tensor and
    exponential units; the blocks fill the chip in waves; memory and L2 carry what they must; what runs for long runs
    slower.

    Args:
        rows: The kernels; their backend and measured time are not read.
        sheet: Datasheet of the GPU.
        fitted: Figures of the backend.
        part: Share of the work that runs: a window's, or a context-parallel rank's.

    Source: docs/model-gpu.md.
    """
    batch, sequence, heads, kv_heads, dim = (
        np.asarray(one, dtype=np.float64)
        for one in (rows.batch, rows.sequence, rows.heads, rows.kv_heads, rows.head_dim)
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
    kernel_s = _norm(work_s, memory_s, l2_s) * np.where(rows.backward == 1, _backward(rows.head_dim, fitted), 1.0)
    held = 4.0 * batch * sequence * kv_heads * dim / sheet.memory_bandwidth_bytes_per_s
    seconds = part * (kernel_s + fitted.launch_s + np.where(rows.cached == 1, fitted.cache_bytes * held, 0.0))
    return np.asarray(seconds * (1.0 + fitted.heat * seconds / (seconds + fitted.heat_s)))


# What stands in for a backend without figures, in this order. PyTorch's default, flash, is FA2; the vendor's own
# kernels are cuDNN's, AITER's on AMD's GPUs, else NVIDIA's for serving (trtllm).
_STAND_INS = {"default": ("sdpa", "fa2"), "cudnn": ("cudnn", "aiter", "trtllm"), "sdpa": ("sdpa", "fa2")}


def backend_named(name: str, model: GpuModel) -> str:
    """Return the backend whose figures a name means on this GPU: itself, or what stands in for default, cudnn or sdpa.

    Raises BadInput for a backend that the GPU has no figures for.
    """
    found = stand_in(name, model)
    if found is not None:
        return found
    raise unknown(f"attention backend of {model.datasheet.name}", name, {*model.attention, "default", "cudnn"})


def stand_in(name: str, model: GpuModel) -> str | None:
    """Return the backend whose figures a name means on this GPU; None if there is none."""
    candidates = _STAND_INS.get(name, (name,))
    return next((candidate for candidate in candidates if candidate in model.attention), None)


# Seconds of FlashAttention in Triton (the first algorithm) over FA2's, forward and backward: 0.37 and 0.25 of the peak
# at 1,350 MHz on A100, causal, 4 x 48 heads of 64, 4,096 tokens (openai/triton of 2022, python/test/regression/
# test_performance.py), over FA2's figures. Dao 2023 (arXiv 2307.08691, section 4.1) has 1.3 to 2.5 for both by shape.
_TRITON = 1.35
_TRITON_BACKWARD = 1.67


def with_older(known: Mapping[str, AttentionParameters], ampere: AttentionParameters) -> dict[str, AttentionParameters]:
    """Return figures by backend with those of triton, an older kernel that is known only relative to FA2's on A100.

    Args:
        known: Figures by backend.
        ampere: FA2's of A100, carried to the GPU.
    """
    if "fa2" not in known:
        return dict(known)
    slower = replace(
        ampere,
        efficiency=tuple(one / _TRITON for one in ampere.efficiency),
        exponentials_per_cycle=ampere.exponentials_per_cycle / _TRITON,
        backward=ampere.backward * _TRITON_BACKWARD / _TRITON,
    )
    return {"triton": slower, **known}


def unfused_attention_s(
    rows: AttentionRows, model: GpuModel, *, fused_softmax: bool = False, unaligned_flops_per_s: float = math.inf
) -> Floats:
    """Return seconds of attention as score GEMM, softmax and value GEMM; backward: two GEMMs for each, and the softmax.

    The scores go through memory: written by the GEMM, scaled and masked (one element-wise kernel), softmax, read again.

    Args:
        rows: The attention; its backend and measured time are not read.
        model: Fitted model of the GPU.
        fused_softmax: Of up to 2,048 keys the softmax's kernel scales and masks.
        unaligned_flops_per_s: Rate of the GEMMs at most where 8 does not divide the head dimension.
    """
    batch, length, dim = rows.batch * rows.heads, rows.sequence, rows.head_dim
    sheet, devices = model.datasheet, [(model.datasheet, model.gemm)]
    (side, some), times = in_range(length, batch)  # both sides of the scores are as long as the sequence
    times = times * np.maximum(1, -(-length // side))
    score_s = times * gemm_s(gemms(side, side, dim, batch=some), devices)[:, 0]
    value_s = times * gemm_s(gemms(side, dim, side, batch=some, layout=Layout.NN), devices)[:, 0]
    whole = batch * np.asarray(length, dtype=np.float64) ** 2  # scores
    least_s = np.where(dim % ALIGNED == 0, 0.0, 2.0 * whole * dim / unaligned_flops_per_s)
    score_s, value_s = np.maximum(score_s, least_s), np.maximum(value_s, least_s)
    fused = fused_softmax & (length <= _FUSED_KEYS)
    read = np.where(rows.backward == 1, 4.0, 2.0) * np.where(fused & (rows.causal == 1), 0.5, 1.0)  # bytes a score
    softmax_s = stream_s((read + 2.0) * whole, sheet, model.streams[Stream.SOFTMAX], row=length)
    mask_s = np.where(fused, 0.0, stream_s(4.0 * whole, sheet, model.streams[Stream.ELEMENTWISE]))
    return np.asarray(np.where(rows.backward == 1, 2.0, 1.0) * (score_s + value_s) + softmax_s + mask_s)


def _backward(head_dim: Ints, fitted: AttentionParameters) -> Floats:
    """Return the backward pass's seconds over the forward's, of each head dimension: that of the fitted width at or
    above it, or of the largest, where they differ."""
    at = np.searchsorted(fitted.head_dims, head_dim).clip(max=len(fitted.head_dims) - 1)
    return np.asarray(np.array(fitted.backward_of or (fitted.backward,) * len(fitted.head_dims))[at])


def head_dim_cost(head_dim: Ints, fitted: AttentionParameters) -> Floats:
    """Return head dimension / efficiency: fitted, or, between fitted ones, interpolated after padding.

    Below the least that was fitted it falls with the power 3/4; above the largest it grows in proportion.
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
    beyond = np.maximum(padded / known[regular][-1], 1.0) * np.minimum(padded / known[regular][0], 1.0) ** _BELOW
    at = np.searchsorted(known, head_dim).clip(max=len(known) - 1)
    return np.asarray(np.where(exact, cost[at], between * beyond))


def _norm(*parts: Floats | float) -> Floats:
    """Return the 4-norm."""
    return np.asarray(sum(np.asarray(part) ** 4 for part in parts) ** 0.25)
