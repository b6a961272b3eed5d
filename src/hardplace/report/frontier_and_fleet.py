"""Frontiers of several objectives and chips for several models: tables in the terminal, and their pages."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Table

from hardplace.answers import Answer
from hardplace.certificate import at_most, percent_at_most
from hardplace.design.goals import Objective, shown
from hardplace.design.results import ParetoResult, SharedResult
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, ChartBar, Mark, Panel, Series
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.units import percent


class TextTable(NamedTuple):
    """A table for people: what it is of, what is proven, headings and rows."""

    title: str
    question: str
    about: str
    certificate: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def frontier_sheet(found: ParetoResult) -> TextTable:
    """Return a frontier as a table, one point a row."""
    units = [f"{name} ({unit})" for name, unit in zip(found.objectives, found.units, strict=True)]
    rows = tuple(
        (
            *(words.number(value, 4) for value in point.values),
            f"{words.chip(point.evaluation.chip)}, {words.area(point.evaluation.chip.area_mm2)}",
            words.plan(point.evaluation),
        )
        for point in found.points
    )
    return TextTable(
        title=f"{found.model}: {' and '.join(found.objectives)}",
        question=f"Which chips and plans are best for {found.model} in {' and '.join(found.objectives)}?",
        about=f"{words.count(found.chips_in_space)} chips of space {found.space}, setting {found.setting}, "
        f"{found.devices:,} devices; within {words.within(found.budget)}; "
        f"{words.plural(len(found.points), 'point')}, {found.exact_evaluations:,} exact "
        f"evaluations; {found.stop.value} after {found.seconds:.1f} s",
        certificate=f"Every chip and plan of the space is matched by one of these points to within "
        f"{percent_at_most(found.gap)} in all objectives.",
        headings=(*units, "chip", "plan"),
        rows=rows,
        notes=found.notes,
    )


def shared_sheet(found: SharedResult) -> TextTable:
    """Return the chips of several models as a table, one model a row."""
    rows = tuple(
        (
            run.model,
            str(run.chip + 1),
            words.number(shown(Objective(found.objective), run.score), 4),
            percent(run.score / run.own_best),
            words.plan(run.evaluation),
        )
        for run in found.runs
    )
    chips = "; ".join(f"chip {index + 1}: {words.chip(one)}" for index, one in enumerate(found.chips))
    return TextTable(
        title=f"{', '.join(run.model for run in found.runs)}: {words.plural(len(found.chips), 'chip')}",
        question=f"Which {words.plural(len(found.chips), 'chip')} for {', '.join(run.model for run in found.runs)}?",
        about=f"{chips}. {words.count(found.chips_in_space)} chips of space {found.space}, setting {found.setting}; "
        f"within {words.within(found.budget)}; {found.combine} combination of {found.objective}; "
        f"{found.stop.value} after {found.seconds:.1f} s",
        certificate=f"Combined score {words.number(found.score, 4)}; no choice of as many chips has more than "
        f"{at_most(found.bound)}, {percent_at_most(found.gap)} above.",
        headings=("model", "chip", found.unit, "of its own best", "plan"),
        rows=rows,
        notes=found.notes,
    )


def show_frontier(found: ParetoResult) -> None:
    """Print a frontier."""
    show_sheet(frontier_sheet(found))


def show_shared(found: SharedResult) -> None:
    """Print the chips of several models."""
    show_sheet(shared_sheet(found))


def show_sheet(sheet: TextTable) -> None:
    """Print a table with what it is of and what is proven."""
    console = screen()
    console.print(headed(sheet.title))
    console.print(sheet.about)
    table = Table(*sheet.headings, box=None, padding=(0, 2, 0, 0))
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)
    console.print(sheet.certificate)
    for note in sheet.notes:
        console.print(f"note: {note}")


def frontier_page(found: ParetoResult, command: str = "") -> str:
    """Return the self-contained page of a frontier; command: the one that asked, if one did."""
    return sheet_page(found, frontier_sheet(found), frontier_figure(found), command)


def shared_page(found: SharedResult, command: str = "") -> str:
    """Return the self-contained page of chips for several models; command: the one that asked, if one did."""
    return sheet_page(found, shared_sheet(found), shared_figure(found), command)


def frontier_figure(found: ParetoResult) -> Chart:
    """Return the first objective against the second; a third one stands in the tooltip and the table."""
    columns = list(zip(*(point.values for point in found.points), strict=True))
    marks = []
    for row, point in enumerate(found.points):
        values = ", ".join(f"{value:,.5g} {unit}" for value, unit in zip(point.values, found.units, strict=True))
        title = f"{point.evaluation.chip.name}, {words.gib(point.evaluation.family.memory_bytes)}: {values}"
        marks.append(Mark(x=point.values[1], y=point.values[0], title=title, row=row))
    left, right = min(columns[1]), max(columns[1])
    margin = 0.05 * (right - left or right)
    panel = Panel(
        x=ChartAxis(title=f"{found.objectives[1]}, {found.units[1]}", low=left - margin, high=right + margin),
        y=ChartAxis(title=f"{found.objectives[0]}, {found.units[0]}", high=1.08 * max(columns[0])),
        height=360.0,
        series=(Series(name="frontier", colour=style.BLUE, marks=tuple(marks), size=5.0, opacity=0.85),),
    )
    return Chart(label=f"frontier of {' and '.join(found.objectives)}", panels=(panel,))


def shared_figure(found: SharedResult) -> Chart:
    """Return what each model reaches of its own best, a bar each."""
    bars = tuple(
        ChartBar(
            name=f"chip {run.chip + 1}",
            colour=style.PALETTE[run.chip % len(style.PALETTE)],
            left=place - 0.3,
            right=place + 0.3,
            low=0.0,
            high=100.0 * run.score / run.own_best,
            label=f"chip {run.chip + 1}",
            title=f"{run.model} on chip {run.chip + 1}: {percent(run.score / run.own_best)} of its own best",
        )
        for place, run in enumerate(found.runs)
    )
    panel = Panel(
        x=ChartAxis(names=tuple(run.model for run in found.runs)),
        y=ChartAxis(title="of the model's own best chip, %", high=108.0),
        height=280.0,
        bars=bars,
    )
    return Chart(label="what each model reaches of its own best chip", panels=(panel,))


def sheet_page(found: Answer, sheet: TextTable, figure: Chart, command: str, beside: str = "result.json") -> str:
    """Return the self-contained page of a table with its chart.

    Args:
        found: The answer.
        sheet: Its table.
        figure: Its chart; a mark names its row.
        command: The one that asked, if one did.
        beside: Name of the file that holds the answer.
    """
    again = reproduction(found, command, beside)
    points = any(panel.series for panel in figure.panels)
    return rendered("several.html", sheet=sheet, chart=figure, points=points, reproduction=again)
