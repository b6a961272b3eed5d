"""Options that several verbs take: what is given as NAME=VALUE."""

import click
import pytest
from click.testing import CliRunner

from hardplace.cli import options
from hardplace.cli.options import by_name
from hardplace.errors import BadInput


def test_values_come_by_name():
    assert by_name("limit", ("tdp=400W", " area = 300mm2"), "tdp=400W") == {"tdp": "400W", "area": "300mm2"}
    assert by_name("range", ("layers=1,2=3",), "") == {"layers": "1,2=3"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("tdp",), "--limit: 'tdp': expected NAME=VALUE, such as tdp=400W"),
        (("tdp=",), "--limit: 'tdp=': expected NAME=VALUE, such as tdp=400W"),
        (("=3",), "--limit: '=3': expected NAME=VALUE, such as tdp=400W"),
        (("tdp=1W", "tdp=2W"), "--limit: 'tdp=2W': tdp a second time; expected it once"),
    ],
)
def test_what_is_no_name_with_a_value_is_refused(texts, said):
    with pytest.raises(BadInput) as problem:
        by_name("limit", texts, "tdp=400W")
    assert str(problem.value) == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5%", 0.05), ("0.05", 0.05), (" 12.5 %", 0.125), ("100%", None), ("five%", None), ("nan%", None)],
)
def test_a_share_is_a_number_or_in_percent(text, expected):
    seen = []
    command = click.Command("asked", params=[], callback=lambda headroom: seen.append(headroom))
    done = CliRunner().invoke(options.headroom(command), ["--headroom", text])
    assert (done.exit_code, seen) == ((0, [pytest.approx(expected)]) if expected else (2, []))
