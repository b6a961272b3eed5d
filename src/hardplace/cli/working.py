"""Where a search does its exact evaluations, and the journal that keeps them: options of `hardplace search`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.search.journal import Journal
    from hardplace.search.loop import Evaluator
    from hardplace.search.question import Question
    from hardplace.search.steps import Pool
    from hardplace.search.types import Progress
    from hardplace.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Processes on this machine (1: this one), or the address of a Dask scheduler; fresh: forget an old journal."""

    workers: int
    scheduler: str | None
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a search is given: where it evaluates, and the journal that is told how far it is."""

    evaluator: Evaluator
    journal: Journal

    def reporting(self, report: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Return a report that goes to the journal too."""

        def both(now: Progress) -> None:
            self.journal.tell(now.score or None, now.bound)
            report(now)

        return both


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of Where to a command, which takes it as `where`."""
    from functools import wraps

    @wraps(command)
    def with_where(*, workers: int, scheduler: str | None, fresh: bool, **rest: Any) -> None:
        if scheduler is not None and workers > 1:
            raise BadInput("--workers: not beside --scheduler, whose workers do the work; expected one of both")
        command(where=Where(workers=workers, scheduler=scheduler, fresh=fresh), **rest)

    for option in (
        click.option("--fresh", is_flag=True, help="Forget what an earlier run in the folder evaluated."),
        click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work."),
        click.option(
            "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that do the work."
        ),
    ):
        with_where = option(with_where)
    return with_where


def models_name(workload: Workload) -> str:
    """Return a model's name as a part of a path."""
    return workload.name.replace("/", "-")


def own_folder(name: str, same: Callable[[Path], bool | None]) -> Path:
    """Return hardplace-out/NAME, or the first of NAME-2, NAME-3, ... that is of the same run, or of none.

    same: whether a folder is of this run; None where no run has left anything in it.
    """
    for number in count(1):
        folder = Path("hardplace-out") / (name if number == 1 else f"{name}-{number}")
        if same(folder) is not False:
            return folder
    raise AssertionError


def journalled(question: Question, gap: float) -> Callable[[Path], bool | None]:
    """Return what tells whether a folder's journal asks a question; None where there is no journal."""
    from hardplace.search.asked import asked
    from hardplace.search.journal import FILE, changed

    mine = asked(question, gap=gap)

    def same(folder: Path) -> bool | None:
        return not changed(folder / FILE, mine) if (folder / FILE).exists() else None

    return same


@contextmanager
def working(question: Question, gap: float, folder: Path, where: Where, unit: str = "samples/s") -> Iterator[Work]:
    """Open the folder's journal and the workers of a search; BadInput if the journal is of another question."""
    from hardplace.search.asked import asked
    from hardplace.search.exact import in_process
    from hardplace.search.journal import FILE, Journalled, journal

    with ExitStack() as stack:
        pool: Pool[Any] | None = None
        if where.scheduler is not None:
            from hardplace.search.distributed import Dask

            pool = stack.enter_context(Dask(where.scheduler))
        elif where.workers > 1:
            from hardplace.search.processes import Processes

            pool = stack.enter_context(Processes(where.workers))
        folder.mkdir(parents=True, exist_ok=True)
        if where.fresh:
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                (folder / name).unlink(missing_ok=True)
        opened = stack.enter_context(
            journal(folder / FILE, asked(question, gap=gap), ", ".join(one.name for one in question.workloads), unit)
        )
        yield Work(evaluator=Journalled(opened, in_process(question, gap), pool), journal=opened)
