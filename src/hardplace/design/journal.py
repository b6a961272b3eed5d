"""The journal of a run: what it was asked and every exact evaluation, in SQLite, safe against a kill at any moment.

Write-ahead log with synchronous=NORMAL: a row that was put is there after kill -9; after a loss of power the last rows
may be missing, the file is whole (sqlite.org/wal.html). Rows are JSON; its numbers are read back to the last bit.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardplace.branch_and_bound.loop import C, Problem, Steps
from hardplace.branch_and_bound.steps import Elsewhere, Here, Pool
from hardplace.design.exact.evaluator import ChipEvaluator
from hardplace.design.fingerprint import Fingerprint, difference
from hardplace.design.goals import UNITS, Goal, of_unit, shown
from hardplace.design.partition.types import Infeasible
from hardplace.design.types import DesignResult, Evaluation, Job, Outcome, ParetoResult, SharedResult
from hardplace.errors import BadInput
from hardplace.files import dumps, parse

FILE = "journal.sqlite"
_FORMAT = 1  # of the tables below
_APPLICATION = 0x68706C63  # "hplc": what `file` and PRAGMA application_id tell a journal by
_SEVERAL = " and "  # between objectives of a frontier, which has no one value
_EVERY_S = 0.25  # between two records of progress
_TABLES = """
CREATE TABLE asked (field TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluations (job TEXT PRIMARY KEY, kind TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), model TEXT NOT NULL, objective TEXT NOT NULL,
  started_unix_s REAL NOT NULL, updated_unix_s REAL NOT NULL, incumbent REAL, bound REAL, stop TEXT);
"""
_KINDS: dict[str, type[Evaluation] | type[Infeasible]] = {"evaluation": Evaluation, "infeasible": Infeasible}
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSummary:
    """What a journal says of its run: objective, and the value in its unit of the incumbent and of its bound.

    incumbent, bound: as people read them (where less is better, the bound is the smaller one); None before a first one,
    and for several objectives. unit: "" where the value has none. gap: by what share the best of the space can be
    better than the incumbent at most. stop: why it ended; None while it goes on, and after a kill.
    """

    path: str
    model: str
    objective: str
    unit: str
    incumbent: float | None
    bound: float | None
    gap: float | None
    evaluations: int
    stop: str | None
    updated_unix_s: float


class Journalled:
    """An evaluator (search.loop) that asks the journal first, and keeps in it what had to be done.

    pool: workers that do refinements; None: this process does.
    """

    def __init__(self, journal: Journal, evaluator: ChipEvaluator, pool: Pool[Any] | None = None) -> None:
        self._journal, self._evaluator, self._pool = journal, evaluator, pool

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job."""
        outcome = self._journal.get(job)
        if outcome is None:
            outcome = self._evaluator.evaluate(job)
            self._journal.put(job, outcome)
        return outcome

    def steps(self, problem: Problem[C, Job, Outcome]) -> Steps[C, Job, Outcome]:
        """Return steps on the pool, or in this process."""
        if self._pool is None:
            return Here(problem, self)
        return Elsewhere(problem, self._evaluator, self._pool, self._journal)


