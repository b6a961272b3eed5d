"""The page of plans to go on with: throughput against the pause, what moves, the plans."""

from __future__ import annotations

from hardplace.plans.replanning.replan import ReplanResult
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, Level, Mark, Panel, Series, Symbol
from hardplace.report.plan import surety
from hardplace.report.rendering import rendered
from hardplace.report.replan import HEADS, alike, best_words, moves_lines, notes, replan_row, searched
from hardplace.report.reproduce import reproduction
from hardplace.report.surety_chart import surety_chart
from hardplace.units import format_quantity


def page(found: ReplanResult, command: str = "") -> str:
    """Return the HTML page of a new plan for a running one; command: the one that asked, if one did."""
    best = found.options[0]
    proof = found.certificate
    return rendered(
        "replan.html",
        found=found,
        best=best,
        answer=best_words(best),
        surety=f"{surety(best.estimate)}; {alike(found)}",
        sure=surety_chart([one.estimate for one in found.options]),
        certificate="" if proof is None else str(proof),
        searched=searched(found),
        heads=HEADS,
        rows=[replan_row(one) for one in found.options],
        moves=moves_lines(best),
        moved=format_quantity(best.moves.moved_bytes, "B"),
        pause=format_quantity(best.pause_s, "s"),
        notes=notes(found),
        chart=figure(found),
        reproduction=reproduction(found, command, "replan.json"),
    )


def figure(found: ReplanResult) -> Chart:
    """Return the throughput over the horizon of each plan against its pause."""
    marks = tuple(
        Mark(
            x=one.pause_s,
            y=one.effective_samples_per_s,
            title=f"plan {number}: {best_words(one)}, {format_quantity(one.moves.moved_bytes, 'B')} to move",
            row=number - 1,
        )
        for number, one in enumerate(found.options, 1)
    )
    now = found.running.plan.global_batch / found.running.step_s
    values = [mark.y for mark in marks]
    low, high = min(*values, now), max(*values, now)
    margin = 0.08 * (high - low or high)
    panel = Panel(
        x=ChartAxis(title="pause, s", high=1.08 * max(1.0, *(mark.x for mark in marks))),
        y=ChartAxis(title="samples/s over the horizon", low=max(0.0, low - margin), high=high + margin),
        height=260.0,
        series=(
            Series(name="the best plan", colour=style.RED, marks=marks[:1], symbol=Symbol.STAR, size=9.0),
            Series(name="other plans", colour=style.BLUE, marks=marks[1:], size=6.0, opacity=0.7),
        ),
        levels=(Level(value=now, label="the running plan, before the change"),),
    )
    return Chart(label="throughput over the horizon of each plan against its pause", panels=(panel,))
