"""What the learned residual knows of a kernel: ratios to its device, no device by name and no unbounded size alone."""

from __future__ import annotations

import numpy as np

from hardplace.cost.learned.rows_passes import padded
from hardplace.cost.learned.types import PRODUCTS, VectorKernels, VectorSheet
from hardplace.ndtypes import Floats, Ints


def features(kernels: VectorKernels, sheet: VectorSheet, model_s: Floats, family: str) -> Floats:
    """Return features of kernels of one family on one device, shape (kernels, features): whole numbers of 1/256.

    model_s: the equation's time of each.
    """
    return np.round(256.0 * _features(kernels, sheet, model_s, family))


def _features(kernels: VectorKernels, sheet: VectorSheet, model_s: Floats, family: str) -> Floats:
    count = float(sheet.multiprocessors)
    if family not in PRODUCTS:
        b, h = (np.asarray(one, dtype=np.float64) for one in (kernels.b, kernels.h))
        columns = [np.log2(h), _twos(kernels.h, 6), padded(h, "softmax") / h, padded(h, "layer_norm") / h]
        columns += [np.log2(count * 4.0 * h / sheet.l2_bytes), np.log2(8.0 * b * h / sheet.l2_bytes)]
        columns += [np.log2(b / count), np.log2(model_s)]
        return np.stack(columns, axis=1)
    m, n, k, b = (np.asarray(one, dtype=np.float64) for one in (kernels.m, kernels.n, kernels.k, kernels.b))
    moved, flops = 4.0 * b * (m * n + m * k + n * k), 2.0 * b * m * n * k
    ridge = sheet.fp32_flops_per_s / sheet.memory_bandwidth_bytes_per_s
    columns = [np.log2(np.minimum(m, n)), np.log2(np.maximum(m, n)), np.log2(k), np.log2(n)]
    columns += [np.log2(flops / moved / ridge), np.log2(moved / sheet.l2_bytes)]
    columns += [_twos(kernels.k, 5), _twos(kernels.n, 5), _twos(kernels.m, 5)]
    for rows, across in ((128, 128), (64, 64), (128, 64)):
        waves = b * np.ceil(m / rows) * np.ceil(n / across) / count
        columns += [np.log2(waves), np.ceil(waves) / waves]
    columns += [np.ceil(m / 128) * 128 / m, np.ceil(n / 128) * 128 / n]
    columns += [np.ceil(m / 64) * 64 / m, np.ceil(n / 64) * 64 / n, np.log2(model_s)]
    return np.stack(columns, axis=1)


def _twos(size: Ints, most: int) -> Floats:
    """Return log2 of the largest power of two that divides a size."""
    return np.minimum(np.log2((size & -size).astype(np.float64)), float(most))