class Journal:
    """An open journal; found: evaluations that were there when it was opened."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._told_s = 0.0
        (self.found,) = connection.execute("SELECT count(*) FROM evaluations").fetchone()

    def get(self, job: Job) -> Outcome | None:
        """Return the outcome of a job, or None if there is none yet."""
        with _explained(self.path):
            rows = self._connection.execute("SELECT kind, outcome FROM evaluations WHERE job = ?", (_key(job),))
            row = rows.fetchone()
        return None if row is None else parse(row[1], _KINDS[row[0]], self.path)

    def put(self, job: Job, outcome: Outcome) -> None:
        """Keep the outcome of a job: once this returns, a kill does not lose it."""
        kind = "infeasible" if isinstance(outcome, Infeasible) else "evaluation"
        row = (_key(job), kind, dumps(outcome, compact=True))
        with _explained(self.path):
            self._connection.execute("INSERT OR IGNORE INTO evaluations VALUES (?, ?, ?)", row)

    def end(self, answer: DesignResult | ParetoResult | SharedResult | Infeasible) -> None:
        """Record how the run ended."""
        if isinstance(answer, Infeasible):
            self.tell(None, None, "infeasible")
        elif isinstance(answer, ParetoResult):
            self.tell(1.0, 1.0 + answer.gap, answer.stop.value)
        else:
            self.tell(answer.score, answer.bound, answer.stop.value)

    def tell(self, incumbent: float | None, bound: float | None, stop: str | None = None) -> None:
        """Record where the run stands, at most four times a second, and always when it stops."""
        now = time.time()
        if stop is None and now - self._told_s < _EVERY_S:
            return
        self._told_s = now
        with _explained(self.path):
            self._connection.execute(
                "UPDATE state SET updated_unix_s = ?, incumbent = ?, bound = ?, stop = ?", (now, incumbent, bound, stop)
            )


@contextmanager
def journal(path: Path, question: Fingerprint, model: str, objective: str) -> Iterator[Journal]:
    """Open the journal of a question, or make it; BadInput if it holds another one, naming what changed.

    objective: as `sought` has it.
    """
    with _explained(path):
        connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        try:
            version, tables = _head(connection)
            if not version and not tables:
                _make(connection, question, model, objective)
            else:
                _check(path, connection, question)
            opened = Journal(path, connection)
        except BaseException:
            connection.close()
            raise
    try:
        yield opened
    finally:
        connection.close()


def sought(goal: Goal) -> str:
    """Return what a journal says that its run is for: the unit of the only objective, or words."""
    if len(goal.objectives) > 1:
        return _SEVERAL.join(goal.objectives)
    (objective,) = goal.objectives
    return f"{goal.combine} combination of {objective}" if len(goal.norms) > 1 else UNITS[objective][0]


def changed(path: Path, question: Fingerprint) -> list[str]:
    """Return what an existing journal was asked otherwise, a text for each field; nothing where it was just begun."""
    with _explained(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60.0)
        try:
            if _head(connection) == (0, 0):
                return []
            _check(path, connection, None)
            return _others(connection, question)
        finally:
            connection.close()


def run(path: Path) -> JournalSummary:
    """Return what a journal says of its run."""
    with _reading(path) as connection:
        model, told, updated, score, bound, stop = connection.execute(
            "SELECT model, objective, updated_unix_s, incumbent, bound, stop FROM state"
        ).fetchone()
        (count,) = connection.execute("SELECT count(*) FROM evaluations").fetchone()
    objective = of_unit(told)
    several = _SEVERAL in told

    def read(value: float | None) -> float | None:
        if not value or not math.isfinite(value):
            return None
        return value if objective is None else shown(objective, value)

    return JournalSummary(
        path=str(path),
        model=model,
        objective=told if objective is None else objective.value,
        unit="" if objective is None else told,
        incumbent=None if several else read(score),
        bound=None if several else read(bound),
        gap=bound / score - 1.0 if bound and score and math.isfinite(bound) else None,
        evaluations=count,
        stop=stop,
        updated_unix_s=updated,
    )


def evaluations(path: Path) -> Iterator[tuple[Job, Outcome]]:
    """Yield every job and its outcome, in the order in which they were put."""
    with _reading(path) as connection:
        for job, kind, outcome in connection.execute("SELECT job, kind, outcome FROM evaluations ORDER BY rowid"):
            yield parse(job, Job, path), parse(outcome, _KINDS[kind], path)


def _key(job: Job) -> str:
    return dumps(job, compact=True)


def _head(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the format's number and how many tables there are; none of both in a new file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return version, tables


def _make(connection: sqlite3.Connection, question: Fingerprint, model: str, objective: str) -> None:
    """Lay out the tables in one transaction: a kill leaves them all or none."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    if _head(connection) != (0, 0):  # another process was first
        connection.execute("ROLLBACK")
        return
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    rows = [(field, json.dumps(value)) for field, value in question.items()]
    connection.executemany("INSERT INTO asked VALUES (?, ?)", rows)
    now = time.time()
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, NULL, NULL, NULL)", (model, objective, now, now))
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")
    connection.execute("COMMIT")


def _check(path: Path, connection: sqlite3.Connection, question: Fingerprint | None) -> None:
    """Raise BadInput for a file that is no journal of this format, or of another question."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version, _ = _head(connection)
    if application != _APPLICATION:
        raise BadInput(f"{path}: expected a journal of hardplace; it is another program's database")
    if version != _FORMAT:
        raise BadInput(f"{path}: a journal of format {version}; expected {_FORMAT}, which this version reads")
    if question is None:
        return
    connection.execute("PRAGMA synchronous = NORMAL")
    others = _others(connection, question)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise BadInput(
            f"{path}: the journal of another run: {'; '.join(others[:3])}{more}; give --out another folder, or "
            "--fresh to forget it and start over"
        )


def _others(connection: sqlite3.Connection, question: Fingerprint) -> list[str]:
    """Return what a journal was asked otherwise."""
    before = {field: json.loads(value) for field, value in connection.execute("SELECT field, value FROM asked")}
    return difference(before, json.loads(json.dumps(question)))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with _explained(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60.0)
        try:
            _check(path, connection, None)
            yield connection
        finally:
            connection.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line that says what is safe."""
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
