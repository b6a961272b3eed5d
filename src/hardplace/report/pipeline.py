"""The figure of the pipeline's timeline: what each stage does at the beginning and the end of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hardplace.design.types import Evaluation
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, ChartBar, Panel, row_bar
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


def figure(evaluation: Evaluation, shown: Timeline) -> Chart:
    """Return the timeline: a row for each stage, one panel or two (the beginning above the end)."""
    scale, unit = style.seconds_scale(shown.end_s)
    names = tuple(_name(stage) for stage in shown.stages)
    titles = ("the beginning of the batch", "its end") if len(shown.windows) > 1 else ("",)
    panels = tuple(
        Panel(
            x=ChartAxis(
                title=f"time from the start of the batch, {unit}", low=window[0] / scale, high=window[1] / scale
            ),
            y=ChartAxis(names=names),
            height=max(3, len(names)) * (24.0 if len(names) <= 8 else 19.0),
            title=title,
            bars=tuple(_bars(evaluation, shown, window, scale)),
        )
        for title, window in zip(titles, shown.windows, strict=True)
    )
    return Chart(label="what each pipeline stage does during a batch", panels=panels)


def _name(stage: int) -> str:
    return f"stage {stage + 1}"


def _bars(evaluation: Evaluation, shown: Timeline, window: tuple[float, float], scale: float) -> Iterator[ChartBar]:
    """Yield what lies within the window, a block that sticks out of it cut; kind by kind, as the legend has them."""
    rows = {stage: row for row, stage in enumerate(shown.stages)}
    for kind, colour in COLOURS.items():
        for block in shown.blocks:
            start_s, end_s = max(block.start_s, window[0]), min(block.end_s, window[1])
            if block.kind is kind and block.stage in rows and start_s < end_s:
                yield row_bar(
                    rows[block.stage],
                    start_s / scale,
                    end_s / scale,
                    colour,
                    name=kind.value,
                    label=str(block.micro_batch + 1) if block.micro_batch >= 0 else "",
                    title=_hover(block, evaluation),
                )


def _hover(block: TimelineBlock, evaluation: Evaluation) -> str:
    what = block.kind.value
    last = block.stage == len(evaluation.placement.stages) - 1
    if block.kind is BlockKind.BACKWARD and evaluation.family.recompute and not last:
        what = "recompute and backward"
    which = f", micro-batch {block.micro_batch + 1}" if block.micro_batch >= 0 else ""
    return (
        f"{_name(block.stage)}: {what}{which}: starts {format_quantity(block.start_s, 's', 4)}, "
        f"takes {format_quantity(block.end_s - block.start_s, 's')}"
    )
