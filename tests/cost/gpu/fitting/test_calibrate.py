"""Calibration: known figures are recovered, few rows fall back, and bad files are named line by line."""

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import Ended, command
from hardplace.cost.gpu.datasheet import datasheet
from hardplace.cost.gpu.fitting.calibrate import calibrate
from hardplace.cost.gpu.fitting.errors import attention_errors, gemm_errors
from hardplace.cost.gpu.fitting.fit import GEMM_START
from hardplace.cost.gpu.fitting.optimise import fit
from hardplace.cost.gpu.gemm import LAYOUTS, gemm_s, gemms
from hardplace.cost.gpu.measured import read_attention, read_gemms
from hardplace.cost.gpu.models import fitted_names, relative_of, shipped
from hardplace.cost.gpu.residual import corrected_s, tree_sum
from hardplace.cost.gpu.transfer import carried_gemm
from hardplace.cost.gpu.trees import boost
from hardplace.cost.gpu.types import GemmParameters, GpuModel
from hardplace.cost.layers.types import Layout
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read, read_text, write
from hardplace.hardware.catalogue import device

DATA = Path(__file__).parents[4] / "validation" / "gpu"
H100 = datasheet(device("h100-sxm"))


def table(rows: int, figures: GemmParameters, noise: float = 0.0) -> str:
    """Return a CSV of GEMMs with the model's own times."""
    random = np.random.default_rng(3)
    m, n, k = (64 * np.exp(random.uniform(0, 5.5, rows)).astype(int) for _ in range(3))
    time_s = gemm_s(gemms(m, n, k), [(H100, figures)])[:, 0] * np.exp(noise * random.standard_normal(rows))
    lines = [f"{a},{b},{c},{t * 1e6:.4f}" for a, b, c, t in zip(m, n, k, time_s, strict=True)]
    return "\n".join(["m,n,k,us", *lines])


def test_the_times_of_known_figures_are_recovered() -> None:
    truth = replace(GEMM_START, tensor_efficiency=0.75, dram_efficiency=0.7, launch_s=4e-6, wave_rounding=0.9)
    model = calibrate(H100, [("own.csv", table(1500, truth))], None, "test")
    assert model.residual is None, "too few rows for a correction"
    (note,) = (one for one in model.fits if one.part == "gemm")
    assert note.held_out_error is not None
    assert note.held_out_error < 0.02
    assert 300 < note.held_out_rows < 450


def test_three_figures_are_fitted_on_few_rows_and_none_on_fewer() -> None:
    relative = shipped("h100-sxm")
    slower = replace(relative.gemm, tensor_efficiency=0.6, joule_per_flop=1e-13)
    base = replace(relative, gemm=replace(slower, tensor_efficiency=0.9), residual=None)
    few = calibrate(H100, [("own.csv", table(60, slower))], base, "test")
    assert few.gemm.tensor_efficiency == pytest.approx(0.6, rel=0.05)
    assert few.gemm.tile_bytes_per_cycle == slower.tile_bytes_per_cycle
    fewer = calibrate(H100, [("own.csv", table(8, slower))], base, "test")
    assert fewer.gemm == base.gemm
    assert "too few rows" in fewer.fits[0].method


def test_few_rows_say_whose_figures_stand_in_and_the_error_to_expect() -> None:
    text = "m,n,k,us\n4096,4096,4096,400\n8192,8192,8192,2800\n"
    mi300x = datasheet(device("mi300x"))
    how = calibrate(mi300x, [("own.csv", text)], shipped("mi210"), "test").fits[0].method
    assert re.search(r"too few rows to fit .*: those of mi210, its nearest relative; error to expect about 1[15]%", how)


