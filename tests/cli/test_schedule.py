"""`hardplace schedule` as a user meets it."""

import json
from pathlib import Path

import pytest

import hardplace as hp
from cli.test_search import hardplace


def test_it_prints_the_makespan_and_writes_page_and_trace(tmp_path: Path) -> None:
    chip = "8x128x128-2x128-128MiB"
    done = hardplace("schedule", "bert-large", "--chip", chip, "--seconds", "5", "--splits", folder=tmp_path)
    assert done.code == 0, done.err
    for word in ("forward", "backward", "makespan", "tensor cores busy", "gap", "trace.json"):
        assert word in done.out
    folder = tmp_path / "hardplace-out/bert-large-schedule"
    report = hp.read(folder / "schedule.json")
    assert report.chip.name == chip
    assert all(one.phase.schedule.gap <= 0.05 for one in report.passes)
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert "<title>hardplace: bert-large" in (folder / "page.html").read_text()


def test_json_and_the_other_way_to_write_a_chip(tmp_path: Path) -> None:
    arguments = (
        "--chip",
        "16x128x128+128x128,2MiB",
        "--phase",
        "recompute",
        "--rule",
        "sharing",
        "--json",
        "--trace",
        "t.pftrace",
    )
    done = hardplace("schedule", "opt-350m", *arguments, "--out", "here", folder=tmp_path)
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads((tmp_path / "here/schedule.json").read_text())
    assert (tmp_path / "t.pftrace").stat().st_size > 1000
    assert json.loads(done.out)["answer"]["chip"]["name"] == "16x128x128-128x128-2MiB"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--chip", "8x128"), ["--chip", "8x128", "8x128x128-2x128-128MiB"]),
        (("--chip", "0x128x128-2x128-4MiB"), ["--chip", "0x128x128-2x128-4MiB"]),
        (("--chip", "8x128x128-2x128-5MiB"), ["--chip", "5MiB", "buffer"]),
        (("--chip", "8x128x128-2x128-4MiB", "--layer", "blok"), ["layer 'blok'", "block"]),
        (("--chip", "8x128x128-2x128-4MiB", "--tensor-parallel", "3"), ["--tensor-parallel", "3"]),
        (("--chip", "8x128x128-2x128-4MiB", "--rule", "none"), ["--rule", "sharing"]),
        ((), ["--chip"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    done = hardplace("schedule", "bert-large", *arguments, folder=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err
    assert not list(tmp_path.iterdir())
