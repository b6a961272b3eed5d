"""A chip of PHAZE's space drawn to scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hardplace.design.results import DesignResult
from hardplace.hardware.phaze import chips_of, core_areas_mm2
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.drawing import Rectangle, treemap
from hardplace.units import MIB, percent

_WIDTH, _MOST_CORES = 720.0, 256  # of each kind that are drawn one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A chip to scale.

    Attributes:
        tiles: Cores and buffer.
        names: Parts with their colour and area, in words.
        height: Height of the drawing, whose width is 720.
        ruler: Length of 5 mm.
    """

    tiles: list[Rectangle]
    names: list[tuple[str, str, str]]
    height: float
    ruler: float


def floor(exploration: DesignResult) -> Floor | None:
    """Return the answer's chip to scale; None of a space with another area model than PHAZE's."""
    if exploration.space != "phaze":
        return None
    chip = exploration.best.chip
    tensor, vector, buffer = (float(one[0]) for one in core_areas_mm2(chips_of(chip)))
    kinds = [
        ("tensor cores", chip.tensor_cores, tensor, style.BLUE, f"{chip.array_rows}×{chip.array_columns}"),
        ("vector cores", chip.vector_cores, vector, style.GREEN, words.plural(chip.vector_lanes, "lane")),
        ("buffer", 1, buffer, style.PURPLE, f"{chip.buffer_bytes / MIB:g} MiB"),
    ]
    kinds.sort(key=lambda kind: -kind[1] * kind[2])
    total = sum(count * area for _, count, area, _, _ in kinds)
    height = _WIDTH / 2.4
    tiles: list[Rectangle] = []
    for box, (name, count, area, colour, what) in zip(
        treemap([count * area for _, count, area, _, _ in kinds], _WIDTH, height), kinds, strict=True
    ):
        drawn = count if count <= _MOST_CORES else 1
        title = f"{name}: {f'{count} of ' if count > 1 else ''}{what}, {area:.3g} mm² each"
        tiles += [replace(one, colour=colour, title=title) for one in _grid(box, drawn)]
    names = [
        (name, colour, f"{words.area(count * area)}, {percent(count * area / total, 0)}")
        for name, count, area, colour, _ in kinds
    ]
    return Floor(tiles=tiles, names=names, height=height, ruler=5.0 * (_WIDTH * height / total) ** 0.5)


def _grid(box: Rectangle, count: int) -> list[Rectangle]:
    """Return equal boxes in rows that fill a box; where the last row would be short, its boxes are wider."""
    rows = min(count, max(1, round((count * box.height / box.width) ** 0.5)))
    high, left, found = box.height / rows, count, []
    for row in range(rows):
        here = -(-left // (rows - row))
        left -= here
        wide = box.width / here
        found += [
            Rectangle(x=box.x + place * wide, y=box.y + row * high, width=wide, height=high) for place in range(here)
        ]
    return found
