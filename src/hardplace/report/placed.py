"""The best plans of a model in the terminal, and a page: memory by stage, where a step's time goes, the timeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.table import Table

from hardplace.certificate import percent_at_most
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.intervals import spreads
from hardplace.plans.placement.search import PlacementResult
from hardplace.plans.plan import INSIDE_OUT, Plan
from hardplace.plans.simulate import Pass, simulate
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.plan import (
    device_ranges,
    recompute_words,
    several_kinds,
    show_parts,
    speed,
    stage_rows,
    surety,
    tensor_words,
    unmeasured,
    zero_words,
)
from hardplace.report.ranks import rank_cells
from hardplace.report.rendering import rendered
from hardplace.report.replan import say_stuck
from hardplace.units import GIB, format_quantity

PARTS = ("weights", "gradients", "states", "activations", "logits", "working", "buffers", "fragmentation", "reserve")
_PART_COLOURS = dict(zip(PARTS, (*style.PALETTE, style.RED), strict=False)) | {"reserve": "#c9ccd1"}
_PASS_COLOURS = {Pass.FORWARD: style.BLUE, Pass.BACKWARD: style.ORANGE, Pass.WEIGHT: style.PURPLE}
MOST_STAGES = 16
MOST_MICRO_BATCHES = 3  # times the stages: of these the drawn timeline is
_HEADS = ("step s", "MFU", "tensor", "pipe", "data", "ctx", "exp", "ZeRO", "micro", "schedule", "recompute", "GiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class SvgBar:
    """A rectangle of a figure, in its units, with what a tooltip says."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str


def certificate(found: PlacementResult) -> str:
    """Return in one sentence what is proven."""
    if found.stopped:
        return f"stopped early: no plan of the space is more than {percent_at_most(found.gap)} faster than the first"
    if found.gap < 1e-9:
        others = "; of those after it not all ways to cut stages were priced" if found.cuts_left else ""
        return f"the first is the optimum of the model over the space{others}"
    return (
        f"no plan of the space is more than {percent_at_most(found.gap)} faster than the first: not all ways to cut "
        f"stages were priced"
    )


def counted(found: PlacementResult) -> str:
    """Return how many plans were considered, and what became of them."""
    return (
        f"{words.plural(found.considered, 'plan')}, each with all ways to cut its stages: {found.short:,} short of "
        f"memory, {found.bounded:,} discarded by bounds, {found.priced:,} priced in {words.plural(found.cuts, 'way')} "
        f"to cut them"
    )


_DIVISION = ("tensor", "context", "data", "pipeline", "expert")
_REST = ("sequence", "zero", "shard", "micro_batch", "schedule", "virtual", "recompute", "recompute_layers", "kinds")


def alike(found: PlacementResult) -> str:
    """Return in how many ways the best plans divide the devices, and in what those that do so alike differ."""
    groups: dict[tuple[int, ...], list[Plan]] = {}
    for one in found.best:
        groups.setdefault(tuple(getattr(one.plan, name) for name in _DIVISION), []).append(one.plan)
    differ = [
        name for name in _REST if any(len({getattr(one, name) for one in group}) > 1 for group in groups.values())
    ]
    ways = f"{words.plural(len(groups), 'way')} to divide the devices"
    best = f"the {len(found.best)} best plans" if len(found.best) > 1 else "the best plan"
    said = f"{best}: {ways} (tensor, context, data, pipeline, expert)"
    return f"{said}; those that divide them alike differ in {', '.join(differ)}" if differ else said


def heads(found: PlacementResult) -> tuple[str, ...]:
    """Return the headings of the table of plans: which stages are on which device where there are several kinds."""
    kinds = ("kinds by stage",) if _several(found) else ()
    return (*_HEADS, *kinds, "bound by, beside products", "order")


def _several(found: PlacementResult) -> bool:
    return any(one.plan.kinds for one in found.best)


def row(one: PlanEstimate, kinds: bool) -> tuple[str, ...]:
    """Return a plan as cells of the table; kinds: with which stages are on which device."""
    plan = one.plan
    most = max(one.shares[1:], key=lambda share: share.seconds)
    full = max(room.total_bytes for room in one.memory) / GIB
    return (
        f"{one.step_s:.4g}",
        f"{one.mfu:.1%}",
        tensor_words(plan),
        str(plan.pipeline),
        str(plan.data),
        str(plan.context),
        str(plan.expert),
        zero_words(plan),
        str(plan.micro_batch),
        f"{plan.schedule}{f' x{plan.virtual}' if plan.virtual > 1 else ''}",
        recompute_words(plan),
        f"{full:.1f}",
        *((device_ranges(plan.kinds),) if kinds else ()),
        f"{most.name.split(':')[0].split(',')[0]} {most.seconds / one.step_s:.0%}",
        "" if plan.order == INSIDE_OUT else "-".join(plan.order),
    )


def ties(found: PlacementResult) -> str:
    """Return which of the best plans the model cannot rank: as near as two runs of one system are told apart."""
    near = math.exp(spreads().pairs)
    count = sum(one.step_s <= found.best[0].step_s * near for one in found.best)
    if count == 1:
        return f"the second is {near - 1.0:.0%} slower or more: no tie"
    return f"1 to {count} are a tie: plans of one system are told apart from {near - 1.0:.0%} on (80 %)"


