"""At 80, 100 and 120 columns every table keeps every number whole, and no line is wider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table

import hardplace.cli  # joins the verbs
from hardplace.cli.app import app
from hardplace.report.console import Screen, screen
from hardplace.report.fitting_tables import fitted

assert hardplace.cli


def run(words: str, columns: int, folder: Path) -> list[str]:
    words_ = [*words.split(), *(["--out", str(folder)] if "replan" not in words else [])]
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, [*words_, "--quiet"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


PLACE = "place llama2-7b --device h100-sxm --devices 8 --batch 16 --fix tensor=2,4 --fix zero=1 --fix recompute=none"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    return "\n".join(run(PLACE, 400, tmp_path_factory.mktemp("wide")))


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_place_keeps_its_numbers_at_any_width(columns: int, wide: str, tmp_path: Path) -> None:
    lines = run(PLACE, columns, tmp_path)
    assert max(map(cell_len, lines)) <= columns
    steps = re.findall(r"(?m)^ +\d+ +(\d\.\d{3}|\d\.\d{4}) +(\d\d\.\d\xa0%)", wide)
    assert len(steps) == 10
    text = "\n".join(lines)
    for step, mfu in steps:
        assert step in text
        assert mfu in text
    assert "…" not in text


@pytest.mark.parametrize(
    "words",
    [
        "shape gpt3-2.7b --device h100-sxm --freeze layers --freeze vocab",
        "audit gpt3-2.7b --device a100-80gb-sxm",
        "estimate opt-350m --operators --on tpu-v4",
    ],
)
def test_a_verb_fits_80_columns(words: str, tmp_path: Path) -> None:
    lines = run(words, 80, tmp_path)
    assert max(map(cell_len, lines)) <= 80
    assert "…" not in "\n".join(lines)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(40, 130),
    st.lists(
        st.lists(st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,3})?", fullmatch=True), min_size=2, max_size=2),
        min_size=1,
        max_size=14,
    ),
)
def test_every_number_of_a_table_comes_out_whole(width: int, columns: list[list[str]]) -> None:
    table = Table("name", *(f"head of {place}" for place in range(len(columns))), box=None)
    for row in range(2):
        table.add_row(f"row {row} of a table with some text", *(column[row] for column in columns))
    console = Screen(width=width, color_system=None)
    with console.capture() as printed:
        console.print(table)
    text = printed.get()
    assert max(map(cell_len, text.splitlines())) <= width
    words = text.split()
    assert all(number in words for column in columns for number in column)


def test_a_table_that_fits_is_one_block_with_its_numbers_to_the_right() -> None:
    table = Table("name", "seconds", box=None)
    table.add_row("a", "1.5")
    table.add_row("b", "10.25")
    (block,) = fitted(table, 80)
    assert [column.justify for column in block.columns] == ["left", "right"]


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "97")
    assert screen().width == 97
    monkeypatch.delenv("COLUMNS")
    assert screen().width == 120
    monkeypatch.setenv("COLUMNS", "wide")
    assert screen().width == 120
