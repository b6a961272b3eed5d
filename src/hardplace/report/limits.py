"""What the limits on a chip cost: the frontier of area and throughput, and what a limit a little off would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.design.results import DesignResult
from hardplace.design.types import Sensitivity, Variation
from hardplace.report import text as words
from hardplace.report.cloud import on_frontier
from hardplace.report.frontier import frontier
from hardplace.report.tornado import as_it_is, signed
from hardplace.units import percent

_SHARES = (0.5, 0.7, 0.8, 0.9, 1.0)  # of the area limit


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCost:
    """A limit: what it is, what the answer takes, what a lower and a higher one would reach, its price a unit."""

    name: str
    limit: str
    taken: str
    lower: str
    higher: str
    price: str
    wins: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierRow:
    """A chip of the frontier as text, and its number among the marks of the figure."""

    row: int
    name: str
    area: str
    samples: str
    share: str
    per_area: str


def limit_costs(exploration: DesignResult) -> tuple[LimitCost, ...]:
    """Return what the limits on area and TDP cost, from the chips near the answer priced with less and with more of it.

    A chip that takes 20 % more of what is limited is a chip of today within a limit that is lower by a sixth; one that
    takes 20 % less, within a limit that is higher by a quarter. () where that was not looked at.
    """
    by_name = {one.factor: one for one in exploration.sensitivity}
    rows = (
        ("die area", exploration.budget.area_mm2, exploration.best.chip.area_mm2, "mm²"),
        ("TDP", exploration.budget.tdp_w, exploration.tdp_w, "W"),
    )
    return tuple(
        _limit_cost(exploration, by_name[name], limit, taken, unit)
        for name, limit, taken, unit in rows
        if limit is not None and taken is not None and name in by_name
    )


def _limit_cost(exploration: DesignResult, one: Sensitivity, limit: float, taken: float, unit: str) -> LimitCost:
    base = as_it_is(exploration)
    more = one.low.best_samples_per_s  # less is taken of it: as good as a higher limit
    higher = limit / (1.0 + one.low.change)
    price = (more - base) / (higher - limit)
    changes = [1.0 / (1.0 + change) - 1.0 for change in (one.wins_above, one.wins_below) if change is not None]
    return LimitCost(
        name=one.factor,
        limit=f"{words.number(limit)} {unit}",
        taken=f"{words.number(taken)} {unit}, {percent(taken / limit)}",
        lower=_reached(one.high, base),
        higher=_reached(one.low, base),
        price=f"{max(price, 0.0):.3g} samples/s a {unit}",
        wins=" and ".join(f"{signed(change)}" for change in changes) or "-",
    )


def _reached(of: Variation, base: float) -> str:
    if of.best_samples_per_s <= 0.0:
        return "no chip near it"
    return signed(of.best_samples_per_s / base - 1.0)


def frontier_rows(exploration: DesignResult) -> tuple[FrontierRow, ...]:
    """Return the chips of the frontier, smallest first, the answer last; at most 16 of them."""
    places = on_frontier(exploration)
    if len(places) < 2:
        return ()
    best, cloud = exploration.best, exploration.cloud
    rows = []
    for row, place in enumerate(places):
        name = best.chip.name if place < 0 else cloud.label[place]
        area = best.chip.area_mm2 if place < 0 else cloud.area_mm2[place]
        samples = best.samples_per_s if place < 0 else cloud.samples_per_s[place]
        rows.append(
            FrontierRow(
                row=row,
                name=name,
                area=f"{area:,.1f}",
                samples=words.number(samples, 4),
                share=percent(samples / best.samples_per_s),
                per_area=f"{samples / area:#.3g}",
            )
        )
    return tuple(rows)


def shadow_prices(exploration: DesignResult) -> list[tuple[str, str, str, str]]:
    """Return what smaller area limits would reach under the chosen plan: limit, throughput, share, slope.

    Empty for a random choice of a space's chips, of which the frontier is not known.
    """
    cloud, limit = exploration.cloud, exploration.budget.area_mm2
    if cloud.sampled or not cloud.label:
        return []
    area = np.array([*cloud.area_mm2, exploration.best.chip.area_mm2])
    value = np.array([*cloud.samples_per_s, exploration.best.samples_per_s])
    index = frontier(area, value)
    area, value = area[index], value[index]
    rows: list[tuple[str, str, str, str]] = []
    before: tuple[float, float] | None = None
    for share in _SHARES:
        at = int(np.searchsorted(area, share * limit * (1.0 + 1e-9), side="right")) - 1
        if at < 0:
            continue
        reached = float(value[at])
        slope = "" if before is None else words.number((reached - before[1]) / (share * limit - before[0]))
        part = percent(reached / exploration.best.samples_per_s)
        rows.append((words.area(share * limit), words.number(reached, 4), part, slope))
        before = (share * limit, reached)
    return rows
