"""Seconds of kernels on chips: the slowest of arrays, lanes, buffer and memory (docs/model-cost.md, "Kernels")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.arrays.tiling import traffic_bytes
from hardplace.cost.collectives import collective_s
from hardplace.cost.network import all_reduce_s
from hardplace.cost.precision import BF16, Precision
from hardplace.cost.types import Collective, Engine, Kernel, KernelLevels, KernelTimes, Matmul
from hardplace.hardware.throttle import matrix_share
from hardplace.hardware.types import Chips, Setting
from hardplace.ndtypes import Floats, Ints
from hardplace.units import MIB


def _distinct(*columns: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of these columns, shape (rows, columns), and each chip's row."""
    packed = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, index = np.unique(column, return_inverse=True)
        packed = packed * len(values) + index
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return np.stack([column[first] for column in columns], axis=1), inverse


_BLOCK_PAIRS = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    """What holds for all kernels and chips of a call."""

    setting: Setting
    precision: Precision
    double_buffered: bool

    def bytes_into(self, kernels: tuple[Kernel, ...], buffer_bytes: Ints) -> Floats:
        """Return `bytes_into` by these rules."""
        return bytes_into(kernels, buffer_bytes, self.precision, double_buffered=self.double_buffered)


def summed(kernels: tuple[Kernel, ...], price: Callable[[tuple[Matmul, ...]], Floats], columns: int) -> Floats:
    """Return what the matmuls of each kernel come to, shape (kernels, columns).

    price gives it for matmuls, shape (matmuls, columns); it is asked for the distinct ones only, since a layer's
    projections are often alike.
    """
    total = np.zeros((len(kernels), columns))
    distinct = tuple(dict.fromkeys(matmul for kernel in kernels for matmul in kernel.matmuls))
    if distinct:
        prices = dict(zip(distinct, price(distinct), strict=True))
        for row, kernel in zip(total, kernels, strict=True):
            for matmul in kernel.matmuls:
                row += prices[matmul]
    return total


def _tensor_s(kernels: tuple[Kernel, ...], cores: Ints, chips: Chips, rules: _Rules) -> Floats:
    """Return array seconds, shape (kernels, chips); a kernel's matmuls follow one another."""
    configurations, which = _distinct(cores, chips.array_rows, chips.array_columns)

    def price(matmuls: tuple[Matmul, ...]) -> Floats:
        return array_cycles(
            matmuls,
            configurations[:, 0],
            configurations[:, 1],
            configurations[:, 2],
            rules.precision,
            double_buffered=rules.double_buffered,
            exchange_bytes_per_cycle=rules.setting.buffer_bandwidth_bytes_per_s / rules.setting.clock_hz,
        )

    rate = chips.clocks_hz(rules.setting) * matrix_share(chips, rules.setting)
    return np.asarray(summed(kernels, price, len(configurations))[:, which] / rate)


def _vector_s(kernels: tuple[Kernel, ...], cores: Ints, chips: Chips, setting: Setting) -> Floats:
    """Return vector-lane seconds, shape (kernels, chips): the work, and a tree over a core's lanes a reduction."""
    work = np.array([kernel.lane_cycles for kernel in kernels], dtype=np.float64)[:, None]
    trees = np.array([kernel.reductions for kernel in kernels], dtype=np.float64)[:, None]
    depth = np.ceil(np.log2(chips.vector_lanes))[None, :]
    cycles = np.ceil(work / (cores * chips.vector_lanes)[None, :]) + trees * depth
    return np.asarray(cycles / chips.clocks_hz(setting))


def bytes_into(
    kernels: tuple[Kernel, ...], buffer_bytes: Ints, precision: Precision = BF16, *, double_buffered: bool = True
) -> Floats:
    """Return the least bytes that enter and leave levels of these sizes, shape (kernels, sizes)."""
    sizes, which = np.unique(buffer_bytes, return_inverse=True)
    size = sizes.astype(np.float64)
    total = np.repeat(np.array([[float(kernel.stream_bytes)] for kernel in kernels]), len(sizes), axis=1)

    def price(matmuls: tuple[Matmul, ...]) -> Floats:
        return traffic_bytes(matmuls, size, precision, double_buffered=double_buffered)

    tiled = [index for index, kernel in enumerate(kernels) if kernel.tiled]
    total[tiled] += summed(tuple(kernels[index] for index in tiled), price, len(size))
    for index, kernel in enumerate(kernels):
        if kernel.reuse is not None:
            reuse = kernel.reuse
            queries = np.maximum(1.0, np.floor(size / reuse.row_bytes))
            passes = np.where(size >= reuse.resident_bytes, 1.0, np.ceil(reuse.queries / queries))
            total[index] += (passes - 1.0) * reuse.heads * reuse.resident_bytes
    return np.asarray(total[:, which])


def _together(rules: _Rules, *parts: Floats) -> Floats:
    """Return the time of parts that overlap, the slowest; without double buffering they follow one another."""
    return np.asarray(np.max(parts, axis=0) if rules.double_buffered else np.sum(parts, axis=0))


