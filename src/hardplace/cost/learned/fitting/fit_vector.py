"""Fit the fp32 kernel models on measured rows; whether a residual ships is decided on rows held out of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.learned.features import features
from hardplace.cost.learned.fitting.boosting import boosted
from hardplace.cost.learned.measured import MeasuredKernels
from hardplace.cost.learned.packed import trees_sum
from hardplace.cost.learned.predict import LIMIT, equation_s, sheet_distance
from hardplace.cost.learned.products import PRODUCT_RANGES, PRODUCT_START
from hardplace.cost.learned.rows_passes import ELEMENTWISE_FIGURES, PASS_RANGES, PASS_START
from hardplace.cost.learned.types import (
    FAMILIES,
    PRODUCTS,
    REDUCTIONS,
    FamilyModel,
    PackedTrees,
    VectorModel,
    VectorSheet,
)
from hardplace.ndtypes import Bools, Floats

_SAMPLE = 3000  # rows that the pooled figures are fitted on
_ONE_STATE = 2.0  # ratio of the rates of two kinds of products on one board beyond which it was in another state
_WIDTH = 1.0
Figures = dict[str, float]
Sheets = Mapping[str, VectorSheet]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedFamily:
    """Figures of one family: pooled, and of each device."""

    pooled: Figures
    devices: dict[str, Figures]


def fit_vector_model(rows: MeasuredKernels, sheets: Sheets, source: str) -> VectorModel:
    """Return the models of all families, fitted on these rows."""
    used = {name: sheets[name] for name in rows.devices}
    figures: dict[str, FittedFamily] = {}
    for family in ("elementwise", *REDUCTIONS, *PRODUCTS):
        figures[family] = fit_family(rows, used, family, figures.get("elementwise"))
    figures["linear"], aside = _one_state(rows, used, figures)
    families = {}
    for family in FAMILIES:
        chosen, words = choose_residual(rows, used, family, figures[family], figures["elementwise"])
        residual = {
            name: residual_of(rows.of(family, name), used[name], family, of)
            for name, of in figures[family].devices.items()
            if chosen
        }
        words += aside if family == "linear" else ""
        families[family] = FamilyModel(
            pooled=_short(figures[family].pooled),
            devices={name: _short(of) for name, of in figures[family].devices.items()},
            residual=residual,
            choice=words,
        )
    nearest = [min(sheet_distance(one, other) for other in used.values() if other != one) for one in used.values()]
    return VectorModel(families=families, sheets=used, reach=max(nearest), width=_WIDTH, source=source)


def fit_family(rows: MeasuredKernels, sheets: Sheets, family: str, elementwise: FittedFamily | None) -> FittedFamily:
    """Return the figures of one family.

    Rows of reductions keep the memory's efficiency of element-wise kernels; the energy of a FLOP is common to devices.
    """
    names = [name for name in rows.of(family).devices if name in sheets]
    if family in PRODUCTS:
        pooled = fit_figures(rows, sheets, family, names, dict(PRODUCT_START), ())
        held: tuple[str, ...] = ("joule_per_flop",)
        return FittedFamily(
            pooled=pooled,
            devices={name: fit_figures(rows, sheets, family, [name], pooled, held) for name in names},
        )
    if family == "elementwise":
        start = {name: PASS_START[name] for name in ELEMENTWISE_FIGURES}
        pooled = fit_figures(rows, sheets, family, names, start, ())
        return FittedFamily(
            pooled=pooled,
            devices={name: fit_figures(rows, sheets, family, [name], pooled, ("slope",)) for name in names},
        )
    assert elementwise is not None
    held = ("efficiency", "slope")
    start = dict(PASS_START) | {name: elementwise.pooled[name] for name in held}
    pooled = fit_figures(rows, sheets, family, names, start, held)
    devices = {}
    for name in names:
        own = pooled | {figure: elementwise.devices[name][figure] for figure in held}
        devices[name] = fit_figures(rows, sheets, family, [name], own, held)
    return FittedFamily(pooled=pooled, devices=devices)


def fit_figures(
    rows: MeasuredKernels, sheets: Sheets, family: str, names: Sequence[str], start: Figures, held: Sequence[str]
) -> Figures:
    """Return the figures that fit the rows of these devices best; `held` ones stay."""
    ranges = PRODUCT_RANGES if family in PRODUCTS else PASS_RANGES
    chosen = rows.take(np.isin(np.array(rows.device), list(names))).of(family)
    if len(chosen.time_s) > _SAMPLE:
        chosen = chosen.take(np.sort(np.random.default_rng(0).permutation(len(chosen.time_s))[:_SAMPLE]))
    parts = [(chosen.of(family, name), sheets[name]) for name in chosen.devices]
    measured = np.concatenate([part.time_s for part, _ in parts])
    kept = {name: start[name] for name in held}

    def predict_s(changed: dict[str, float]) -> Floats:
        return np.concatenate([equation_s(part.kernels, sheet, kept | changed, family) for part, sheet in parts])

    free = {name: value for name, value in start.items() if name not in held}
    found = fit(predict_s, free, {name: ranges[name] for name in free}, measured, np.ones(len(measured)))
    return kept | found


def _one_state(rows: MeasuredKernels, sheets: Sheets, figures: Mapping[str, FittedFamily]) -> tuple[FittedFamily, str]:
    """Return the figures of `linear` without boards whose rate in it is not that of their batched products.

    Both run the same kernels, so a rate that is twice another's is another state of the board (heat, clocks).
    """
    rate = {family: figures[family].devices for family in PRODUCTS}
    aside = []
    for name, of in rate["linear"].items():
        ratio = rate["bmm"][name]["efficiency"] / of["efficiency"]
        if not 1 / _ONE_STATE < ratio < _ONE_STATE:
            aside.append(name)
    if not aside:
        return figures["linear"], ""
    left = {name: sheet for name, sheet in sheets.items() if name not in aside}
    words = f"; rows of {', '.join(aside)} set aside: its rate is not that of its batched products"
    return fit_family(rows, left, "linear", None), words


def residual_of(rows: MeasuredKernels, sheet: VectorSheet, family: str, figures: Figures) -> PackedTrees:
    """Return the trees that correct the equation on one device's rows."""
    plain = equation_s(rows.kernels, sheet, figures, family)
    return boosted(features(rows.kernels, sheet, plain, family), np.log(rows.time_s / plain))


