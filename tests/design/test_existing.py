"""Chips that exist beside a search's answer: their plans, which limits they exceed, what the fitted model says."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

import hardplace as hp
from hardplace.api.fitted import with_fitted
from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.existing import existing_chips
from hardplace.design.results import DesignResult, not_compared
from hardplace.design.search.explore import DesignSearch
from hardplace.hardware.catalogue import device
from hardplace.report.existing import existing_rows, over_existing
from hardplace.report.page import page
from hardplace.report.tornado import moves, tornado
from hardplace.workload.types import Recompute

SPACE = """
name = "few"
description = "a few chips at 5 nm"
area_model = "parts"
node_nm = 5
dtype = "bf16"
area_limit_mm2 = 858
tensor_cores = "4, 8"
array_rows = "128"
array_columns = "128"
vector_cores = "16"
vector_lanes = "64"
buffers = ["16 MiB"]
clocks = ["1.05 GHz", "1.4 GHz"]
links = ["450 GB/s"]

[[memories]]
kind = "HBM3"
stacks = "2, 4"
stack_size = "16 GiB"
stack_bandwidth = "670 GB/s"
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> DesignResult:
    path: Path = tmp_path_factory.mktemp("space") / "few.toml"
    path.write_text(SPACE)
    answer = hp.search(
        "opt-350m", space=str(path), limits={"tdp": "700 W"}, devices=64, batch=512, micro_batch=1, tensor=1
    )
    assert isinstance(answer, DesignResult)
    return answer


def test_every_chip_that_exists_has_a_plan_no_faster_than_its_peak(found: DesignResult) -> None:
    assert [chip.name for chip in found.existing] == [
        "h100-sxm", "b200-sxm", "mi300x", "tpu-v5p", "tpu-v4", "trainium2",
    ]  # fmt: skip
    flops = hp.load("opt-350m").flops_per_sample()
    for chip in found.existing:
        assert chip.evaluation is not None
        one = device(chip.name)
        assert 0.05 < chip.samples_per_s * flops / (64 * one.peak_flops_per_s("bf16")) < 1.0
        assert chip.evaluation.chip.memory_bandwidth_bytes_per_s == one.memory_bandwidth_bytes_per_s


def test_what_a_time_limit_leaves_out_is_not_called_slower(found: DesignResult) -> None:
    assert not_compared(found.existing) == ()
    hurried = replace(found, existing=found.existing[:2])
    assert not_compared(hurried.existing) == ("mi300x", "tpu-v5p", "tpu-v4", "trainium2")
    assert over_existing(hurried).endswith("the fastest chip compared within the limits")
    assert (
        next(existing_chips(cast("DesignSearch", None), StoppingRule(gap=0.01), 0.0, Deadline(limit_s=-1.0)), None)
        is None
    )


def test_the_speed_up_is_over_the_fastest_one_within_the_limits(found: DesignResult) -> None:
    beyond = {chip.name: chip.beyond for chip in found.existing}
    assert beyond["h100-sxm"] == beyond["tpu-v4"] == ()
    assert beyond["b200-sxm"] == beyond["mi300x"] == ("area", "TDP")
    best = found.best_existing
    assert best is not None
    assert best.samples_per_s == max(chip.samples_per_s for chip in found.existing if not chip.beyond)
    assert over_existing(found).startswith(f"{found.best.samples_per_s / best.samples_per_s:.2f} times as fast as")
    rows = existing_rows(found)
    assert [row.name for row in rows][:1] == ["answer"]
    assert rows[0].takes.count("~") == 2, "by the model, not published"
    assert {row.takes.count("~") for row in rows if row.name in ("h100-sxm", "tpu-v4")} == {0}
    assert {row.beyond for row in rows[-2:]} == {"area, TDP"}
    assert all(row.name in page(found) for row in rows)


def test_ideal_kernels_are_faster_than_those_of_the_fitted_model(found: DesignResult) -> None:
    fitted = {chip.name: chip.fitted_samples_per_s for chip in found.existing}
    assert fitted["tpu-v4"] is fitted["trainium2"] is None
    h100 = next(chip for chip in found.existing if chip.name == "h100-sxm")
    assert h100.fitted_samples_per_s is not None
    assert 0.1 < h100.fitted_samples_per_s / h100.samples_per_s < 1.0


def test_an_answer_by_parts_says_its_tdp_and_price_and_has_no_chip_of_another_model_of_area(
    found: DesignResult,
) -> None:
    assert found.tdp_w is not None
    assert found.usd is not None
    assert found.tdp_w <= 700
    assert [one.name for one in found.baselines] == ["pure data parallel"]
    assert not any("45 nm" in note for note in found.notes)


