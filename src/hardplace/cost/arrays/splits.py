"""Seconds of kernels on k cores of their kind, between one core and all of them (docs/model-scheduling.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.types import Engine, Kernel
from hardplace.hardware.types import Chips, Setting
from hardplace.ndtypes import Floats


def powers_of_two(chips: Chips) -> tuple[int, ...]:
    """Return 2, 4, ... below the largest number of cores of one kind."""
    largest = int(max(chips.tensor_cores.max(), chips.vector_cores.max()))
    return tuple(2**power for power in range(1, 13) if 2**power < largest)


def split_seconds(
    kernels: tuple[Kernel, ...], chips: Chips, setting: Setting, tensor_parallel: int, splits: tuple[int, ...]
) -> Floats:
    """Return seconds on each number of cores, shape (splits, kernels, chips); inf where a chip has no more than that.

    k cores have k shares of memory and buffer bandwidth and of the buffer, as one core has one share; a kernel that
    takes tensor and vector cores, k of each, has 2k shares of bandwidth. So it is what kernel_times gives for all
    cores of a chip that has k of each and those shares. Collectives and copies run on no cores: inf.
    """
    found = np.full((len(splits), len(kernels), len(chips)), np.inf)
    total = chips.tensor_cores + chips.vector_cores
    kinds = (
        (Engine.TENSOR, 1, chips.tensor_cores),
        (Engine.VECTOR, 1, chips.vector_cores),
        (Engine.BOTH, 2, np.minimum(chips.tensor_cores, chips.vector_cores)),
    )
    for index, count in enumerate(splits):
        for engine, shares, available in kinds:
            mine = [place for place, kernel in enumerate(kernels) if kernel.engine is engine]
            for cores in np.unique(total[available > count]) if mine else ():
                which = np.flatnonzero((total == cores) & (available > count))
                part = count * shares / float(cores)
                times = kernel_times(
                    tuple(kernels[place] for place in mine),
                    _smaller(chips.take(which), count, int(cores)),
                    replace(
                        setting,
                        memory_bandwidth_bytes_per_s=setting.memory_bandwidth_bytes_per_s * part,
                        buffer_bandwidth_bytes_per_s=setting.buffer_bandwidth_bytes_per_s * part,
                    ),
                    tensor_parallel,
                )
                found[index, np.array(mine)[:, None], which] = times.whole_s
    return found


def _smaller(chips: Chips, count: int, cores: int) -> Chips:
    """Return chips with so many cores of each kind and their share of the buffer."""
    return replace(
        chips,
        tensor_cores=np.full_like(chips.tensor_cores, count),
        vector_cores=np.full_like(chips.vector_cores, count),
        buffer_bytes=chips.buffer_bytes * count // cores,
    )
