"""Time of kernels that only move bytes, and what a step takes beyond its kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.types import Datasheet, StepOverhead, StreamParameters
from hardplace.ndtypes import Floats


def stream_s(
    moved_bytes: npt.ArrayLike,
    sheet: Datasheet,
    fitted: StreamParameters,
    *,
    row: npt.ArrayLike = 0,
) -> Floats:
    """Return seconds of kernels that move this many bytes (read + written); row: elements that one reduction spans."""
    moved, length = np.asarray(moved_bytes, dtype=np.float64), np.asarray(row, dtype=np.float64)
    wide = 1.0 + length / fitted.wide_row if fitted.wide_row else np.ones_like(length)
    return np.asarray(fitted.launch_s + moved * wide / (sheet.memory_bandwidth_bytes_per_s * fitted.efficiency))


def step_s(kernels_s: float, kernels: int, overhead: StepOverhead) -> float:
    """Return seconds of a step from the sum of its kernels' times and their number (no communication)."""
    return kernels_s * (1.0 + overhead.framework) + kernels * overhead.gap_s + overhead.constant_s
