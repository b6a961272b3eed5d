"""Strategies beside the certified search: the terminal's table, and the page with the best found over time."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go
from rich.table import Table

from hardplace.design.strategies.types import Comparison, Point
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered_with_figures
from hardplace.units import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRow:
    """One search, its numbers as text."""

    name: str
    found: str
    share: str
    evaluations: str
    chips: str
    seconds: str
    end: str
    chip: str
    plan: str


def rows(comparison: Comparison) -> tuple[StrategyRow, ...]:
    """Return the certified search and the strategies; share: of the certified optimum."""
    certified = comparison.certified
    first = StrategyRow(
        name="certified",
        found=words.number(certified.samples_per_s, 5),
        share=percent(1.0),
        evaluations=f"{certified.evaluations:,}",
        chips=f"all {comparison.chips_in_space:,}",
        seconds=f"{certified.seconds:.1f}",
        end=f"{certified.stop}, bound {words.number(certified.bound_samples_per_s, 5)}",
        chip=certified.chip,
        plan=certified.plan,
    )
    return (
        first,
        *(
            StrategyRow(
                name=trial.strategy,
                found=words.number(trial.samples_per_s, 5) if trial.samples_per_s else "nothing",
                share=percent(trial.samples_per_s / certified.samples_per_s),
                evaluations=f"{trial.evaluations:,}",
                chips=f"{trial.chips:,}",
                seconds=f"{trial.seconds:.1f}",
                end=trial.end.value,
                chip=trial.chip,
                plan=trial.plan,
            )
            for trial in comparison.trials
        ),
    )


def budget(comparison: Comparison) -> str:
    """Return what each strategy may use, in words."""
    limits = [] if comparison.limit_s is None else [f"{comparison.limit_s:g} s"]
    limits += [] if comparison.limit_evaluations is None else [f"{comparison.limit_evaluations:,} exact evaluations"]
    return " and ".join(limits) or "no limit but its own stop"


def show(comparison: Comparison) -> None:
    """Print a line for each search."""
    console = screen()
    console.print(
        headed(
            comparison.model,
            f", setting {comparison.setting}, {comparison.candidates:,} candidates; each "
            f"strategy: {budget(comparison)}; seed {comparison.seed}",
        )
    )
    table = Table("search", box=None, padding=(0, 2, 0, 0))
    for heading in ("samples/s", "of the optimum", "exact evaluations", "chips", "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("ended by", "chip"):
        table.add_column(heading)
    for row in rows(comparison):
        table.add_row(row.name, row.found, row.share, row.evaluations, row.chips, row.seconds, row.end, row.chip)
    console.print(table)


def page(comparison: Comparison) -> str:
    """Return the self-contained HTML page of a comparison."""
    return rendered_with_figures(
        "compare.html",
        comparison=comparison,
        rows=rows(comparison),
        budget=budget(comparison),
        figures={"compare": figure(comparison)},
    )


def figure(comparison: Comparison) -> go.Figure:
    """Return the best found against the seconds of each search, as a share of the certified bound."""
    chart = go.Figure()
    bound = comparison.certified.bound_samples_per_s
    ways = [("certified", comparison.certified.way), *((trial.strategy, trial.way) for trial in comparison.trials)]
    for (name, way), colour in zip(ways, (style.RED, *style.PALETTE[:4]), strict=False):
        _line(chart, name, way, colour, bound)
    chart.add_hline(y=100.0, line={"color": style.GREY, "dash": "dot", "width": 1.5})
    chart.update_xaxes(title_text="time of the search (s)", type="log")
    chart.update_yaxes(title_text="best found (% of the certified bound)", rangemode="tozero", range=[0, 106])
    return style.styled(chart, 440)


def _line(chart: go.Figure, name: str, way: tuple[Point, ...], colour: str, bound: float) -> None:
    """Add a line that holds each value until the next one."""
    found = [point for point in way if point.samples_per_s > 0]
    chart.add_scatter(
        name=name,
        x=[max(point.seconds, 1e-3) for point in found],
        y=[100.0 * point.samples_per_s / bound for point in found],
        customdata=[(point.samples_per_s, point.evaluations) for point in found],
        mode="lines+markers",
        marker={"size": 5},
        line={"shape": "hv", "color": colour, "width": 2.5 if name == "certified" else 2},
        hovertemplate=f"<b>{name}</b><br>after %{{x:.3g}} s: %{{customdata[0]:,.5g}} samples/s<br>%{{customdata[1]:,}} "
        "exact evaluations<extra></extra>",
    )
