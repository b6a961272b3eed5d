"""How well fp32 kernel models meet measured rows: mean error with its interval, rank correlation, by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cost.learned.measured import MeasuredKernels
from hardplace.cost.learned.predict import equation_s, vector_times
from hardplace.cost.learned.types import FAMILIES, PRODUCTS, VectorKernels, VectorModel, VectorSheet
from hardplace.ndtypes import Floats

_DRAWS, _MOST_PAIRED = 1000, 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorScore:
    """How a predictor does on some rows.

    Attributes:
        predictor: Its name.
        rows: How many rows.
        mape: Mean absolute error, of the measured time.
        low: Lower end of its 95 % interval (rows drawn again, by shape).
        high: Upper end.
        tau: Kendall's rank correlation with the measured times.
    """

    predictor: str
    rows: int
    mape: float
    low: float
    high: float
    tau: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyScore:
    """Scores on the rows of one family of one device, or of several.

    Attributes:
        family: Family.
        device: Device, or what the set is called.
        how: Whose figures the shipped model used: own, relatives or all.
        distance: From the device's sheet to the nearest measured one.
        scores: Of each predictor.
    """

    family: str
    device: str
    how: str
    distance: float
    scores: tuple[PredictorScore, ...]


def roofline_s(kernels: VectorKernels, sheet: VectorSheet, family: str) -> Floats:
    """Return the longer of FLOPs over the peak and bytes over the bandwidth."""
    m, n, k, b, h = (
        np.asarray(one, dtype=np.float64) for one in (kernels.m, kernels.n, kernels.k, kernels.b, kernels.h)
    )
    if family not in PRODUCTS:
        return np.asarray(4.0 * b * h * kernels.operands / sheet.memory_bandwidth_bytes_per_s)
    moved = 4.0 * b * (m * k + n * k + m * n)
    return np.maximum(2.0 * b * m * n * k / sheet.fp32_flops_per_s, moved / sheet.memory_bandwidth_bytes_per_s)


def score(predictor: str, predicted_s: Floats, rows: MeasuredKernels) -> PredictorScore:
    """Return how a predictor does on rows."""
    error = np.abs(predicted_s / rows.time_s - 1.0)
    low, high = mean_interval(error, _shape_keys(rows))
    return PredictorScore(
        predictor=predictor, rows=len(error), mape=float(error.mean()), low=low, high=high,
        tau=kendall_tau(predicted_s, rows.time_s),
    )  # fmt: skip


def shipped_scores(
    rows: MeasuredKernels, sheets: Mapping[str, VectorSheet], model: VectorModel
) -> tuple[FamilyScore, ...]:
    """Return the scores of roofline, pooled equation, equation and shipped model, by family and device."""
    found = []
    for family in FAMILIES:
        for device in rows.of(family).devices:
            of, sheet = rows.of(family, device), sheets[device]
            times = vector_times(of.kernels, sheet, family, model)
            pooled = equation_s(of.kernels, sheet, dict(model.families[family].pooled), family)
            parts = {
                "roofline": roofline_s(of.kernels, sheet, family),
                "one equation for all": pooled,
                "equation": times.equation_s,
                "shipped": times.seconds,
            }
            found.append(
                FamilyScore(
                    family=family,
                    device=device,
                    how=times.how,
                    distance=times.distance,
                    scores=tuple(score(name, seconds, of) for name, seconds in parts.items()),
                )
            )
    return tuple(found)


def pooled_score(of: Sequence[FamilyScore], predictor: str) -> tuple[int, float]:
    """Return rows and mean error of a predictor over several devices, each row counting once."""
    chosen = [one for group in of for one in group.scores if one.predictor == predictor]
    rows = sum(one.rows for one in chosen)
    return rows, sum(one.rows * one.mape for one in chosen) / rows if rows else float("nan")


def mean_interval(error: Floats, keys: Sequence[object]) -> tuple[float, float]:
    """Return the 95 % interval of a mean: rows of one key are drawn together, 1,000 times."""
    index = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    group = np.array([index[key] for key in keys])
    total, count = np.bincount(group, error), np.bincount(group)
    random = np.random.default_rng(0)
    draws = random.integers(len(total), size=(_DRAWS, len(total)))
    means = total[draws].sum(axis=1) / count[draws].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def kendall_tau(one: Floats, other: Floats) -> float:
    """Return Kendall's tau-b of two series; of a sample of 1,500 where there are more."""
    if len(one) > _MOST_PAIRED:
        chosen = np.random.default_rng(0).permutation(len(one))[:_MOST_PAIRED]
        one, other = one[chosen], other[chosen]
    a, b = (np.sign(x[:, None] - x[None, :]) for x in (one, other))
    ties = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / ties) if ties else 0.0


def _shape_keys(rows: MeasuredKernels) -> list[tuple[int, ...]]:
    of = rows.kernels
    return list(zip(of.b.tolist(), of.m.tolist(), of.n.tolist(), of.k.tolist(), of.h.tolist(), strict=True))
