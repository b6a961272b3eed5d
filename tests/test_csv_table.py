"""A CSV table: what is not apart by commas is said."""

import re

import pytest

from hardplace.csv_table import parse
from hardplace.errors import BadInput


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_that_are_not_apart_by_commas_are_said(mark):
    said = f"runs.csv: line 1: cells apart by {mark!r}: expected commas"
    with pytest.raises(BadInput, match=re.escape(said)):
        parse(f"id{mark}plan{mark}target_iter_s\na{mark}b{mark}1,5\n", "runs.csv")


def test_one_column_is_a_table():
    assert parse("time_s\n1.5\n", "runs.csv").columns == ("time_s",)
