"""Answers: what every answer of the package can do. It prints itself, becomes records or a table, is saved and read
back.

An answer is a frozen dataclass that inherits from `Answer`. `text` and `html` are generic functions of one argument;
`report.register` adds a version for each class, so that answers do not import pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import singledispatch
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hardplace.certificate import Certificate
from hardplace.errors import BadInput
from hardplace.files import read_json, write
from hardplace.typed import typed
from hardplace.units import percent
from hardplace.version import __version__

A = TypeVar("A", bound="Answer")
_FIELDS = ("hardplace", "kind", "question", "answer", "certificate", "notes")


@singledispatch
def text(answer: object) -> str:
    """Return an answer as the terminal shows it.

    A generic function (`functools.singledispatch`): the report registers a version for each class of answer.
    """
    return object.__repr__(answer)


@singledispatch
def html(answer: object) -> str:
    """Return an answer as the body of an HTML page.

    A generic function (`functools.singledispatch`): the report registers a version for each class of answer.
    """
    return f"<pre>{object.__repr__(answer)}</pre>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Answer:
    """A frozen answer, with its question and, where something is proven, its certificate.

    Attributes:
        question: What was asked, by the names of the function's arguments, as plain values of JSON. Empty where no one
            function of `hardplace` was asked.
        title: What was asked, in words for a reader, where the question alone does not say it.
    """

    question: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    ROWS: ClassVar[str] = ""  # the field whose items are the records; "": the answer itself is the only one

    @property
    def certificate(self) -> Certificate | None:
        """Return the proof of how far from the best the answer can be; None where nothing is searched."""
        return None

    def __repr__(self) -> str:
        """Return one line: an answer may hold millions of numbers."""
        asked = ", ".join(f"{name}={value!r}" for name, value in self.question.items() if value not in (None, [], {}))
        proof = self.certificate
        return f"<{type(self).__name__} {asked}{f'; gap {percent(proof.gap, 2)}' if proof else ''}>"

    def __str__(self) -> str:
        """Return the tables and lines that the command line prints."""
        return text(self)

    def _repr_html_(self) -> str:
        return html(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return flat records of plain values, one for each row of the answer's table: plans, points, kernels, ...

        Returns:
            Dictionaries; fields of nested values have dotted names, such as `plan.tensor`. What is longer than one
            value is left out.
        """
        rows = getattr(self, self.ROWS) if self.ROWS else (self,)
        return [flat(row) for row in rows]

    def to_frame(self) -> Any:
        """Return the records as a polars DataFrame.

        Raises:
            BadInput: Without the extra `frame`.
        """
        try:
            import polars
        except ImportError:
            raise BadInput("to_frame", "needs polars", "pip install 'hardplace[frame]'") from None
        return polars.DataFrame(self.to_records(), infer_schema_length=None)

    def save(self, path: str | Path) -> None:
        """Write the answer with its question and its certificate as JSON, which `hardplace.read` gives back.

        Args:
            path: File to write, `.json` or `.json.gz`; it is there whole or not at all.
        """
        write(path, self.envelope())

    def envelope(self) -> dict[str, Any]:
        """Return what is saved.

        Returns:
            `hardplace` (version), `kind` (class), `question`, `answer`, `certificate` with its gap (or None), `notes`.
        """
        proof = self.certificate
        return {
            "hardplace": __version__,
            "kind": type(self).__name__,
            "question": self.question,
            "answer": {one.name: getattr(self, one.name) for one in fields(self) if one.name != "question"},
            "certificate": None if proof is None else proof.as_dict(),
            "notes": list(getattr(self, "notes", ())),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change that makes the model fit.

    Attributes:
        what: The change, in words.
        step_s: Seconds of a step with it.
    """

    what: str
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Infeasible(Answer):
    """The answer that nothing fits: what is short at the least demanding candidate, and what would mend it.

    Attributes:
        what: What is short, in words, such as the memory of a stage.
        needed: Amount that the least demanding candidate needs, in `unit`.
        available: Amount that there is, in `unit`.
        unit: Unit of both, such as bytes or mm2.
        remedy: What would mend it, in words.
        remedies: Changes that were tried and fit, each with the step that it leads to.
        proven: Whether it is proven that nothing fits; false: only that nothing was found in the time that there was.
    """

    what: str
    needed: float
    available: float
    unit: str
    remedy: str = ""
    remedies: tuple[Remedy, ...] = ()
    proven: bool = True


def read_answer(path: str | Path, kinds: Mapping[str, type[A]]) -> A:
    """Return a saved answer, equal to the one that was saved.

    Args:
        path: The file.
        kinds: Classes of answers by their names.

    Raises:
        BadInput: One line, for what is no saved answer, and for one of another version, which it names.
    """
    where = Path(path)
    data = read_json(where)
    missing = [name for name in _FIELDS if not isinstance(data, dict) or name not in data]
    if missing:
        raise BadInput(str(where), f"without {missing[0]}", "a file that hardplace wrote, with " + ", ".join(_FIELDS))
    if data["hardplace"] != __version__:
        raise BadInput(
            f"{where}: hardplace", f"written by version {data['hardplace']}", f"one of version {__version__}"
        )
    kind = kinds.get(str(data["kind"]))
    if kind is None:
        raise BadInput(f"{where}: kind", repr(data["kind"]), f"one of {', '.join(sorted(kinds))}")
    if not isinstance(data["answer"], dict) or not isinstance(data["question"], dict):
        raise BadInput(f"{where}: answer, question", None, "tables")
    return typed(where, {**data["answer"], "question": data["question"]}, kind)


def flat(row: Any, prefix: str = "") -> dict[str, Any]:
    """Return the single values of a dataclass under dotted names."""
    found: dict[str, Any] = {}
    for one in fields(row):
        value = getattr(row, one.name)
        if is_dataclass(value):
            found |= flat(value, f"{prefix}{one.name}.")
        elif isinstance(value, Enum):
            found[prefix + one.name] = value.value
        elif value is None or isinstance(value, bool | int | float | str):
            found[prefix + one.name] = value
    return found
