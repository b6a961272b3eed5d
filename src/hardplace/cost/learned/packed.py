"""Walk packed regression trees: all rows and trees a level at a time."""

from __future__ import annotations

import numpy as np

from hardplace.cost.learned.types import PackedTrees
from hardplace.ndtypes import Floats

_UNIT = 1e-6
_CHUNK = 1024  # rows a pass: the arrays over (rows, trees) stay in the cache


def trees_sum(trees: PackedTrees, columns: Floats) -> Floats:
    """Return the sum of the trees' leaves for rows of features, shape (rows,)."""
    feature, threshold = np.array(trees.feature), np.array(trees.threshold)
    ways = np.array([trees.left, trees.right])
    value, roots = np.array(trees.value), np.array(trees.roots)
    total = np.empty(len(columns))
    for start in range(0, len(columns), _CHUNK):
        part = columns[start : start + _CHUNK]
        rows = np.arange(len(part))[:, None]
        node = np.broadcast_to(roots, (len(part), len(roots)))
        for _ in range(trees.depth):
            node = ways[(part[rows, feature[node]] > threshold[node]).astype(np.int64), node]
        total[start : start + _CHUNK] = value[node].sum(axis=1)
    return total * _UNIT
