"""OpenVINO IRs as Workloads: an export of ResNet-50 against the recording of the same model."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import hardplace as hp
from hardplace.errors import BadInput
from hardplace.workload.intermediate_file import read_ir
from hardplace.workload.load import check
from hardplace.workload.types import Phase, Workload

EXPORT = Path(__file__).parents[1] / "graph_split/data/openvino/resnet-50.xml.gz"


def forward_flops(workload: Workload) -> int:
    return sum(
        one.flops.at(1)
        for number in workload.order
        for one in workload.layers[number].operators
        if one.phase is Phase.FORWARD
    )


def test_an_export_is_what_the_recording_says() -> None:
    graph = read_ir(EXPORT)
    assert (len(graph.nodes), graph.edges) == (401, 416)
    imported, recorded = hp.load(EXPORT), hp.load("resnet-50")
    check(imported)
    assert forward_flops(imported) == forward_flops(recorded)
    scales = 26_560  # of batch normalisation, which are within the weights; its shifts are biases
    assert imported.parameters == recorded.parameters - scales


def test_it_is_split_like_a_model_and_groups_hold_together() -> None:
    devices = ["cpu", "h100-sxm"]
    free = hp.split(EXPORT, devices, seconds=1)
    held = hp.split(EXPORT, devices, seconds=1, coarsen="hsdag")
    assert not isinstance(free, hp.Infeasible)
    assert not isinstance(held, hp.Infeasible)
    assert held.value_s >= free.bound_s * (1 - 1e-9)
    assert "groups" in held.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE net [<!ENTITY a "b">]><net/>', "a document type: expected XML without one"),
        ("<net>", "expected XML, an OpenVINO IR"),
        ("<graph/>", "expected an OpenVINO IR"),
        (
            '<net><layers><layer id="0" type="Parameter"><output><port id="0" precision="FP32"><dim>-1</dim></port>'
            "</output></layer></layers><edges/></net>",
            "expected a whole number: give the model static shapes",
        ),
        (
            '<net><layers><layer id="0" type="ReLU"/></layers><edges><edge from-layer="0" to-layer="7"/></edges></net>',
            r"edges\[0\]",
        ),
        (
            '<net><layers><layer id="0" name="last" type="Result"/></layers><edges/></net>',
            "last: edges: none: expected what a Result reads",
        ),
    ],
)
def test_what_is_no_ir_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "net.xml.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(BadInput, match=said) as raised:
        hp.split(path, "cpu")
    assert "\n" not in str(raised.value)
