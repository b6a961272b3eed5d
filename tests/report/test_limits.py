"""What limits cost, beside the answer: by hand from an answer's variations, and the frontier's rows from its cloud."""

from dataclasses import replace

import pytest

from hardplace.design.types import Sensitivity, Variation
from hardplace.report.cloud import on_frontier
from hardplace.report.limits import frontier_rows, limit_costs
from report import example


def variation(change: float, best: float) -> Variation:
    return Variation(
        change=change, samples_per_s=best, usd=100.0, best_samples_per_s=best, best_chip="x", best_is_answer=False
    )


def moved(factor: str, low: float, high: float, below: float | None = None) -> Sensitivity:
    low_one, high_one = variation(-0.2, low), variation(0.2, high)
    return Sensitivity(factor=factor, low=low_one, high=high_one, wins_below=below, wins_above=None)


def test_a_limit_that_chips_take_less_of_is_a_higher_one():
    found = example.exploration()
    found = replace(
        found,
        budget=replace(found.budget, area_mm2=200.0, tdp_w=400.0),
        tdp_w=300.0,
        sensitivity=(
            moved("die area", 1100.0, 900.0, below=-0.2),
            moved("TDP", 1000.0, 0.0),
            moved("wafer price", 1000.0, 1000.0),
        ),
    )
    area, power = limit_costs(found)
    # 20 % less area a chip: as a limit of 200 / 0.8 = 250 mm², 50 mm² more for 100 samples/s more.
    assert (area.lower, area.higher, area.price) == ("−10.0\u00a0%", "+10.0\u00a0%", "2 samples/s a mm²")
    assert area.wins == "+25.0\u00a0%"
    assert (power.taken, power.lower, power.higher) == ("300 W, 75.0\u00a0%", "no chip near it", "0.0\u00a0%")
    assert power.price == "0 samples/s a W"
    assert limit_costs(replace(found, sensitivity=())) == ()


def test_rows_of_the_frontier_rise_and_end_with_the_answer():
    found = example.exploration(points=9000)
    rows, places = frontier_rows(found), on_frontier(found)
    assert len(rows) == len(places) <= 16
    areas = [float(row.area.replace(",", "")) for row in rows]
    samples = [float(row.samples.replace(",", "")) for row in rows]
    assert areas == sorted(areas)
    assert samples == sorted(samples)
    assert samples[-1] == pytest.approx(found.best.samples_per_s, rel=1e-3)
