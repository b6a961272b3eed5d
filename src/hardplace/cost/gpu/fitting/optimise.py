"""Fit a few bounded figures to times: damped Gauss-Newton steps on a smoothed mean absolute error of logarithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hardplace.ndtypes import Floats

_SMOOTH = 1e-4  # of squared log errors: below 1 % the error counts squared
_PRIOR = 1e-4  # pull of the start, in weights a squared unit of the logit
_PROBE = 1e-3
_STEPS = 60


def fit(
    predict_s: Callable[[dict[str, float]], Floats],
    start: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    measured_s: Floats,
    weight: Floats,
) -> dict[str, float]:
    """Return figures within their ranges that predict the measured times best.

    Least sum of weight * |log(predicted / measured)| (smoothed near zero, so that single outliers do not pull), by
    iteratively reweighted Levenberg-Marquardt steps in the logits of the figures; deterministic. A weak pull towards
    the start keeps figures that the data do not settle where they are physically sensible.
    """
    names = list(start)
    low, high = np.array([ranges[name] for name in names]).T
    share = np.clip((np.array([start[name] for name in names]) - low) / (high - low), 1e-3, 1 - 1e-3)
    first = np.log(share / (1 - share))
    pull = _PRIOR * weight.sum()

    def decode(at: Floats) -> dict[str, float]:
        return dict(zip(names, (low + (high - low) / (1 + np.exp(-at))).tolist(), strict=True))

    def errors(at: Floats) -> Floats:
        return np.asarray(np.log(predict_s(decode(at)) / measured_s))

    def loss(at: Floats, error: Floats) -> float:
        return float((weight * np.sqrt(error**2 + _SMOOTH)).sum() + pull * ((at - first) ** 2).sum())

    at, error, damping = first, errors(first), 1e-2
    current = loss(at, error)
    for _ in range(_STEPS):
        slopes = np.stack([(errors(at + _PROBE * unit) - error) / _PROBE for unit in np.eye(len(at))], axis=1)
        weights = weight / np.sqrt(error**2 + _SMOOTH)
        curvature = slopes.T @ (slopes * weights[:, None]) + 2 * pull * np.eye(len(at))
        gradient = slopes.T @ (weights * error) + 2 * pull * (at - first)
        before = current
        for _ in range(6):
            move = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -gradient)
            there = at + np.clip(move, -0.5, 0.5)
            error_there = errors(there)
            if (value := loss(there, error_there)) < current:
                at, error, current, damping = there, error_there, value, max(damping / 3, 1e-4)
                break
            damping *= 4
        if before - current < 1e-4 * before:
            break
    return decode(at)
