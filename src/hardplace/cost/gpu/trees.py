"""Fit oblivious trees, monotone in some features, by gradient boosting on histograms. Used by calibration only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardplace.cost.gpu.types import Trees
from hardplace.ndtypes import Floats, Ints

_TREES, _DEPTH, _RATE = 240, 6, 0.12
_BINS = 64
_RIDGE = 30.0  # weight of rows that a leaf is taken to have with no error
_SHARE = 0.7  # of the rows that a tree sees
_CAP = 0.25  # of an error in log(time) that a tree is asked to correct
_UNIT = 1e-5
_SEED = 0
LIMIT, DAMPING = 0.6, 0.1


def boost(columns: Floats, growing: Sequence[bool], log_model: Floats, log_measured: Floats, weight: Floats) -> Trees:
    """Return trees that correct a model: target log(measured) from features, never falling in the `growing` ones.

    Deterministic. Friedman 2001 (gradient boosting), Prokhorenkova et al. 2018 (oblivious trees).
    """
    target = log_measured - (1.0 - DAMPING) * log_model
    intercept = float(np.median(target))
    cuts_at = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = [np.unique(np.quantile(one, cuts_at).astype(np.float32)).astype(np.float64) for one in columns.T]
    bins = np.stack([np.searchsorted(e, one, side="right") for e, one in zip(edges, columns.T, strict=True)], axis=1)
    random = np.random.default_rng(_SEED)
    total = np.zeros(len(target))
    features, thresholds, leaves = [], [], []
    for _ in range(_TREES):
        error = np.clip(target - intercept - total, -_CAP, _CAP)
        rows = np.flatnonzero(random.random(len(target)) < _SHARE)
        tried = random.permutation(columns.shape[1])[: max(6, columns.shape[1] * 2 // 3)]
        which, cuts, leaf = _grow(bins[rows], edges, tried, growing, weight[rows] * error[rows], weight[rows])
        values = _values(leaf, [growing[feature] for feature in which], weight[rows] * error[rows], weight[rows])
        integers = np.round(_RATE * values / _UNIT).astype(np.int64)
        total += integers[_leaf(bins, which, cuts)] * _UNIT
        features.append(tuple(which))
        thresholds.append(tuple(float(edges[feature][cut]) for feature, cut in zip(which, cuts, strict=True)))
        leaves.append(tuple(integers.tolist()))
    return Trees(
        features=tuple(features),
        thresholds=tuple(thresholds),
        values=tuple(leaves),
        unit=_UNIT,
        intercept=intercept,
        damping=DAMPING,
        limit=LIMIT,
    )


def _leaf(bins: Ints, which: Sequence[int], cuts: Sequence[int]) -> Ints:
    """Return the leaf of each row."""
    leaf = np.zeros(len(bins), dtype=np.int64)
    for feature, cut in zip(which, cuts, strict=True):
        leaf = 2 * leaf + (bins[:, feature] > cut)
    return leaf


def _grow(
    bins: Ints, edges: Sequence[Floats], tried: Ints, growing: Sequence[bool], errors: Floats, weights: Floats
) -> tuple[list[int], list[int], Ints]:
    """Return the feature and the cut of each level, chosen greedily, and the leaf of each row."""
    which: list[int] = []
    cuts: list[int] = []
    leaf = np.zeros(len(bins), dtype=np.int64)
    for level in range(_DEPTH):
        best = (-np.inf, 0, 0)
        for feature in tried.tolist():
            key = leaf * _BINS + bins[:, feature]
            gain = _gains(key, 1 << level, growing[feature], errors, weights)[: len(edges[feature])]
            if len(gain) and gain.max() > best[0]:
                best = (float(gain.max()), feature, int(gain.argmax()))
        _, feature, cut = best
        which.append(feature)
        cuts.append(cut)
        leaf = 2 * leaf + (bins[:, feature] > cut)
    return which, cuts, leaf


def _gains(key: Ints, nodes: int, grows: bool, errors: Floats, weights: Floats) -> Floats:
    """Return the fall of the squared error for each cut of one feature, summed over the nodes of a level."""
    error = np.bincount(key, errors, nodes * _BINS).reshape(nodes, _BINS)
    weight = np.bincount(key, weights, nodes * _BINS).reshape(nodes, _BINS)
    error_all, weight_all = error.sum(axis=1, keepdims=True), weight.sum(axis=1, keepdims=True)
    error_low, weight_low = error.cumsum(axis=1)[:, :-1], weight.cumsum(axis=1)[:, :-1]
    low = error_low / (weight_low + _RIDGE)
    high = (error_all - error_low) / (weight_all - weight_low + _RIDGE)
    gain = error_low * low + (error_all - error_low) * high
    if grows:
        gain = np.where(high >= low, gain, error_all**2 / (weight_all + _RIDGE))
    return np.asarray(gain.sum(axis=0))


def _values(leaf: Ints, growing: Sequence[bool], errors: Floats, weights: Floats) -> Floats:
    """Return the mean error of each leaf, shrunk, and not falling along the levels that ask about growing features."""
    shape = (2,) * _DEPTH
    rows = np.bincount(leaf, weights, 1 << _DEPTH)
    value = np.asarray(np.bincount(leaf, errors, 1 << _DEPTH) / (rows + _RIDGE)).reshape(shape)
    weight = (rows + 1e-9).reshape(shape)
    for _ in range(4):
        for axis in np.flatnonzero(growing).tolist():
            low, high = value.take(0, axis), value.take(1, axis)
            low_weight, high_weight = weight.take(0, axis), weight.take(1, axis)
            mean = (low * low_weight + high * high_weight) / (low_weight + high_weight)
            value = np.stack([np.where(low > high, mean, low), np.where(low > high, mean, high)], axis)
    for axis in np.flatnonzero(growing).tolist():
        value = np.maximum.accumulate(value, axis)
    return np.asarray(value.reshape(-1))
