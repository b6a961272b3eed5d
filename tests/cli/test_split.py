"""`hardplace split` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hardplace as hp
from commands import command
from hardplace.files import write

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/split/inception-block.json"


def test_it_prints_the_bound_and_writes_page_and_trace(tmp_path: Path) -> None:
    ended = command("split", str(EXAMPLE), "--device", "cpu", "--device", "gpu:8GiB", folder=tmp_path)
    assert ended.code == 0, ended.err
    for word in ("one sample", "no split takes less than", "HEFT", "proven"):
        assert word in ended.out
    folder = tmp_path / "hardplace-out/inception-block-split"
    found = hp.read(folder / "split.json")
    assert found.certificate is not None
    assert found.certificate.proven
    assert len(found.to_records()) == 16
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert "inception-block" in (folder / "page.html").read_text()
    again = hp.split(**found.question)
    assert again.value_s == pytest.approx(found.value_s, rel=1e-12)  # both proven; sums in another order


def graph(tmp_path: Path, operators: list[dict[str, object]], edges: list[tuple[str, str]] = ()) -> str:  # type: ignore[assignment]
    path = tmp_path / "graph.json"
    write(path, {"name": "g", "operators": operators, "edges": [{"source": a, "target": b} for a, b in edges]})
    return str(path)


A, B = {"name": "a", "time_s": {"cpu": 1.0, "gpu": 0.5}}, {"name": "b", "time_s": {"gpu": 1.0}}


@pytest.mark.parametrize(
    ("operators", "edges", "options", "words"),
    [
        ([A, B], [("a", "b"), ("b", "a")], (), ["edges", "a circle through a, b"]),
        ([A, B], [], ("--device", "cpu"), ["'b'", "time_s", "gpu"]),
        ([A, {**B, "time_s": {"gpu": -1.0}}], [], (), ["'b'", "gpu: -1.0"]),
        ([A, {"name": "b"}], [], (), ["operators[1].time_s", "missing"]),
        ([A, B], [("a", "c")], (), ["edges[0]", "'c'"]),
        ([A, B], [], ("--link", "cpu-tpu=1GB/s"), ["link", "'tpu'", "gpu"]),
        ([A, B], [], ("--device", "gpu:x"), ["device", "'x'"]),
        (
            [{**A, "time_s": {"cpu": 1.0}, "group": "g"}, {**B, "group": "g"}], [], (),
            ["group 'g'", "no device supports all of a, b"],
        ),
        ([A, A], [], (), ["operators[1].name", "'a'"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path: Path, operators, edges, options, words) -> None:
    devices = () if "cpu" in options else ("--device", "cpu", "--device", "gpu")
    ended = command("split", graph(tmp_path, operators, edges), *devices, *options, "--out", "out", folder=tmp_path)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err
    assert not (tmp_path / "out").exists()


def test_what_fits_nowhere_says_what_is_short(tmp_path: Path) -> None:
    path = graph(tmp_path, [{**A, "memory_bytes": 2.0 * 2**30}, {**B, "memory_bytes": 2.0**30}])
    ended = command("split", path, "--device", "cpu:1GiB", "--device", "gpu:1GiB", folder=tmp_path)
    assert ended.code == 3
    assert "memory for a" in ended.out + ended.err
    ended = command("split", path, "--device", "gpu:2GiB", folder=tmp_path)
    assert ended.code == 3
    assert "memory of the devices" in ended.out + ended.err


def test_a_graph_with_devices_around_a_host(tmp_path: Path) -> None:
    path = ROOT / "tests/graph_split/data/max_load_layer_bert24_training.json.gz"
    found = hp.split(path, objective="throughput", shape="ordered")
    assert found.value_s == pytest.approx(41.7458125, rel=1e-6)
    assert "shape ordered" in str(found)
    with pytest.raises(hp.BadInput, match="its own devices"):
        hp.split(path, "gpu")
