"""Gradient-boosted trees by scikit-learn (extra `learned`), packed into arrays that are read without it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hardplace.cost.learned.packed import trees_sum
from hardplace.cost.learned.types import PackedTrees
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.ndtypes import Floats

_UNIT = 1e-6


def booster(iterations: int, leaves: int) -> Any:
    """Return an untrained booster: least absolute error, deterministic. BadInput without scikit-learn."""
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError:
        raise BadInput("scikit-learn", None, "the extra learned: pip install 'hardplace[learned]'") from None
    return HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=iterations, learning_rate=0.06, max_leaf_nodes=leaves, min_samples_leaf=20,
        l2_regularization=5.0, random_state=0, early_stopping=False,
    )  # fmt: skip


def boosted(columns: Floats, target: Floats, iterations: int = 150, leaves: int = 8) -> PackedTrees:
    """Return trees that predict a target from features that are whole numbers, shape (rows, features), packed."""
    trained = booster(iterations, leaves).fit(columns, target)
    trees = _packed(trained)
    away = float(np.abs(trees_sum(trees, columns) - trained.predict(columns)).max())
    assert away < 1e-3, f"packed trees are {away} away from scikit-learn's"
    return trees


def _packed(trained: Any) -> PackedTrees:
    """Return a trained booster's trees; its first guess is a tree of one leaf."""
    feature, threshold, left, right = [0], [0], [0], [0]
    value, roots, depth = [round(float(np.ravel(trained._baseline_prediction)[0]) / _UNIT)], [0], 0
    for (one,) in trained._predictors:
        first = len(feature)
        roots.append(first)
        for index, node in enumerate(one.nodes):
            leaf = bool(node["is_leaf"])
            feature.append(0 if leaf else int(node["feature_idx"]))
            threshold.append(0 if leaf else math.floor(node["num_threshold"]))
            left.append(first + (index if leaf else int(node["left"])))
            right.append(first + (index if leaf else int(node["right"])))
            value.append(round(float(node["value"]) / _UNIT) if leaf else 0)
            depth = max(depth, int(node["depth"]))
    return PackedTrees(
        feature=tuple(feature), threshold=tuple(threshold), left=tuple(left), right=tuple(right), value=tuple(value),
        roots=tuple(roots), depth=depth,
    )  # fmt: skip
