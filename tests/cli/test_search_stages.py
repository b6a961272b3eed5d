"""`hardplace search --per-stage`: what it writes, and what it refuses by name."""

import json
from pathlib import Path

import pytest

import hardplace as hp
from commands import command
from hardplace.design.results import StagesResult

_ASKED = (
    *("search", "opt-350m", "--per-stage", "--space", "phaze", "--area", "30", "--devices", "64", "--batch", "512"),
    *("--micro-batch", "1", "--tensor-parallel", "1", "--recompute", "none"),
)


def test_the_answer_is_printed_saved_and_read_back_and_has_a_page(tmp_path: Path) -> None:
    ended = command(*_ASKED, "--out", "found", folder=tmp_path)
    assert ended.code == 0, ended.err
    found = hp.read(tmp_path / "found/stages.json")
    assert isinstance(found, StagesResult)
    assert f"{found.score:,.5g} samples/s" in ended.out
    assert found.gap <= 0.01 * (1 + 1e-9)
    assert len(found.to_records()) == len(found.placement.stages)
    page = (tmp_path / "found/page.html").read_text(encoding="utf-8")
    assert "No plan with any chip on any stage has more than" in page
    assert "hardplace.stages(" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bert-large",), "--per-stage: 2 models: expected one"),
        (("--pareto", "throughput,tdp"), "--per-stage: not beside --pareto"),
        (("--shapes",), "--per-stage: not beside --shapes"),
        (("--objective", "throughput-per-watt"), "--per-stage: objective throughput-per-watt: expected throughput"),
        (("--workers", "2"), "--per-stage: not beside --workers"),
        (("--exhaustive",), "--per-stage: not beside --evaluations, --exhaustive"),
        (("--fresh",), "--per-stage: not beside --fresh"),
        (("--fleet", "2"), "--per-stage: not beside --combine, --weights, --fleet"),
        (("--limit", "step=1s"), "--limit: step with chips per stage"),
        (("--objective", "nothing"), "--per-stage: objective nothing: expected throughput"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    ended = command("search", "opt-350m", "--per-stage", *words, folder=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_limits_that_leave_no_chip_are_infeasible(tmp_path: Path) -> None:
    asked = (*_ASKED[:-4], "--limit", "tdp=1W")
    ended = command(*asked, folder=tmp_path)
    assert (ended.code, ended.out) == (3, "")
    assert "TDP" in ended.err
    ended = command(*asked, "--json", folder=tmp_path)
    assert (ended.code, ended.err) == (3, "")
    assert "TDP" in json.loads(ended.out)["answer"]["what"]
