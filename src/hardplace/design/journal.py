"""The journal of a search: its question and every exact evaluation, in SQLite, safe against a kill at any moment.

Write-ahead log with synchronous=NORMAL: a row that was put is there after kill -9; after a loss of power the last rows
may be missing, the file is whole (sqlite.org/wal.html). Rows are JSON; its numbers are read back to the last bit.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.problem import C, Refinable, Steps
from hardplace.branch_and_bound.steps import Elsewhere, Here, Pool
from hardplace.design.exact.evaluator import ChipEvaluator, Task
from hardplace.design.fingerprint import Fingerprint
from hardplace.design.goals import UNITS, Goal
from hardplace.design.journal_rows import (
    APPLICATION,
    FORMAT,
    SEVERAL,
    batch_of,
    check_format,
    explained,
    head_of,
    outcome_of,
)
from hardplace.design.results import DesignResult, ParetoResult, SharedResult
from hardplace.design.types import Job, Outcome
from hardplace.files import dumps

_EVERY_S = 0.25  # between two records of progress
_TABLES = """
CREATE TABLE asked (field TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluations (job TEXT PRIMARY KEY, kind TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), model TEXT NOT NULL, objective TEXT NOT NULL,
  started_unix_s REAL NOT NULL, updated_unix_s REAL NOT NULL, incumbent REAL, bound REAL, stop TEXT);
"""


class Journalled:
    """An evaluator (`problem.Evaluator`) that looks into the journal first, and writes to it what it evaluates.

    With a pool, workers do the refinements; without one, this process does.
    """

    def __init__(self, journal: Journal, evaluator: ChipEvaluator, pool: Pool[Any] | None = None) -> None:
        self._journal, self._evaluator, self._pool = journal, evaluator, pool

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job, from the journal or evaluated."""
        outcome = self._journal.get(job)
        if outcome is None:
            outcome = self._evaluator.evaluate(job)
            self._journal.put(job, outcome)
        return outcome

    def steps(self, problem: Refinable[C, Job, Outcome]) -> Steps[C, Job, Outcome]:
        """Return where refinements are done: on the pool, or in this process."""
        if self._pool is None:
            return Here(problem, self)
        return Elsewhere(problem, self._evaluator, self._pool, self._journal)

    def of(self, tasks: Mapping[str, Task]) -> Journalled:
        """Return an evaluator of other models with the same journal and workers."""
        return Journalled(self._journal, self._evaluator.of(tasks), self._pool)


class Journal:
    """An open journal, with the number of evaluations that were there when it was opened."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._told_s = 0.0
        self._batch = batch_of(connection)
        (self.found,) = connection.execute("SELECT count(*) FROM evaluations").fetchone()

    def get(self, job: Job) -> Outcome | None:
        """Return the outcome of a job, or None if there is none yet."""
        with explained(self.path):
            rows = self._connection.execute("SELECT kind, outcome FROM evaluations WHERE job = ?", (_key(job),))
            row = rows.fetchone()
        return None if row is None else outcome_of(self.path, self._batch, *row)

    def put(self, job: Job, outcome: Outcome) -> None:
        """Write the outcome of a job; once this returns, a kill does not lose it."""
        kind = "infeasible" if isinstance(outcome, Infeasible) else "evaluation"
        row = (_key(job), kind, dumps(outcome, compact=True))
        with explained(self.path):
            self._connection.execute("INSERT OR IGNORE INTO evaluations VALUES (?, ?, ?)", row)

    def end(self, answer: DesignResult | ParetoResult | SharedResult | Infeasible) -> None:
        """Write how the search ended."""
        if isinstance(answer, Infeasible):
            self.tell(None, None, "infeasible")
        elif isinstance(answer, ParetoResult):
            self.tell(1.0, 1.0 + answer.gap, answer.stop.value)
        else:
            self.tell(answer.score, answer.bound, answer.stop.value)

    def tell(self, incumbent: float | None, bound: float | None, stop: str | None = None) -> None:
        """Write incumbent and bound, at most four times a second, and always when the search stops."""
        now = time.time()
        if stop is None and now - self._told_s < _EVERY_S:
            return
        self._told_s = now
        with explained(self.path):
            self._connection.execute(
                "UPDATE state SET updated_unix_s = ?, incumbent = ?, bound = ?, stop = ?", (now, incumbent, bound, stop)
            )


@contextmanager
def journal(path: Path, question: Fingerprint, model: str, objective: str) -> Iterator[Journal]:
    """Open the journal of a question, or create it.

    Args:
        path: The file.
        question: Fingerprint of the question.
        model: Name of the model.
        objective: What the search is for, as `sought` has it.

    Raises:
        BadInput: If it holds another question, naming what changed, or is damaged.
    """
    with explained(path):
        connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        try:
            version, tables = head_of(connection)
            if not version and not tables:
                _make(connection, question, model, objective)
            else:
                check_format(path, connection, question)
            opened = Journal(path, connection)
        except BaseException:
            connection.close()
            raise
    try:
        yield opened
    finally:
        connection.close()


def sought(goal: Goal) -> str:
    """Return what a journal says that its search is for: the unit of the only objective, or words."""
    if len(goal.objectives) > 1:
        return SEVERAL.join(goal.objectives)
    (objective,) = goal.objectives
    return f"{goal.combine} combination of {objective}" if len(goal.norms) > 1 else UNITS[objective][0]


def _key(job: Job) -> str:
    return dumps(job, compact=True)


def _make(connection: sqlite3.Connection, question: Fingerprint, model: str, objective: str) -> None:
    """Lay out the tables in one transaction: a kill leaves them all or none."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    if head_of(connection) != (0, 0):  # another process was first
        connection.execute("ROLLBACK")
        return
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    rows = [(field, json.dumps(value)) for field, value in question.items()]
    connection.executemany("INSERT INTO asked VALUES (?, ?)", rows)
    now = time.time()
    connection.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?, NULL, NULL, NULL)", (model, objective, now, now))
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
