"""Measured steps of one's own system: they take the offset away, narrow the interval, and absurd ones are refused."""

import csv
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hardplace.api.anchored_plans import held_to, naming, planned
from hardplace.api.measurements import anchored_steps
from hardplace.api.plans import estimate
from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.hardware.catalogue import device
from hardplace.plans.anchoring import anchored, most_telling, posterior, slopes_at
from hardplace.plans.anchors import VERSION, Anchor, Factor
from hardplace.plans.efficiencies import FIGURES
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import fleet_of
from hardplace.plans.intervals import MIXTURE
from hardplace.plans.plan_files import PlanFile
from hardplace.plans.published.own import measured_runs, next_runs, own_runs
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
    runs = measured_runs(own_runs(rows, "runs.csv"))
    return [replace(run, seconds=factor * estimate_plan(run.chain, run.plan, run.fleet).step_s) for run in runs]


def test_an_offset_of_all_steps_is_learned(rows):
    found, odd = anchored(slower(rows, 1.15))
    assert not odd
    one = run_of(rows[0])
    plan = replace(one.plan, anchor=found)
    fleet = fleet_of([(device(one.device), one.node, plan.devices)], plan)
    runs = measured_runs(own_runs(rows, "runs.csv"))
    before = estimate_plan(runs[0].chain, runs[0].plan, runs[0].fleet)
    after = estimate_plan(runs[0].chain, plan, fleet)
    assert after.step_s == pytest.approx(1.15 * before.step_s, rel=0.04)
    width = math.log(after.interval.high_s / after.step_s)
    assert width < math.log(before.interval.high_s / before.step_s)
    assert width == pytest.approx(found.half)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.6])
def test_seconds_of_its_runs_are_those_of_their_plans_with_the_anchor(rows, factor):
    found, _ = anchored(slower(rows, factor))
    for own, said in zip(own_runs(rows, "runs.csv"), found.measured, strict=True):
        assert said.predicted_s == estimate_plan(own.chain(own.plan), own.plan, own.fleet(own.plan)).step_s
        plan = replace(own.plan, anchor=found)
        assert said.anchored_s == estimate_plan(own.chain(plan), plan, own.fleet(plan)).step_s


def test_without_one_kernel_of_attention_its_seconds_go_by_the_figure_of_products(rows):
    own = own_runs(rows, "runs.csv")[0]
    plan = replace(own.plan, flash=False, backend="")
    run = replace(measured_runs([own])[0], plan=plan, chain=own.chain(plan), fleet=own.fleet(plan))
    slopes = dict(zip(FIGURES, slopes_at(run)[1].tolist(), strict=True))
    assert slopes["attention"] == 0.0
    assert slopes["products"] > 0.5


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
    for run in measured_runs(own_runs(rows, "runs.csv")):
        seconds, slopes = slopes_at(run)
        assert seconds == pytest.approx(estimate_plan(run.chain, run.plan, run.fleet).step_s)
        names = list(FIGURES)
        assert slopes[names.index("products")] > 0.05
        assert slopes[names.index("tensor")] == 0.0
        assert 0.9 < slopes.sum() < 1.1


def test_runs_that_cannot_be_are_refused_and_odd_ones_said(rows):
    runs = slower(rows, 1.0)
    with pytest.raises(BadInput, match=r"mosaic-036: .* s a step: expected at least .* s, what the peak takes"):
        anchored([replace(runs[0], seconds=runs[0].seconds / 5.0)])
    said = "runs.csv: mosaic-036: target_iter_s, iter_s, tokens_per_s_per_device: none above 0: expected the measured"
    with pytest.raises(BadInput, match=re.escape(said)):
        own_runs([rows[0] | {"target_iter_s": "0", "iter_s": "0", "tokens_per_s_per_device": ""}], "runs.csv")
    _, odd = anchored([replace(runs[0], seconds=runs[0].seconds * 3.0)])
    assert "beyond three standard deviations" in odd[0]
    other = replace(runs[1], plan=replace(runs[1].plan, software="megatron-core"))
    with pytest.raises(BadInput, match="expected one device and one software"):
        anchored([runs[0], other])


def test_software_that_is_none_of_those_known_is_said(rows, tmp_path):
    path = tmp_path / "runs.csv"
    row = {**rows[0], "source": "mine", "note": "", "software": "megatron"}
    with path.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(row))
        writer.writeheader()
        writer.writerow(row)
    found, odd = anchored_steps(path)
    assert found.software == ""
    assert odd[0].startswith(
        "mosaic-036: software: 'megatron': no software of published runs: taken as none named; did you mean megatron-"
    )


def test_an_anchor_of_another_system_is_refused(rows):
    found, _ = anchored(slower(rows, 1.1))
    one = run_of(rows[0])
    for wrong, words in (
        (replace(found, version=0), "anchor: version: 0: expected 2"),
        (replace(found, device="b200-sxm"), "anchor: b200-sxm with fsdp-eager: expected h100-sxm"),
    ):
        plan = replace(one.plan, anchor=wrong)
        with pytest.raises(BadInput, match=words):
            fleet_of([(device(one.device), one.node, plan.devices)], plan)


def test_the_run_to_measure_next_is_the_one_that_leaves_least_unknown(rows):
    """By brute force: the determinant of the covariance after each run had been measured too."""
    measured, others = measured_runs(own_runs(rows[:1], "runs.csv")), next_runs(own_runs(rows, "runs.csv"))
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


