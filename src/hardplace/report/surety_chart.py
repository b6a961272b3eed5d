"""The chart of how sure predictions are: the 80 % interval of each plan's step, and of its fullest device's memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hardplace.plans.estimate import PlanEstimate
from hardplace.report import style
from hardplace.report.charts import Chart, ChartAxis, Level, Mark, Panel, Series, Symbol, row_bar
from hardplace.units import GIB

_ROW, _LEAST = 22.0, 44.0  # height of a plan's row, and of a panel


def surety_chart(plans: Sequence[PlanEstimate]) -> Chart:
    """Return a row for each plan: what is predicted as a dot on a bar from the low to the high end of its interval."""
    names = tuple(f"plan {number}" for number in range(1, len(plans) + 1)) if len(plans) > 1 else ("this plan",)
    steps = [(one.interval.low_s, one.step_s, one.interval.high_s) for one in plans]
    memory = []
    for one in plans:
        held, factor = max(room.total_bytes for room in one.memory) / GIB, math.exp(one.interval.memory)
        memory.append((held / factor, held, held * factor))
    limit = min(min(one.memory_bytes) for one in plans) / GIB
    return Chart(
        label="80 % intervals of step and of memory, by plan",
        panels=(
            _panel("step, s", names, steps, "s"),
            _panel("memory of the fullest device, GiB", names, memory, "GiB", limit),
        ),
    )


def _panel(
    title: str, names: tuple[str, ...], spans: Sequence[tuple[float, float, float]], unit: str, limit: float = 0.0
) -> Panel:
    """Return intervals (low, predicted, high) as rows; limit: where a line stands, 0: nowhere."""
    most = max(limit, *(high for _, _, high in spans))
    said = [f"{middle:#.4g} {unit}, 80 %: {low:#.4g} to {high:#.4g}" for low, middle, high in spans]
    return Panel(
        x=ChartAxis(title=title, high=1.05 * most),
        y=ChartAxis(names=names),
        height=max(_LEAST, _ROW * len(names)),
        bars=tuple(
            row_bar(row, low, high, style.GREY, name="80 % interval", title=f"{names[row]}: {said[row]}", thick=0.4)
            for row, (low, _, high) in enumerate(spans)
        ),
        series=(
            Series(
                name="predicted",
                colour=style.BLUE,
                symbol=Symbol.DIAMOND,
                marks=tuple(
                    Mark(x=middle, y=float(row), title=f"{names[row]}: {said[row]}")
                    for row, (_, middle, _) in enumerate(spans)
                ),
            ),
        ),
        levels=(Level(value=limit, label="memory of the device", upright=True),) if limit else (),
    )
