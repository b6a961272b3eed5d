"""The GEMM model against measurements that no fit has seen, a slow oracle, and what physics says."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardplace.cost.gpu.datasheet import datasheet
from hardplace.cost.gpu.fitting.errors import gemm_errors
from hardplace.cost.gpu.gemm import SPLITS, STEP, TILES, gemm_s, gemms, in_range
from hardplace.cost.gpu.measured import read_gemms
from hardplace.cost.gpu.models import fitted_names, gpu_model, shipped
from hardplace.cost.gpu.residual import corrected_s
from hardplace.cost.gpu.timer import GpuTimer
from hardplace.cost.gpu.types import GpuModel
from hardplace.cost.layers.types import Layout
from hardplace.cost.layers.work import GemmWork
from hardplace.errors import BadInput
from hardplace.files import read_text
from hardplace.hardware.catalogue import device
from hardplace.ndtypes import Floats

DATA = Path(__file__).parents[3] / "validation" / "gpu"
SIZES = st.integers(1, 1 << 20)
NAMES = st.sampled_from(fitted_names())


def seconds(model: GpuModel, *sizes: int, batch: int = 1, layout: Layout = Layout.TN, residual: bool = True) -> float:
    shapes = gemms(*sizes, batch=batch, layout=layout)
    model_s: Floats = gemm_s(shapes, [(model.datasheet, model.gemm)])[:, 0]
    if residual and model.residual is not None:
        model_s = corrected_s(shapes, model.datasheet, model_s, model.residual)
    return float(model_s[0])


@pytest.mark.parametrize("name", ["a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200-sxm"])
def test_held_out_shapes_are_within_the_targets(name: str) -> None:
    path = DATA / f"gemm_{name}.csv.gz"
    rows = read_gemms([(str(path), read_text(path))])
    assert rows is not None
    assert rows.held_out.all(), "the sample holds nothing that was fitted"
    every, large = gemm_errors(shipped(name), rows, every_row=False).rows[:2]
    assert large.name == "m >= 1024, n and k >= 512"
    assert large.rows > 1000
    assert large.mean <= 0.05
    assert large.without_residual is not None
    assert large.without_residual <= 0.07
    assert every.mean <= 0.12


@pytest.mark.parametrize(("name", "most"), [("gb200", 0.05), ("rtx-pro-6000", 0.05), ("l40s", 0.07)])
def test_held_out_shapes_of_the_other_devices(name: str, most: float) -> None:
    path = DATA / f"gemm_{name}.csv.gz"
    rows = read_gemms([(str(path), read_text(path))])
    assert rows is not None
    every, large = gemm_errors(shipped(name), rows, every_row=False).rows[:2]
    assert large.mean <= most
    assert every.mean <= 0.12


@pytest.mark.parametrize(
    ("name", "most"), [("v100-sxm2", 0.06), ("t4", 0.08), ("mi210", 0.03), ("a100-80gb-pcie", 0.05)]
)
def test_devices_with_few_rows(name: str, most: float) -> None:
    path = DATA / f"gemm_{name}.csv"
    rows = read_gemms([(str(path), read_text(path))])
    assert rows is not None
    assert gemm_errors(shipped(name), rows, every_row=True).rows[1].mean <= most


@given(name=NAMES, m=SIZES, n=SIZES, k=SIZES, layout=st.sampled_from(Layout))
@settings(max_examples=60, deadline=None)
def test_every_size_has_a_positive_time_above_the_launch(name: str, m: int, n: int, k: int, layout: Layout) -> None:
    model = gpu_model(name)
    for residual in (False, True):
        time_s = seconds(model, m, n, k, layout=layout, residual=residual)
        assert 0 < time_s < math.inf
    assert seconds(model, m, n, k, layout=layout, residual=False) > model.gemm.launch_s


@given(name=NAMES, m=SIZES, n=SIZES, k=st.integers(1, 1 << 19), more=st.integers(1, 1 << 12))
@settings(max_examples=100, deadline=None)
def test_a_larger_k_of_the_same_alignment_is_never_faster(name: str, m: int, n: int, k: int, more: int) -> None:
    model = gpu_model(name)
    larger = min(k + 64 * more, 1 << 20) // 64 * 64 + k % 64
    larger = larger if larger <= 1 << 20 else larger - 64
    for residual in (False, True):
        before, after = (seconds(model, m, n, depth, residual=residual) for depth in (k, larger))
        assert after >= before * (1 - 1e-12)


@given(name=NAMES, m=SIZES, n=SIZES, k=SIZES, factor=st.floats(1.0, 4.0))
@settings(max_examples=40, deadline=None)
def test_more_bandwidth_or_rate_is_never_slower(name: str, m: int, n: int, k: int, factor: float) -> None:
    model = gpu_model(name)
    for field in ("memory_bandwidth_bytes_per_s", "tensor_flops_per_s", "power_w"):
        better = replace(model.datasheet, **{field: getattr(model.datasheet, field) * factor})
        assert seconds(replace(model, datasheet=better), m, n, k, residual=False) <= seconds(
            model, m, n, k, residual=False
        ) * (1 + 1e-12)


def oracle_s(model: GpuModel, m: int, n: int, k: int, batch: int, misaligned: float) -> float:
    """docs/model-gpu.md, GEMM, one shape at a time, in the words of the document."""
    sheet, g = model.datasheet, model.gemm
    count, clock = sheet.multiprocessors, sheet.clock_hz
    once = 2 * batch * (m * k + n * k + m * n)
    side = min(math.sqrt(count * 128 * 256), max(m, n))
    again = max(4 * batch * m * n * k / side - 2 * batch * (m * k + n * k), 0)
    share = 2 * (m * k + n * k) / sheet.l2_bytes
    moved = once * (1 - g.warm / (1 + (once / sheet.l2_bytes) ** 4)) + again * g.reread * share / (1 + share)
    memory = moved / (sheet.memory_bandwidth_bytes_per_s * g.dram_efficiency)
    flops = 2 * batch * m * n * k
    power = (flops * misaligned * g.joule_per_flop + moved * g.joule_per_byte) / sheet.power_w
    times = []
    for rows, columns, splits in TILES:
        for split in splits:
            tiles = batch * math.ceil(m / rows) * math.ceil(n / columns) * split
            tensor = STEP * 2 * rows * columns * count / (sheet.tensor_flops_per_s * g.tensor_efficiency)
            load = STEP * 2 * (rows + columns) / (g.tile_bytes_per_cycle * clock)
            step = (tensor**4 + load**4) ** 0.25 * misaligned + g.step_s
            start = g.tile_start_s + 2 * rows * columns / (g.tile_bytes_per_cycle * clock)
            full = tiles / count
            waves = max(full + g.wave_rounding * (math.ceil(full) - full), 1)
            steps = math.ceil(k / (STEP * split))
            l2 = tiles * steps * STEP * 2 * (rows + columns) / (g.l2_bytes_per_cycle * clock * count)
            time = ((waves * (steps * step + start)) ** 4 + l2**4 + memory**4 + power**4) ** 0.25
            if split > 1:
                partial = 8 * batch * m * n / (sheet.memory_bandwidth_bytes_per_s * g.split_bandwidth)
                time += g.split_s + split * partial
            times.append(time)
    return min(times) + g.launch_s


def test_the_vectorised_model_is_the_documents() -> None:
    random = np.random.default_rng(7)
    for name in ("a100-80gb-sxm", "b200-sxm"):
        model = gpu_model(name)
        for _ in range(60):
            m, n, k = (int(size) * 64 for size in np.exp(random.uniform(0, 5.5, 3)).astype(int))
            batch = int(random.integers(1, 9))
            expected = oracle_s(model, m, n, k, batch, model.gemm.alignment[-1])
            assert seconds(model, m, n, k, batch=batch, residual=False) == pytest.approx(expected, rel=1e-9)
        expected = oracle_s(model, 1024, 4096, 1001, 1, model.gemm.alignment[0])
        assert seconds(model, 1024, 4096, 1001, residual=False) == pytest.approx(expected, rel=1e-9)


def test_many_devices_in_one_call_are_as_one_by_one() -> None:
    models = [shipped(name) for name in fitted_names()]
    shapes = gemms(np.arange(1, 5000, 7), 1000, np.arange(1, 5000, 7)[::-1])
    together = gemm_s(shapes, [(model.datasheet, model.gemm) for model in models])
    for at, model in enumerate(models):
        alone = gemm_s(shapes, [(model.datasheet, model.gemm)])[:, 0]
        np.testing.assert_allclose(together[:, at], alone, rtol=1e-12)


def test_score_gemms_are_ordered_by_the_power_of_two_in_the_head_dimension() -> None:
    lines = read_text(DATA / "score_a100-80gb-sxm.csv").split()
    published = [float(line.split(",")[1]) for line in lines if line[0].isdigit() and line.count(",") == 1]
    model = gpu_model("a100-80gb-sxm")
    dims = [639, 638, 636, 632, 624, 608, 640]  # about 640, as 1, 2, 4, ... times an odd number
    rates = [2e-12 * 80 * 2048**2 * k / seconds(model, 2048, 2048, k, batch=80) for k in dims]
    assert all(after >= 0.99 * before for before, after in pairwise(rates))  # 2 and 4 are equal, as published
    assert rates == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize(("heads", "published"), [(12, 231.0), (96, 110.0)])
def test_score_gemms_fall_with_the_number_of_heads(heads: int, published: float) -> None:
    batch, k = 4 * heads, 12288 // heads
    rate = 2e-12 * batch * 2048**2 * k / seconds(gpu_model("a100-80gb-sxm"), 2048, 2048, k, batch=batch)
    assert rate == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize("tokens", [2048, 8192, 32768])
def test_a_misaligned_swiglu_width_costs_what_it_costs_on_h100(tokens: int) -> None:
    model = gpu_model("h100-sxm")

    def rate(width: int) -> float:
        up, down = seconds(model, tokens, width, 4096), seconds(model, tokens, 4096, width)
        return width / (2 * up + down)

    assert rate(10922) / rate(11008) == pytest.approx(0.69, abs=0.05)
    assert rate(10944) / rate(11008) == pytest.approx(1.0, abs=0.05)


def test_weight_gradients_in_fp32_and_layouts() -> None:
    model = gpu_model("b200-sxm")
    device = [(model.datasheet, model.gemm)]
    light, heavy = (gemm_s(gemms(8192, 8192, 64, output_bytes=size), device)[0, 0] for size in (2, 8))
    assert heavy > 2 * light, "a product of few steps is bound by its result"
    tn, nn, nt = (gemm_s(gemms(8192, 8192, 8192, layout=one), device)[0, 0] for one in Layout)
    assert nn < tn < nt


def test_sizes_out_of_range_are_refused() -> None:
    for size in (0, -1, (1 << 20) + 1):
        with pytest.raises(ValueError, match="1 to 1048576"):
            gemms(64, size, 64)


def test_unknown_devices_get_the_nearest_names() -> None:
    with pytest.raises(BadInput, match="h100-sxm"):
        gpu_model("h100-smx")
    with pytest.raises(BadInput, match="systolic"):
        datasheet(device("tpu-v4"))


def test_other_gpus_come_by_transfer_and_say_so() -> None:
    model = gpu_model("h100-pcie")
    assert model.datasheet.name == "h100-pcie"
    assert model.residual is None
    assert "transferred from h100-sxm" in model.fits[0].method
    assert "error to expect" in model.fits[0].method
    assert seconds(model, 8192, 8192, 8192) > seconds(gpu_model("h100-sxm"), 8192, 8192, 8192)


def test_other_sources_on_the_same_devices_are_as_documented() -> None:
    """docs/validation-gpu.md: large GEMMs of files that no fit has seen, and with their absolute scale divided out."""
    document = (DATA.parents[1] / "docs" / "validation-gpu.md").read_text()
    for name, file in (("a100-80gb-sxm", "_llmcompass.csv"), ("b200-sxm", "_simumax.csv (three layouts)")):
        path = DATA / f"gemm_{name}{file.split(' ')[0]}"
        rows = read_gemms([(str(path), read_text(path))])
        assert rows is not None
        plain, scaled = (gemm_errors(shipped(name), rows, every_row=True, scaled=one).rows[1] for one in (False, True))
        line = f"| gemm_{name}{file} | {name} | {plain.mean:.1%} | {plain.bias:+.1%} | {scaled.mean:.1%} |"
        assert line in document


def test_more_rows_than_the_model_knows_are_several_gemms() -> None:
    """128K tokens times a micro-batch of 16, forward and as the depth of a weight gradient; a batch of as many."""
    timer, whole = GpuTimer(model=replace(shipped("h100-sxm"), residual=None)), 1 << 20

    def took_s(m: int, n: int, k: int, batch: int = 1, layout: Layout = Layout.TN) -> float:
        like = GemmWork(m=m, n=n, k=k, batch=batch, layout=layout)
        return float(timer.listed_s([like])[0])

    one_s = took_s(whole, 4096, 4096)
    assert took_s(2 * whole, 4096, 4096) == pytest.approx(2 * one_s)
    assert took_s(whole + 2, 4096, 4096) == pytest.approx(one_s, rel=0.01)
    assert took_s(4096, 4096, 4 * whole, layout=Layout.NT) == pytest.approx(
        4 * took_s(4096, 4096, whole, layout=Layout.NT)
    )
    assert took_s(16, 64, 64, batch=3 * whole) == pytest.approx(3 * took_s(16, 64, 64, batch=whole))


def test_tiles_are_powers_of_two_each_without_a_split_first() -> None:
    for rows, columns, splits in TILES:
        assert {rows, columns} <= {2**power for power in range(4, 9)}
        assert splits[0] == 1
        assert list(splits) == [one for one in SPLITS if one in splits]
    assert len({(rows, columns) for rows, columns, _ in TILES}) == len(TILES)


def test_sizes_beyond_the_largest_are_equal_parts() -> None:
    """2^20 is the largest that the model knows: 2^21 + 2 rows are three parts of a third each, rounded up."""
    sizes, times = in_range(np.array([100, 1 << 20, (1 << 21) + 2]), np.array([7, 1 << 21, 7]))
    assert [one.tolist() for one in sizes] == [[100, 1 << 20, ((1 << 21) + 4) // 3], [7, 1 << 20, 7]]
    assert times.tolist() == [1, 2, 3]
