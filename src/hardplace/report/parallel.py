"""Shapes as parallel coordinates: a line a shape through its sizes and its speed-up."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.report import style
from hardplace.shaping.types import FIELDS, Alternative, Ranking

_NAMES = {"layers": "layers", "hidden": "hidden", "heads": "heads", "kv_heads": "KV heads", "head_dim": "head dim",
          "ffn": "MLP", "vocab": "vocabulary"}  # fmt: skip
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 670.0, 30.0, 230.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelAxis:
    """An axis: its name, x, and what its two ends stand for."""

    name: str
    x: float
    low: str
    high: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelLine:
    """A shape: points as SVG has them, colour, width and what a tooltip says."""

    points: str
    colour: str
    width: float
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelFigure:
    """Axes and lines; the model as it is comes last, so that it is on top."""

    axes: list[ParallelAxis]
    lines: list[ParallelLine]


def parallel_coordinates(shapes: tuple[Alternative, ...], found: Ranking) -> ParallelFigure:
    """Return the shapes as lines through the sizes that differ and their least speed-up for each parameter.

    Args:
        shapes: The model as it is, then the others.
        found: The ranking that they are of.
    """
    columns = [
        (_NAMES[name], [float(getattr(one.shape, name)) for one in shapes])
        for name in FIELDS
        if len({getattr(one.shape, name) for one in shapes}) > 1
    ]
    columns.append(("speed-up", [one.worst for one in shapes]))
    wide = max(1, len(columns) - 1)
    axes: list[ParallelAxis] = []
    points: list[list[str]] = [[] for _ in shapes]
    for place, (name, values) in enumerate(columns):
        x, low, high = _LEFT + (_RIGHT - _LEFT) * place / wide, min(values), max(values)
        digits = 3 if name == "speed-up" else 0
        axes.append(ParallelAxis(name=name, x=x, low=f"{low:.{digits}f}", high=f"{high:.{digits}f}"))
        for line, value in zip(points, values, strict=True):
            share = (value - low) / (high - low) if high > low else 0.5
            line.append(f"{x:.1f},{_BOTTOM - (_BOTTOM - _TOP) * share:.1f}")
    lines = []
    for one, line in zip(shapes, points, strict=True):
        own = one is found.base
        colour = "currentColor" if own else style.GREY if any(on.tie for on in one.devices) else style.ORANGE
        title = "the model as it is" if own else f"{', '.join(one.changes)}: {one.worst:.3f} times as fast a parameter"
        lines.append(ParallelLine(points=" ".join(line), colour=colour, width=2.4 if own else 1.6, title=title))
    return ParallelFigure(axes=axes, lines=lines[::-1])
