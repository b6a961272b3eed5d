"""The benchmark against peers: its lines, its agreement, cases that it has not seen, input that it cannot use."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
DATA = Path(__file__).parents[1] / "data"


def run(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/operator_reference.py"), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def lines(*paths: Path) -> list[dict[str, Any]]:
    done = run(*paths)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_peers_files_are_answered_case_by_case() -> None:
    found = lines(DATA / "gemm_peers.json", DATA / "gemm_peers_bandwidth.json")
    assert len(found) == 28
    assert all({"case", "cycles", "dram_bytes", "theirs"} <= line.keys() for line in found)
    assert all(line["dram_bytes"] == line["their_dram_bytes"]["accelforge"] for line in found)
    time = [abs(line["cycles"] / line["theirs"]["accelforge"] - 1) for line in found]
    zigzag = [abs(line["cycles"] / line["theirs"]["zigzag"] - 1) for line in found[:14]]
    assert np.median(time) < 0.001
    assert np.median(zigzag) < 0.02
    for line in found:
        assert all(cycles == line["theirs"][tool] for tool, cycles in line["same_setting"].items())


def test_a_case_of_sunstones_format_with_an_odd_shape(tmp_path: Path) -> None:
    row = {
        "N": 511,
        "C": 1000,
        "K": 77,
        "num_tc": 3,
        "width": 16,
        "depth": 8,
        "glb_mb": 0.25,
        "wall_s": 1.0,
        "ok": True,
    }
    (tmp_path / "more.json").write_text(json.dumps([{**row, "cycles": 200000.0, "shape": "odd"}, {**row, "ok": False}]))
    first, failed = lines(tmp_path / "more.json")
    assert first["cycles"] >= 511 * 1000 * 77 / (3 * 16 * 8)
    assert first["dram_bytes"] >= 2 * (511 * 1000 + 1000 * 77 + 511 * 77)
    assert first["theirs"] == {"sunstone": 200000.0}
    assert failed["theirs"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"M": 3, "N": 4}]', "expected extents"),
        ("[", "Expecting value"),
        ('[{"M": 1, "N": 1, "K": 1, "A": 8}]', "buffer"),
    ],
)
def test_what_it_cannot_use_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    done = run(tmp_path / "bad.json")
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("M", 0), ("K", "x"), ("N", 2.5), ("A", 0), ("glb_mb", -1), ("memory_GBs", 0), ("zz", "fast")]
)
def test_a_row_with_a_bad_number_is_one_line_that_names_it(tmp_path: Path, field: str, value: object) -> None:
    row = {"M": 4, "N": 5, "K": 3, "A": 16, "glb_mb": 1, "memory_GBs": 1}
    (tmp_path / "bad.json").write_text(json.dumps([row, {**row, field: value}]))
    done = run(tmp_path / "bad.json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for word in ("bad.json", "row 1", field, str(value)):
        assert word in done.stderr


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text("{")
    done = run(tmp_path / "cut.json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cut.json" in done.stderr
