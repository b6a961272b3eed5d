"""Names are printed as they are, also where rich would take them for markup or an emoji."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import hardplace.cli  # joins the verbs
from hardplace.cli.app import app
from hardplace.files import write
from hardplace.workload.load import load

assert hardplace.cli
NAME = "odd [/model] :bug:"


@pytest.mark.parametrize(
    "command",
    [
        "search FILE --space phaze --area 30 --micro-batch 1 --tensor-parallel 1 --devices 64 --batch 512",
        "compare FILE --strategy random --evaluations 1 --area 30 --devices 8 --batch 64",
        "schedule FILE --chip 8x128x128-2x128-128MiB --phase forward",
        "show FILE",
        "show FILE --layer block",
        "estimate FILE --operators --on tpu-v4",
        "audit FILE --device h100-sxm",
        "place FILE --device h100-sxm --devices 8 --batch 8 --fix tensor=1 --fix zero=0",
    ],
)
def test_a_name_is_no_markup(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path(f"{NAME}.json.gz".replace("/", "-"))
    write(file, replace(load("opt-350m"), name=NAME))
    words = [str(file) if word == "FILE" else word for word in command.split()]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert (str(file) if words[0] == "place" else NAME) in done.stdout
