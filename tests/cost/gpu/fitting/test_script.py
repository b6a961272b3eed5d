"""The script of `hardplace verify` runs where torch does, and writes what `calibrate` reads."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hardplace.cost.gpu.fitting.overhead import read_steps, read_streams
from hardplace.cost.gpu.fitting.script import REFERENCE_LAYERS, plan_of, script_text, sweep_gemms
from hardplace.cost.gpu.measured import read_attention, read_gemms
from hardplace.files import read_text, write_text
from hardplace.workload.load import load


def test_the_plan_has_the_kernels_of_the_model() -> None:
    plan = plan_of(load("llama2-7b"), 2, 1, sweep=False)
    tokens = 2 * 4096
    for m, n, k, layout in (
        (tokens, 11008, 4096, "TN"),
        (tokens, 4096, 11008, "TN"),
        (tokens, 11008, 4096, "NN"),
        (4096, 4096, tokens, "NT"),
    ):
        assert (1, m, n, k, layout) in plan.gemms
    assert plan.attention == ((2, 4096, 32, 32, 128, 1),)
    assert plan.layers["llama2-7b"] == (2, *REFERENCE_LAYERS["llama2-7b"][1:])
    assert len(set(plan.gemms)) == len(plan.gemms)
    assert {"norm", "embedding", "cross_entropy", "elementwise"} <= {kind for kind, _, _ in plan.streams}


def test_the_sweep_has_the_shapes_that_no_public_data_has() -> None:
    shapes = sweep_gemms()
    assert 270 <= len(shapes) <= 330
    for size in (50257, 10922, 1, 2, 4, 8, 16, 32, 64):
        for layout in ("TN", "NN", "NT"):
            assert any(n == size and kind == layout for _, _, n, _, kind in shapes)
            assert any(k == size and kind == layout for _, _, _, k, kind in shapes)


def test_the_script_runs_on_a_cpu_and_its_csv_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    plan = plan_of(load("llama2-7b"), 1, 1, sweep=True)
    plan = replace(plan, gemms=plan.gemms[:6] + plan.gemms[-6:])
    write_text(tmp_path / "verify.py", script_text(plan))
    words = [sys.executable, "verify.py", "--device", "cpu", "--tiny", "--out", "measured.csv"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    files = [("measured.csv", read_text(tmp_path / "measured.csv"))]
    gemms, attention, steps = read_gemms(files), read_attention(files), read_steps(files)
    assert gemms is not None
    assert attention is not None
    assert steps is not None
    assert len(gemms.time_s) == 12
    assert set(attention.backward.tolist()) == {0, 1}
    assert {80, 96} <= set(attention.head_dim.tolist())
    assert {"optimizer", "norm", "softmax", "cross_entropy"} <= {rows.kind.value for rows in read_streams(files)}
    assert (steps.kernels > 10).all()
