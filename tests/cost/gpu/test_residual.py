"""The packed walk of the residual's trees against a walk of each tree by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.gpu.gemm import gemm_s, gemms
from hardplace.cost.gpu.models import shipped
from hardplace.cost.gpu.residual import features, tree_sum


@pytest.mark.parametrize("count", [240, 3])
def test_the_walk_of_all_trees_is_that_of_each(count: int) -> None:
    """More rows than one pass takes; thresholds themselves among the values; equal to the last digit; an odd number."""
    model, random = shipped("h100-sxm"), np.random.default_rng(0)
    shapes = gemms(*(random.integers(1, 1 << 14, 9000) for _ in range(3)))
    columns, _ = features(shapes, model.datasheet, gemm_s(shapes, [(model.datasheet, model.gemm)])[:, 0])
    trees = model.residual
    assert trees is not None
    assert len(trees.values) == 240
    trees = replace(
        trees, features=trees.features[:count], thresholds=trees.thresholds[:count], values=trees.values[:count]
    )
    columns[0, trees.features[0][0]] = trees.thresholds[0][0]
    found = tree_sum(trees, columns)  # a pass of 8,192 rows, and one of few
    assert np.array_equal(found[:50], tree_sum(trees, columns[:50]))
    for row in (0, 1, 8191, 8192, 8999):
        total = 0
        for asked, thresholds, values in zip(trees.features, trees.thresholds, trees.values, strict=True):
            leaf = 0
            for feature, threshold in zip(asked, thresholds, strict=True):
                leaf = 2 * leaf + int(columns[row, feature] >= threshold)
            total += values[leaf]
        assert found[row] == total * trees.unit
