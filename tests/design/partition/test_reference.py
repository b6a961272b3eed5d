"""PHAZE's instances through the benchmark script: optima, plans, bad files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CASES = sorted((Path(__file__).parent / "data").glob("*.json"))


def run(*paths: Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks/placement_reference.py"
    return subprocess.run([sys.executable, str(script), *map(str, paths)], capture_output=True, text=True, timeout=300)


def test_every_reference_optimum_is_reproduced() -> None:
    done = run(*CASES)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["case"] for line in lines] == [path.stem for path in CASES]
    assert len(lines) == 12
    for line, path in zip(lines, CASES, strict=True):
        case = json.loads(path.read_text())
        expected = case["optimal_time_per_batch_s"]
        if expected is None:
            assert line["optimal_time_per_batch_s"] is None
            short = line["infeasible"]
            assert short["unit"] == "bytes"
            assert short["needed"] > short["available"] == case["instance"]["maxMemoryPerDevice"]
        else:
            assert line["optimal_time_per_batch_s"] == pytest.approx(expected, rel=1e-9)
            nodes = case["instance"]["nodes"][str(line["plan"]["tensor_parallel"])]
            held = [one for stage in line["plan"]["stages"] for one in stage]
            assert sorted(held) == sorted(node["id"] for node in nodes)


def test_node_order_does_not_matter(tmp_path: Path) -> None:
    case = json.loads(CASES[0].read_text())
    case["instance"]["nodes"]["1"].reverse()
    (tmp_path / "reversed.json").write_text(json.dumps(case["instance"]))
    line = json.loads(run(tmp_path / "reversed.json").stdout)
    assert line["optimal_time_per_batch_s"] == pytest.approx(case["optimal_time_per_batch_s"], rel=1e-9)


@pytest.mark.parametrize("damage", ["missing file", "truncated", "field", "edge", "negative", "zero"])
def test_a_bad_file_is_one_line_and_code_2(damage: str, tmp_path: Path) -> None:
    case = json.loads(CASES[0].read_text())["instance"]
    if damage == "field":
        del case["mbsInBatch"]
    elif damage == "edge":
        case["edges"]["1"][0]["destId"] = 999
    elif damage == "negative":
        case["nodes"]["1"][3]["optimalLatencyFw"] = -1.0
    elif damage == "zero":
        case["bandwidth"] = 0
    path = tmp_path / "case.json"
    if damage != "missing file":
        text = json.dumps(case)
        path.write_text(text[:500] if damage == "truncated" else text)
    done = run(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    word = {"field": "mbsInBatch", "edge": "999", "negative": "optimalLatencyFw", "zero": "bandwidth"}
    assert "case.json" in done.stderr
    assert word.get(damage, "") in done.stderr
