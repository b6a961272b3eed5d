"""The figures of where the time of a batch and the memory of a stage go, and of the search as it ran."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from hardplace.branch_and_bound.types import Progress
from hardplace.design.results import DesignResult
from hardplace.design.types import Evaluation
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import (
    Chart,
    ChartAxis,
    ChartBar,
    Level,
    LineKind,
    Mark,
    Panel,
    Series,
    Symbol,
    row_bar,
)
from hardplace.units import GIB, format_quantity, percent


def time_figure(exploration: DesignResult) -> Chart:
    """Return the seconds of a batch by cause: the answer, and below it the baselines that have a plan."""
    compared = [("the answer", exploration.best)]
    compared += [(one.name, one.evaluation) for one in exploration.baselines if one.evaluation is not None]
    names = list(dict.fromkeys(cause.name for _, one in compared for cause in one.time if cause.amount > 0))
    longest_s = max(one.placement.batch_s for _, one in compared)
    scale, unit = style.seconds_scale(longest_s)
    bars, ends = [], [0.0] * len(compared)
    for place, name in enumerate(names):
        for row, (label, one) in enumerate(compared):
            amount_s = sum(cause.amount for cause in one.time if cause.name == name)
            share = percent(amount_s / one.placement.batch_s)
            bars.append(
                row_bar(
                    row,
                    ends[row],
                    ends[row] + amount_s / scale,
                    style.PALETTE[place % len(style.PALETTE)],
                    name=name,
                    label=share,
                    title=f"{label}: {name}: {format_quantity(amount_s, 's')}, {share} of the batch",
                    thick=0.7,
                )
            )
            ends[row] += amount_s / scale
    panel = Panel(
        x=ChartAxis(
            title=f"time of a batch of {exploration.batch_samples:,} samples, {unit}", high=1.02 * max(*ends, 1e-12)
        ),
        y=ChartAxis(names=tuple(label for label, _ in compared)),
        height=40.0 * len(compared),
        bars=tuple(bars),
    )
    return Chart(label="time of a batch by cause", panels=(panel,))


def memory_figure(evaluation: Evaluation) -> Chart:
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
    bars, tops = [], [0.0] * len(stages)
    # A few stages would otherwise become slabs as wide as the page.
    half = min(0.4, 0.04 * len(stages))
    for name, colour, amounts in held:
        if max(amounts) <= 0:
            continue
        for place, amount in enumerate(amounts):
            bars.append(
                ChartBar(
                    name=name,
                    colour=colour,
                    left=place - half,
                    right=place + half,
                    low=tops[place],
                    high=tops[place] + amount / GIB,
                    title=f"stage {place + 1}: {name}: {words.gib(amount)}",
                )
            )
            tops[place] += amount / GIB
    capacity = evaluation.family.memory_bytes / GIB
    panel = Panel(
        x=ChartAxis(title="pipeline stage", names=tuple(str(place + 1) for place in range(len(stages)))),
        y=ChartAxis(title="memory of a device, GiB", high=1.12 * max(capacity, *tops)),
        height=250.0,
        bars=tuple(bars),
        levels=(Level(value=capacity, label=f"capacity {capacity:.4g} GiB"),),
    )
    return Chart(label="memory of a device of each pipeline stage against its capacity", panels=(panel,))


def search_figure(exploration: DesignResult) -> Chart:
    """Return incumbent and bound against the seconds of the search."""
    inverse = exploration.inverse
    panel = progress_panel(
        exploration.progress,
        exploration.score,
        exploration.bound,
        exploration.seconds,
        "faster" if exploration.objective == "throughput" else "better",
        f"{exploration.objective}, {exploration.unit}",
        lambda value: 1.0 / value if inverse else value,
    )
    return Chart(label="best found and bound over the time of the search", panels=(panel,))


def progress_panel(
    progress: Sequence[Progress],
    score: float,
    bound: float,
    seconds: float,
    better: str,
    title: str,
    shown: Callable[[float], float],
) -> Panel:
    """Return the panel of a search as it ran.

    Args:
        progress: Incumbent and bound over time.
        score: What was reached.
        bound: What is proven.
        seconds: Seconds of the whole search.
        better: What a better answer is: faster, or better.
        title: Title of the axis: what is scored, with its unit after a comma.
        shown: A score as people read it.
    """
    last_s = max(seconds, *(now.seconds for now in progress), 0.0)
    lines = (
        (f"bound: nothing left can be {better}", style.ORANGE, [now.bound for now in progress], bound),
        ("best found so far", style.BLUE, [now.score for now in progress], score),
    )
    series = []
    for place, (name, colour, values, end) in enumerate(lines):
        seen = [
            (now.seconds, shown(value))
            for now, value in zip(progress, values, strict=True)
            if math.isfinite(value) and value > 0
        ]
        kept = _corners([*seen, (last_s, shown(end))])
        series.append(
            Series(
                name=name,
                colour=colour,
                marks=tuple(Mark(x=s, y=v, title=f"{name}: {v:,.5g} after {s:.3g} s") for s, v in kept),
                line=LineKind.STEPS,
                dashed=place == 0,
                symbol=Symbol.DOT if len(kept) <= 40 else None,
                size=2.5,
            )
        )
    values = [mark.y for one in series for mark in one.marks]
    least, most = min(values), max(values)
    wide = most > 4 * least  # the first bounds are loose; the meeting at the end is what matters
    low, high = (least / 1.3, most * 1.3) if wide else (0.0, 1.08 * most)
    return Panel(
        x=ChartAxis(title="time of the search, s", high=1.02 * max(last_s, 1e-6)),
        y=ChartAxis(title=title, low=low, high=high, log=wide),
        height=250.0,
        series=tuple(series),
    )


def _corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points at which a step line turns, and its last."""
    turns = [after for before, after in pairwise(points) if after[1] != before[1]]
    return [*points[:1], *turns, *points[-1:]]
