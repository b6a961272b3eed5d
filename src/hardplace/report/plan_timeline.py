"""The timeline of a plan's pipeline: which stage does which pass when, as text and as rectangles."""

from __future__ import annotations

from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.simulate import Pass, simulate
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.drawing import Rectangle
from hardplace.units import format_quantity

PASS_COLOURS = {Pass.FORWARD: style.BLUE, Pass.BACKWARD: style.ORANGE, Pass.WEIGHT: style.PURPLE}
MOST_STAGES = 16
MOST_MICRO_BATCHES = 3  # times the stages: of these the drawn timeline is


def drawn(one: PlanEstimate) -> tuple[list[tuple[int, Pass, int, float, float]], float, str]:
    """Return (stage, pass, micro-batch, start, end) of the timeline, its end in seconds, and what it leaves out."""
    plan = one.plan
    count = min(plan.micro_batches, MOST_MICRO_BATCHES * plan.pipeline)
    stages = set(range(plan.pipeline))
    if plan.pipeline > MOST_STAGES:
        stages = {*range(MOST_STAGES // 2), *range(plan.pipeline - MOST_STAGES // 2, plan.pipeline)}
    events = simulate(one.forward_s, one.backward_s, one.weight_s, one.hop_s, count, plan.schedule)
    blocks = [(e.stage, e.phase, e.micro_batch, e.start_s, e.end_s) for e in events if e.stage in stages]
    left = []
    if count < plan.micro_batches:
        left.append(words.plural(plan.micro_batches - count, "further micro-batch"))
    if len(stages) < plan.pipeline:
        left.append(f"the {words.plural(plan.pipeline - len(stages), 'stage')} in the middle")
    return blocks, max(block[4] for block in blocks), f"Not drawn: {' and '.join(left)}." if left else ""


def text_timeline(one: PlanEstimate, width: int = 120) -> list[str]:
    """Return the timeline as lines of text, a character a slice of time."""
    blocks, end_s, left = drawn(one)
    letters = {Pass.FORWARD: "f", Pass.BACKWARD: "b", Pass.WEIGHT: "w"}
    lines = []
    for stage in sorted({block[0] for block in blocks}):
        cells = ["."] * width
        for _, phase, _, start_s, stop_s in (block for block in blocks if block[0] == stage):
            middle = [cell for cell in range(width) if start_s <= (cell + 0.5) * end_s / width < stop_s]
            for cell in middle:
                cells[cell] = letters[phase]
        lines.append(f"{stage:>3} {''.join(cells)}")
    lines.append(f"    0 to {format_quantity(end_s, 's')}; . waits. {left}".rstrip())
    return lines


def timeline_bars(blocks: list[tuple[int, Pass, int, float, float]], end_s: float) -> list[Rectangle]:
    """Return the passes as rectangles, a row a stage; 620 units are the whole time."""
    rows = {stage: index for index, stage in enumerate(sorted({block[0] for block in blocks}))}
    return [
        Rectangle(
            x=80 + 620 * start_s / end_s,
            y=10 + 22 * rows[stage],
            width=620 * (stop_s - start_s) / end_s,
            height=16,
            colour=PASS_COLOURS[phase],
            title=f"stage {stage}: {phase} of micro-batch {micro}, {format_quantity(stop_s - start_s, 's')}",
        )
        for stage, phase, micro, start_s, stop_s in blocks
    ]
