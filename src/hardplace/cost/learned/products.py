"""Time of fp32 products on a GPU's lanes. Equation, assumptions and sources: docs/learned.md, products."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hardplace.cost.learned.types import VectorKernels, VectorSheet
from hardplace.ndtypes import Floats

TILES: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (128, 128, (1, 2, 4, 8, 16)),
    (256, 128, (1,)),
    (128, 64, (1, 2, 4, 8, 16)),
    (64, 128, (1,)),
    (64, 64, (1, 2, 4, 8, 16)),
    (128, 32, (1,)),
    (32, 128, (1,)),
    (32, 32, (1,)),
)  # rows and columns of a tile, and the splits along k that are tried with it
POWER_EXPONENT = 0.5  # of the rate in the power: between 1 (voltage stays) and 1/3 (voltage falls with the clock)
PRODUCT_RANGES = {
    "efficiency": (0.4, 1.0),
    "joule_per_flop": (5e-12, 6e-11),
    "start_depth": (4.0, 200.0),
    "load_bytes_per_cycle": (4.0, 256.0),
    "dram_efficiency": (0.3, 1.0),
    "reread": (0.0, 1.0),
    "wave_rounding": (0.0, 1.0),
    "launch_s": (1e-6, 4e-5),
    "floor_s": (5e-6, 1e-4),
    "split_s": (1e-7, 2e-5),
    "norm": (1.2, 6.0),
    "odd_memory": (0.0, 3.0),
    "odd_tile": (0.0, 1.0),
}
PRODUCT_START = {
    "efficiency": 0.85,
    "joule_per_flop": 1.8e-11,
    "start_depth": 60.0,
    "load_bytes_per_cycle": 40.0,
    "dram_efficiency": 0.8,
    "reread": 0.3,
    "wave_rounding": 0.5,
    "launch_s": 8e-6,
    "floor_s": 3e-5,
    "split_s": 3e-6,
    "norm": 3.0,
    "odd_memory": 0.3,
    "odd_tile": 0.05,
}


def product_s(kernels: VectorKernels, sheet: VectorSheet, figures: Mapping[str, float]) -> Floats:
    """Return the seconds of each product on one device, shape (kernels,)."""
    m, n, k, b = (np.asarray(one, dtype=np.float64) for one in (kernels.m, kernels.n, kernels.k, kernels.b))
    count, bandwidth = sheet.multiprocessors, sheet.memory_bandwidth_bytes_per_s
    throttled = (sheet.power_w / (sheet.fp32_flops_per_s * figures["joule_per_flop"])) ** POWER_EXPONENT
    rate = sheet.fp32_flops_per_s * figures["efficiency"] * min(1.0, throttled)
    odd = ((kernels.k % 4 != 0) | (kernels.n % 4 != 0)).astype(np.float64)
    operands = 4.0 * b * (m * k + n * k)
    side = np.sqrt(count * 2.0 * 128.0 * 128.0)
    footprint = 4.0 * (m * k + n * k) / sheet.l2_bytes
    waves_read = 8.0 * b * m * n * k / np.minimum(side, np.maximum(m, n))
    again = np.maximum(waves_read - operands, 0.0) * figures["reread"] * footprint / (1.0 + footprint)
    memory_s = (operands + 4.0 * b * m * n + again) / (bandwidth * figures["dram_efficiency"])
    memory_s *= 1.0 + figures["odd_memory"] * odd
    slower, norm = 1.0 + figures["odd_tile"] * odd, figures["norm"]
    memory = memory_s**norm
    best = np.full(len(kernels), np.inf)
    for rows, columns, splits in TILES:
        compute = 2.0 * rows * columns * count / rate
        load = 4.0 * (rows + columns) / (figures["load_bytes_per_cycle"] * sheet.clock_hz)
        step_s = (compute**4 + load**4) ** 0.25
        tiles = b * np.ceil(m / rows) * np.ceil(n / columns) / count
        for split in splits:
            share = tiles * split
            waves = np.maximum(1.0, share + figures["wave_rounding"] * (np.ceil(share) - share))
            tile_s = waves * (np.ceil(k / split / 8.0) * 8.0 + figures["start_depth"]) * step_s * slower
            time_s = (tile_s**norm + memory) ** (1.0 / norm)
            if split > 1:
                time_s += figures["split_s"] + split * 8.0 * b * m * n / (bandwidth * 1.5)
            best = np.minimum(best, time_s)
    return floored(best + figures["launch_s"], figures["floor_s"])


def floored(time_s: Floats, floor_s: float) -> Floats:
    """Return the time as it is measured: the kernel's, or the host's where that is longer (6-norm)."""
    return np.asarray((time_s**6 + floor_s**6) ** (1.0 / 6.0))
