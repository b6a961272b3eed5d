"""Seconds of kernels on chips: the slowest of arrays, lanes, buffer and memory (docs/model.md, "Kernel time")."""

from __future__ import annotations

import numpy as np

from hardplace.cost.network import all_reduce_s
from hardplace.cost.tensor import array_cycles
from hardplace.cost.tiling import traffic_bytes
from hardplace.cost.types import Engine, Floats, Ints, Kernel, KernelTimes
from hardplace.hardware.types import Chips, Setting


def _distinct(*columns: Ints) -> tuple[Ints, Ints]:
    """Return the distinct rows of these columns, shape (rows, columns), and each chip's row."""
    packed = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, index = np.unique(column, return_inverse=True)
        packed = packed * len(values) + index
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return np.stack([column[first] for column in columns], axis=1), inverse


def _tensor_s(kernels: tuple[Kernel, ...], cores: Ints, chips: Chips, setting: Setting) -> Floats:
    """Return array seconds, shape (kernels, chips); a kernel's matmuls follow one another."""
    configurations, which = _distinct(cores, chips.array_rows, chips.array_columns)
    flat = tuple(matmul for kernel in kernels for matmul in kernel.matmuls)
    owner = np.array([index for index, kernel in enumerate(kernels) for _ in kernel.matmuls], dtype=np.int64)
    total = np.zeros((len(kernels), len(configurations)))
    np.add.at(total, owner, array_cycles(flat, *configurations.T))
    return np.asarray(total[:, which] / setting.clock_hz)


def _vector_s(kernels: tuple[Kernel, ...], lanes: Ints, setting: Setting) -> Floats:
    """Return vector-lane seconds, shape (kernels, chips)."""
    work = np.array([kernel.lane_cycles for kernel in kernels], dtype=np.float64)[:, None]
    return np.asarray(np.ceil(work / lanes[None, :]) / setting.clock_hz)


def _bytes_into(kernels: tuple[Kernel, ...], buffer_bytes: Ints) -> Floats:
    """Return bytes that enter and leave a level of this size, shape (kernels, chips)."""
    sizes, which = np.unique(buffer_bytes, return_inverse=True)
    size = sizes.astype(np.float64)
    total = np.repeat(np.array([[float(kernel.stream_bytes)] for kernel in kernels]), len(sizes), axis=1)
    tiled = [index for index, kernel in enumerate(kernels) if kernel.tiled]
    total[tiled] += traffic_bytes(tuple(kernels[index].matmuls[0] for index in tiled), size)
    for index, kernel in enumerate(kernels):
        if kernel.reuse is not None:
            reuse = kernel.reuse
            queries = np.maximum(1.0, np.floor(size / reuse.row_bytes))
            passes = np.where(size >= reuse.resident_bytes, 1.0, np.ceil(reuse.queries / queries))
            total[index] += (passes - 1.0) * reuse.heads * reuse.resident_bytes
    return np.asarray(total[:, which])


def _slowest(*parts: Floats) -> Floats:
    return np.asarray(np.max(parts, axis=0))


def kernel_times(kernels: tuple[Kernel, ...], chips: Chips, setting: Setting, tensor_parallel: int) -> KernelTimes:
    """Return seconds of each kernel on each chip, shape (kernels, chips), on one core of its kind and on all.

    A kernel on one core has that core's equal share of memory and buffer bandwidth and of the buffer (two shares if
    it takes a tensor and a vector core), so that cores that run side by side never exceed what the chip has.
    """
    one = np.ones_like(chips.tensor_cores)
    cores = chips.tensor_cores + chips.vector_cores
    shares = np.array([[2.0 if kernel.engine is Engine.BOTH else 1.0] for kernel in kernels]) / cores[None, :]
    # From the shared buffer into the cores' own ones, on whichever cores the tiles run.
    fed_s = _bytes_into(kernels, chips.core_buffer_bytes) / setting.buffer_bandwidth_bytes_per_s
    whole_s = _slowest(
        _tensor_s(kernels, chips.tensor_cores, chips, setting),
        _vector_s(kernels, chips.vector_cores * chips.vector_lanes, setting),
        _bytes_into(kernels, chips.buffer_bytes) / setting.memory_bandwidth_bytes_per_s,
        fed_s,
    )
    single_s = _slowest(
        _tensor_s(kernels, one, chips, setting),
        _vector_s(kernels, chips.vector_lanes, setting),
        _bytes_into(kernels, chips.buffer_bytes // cores) / (setting.memory_bandwidth_bytes_per_s * shares),
        fed_s / shares,
    )
    for index, kernel in enumerate(kernels):
        if kernel.engine is Engine.NETWORK:
            seconds = all_reduce_s(setting.cluster, tensor_parallel, 1, kernel.collective_bytes)
            whole_s[index] = single_s[index] = seconds
    # More cores never hurt: the whole chip can always do what one core does.
    return KernelTimes(single_s=single_s, whole_s=np.minimum(whole_s, single_s))
