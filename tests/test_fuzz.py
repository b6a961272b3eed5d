"""Fifty mutants of every kind of file: an answer, or one line that is safe to print and code 2; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing import KINDS, Kind, complaint, tried


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_mutant_is_answered_or_refused_in_one_line(kind: Kind, tmp_path: Path) -> None:
    seen = set()
    for seed in range(50):
        words, ended = tried(kind, seed, tmp_path / "case")
        assert not complaint(ended), (seed, words, ended)
        assert f"{kind.file}: {kind.file}:" not in ended.err, "a file is named once"
        seen.add(ended.code)
    assert 2 in seen
