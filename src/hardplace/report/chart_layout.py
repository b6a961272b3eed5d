"""Where the parts of a chart lie on its drawing: ticks, legend, marks, bars; geometry alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hardplace.report.charts import Chart, ChartAxis, LineKind, Panel, Series, Symbol
from hardplace.report.drawing import Rectangle

WIDTH = 940.0  # of every chart, in the units of the drawing; a page is as wide
_LETTER = 6.6  # width of a character of 12 units, about
_TICKS = 7  # on an axis, at most about


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedText:
    """A text with its place; `turned` runs upwards."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    turned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedMark:
    """A symbol: as a path from its middle, with its tooltip and row."""

    x: float
    y: float
    title: str
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSeries:
    """A series: the path of its line (empty: none), the shape of its marks, and where they are."""

    series: Series
    path: str
    shape: str
    marks: tuple[PlacedMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBar:
    """A bar with its label (empty where it does not fit) in a colour that reads on it."""

    box: Rectangle
    label: str
    ink: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPanel:
    """A panel: its frame, grid and limits as paths, texts, series and bars."""

    frame: Rectangle
    grid: str
    limits: str
    texts: tuple[PlacedText, ...]
    series: tuple[PlacedSeries, ...]
    bars: tuple[PlacedBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendKey:
    """A name of the legend: where its sign is, the sign (a shape, or a line where there is none), and its colour."""

    x: float
    y: float
    name: str
    colour: str
    shape: str
    dashed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedChart:
    """A drawing of width x height."""

    label: str
    width: float
    height: float
    legend: tuple[LegendKey, ...]
    panels: tuple[PlacedPanel, ...]


_CORNERS: dict[Symbol, tuple[tuple[float, float], ...]] = {
    Symbol.DIAMOND: ((0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)),
    Symbol.SQUARE: ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)),
    Symbol.TRIANGLE: ((0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    Symbol.CROSS: (
        (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4), (0.4, 1.2), (-0.4, 1.2),
        (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
    ),
    Symbol.STAR: tuple(
        (radius * math.sin(math.pi * k / 5), -radius * math.cos(math.pi * k / 5))
        for k in range(10)
        for radius in (0.55 if k % 2 else 1.25,)
    ),
}  # fmt: skip


def placed(chart: Chart) -> PlacedChart:
    """Return a chart with everything in its place."""
    left = max(_left(panel) for panel in chart.panels)
    legend, y = _legend(chart)
    panels = []
    for panel in chart.panels:
        y += 24.0 if panel.title else 10.0
        frame = Rectangle(x=left, y=y, width=WIDTH - left - 18.0, height=panel.height)
        panels.append(_panel(panel, frame))
        y += panel.height + (44.0 if panel.x.title else 24.0)
    return PlacedChart(label=chart.label, width=WIDTH, height=y, legend=legend, panels=tuple(panels))


def ticks(axis: ChartAxis) -> tuple[float, ...]:
    """Return where an axis of numbers has its ticks.

    >>> ticks(ChartAxis(low=0.0, high=10.0))
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    >>> ticks(ChartAxis(low=50.0, high=30_000.0, log=True))
    (100.0, 1000.0, 10000.0)
    """
    if axis.names:
        return ()
    if not axis.low < axis.high:
        return (axis.low,)
    if axis.log:
        first, last = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        factors = (1.0,) if axis.high / axis.low > 100.0 else (1.0, 2.0, 5.0)
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        found = [one for one in found if axis.low <= one <= axis.high * (1.0 + 1e-9)]
        if len(found) > 1:
            return tuple(found)
    rough = (axis.high - axis.low) / _TICKS
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1.0, 2.0, 5.0, 10.0) if factor * scale >= rough * (1.0 - 1e-9))
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def at(axis: ChartAxis, value: float) -> float:
    """Return where a value lies on an axis, from 0 at its start to 1 at its end; what is beyond lies at the end."""
    if axis.names:
        return (value + 0.5) / len(axis.names)
    if not axis.low < axis.high:
        return 0.5
    if axis.log:
        share = math.log(max(value, axis.low) / axis.low) / math.log(axis.high / axis.low)
    else:
        share = (value - axis.low) / (axis.high - axis.low)
    return min(1.0, max(0.0, share))


def ink_on(colour: str) -> str:
    """Return white or near black, whichever has more contrast (WCAG 2) on a colour like "#3f7fbf"."""
    parts = [int(colour[place : place + 2], 16) / 255.0 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.055 else "#101418"


def _panel(panel: Panel, frame: Rectangle) -> PlacedPanel:
    def x_of(value: float) -> float:
        return frame.x + frame.width * at(panel.x, value)

    def y_of(value: float) -> float:
        share = at(panel.y, value)
        return frame.y + frame.height * (share if panel.y.names else 1.0 - share)

    right, foot = frame.x + frame.width, frame.y + frame.height
    texts = [PlacedText(x=frame.x, y=frame.y - 8.0, text=panel.title)] if panel.title else []
    grid = []
    for value in ticks(panel.x):
        grid.append(f"M{x_of(value):.1f} {frame.y:.1f}V{foot:.1f}")
        texts.append(PlacedText(x=x_of(value), y=foot + 16.0, text=_number(value), anchor="middle"))
    for value in ticks(panel.y):
        grid.append(f"M{frame.x:.1f} {y_of(value):.1f}H{right:.1f}")
        texts.append(PlacedText(x=frame.x - 6.0, y=y_of(value) + 4.0, text=_number(value), anchor="end"))
    for place, name in enumerate(panel.y.names):
        texts.append(PlacedText(x=frame.x - 6.0, y=y_of(place) + 4.0, text=name, anchor="end"))
    for place, name in enumerate(panel.x.names):
        texts.append(PlacedText(x=x_of(place), y=foot + 16.0, text=name, anchor="middle"))
    if panel.x.title:
        middle = frame.x + frame.width / 2.0
        texts.append(PlacedText(x=middle, y=foot + 35.0, text=panel.x.title, anchor="middle"))
    if panel.y.title:
        middle = frame.y + frame.height / 2.0
        texts.append(PlacedText(x=13.0, y=middle, text=panel.y.title, anchor="middle", turned=True))
    limits = []
    for level in panel.levels:
        if level.upright:
            limits.append(f"M{x_of(level.value):.1f} {frame.y:.1f}V{foot:.1f}")
            texts.append(PlacedText(x=x_of(level.value), y=frame.y - 5.0, text=level.label, anchor="end"))
        else:
            limits.append(f"M{frame.x:.1f} {y_of(level.value):.1f}H{right:.1f}")
            texts.append(PlacedText(x=right - 4.0, y=y_of(level.value) - 5.0, text=level.label, anchor="end"))
    bars = []
    for bar in panel.bars:
        x, y = x_of(bar.left), min(y_of(bar.low), y_of(bar.high))
        wide, high = max(0.0, x_of(bar.right) - x), abs(y_of(bar.high) - y_of(bar.low))
        box = Rectangle(x=x, y=y, width=wide, height=high, colour=bar.colour, title=bar.title)
        fits = len(bar.label) * _LETTER + 4.0 <= wide and high >= 12.0
        bars.append(PlacedBar(box=box, label=bar.label if fits else "", ink=ink_on(bar.colour)))
    series = []
    for one in panel.series:
        marks = tuple(PlacedMark(x=x_of(m.x), y=y_of(m.y), title=m.title, row=m.row) for m in one.marks)
        shape = "" if one.symbol is None else shape_of(one.symbol, one.size)
        series.append(PlacedSeries(series=one, path=_line(one.line, marks), shape=shape, marks=marks))
    return PlacedPanel(
        frame=frame, grid="".join(grid), limits="".join(limits), texts=tuple(texts), series=tuple(series),
        bars=tuple(bars),
    )  # fmt: skip


def _line(kind: LineKind, marks: Sequence[PlacedMark]) -> str:
    if kind is LineKind.NONE or not marks:
        return ""
    first, *rest = marks
    to = "H{0:.1f}V{1:.1f}" if kind is LineKind.STEPS else "L{0:.1f} {1:.1f}"
    return f"M{first.x:.1f} {first.y:.1f}" + "".join(to.format(one.x, one.y) for one in rest)


def shape_of(symbol: Symbol, size: float) -> str:
    """Return a symbol as a closed path around 0, 0."""
    if symbol is Symbol.DOT:
        return f"M{-size:g} 0a{size:g} {size:g} 0 1 0 {2 * size:g} 0a{size:g} {size:g} 0 1 0 {-2 * size:g} 0z"
    corners = _CORNERS[symbol]
    return "M" + "L".join(f"{size * x:.2f} {size * y:.2f}" for x, y in corners) + "z"


def _legend(chart: Chart) -> tuple[tuple[LegendKey, ...], float]:
    """Return the names with their signs, each once, in lines of the chart's width, and where they end."""
    signs: dict[str, LegendKey] = {}
    square = shape_of(Symbol.SQUARE, 5.0)
    for panel in chart.panels:
        for bar in panel.bars:
            key = LegendKey(x=0.0, y=0.0, name=bar.name, colour=bar.colour, shape=square, dashed=False)
            signs.setdefault(bar.name, key)
        for one in panel.series:
            shape = "" if one.symbol is None or one.line is not LineKind.NONE else shape_of(one.symbol, 5.0)
            key = LegendKey(x=0.0, y=0.0, name=one.name, colour=one.colour, shape=shape, dashed=one.dashed)
            signs.setdefault(one.name, key)
    signs.pop("", None)
    keys, x, y = [], 4.0, 14.0
    for name, key in signs.items():
        wide = 34.0 + _LETTER * len(name)
        if x > 4.0 and x + wide > WIDTH:
            x, y = 4.0, y + 18.0
        keys.append(replace(key, x=x, y=y))
        x += wide
    return tuple(keys), (y + 6.0 if keys else 0.0)


def _left(panel: Panel) -> float:
    """Return the room that the names of an axis need on the left."""
    words = panel.y.names or [_number(value) for value in ticks(panel.y)]
    return max(_LETTER * max((len(word) for word in words), default=0), 20.0) + (30.0 if panel.y.title else 12.0)


def _number(value: float) -> str:
    return f"{value:,.6g}" if value == 0.0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3g}"
