"""Partial pooling of figures: a centre with narrow offsets by device, software and flag (docs/model-training.md, 6).

A step's seconds are nearly linear in the logarithms of its figures, so a row is its seconds at one point with the
slopes there (`Slopes`), and a fit of hundreds of rows is linear algebra: the most probable figures given the rows and
normal priors, with absolute errors (single outliers do not pull), by reweighted least squares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats
from hardplace.plans.efficiencies import ARRAYS, FIGURES, GPUS, Figure

_STEP = 0.05  # of a logarithm over which slopes are taken
_SMOOTH = 0.01  # log error below which errors count squared
_NOISE = 0.05  # log error of one run
_ALIKE = 0.3  # correlation of the errors of one source


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """A measured run, linearised near a point.

    Attributes:
        id: Identifier of the row.
        source: Rows of one source are correlated.
        keys: Whose offsets apply (`terms`).
        measured: Log of the measured seconds.
        predicted: Log of the predicted seconds at the point.
        at: The point: log of each figure over its floor.
        slopes: Change of log seconds by each.
    """

    id: str
    source: str
    keys: tuple[str, ...]
    measured: float
    predicted: float
    at: Floats
    slopes: Floats

    def log_s(self, point: Floats) -> float:
        """Return the log seconds at another point."""
        return self.predicted + float(self.slopes @ (point - self.at))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """The result of a fit: logarithms of the centre and of offsets, by "key/figure"."""

    values: Mapping[str, float]

    def point(self, keys: Sequence[str]) -> Floats:
        """Return the logarithms of the figures over their floors of a row with these keys."""
        return np.array([sum(self.values.get(f"{key}/{name}", 0.0) for key in keys) for name in FIGURES])


def slopes_of(
    step_s: Callable[[Mapping[str, float]], float], point: Floats, figures: Collection[str]
) -> tuple[float, Floats]:
    """Return the log seconds at a point and their slopes by the figures named (0 by the others).

    Args:
        step_s: Seconds of a step with these figures.
        point: Log of each figure over its floor.
        figures: Names of the figures to differentiate by.
    """

    def log_s(at: Floats) -> float:
        return float(np.log(step_s(values_at(at))))

    middle, slopes = log_s(point), np.zeros(len(point))
    for index, name in enumerate(FIGURES):
        if name in figures:
            there = point.copy()
            there[index] += _STEP
            slopes[index] = (log_s(there) - middle) / _STEP
    return middle, slopes


def values_at(point: Floats) -> dict[str, float]:
    """Return the figures by name, within what is physically possible."""
    found = {}
    for (name, figure), value in zip(FIGURES.items(), point.tolist(), strict=True):
        found[name] = min(figure.most, max(figure.least, float(np.exp(value)) + figure.floor))
    return found


def start(centre: str = GPUS) -> dict[str, float]:
    """Return the logarithms of where each figure of a centre (`GPUS`, `ARRAYS`) starts."""

    def begins(figure: Figure) -> float:
        return figure.start if centre != ARRAYS or figure.on_arrays is None else figure.on_arrays

    return {name: float(np.log(begins(figure) - figure.floor)) for name, figure in FIGURES.items()}


def fit(
    rows: Sequence[Slopes],
    widths: Callable[[str, str], float],
    steps: int = 40,
    *,
    centres: Sequence[str] = (GPUS,),
    near: Pooled | None = None,
) -> Pooled:
    """Fit the figures to rows: return the most probable ones.

    Args:
        rows: The rows.
        widths: Standard deviation of the prior of a key's offset of a figure, of a centre's of its logarithm about
            where it starts; 0: it has none.
        steps: Steps of reweighted least squares.
        centres: Keys whose offsets are the centres, near where figures start.
        near: Figures to begin the steps at; None: at the means of the priors.
    """
    begin, names = {key: start(key) for key in centres}, list(FIGURES)
    wanted = sorted({key for row in rows for key in row.keys})
    place = {key: index for index, key in enumerate(wanted)}
    terms = [(key, name) for key in wanted for name in names if widths(key, name) > 0.0]
    mean = np.array([begin[key][name] if key in centres else 0.0 for key, name in terms])
    sd = np.array([widths(key, name) for key, name in terms])
    has = np.zeros((len(rows), len(wanted)))
    for index, row in enumerate(rows):
        has[index, [place[key] for key in row.keys]] = 1.0
    slopes = np.array([row.slopes for row in rows])
    design = slopes[:, [names.index(name) for _, name in terms]] * has[:, [place[key] for key, _ in terms]]
    target = np.array([row.measured - row.predicted + float(row.slopes @ row.at) for row in rows])
    often = Counter(row.source for row in rows)
    alone = [1.0 / (1.0 + _ALIKE * (often[row.source] - 1)) for row in rows]
    weight = np.array(alone) / _NOISE
    known = {} if near is None else near.values
    found = np.array([known.get(f"{key}/{name}", value) for (key, name), value in zip(terms, mean, strict=True)])
    error = target - design @ found
    prior = np.diag(1.0 / sd**2)
    for _ in range(steps):
        scaled = weight / np.sqrt(error**2 + _SMOOTH**2)
        curvature = design.T @ (design * scaled[:, None]) + prior
        found = mean + np.linalg.solve(curvature, design.T @ (scaled * (target - design @ mean)))
        error = target - design @ found
    return Pooled(values={f"{key}/{name}": float(value) for (key, name), value in zip(terms, found, strict=True)})
