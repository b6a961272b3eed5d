"""What a page says about getting its answer again: calls that can be made, data that are those of the answer."""

from __future__ import annotations

import base64
import csv
import inspect
import io
import json
from typing import Any

import pytest

import hardplace as hp
from hardplace.report.reproduce import call_of, reproduction

ASKED: dict[str, Any] = {
    "models": ["opt-350m"], "setting": "hbm3", "node": None, "space": "phaze", "devices": 8, "batch": 32,
    "limits": {"area": 20.0}, "memory": [], "micro_batch": [1], "tensor": [1], "recompute": [],
    "objectives": ["throughput"], "combine": None, "weights": None, "fleet": 1, "gap": 0.01, "seconds": None,
}  # fmt: skip


@pytest.mark.parametrize("function", ["search", "frontier", "share"])
def test_the_call_of_a_search_is_one(function: str) -> None:
    """As the command line keeps its question: of one model or several."""
    made: list[inspect.BoundArguments] = []

    class Asked:
        def __getattr__(self, name: str) -> Any:
            return lambda **given: made.append(inspect.signature(getattr(hp, name)).bind(**given))

    eval(call_of(function, ASKED), {"hardplace": Asked()})
    (bound,) = made
    assert bound.arguments["limits"] == {"area": 20.0}
    assert bound.arguments.get("model", bound.arguments.get("models")) in ("opt-350m", ["opt-350m"])


def test_the_call_of_a_placement_gives_the_answer_and_its_data_again() -> None:
    found = hp.place("opt-350m", "h100-sxm", 8, batch=16, fixed={"tensor": (1, 2), "zero": 1, "recompute": "none"})
    again = reproduction(found, "hardplace place")
    same = eval(again.python, {"hardplace": hp})
    assert [one.step_s for one in same.best] == [one.step_s for one in found.best]
    table, whole = (base64.b64decode(file.href.partition("base64,")[2]).decode() for file in again.files)
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [float(row["step_s"]) for row in rows] == [one.step_s for one in found.best]
    assert json.loads(whole)["answer"]["bound_s"] == found.bound_s
