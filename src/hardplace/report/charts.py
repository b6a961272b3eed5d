"""Charts of pages as data: axes, marks, lines and bars in their own units; the tooltip of each is its title.

`chart_layout` places them, the template `chart.html` writes them as SVG.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Symbol(StrEnum):
    """What stands at a point, so that no colour says anything alone."""

    DOT = "dot"
    DIAMOND = "diamond"
    SQUARE = "square"
    TRIANGLE = "triangle"
    CROSS = "cross"
    STAR = "star"


class LineKind(StrEnum):
    """How the points of a series are joined; steps hold each value until the next point."""

    NONE = "none"
    STEPS = "steps"
    STRAIGHT = "straight"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartAxis:
    """An axis.

    Attributes:
        title: What it counts, with its unit after a comma.
        low: Value at its start.
        high: Value at its end, above `low`.
        log: Whether it is logarithmic; `low` is then positive.
        names: Rows or columns in place of numbers: the first is at 0, each 1 wide, rows from the top.
    """

    title: str = ""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point: its place, what a tooltip says, and the row of the page's table that it belongs to (-1: none)."""

    x: float
    y: float
    title: str = ""
    row: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Marks of one name in the legend.

    Attributes:
        marks: Points, in the order in which a line joins them.
        symbol: What stands at each; None: nothing is seen, only the tooltip is there.
        size: Radius of a symbol, in the units of the drawing.
        verb: Command that takes the first word of a mark's title, said when one chooses it.
    """

    name: str
    colour: str
    marks: tuple[Mark, ...]
    line: LineKind = LineKind.NONE
    dashed: bool = False
    symbol: Symbol | None = Symbol.DOT
    size: float = 4.0
    opacity: float = 1.0
    verb: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartBar:
    """A rectangle between two values of each axis, with a label that is left out where it does not fit."""

    name: str
    colour: str
    left: float
    right: float
    low: float
    high: float
    label: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A limit: a line across the whole panel at a value of one axis."""

    value: float
    label: str
    upright: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Axes with what is drawn on them; `height` is that of the plot, in the units of the drawing."""

    x: ChartAxis
    y: ChartAxis
    height: float
    title: str = ""
    series: tuple[Series, ...] = ()
    bars: tuple[ChartBar, ...] = ()
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Panels one below the other under one legend; `label` says what the drawing shows."""

    label: str
    panels: tuple[Panel, ...]


def row_bar(
    row: int, start: float, end: float, colour: str, *, name: str, label: str = "", title: str = "", thick: float = 0.86
) -> ChartBar:
    """Return a bar along a named row."""
    half = thick / 2.0
    return ChartBar(
        name=name, colour=colour, left=start, right=end, low=row - half, high=row + half, label=label, title=title
    )