def show_placed(found: PlacementResult) -> None:
    """Print the ten best plans, the certificate, the memory and the timeline of the best."""
    console = screen(170)
    console.print(headed(found.title))
    best = found.best[0]
    console.print(f"speed        {speed(best)}")
    console.print(f"interval     {surety(best)}")
    if said := unmeasured(best):
        console.print(f"known        {said}")
    console.print(f"certificate  {certificate(found)}")
    console.print(f"considered   {counted(found)}\n")
    console.print(alike(found))
    console.print(ties(found))
    table = Table(*heads(found), box=None)
    for one in found.best:
        table.add_row(*row(one, _several(found)))
    console.print(table)
    show_parts(console, best)
    console.print(headed("\ntimeline of the best plan", " (a row a stage: f forward, b backward, w weight gradient)"))
    for line in text_timeline(best):
        console.print(line)
    for note in best.notes:
        console.print(f"note: {note}")


def show_plan_infeasible(found: PlanInfeasible) -> None:
    """Print why no plan fits: of `place` with the changes that were tried, of `replan` in a line."""
    if found.considered:
        show_short(found)
    else:
        say_stuck(found)


def show_short(found: PlanInfeasible) -> None:
    """Print what is short, and what would mend it."""
    plan, console = found.nearest, screen(200, soft_wrap=True)
    assert plan is not None  # `place` always has a nearest plan
    console.print(
        f"infeasible: {found.title}: none of {words.plural(found.considered, 'plan')} fits; the nearest (tensor "
        f"{plan.tensor}, pipeline {plan.pipeline}, data {plan.data}, ZeRO {plan.zero}, recompute {plan.recompute}) is "
        f"short by {words.size(found.short_bytes)} on stage {found.stage}"
    )
    for one in found.remedies:
        console.print(f"  fits with {one.what}: {one.step_s:.4g} s a step")
    if not found.remedies:
        console.print("  nothing tried makes it fit (bf16 gradients, 8-bit states, offload, context, more devices)")


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


def page(found: PlacementResult) -> str:
    """Return the HTML page of the best plans."""
    best = found.best[0]
    cells, nodes, not_drawn = rank_cells(best.plan, found.node_devices)
    blocks, end_s, left = drawn(best)
    return rendered(
        "place.html",
        title=found.title,
        best=best,
        certificate=certificate(found),
        counted=f"{counted(found)}; {alike(found)}",
        heads=heads(found),
        rows=[row(one, _several(found)) for one in found.best],
        memory=memory_bars(best),
        memory_names=[(name, _PART_COLOURS[name]) for name in PARTS],
        stages=_labels_at(len(best.memory)),
        several=several_kinds(best.plan),
        held=stage_rows(best),
        limit=max(best.memory_bytes) / GIB,
        shares=[(one.name, one.seconds, one.seconds / best.step_s) for one in best.shares if one.seconds > 0.0],
        timeline=timeline_bars(blocks, end_s),
        passes=[(phase.value, colour) for phase, colour in _PASS_COLOURS.items() if any(b[1] is phase for b in blocks)],
        rows_drawn=sorted({block[0] for block in blocks}),
        end=format_quantity(end_s, "s"),
        left=left,
        step=format_quantity(best.step_s, "s", 4),
        rank_cells=[(one, style.PALETTE[one.stage % len(style.PALETTE)]) for one in cells],
        rank_nodes=nodes,
        rank_left=not_drawn,
        rank_order="-".join(best.plan.order),
        node_devices=found.node_devices,
    )


def _labels_at(count: int) -> list[tuple[int, float]]:
    return [(stage, 10.0 + 22.0 * stage) for stage in range(count)]


def memory_bars(one: PlanEstimate) -> list[SvgBar]:
    """Return the memory of every stage, stacked from the left; 600 units are the largest device or stage."""
    most = max(*one.memory_bytes, *(room.total_bytes for room in one.memory))
    bars = []
    for stage, room in enumerate(one.memory):
        at = 0.0
        for name in PARTS:
            size = getattr(room, f"{name}_bytes")
            width = 600.0 * size / most
            title = f"stage {stage}: {name} {format_quantity(size, 'B')}"
            bars.append(
                SvgBar(x=80 + at, y=10 + 22 * stage, width=width, height=16, colour=_PART_COLOURS[name], title=title)
            )
            at += width
    return bars


def timeline_bars(blocks: list[tuple[int, Pass, int, float, float]], end_s: float) -> list[SvgBar]:
    """Return the passes as rectangles, a row a stage; 620 units are the whole time."""
    rows = {stage: index for index, stage in enumerate(sorted({block[0] for block in blocks}))}
    return [
        SvgBar(
            x=80 + 620 * start_s / end_s,
            y=10 + 22 * rows[stage],
            width=620 * (stop_s - start_s) / end_s,
            height=16,
            colour=_PASS_COLOURS[phase],
            title=f"stage {stage}: {phase} of micro-batch {micro}, {format_quantity(stop_s - start_s, 's')}",
        )
        for stage, phase, micro, start_s, stop_s in blocks
    ]
