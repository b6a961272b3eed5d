"""Described accelerators as devices of `split`."""

from __future__ import annotations

from pathlib import Path

import pytest

import hardplace as hp
from hardplace.files import write


def graph(tmp_path: Path, layer: str) -> str:
    path = tmp_path / "graph.json"
    operators = [
        {"name": "first", "layer": layer, "time_s": {"cpu": 1.0}, "output_bytes": 100.0},
        {"name": "second", "layer": "elementwise:4096", "time_s": {"cpu": 1.0, "gemmini": 2e-9}},
    ]
    write(path, {"name": "two", "operators": operators, "edges": [{"source": "first", "target": "second"}]})
    return str(path)


def test_a_layer_takes_what_the_generated_model_says_and_a_given_time_stays(tmp_path: Path) -> None:
    found = hp.split(graph(tmp_path, "product:64,64,64"), ["cpu", "gemmini"])
    alone = hp.describe("gemmini", layers="product:64,64,64")
    assert not isinstance(found, hp.Infeasible)
    assert not isinstance(alone, hp.Infeasible)
    assert {row.operator: row.device for row in found.placement} == {"first": "gemmini", "second": "gemmini"}
    assert found.value_s == pytest.approx(alone.seconds + 2e-9, rel=1e-9)


def test_what_no_mapping_fits_stays_elsewhere_and_a_text_of_another_form_is_bad(tmp_path: Path) -> None:
    found = hp.split(graph(tmp_path, "softmax:2,10000000"), ["cpu", "gemmini"])
    assert not isinstance(found, hp.Infeasible)
    assert {row.operator: row.device for row in found.placement}["first"] == "cpu"
    with pytest.raises(
        hp.BadInput, match=r"graph.json: operators\[0\].layer: layers: 'product:64': expected product:M"
    ):
        hp.split(graph(tmp_path, "product:64"), ["cpu", "gemmini"])
