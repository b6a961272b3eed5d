"""The rows of a journal, read and checked: a damaged row is one line that names it."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from hardplace.answers import Infeasible
from hardplace.certificate import gap_of
from hardplace.design.consistency import contradictions
from hardplace.design.fingerprint import Fingerprint, difference
from hardplace.design.goals import of_unit, shown
from hardplace.design.types import Evaluation, Job, Outcome
from hardplace.errors import BadInput, shortened
from hardplace.files import parse, parse_json

FILE = "journal.sqlite"
FILES = {FILE: "search", "shapes.sqlite": "search-shapes", "compare.sqlite": "compare"}  # of what record in the folder
FORMAT = 1  # of the tables below
APPLICATION = 0x68706C63  # "hplc": what `file` and PRAGMA application_id tell a journal by
SEVERAL = " and "  # between objectives of a frontier, which has no one value
_KINDS: dict[str, type[Evaluation] | type[Infeasible]] = {"evaluation": Evaluation, "infeasible": Infeasible}
_TEXT, _NUMBER, _PERHAPS_NUMBER, _PERHAPS_TEXT = (str,), (int, float), (int, float, type(None)), (str, type(None))
_EXPECTED = {_TEXT: "a text", _NUMBER: "a number", _PERHAPS_NUMBER: "a number or nothing", _PERHAPS_TEXT: "a text"}
_STATE = {
    "model": _TEXT,
    "objective": _TEXT,
    "updated_unix_s": _NUMBER,
    "incumbent": _PERHAPS_NUMBER,
    "bound": _PERHAPS_NUMBER,
    "stop": _PERHAPS_TEXT,
}
_LAST_UNIX_S = 253402300800.0  # the year 10000
_ROUNDING = 1e-9  # of a value and its bound
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSummary:
    """The summary of a journal: objective, incumbent and bound.

    Attributes:
        path: The file.
        verb: The command that wrote it.
        model: Name of the model.
        objective: What the search is for.
        unit: Unit of incumbent and bound; "" where they have none.
        incumbent: Value as people read it; None before a first one, and for several objectives.
        bound: Bound as people read it (where less is better, the smaller one).
        gap: Share by which the best of the space can be better than the incumbent at most.
        evaluations: Number of exact evaluations.
        stop: Why the search ended; None while it goes on, and after a kill.
        updated_unix_s: Time of the last change, seconds since 1970.
    """

    path: str
    verb: str = "search"
    model: str
    objective: str
    unit: str
    incumbent: float | None
    bound: float | None
    gap: float | None
    evaluations: int
    stop: str | None
    updated_unix_s: float


def changed(path: Path, question: Fingerprint) -> list[str] | None:
    """Return what differs between an existing journal's question and this one, a text for each field; None where it
    was just begun, by another process maybe, and does not yet say what it was asked.
    """
    with _opened(path) as connection:
        if head_of(connection) == (0, 0):
            return None
        check_format(path, connection, None)
        (told,) = connection.execute("SELECT count(*) FROM asked").fetchone()
        return _others(path, connection, question) if told else None


def run(path: Path) -> JournalSummary:
    """Return the summary of a journal.

    Raises:
        BadInput: One line, for one that is damaged.
    """
    with _opened(path) as connection:
        check_format(path, connection, None)
        row = connection.execute(
            "SELECT model, objective, updated_unix_s, incumbent, bound, stop FROM state"
        ).fetchone()
        (count,) = connection.execute("SELECT count(*) FROM evaluations").fetchone()
    model, told, updated, score, bound, stop = _state(path, row)
    objective = of_unit(told)
    several = SEVERAL in told

    def read(value: float | None) -> float | None:
        if not value or not math.isfinite(value):
            return None
        return value if objective is None else shown(objective, value)

    return JournalSummary(
        path=str(path),
        verb=FILES.get(path.name, "search").partition("-")[0],
        model=model,
        objective=told if objective is None else objective.value,
        unit="" if objective is None else told,
        incumbent=None if several else read(score),
        bound=None if several else read(bound),
        gap=gap_of(score, bound) if bound and score and math.isfinite(bound) else None,
        evaluations=count,
        stop=stop,
        updated_unix_s=updated,
    )


def evaluations(path: Path) -> Iterator[tuple[Job, Outcome]]:
    """Yield every job and its outcome, in the order in which they were written."""
    with _opened(path) as connection:
        check_format(path, connection, None)
        batch = batch_of(connection)
        for job, kind, outcome in connection.execute("SELECT job, kind, outcome FROM evaluations ORDER BY rowid"):
            yield parse(_text(path, "job", job), Job, path), outcome_of(path, batch, kind, outcome)


def _state(path: Path, row: Any) -> tuple[str, str, float, float | None, float | None, str | None]:
    """Return where a run stands, checked: a damaged row is no answer."""
    if row is None:
        raise BadInput(f"{path}: state: no row: expected a whole journal of hardplace")
    for (name, kinds), value in zip(_STATE.items(), row, strict=True):
        sound = isinstance(value, kinds) and not (isinstance(value, float) and math.isnan(value))
        if not sound:
            raise BadInput(f"{path}: state: {name}: {shortened(repr(value))}: expected {_EXPECTED[kinds]}")
    model, told, updated, score, bound, stop = row
    if not 0 <= updated < _LAST_UNIX_S:
        raise BadInput(f"{path}: state: updated_unix_s: {updated!r}: expected seconds since 1970")
    if score is not None and score < 0:
        raise BadInput(f"{path}: state: incumbent: {score!r}: expected no negative number")
    if score and bound is not None and bound < score * (1.0 - _ROUNDING):
        raise BadInput(f"{path}: state: bound: {bound!r}: expected no less than the incumbent, {score!r}")
    return model, told, updated, score, bound, stop


def batch_of(connection: sqlite3.Connection) -> int | None:
    """Return the global batch of a journal's question, in samples; None where it does not say."""
    row = connection.execute("SELECT value FROM asked WHERE field = 'setting.batch_samples'").fetchone()
    return int(row[0]) if row and isinstance(row[0], str) and re.fullmatch("[0-9]{1,18}", row[0]) else None


