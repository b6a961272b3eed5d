"""The page of runs that were scored: predicted against measured seconds by source, how many lie inside their intervals,
each run with what it was read as."""

from __future__ import annotations

from collections.abc import Sequence

from hardplace.plans.published.scores import RunScore, summary
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, ChartBar, LineKind, Mark, Panel, Series, Symbol
from hardplace.report.rendering import rendered
from hardplace.report.reproduce import reproduced
from hardplace.report.validation import coverage_rows, run_records, summary_rows
from hardplace.units import percent

_BARS = 150  # runs up to which each has a bar for its interval: more would hide the points
_SYMBOLS = (Symbol.DOT, Symbol.SQUARE, Symbol.TRIANGLE, Symbol.DIAMOND, Symbol.CROSS, Symbol.STAR)
_WIDE = 1.008  # factor of a bar's width, either way


def page(rows: Sequence[RunScore], title: str, command: str = "") -> str:
    """Return the HTML page of scored runs.

    Args:
        rows: The runs, one at least.
        title: Where they are from.
        command: The command that asked for it, if one did.
    """
    records = run_records(rows)
    whole = summary("all rows", rows)
    drawn = [one for one in rows if one.counted]
    return rendered(
        "runs.html",
        title=title,
        count=len(rows),
        scored=len(drawn),
        error=percent(whole.mean) if whole else "",
        median=percent(whole.median) if whole else "",
        worst=f"{percent(whole.worst)} ({whole.worst_id})" if whole else "",
        chart=_chart(rows) if drawn else None,
        bars=len(drawn) <= _BARS,
        sources=summary_rows(rows),
        memory=summary_rows(rows, memory=True),
        coverage=coverage_rows(rows),
        runs=[_run(one) for one in rows],
        reproduction=reproduced(command, "", records),
    )


def _chart(rows: Sequence[RunScore]) -> Chart:
    """Return predicted against measured seconds, both logarithmic: a colour and a sign a source, a line where both are
    equal."""
    sources: dict[str, list[Mark]] = {}
    bars, ends = [], []
    for place, one in enumerate(rows):
        if not one.counted or one.predicted_s is None or one.measured_s is None:
            continue
        said = f"{one.id}: {one.predicted_s:.4g} s predicted, {one.measured_s:.4g} s measured ({one.error or 0.0:+.1%})"
        marks = sources.setdefault(one.source, [])
        marks.append(Mark(x=one.measured_s, y=one.predicted_s, title=said, row=place))
        ends += [one.predicted_s, one.measured_s]
        if one.interval is not None:
            low, high = one.interval.low_s, one.interval.high_s
            bars.append(
                ChartBar(
                    name="80 % interval", colour=style.GREY, left=one.measured_s / _WIDE, right=one.measured_s * _WIDE,
                    low=low, high=high, title=f"{one.id}, 80 %: {low:.4g} to {high:.4g} s",
                )
            )  # fmt: skip
    low, high = min(ends) / 1.5, max(ends) * 1.5
    equal = Series(
        name="predicted as measured", colour=style.GREY, symbol=None, line=LineKind.STRAIGHT, dashed=True,
        marks=(Mark(x=low, y=low), Mark(x=high, y=high)),
    )  # fmt: skip
    series = tuple(
        Series(
            name=name.removeprefix("github.com/").partition("@")[0],
            colour=style.PALETTE[place % len(style.PALETTE)],
            symbol=_SYMBOLS[(place // len(style.PALETTE) + place) % len(_SYMBOLS)],
            marks=tuple(marks),
        )
        for place, (name, marks) in enumerate(sources.items())
    )
    panel = Panel(
        x=ChartAxis(title="measured, s", low=low, high=high, log=True),
        y=ChartAxis(title="predicted, s", low=low, high=high, log=True),
        height=420.0,
        series=(equal, *series),
        bars=tuple(bars) if len(bars) <= _BARS else (),
    )
    return Chart(label="predicted against measured seconds of a step, by source", panels=(panel,))


def _run(one: RunScore) -> tuple[str, ...]:
    """Return a run's cells: name, source, device, seconds, interval, error, memory, and as what it was read."""
    memory = "" if one.memory_gib is None else f"{one.memory_gib:.1f}"
    held = "" if one.published_gib is None else f"{one.published_gib:.1f}"
    span = f"{one.interval.low_s:.4g} to {one.interval.high_s:.4g}" if one.interval else ""
    seconds = ["" if value is None else f"{value:.4g}" for value in (one.predicted_s, one.measured_s)]
    off = "" if one.error is None else f"{one.error:+.1%}"
    if one.run is None:
        read = f"not modelled: {one.not_modelled}"
    else:
        plan = one.run.plan
        left = f", found here: {', '.join(one.left_open)}" if one.left_open else ""
        what = f" ({', '.join(plan.recompute_modules)})" if plan.recompute_modules else ""
        what += f", {plan.recompute_layers} layers a stage" if plan.recompute_layers else ""
        read = (
            f"{plan.software or 'no software named'}, {plan.precision}, ZeRO {plan.zero}, micro-batch "
            f"{plan.micro_batch}, recompute {plan.recompute}{what}{left}"
        )
    source = one.source.removeprefix("github.com/")
    return (one.id, source, one.device, seconds[0], span, seconds[1], off, memory, held, read)
