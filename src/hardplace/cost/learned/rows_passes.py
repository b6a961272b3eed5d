"""Time of fp32 kernels that pass over rows: element-wise, softmax, layer norm. Equation: docs/learned.md, rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hardplace.cost.learned.products import floored
from hardplace.cost.learned.types import VectorKernels, VectorSheet
from hardplace.ndtypes import Floats

_MOST_EFFICIENCY = 0.93
_BANDWIDTH = 6e11  # bytes a second at which the efficiency is as fitted
_AGAIN = {"softmax": 2.0, "layer_norm": 1.0}  # times that a row is read again when it does not stay in the L2
PASS_RANGES = {
    "efficiency": (0.4, 1.0),
    "slope": (-0.25, 0.25),
    "launch_s": (1e-6, 4e-5),
    "floor_s": (5e-6, 1e-4),
    "rows_in_flight": (0.5, 60.0),
    "row_cycles": (10.0, 8000.0),
    "word_cycles": (0.1, 400.0),
    "norm": (1.0, 6.0),
    "odd": (0.0, 2.0),
}
PASS_START = {
    "efficiency": 0.78,
    "slope": 0.01,
    "launch_s": 6e-6,
    "floor_s": 3e-5,
    "rows_in_flight": 6.0,
    "row_cycles": 500.0,
    "word_cycles": 20.0,
    "norm": 2.0,
    "odd": 0.2,
}
ELEMENTWISE_FIGURES = ("efficiency", "slope", "launch_s", "floor_s")


def pass_s(kernels: VectorKernels, sheet: VectorSheet, figures: Mapping[str, float], family: str) -> Floats:
    """Return the seconds of each kernel on one device, shape (kernels,)."""
    b, h = np.asarray(kernels.b, dtype=np.float64), np.asarray(kernels.h, dtype=np.float64)
    bandwidth = sheet.memory_bandwidth_bytes_per_s
    efficiency = min(figures["efficiency"] * (bandwidth / _BANDWIDTH) ** figures["slope"], _MOST_EFFICIENCY)
    moved = 4.0 * b * h * kernels.operands
    if family not in _AGAIN:
        return floored(figures["launch_s"] + moved / (bandwidth * efficiency), figures["floor_s"])
    resident = (figures["rows_in_flight"] * sheet.multiprocessors * 4.0 * h / sheet.l2_bytes) ** 4
    missed = resident / (1.0 + resident)
    if family == "softmax":
        missed = np.where(h <= 1024, 0.0, missed)  # a warp holds the row in its registers
    moved += _AGAIN[family] * 4.0 * b * h * missed
    cycles = figures["row_cycles"] + figures["word_cycles"] * padded(h, family) / 32.0
    row_s = b * cycles / (sheet.multiprocessors * sheet.clock_hz)
    row_s *= 1.0 + figures["odd"] * (kernels.h % 4 != 0)
    norm = figures["norm"]
    body_s = ((moved / (bandwidth * efficiency)) ** norm + row_s**norm) ** (1.0 / norm)
    return floored(figures["launch_s"] + body_s, figures["floor_s"])


def padded(h: Floats, family: str) -> Floats:
    """Return the elements of a row as its block of threads goes over them, four by four."""
    if family != "softmax":
        return np.asarray(np.ceil(h / 512.0) * 512.0)
    warp = 2.0 ** np.ceil(np.log2(h))
    block = 4.0 * 2.0 ** np.floor(np.log2(np.maximum(h / 4.0, 1.0)))
    return np.where(h <= 1024, warp, np.where(h <= 4096, np.ceil(h / block) * block, h))
