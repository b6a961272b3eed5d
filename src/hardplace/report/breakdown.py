"""The figures of where the time of a batch and the memory of a stage go, and of the search as it ran."""

from __future__ import annotations

import math
from itertools import pairwise

import plotly.graph_objects as go

from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.report import style
from hardplace.units import format_quantity, percent


def time_figure(exploration: DesignResult) -> go.Figure:
    """Return the seconds of a batch by cause: the answer, and below it the baselines that have a plan."""
    compared = [("the answer", exploration.best)]
    compared += [(one.name, one.evaluation) for one in exploration.baselines if one.evaluation is not None]
    names = list(dict.fromkeys(cause.name for _, one in compared for cause in one.time if cause.amount > 0))
    longest_s = max(one.placement.batch_s for _, one in compared)
    scale, unit = style.seconds_scale(longest_s)
    chart = go.Figure()
    for place, name in enumerate(names):
        amounts = [sum(cause.amount for cause in one.time if cause.name == name) for _, one in compared]
        shares = [amount / one.placement.batch_s for amount, (_, one) in zip(amounts, compared, strict=True)]
        chart.add_bar(
            name=style.safe(name),
            orientation="h",
            y=[style.safe(label) for label, _ in compared],
            x=[amount / scale for amount in amounts],
            text=[
                style.fitting(percent(share), amount / longest_s) for share, amount in zip(shares, amounts, strict=True)
            ],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            insidetextfont={"color": "white"},
            marker={
                "color": style.PALETTE[place % len(style.PALETTE)],
                "line": {"color": "white", "width": 0.6},
            },
            customdata=[
                f"{format_quantity(amount, 's')}, {percent(share)}"
                for share, amount in zip(shares, amounts, strict=True)
            ],
            hovertemplate=f"<b>%{{y}}: {style.safe(name)}</b><br>%{{customdata}} of the batch<extra></extra>",
        )
    chart.update_layout(barmode="stack", bargap=0.3)
    chart.update_xaxes(title_text=f"time of a batch of {exploration.batch_samples:,} samples ({unit})")
    chart.update_yaxes(autorange="reversed", showgrid=False)
    height = 44 * len(compared) + 170
    chart = style.styled(chart, height)
    return chart.update_layout(legend={**style.legend(1.03), "traceorder": "normal"}, margin={"t": 84})


def memory_figure(evaluation: Evaluation) -> go.Figure:
    """Return the memory of a device by pipeline stage against its capacity."""
    stages = evaluation.placement.stages
    held = (
        ("weights, gradients, optimizer states", style.BLUE, [stage.state_bytes for stage in stages]),
        ("activations", style.ORANGE, [stage.activation_bytes for stage in stages]),
        (
            "other (buffers, micro-batches in flight)",
            style.GREY,
            [max(0.0, stage.memory_bytes - stage.state_bytes - stage.activation_bytes) for stage in stages],
        ),
    )
    x = [str(place + 1) for place in range(len(stages))]
    chart = go.Figure()
    for name, colour, amounts in held:
        if max(amounts) <= 0:
            continue
        chart.add_bar(
            name=name,
            x=x,
            y=[amount / 1e9 for amount in amounts],
            marker={"color": colour, "line": {"color": "white", "width": 0.6}},
            customdata=[format_quantity(amount, "B") for amount in amounts],
            hovertemplate=f"<b>stage %{{x}}</b><br>{name}: %{{customdata}}<extra></extra>",
        )
    capacity = evaluation.family.memory_bytes / 1e9
    chart.add_hline(y=capacity, line={"color": style.RED, "dash": "dash", "width": 1.5})
    chart.add_annotation(
        x=1, xref="paper", y=capacity, xanchor="right", yanchor="bottom", showarrow=False,
        text=f"capacity {capacity:.1f} GB",
    )  # fmt: skip
    # A few stages would otherwise become slabs as wide as the page.
    chart.update_layout(barmode="stack", bargap=max(0.2, 1.0 - 0.08 * len(stages)))
    chart.update_xaxes(showgrid=False, title_text="pipeline stage", type="category")
    most = max(stage.memory_bytes for stage in stages) / 1e9
    chart.update_yaxes(title_text="memory of a device (GB)", range=[0, 1.12 * max(capacity, most)])
    return style.styled(chart, 340)


def search_figure(exploration: DesignResult) -> go.Figure:
    """Return incumbent and bound against the seconds of the search."""
    chart = go.Figure()
    progress = exploration.progress
    unit, inverse = exploration.unit, exploration.inverse
    better = "faster" if exploration.objective == "throughput" else "better"
    lines = (
        (f"bound: nothing left can be {better}", style.ORANGE, [now.bound for now in progress]),
        ("best found so far", style.BLUE, [now.score for now in progress]),
    )
    ends = (exploration.bound, exploration.score)
    for (name, colour, values), end in zip(lines, ends, strict=True):
        seen = [
            (now.seconds, 1.0 / value if inverse else value)
            for now, value in zip(progress, values, strict=True)
            if math.isfinite(value) and value > 0
        ]
        seen.append((max(exploration.seconds, *(now.seconds for now in progress), 0.0), 1.0 / end if inverse else end))
        kept = _corners(seen)
        chart.add_scatter(
            name=name,
            x=[second for second, _ in kept],
            y=[value for _, value in kept],
            mode="lines+markers" if len(kept) <= 40 else "lines",
            marker={"size": 5},
            line={"shape": "hv", "color": colour, "width": 2},
            hovertemplate=f"{name}<br>after %{{x:.3g}} s: %{{y:,.5g}} {unit}<extra></extra>",
        )
    chart.update_xaxes(title_text="time of the search (s)", rangemode="tozero")
    values = [value for trace in chart.data for value in trace.y]
    wide = max(values) > 4 * min(values)  # the first bounds are loose; the meeting at the end is what matters
    chart.update_yaxes(title_text=f"{exploration.objective} ({unit})", type="log" if wide else "linear")
    if wide:
        chart.update_yaxes(dtick="D2")
    return style.styled(chart, 340)


def _corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points at which a step line turns, and its last."""
    turns = [after for before, after in pairwise(points) if after[1] != before[1]]
    return [*points[:1], *turns, *points[-1:]]
