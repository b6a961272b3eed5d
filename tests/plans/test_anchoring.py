"""Measured steps of one's own system: they take the offset away, narrow the interval, and absurd ones are refused."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device
from hardplace.plans.anchoring import anchored, most_telling, posterior, slopes_at
from hardplace.plans.efficiencies import FIGURES
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.published.own import measured_runs, next_runs
from hardplace.plans.published.runs import run_of

ROOT = Path(__file__).parents[2]
IDS = ("mosaic-036", "mosaic-051", "mosaic-062")  # H100, FSDP: attention and products in different shares


@pytest.fixture(scope="module")
def rows():
    with (ROOT / "validation/training/training.csv").open() as source:
        found = {row["id"]: row for row in csv.DictReader(source)}
    return [found[name] for name in IDS]


def slower(rows, factor):
    """The rows as a system that is slower by a factor than predicted."""
    runs = measured_runs(rows, "runs.csv")
    return [replace(run, seconds=factor * estimate_plan(run.chain, run.plan, run.fleet).step_s) for run in runs]


def test_an_offset_of_all_steps_is_learned(rows):
    found, odd = anchored(slower(rows, 1.15))
    assert not odd
    one = run_of(rows[0])
    plan = replace(one.plan, anchor=found)
    fleet = fleet_of([(device(one.device), one.node, plan.devices)], plan)
    runs = measured_runs(rows, "runs.csv")
    before = estimate_plan(runs[0].chain, runs[0].plan, runs[0].fleet)
    after = estimate_plan(runs[0].chain, plan, fleet)
    assert after.step_s == pytest.approx(1.15 * before.step_s, rel=0.04)
    width = math.log(after.interval.high_s / after.step_s)
    assert width < math.log(before.interval.high_s / before.step_s)
    assert width == pytest.approx(found.half)


@pytest.mark.parametrize("errors", [(0.1, 0.1), (0.6, 0.6), (0.05, 0.9)])
def test_the_posterior_is_most_probable(errors):
    """Two runs of one slope, so one unknown: the mode of a normal prior with Student's t noise, by a fine grid."""
    slopes = [np.zeros(len(FIGURES)) for _ in range(2)]
    slopes[0][0], slopes[1][0] = 1.0, 1.0
    found = posterior(slopes, errors, 0.3)
    of_all = max((0.3 / 1.2816) ** 2 - found.noise**2 - 0.1**2, 0.05**2)  # less what the figure's own 0.1 explains
    grid = np.linspace(-0.5, 1.5, 20_001)
    cost = grid**2 / (of_all + 0.1**2) / 2.0
    for error in errors:
        cost += 2.0 * np.log1p((error - grid) ** 2 / (3.0 * found.noise**2))
    assert found.log_factor(slopes[0]) == pytest.approx(grid[cost.argmin()], abs=2e-3)
    assert posterior([], [], 0.3).log_factor(slopes[0]) == 0.0


def test_one_run_far_off_is_believed_less():
    slopes = np.zeros(len(FIGURES))
    slopes[0] = 1.0
    near, far = (posterior([slopes], [error], 0.17).log_factor(slopes) / error for error in (0.1, 0.8))
    assert far < 0.5 * near


def test_slopes_add_up_to_nearly_all_of_a_step(rows):
    for run in measured_runs(rows, "runs.csv"):
        seconds, slopes = slopes_at(run)
        assert seconds == pytest.approx(estimate_plan(run.chain, run.plan, run.fleet).step_s)
        names = list(FIGURES)
        assert slopes[names.index("products")] > 0.05
        assert slopes[names.index("tensor")] == 0.0
        assert 0.9 < slopes.sum() < 1.1


def test_runs_that_cannot_be_are_refused_and_odd_ones_said(rows):
    runs = slower(rows, 1.0)
    with pytest.raises(BadInput, match=r"mosaic-036: .* expected at least .* s, what the peak takes"):
        anchored([replace(runs[0], seconds=runs[0].seconds / 5.0)])
    _, odd = anchored([replace(runs[0], seconds=runs[0].seconds * 3.0)])
    assert "beyond three standard deviations" in odd[0]
    other = replace(runs[1], plan=replace(runs[1].plan, software="megatron-core"))
    with pytest.raises(BadInput, match="expected one device and one software"):
        anchored([runs[0], other])


def test_an_anchor_of_another_system_is_refused(rows):
    found, _ = anchored(slower(rows, 1.1))
    one = run_of(rows[0])
    for wrong, words in (
        (replace(found, version=0), "anchor: version: 0: expected 1"),
        (replace(found, device="b200-sxm"), "anchor: b200-sxm with fsdp-eager: expected h100-sxm"),
    ):
        plan = replace(one.plan, anchor=wrong)
        with pytest.raises(BadInput, match=words):
            fleet_of([(device(one.device), one.node, plan.devices)], plan)


def test_the_run_to_measure_next_is_the_one_that_leaves_least_unknown(rows):
    """By brute force: the determinant of the covariance after each run had been measured too."""
    measured, others = measured_runs(rows[:1], "runs.csv"), next_runs(rows)
    assert len(others) >= 3
    slopes = [slopes_at(run)[1] for run in measured]
    known = posterior(slopes, [0.0], 0.2)

    def left(one):
        after = posterior([*slopes, slopes_at(one)[1]], [0.0, 0.0], 0.2)
        return np.linalg.slogdet(after.covariance)[1]

    assert most_telling(known, others) == min(others, key=left).name
    assert most_telling(known, []) == ""
    found, _ = anchored(measured, others)
    assert found.next_run in {one.name for one in others}
