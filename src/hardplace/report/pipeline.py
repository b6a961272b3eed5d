"""The figure of the pipeline's timeline: what each stage does at the beginning and the end of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hardplace.design.types import Evaluation
from hardplace.report import style
from hardplace.report.timeline import BlockKind, TimelineBlock, simulate, stage_seconds
from hardplace.units import format_quantity

MOST_STAGES = 16
STEADY = 6  # rounds of one forward and one backward to show beside the filling and the draining of the pipeline
MOST_ROUNDS = 40

COLOURS = {
    BlockKind.FORWARD: style.BLUE,
    BlockKind.BACKWARD: style.ORANGE,
    BlockKind.REDUCTION: style.PURPLE,
    BlockKind.OPTIMIZER: style.GREEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The blocks of a batch, the stages and windows of time to draw, and in words what that leaves out."""

    blocks: tuple[TimelineBlock, ...]
    stages: tuple[int, ...]
    windows: tuple[tuple[float, float], ...]
    end_s: float
    cut: str


def timeline(evaluation: Evaluation) -> Timeline:
    """Return the simulated batch of one pipeline replica, cut where it is too long to be read."""
    placement = evaluation.placement
    blocks = simulate(stage_seconds(evaluation), placement.micro_batches_per_replica)
    count, end_s = len(placement.stages), max(block.end_s for block in blocks)
    half = MOST_STAGES // 2
    stages = tuple(range(count)) if count <= MOST_STAGES else (*range(half), *range(count - half, count))
    part_s = min(count + STEADY, MOST_ROUNDS) * placement.bottleneck_s
    last_s = part_s + placement.end_of_batch_s
    whole = end_s <= 1.2 * (part_s + last_s)
    windows = ((0.0, end_s),) if whole else ((0.0, part_s), (end_s - last_s, end_s))
    return Timeline(blocks=blocks, stages=stages, windows=windows, end_s=end_s, cut=_cut(count, stages, windows, end_s))


def _cut(count: int, stages: Sequence[int], windows: Sequence[tuple[float, float]], end_s: float) -> str:
    parts = []
    if len(windows) > 1:
        hidden_s = windows[1][0] - windows[0][1]
        parts.append(f"{format_quantity(hidden_s, 's')} of {format_quantity(end_s, 's')} in the middle of the batch")
    if len(stages) < count:
        half = len(stages) // 2
        parts.append(f"stages {half + 1} to {count - half}")
    return f"Not drawn: {' and '.join(parts)}." if parts else ""


def figure(evaluation: Evaluation, shown: Timeline) -> go.Figure:
    """Return the timeline: a row for each stage, one panel or two (the beginning above the end)."""
    scale, unit = style.seconds_scale(shown.end_s)
    panels = len(shown.windows)
    names = [_name(stage) for stage in shown.stages]
    plot = panels * max(3, len(names)) * (26 if len(names) <= 8 else 19) + (panels - 1) * 76
    chart = make_subplots(
        rows=panels, cols=1, vertical_spacing=76 / plot if panels > 1 else 0,
        subplot_titles=["the beginning of the batch", "its end"] if panels > 1 else None,
    )  # fmt: skip
    for panel, window in enumerate(shown.windows, start=1):
        _draw(chart, panel, evaluation, shown, window)
        chart.update_xaxes(
            row=panel,
            range=[end / scale for end in window],
            title_text=f"time from the start of the batch ({unit})",
        )
        chart.update_yaxes(
            row=panel, categoryorder="array", categoryarray=names[::-1], range=[-0.5, len(names) - 0.5],
            showgrid=False,
        )  # fmt: skip
    chart.update_layout(barmode="overlay", bargap=0.14)
    chart.update_annotations(x=0, xanchor="left", font={"size": 12})
    return style.styled(chart, plot + 132).update_layout(
        legend={**style.legend(1 + 22 / plot), "traceorder": "normal"}, margin={"t": 76, "b": 56}
    )


def _name(stage: int) -> str:
    return f"stage {stage + 1}"


def _draw(chart: go.Figure, panel: int, evaluation: Evaluation, shown: Timeline, window: tuple[float, float]) -> None:
    """Draw what lies within the window; a block that sticks out of it is cut."""
    scale, _ = style.seconds_scale(shown.end_s)
    length_s = window[1] - window[0]
    seen = [
        (block, max(block.start_s, window[0]), min(block.end_s, window[1]))
        for block in shown.blocks
        if block.stage in shown.stages and block.end_s > window[0] and block.start_s < window[1]
    ]
    for kind, colour in COLOURS.items():
        own = [(block, start_s, end_s) for block, start_s, end_s in seen if block.kind is kind]
        chart.add_bar(
            row=panel,
            col=1,
            name=kind.value,
            legendgroup=kind.value,
            showlegend=panel == len(shown.windows),
            orientation="h",
            y=[_name(block.stage) for block, _, _ in own],
            base=[start_s / scale for _, start_s, _ in own],
            x=[(end_s - start_s) / scale for _, start_s, end_s in own],
            text=[
                style.fitting(str(block.micro_batch + 1), (end_s - start_s) / length_s)
                if block.micro_batch >= 0
                else ""
                for block, start_s, end_s in own
            ],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            insidetextfont={"color": "white"},
            marker={"color": colour, "line": {"color": "white", "width": 0.6}},
            customdata=[_hover(block, evaluation) for block, _, _ in own],
            hovertemplate="%{customdata}<extra></extra>",
        )


def _hover(block: TimelineBlock, evaluation: Evaluation) -> str:
    what = block.kind.value
    last = block.stage == len(evaluation.placement.stages) - 1
    if block.kind is BlockKind.BACKWARD and evaluation.family.recompute and not last:
        what = "recompute and backward"
    which = f", micro-batch {block.micro_batch + 1}" if block.micro_batch >= 0 else ""
    return (
        f"<b>{_name(block.stage)}: {what}{which}</b><br>starts {format_quantity(block.start_s, 's', 4)}, "
        f"takes {format_quantity(block.end_s - block.start_s, 's')}"
    )
