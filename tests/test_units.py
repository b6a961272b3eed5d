"""Parsing and formatting of quantities."""

import pytest

from hardplace.errors import BadInput
from hardplace.units import format_quantity, parse_quantity


@pytest.mark.parametrize(
    "text", ["", "abc", "-3 GB", "0 B", "1 parsec", "nan", "1e999 B", "3 GB/s", "1.2.3 B", "80", "8e10", " 80 "]
)
def test_bad_quantities_name_the_place_and_the_value(text: str) -> None:
    with pytest.raises(BadInput, match="--memory"):
        parse_quantity(text, "B", "--memory")


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.96, "1.00 kB"), (1e-7, "100 nB"), (45.62e9, "45.6 GB"), (1.0, "1.00 B"), (2e21, "2000 EB")],
)
def test_format(value: float, text: str) -> None:
    assert format_quantity(value, "B") == text
