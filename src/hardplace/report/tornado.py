"""What moves an answer, as rows of text and as bars to scale, the longest first."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.design.results import DesignResult
from hardplace.design.types import Sensitivity, Variation
from hardplace.units import percent

_WIDTH = 560.0  # of the drawing of the bars


@dataclass(frozen=True, slots=True, kw_only=True)
class TornadoRow:
    """One assumption: its bars from the middle (start, width), and its numbers as text."""

    factor: str
    low: str
    high: str
    cost: str
    wins: str
    bars: tuple[tuple[float, float, str], ...]


def tornado(exploration: DesignResult) -> tuple[TornadoRow, ...]:
    """Return a row for each assumption, what moves the answer most first; () where it was not looked at."""
    base = as_it_is(exploration)
    rows = sorted(exploration.sensitivity, key=lambda one: -max(_moved(one.low, base), _moved(one.high, base)))
    most = max((_moved(of, base) for one in rows for of in (one.low, one.high)), default=0.0)
    return tuple(_row(one, base, most) for one in rows)


def moves(exploration: DesignResult) -> str:
    """Return in one line what moves the answer most, and the nearest change at which another chip wins."""
    rows = [row for row in tornado(exploration) if row.bars]
    if not rows:
        return ""
    said = ", ".join(f"{row.factor} ({row.low} / {row.high})" for row in rows[:3])
    wins = [
        (abs(change), one.factor, change)
        for one in exploration.sensitivity
        for change in (one.wins_below, one.wins_above)
        if change is not None
    ]
    nearest = min(wins, default=None)
    after = ""
    if nearest and nearest[0] > 0.0:
        after = f"; another chip wins from {nearest[1]} {signed(nearest[2])}"
    elif nearest:
        after = "; a chip near it is as fast, within the gap"
    return f"{percent(-_change(exploration), 0)} less / more of: {said}{after}"


def as_it_is(exploration: DesignResult) -> float:
    """Return the answer's throughput with list schedules, as the variations have it: no price moves it."""
    said = [one.low.samples_per_s for one in exploration.sensitivity if one.factor == "wafer price"]
    return said[0] if said and said[0] > 0.0 else exploration.best.samples_per_s


def _change(exploration: DesignResult) -> float:
    return exploration.sensitivity[0].low.change


def _moved(of: Variation, base: float) -> float:
    """Return by what share the best chip near the answer is faster or slower than the answer as it is."""
    return abs(of.best_samples_per_s / base - 1.0)


def _row(one: Sensitivity, base: float, most: float) -> TornadoRow:
    bars = []
    for of in (one.low, one.high):
        share = of.best_samples_per_s / base - 1.0
        width = abs(share) / most * _WIDTH / 2.0 if most else 0.0
        start = _WIDTH / 2.0 - (width if share < 0.0 else 0.0)
        if width:
            bars.append((start, width, f"{signed(of.change)}: {_said(of, base)}"))
    changes = [signed(change) for change in (one.wins_below, one.wins_above) if change is not None]
    low, high = one.low.usd, one.high.usd
    return TornadoRow(
        factor=one.factor,
        low=_said(one.low, base),
        high=_said(one.high, base),
        cost=f"{low:,.0f} to {high:,.0f}",
        wins=" and ".join(changes) if changes else "-",
        bars=tuple(bars),
    )


def _said(of: Variation, base: float) -> str:
    """Return what a change does: of the answer, or of the chip that takes its place."""
    if of.best_samples_per_s <= 0.0:
        return "no chip near it"
    text = signed(of.best_samples_per_s / base - 1.0)
    return text if of.best_is_answer else f"{text}, another chip"


def signed(share: float) -> str:
    """Return a change with its sign, as a share."""
    return f"{100.0 * share:+.1f}\u00a0%".replace("+0.0", "0.0").replace("-0.0", "0.0").replace("-", "\u2212")
