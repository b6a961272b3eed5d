"""What one plan's part of a page holds: stages, where the time goes, memory and timeline as rectangles."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.plans.estimate import PlanEstimate
from hardplace.report import style
from hardplace.report.drawing import Rectangle
from hardplace.report.plan import StageRow, folded, several_kinds, stage_rows
from hardplace.report.plan_timeline import drawn, timeline_bars
from hardplace.report.text import plural
from hardplace.units import GIB, format_quantity

PARTS = ("weights", "gradients", "states", "activations", "logits", "working", "buffers", "fragmentation", "reserve")
PART_COLOURS = dict(zip(PARTS, (*style.PALETTE, style.RED), strict=False)) | {"reserve": "#c9ccd1"}
MOST_MARKS = 3000  # of a timeline, so that a page stays small


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDetail:
    """What a row of the table opens to: stages, shares, timeline.

    Attributes:
        number: Number of the plan, from 1.
        several: Whether the stages are on several kinds of device.
        held: Stages with their cells, equal neighbours once.
        memory: Bars of the memory.
        memory_ys: Stages with the y of their bars.
        limit_gib: Memory of the largest device.
        shares: Parts of a step: name, seconds, share.
        timeline: Bars of the timeline.
        rows: Stages in the timeline.
        end: End of the timeline, in words.
        left: What the timeline leaves out, in words.
    """

    number: int
    several: bool
    held: list[tuple[str, tuple[str, ...]]]
    memory: list[Rectangle]
    memory_ys: list[tuple[int, float]]
    limit_gib: float
    shares: list[tuple[str, float, float]]
    timeline: list[Rectangle]
    rows: list[int]
    end: str
    left: str


def _cells(row: StageRow, *, several: bool) -> tuple[str, ...]:
    """Return a stage's cells, but for its number: device where there are several kinds, layers, memory, what it has."""
    return (
        *((row.device,) if several else ()), str(row.layers), f"{row.total_gib:.2f}", f"{row.held_gib:.2f}",
    )  # fmt: skip


def plan_detail(number: int, one: PlanEstimate, most_marks: int = MOST_MARKS) -> PlanDetail:
    """Return what a page shows of a plan, with at most about so many marks in its timeline."""
    blocks, end_s, left = drawn(one)
    if len(blocks) > most_marks:
        count = 1 + max(block[2] for block in blocks)
        keep = max(1, most_marks * count // len(blocks))
        blocks = [block for block in blocks if block[2] < keep]
        end_s = max(block[4] for block in blocks)
        left = f"The first {plural(keep, 'micro-batch')} of {one.plan.micro_batches:,}."
    return PlanDetail(
        number=number,
        several=several_kinds(one.plan),
        held=folded([_cells(row, several=several_kinds(one.plan)) for row in stage_rows(one)]),
        memory=memory_bars(one),
        memory_ys=[(stage, 10.0 + 22.0 * stage) for stage in range(len(one.memory))],
        limit_gib=max(one.memory_bytes) / GIB,
        shares=[(share.name, share.seconds, share.seconds / one.step_s) for share in one.shares if share.seconds > 0.0],
        timeline=timeline_bars(blocks, end_s),
        rows=sorted({block[0] for block in blocks}),
        end=format_quantity(end_s, "s"),
        left=left,
    )


def memory_bars(one: PlanEstimate) -> list[Rectangle]:
    """Return the memory of every stage, stacked from the left; 600 units are the largest device or stage."""
    most = max(*one.memory_bytes, *(room.total_bytes for room in one.memory))
    bars = []
    for stage, room in enumerate(one.memory):
        at = 0.0
        for name in PARTS:
            size = getattr(room, f"{name}_bytes")
            width = 600.0 * size / most
            title = f"stage {stage}: {name} {size / GIB:.2f} GiB"
            bars.append(
                Rectangle(x=80 + at, y=10 + 22 * stage, width=width, height=16, colour=PART_COLOURS[name], title=title)
            )
            at += width
    return bars
