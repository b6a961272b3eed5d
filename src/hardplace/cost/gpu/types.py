"""Nouns of the GPU model: the datasheet, the fitted figures of each kind of kernel, and where they are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheet:
    """What the vendor says about a GPU: dense 16-bit tensor peak, clock at that peak, memory, L2, board power."""

    name: str
    vendor: str
    multiprocessors: int
    clock_hz: float
    tensor_flops_per_s: float
    memory_bandwidth_bytes_per_s: float
    l2_bytes: float
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmParameters:
    """The fitted figures of the GEMM model (docs/model-gpu.md), most of them relative to the datasheet.

    tensor_efficiency: share of the tensor peak inside a full tile. tile_bytes_per_cycle: what one multiprocessor loads
    a cycle; l2_bytes_per_cycle: the same when all load at once. dram_efficiency: share of the memory bandwidth.
    reread: share of what a wave reads again that misses the L2. warm: share of operands that a benchmark's loop
    finds in the L2 when they fit. launch_s: of a kernel. tile_start_s: prologue and epilogue of a tile. step_s: latency
    of 32 steps along k. wave_rounding: 1 when a last, partial wave costs a whole one, 0 when it costs its share.
    joule_per_flop, joule_per_byte: with the board power they bound the rate (power throttle). split_s: what a split
    along k adds; split_bandwidth: of its partial sums, in shares of the memory bandwidth. alignment: factors on the
    tile time for 1, 2, 4, ... 64 as the largest power of two in the worst leading dimension. layout: factors on the
    time of TN, NN, NT.
    """

    tensor_efficiency: float
    tile_bytes_per_cycle: float
    l2_bytes_per_cycle: float
    dram_efficiency: float
    reread: float
    warm: float
    launch_s: float
    tile_start_s: float
    step_s: float
    wave_rounding: float
    joule_per_flop: float
    joule_per_byte: float
    split_s: float
    split_bandwidth: float
    alignment: tuple[float, ...]
    layout: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Oblivious regression trees on features of a GEMM: a correction to the logarithm of its time.

    Every level of a tree asks one question (feature >= threshold) of all its nodes; features, thresholds are (trees,
    depth), values (trees, 2^depth) in units of `unit`. log(time) = intercept + (1 - damping) log(model) + sum of the
    values. Values do not fall along features that grow with k, and the model's time grows with k: so does the whole.
    limit: of the correction either way, in log(time).
    """

    features: tuple[tuple[int, ...], ...]
    thresholds: tuple[tuple[float, ...], ...]
    values: tuple[tuple[int, ...], ...]
    unit: float
    intercept: float
    damping: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionParameters:
    """The fitted figures of flash attention with one backend.

    efficiency: share of the tensor peak by head dimension. exponentials_per_cycle: of one multiprocessor. causal: extra
    work of a masked kernel. wave_rounding, dram_efficiency, l2_bytes_per_cycle, launch_s: as of a GEMM. block_start_s:
    of a block of queries. lone: time of the longest block over its share of the chip. cache_bytes: moved for each byte
    of keys and values by a benchmark that also writes them to its cache; training does not. backward: time over the
    forward's, without launches.
    """

    head_dims: tuple[int, ...]
    efficiency: tuple[float, ...]
    exponentials_per_cycle: float
    causal: float
    wave_rounding: float
    block_start_s: float
    lone: float
    dram_efficiency: float
    l2_bytes_per_cycle: float
    launch_s: float
    cache_bytes: float
    backward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamParameters:
    """A kernel that only moves bytes: share of the memory bandwidth, its fall with long rows, launch.

    time = launch_s + bytes / (bandwidth * efficiency) * (1 + row length / wide_row); wide_row 0: rows do not matter.
    """

    efficiency: float
    wide_row: float
    launch_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOverhead:
    """What a step takes beyond its kernels: a gap after each kernel, a share of their time, and a constant."""

    gap_s: float
    framework: float
    constant_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Provenance of one part of a model: data, rows fitted, rows held out, mean absolute errors on the latter.

    noise: mean spread of the sources of one shape, (largest - smallest) / smallest. method: fitted, or from whom.
    """

    part: str
    method: str
    source: str
    rows: int
    held_out_rows: int
    held_out_error: float | None
    held_out_error_large: float | None
    noise: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """All there is to price kernels on one GPU. attention: by backend; streams: by kind of kernel."""

    datasheet: Datasheet
    gemm: GemmParameters
    residual: Trees | None
    attention: Mapping[str, AttentionParameters]
    streams: Mapping[str, StreamParameters]
    overhead: StepOverhead
    fits: tuple[Fit, ...]
