"""The figure of all chips: area against throughput, the frontier, the bound, the answer and the baselines."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.ndtypes import Floats, Ints
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.frontier import frontier, thin

DRAWN = 4000  # SVG stays quick, and the page small, up to some thousand points


def drawn(exploration: DesignResult) -> Ints:
    """Return the chips of the cloud that the figure draws: the frontier, and an even choice of the rest."""
    area, value = _columns(exploration)
    chosen = [place for place, label in enumerate(exploration.cloud.label) if label == exploration.best.chip.name]
    return thin(area, value, DRAWN, np.union1d(frontier(area, value), np.array(chosen, dtype=np.intp)))


def figure(exploration: DesignResult) -> go.Figure:
    """Return throughput under the chosen plan against area, a point for each chip."""
    chart = go.Figure()
    _points(chart, exploration)
    _bound(chart, exploration)
    _frontier(chart, exploration)
    for place, baseline in enumerate(exploration.baselines):
        if baseline.evaluation is not None:
            symbol = ("diamond", "square", "triangle-up", "cross")[place % 4]
            _mark(chart, f"{baseline.name} (own plan)", baseline.evaluation, style.PURPLE, symbol, 10)
    _mark(chart, "the answer", exploration.best, style.RED, "star", 15)
    budget = exploration.budget.area_mm2
    chart.add_vline(x=budget, line={"color": style.GREY, "dash": "dash", "width": 1.5})
    chart.add_annotation(
        x=budget, y=0, yref="paper", text=f"budget {words.area(budget)}", textangle=-90,
        xanchor="right", yanchor="bottom", showarrow=False,
    )  # fmt: skip
    chart.update_xaxes(title_text="chip area (mm²)", range=[0, 1.03 * max(budget, exploration.best.chip.area_mm2)])
    chart.update_yaxes(title_text="training throughput (samples/s)", rangemode="tozero")
    return style.styled(chart, 480).update_layout(legend=style.legend(1.02), margin={"t": 84})


def _columns(exploration: DesignResult) -> tuple[Floats, Floats]:
    cloud = exploration.cloud
    return np.array(cloud.area_mm2, dtype=np.float64), np.array(cloud.samples_per_s, dtype=np.float64)


def _points(chart: go.Figure, exploration: DesignResult) -> None:
    area, value = _columns(exploration)
    index = drawn(exploration)
    chart.add_scatter(
        name="chips, chosen plan",
        x=np.round(area[index], 2).tolist(),
        y=[float(f"{one:.5g}") for one in value[index]],
        text=[style.safe(exploration.cloud.label[place]) for place in index],
        mode="markers",
        marker={"size": 4, "color": style.BLUE, "opacity": 0.45},
        hovertemplate="%{text}<br>%{x:.1f} mm²<br>%{y:,.4g} samples/s<extra></extra>",
    )


def _bound(chart: go.Figure, exploration: DesignResult) -> None:
    """Draw what no chip up to an area can exceed with any plan: its own bound, or the space's if lower."""
    area, _ = _columns(exploration)
    limit = exploration.bound if exploration.objective == "throughput" else np.inf
    own = np.array(exploration.cloud.bound_samples_per_s, dtype=np.float64)
    bound = np.minimum(np.where(np.isnan(own), np.inf, own), limit)
    index = frontier(area, bound)
    _steps(
        chart,
        "no plan exceeds this on the chips drawn"
        if exploration.cloud.sampled
        else "no plan exceeds this up to that area",
        area[index],
        bound[index],
        style.GREY,
        "dot",
        exploration,
    )


def _frontier(chart: go.Figure, exploration: DesignResult) -> None:
    """Draw the most that any chip up to an area reaches, the answer (with its exact schedules) included."""
    best = exploration.best
    area, value = _columns(exploration)
    area = np.append(area, best.chip.area_mm2)
    value = np.append(value, best.samples_per_s)
    index = frontier(area, value)
    _steps(chart, "most reached up to that area", area[index], value[index], style.ORANGE, "solid", exploration)


def _steps(
    chart: go.Figure, name: str, x: Floats, y: Floats, colour: str, dash: str, exploration: DesignResult
) -> None:
    """Add a line that holds each value until the next one, to the budget."""
    end = max(exploration.budget.area_mm2, float(x[-1])) if len(x) else exploration.budget.area_mm2
    chart.add_scatter(
        name=name,
        x=[*x.tolist(), end],
        y=[*y.tolist(), *y[-1:].tolist()],
        mode="lines",
        line={"shape": "hv", "color": colour, "width": 2, "dash": dash},
        hovertemplate=f"{name}<br>%{{x:.1f}} mm²: %{{y:,.4g}} samples/s<extra></extra>",
    )


def _mark(chart: go.Figure, name: str, evaluation: Evaluation, colour: str, symbol: str, size: int) -> None:
    label = style.safe(name)
    chart.add_scatter(
        name=label,
        x=[evaluation.chip.area_mm2],
        y=[evaluation.samples_per_s],
        mode="markers",
        marker={"size": size, "color": colour, "symbol": symbol, "line": {"color": "white", "width": 1}},
        text=[f"{style.safe(words.chip(evaluation.chip))}<br>{style.safe(words.plan(evaluation))}"],
        hovertemplate=(f"<b>{label}</b><br>%{{text}}<br>%{{x:.1f}} mm²<br>%{{y:,.4g}} samples/s<extra></extra>"),
    )
