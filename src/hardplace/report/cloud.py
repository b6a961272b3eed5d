"""The figure of all chips: area against throughput, the frontier, the bound, the answer and the baselines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.ndtypes import Floats, Ints
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, Level, LineKind, Mark, Panel, Series, Symbol
from hardplace.report.frontier import frontier, thin

DRAWN = 3000  # SVG stays quick, and the page small, up to some thousand points
_MOST_ROWS = 16  # of the table of the frontier
_SYMBOLS = (Symbol.DIAMOND, Symbol.SQUARE, Symbol.TRIANGLE, Symbol.CROSS)


def drawn(exploration: DesignResult) -> Ints:
    """Return the chips of the cloud that the figure draws: the frontier, and an even choice of the rest."""
    area, value = _columns(exploration)
    chosen = [place for place, label in enumerate(exploration.cloud.label) if label == exploration.best.chip.name]
    return thin(area, value, DRAWN, np.union1d(frontier(area, value), np.array(chosen, dtype=np.intp)))


def figure(exploration: DesignResult) -> Chart:
    """Return throughput under the chosen plan against area, a point for each chip; logarithmic where it spans much."""
    marks = [
        _mark(f"{baseline.name} (own plan)", baseline.evaluation, style.PURPLE, _SYMBOLS[place % 4], 6.0)
        for place, baseline in enumerate(exploration.baselines)
        if baseline.evaluation is not None
    ]
    marks.append(_mark("the answer", exploration.best, style.RED, Symbol.STAR, 10.0))
    series = (_points(exploration), _bound(exploration), _frontier(exploration), *marks)
    budget = exploration.budget.area_mm2
    values = [mark.y for one in series for mark in one.marks if mark.y > 0.0]
    most, median = max(values), float(np.median([mark.y for mark in series[0].marks] or values))
    log = 0.0 < median < most / 8.0
    low = min(max(min(values), most / 1e3), most / 2.0) if log else 0.0
    if log:
        least_y = (low, *(0.0,) * (len(series) - 1))  # a chip on which the plan does not fit has no logarithm
        series = tuple(
            replace(one, marks=tuple(mark for mark in one.marks if mark.y >= least and mark.y > 0.0))
            for one, least in zip(series, least_y, strict=True)
        )
    least = min(mark.x for one in series for mark in one.marks)
    right = max(budget, exploration.best.chip.area_mm2)
    panel = Panel(
        x=ChartAxis(title="die area, mm²", low=0.0 if least < right / 4.0 else 0.9 * least, high=1.04 * right),
        y=ChartAxis(title="training throughput, samples/s", low=low, high=(1.3 if log else 1.08) * most, log=log),
        height=380.0,
        series=series,
        levels=(Level(value=budget, label=f"limit {words.area(budget)}", upright=True),),
    )
    return Chart(label="throughput of each chip under the chosen plan against its area", panels=(panel,))


def on_frontier(exploration: DesignResult) -> list[int]:
    """Return chips that no smaller one beats, at most 16; -1: the answer, exactly scheduled."""
    area, value = _columns(exploration)
    area, value = np.append(area, exploration.best.chip.area_mm2), np.append(value, exploration.best.samples_per_s)
    index = frontier(area, value)
    kept = np.unique(np.linspace(0, len(index) - 1, min(len(index), _MOST_ROWS)).round().astype(int))
    return [int(place) if place < len(exploration.cloud.label) else -1 for place in index[kept]]


def _columns(exploration: DesignResult) -> tuple[Floats, Floats]:
    cloud = exploration.cloud
    return np.array(cloud.area_mm2, dtype=np.float64), np.array(cloud.samples_per_s, dtype=np.float64)


def said(label: str, area_mm2: float, samples_per_s: float) -> str:
    """Return what a tooltip says of a chip."""
    return f"{label}, {area_mm2:,.1f} mm², {samples_per_s:,.4g} samples/s"


def _points(exploration: DesignResult) -> Series:
    area, value = _columns(exploration)
    label = exploration.cloud.label
    rows = {place: row for row, place in enumerate(on_frontier(exploration))}
    return Series(
        name="chips, chosen plan",
        colour=style.BLUE,
        marks=tuple(
            Mark(
                x=float(area[place]),
                y=float(value[place]),
                title=said(label[place], area[place], value[place]),
                row=rows.get(int(place), -1),
            )
            for place in drawn(exploration)
        ),
        size=2.6,
        opacity=0.5,
        verb="hardplace chip",
    )


def _bound(exploration: DesignResult) -> Series:
    """Return what no chip up to an area can exceed with any plan: its own bound, or the space's if lower."""
    area, _ = _columns(exploration)
    limit = exploration.bound if exploration.objective == "throughput" else np.inf
    own = np.array(exploration.cloud.bound_samples_per_s, dtype=np.float64)
    bound = np.minimum(np.where(np.isnan(own), np.inf, own), limit)
    index = frontier(area, bound)
    name = f"no plan exceeds this {'on the chips drawn' if exploration.cloud.sampled else 'up to that area'}"
    return _steps(name, area[index], bound[index], style.GREY, exploration, dashed=True)


def _frontier(exploration: DesignResult) -> Series:
    """Return the most that any chip up to an area reaches, the answer (with its exact schedules) included."""
    best = exploration.best
    area, value = _columns(exploration)
    area = np.append(area, best.chip.area_mm2)
    value = np.append(value, best.samples_per_s)
    index = frontier(area, value)
    return _steps("most reached up to that area", area[index], value[index], style.ORANGE, exploration, dashed=False)


def _steps(name: str, x: Floats, y: Floats, colour: str, exploration: DesignResult, *, dashed: bool) -> Series:
    """Return a line that holds each value until the next one, to the budget."""
    corners = [Mark(x=float(a), y=float(v), title=said(name, a, v)) for a, v in zip(x, y, strict=True)]
    if corners:
        corners.append(Mark(x=max(exploration.budget.area_mm2, corners[-1].x), y=corners[-1].y))
    return Series(name=name, colour=colour, marks=tuple(corners), line=LineKind.STEPS, symbol=None, dashed=dashed)


def _mark(name: str, evaluation: Evaluation, colour: str, symbol: Symbol, size: float) -> Series:
    what = f"{name}: {words.chip(evaluation.chip)}; {words.plan(evaluation)}"
    title = said(what, evaluation.chip.area_mm2, evaluation.samples_per_s)
    mark = Mark(x=evaluation.chip.area_mm2, y=evaluation.samples_per_s, title=title)
    return Series(name=name, colour=colour, marks=(mark,), symbol=symbol, size=size)
