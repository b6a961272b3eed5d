"""The page of one chip: area and power to scale, roofline, cost, and where its figures are from."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.hardware.sheet import OTHER, DeviceSheet, SheetPart
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.drawing import treemap
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduced
from hardplace.report.roofline import RooflineAxes, roofline_axes
from hardplace.units import format_quantity, percent

_COLOURS = {
    "matrix engines": style.BLUE,
    "vector units": style.GREEN,
    "core buffers and registers": style.TEAL,
    "shared buffer": style.PURPLE,
    "network on chip": style.ORANGE,
    "control": "#6c8a3a",
    "memory interface": style.PINK,
    "memory and its interface": style.PINK,
    "links": style.RED,
    "host and management": "#8a6d3b",
    "clock and control": "#6c8a3a",
    "controllers and network ports": style.ORANGE,
    "leakage": "#5d6b7a",
    "not attributed": "#5d6b7a",
    "disabled units": "#9a8f7a",
    OTHER: "none",
}
_SIDE, _LETTER = 420.0, 7.2  # of a square drawing, and of a letter of 12 px, in the units of the drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A part of a drawing to scale: its box, colour and label lines (none where they would not fit)."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """A roof of the roofline: from the slope at its ridge to the right edge, its label, and where the ridge is."""

    x: float
    y: float
    label: str
    ridge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineChart:
    """The drawing of the roofline: the memory's slope as end points, the roofs, the axes."""

    slope: tuple[float, float, float, float]
    roofs: tuple[Roof, ...]
    label_x: float
    label_y: float
    axes: RooflineAxes
    memory: str


def page(sheet: DeviceSheet, command: str = "") -> str:
    """Return the HTML page of a chip; command: the one that asked, if one did."""
    die = sheet.published_die_mm2 or sheet.model_die_mm2
    return rendered(
        "chip.html",
        sheet=sheet,
        side=_SIDE,
        area=tiles(sheet.area, "mm²"),
        power=tiles(sheet.power, "W"),
        ruler=5.0 * _SIDE / max(die, sum(part.value for part in sheet.area)) ** 0.5,
        roofline=roofline(sheet),
        die=words.total(
            sheet.model_die_mm2, sheet.published_die_mm2, sheet.die_is_bound, "mm²", sheet.die_interval_mm2
        ),
        tdp=words.total(sheet.model_tdp_w, sheet.published_tdp_w, False, "W", sheet.tdp_interval_w),
        usd=sum(part.value for part in sheet.cost),
        other=OTHER,
        reproduction=reproduced(command, "", _records(sheet), sheet),
    )


def _records(sheet: DeviceSheet) -> list[dict[str, object]]:
    """Return the parts with their area, power and cost as rows."""
    kinds = (("area", "mm2", sheet.area), ("power", "W", sheet.power), ("cost", "USD", sheet.cost))
    return [{"of": kind, "part": one.name, "value": one.value, "unit": unit} for kind, unit, of in kinds for one in of]


def tiles(parts: tuple[SheetPart, ...], unit: str) -> tuple[Tile, ...]:
    """Return the tiles of a square drawing whose whole is the sum of the parts."""
    total = sum(part.value for part in parts)
    found = []
    for part, box in zip(parts, treemap([part.value for part in parts], _SIDE, _SIDE), strict=True):
        amount = f"{words.number(part.value)} {unit}"
        found.append(
            Tile(
                x=box.x,
                y=box.y,
                width=box.width,
                height=box.height,
                colour=_COLOURS[part.name],
                title=f"{part.name}: {amount}, {percent(part.value / total, 0)}",
                lines=_lines(part.name, amount, box.width, box.height),
            )
        )
    return tuple(found)


def _lines(name: str, amount: str, width: float, height: float) -> tuple[str, ...]:
    """Return the label of a tile, broken into lines that fit it; nothing if it does not fit."""
    lines: list[str] = []
    for word in name.split():
        if lines and (len(lines[-1]) + len(word) + 1) * _LETTER + 10 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    lines.append(amount)
    fits = max(map(len, lines)) * _LETTER + 10 <= width and len(lines) * 15 + 8 <= height
    return tuple(lines) if fits else ()


def roofline(sheet: DeviceSheet) -> RooflineChart:
    """Return the roofline of memory and matrix engines; types of equal peak share a roof."""
    bandwidth = sheet.memory_bandwidth_bytes_per_s
    top = max(peak.flops_per_s for peak in sheet.peaks)
    low = min([sheet.vector_flops_per_s, *(peak.flops_per_s for peak in sheet.peaks)])
    rates = min(0.1 * bandwidth, low), 2.0 * top
    axes = roofline_axes(intensities=(0.1, 10_000.0), rates=rates, bottom=300.0)
    x, y = axes.x, axes.y
    groups: dict[str, tuple[float, list[str]]] = {}
    rows = [(peak.dtype, peak.flops_per_s) for peak in sheet.peaks]
    for name, value in (*rows, ("vector fp32", sheet.vector_flops_per_s)):
        groups.setdefault(format_quantity(value, "FLOP/s"), (value, []))[1].append(name)
    return RooflineChart(
        slope=axes.slope(bandwidth, top),
        roofs=tuple(
            Roof(
                x=x.at(value / bandwidth),
                y=y.at(value),
                label=f"{', '.join(names)}: {text}",
                ridge=words.number(value / bandwidth),
            )
            for text, (value, names) in groups.items()
        ),
        label_x=x.at(0.5) + 10,
        label_y=y.at(0.5 * bandwidth) + 12,
        axes=axes,
        memory=f"{sheet.memory}, {format_quantity(bandwidth, 'B/s')}",
    )
