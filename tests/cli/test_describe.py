"""`hardplace describe` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hardplace as hp
from commands import command
from hardplace.described.reading import FOLDER, description_names
from hardplace.errors import BadInput


def test_it_prints_parts_and_draws_them(tmp_path: Path) -> None:
    for name in description_names():
        ended = command("describe", name, folder=tmp_path)
        assert ended.code == 0, ended.err
        assert "where operands lie" in ended.out
        page = (tmp_path / f"hardplace-out/{name}/described.html").read_text()
        assert page.count("<rect") >= 5
        assert page.count('class="link"') >= 5


def test_a_layer_is_mapped_timed_simulated_and_written_out(tmp_path: Path) -> None:
    asked = ["systolic", "--set", "rows=8", "--set", "columns=8", "--layer", "product:12,20,24", "--simulate"]
    ended = command("describe", *asked, "--programs", "--json", folder=tmp_path)
    assert ended.code == 0, ended.err
    (layer,) = json.loads(ended.out)["answer"]["layers"]
    assert layer["cycles"] == layer["simulated_cycles"] >= layer["bound_cycles"]
    assert layer["macs"] == 12 * 20 * 24
    assert any("array: convolution" in line for line in layer["program"])
    shown = command("describe", *asked, folder=tmp_path).out
    assert f"{layer['cycles']:,} cycles" in shown


def test_networks_have_their_published_products_and_alike_layers_are_mapped_once() -> None:
    for name, on, macs in (("resnet-50", "eyeriss", 4.09e9), ("mobilenet", "ultratrail", 0.569e9)):
        found = hp.describe(on, network=name)
        assert not isinstance(found, hp.Infeasible)
        assert sum(row.count * row.macs for row in found.layers) == pytest.approx(macs, rel=0.005)
        assert len(found.to_records()) < 32
        assert all(row.exact for row in found.layers)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["gemini"], "unknown description 'gemini'; did you mean gemmini?"),
        (["gemmini", "--network", "resnet50"], "did you mean resnet-50"),
        (["gemmini", "--set", "dims=3"], "unknown parameter 'dims'; did you mean dim?"),
        (["gemmini", "--set", "dim=0"], "ports.dma.bytes: dim = 0: expected a whole number from 1"),
        (["gemmini", "--layer", "product:3,4"], "--layer: 'product:3,4': expected product:M,N,K"),
        (["gemmini", "--layer", "product:3,4,-5"], "of whole numbers from 1"),
        (["gemmini", "--layer", "convolution:3,8,2,5"], "a window that is not larger than the input"),
        (["gemmini", "--network", "mobilenet", "--layer", "softmax:3,4"], "either a network or layers"),
        (["gemmini", "--layer", "product:4096,4096,4096", "--simulate"], "--simulate: "),
        (["none.toml"], "none.toml: "),
    ],
)
def test_bad_input_is_one_line(asked: list[str], said: str, tmp_path: Path) -> None:
    ended = command("describe", *asked, folder=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "hardplace-out").exists()


def test_a_file_with_a_fault_is_named_with_its_field(tmp_path: Path) -> None:
    text = (FOLDER / "systolic.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("at_most = { g = 1", "at_most = { z = 1"))
    with pytest.raises(BadInput, match=r"mine.toml: unit.array.operations.convolution.at_most.z: expected one of n, g"):
        hp.describe(str(tmp_path / "mine.toml"))


def test_what_no_mapping_fits_ends_with_what_is_short(tmp_path: Path) -> None:
    ended = command("describe", "ultratrail", "--layer", "softmax:4,100000", folder=tmp_path)
    assert ended.code == 3
    assert "infeasible: softmax:4,100000: results for the smallest tiles" in ended.out


def test_a_parameter_that_varies_is_given_once(tmp_path: Path) -> None:
    ended = command("describe", "systolic", "--vary", "rows=8", "--vary", "rows=16", folder=tmp_path)
    assert ended.code == 2
    assert "--vary: 'rows=16': rows a second time" in ended.err
