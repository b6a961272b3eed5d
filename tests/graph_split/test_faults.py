"""What is bad in a question of `split`: one line that names it; what fits nowhere says what is short."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import hardplace as hp
from hardplace.files import read_json, write
from hardplace.graph_split.answer import SplitResult

EXAMPLE = Path(__file__).parents[2] / "examples/split/dlrm-small.json"
STAGED = Path(__file__).parent / "data/max_load_layer_gnmt_inference.json.gz"


def graph(tmp_path: Path, operators: list[dict[str, Any]], edges: tuple[tuple[str, str], ...] = ()) -> Path:
    path = tmp_path / "graph.json"
    rows = [{"source": a, "target": b} for a, b in edges]
    write(path, {"name": "g", "operators": operators, "edges": rows})
    return path


def one(name: str, **others: Any) -> dict[str, Any]:
    return {"name": name, "time_s": {"cpu": 1e-3}, **others}


@pytest.mark.parametrize(
    ("operators", "edges", "asked", "said"),
    [
        ([one("a"), one("b")], (("a", "b"), ("b", "a")), {}, "edges: a circle through a, b"),
        ([one("a", time_s={"npu": 1})], (), {}, r"operators\[0\] 'a': time_s: npu: expected a time on one of"),
        ([one("a", time_s={"cpu": -1})], (), {}, r"'a': cpu: -1.0: expected a number from 0"),
        ([one("a", time_s={"cpu": 1e308})], (), {}, r"'a': cpu: 1e\+308: expected a number from 0 to 1e\+30"),
        ([{"name": "a"}], (), {}, r"operators\[0\].time_s: missing"),
        ([one("a")], (), {"link": "cpu-tpu=1GB/s"}, "unknown device of link 'tpu'"),
        ([one("a")], (), {"link": "cpu-cpu=1GB/s"}, "link: .*expected two different devices"),
        (
            [one("a", group="g"), one("b", group="g", time_s={"gpu": 1})],
            (),
            {},
            "group 'g': no device supports all of a, b",
        ),
        ([one("a")], (("a", "z"),), {}, r"edges\[0\]: 'z': expected the name of an operator"),
        ([one("a")], (), {"requests": 65}, "requests: 65: expected 1 to 64 in flight"),
        ([one("a")], (), {"devices": 2}, "devices: 2: expected none"),
        ([one("a")], (), {"coarsen": "all"}, "coarsen 'all'"),
    ],
)
def test_a_fault_is_one_line(
    tmp_path: Path,
    operators: list[dict[str, Any]],
    edges: tuple[tuple[str, str], ...],
    asked: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(hp.BadInput, match=said) as raised:
        hp.split(graph(tmp_path, operators, edges), ["cpu", "gpu"], **asked)
    assert "\n" not in str(raised.value)


WAY = [1, 0, 1.0, 1.0, 1.0, 1.0, {}, {}]
COLUMNS = [
    "tensor_degree", "recompute", "time_per_sample", "parameter_bytes", "memory_per_in_flight_bytes",
    "memory_fixed_bytes", "extra_input_bytes_by_predecessor", "extra_output_bytes_by_successor",
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "asked", "said"),
    [
        ({"micro_batches_default": "x"}, {}, "micro_batches_default: x: expected a whole number from 1"),
        ({"micro_batches_default": 0}, {}, "micro_batches_default: 0: expected a whole number from 1"),
        ({"bytes_per_s": 0}, {}, "bytes_per_s: 0: expected a number above 0"),
        ({"nodes": None}, {}, "nodes: expected a list"),
        ({"edges": None}, {}, "edges: expected a list"),
        ({"nodes": [[[0], "a", [WAY]]]}, {}, r"nodes\[0\]: id: "),
        ({"edges": [[[0], 1, 5.0]]}, {}, r"edges\[0\]: "),
        ({}, {"requests": 3}, "requests: 3: expected 1"),
        ({}, {"coarsen": "hsdag"}, "coarsen: hsdag: expected none"),
        ({}, {"shape": "ordered"}, "shape: ordered: expected any"),
        ({}, {"link": "a-b=5GB/s"}, "link: a-b=5GB/s: expected none"),
    ],
)
def test_a_fault_of_operators_with_ways(
    tmp_path: Path, changed: dict[str, Any], asked: dict[str, Any], said: str
) -> None:
    data = {"name": "x", "micro_batches_default": 4, "bytes_per_s": 1e9, "way_columns": COLUMNS}
    data |= {"nodes": [[0, "a", [WAY]], [1, "b", [WAY]]], "edges": [[0, 1, 5.0]]}
    write(tmp_path / "ways.json", data | changed)
    with pytest.raises(hp.BadInput, match=said):
        hp.split(tmp_path / "ways.json", objective="throughput", devices=2, memory="1 GiB", **asked)


@pytest.mark.parametrize(
    ("changed", "asked", "said"),
    [
        ({}, {"batch": (0,)}, "batch: 0: expected 1 sample"),
        ({}, {"devices": (0,)}, "devices: 0: expected 1 device"),
        ({}, {"seconds": 0.0}, "seconds: 0.0: expected a number above 0"),
        ({"sharding_types": []}, {}, "sharding_types: none: expected one of"),
        ({"host_bytes_per_s": None}, {"sharding": "host_cached"}, "sharding: host_cached: expected host_bytes_per_s"),
    ],
)
def test_a_fault_of_tables(tmp_path: Path, changed: dict[str, Any], asked: dict[str, Any], said: str) -> None:
    data = read_json(EXAMPLE) | changed
    if "host_bytes_per_s" in changed:
        data["step"] = {key: value for key, value in data["step"].items() if key != "host_bytes_per_s"}
    write(tmp_path / "tables.json", data)
    with pytest.raises(hp.BadInput, match=said):
        hp.tables(tmp_path / "tables.json", prices="step", **asked)


def test_a_model_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(hp.BadInput, match="resnet-50"):
        hp.split("resnet-51", "cpu")


def test_what_is_short_is_of_devices_that_support_it(tmp_path: Path) -> None:
    found = hp.split(graph(tmp_path, [one("a", memory_bytes=9e9)]), ["cpu:5GB", "gpu:20GB"])
    assert isinstance(found, hp.Infeasible)
    assert (found.needed, found.available) == (9e9, 5e9)


def test_sizes_beyond_all_memories_fit_nowhere(tmp_path: Path) -> None:
    rows = [one(name, memory_bytes=1e25, time_s={"gpu": 1e-3}) for name in "abcdefghij"]
    found = hp.split(graph(tmp_path, rows), ["gpu:1e9 GB", "gpu:1e9 GB"], seconds=1)
    assert isinstance(found, hp.Infeasible)
    assert found.proven
    assert (found.needed, found.available) == (1e25, 1e18)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
@pytest.mark.parametrize(("size", "room"), [(1e25, 1e9), (1e29, 2e29)])
def test_sizes_around_a_host_may_be_beyond_63_bits(tmp_path: Path, objective: str, size: float, room: float) -> None:
    nodes = [[row, None, True, False, 5.0, 1.0 + row, size, 0.1, f"n{row}"] for row in range(5)]
    path = tmp_path / "staged.json"
    write(path, read_json(STAGED) | {
        "accelerators": 1, "accelerator_memory_bytes": room, "cpu_cores": 1, "nodes": nodes, "edges": [[0, 1], [1, 2]],
    })  # fmt: skip
    found = hp.split(path, objective=objective, seconds=5)
    assert isinstance(found, SplitResult)
    most = math.floor(room / size)
    assert sum(one.device.startswith("accelerator") for one in found.placement) <= most
