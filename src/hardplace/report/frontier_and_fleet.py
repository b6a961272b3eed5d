"""Frontiers of several objectives and chips for several models: tables in the terminal, and their pages."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from rich.table import Table

from hardplace.certificate import at_most, percent_at_most
from hardplace.design.goals import Objective, shown
from hardplace.design.results import ParetoResult, SharedResult
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered_with_figures
from hardplace.report.reproduce import reproduction
from hardplace.units import GIB, percent


class TextTable(NamedTuple):
    """A table for people: what it is of, what is proven, headings and rows."""

    title: str
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
    _show(frontier_sheet(found))


def show_shared(found: SharedResult) -> None:
    """Print the chips of several models."""
    _show(shared_sheet(found))


def _show(sheet: TextTable) -> None:
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
    return _page(found, frontier_sheet(found), frontier_figure(found), command)


def shared_page(found: SharedResult, command: str = "") -> str:
    """Return the self-contained page of chips for several models; command: the one that asked, if one did."""
    return _page(found, shared_sheet(found), shared_figure(found), command)


def frontier_figure(found: ParetoResult) -> go.Figure:
    """Return the first objective against the second, a third one as colour."""
    chart = go.Figure()
    columns = list(zip(*(point.values for point in found.points), strict=True))
    labels = [
        style.safe(f"{point.evaluation.chip.name}, {point.evaluation.family.memory_bytes / GIB:g} GiB")
        for point in found.points
    ]
    marker: dict[str, object] = {"size": 9, "color": style.BLUE}
    if len(columns) > 2:
        marker |= {"color": list(columns[2]), "showscale": True, "colorbar": {"title": {"text": found.units[2]}}}
    chart.add_scatter(
        name="frontier",
        x=list(columns[1]),
        y=list(columns[0]),
        text=labels,
        mode="markers",
        marker=marker,
        hovertemplate="%{text}<br>%{x:,.5g} " + found.units[1] + "<br>%{y:,.5g} " + found.units[0] + "<extra></extra>",
    )
    chart.update_xaxes(title_text=f"{found.objectives[1]} ({found.units[1]})")
    chart.update_yaxes(title_text=f"{found.objectives[0]} ({found.units[0]})", rangemode="tozero")
    return style.styled(chart, 480)


def shared_figure(found: SharedResult) -> go.Figure:
    """Return what each model reaches of its own best, a bar each."""
    chart = go.Figure()
    chart.add_bar(
        x=[style.safe(run.model) for run in found.runs],
        y=[100.0 * run.score / run.own_best for run in found.runs],
        text=[f"chip {run.chip + 1}" for run in found.runs],
        marker={"color": style.BLUE},
    )
    chart.update_yaxes(title_text="of the model's own best chip (%)", rangemode="tozero")
    return style.styled(chart, 400)


def _page(found: ParetoResult | SharedResult, sheet: TextTable, figure: go.Figure, command: str) -> str:
    again = reproduction(found, command, "result.json")
    return rendered_with_figures("several.html", sheet=sheet, figures={"several": figure}, reproduction=again)