def far_and_near(rows: MeasuredKernels) -> tuple[Bools, Bools]:
    """Return the quarter of the rows with the most work, and a random third of the others."""
    order = np.argsort(rows.kernels.work, kind="stable")
    far = np.zeros(len(order), dtype=bool)
    far[order[3 * len(order) // 4 :]] = True
    near = np.zeros(len(order), dtype=bool)
    near[np.random.default_rng(0).permutation(np.flatnonzero(~far))[: len(order) // 4]] = True
    return far, near


def choose_residual(
    rows: MeasuredKernels, sheets: Sheets, family: str, figures: FittedFamily, elementwise: FittedFamily
) -> tuple[bool, str]:
    """Return whether a residual ships for a family, and the comparison in words: mean errors on held-out rows.

    Figures and residual are fitted on half of each device's rows; the far quarter (more work than any fitted) and a
    near quarter judge. The residual ships if the mean of both errors is less with it.
    """
    errors = np.zeros((len(figures.devices), 2, 2))
    for index, name in enumerate(figures.devices):
        of = rows.of(family, name)
        far, near = far_and_near(of)
        seen = of.take(~far & ~near)
        held = {"bmm": ("joule_per_flop",), "linear": ("joule_per_flop",), "elementwise": ("slope",)}
        start = figures.pooled | {
            figure: elementwise.devices[name][figure] for figure in ("efficiency", "slope") if family in REDUCTIONS
        }
        own = fit_figures(seen, sheets, family, [name], start, held.get(family, ("efficiency", "slope")))
        trees = residual_of(seen, sheets[name], family, own)
        for column, part in enumerate((of.take(far), of.take(near))):
            plain = equation_s(part.kernels, sheets[name], own, family)
            change = trees_sum(trees, features(part.kernels, sheets[name], plain, family))
            for line, times in enumerate((plain, plain * np.exp(np.clip(change, -LIMIT, LIMIT)))):
                errors[index, line, column] = np.abs(times / part.time_s - 1.0).mean()
    (far_plain, near_plain), (far_trees, near_trees) = errors.mean(axis=0)
    words = (
        f"held out, far and near: equation {far_plain:.1%} and {near_plain:.1%}, "
        f"with residual {far_trees:.1%} and {near_trees:.1%}"
    )
    return bool(far_trees + near_trees < far_plain + near_plain), words


def _short(figures: Figures) -> Figures:
    return {name: float(f"{value:.5g}") for name, value in figures.items()}
