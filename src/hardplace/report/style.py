"""What all figures share: colours that read on light and dark, the layout, units of an axis, safe text."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, PURPLE = "#3f7fbf", "#d9822b", "#2f9e77", "#8a6fc0"
RED, GREY, PINK, TEAL = "#cc4455", "#8b919a", "#c46a9f", "#3a9fb0"
PALETTE = (BLUE, ORANGE, PURPLE, GREEN, TEAL, GREY, PINK, RED)

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def seconds_scale(longest_s: float) -> tuple[float, str]:
    """Return the unit (its seconds and its name) in which a duration reads best on an axis."""
    for scale, name in _SECONDS:
        if longest_s >= scale:
            return scale, name
    return _SECONDS[0] if longest_s <= 0 else _SECONDS[-1]


def safe(text: str) -> str:
    """Return text that a figure shows as it is: plotly reads a subset of HTML in labels and tooltips."""
    return html.escape(text, quote=False)


def fitting(text: str, share: float) -> str:
    """Return text if it fits a bar that takes this share of a figure as wide as the page, else nothing.

    Plotly would shrink it, or let it stick out, white on white.
    """
    return safe(text) if len(text) * 6.5 + 2 <= share * 780 else ""


def legend(y: float = 1.0) -> dict[str, Any]:
    """Return a legend in one row above the plot, whose lower edge is at y (share of the plot's height)."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": y, "yanchor": "bottom", "title": {"text": ""}}


def styled(figure: go.Figure, height: int) -> go.Figure:
    """Return the figure with the page's layout; text and grid colours come from the page's style sheet."""
    figure.update_layout(
        template="none",
        height=height,
        autosize=True,
        margin={"l": 64, "r": 16, "t": 56, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
        hoverlabel={"align": "left", "font": {"size": 12}},
        legend=legend(),
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": BLUE},
    )
    quiet = {"gridcolor": GREY, "zeroline": False, "automargin": True, "title_standoff": 8}
    figure.update_xaxes(**quiet)
    figure.update_yaxes(**quiet)
    return figure
