"""The learned correction on top of the GEMM model: features of a GEMM, and trees on them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hardplace.cost.gpu.gemm import Gemms, gemm_s
from hardplace.cost.gpu.types import Datasheet, GemmParameters, Trees
from hardplace.ndtypes import Floats, Ints

_CHUNK = 512  # GEMMs a pass: the arrays over (GEMMs, trees) stay in the cache
_WAVE_TILES = ((128, 256), (128, 128), (256, 128))


def features(shapes: Gemms, sheet: Datasheet, model_s: Floats) -> tuple[Floats, tuple[bool, ...]]:
    """Return the features of GEMMs, shape (GEMMs, features), and which of them grow with k (the others do not know k).

    model_s: the model's time of each GEMM on this device.
    """
    m, n, k = (np.asarray(size, dtype=np.float64) for size in (shapes.m, shapes.n, shapes.k))
    free = [np.log2(m), np.log2(n), np.log2(m * n), np.log2(m / n)]
    for rows, columns in _WAVE_TILES:
        waves = np.ceil(m / rows) * np.ceil(n / columns) / sheet.multiprocessors
        free += [np.log2(waves), np.ceil(waves) / waves]
    free += [np.ceil(m / 128) * 128 / m, np.ceil(n / 256) * 256 / n, np.ceil(m / 256) * 256 / m]
    free += [np.minimum(np.log2(shapes.m & -shapes.m), 8.0)]
    moved = 2.0 * (m * n + n * k + m * k)
    growing = [np.log2(k), np.log2(n * k), np.log2(m * k), np.log2(m * n * k), np.log2(model_s)]
    growing += [np.log2(m * n * k / moved), np.log2(moved / sheet.l2_bytes)]
    return np.stack(free + growing, axis=1), (False,) * len(free) + (True,) * len(growing)


def corrected_gemm_s(shapes: Gemms, sheet: Datasheet, figures: GemmParameters, trees: Trees | None) -> Floats:
    """Return seconds of each GEMM on one device: the model's, with the correction where there is one."""
    model_s = gemm_s(shapes, [(sheet, figures)])[:, 0]
    return model_s if trees is None else corrected_s(shapes, sheet, model_s, trees)


def corrected_s(shapes: Gemms, sheet: Datasheet, model_s: Floats, trees: Trees) -> Floats:
    """Return the model's times of GEMMs with the correction; batched ones, which were not fitted, are as they were."""
    columns, _ = features(shapes, sheet, model_s)
    log_model = np.log(model_s)
    total = trees.intercept + (1.0 - trees.damping) * log_model + tree_sum(trees, columns)
    limited = np.clip(total, log_model - trees.limit, log_model + trees.limit)
    return np.asarray(np.where(shapes.batch == 1, np.exp(limited), model_s))


@lru_cache(maxsize=16)
def _arrays(trees: Trees) -> tuple[Ints, Floats, Ints]:
    """Return features and thresholds, shape (trees, depth), and the leaves of all trees in a row."""
    return np.array(trees.features), np.array(trees.thresholds), np.array(trees.values).reshape(-1)


def tree_sum(trees: Trees, columns: Floats) -> Floats:
    """Return the sum of the trees' values for rows of features."""
    which, thresholds, flat = _arrays(trees)
    first = np.arange(len(which), dtype=np.int32) << which.shape[1]  # of each tree's leaves
    total = np.empty(len(columns))
    for start in range(0, len(columns), _CHUNK):
        part = np.ascontiguousarray(columns[start : start + _CHUNK].T)
        leaf = first[:, None] + np.zeros(part.shape[1], dtype=np.int32)
        for level in range(which.shape[1]):
            leaf += (part[which[:, level]] >= thresholds[:, level, None]) * np.int32(1 << which.shape[1] - 1 - level)
        total[start : start + _CHUNK] = flat[leaf].sum(axis=0)
    return total * trees.unit