def test_the_answer_says_what_moves_it_and_from_where_another_chip_wins(found: DesignResult) -> None:
    """Each row against its definition; the answer's own speed at other rates against a search of that chip alone."""
    rows = {one.factor: one for one in found.sensitivity}
    assert list(rows) == ["HBM bandwidth", "link bandwidth", "clock", "die area", "TDP", "wafer price"]
    base = rows["wafer price"].low.samples_per_s
    assert base <= found.best.samples_per_s * (1 + 1e-9)
    for factor in ("HBM bandwidth", "link bandwidth", "clock"):
        one = rows[factor]
        assert one.low.samples_per_s <= base * (1 + 1e-9)
        assert base <= one.high.samples_per_s * (1 + 1e-9)
    clock = rows["clock"]
    assert 1.0 < clock.high.samples_per_s / base <= 1.2 + 1e-9
    assert found.tdp_w is not None
    assert rows["die area"].wins_above is None or found.best.chip.area_mm2 * 1.2 > 858
    room = 700 / found.tdp_w - 1
    assert rows["TDP"].wins_above == (pytest.approx(room) if room <= 0.2 else None)
    wafer = rows["wafer price"]
    assert wafer.low.usd < wafer.high.usd
    assert (wafer.low.usd + wafer.high.usd) / 2 == pytest.approx(found.usd), "linear in the price of a wafer"
    assert wafer.low.samples_per_s == wafer.high.samples_per_s
    drawn = tornado(found)
    assert {row.factor for row in drawn} == set(rows)
    assert all(start >= 0 and start + width <= 560.001 for row in drawn for start, width, _ in row.bars)
    assert moves(found).split(":")[0] in str(found)


def test_a_tighter_limit_than_the_answer_takes_makes_another_chip_win(found: DesignResult, tmp_path: Path) -> None:
    assert found.tdp_w is not None
    path = tmp_path / "few.toml"
    path.write_text(SPACE)
    tight = hp.search(
        "opt-350m", space=str(path), limits={"tdp": found.tdp_w * 1.05}, devices=64, batch=512, micro_batch=1, tensor=1
    )
    assert isinstance(tight, DesignResult)
    row = next(one for one in tight.sensitivity if one.factor == "TDP")
    assert row.wins_above == pytest.approx(0.05, abs=1e-6)
    assert row.high.samples_per_s == 0.0
    assert not row.high.best_is_answer
    less = hp.search(
        "opt-350m", space=str(path), limits={"tdp": found.tdp_w * 1.05 / 1.2}, devices=64, batch=512, micro_batch=1,
        tensor=1,
    )  # fmt: skip
    assert isinstance(less, DesignResult)
    assert row.high.best_chip == less.best.chip.name


def test_what_stands_beside_an_answer_by_another_objective_has_the_links_of_the_answer(tmp_path: Path) -> None:
    """The same plan on the same chip has the same energy: idle links take power."""
    path = tmp_path / "few.toml"
    path.write_text(SPACE.replace('links = ["450 GB/s"]', 'links = ["10 GB/s", "450 GB/s"]').replace('"4, 8"', '"4"'))
    found = hp.search(
        "opt-350m", space=str(path), objective="energy", devices=64, batch=64, micro_batch=1, tensor=1, recompute=False
    )
    assert isinstance(found, DesignResult)
    (alone,) = found.baselines
    assert alone.evaluation is not None
    assert found.best.placement.data_parallel == alone.evaluation.placement.data_parallel == 64
    assert found.best.chip.link_bandwidth_bytes_per_s == 450e9
    assert alone.score == pytest.approx(found.score, rel=1e-9)


def test_the_plan_that_the_fitted_model_priced_is_named_where_it_is_another(found: DesignResult) -> None:
    """Of a mixture that model takes tensor parallelism with sequence parallelism alone, and keeps more in memory."""
    assert not any("the fitted model's figure" in note for note in found.notes)
    h100 = next(chip for chip in found.existing if chip.name == "h100-sxm")
    assert h100.evaluation is not None
    placement = h100.evaluation.placement
    placed = replace(placement, tensor_parallel=2, data_parallel=128, stages=placement.stages[:1] * 4)
    chip = replace(h100, evaluation=replace(h100.evaluation, placement=placed))
    mixture = hp.load("mixtral-8x7b")
    beside = with_fitted(replace(found, existing=(chip,), batch_samples=4096), mixture, Deadline())
    plan = hp.Plan(global_batch=4096, tensor=2, pipeline=4, data=128, sequence=True, zero=1)
    whole = hp.estimate(mixture, plan, "h100-sxm")
    again = hp.estimate(mixture, replace(plan, recompute=Recompute.FULL), "h100-sxm")
    assert (whole.fits, again.fits) == (False, True)
    assert beside.existing[0].fitted_samples_per_s == pytest.approx(4096 / again.step_s)
    assert "h100-sxm: the fitted model's figure is of the plan with sequence parallelism, full recompute: " in " ".join(
        beside.notes
    )
