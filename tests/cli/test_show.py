"""`hardplace show` as a user meets it: with exit codes, streams and files."""

import json
from pathlib import Path

import pytest

from commands import Ended, command
from hardplace.files import write
from hardplace.workload.load import load


def hardplace(*arguments: str, folder: Path) -> Ended:
    return command(*arguments, folder=folder)


@pytest.mark.parametrize("model", ["llama3-405b", "resnet-50", "inception-v3"])
def test_a_model_fits_a_screen_and_is_drawn(model: str, tmp_path: Path) -> None:
    done = hardplace("show", model, folder=tmp_path)
    assert done.code == 0, done.err
    workload = load(model)
    for word in (f"{workload.parameters:,} parameters", workload.source, workload.command, "heaviest by FLOPs"):
        assert word in done.out
    assert len(done.out.splitlines()) <= 65
    page = (tmp_path / "hardplace-out" / model / "workload.html").read_text()
    assert "<svg" in page
    assert all(f"<th>{layer.name}</th>" in page for layer in workload.layers)


def test_json_is_all_of_standard_output_and_writes_nothing(tmp_path: Path) -> None:
    done = hardplace("show", "mixtral-8x7b", "--expert-parallel", "4", "--micro-batch", "2", "--json", folder=tmp_path)
    found = json.loads(done.out)["answer"]
    workload = load("mixtral-8x7b")
    assert found["parameters"] == workload.parameters
    assert found["parallelism"] == {"tensor": 1, "sequence": False, "context": 1, "expert": 4, "whole_experts": False}
    block = next(layer for layer in found["layers"] if layer["name"] == "block")
    experts = 8 * 3 * 4096 * 14336
    assert block["parameters"] == workload.layers[1].parameters - experts * 3 // 4
    assert block["collectives"] > 0
    assert sum(kind["flops_share"] for kind in found["kinds"]) == pytest.approx(1)
    assert not list(tmp_path.iterdir())


def test_a_layer_s_operators_are_listed_from_a_file(tmp_path: Path) -> None:
    write(tmp_path / "mine.json.gz", load("u-net"))
    done = hardplace("show", "mine.json.gz", "--layer", "decoder 1", "--out", "here", folder=tmp_path)
    assert done.code == 0, done.err
    operators = [one for one in load("u-net").layers[5].operators if one.kind != "view"]
    assert f"{len(operators)} operators" in done.out
    table = done.out.splitlines()[2:-2]
    assert len(table) == len(operators)
    for line, operator in zip(table, operators, strict=True):
        assert operator.name in line
        assert operator.phase.value in line
    assert "Every operator of decoder 1" in (tmp_path / "here/workload.html").read_text()
    done = hardplace("show", "u-net", "--layer", "decoder 1", "--json", folder=tmp_path)
    assert len(json.loads(done.out)["answer"]["operators"]) == len(operators)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lama2-7b",), ["lama2-7b", "llama2-7b"]),
        (("nowhere.json",), ["nowhere.json", "cannot be read"]),
        (("llama2-7b", "--layer", "blok"), ["layer of llama2-7b 'blok'", "block"]),
        (("llama2-7b", "--tensor-parallel", "0"), ["--tensor-parallel", "0"]),
        (("llama2-7b", "--tensor-parallel", "two"), ["--tensor-parallel", "two"]),
        (("llama2-7b", "--expert-parallel", "-1"), ["--expert-parallel", "-1"]),
        (("llama2-7b", "--micro-batch", "0"), ["--micro-batch", "0"]),
        (("llama2-7b", "--tensor-parallel", "7"), ["--tensor-parallel: 7", "divides nothing", "such as 2"]),
        (("gpt2-xl", "--tensor-parallel", "3"), ["--tensor-parallel: 3", "divides nothing"]),
        (("llama2-7b", "--expert-parallel", "2"), ["--expert-parallel: 2", "divides nothing", "experts"]),
        (("llama2-7b", "--sequence-parallel"), ["--sequence-parallel", "tensor-parallel"]),
        (("llama2-7b", "--context-parallel", "3"), ["--context-parallel: 3", "4,096"]),
        (("u-net", "--context-parallel", "2"), ["--context-parallel: 2", "sequence_length 1"]),
        (("u-net", "--tensor-parallel", "2", "--sequence-parallel"), ["--sequence-parallel", "sequence_length 1"]),
        (("llama2-7b", "--out", "/dev/null/here"), ["/dev/null"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    done = hardplace("show", *arguments, folder=tmp_path)
    assert done.code == 2, done.out
    assert done.out == ""
    assert done.err.startswith("hardplace: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err
