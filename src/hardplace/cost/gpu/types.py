"""Nouns of the GPU model: the datasheet, the fitted figures of each kind of kernel, and where they are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Datasheet:
    """What the vendor says about a GPU.

    Attributes:
        name: Name in the catalogue.
        vendor: Vendor.
        multiprocessors: Number of multiprocessors.
        clock_hz: Clock at the peak.
        tensor_flops_per_s: Dense peak of 16-bit products.
        memory_bandwidth_bytes_per_s: Bandwidth of the memory.
        l2_bytes: Size of the L2 cache.
        power_w: Board power.
    """

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
    """The fitted figures of the GEMM model, most of them relative to the datasheet.

    Source: docs/model-gpu.md, GEMM. With the board power, the energies bound the rate (power throttle).

    Attributes:
        tensor_efficiency: Share of the tensor peak inside a full tile.
        tile_bytes_per_cycle: Bytes that one multiprocessor loads a cycle.
        l2_bytes_per_cycle: The same when all load at once.
        dram_efficiency: Share of the memory bandwidth.
        reread: Share of what a wave reads again that misses the L2.
        warm: Share of operands that a benchmark's loop finds in the L2 when they fit.
        launch_s: Launch of a kernel.
        tile_start_s: Prologue and epilogue of a tile.
        step_s: Latency of 32 steps along k.
        wave_rounding: 1 when a last, partial wave costs a whole one, 0 when it costs its share.
        joule_per_flop: Energy of a FLOP.
        joule_per_byte: Energy of a byte.
        split_s: What a split along k adds.
        split_bandwidth: Rate of its partial sums, in shares of the memory bandwidth.
        alignment: Factors on the tile time for 1, 2, 4, ... 64 as the largest power of two in the worst leading
            dimension.
        layout: Factors on the time of TN, NN, NT.
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

    Attributes:
        head_dims: Head dimensions that were fitted.
        efficiency: Share of the tensor peak, by head dimension.
        exponentials_per_cycle: Exponentials of one multiprocessor a cycle.
        causal: Extra work of a masked kernel.
        wave_rounding: As of a GEMM.
        block_start_s: Start of a block of queries.
        lone: Time of the longest block over its share of the chip.
        dram_efficiency: As of a GEMM.
        l2_bytes_per_cycle: As of a GEMM.
        launch_s: As of a GEMM.
        cache_bytes: Bytes moved for each byte of keys and values by a benchmark that also writes them to its cache;
            training does not.
        backward: Time of the backward pass over the forward pass's, without launches.
        backward_of: The same for each of `head_dims`; (): all have `backward`.
        heat: Share by which a kernel that runs for long is slower than a short one: the clock falls to what the
            board's power allows.
        heat_s: Seconds of a kernel that show half of it.
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
    backward_of: tuple[float, ...] = ()
    heat: float = 0.0
    heat_s: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamParameters:
    """The fitted figures of a kernel that only moves bytes.

    time = launch_s + bytes / (bandwidth * efficiency) * (1 + row length / wide_row).

    Attributes:
        efficiency: Share of the memory bandwidth.
        wide_row: Length of rows at which the time doubles; 0: rows do not matter.
        launch_s: Launch of a kernel.
    """

    efficiency: float
    wide_row: float
    launch_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOverhead:
    """What a step takes beyond its kernels.

    Attributes:
        gap_s: Gap after each kernel.
        framework: Share of the kernels' time.
        constant_s: Constant.
    """

    gap_s: float
    framework: float
    constant_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Provenance of one part of a GPU's model.

    Attributes:
        part: Which part.
        method: Fitted, or transferred from whom.
        source: Data.
        rows: Rows fitted.
        held_out_rows: Rows held out.
        held_out_error: Mean absolute error on these.
        held_out_error_large: The same of large ones.
        noise: Mean spread of the sources of one shape, (largest - smallest) / smallest.
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
    """The fitted model of one GPU: all there is to price kernels on it.

    Attributes:
        datasheet: What the vendor says.
        gemm: Figures of GEMMs.
        residual: Learned correction of GEMMs; None: none.
        attention: Figures of flash attention, by backend.
        streams: Figures of kernels that only move bytes, by kind.
        overhead: What a step takes beyond its kernels.
        fits: Provenance of each part.
    """

    datasheet: Datasheet
    gemm: GemmParameters
    residual: Trees | None
    attention: Mapping[str, AttentionParameters]
    streams: Mapping[str, StreamParameters]
    overhead: StepOverhead
    fits: tuple[Fit, ...]
