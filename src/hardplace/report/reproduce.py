"""How to get an answer again: the command, the call in Python, versions, and its data as files to save."""

from __future__ import annotations

import base64
import csv
import io
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardplace.answers import Answer
from hardplace.files import dumps
from hardplace.typed import untyped
from hardplace.version import __version__

_MOST_JSON = 600_000  # characters of JSON in a page, which stays under 2 MB; what is larger has its file beside it
_CALLS = {
    "DesignResult": "search",
    "ParetoResult": "frontier",
    "SharedResult": "share",
    "StagesResult": "stages",
    "Comparison": "compare",
    "PlacementResult": "place",
    "PlanFrontier": "plan_frontier",
    "PlanEstimate": "estimate",
    "ReplanResult": "replan",
    "Audit": "audit",
    "Ranking": "shapes",
    "OperatorEstimate": "operators",
    "SplitResult": "split",
    "LayerScheduleResult": "schedule",
    "DescribedAccelerator": "describe",
    "ParameterResult": "describe",
    "ShapeDesignResult": "codesign",
    "TablesResult": "tables",
}
_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file to save from a page: its name, where it is, what it holds."""

    name: str
    href: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What a page says about how to get its answer again; `command` and `python` are empty where they are not known."""

    command: str
    python: str
    versions: str
    files: tuple[DataFile, ...]


def reproduction(answer: Answer, command: str = "", beside: str = "") -> Reproduction:
    """Return how to get an answer again, with its data.

    Args:
        answer: The answer.
        command: The command that asked, if one did.
        beside: Name of the file beside the page that holds the whole answer, if there is one.
    """
    name = type(answer).__name__
    files = [DataFile(name="table.csv", href=_inside("text/csv", _csv(answer.to_records())), what="the table's rows")]
    whole = dumps(answer.envelope())
    if len(whole) <= _MOST_JSON:
        files.append(DataFile(name="answer.json", href=_inside("application/json", whole), what="the whole answer"))
    elif beside:
        files.append(DataFile(name=beside, href=beside, what="the whole answer, beside this page"))
    python = call_of(_CALLS.get(name, ""), answer.question)
    return Reproduction(command=command, python=python, versions=_versions(), files=tuple(files))


def reproduced(command: str, python: str, records: list[dict[str, Any]], whole: Any = None) -> Reproduction:
    """Return how to get again what is no saved answer: its rows as CSV, and all of it as JSON where it is given."""
    files = [DataFile(name="table.csv", href=_inside("text/csv", _csv(records)), what="the table's rows")]
    text = "" if whole is None else dumps(untyped(whole))
    if text and len(text) <= _MOST_JSON:
        files.append(DataFile(name="answer.json", href=_inside("application/json", text), what="all figures"))
    return Reproduction(command=command, python=python, versions=_versions(), files=tuple(files))


def _versions() -> str:
    return f"hardplace {__version__}, Python {platform.python_version()}"


def call_of(function: str, question: Mapping[str, Any]) -> str:
    """Return the call that asks a question; its names are those of the function's arguments."""
    if not function or not question:
        return ""
    question = _asked_alone(function, dict(question)) if question.get("models") else question
    given = {key: value for key, value in question.items() if value not in (None, [], {}) and _PLAIN.fullmatch(key)}
    return f"hardplace.{function}({', '.join(f'{key}={_literal(key, value)}' for key, value in given.items())})"


def _literal(key: str, value: Any) -> str:
    """Return an argument as Python has it; of a plan of other than numbers the file that holds it."""
    if key != "plan" or not isinstance(value, Mapping):
        return repr(value)
    plain = all(isinstance(one, int | float) for one in value.values())
    return f"hardplace.Plan({', '.join(f'{name}={one!r}' for name, one in value.items())})" if plain else "'plan.json'"


def _asked_alone(function: str, question: dict[str, Any]) -> dict[str, Any]:
    """Return a question of the command line, which takes one model or several, as the function takes it."""
    if function in ("search", "frontier"):
        objectives = question.pop("objectives", ["throughput"])
        question = {"model": question.pop("models")[0], **question}
        question |= {"objective": objectives[0]} if function == "search" else {"objectives": objectives}
        return {key: value for key, value in question.items() if key not in ("combine", "weights", "fleet")}
    if function == "share":
        objectives = question.pop("objectives", ["throughput"])
        return {**question, "objective": objectives[0]}
    return question


def _csv(records: list[dict[str, Any]]) -> str:
    """Return records as CSV with a row of headings."""
    names = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO()
    table = csv.DictWriter(text, tuple(names), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _cell(value) for name, value in record.items()} for record in records)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as a cell: text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _inside(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode(errors='backslashreplace')).decode()}"
