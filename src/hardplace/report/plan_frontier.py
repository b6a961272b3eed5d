"""Frontiers of plans, step against memory or against devices: the table in the terminal, and the page."""

from __future__ import annotations

from hardplace.branch_and_bound.types import LIMITS
from hardplace.certificate import percent_at_most
from hardplace.plans.placement.plan_frontier import MEMORY_STEP, Against, PlanFrontier, PlanPoint
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, Mark, Panel, Series
from hardplace.report.frontier_and_fleet import TextTable, sheet_page, show_sheet
from hardplace.report.plan import recompute_words, tensor_words, zero_words
from hardplace.units import GIB, percent

_OTHER_HEADS = ("devices", "MFU", "tensor", "pipe", "data", "ZeRO", "micro", "schedule", "recompute")


def _alike(found: PlanFrontier) -> bool:
    """Return whether all devices have as much memory: else the fullest is the one with the largest share filled, and
    limits are shares of each device's own memory, not bytes."""
    return len({size for one in found.points for size in one.estimate.memory_bytes}) == 1


def _heads(found: PlanFrontier) -> tuple[str, ...]:
    return ("step, s", "memory, GiB" if _alike(found) else "fullest device, %", *_OTHER_HEADS)


def _sheet(found: PlanFrontier) -> TextTable:
    taken = "memory of a device" if found.against is Against.MEMORY else "devices"
    return TextTable(
        title=f"{found.title}: step against {taken}",
        question=f"How fast is {found.model} with less {taken}?"
        if found.against is Against.MEMORY
        else f"How fast is {found.model} on fewer devices?",
        about=f"{words.plural(len(found.points), 'plan')}, {found.considered:,} considered; {found.stop.value} after "
        f"{found.seconds:.1f} s",
        certificate=_certificate(found),
        headings=_heads(found),
        rows=tuple(_row(found, one) for one in found.points),
        notes=_notes(found),
    )


def _certificate(found: PlanFrontier) -> str:
    gap = max(one.gap for one in found.points)
    fast = "at least as fast" if gap < 1e-9 else f"as fast to within {percent_at_most(gap)}"
    if found.against is Against.DEVICES:
        return (
            f"For every plan in the searched space on as many devices as one listed, the one listed is {fast} in this "
            f"cost model."
        )
    more = percent(1.0 / (1.0 - MEMORY_STEP) - 1.0)
    of = "" if found.nothing_below else " that needs no less memory than the last one listed"
    of_what = "memory" if _alike(found) else "of its fullest device's memory, as a share of it"
    return (
        f"For every plan in the searched space{of}, one listed here is {fast} and needs at most {more} more {of_what}, "
        f"in this cost model."
    )


def _notes(found: PlanFrontier) -> tuple[str, ...]:
    if found.stop in LIMITS:
        return (f"stopped early ({found.stop.value}): lower limits were not searched",)
    if found.nothing_below:
        return (f"no plan fits {_limit(found, found.least)}",)
    return (f"nothing below {_limit(found, found.least)} was searched",)


def _limit(found: PlanFrontier, limit: float) -> str:
    if found.against is Against.DEVICES:
        return words.plural(int(limit), "device")
    if not _alike(found):
        return f"{percent(limit)} of each device's memory"
    return f"{limit * max(found.points[0].estimate.memory_bytes) / GIB:.1f} GiB of a device"


def _memory(found: PlanFrontier, one: PlanPoint) -> float:
    """Return what a plan takes of the device that it fills most: GiB, or percent where devices are unlike."""
    return max(held.total_bytes for held in one.estimate.memory) / GIB if _alike(found) else 100.0 * one.memory_share


def _row(found: PlanFrontier, one: PlanPoint) -> tuple[str, ...]:
    plan = one.estimate.plan
    return (
        f"{one.estimate.step_s:#.4g}",
        f"{_memory(found, one):.1f}",
        f"{plan.devices:,}",
        percent(one.estimate.mfu),
        tensor_words(plan),
        str(plan.pipeline),
        str(plan.data),
        zero_words(plan),
        str(plan.micro_batch),
        f"{plan.schedule}{f' x{plan.virtual}' if plan.virtual > 1 else ''}",
        recompute_words(plan),
    )


def _said(found: PlanFrontier, one: PlanPoint) -> str:
    return ", ".join(f"{name} {cell}" for name, cell in zip(_heads(found), _row(found, one), strict=True))


def show_plan_frontier(found: PlanFrontier) -> None:
    """Print a frontier of plans."""
    show_sheet(_sheet(found))


def page(found: PlanFrontier, command: str = "") -> str:
    """Return the self-contained page of a frontier of plans; command: the one that asked, if one did."""
    memory = found.against is Against.MEMORY
    takes = [_memory(found, one) if memory else float(one.estimate.plan.devices) for one in found.points]
    steps = [one.estimate.step_s for one in found.points]
    marks = tuple(
        Mark(x=taken, y=step_s, title=_said(found, one), row=number)
        for number, (taken, step_s, one) in enumerate(zip(takes, steps, found.points, strict=True))
    )  # fmt: skip
    axis = f"memory of the fullest device, {'GiB' if _alike(found) else '%'}"
    panel = Panel(
        x=ChartAxis(title=axis if memory else "devices", high=1.08 * max(takes)),
        y=ChartAxis(title="step, s", high=1.08 * max(steps)),
        height=360.0,
        series=(Series(name="frontier", colour=style.BLUE, marks=marks, size=5.0, opacity=0.85),),
    )
    chart = Chart(label=f"step against {found.against.value}", panels=(panel,))
    return sheet_page(found, _sheet(found), chart, command, "frontier.json")
