"""What is bad in a question of `split`: one line that names it; what fits nowhere says what is short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hardplace as hp
from hardplace.files import write


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


def test_a_model_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(hp.BadInput, match="resnet-50"):
        hp.split("resnet-51", "cpu")


def test_what_is_short_is_of_devices_that_support_it(tmp_path: Path) -> None:
    found = hp.split(graph(tmp_path, [one("a", memory_bytes=9e9)]), ["cpu:5GB", "gpu:20GB"])
    assert isinstance(found, hp.Infeasible)
    assert (found.needed, found.available) == (9e9, 5e9)