def test_factors_of_layouts_and_alignments_are_fitted() -> None:
    truth = replace(GEMM_START, layout=(1.0, 0.9, 1.2))
    truth = replace(truth, alignment=(3.0, 2.0, 1.5, 1.2, 1.1, 1.0, 1.0))
    random = np.random.default_rng(5)
    lines = ["m,n,k,layout,us"]
    for layout in Layout:
        for odd in (64, 1, 2, 4):
            for _ in range(150):
                m, n = (int(size) * 64 for size in random.integers(16, 128, 2))
                k = (int(random.integers(16, 128)) * 64 // odd) | 1
                k = k * odd
                n = n if layout is not Layout.NT else (int(random.integers(16, 8192)) | 1) * odd
                time_s = gemm_s(gemms(m, n, k, layout=layout), [(H100, truth)])[0, 0]
                lines.append(f"{m},{n},{k},{layout},{time_s * 1e6:.4f}")
    model = calibrate(H100, [("own.csv", "\n".join(lines))], None, "test")
    assert model.gemm.layout == pytest.approx(truth.layout, rel=0.06)
    assert model.gemm.alignment[:3] == pytest.approx(truth.alignment[:3], rel=0.1)


def test_the_same_data_give_the_same_model(tmp_path: Path) -> None:
    text = table(400, GEMM_START, noise=0.05)
    models = [calibrate(H100, [("own.csv", text)], shipped("h100-sxm"), "test") for _ in range(2)]
    assert models[0] == models[1]
    write(tmp_path / "own.json.gz", models[0])
    assert read(tmp_path / "own.json.gz", GpuModel) == models[0]


def test_a_shipped_model_is_reproduced_from_the_data_beside_it() -> None:
    path = DATA / "gemm_v100-sxm2.csv"
    model = calibrate(datasheet(device("v100-sxm2")), [(str(path), read_text(path))], shipped("a100-80gb-sxm"), "any")
    for field, value in asdict(shipped("v100-sxm2").gemm).items():
        assert getattr(model.gemm, field) == pytest.approx(value, rel=1e-3)


BAD = {
    "missing column": ("m,n,us\n1,2,3\n", r"columns m, n, us: expected m, n, k"),
    "no latencies": ("m,n,k\n1,2,3\n", "expected latencies"),
    "nan": ("m,n,k,us\n64,64,64,5\n64,64,64,nan\n", r"line 3: us: 'nan': expected a positive"),
    "negative": ("m,n,k,us\n64,64,64,-5\n", r"line 2: us: '-5': expected a positive"),
    "zero": ("m,n,k,us\n64,64,64,0\n", "expected a positive"),
    "text": ("m,n,k,us\n64,64,64,fast\n", "expected a positive"),
    "empty": ("m,n,k,us\n64,64,64,\n", "empty: expected at least one latency"),
    "fraction": ("m,n,k,us\n64.5,64,64,3\n", r"line 2: m: '64.5': expected a whole number"),
    "too large": ("m,n,k,us\n64,64,2097152,3\n", "whole number from 1 to 1048576"),
    "layout": ("m,n,k,layout,us\n64,64,64,TT,3\n", "expected one of TN, NN, NT"),
    "constant": ("m,n,k,us\n64,64,64,3\n128,64,64,3\n4096,4096,64,3\n", "every latency is 3 us"),
    "ragged": ("m,n,k,us\n64,64,64\n", "line 2: 3 cells: expected 4"),
    "no rows": ("m,n,k,us\n", "no rows"),
    "several devices": ("m,n,k,device,us\n64,64,64,H100,5\n64,64,128,B200,6\n", "column device: rows of B200, H100"),
    "fp8": ("m,n,k,dtype,us\n64,64,64,bf16,5\n64,64,128,fp8,6\n", "line 3: dtype: 'fp8': expected bf16 or fp16"),
    "fp32": ("m,n,k,dtype,us\n64,64,64,fp32,5\n", "line 2: dtype: 'fp32'"),
    "other table": ("a,b\n1,2\n", "expected m, n, k"),
    "causal": (
        "backend,batch_size,sequence,num_heads,head_dim,causal,us\nfa3,1,64,2,64,maybe,3\n",
        "line 2: causal: 'maybe': expected 0 or 1",
    ),
    "backend": ("backend,batch_size,sequence,num_heads,head_dim,causal,us\nfa9,1,64,2,64,1,3\n", "fa3"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(BadInput, match=message) as caught:
        calibrate(H100, [("own.csv", text)], shipped("h100-sxm"), "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("factor", "unit"), [(1e-3, "milliseconds"), (1e-6, "seconds"), (1e3, "nanoseconds")], ids=lambda one: str(one)
)
def test_slips_of_units_are_recognised(factor: float, unit: str) -> None:
    lines = table(200, GEMM_START).splitlines()
    slipped = [lines[0]]
    for line in lines[1:]:
        *sizes, time_us = line.split(",")
        slipped.append(",".join([*sizes, repr(float(time_us) * factor)]))
    with pytest.raises(BadInput, match=f"look like {unit}; expected microseconds"):
        calibrate(H100, [("own.csv", "\n".join(slipped))], shipped("h100-sxm"), "test")


def test_a_slip_is_named_against_the_unit_of_the_column() -> None:
    slipped = table(200, GEMM_START).replace(",us", ",ms")
    with pytest.raises(BadInput, match="look like microseconds; expected milliseconds"):
        calibrate(H100, [("own.csv", slipped)], shipped("h100-sxm"), "test")


@pytest.mark.parametrize("rows", [4, 40, 400])
def test_few_rows_of_a_fitted_device_keep_its_residual(rows: int) -> None:
    """A machine that is 5 % slower throughout: its rows are met by the residual on figures fitted beneath it."""
    before = shipped("h100-sxm")
    random = np.random.default_rng(4)
    m, n, k = (32 * np.exp(random.uniform(0, 5.5, rows)).astype(int) for _ in range(3))
    shapes = gemms(m, n, k)
    assert before.residual is not None
    time_s = 1.05 * corrected_s(shapes, H100, gemm_s(shapes, [(H100, before.gemm)])[:, 0], before.residual)
    lines = [f"{a},{b},{c},{t * 1e6:.4f}" for a, b, c, t in zip(m, n, k, time_s, strict=True)]
    own = calibrate(H100, [("own.csv", "\n".join(["m,n,k,us", *lines]))], before, "test")
    assert own.residual == before.residual
    error = np.abs(corrected_s(shapes, H100, gemm_s(shapes, [(H100, own.gemm)])[:, 0], before.residual) / time_s - 1)
    assert error.mean() < (0.051 if rows < 10 else 0.03)


def test_attention_alone_keeps_the_gemm_model_of_the_same_device() -> None:
    kernels = "backend,batch_size,sequence,num_heads,head_dim,causal,us\n"
    kernels += "".join(f"fa3,{batch},4096,32,128,1,{260.0 * batch}\n" for batch in (1, 2, 4, 8))
    before = shipped("h100-sxm")
    own = calibrate(H100, [("own.csv", kernels)], before, "test")
    assert (own.gemm, own.residual) == (before.gemm, before.residual)
    assert calibrate(H100, [("own.csv", kernels)], shipped("h200-sxm"), "test").residual is None, "of another device"


def test_no_held_out_row_is_said_as_such() -> None:
    kernels = "backend,batch_size,sequence,num_heads,head_dim,causal,us\nfa3,1,4096,32,128,1,260\n"
    attention, products = read_attention([("a.csv", kernels)]), read_gemms([("b.csv", "m,n,k,us\n64,64,64,5\n")])
    assert attention is not None
    assert products is not None
    assert not attention.held_out.any()
    assert not products.held_out.any()
    with pytest.raises(BadInput, match=r"no row has a held-out \(sequence, .*all rows"):
        attention_errors(shipped("h100-sxm"), attention, every_row=False)
    with pytest.raises(BadInput, match=r"no row has a held-out \(n, k\).*all rows"):
        gemm_errors(shipped("h100-sxm"), products, every_row=False)


def test_a_slip_in_attention_is_recognised() -> None:
    kernels = "backend,batch_size,sequence,num_heads,head_dim,causal,us\n"
    kernels += "".join(f"fa3,{batch},4096,32,128,1,{0.26 * batch}\n" for batch in (1, 2, 4, 8))
    with pytest.raises(BadInput, match="look like milliseconds"):
        calibrate(H100, [("own.csv", kernels)], shipped("h100-sxm"), "test")


def test_other_units_are_read_where_the_column_names_them() -> None:
    micro = read_gemms([("a.csv", "m,n,k,us\n64,64,64,5\n64,64,128,7000\n")])
    milli = read_gemms([("b.csv", "m,n,k,ms\n64,64,64,0.005\n64,64,128,7\n")])
    assert micro is not None
    assert milli is not None
    np.testing.assert_allclose(micro.time_s, milli.time_s)


def test_sources_are_merged_to_their_median_and_their_spread_kept() -> None:
    rows = read_gemms([("a.csv", "m,n,k,one,two,three\n64,64,64,4,5,8\n64,64,128,7,,\n")])
    assert rows is not None
    assert rows.time_s.tolist() == pytest.approx([5e-6, 7e-6])
    assert rows.spread[0] == pytest.approx(1.0)
    assert math.isnan(rows.spread[1])
    kernels = "kernel_source,batch_size,isl,num_heads,num_key_value_heads,head_dim,us\n"
    kernels += "fa3,1,64,2,2,64,4\nvllm_flash_attn_fa3,1,64,2,2,64,6\ntriton,1,64,2,2,64,9\n"
    attention = read_attention([("a.csv", kernels)])
    assert attention is not None
    assert dict(zip(attention.backend, attention.time_s.tolist(), strict=True)) == pytest.approx(
        {"fa3": 5e-6, "triton": 9e-6}
    )


@given(cells=st.lists(st.text(alphabet='0123456789.,-\n"mnkus eE#', max_size=8), max_size=12))
@settings(max_examples=80)
def test_any_text_is_a_table_or_bad_input(cells: list[str]) -> None:
    try:
        found = parse("m,n,k,us\n" + "\n".join(cells), "any.csv")
    except BadInput:
        return
    assert all(len(row) == 4 for row in found.rows)


@given(seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_trees_never_fall_along_what_grows(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = random.uniform(0, 1, (400, 3))
    log_measured = np.sin(6 * columns[:, 0]) - columns[:, 1] + 0.3 * random.standard_normal(400)
    trees = boost(columns, (False, True, True), np.zeros(400), log_measured, np.ones(400))
    low = random.uniform(0, 1, (300, 3))
    high = low + random.uniform(0, 0.5, (300, 3)) * [0, 1, 1]
    assert (tree_sum(trees, high) >= tree_sum(trees, low) - 1e-12).all()


def test_the_fitter_finds_a_known_minimum() -> None:
    x = np.linspace(1, 10, 50)

    def predict_s(figures: dict[str, float]) -> np.ndarray:
        return figures["a"] * x ** figures["b"]

    measured = predict_s({"a": 3.0, "b": 0.5})
    measured[7] *= 5  # one outlier does not pull
    found = fit(predict_s, {"a": 1.0, "b": 1.0}, {"a": (0.1, 10.0), "b": (0.0, 2.0)}, measured, np.ones(50))
    assert found == pytest.approx({"a": 3.0, "b": 0.5}, rel=0.02)


def test_every_shipped_model_says_where_it_is_from() -> None:
    for name in fitted_names():
        model = shipped(name)
        assert model.datasheet == datasheet(device(name)), "fitted on the catalogue's datasheet"
        gemm = next(one for one in model.fits if one.part == "gemm")
        assert gemm.rows > 0
        assert "(" in gemm.source, "a source with its licence"
        for field, value in asdict(model.gemm).items():
            assert np.all(np.array(value) > 0) or field in ("reread", "warm", "wave_rounding")
        assert list(model.gemm.alignment) == sorted(model.gemm.alignment, reverse=True)
        assert len(model.gemm.layout) == len(LAYOUTS)
    assert {"a100-80gb-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "gb200", "l40s", "rtx-pro-6000"} <= {
        name for name in fitted_names() if shipped(name).residual is not None
    }
    assert {"v100-sxm2", "t4", "mi210"} <= set(fitted_names())


def test_relatives() -> None:
    names = fitted_names()
    assert relative_of(datasheet(device("h100-pcie")), names) == "h100-sxm"
    assert relative_of(datasheet(device("mi300x")), names) == "a100-80gb-sxm"  # MI210 had few rows
    a100, h100 = shipped("a100-80gb-sxm"), shipped("h100-sxm")
    assert carried_gemm(a100.gemm, a100.datasheet, replace(a100.datasheet, power_w=200.0)) == a100.gemm
    carried = carried_gemm(a100.gemm, a100.datasheet, h100.datasheet)
    assert carried.tile_bytes_per_cycle == pytest.approx(2 * a100.gemm.tile_bytes_per_cycle, rel=0.01)


def run(*words: str, folder: Path) -> Ended:
    return command(*words, folder=folder)


def test_the_verbs(tmp_path: Path) -> None:
    data = str(DATA / "gemm_v100-sxm2.csv")
    done = run("calibrate", data, "--device", "v100-sxm2", "--relative", "a100-80gb-sxm", "--json", folder=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out)["answer"][0]["part"] == "gemm"
    judged = run("validate", "gemm", data, "--device", "v100-sxm2.gpu.json", "--json", folder=tmp_path)
    assert judged.code == 0, judged.err
    (found,) = json.loads(judged.out)["answer"]
    assert found["held_out"]
    assert found["rows"][0]["mean"] < 0.12
    assert found["rows"][0]["roofline"] > 0.3
    shown = run(
        "validate",
        "attention",
        str(DATA / "attention_a100-80gb-sxm.csv.gz"),
        "--device",
        "a100-80gb-sxm",
        folder=tmp_path,
    )
    assert shown.code == 0, shown.err
    assert "s >= 1024" in shown.out
    assert "noise" in shown.out
    for words, message in (
        (("validate", "gemm", data, "--device", "v10"), "did you mean"),
        (("calibrate", data, "--device", "v100-sxm"), "v100-sxm2"),
        (("validate", "gemm", "none.csv", "--device", "t4"), "cannot be read"),
    ):
        bad = run(*words, folder=tmp_path)
        assert bad.code == 2
        assert message in bad.err
        assert bad.err.count("\n") == 1


def test_the_table_in_the_documents_is_what_the_command_prints() -> None:
    text = (DATA.parents[1] / "docs" / "validation-gpu.md").read_text()
    done = run("validate", "gpu", str(DATA), folder=DATA)
    assert done.code == 0, done.err

    def cells(document: str) -> list[list[str]]:
        return [[cell.strip() for cell in line.split("|")] for line in document.splitlines() if line.startswith("|")]

    shown, printed = cells(text), cells(done.out)
    assert len(shown) >= len(printed) > 100
    for before, after in zip(shown[: len(printed)], printed, strict=True):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            if one.endswith("%") and one != other:  # a last digit may differ between machines
                assert float(one[:-1]) == pytest.approx(float(other[:-1]), rel=0.05, abs=0.3)
            else:
                assert one == other
