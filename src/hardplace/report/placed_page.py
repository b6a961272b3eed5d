"""The page of the best plans: rows that open, all degrees as a map, step against memory, ranks, what if."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.placement.recommend import recommend
from hardplace.plans.placement.result import PlacementResult
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.placed import alike, certificate, counted, heads, plan_notes, recommended, row, ties
from hardplace.report.plan import context_words, evidence, surety, tensor_words, zero_words
from hardplace.report.plan_detail import PART_COLOURS, PARTS, plan_detail
from hardplace.report.plan_timeline import PASS_COLOURS
from hardplace.report.ranks import rank_cells
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.report.surety_chart import surety_chart
from hardplace.units import GIB, format_quantity, percent

_FEW_MARKS = 300  # of the timeline in a row that opens
_DETAILED = 10  # plans whose rows open, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class DegreeCell:
    """A pair of degrees on the map: its corner, its fill, two lines of text and what a tooltip says."""

    x: float
    y: float
    fill: str
    opacity: float
    text: str
    note: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DegreeFigure:
    """The map of tensor and pipeline degrees; columns and rows are labels with their x and y."""

    cells: list[DegreeCell]
    columns: list[tuple[int, float]]
    rows: list[tuple[int, float]]
    width: float
    height: float


def page(found: PlacementResult, command: str = "") -> str:
    """Return the HTML page of the best plans.

    Args:
        found: The plans.
        command: The command that asked for them, if one did.
    """
    best, chosen = found.best[0], recommend(found)
    cells, nodes, not_drawn = rank_cells(best.plan, found.node_devices)
    return rendered(
        "place.html",
        title=found.title,
        best=best,
        answer=answer_line(best),
        surety=surety(best),
        evidence=evidence(best),
        certificate=certificate(found),
        recommended=recommended(found),
        recommended_place=chosen.place if chosen else -1,
        counted=f"{counted(found)}; {alike(found)}",
        ties=ties(found),
        heads=heads(found),
        rows=[
            (row(one, found), plan_detail(number, one, _FEW_MARKS))
            for number, one in enumerate(found.best[:_DETAILED], 1)
        ],
        first=plan_detail(1, best),
        more=[row(one, found) for one in found.best[_DETAILED:]],
        memory_names=[(name, PART_COLOURS[name]) for name in PARTS],
        passes=[(phase.value, colour) for phase, colour in PASS_COLOURS.items()],
        step=format_quantity(best.step_s, "s", 4),
        degrees=degree_figure(found),
        scatter=scatter(found),
        sure=surety_chart(found.best[:_DETAILED]),
        variations=[
            (one.what, f"{one.step_s:#.4g}", f"{one.tokens_per_s:,.0f}", _against(one.tokens_per_s, best), one.fits)
            for one in found.variations
        ],
        rank_cells=[(one, style.PALETTE[one.stage % len(style.PALETTE)]) for one in cells],
        rank_nodes=nodes,
        rank_left=not_drawn,
        rank_order="-".join(best.plan.order),
        node_devices=found.node_devices,
        notes=plan_notes(found),
        reproduction=reproduction(found, command, "place.json"),
    )


def _against(tokens_per_s: float, best: PlanEstimate) -> str:
    return percent(tokens_per_s / best.tokens_per_s - 1.0, sign=True)


def answer_line(one: PlanEstimate) -> str:
    """Return the plan and its step in a line."""
    plan = one.plan
    more = [f"context {context_words(plan)}"] * (plan.context > 1) + [f"expert {plan.expert}"] * (plan.expert > 1)
    degrees = " × ".join([f"tensor {tensor_words(plan)}", f"pipeline {plan.pipeline}", f"data {plan.data}", *more])
    return (
        f"{degrees}, ZeRO {zero_words(plan)}, micro-batch {plan.micro_batch}, {plan.schedule}, recompute "
        f"{plan.recompute}: {format_quantity(one.step_s, 's', 4)} a step, {one.tokens_per_s:,.0f} {one.counts}/s, "
        f"{percent(one.mfu)} MFU"
    )


def degree_figure(found: PlacementResult) -> DegreeFigure:
    """Return the map of step times: a step where a plan was priced, a bound where it was pruned, hatched where no plan
    fits."""
    tensors = sorted({one.tensor for one in found.degrees})
    pipelines = sorted({one.pipeline for one in found.degrees})
    least_s = found.best[0].step_s
    xs = {value: 90.0 + 76.0 * place for place, value in enumerate(pipelines)}
    ys = {value: 30.0 + 40.0 * place for place, value in enumerate(tensors)}
    cells = []
    for one in found.degrees:
        where = f"tensor {one.tensor}, pipeline {one.pipeline}"
        if one.step_s is not None:
            shade = 0.85 * min(1.0, least_s / one.step_s) ** 3
            text, note, fill = f"{one.step_s:#.4g} s", _longer(one.step_s, least_s), style.BLUE
            title = f"{where}: {one.step_s:#.4g} s a step, the best that was priced"
        elif one.bound_s is not None:
            shade = 0.85 * min(1.0, least_s / one.bound_s) ** 3 / 3.0
            text, note, fill = f"≥ {words.rounded_down(one.bound_s)} s", "pruned", style.BLUE
            title = f"{where}: no plan takes less than {words.rounded_down(one.bound_s)} s: pruned by its bound"
        else:
            shade, text, note, fill = 1.0, "", "does not fit", "url(#hatched)"
            title = f"{where}: no plan fits the memory"
        cells.append(
            DegreeCell(
                x=xs[one.pipeline], y=ys[one.tensor], fill=fill, opacity=shade, text=text, note=note, title=title
            )
        )
    return DegreeFigure(
        cells=cells,
        columns=list(xs.items()),
        rows=list(ys.items()),
        width=max(720.0, 100.0 + 76.0 * len(xs)),
        height=40.0 + 40.0 * len(ys),
    )


def _longer(step_s: float, least_s: float) -> str:
    return "the best" if step_s <= least_s else f"{percent(step_s / least_s - 1.0, sign=True)}"


def scatter(found: PlacementResult) -> list[tuple[float, float, str, str]]:
    """Return the best plans as points of step against memory: x, y, number, tooltip; of a plot of 720 x 260."""
    steps = [one.step_s for one in found.best]
    fullest = [max(room.total_bytes for room in one.memory) for one in found.best]
    low, high, most = min(steps), max(steps), max(max(one.memory_bytes) for one in found.best)
    wide = (high - low) or low
    points = []
    for number, (step_s, held) in enumerate(zip(steps, fullest, strict=True), 1):
        title = f"plan {number}: {step_s:#.4g} s a step, {held / GIB:.1f} GiB on the fullest device"
        points.append((90.0 + 580.0 * (step_s - low) / wide, 220.0 - 200.0 * held / most, f"{number}", title))
    return points
