"""`hardplace compare` as a user meets it: what its journal refuses."""

import json
from pathlib import Path

import pytest

from commands import command

_ASKED = (
    *("compare", "opt-350m", "--strategy", "random", "--area", "20", "--devices", "64", "--batch", "512"),
    *("--out", "found", "--evaluations"),
)


def test_the_journal_of_another_comparison_is_refused_by_what_differs(tmp_path: Path) -> None:
    assert command(*_ASKED, "1", folder=tmp_path).code == 0
    before = (tmp_path / "found/compare.json").read_bytes()
    (listed,) = json.loads(command("runs", "found", "--json", folder=tmp_path).out)["answer"]
    assert (Path(listed["path"]).name, listed["verb"]) == ("compare.sqlite", "compare")
    assert listed["evaluations"] > 0
    assert listed["incumbent"] == pytest.approx(json.loads(before)["answer"]["certified"]["score"], rel=1e-9)
    assert listed["stop"] in ("optimal", "gap reached", "schedule solver stopped")
    ended = command(*_ASKED, "2", "--seed", "3", folder=tmp_path)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "compare.sqlite: the journal of another run: evaluations was 1, now 2; seed was 0, now 3" in line
    assert "(--fresh)" in line
    assert (tmp_path / "found/compare.json").read_bytes() == before
