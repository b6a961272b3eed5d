"""Grouped GEMMs of a mixture of experts: one kernel for all groups, or one for each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.types import Datasheet, GemmParameters, Layout


def grouped_gemm_s(
    tokens: npt.ArrayLike,
    n: int,
    k: int,
    sheet: Datasheet,
    fitted: GemmParameters,
    *,
    one_kernel: bool,
    layout: Layout = Layout.TN,
    output_bytes: float = 2.0,
) -> float:
    """Return seconds of the products of each expert's tokens with its own weights.

    tokens: rows of each group, zeros allowed. In layout NT (weight gradients) tokens are the summed dimension, and
    n x k is the size of the result. one_kernel: all groups share the waves, as a batch of their mean size, and none is
    faster than alone; otherwise the groups follow each other with a launch each.
    """
    counts = np.asarray(tokens, dtype=np.int64)
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    device = [(sheet, fitted)]

    def shapes(rows: npt.ArrayLike, batch: int = 1) -> float:
        sizes = (n, k, rows) if layout is Layout.NT else (rows, n, k)
        found = gemms(*sizes, batch=batch, layout=layout, output_bytes=output_bytes)
        return float(gemm_s(found, device).sum())

    if not one_kernel:
        return shapes(counts)
    mean = int(np.ceil(counts.mean()))
    return max(shapes(mean, len(counts)), shapes(int(counts.max())))
