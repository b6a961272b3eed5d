"""Strategies beside the certified search: the terminal's table, and the page with the best found over time."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from hardplace.design.goals import UNITS, Objective
from hardplace.design.strategies.types import Comparison, Point
from hardplace.report import style
from hardplace.report import text as words
from hardplace.report.charts import Chart, ChartAxis, Level, LineKind, Mark, Panel, Series
from hardplace.report.console import headed, screen
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduction
from hardplace.units import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyRow:
    """One search, its numbers as text; score and tdp: empty where the objective is the throughput."""

    name: str
    score: str
    found: str
    tdp: str
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
        score=_scored(comparison, certified.score),
        found=words.number(certified.samples_per_s, 5),
        tdp=_watts(certified.tdp_w),
        share=percent(1.0),
        evaluations=f"{certified.evaluations:,}",
        chips=f"all {comparison.chips_in_space:,}",
        seconds=f"{certified.seconds:.1f}",
        end=f"{certified.stop}, bound {words.number(certified.bound_score, 5)}",
        chip=certified.chip,
        plan=certified.plan,
    )
    return (
        first,
        *(
            StrategyRow(
                name=trial.strategy,
                score=_scored(comparison, trial.score),
                found=words.number(trial.samples_per_s, 5) if trial.samples_per_s else "nothing",
                tdp=_watts(trial.tdp_w),
                share=percent(trial.score / certified.score),
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


def unit(comparison: Comparison) -> str:
    """Return the unit of the scores."""
    return UNITS[comparison.objective][0]


def _scored(comparison: Comparison, score: float) -> str:
    return "" if comparison.objective is Objective.THROUGHPUT else words.number(score, 5)


def _watts(tdp_w: float | None) -> str:
    return "" if tdp_w is None else f"{tdp_w:.1f}"


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
    lines = rows(comparison)
    scored, billed = (any(getattr(row, one) for row in lines) for one in ("score", "tdp"))
    headings = (unit(comparison),) * scored + ("samples/s",) + ("TDP, W",) * billed
    for heading in (*headings, "of the optimum", "exact evaluations", "chips", "seconds"):
        table.add_column(heading, justify="right")
    for heading in ("ended by", "chip"):
        table.add_column(heading)
    for row in lines:
        numbers = (row.score,) * scored + (row.found,) + (row.tdp,) * billed
        table.add_row(row.name, *numbers, row.share, row.evaluations, row.chips, row.seconds, row.end, row.chip)
    console.print(table)
    for note in comparison.notes:
        console.print(f"note: {note}")


def verdict(comparison: Comparison) -> str:
    """Return in a sentence which strategies reached the certified answer, and how near the others came."""
    certified = comparison.certified.score
    shares = {one.strategy: one.score / certified for one in comparison.trials}
    same = [name for name, share in shares.items() if share >= 1.0 - 1e-9]
    less = [f"{name} {percent(share)}" for name, share in shares.items() if share < 1.0 - 1e-9]
    parts = [f"{' and '.join(same)} reached the certified answer"] if same else []
    parts += [f"of the certified answer: {', '.join(less)}"] if less else []
    return "; ".join(parts) or "no strategy was asked"


def page(comparison: Comparison, command: str = "") -> str:
    """Return the self-contained HTML page of a comparison; command: the one that asked, if one did."""
    return rendered(
        "compare.html",
        comparison=comparison,
        rows=rows(comparison),
        budget=budget(comparison),
        unit=unit(comparison),
        verdict=verdict(comparison),
        chart=figure(comparison),
        reproduction=reproduction(comparison, command, "compare.json"),
    )


def figure(comparison: Comparison) -> Chart:
    """Return the best found against the seconds of each search, as a share of the certified bound."""
    bound, counted = comparison.certified.bound_score, unit(comparison)
    ways = [("certified", comparison.certified.way), *((trial.strategy, trial.way) for trial in comparison.trials)]
    colours = (style.RED, *style.PALETTE[:4])
    series = tuple(_line(name, way, colour, bound, counted) for (name, way), colour in zip(ways, colours, strict=False))
    seconds = [mark.x for one in series for mark in one.marks] or [1e-3, 1.0]
    panel = Panel(
        x=ChartAxis(
            title="time of the search, s (logarithmic)", low=min(seconds) / 1.2, high=max(seconds) * 1.2, log=True
        ),
        y=ChartAxis(title="best found, % of the certified bound", high=106.0),
        height=330.0,
        series=series,
        levels=(Level(value=100.0, label="certified bound"),),
    )
    return Chart(label="best found over the time of each search", panels=(panel,))


def _line(name: str, way: tuple[Point, ...], colour: str, bound: float, counted: str) -> Series:
    """Return a line that holds each value until the next one."""
    return Series(
        name=name,
        colour=colour,
        marks=tuple(
            Mark(
                x=max(point.seconds, 1e-3),
                y=100.0 * point.score / bound,
                title=f"{name} after {point.seconds:.3g} s: {point.score:,.5g} {counted}, "
                f"{words.plural(point.evaluations, 'exact evaluation')}",
            )
            for point in way
            if point.score > 0
        ),
        line=LineKind.STEPS,
        dashed=name == "certified",
        size=2.5,
    )
