"""Geometry of drawings: rectangles whose areas are to scale, and log-log axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """A rectangle, in the units of the drawing; y grows downwards. Its colour, and what a tooltip says, if any."""

    x: float
    y: float
    width: float
    height: float
    colour: str = ""
    title: str = ""


def treemap(values: Sequence[float], width: float, height: float) -> tuple[Rectangle, ...]:
    """Return a box for each positive value, areas in proportion, together filling width x height.

    Squarified (Bruls, Huizing, van Wijk 2000): rows are laid along the shorter side while that makes boxes
    squarer. The values are taken in their order; largest first looks best.

    >>> [round(box.width * box.height, 6) for box in treemap([6, 3, 1], 10, 10)]
    [60.0, 30.0, 10.0]
    """
    scale = width * height / sum(values)
    left = [value * scale for value in values]
    found: list[Rectangle] = []
    x = y = 0.0
    while left:
        wide, high = width - x, height - y
        side = min(wide, high)
        count = 1
        while count < len(left) and _worst(left[: count + 1], side) <= _worst(left[:count], side):
            count += 1
        row, left = left[:count], left[count:]
        depth = sum(row) / side
        along = 0.0
        for area in row:
            length = area / depth
            if wide >= high:
                found.append(Rectangle(x=x, y=y + along, width=depth, height=length))
            else:
                found.append(Rectangle(x=x + along, y=y, width=length, height=depth))
            along += length
        x, y = (x + depth, y) if wide >= high else (x, y + depth)
    return tuple(found)


def _worst(row: Sequence[float], side: float) -> float:
    """Return the largest ratio of sides in a row of these areas along a side."""
    total = sum(row)
    return max(side * side * max(row) / total**2, total**2 / (side * side * min(row)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAxis:
    """An axis of powers of ten from low to high over [start, end] of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies, kept within the axis."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> tuple[float, ...]:
        """Return the powers of ten on the axis."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return tuple(10.0**power for power in range(first, last + 1))