def test_repeats_of_a_run_count_once_and_contradictions_are_said(rows, tmp_path):
    table = tmp_path / "runs.csv"
    one = rows[0] | {"target_iter_s": "45"}

    def learned(*listed):
        with table.open("w") as target:
            writer = csv.DictWriter(target, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"id": f"r{at}"} for at, row in enumerate(listed))
        return anchored_steps(table)

    single, _ = learned(one)
    twice, odd = learned(one, one)
    assert (twice.factors, twice.half, twice.runs) == (single.factors, single.half, 1)
    assert not odd
    _, odd = learned(one, one | {"target_iter_s": "63"})
    assert any("one plan, whose times differ by a factor 1.4" in line for line in odd)
    found, _ = learned(*rows)
    turned, _ = learned(*rows[::-1])
    assert (found.factors, found.half, found.next_run) == (turned.factors, turned.half, turned.next_run)
    for run in found.measured:
        assert abs(math.log(run.anchored_s / run.measured_s)) < abs(math.log(run.predicted_s / run.measured_s)) + 0.02
    with pytest.raises(BadInput, match=r"runs\.csv: r0: 1 s a step: expected at least"):
        learned(one | {"target_iter_s": "1"})


def test_measured_memory_narrows_the_memory(rows):
    runs = slower(rows, 1.0)
    found, _ = anchored([replace(run, memory=1.2) for run in runs])
    assert 1.1 < found.memory < 1.2
    one = runs[0]
    plan = replace(one.plan, anchor=found)
    before, after = (estimate_plan(one.chain, plan, one.fleet) for plan in (one.plan, plan))
    held = [max(stage.reserved_bytes for stage in priced.memory) for priced in (before, after)]
    assert held[1] / held[0] == pytest.approx(found.memory)
    assert after.interval.memory == found.memory_half < before.interval.memory
    with pytest.raises(BadInput, match="memory_gb: 3 times as predicted"):
        anchored([replace(one, memory=3.0)])


def test_the_interval_of_another_class_is_not_narrowed(rows):
    """One dense run of a short context says little of mixtures and of long contexts."""
    found, _ = anchored(slower(rows[:1], 1.0))
    assert len(found.kinds) == 1
    one = slower(rows[:1], 1.0)[0]
    for kinds, narrowed in ((found.kinds, True), ((MIXTURE,), False)):
        priced = estimate_plan(one.chain, replace(one.plan, anchor=replace(found, kinds=kinds)), one.fleet)
        assert (math.log(priced.interval.high_s / priced.step_s) == pytest.approx(found.half)) is narrowed
        assert any("of another class (a mixture of experts)" in note for note in priced.notes) is not narrowed


def test_plans_files_are_measured_steps_too(tmp_path):
    write(tmp_path / "plan.json", PlanFile(global_batch=64, data=8, model="llama2-7b"))
    table = tmp_path / "steps.csv"
    table.write_text("plan,device,target_iter_s,memory_gb\nplan.json,a100-80gb-sxm,9,70\n")
    found, odd = anchored_steps(table)
    assert (found.device, found.software, found.runs, odd) == ("a100-80gb-sxm", "", 1, ())
    assert found.measured[0].measured_s == 9.0
    assert found.memory_half > 0.0
    for text, expected in (
        (
            "plan,device,target_iter_s\nplan.json,a100-80gb-sxm,\n",
            "line 2: target_iter_s: '': expected measured seconds",
        ),
        ("plan,target_iter_s\nplan.json,9\n", "line 2: plan: .*device"),
        ("plan,target_iter_s\nnone.json,9\n", "none.json"),
        ("plan,devices,target_iter_s\nplan.json,8,9\n", "unknown column 'devices'; did you mean device"),
    ):
        table.write_text(text)
        with pytest.raises(BadInput, match=expected):
            anchored_steps(table)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 1}, "version: 1: expected 2: anchor the runs again"),
        ({"half": 0.0}, "half: 0: expected above 0"),
        ({"factors": (Factor(figure="prodcuts", value=1.1),)}, "unknown figure 'prodcuts'; did you mean products"),
        ({"factors": (Factor(figure="products", value=-3.0),)}, "factors: products: -3: expected 0.05 to 20"),
        ({"memory": 9.0}, "memory: 9: expected 0.5 to 2"),
        ({"runs": 0}, "runs: 0: expected a whole number from 1"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused_by_field(change, expected, tmp_path):
    """Figures out of range were cut to what is possible, wrong names passed over."""
    sound = Anchor(version=VERSION, device="h100-sxm", software="", runs=1, factors=(), half=0.1)
    path = tmp_path / "anchor.json"
    write(path, replace(sound, **change))
    with pytest.raises(BadInput, match=f"{path}: .*{re.escape(expected)}"):
        held_to(None, path)
    path.write_text(path.read_text()[:60])
    with pytest.raises(BadInput, match="expected JSON"):
        held_to(None, path)


def test_what_is_wrong_is_said_of_the_file_that_it_is_from(tmp_path):
    plan, mine = tmp_path / "plan.json", tmp_path / "mine.json"
    write(plan, PlanFile(global_batch=64, data=8, model="llama2-7b", pipeline=1))
    write(mine, Anchor(version=VERSION, device="b200-sxm", software="", runs=1, factors=(), half=0.1))
    words = f"^{mine}: b200-sxm with no software named: expected h100-sxm"
    with pytest.raises(BadInput, match=words), naming(plan, mine):
        estimate("llama2-7b", planned(plan, None, mine), "h100-sxm")
    with pytest.raises(BadInput, match=f"^{plan}: .*expert"), naming(plan, None):
        estimate("llama2-7b", replace(planned(plan, "megatron-core", None), expert=8), "h100-sxm")
