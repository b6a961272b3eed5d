"""How well shapes are ranked: layers of measured GEMMs, and published facts (docs/validation-shape.md)."""

from pathlib import Path

import pytest

from hardplace.cost.gpu.measured import GemmRows, read_gemms
from hardplace.cost.gpu.models import shipped
from hardplace.csv_table import parse
from hardplace.files import read_text
from hardplace.shaping import validation

DATA = Path(__file__).parents[2] / "validation/gpu"


def measured(name: str) -> GemmRows:
    path = DATA / f"gemm_{name}.csv.gz"
    rows = read_gemms([(str(path), read_text(path))])
    assert rows is not None
    return rows


@pytest.mark.parametrize("name", ["a100-80gb-sxm", "h100-sxm", "b200-sxm"])
@pytest.mark.parametrize("whole", [False, True])
def test_nine_pairs_in_ten_are_ranked_right(name: str, whole: bool) -> None:
    found = validation.score(name, measured(name), whole=whole)
    assert found.pairs > 5000
    assert found.per_flop >= 0.90
    assert found.alike_pairs > 1000
    assert found.alike >= 0.97
    assert found.covered >= 0.90, "nine in ten lie within the band that is printed"


def test_layers_are_made_of_rows_that_no_fit_has_seen() -> None:
    rows = measured("h100-sxm")
    made = validation.layers_of(rows, shipped("h100-sxm"), 4096, whole=True)
    assert len(made.flops) > 50
    held = set(rows.take(rows.held_out.nonzero()[0]).time_s.tolist())
    assert set(made.measured_s.ravel().tolist()) <= held


@pytest.mark.parametrize("tokens", [2048, 8192, 32768])
def test_swiglu_10922_on_h100(tokens: int) -> None:
    assert validation.swiglu_ratio(tokens) == pytest.approx(0.69, abs=0.05)


@pytest.mark.parametrize("device", ["a100-80gb-sxm", "h100-sxm", "b200-sxm"])
@pytest.mark.parametrize("micro_batch", [1, 4, 8])
def test_a_padded_vocabulary_saves_three_to_six_percent(device: str, micro_batch: int) -> None:
    assert 0.03 <= validation.vocabulary_share(device, "default", micro_batch) <= 0.06


@pytest.mark.parametrize("micro_batch", [1, 4, 8])
def test_twenty_heads_for_thirty_two(micro_batch: int) -> None:
    assert validation.heads_speedup("a100-80gb-sxm", "unfused", micro_batch) == pytest.approx(1.17, abs=0.03)


def test_the_measured_gpt3_layer() -> None:
    path = DATA / "gpt3_layer_a100-80gb-sxm.csv"
    ours, real = validation.measured_layer(parse(read_text(path), str(path)))
    assert ours == pytest.approx(real, rel=0.10)


def test_whole_measured_steps_that_no_launch_bounds_are_ranked_right() -> None:
    path = DATA.parent / "training/training_single_node.csv.gz"
    found = validation.steps_ranked(parse(read_text(path), str(path)), most_tensor=2, least_micro_batch=4)
    assert found.pairs > 200
    assert found.right >= 0.97
    assert found.parameter_pairs > 100
    assert found.parameter_right >= 0.90