def _whole_levels(kernels: tuple[Kernel, ...], chips: Chips, rules: _Rules) -> KernelLevels:
    """Return what each level takes where a kernel has the whole chip, shape (kernels, chips)."""
    setting = rules.setting
    memory, buffer = (rules.bytes_into(kernels, size) for size in (chips.buffer_bytes, chips.core_buffer_bytes))
    return KernelLevels(
        array_s=_tensor_s(kernels, chips.tensor_cores, chips, rules),
        lane_s=_vector_s(kernels, chips.vector_cores, chips, setting),
        memory_s=memory / setting.memory_reached_bytes_per_s,
        buffer_s=buffer / buffer_bandwidth_bytes_per_s(chips, setting),
        memory_bytes=memory,
        buffer_bytes=buffer,
    )


def buffer_bandwidth_bytes_per_s(chips: Chips, setting: Setting) -> Floats:
    """Return the bandwidth of each chip's shared buffer: so many bytes a cycle, the setting's at its clock, and no more
    than its banks give.
    """
    clock_hz = chips.clocks_hz(setting)
    found = setting.buffer_bandwidth_bytes_per_s * (clock_hz / setting.clock_hz)
    most = setting.kernels.buffer_bytes_per_cycle_per_mib
    return np.asarray(found if most is None else np.minimum(found, most * (chips.buffer_bytes / MIB) * clock_hz))


def _block_times(kernels: tuple[Kernel, ...], chips: Chips, rules: _Rules) -> tuple[Floats, Floats]:
    """Return seconds on one core and on all of them of the kernels that run on a chip, shape (kernels, chips)."""
    setting = rules.setting
    one = np.ones_like(chips.tensor_cores)
    cores = chips.tensor_cores + chips.vector_cores
    shares = np.array([[2.0 if kernel.engine is Engine.BOTH else 1.0] for kernel in kernels]) / cores[None, :]
    levels = _whole_levels(kernels, chips, rules)
    whole_s = _together(rules, levels.array_s, levels.lane_s, levels.memory_s, levels.buffer_s)
    single_s = _together(
        rules,
        _tensor_s(kernels, one, chips, rules),
        _vector_s(kernels, one, chips, setting),
        rules.bytes_into(kernels, chips.buffer_bytes // cores) / (setting.memory_reached_bytes_per_s * shares),
        # From the shared buffer into the cores' own ones, on whichever cores the tiles run.
        levels.buffer_s / shares,
    )
    whole_s, single_s = whole_s + setting.kernels.launch_s, single_s + setting.kernels.launch_s
    # More cores never hurt: the whole chip can always do what one core does.
    return single_s, np.minimum(whole_s, single_s)


def network_s(kernel: Kernel, setting: Setting, group: int) -> float:
    """Return seconds of a collective among neighbours; all-reduces as the placement has them (`cost.network`)."""
    if kernel.collective is Collective.ALL_REDUCE:
        return all_reduce_s(setting.cluster, group, 1, kernel.collective_bytes)
    return collective_s(setting.cluster, kernel.collective, group, 1, kernel.collective_bytes)


def kernel_levels(
    kernels: tuple[Kernel, ...],
    chips: Chips,
    setting: Setting,
    *,
    precision: Precision = BF16,
    double_buffered: bool = True,
) -> KernelLevels:
    """Return seconds and bytes by level of each kernel with a whole chip to itself, shape (kernels, chips).

    `kernel_times`' whole_s is the slowest of the four (their sum without double buffering); collectives take none.
    """
    rules = _Rules(setting=setting, precision=precision, double_buffered=double_buffered)
    return _whole_levels(kernels, chips, rules)


def blocks(kernels: int, chips: int) -> Iterator[slice]:
    """Yield slices of the chips so that no array over (kernels, chips) inside a block has more than 2**18 numbers.

    >>> list(blocks(2**17, 5))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    size = max(1, _BLOCK_PAIRS // max(1, kernels))
    for start in range(0, chips, size):
        yield slice(start, start + size)


def kernel_times(
    kernels: tuple[Kernel, ...],
    chips: Chips,
    setting: Setting,
    tensor_parallel: int,
    *,
    precision: Precision = BF16,
    double_buffered: bool = True,
) -> KernelTimes:
    """Return the seconds of each kernel on each chip, shape (kernels, chips), on one core of its kind and on all.

    A kernel on one core has that core's equal share of memory and buffer bandwidth and of the buffer (two shares if it
    takes a tensor and a vector core), so that cores that run side by side never exceed what the chip has. Memory beside
    the result is bounded for any number of chips (`blocks`). Infinite where a buffer holds no tile.

    Args:
        kernels: The kernels.
        chips: The chips.
        setting: Memory system and network.
        tensor_parallel: Ranks of the process group of collectives.
        precision: Format of operands and sums.
        double_buffered: False: arrays drain after each tile and the levels take turns (their times add up).

    Source: docs/model-cost.md, "Kernels".
    """
    rules = _Rules(setting=setting, precision=precision, double_buffered=double_buffered)
    single_s, whole_s = np.empty((2, len(kernels), len(chips)))
    for block in blocks(len(kernels), len(chips)):
        here = chips.take(np.arange(len(chips))[block])
        single_s[:, block], whole_s[:, block] = _block_times(kernels, here, rules)
    for index, kernel in enumerate(kernels):
        if kernel.engine is Engine.NETWORK:
            seconds = network_s(kernel, setting, tensor_parallel)
            whole_s[index] = single_s[index] = seconds
    return KernelTimes(single_s=single_s, whole_s=whole_s)
