"""The learned correction on top of the GEMM model: features of a GEMM, and trees on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hardplace.cost.gpu.gemm import Gemms, gemm_s
from hardplace.cost.gpu.types import Datasheet, GemmParameters, Trees
from hardplace.ndtypes import Floats, Ints

_CHUNK = 8192  # GEMMs a pass
_DEEPEST = 12  # levels of two trees in one: its leaves lie in the first cache
_MANY = 1024  # GEMMs from which trees are looked up one by one, so that each look-up stays in the cache
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
    found = np.empty(len(shapes))
    for start in range(0, len(shapes), _CHUNK):  # features of many GEMMs leave the cache
        here = slice(start, start + _CHUNK)
        part, part_s = shapes[here], model_s[here]
        columns, _ = features(part, sheet, part_s)
        log_model = np.log(part_s)
        total = trees.intercept + (1.0 - trees.damping) * log_model + tree_sum(trees, columns)
        limited = np.clip(total, log_model - trees.limit, log_model + trees.limit)
        found[here] = np.where(part.batch == 1, np.exp(limited), part_s)
    return found


_Leaves = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Questions:
    """Trees as distinct questions: a threshold of a feature, those of one feature beside each other.

    Two trees, one of each half, are looked up as one: its leaves are the sums of theirs.

    Attributes:
        features: Feature, with the first and the last of its questions.
        thresholds: Of each question, one column.
        asked: Question of each level and tree, shape (depth, trees).
        leaves: Leaves of each two trees, shape (trees / 2, 4^depth); of deep ones, of each, shape (trees, 2^depth).
    """

    features: tuple[tuple[int, int, int], ...]
    thresholds: Floats
    asked: Ints
    leaves: _Leaves


@lru_cache(maxsize=16)
def _questions(trees: Trees) -> _Questions:
    pairs = list(zip(sum(trees.features, ()), sum(trees.thresholds, ()), strict=True))
    distinct = sorted(set(pairs))
    place = {pair: index for index, pair in enumerate(distinct)}
    asking = [feature for feature, _ in distinct]
    depth = len(trees.features[0])
    asked = np.array([place[pair] for pair in pairs]).reshape(-1, depth)
    leaves = np.array(trees.values, dtype=np.int32)
    if 2 * depth <= _DEEPEST:
        if len(asked) % 2:  # one more, which adds nothing
            asked, leaves = np.vstack((asked, asked[:1])), np.vstack((leaves, np.zeros_like(leaves[:1])))
        first, second = np.split(leaves, 2)
        leaves = (first[:, :, None] + second[:, None, :]).reshape(len(first), -1)
    assert np.abs(leaves).max(axis=1).sum(dtype=np.int64) < 2**31
    return _Questions(
        features=tuple((one, asking.index(one), asking.index(one) + asking.count(one)) for one in sorted(set(asking))),
        thresholds=np.array([threshold for _, threshold in distinct])[:, None],
        asked=np.ascontiguousarray(asked.T),
        leaves=leaves,
    )


def tree_sum(trees: Trees, columns: Floats) -> Floats:
    """Return the sum of the trees' values for rows of features: each distinct question is asked once of all rows."""
    of = _questions(trees)
    total = np.empty(len(columns))
    for start in range(0, len(columns), _CHUNK):
        part = np.ascontiguousarray(columns[start : start + _CHUNK].T)
        answers = np.empty((len(of.thresholds), part.shape[1]), dtype=np.uint8)
        for feature, begin, end in of.features:
            np.greater_equal(part[feature], of.thresholds[begin:end], out=answers[begin:end].view(np.bool_))
        leaf = answers.take(of.asked[0], axis=0)  # at most eight levels
        answer = np.empty_like(leaf)
        for asked in of.asked[1:]:
            leaf += leaf
            leaf |= answers.take(asked, axis=0, out=answer, mode="clip")
        total[start : start + _CHUNK] = _leaves_sum(of.leaves, _in_twos(of, leaf))
    return total * trees.unit


def _in_twos(of: _Questions, leaf: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return the leaves of each two trees as one, where they are looked up so; leaf: shape (trees, rows)."""
    half = len(of.leaves)
    if half == len(leaf):
        return leaf
    both = leaf[:half].astype(np.uint16)
    both <<= len(of.asked)
    both |= leaf[half:]
    return both


def _leaves_sum(leaves: _Leaves, leaf: npt.NDArray[np.uint8 | np.uint16]) -> Ints:
    """Return the sum over trees of the leaf that each row ends in; leaf: shape (trees, rows)."""
    trees, rows = leaf.shape
    if rows < _MANY:
        return np.asarray(leaves[np.arange(trees)[:, None], leaf].sum(axis=0, dtype=np.int64))
    total, values = np.zeros(rows, dtype=np.int32), np.empty(rows, dtype=np.int32)  # as wide as `_questions` proves
    for tree in range(trees):
        leaves[tree].take(leaf[tree], out=values, mode="clip")
        total += values
    return total.astype(np.int64)