def _text(path: Path, field: str, value: object) -> str:
    """Return a cell that must be a text."""
    if not isinstance(value, str):
        raise BadInput(f"{path}: evaluations: {field}: {shortened(repr(value))}: expected a text")
    return value


def outcome_of(path: Path, batch: int | None, kind: object, outcome: object) -> Outcome:
    """Return an outcome from its cells, checked against itself: its throughput is that of its step, its bound no
    less.
    """
    if kind not in _KINDS:
        raise BadInput(f"{path}: evaluations: kind: {shortened(repr(kind))}: expected one of {', '.join(_KINDS)}")
    found: Outcome = parse(_text(path, "outcome", outcome), _KINDS[str(kind)], path)
    if isinstance(found, Evaluation):
        rate, step_s, bound = found.samples_per_s, found.placement.batch_s, found.bound_samples_per_s
        place = f"{path}: evaluations: {found.chip.name}: {rate:g} samples/s"
        if not (rate > 0 and step_s > 0) or (
            batch is not None and not math.isclose(rate * step_s, batch, rel_tol=1e-6)
        ):
            raise BadInput(f"{place} beside a step of {step_s:g} s: expected {batch} samples a step")
        if bound < rate * (1.0 - _ROUNDING):
            raise BadInput(f"{place} above its bound of {bound:g}: expected no more")
        for said in contradictions(found):
            raise BadInput(f"{path}: evaluations: {found.chip.name}: {said}: expected what can be true together")
    return found


def head_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the number of the format and of tables; 0 and 0 in a new file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return version, tables


def check_format(path: Path, connection: sqlite3.Connection, question: Fingerprint | None) -> None:
    """Check that a file is a journal of this format and, if one is given, of this question.

    Raises:
        BadInput: If it is not.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version, _ = head_of(connection)
    if application != APPLICATION:
        raise BadInput(f"{path}: expected a journal of hardplace; it is another program's database")
    if version != FORMAT:
        raise BadInput(f"{path}: a journal of format {version}; expected {FORMAT}, which this version reads")
    if question is None:
        return
    connection.execute("PRAGMA synchronous = NORMAL")
    others = _others(path, connection, question)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise BadInput(
            str(path),
            f"the journal of another run: {'; '.join(others[:3])}{more}",
            "another folder (out), or to forget it and start over (fresh)",
        )


def _others(path: Path, connection: sqlite3.Connection, question: Fingerprint) -> list[str]:
    """Return what a journal was asked otherwise."""
    before = {}
    for field, value in connection.execute("SELECT field, value FROM asked"):
        try:
            before[str(field)] = parse_json(str(value), path)
        except BadInput:
            told = f"asked: {field}: {shortened(repr(value))}: damaged"
            expected = "JSON; another folder (out), or to forget it and start over (fresh)"
            raise BadInput(str(path), told, expected) from None
    return difference(before, json.loads(json.dumps(question)))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a journal to read it: what is written nobody sees, and no file is left beside it.

    Without a write-ahead log it is read as it lies (a reader would make the log's files); beside a log alone, as a copy
    may leave it, in a copy.
    """
    log, shared = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    with explained(path), TemporaryDirectory() as aside:
        where, how = path, "mode=ro"
        if not log.exists():
            how = "mode=ro&immutable=1"
        elif not shared.exists():
            where = Path(aside) / path.name
            copyfile(path, where)
            copyfile(log, where.with_name(log.name))
        connection = sqlite3.connect(f"{where.absolute().as_uri()}?{how}", uri=True, timeout=60.0)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line of bad input that is safe to print."""
    try:
        yield
    except sqlite3.Error as problem:
        code = getattr(problem, "sqlite_errorcode", 0) & 0xFF
        if code in _FULL:
            raise BadInput(
                f"{path}: cannot be written ({problem}): is the disk full? What it holds is safe: make room and start "
                "again with the same command"
            ) from None
        raise BadInput(f"{path}: expected a journal of hardplace: {problem}") from None
