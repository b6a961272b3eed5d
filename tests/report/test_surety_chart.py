"""The chart of intervals: a bar from low to high and a mark in it for each plan, of step and of memory."""

import math

import pytest

from hardplace.hardware.catalogue import device, node
from hardplace.plans.chain import of_workload
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.plan import Plan
from hardplace.report import estimated_page
from hardplace.report.surety_chart import surety_chart
from hardplace.units import GIB
from hardplace.workload.load import load


@pytest.fixture(scope="module")
def plans():
    found = []
    for micro_batch in (1, 2):
        plan = Plan(global_batch=64, data=8, zero=3, micro_batch=micro_batch)
        fleet = fleet_of([(device("h100-sxm"), node("dgx-h100"), 8)], plan)
        found.append(estimate_plan(of_workload(load("llama2-7b"), plan), plan, fleet))
    return found


def test_bars_are_the_intervals_and_marks_what_is_predicted(plans):
    steps, memory = surety_chart(plans).panels
    assert steps.y.names == ("plan 1", "plan 2")
    for row, one in enumerate(plans):
        assert (steps.bars[row].left, steps.bars[row].right) == (one.interval.low_s, one.interval.high_s)
        assert (steps.series[0].marks[row].x, steps.series[0].marks[row].y) == (one.step_s, row)
        held = max(room.total_bytes for room in one.memory) / GIB
        bar = memory.bars[row]
        assert bar.left * bar.right == pytest.approx(held**2)
        assert math.log(bar.right / held) == pytest.approx(one.interval.memory)
    assert memory.levels[0].value == pytest.approx(plans[0].memory_bytes[0] / GIB)


def test_the_page_of_an_estimate_draws_them(plans):
    text = estimated_page.page(plans[0])
    assert f"of the {plans[0].plan.precision} peak (MFU)" in text
    assert 'aria-label="80 % intervals of step and of memory, by plan"' in text
    assert f"{plans[0].interval.low_s:.4g} to {plans[0].interval.high_s:.4g} s" in text
