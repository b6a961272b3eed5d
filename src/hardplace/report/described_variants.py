"""The variants that `describe` chose from: a table in the terminal, a table and a chart in the page."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from hardplace.described.parameters import ParameterChoice, ParameterResult
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, LineKind, Mark, Panel, Series, Symbol
from hardplace.report.console import screen
from hardplace.report.described import VariantTable, page
from hardplace.report.frontier import frontier
from hardplace.report.text import plural

_MOST_SHOWN = 12  # variants in the terminal
_MOST_LISTED = 500  # variants in the page
_MOST_DRAWN = 2000  # variants in the chart
_WIDE = 8.0  # times from the least to the most from which an axis is logarithmic
_NARROW = 1.5  # times from the least to the most up to which an axis does not begin at 0
_KIB = 1024.0
_UNITS = ((1e6, "cycles, million"), (1e3, "cycles, thousand"), (1.0, "cycles"))


def show_parameters(answer: ParameterResult) -> None:
    """Print the variants that were evaluated, how many the bounds made needless, and the proof."""
    out = screen()
    table = Table(box=None, padding=(0, 2, 0, 0))
    headings, rows = _table(_evaluated(answer)[:_MOST_SHOWN])
    for heading in headings[:-1]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row[:-1])
    out.print(table)
    for note in _notes(answer):
        out.print(note)


def parameters_page(answer: ParameterResult, command: str = "") -> str:
    """Return the page of the fastest variant, with all variants: a table, and a chart with their front."""
    rest = [one for one in answer.choices if one.cycles is None]
    headings, rows = _table([*_evaluated(answer), *rest][:_MOST_LISTED])
    fastest = _evaluated(answer)[0]
    *names, last = fastest.values
    variants = VariantTable(
        varied=f"{', '.join(names)} and {last}" if names else last,
        fastest=fastest.variant.replace(" ", ", "),
        headings=headings,
        rows=rows,
        chart=_chart(answer),
        notes=_notes(answer),
    )
    return page(answer.best, command, variants)


def _evaluated(answer: ParameterResult) -> list[ParameterChoice]:
    """Return the variants that were evaluated, the fastest first."""
    return sorted((one for one in answer.choices if one.cycles is not None), key=lambda one: one.cycles or 0)


def _table(choices: list[ParameterChoice]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return headings and rows, one for each variant."""
    names = tuple(choices[0].values)
    rows = tuple(
        (
            *(f"{one.values[name]:,}" for name in names),
            f"{one.on_chip_bytes:,}",
            "-" if one.cycles is None else f"{one.cycles:,}",
            f"{one.bound_cycles:,}",
            one.what,
        )
        for one in choices
    )
    return (*names, "bytes on chip", "cycles", "bound, cycles", "how"), rows


def _notes(answer: ParameterResult) -> tuple[str, ...]:
    evaluated = len(_evaluated(answer))
    bounded = sum(one.what == "bounded" for one in answer.choices)
    short = len(answer.choices) - evaluated - bounded
    return (
        f"{plural(evaluated, 'variant')} evaluated, {bounded:,} bounded, {short:,} without a mapping",
        f"{answer.certificate}, each with the best mapping that the search finds",
    )


def _chart(answer: ParameterResult) -> Chart:
    """Return cycles against bytes on chip: variants evaluated, their front, and the bounds of the others."""
    evaluated = _evaluated(answer)
    bounded = [one for one in answer.choices if one.what == "bounded"][:_MOST_DRAWN]
    most = max(one.cycles or one.bound_cycles for one in (*evaluated, *bounded))
    unit, title = next((size, name) for size, name in _UNITS if most >= 10 * size or size == 1.0)
    bytes_ = np.array([one.on_chip_bytes / _KIB for one in evaluated], dtype=np.float64)
    cycles = np.array([(one.cycles or 0) / unit for one in evaluated], dtype=np.float64)
    front = tuple(Mark(x=float(bytes_[place]), y=float(cycles[place])) for place in frontier(bytes_, -cycles))
    x = [*bytes_, *(one.on_chip_bytes / _KIB for one in bounded)]
    y = [*cycles, *(one.bound_cycles / unit for one in bounded)]
    series = (
        Series(
            name="evaluated", colour=style.BLUE,
            marks=tuple(
                Mark(x=place, y=height, title=f"{one.variant}: {one.cycles:,} cycles", row=row)
                for row, (place, height, one) in enumerate(zip(x, y, evaluated[:_MOST_LISTED], strict=False))
            ),
        ),
        Series(
            name="bound of one that was not", colour=style.GREY, symbol=Symbol.TRIANGLE, opacity=0.6,
            marks=tuple(
                Mark(x=place, y=height, title=f"{one.variant}: at least {one.bound_cycles:,}")
                for place, height, one in zip(x[len(evaluated) :], y[len(evaluated) :], bounded, strict=True)
            ),
        ),
        Series(
            name="fewest cycles of those evaluated", colour=style.ORANGE, line=LineKind.STEPS, symbol=None, marks=front
        ),
    )  # fmt: skip
    panel = Panel(
        x=_axis("on chip, KiB", x), y=_axis(title, y), height=300.0,
        series=tuple(one for one in series if len(one.marks) > (one.line is not LineKind.NONE)),
    )  # fmt: skip
    return Chart(label="cycles of each variant against its bytes on chip", panels=(panel,))


def _axis(title: str, values: list[float]) -> ChartAxis:
    """Return an axis around values above 0: logarithmic where they span much, not from 0 where they span little."""
    low, high = min(values), max(values)
    if high > _WIDE * low:
        return ChartAxis(title=title, low=low / 1.2, high=high * 1.2, log=True)
    if high > _NARROW * low:
        return ChartAxis(title=title, low=0.0, high=1.08 * high)
    room = 0.1 * (high - low) or 0.1 * low
    return ChartAxis(title=title, low=low - room, high=high + room)
