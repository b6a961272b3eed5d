"""Where a search does its exact evaluations, and the journal that keeps them: options of `hardplace search`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli import folders
from hardplace.cli.options import gathered
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.branch_and_bound.steps import Pool
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.journal import Journal
    from hardplace.design.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Processes on this machine (1: this one), or the address of a Dask scheduler; fresh: forget an old journal."""

    workers: int
    scheduler: str | None
    fresh: bool

    def __post_init__(self) -> None:
        """Raise BadInput for both."""
        if self.scheduler is not None and self.workers > 1:
            raise BadInput("--workers: not beside --scheduler, whose workers do the work; expected one of both")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRun:
    """What a search is given: its folder, where it evaluates, and the journal that is told how far it is."""

    folder: Path
    evaluator: ChipEvaluator
    journal: Journal
    models: int

    def reporting(self, report: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Return a report that goes to the journal too: of several models, that it goes on, since each is searched
        alone first, in another unit than the combination's."""

        def both(now: Progress) -> None:
            if self.models > 1:
                self.journal.tell(None, None)
            else:
                self.journal.tell(now.score or None, now.bound)
            report(now)

        return both


where_options = gathered(
    "where",
    Where,
    click.option(
        "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that do the work."
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work."),
    click.option("--fresh", is_flag=True, help="Forget what an earlier run in the folder evaluated."),
)


def search_folder(question: Question, gap: float, out: Path | None, where: Where) -> Path:
    """Return the folder of a search, which its journal or its record says that it is."""
    from hardplace.design.fingerprint import asked
    from hardplace.design.journal_rows import FILE, changed

    mine = asked(question, gap=gap)

    def same(folder: Path) -> bool | None:
        if out is not None and where.fresh:
            return None  # its journal is forgotten
        return not changed(folder / FILE, mine) if (folder / FILE).exists() else None

    name = "-".join(one.name for one in question.workloads)
    return folders.folder_of(name, out, verb="search", asked=mine, same=same)


@contextmanager
def working(question: Question, ends: StoppingRule, out: Path | None, where: Where) -> Iterator[SearchRun]:
    """Open the journal and the workers of a search; BadInput if the journal is of another question."""
    from hardplace.branch_and_bound.loop import Deadline
    from hardplace.design.exact.evaluator import in_process
    from hardplace.design.fingerprint import asked
    from hardplace.design.journal import Journalled, journal, sought
    from hardplace.design.journal_rows import FILE

    gap, deadline = ends.gap, Deadline(limit_s=ends.limit_s)
    with ExitStack() as stack:
        pool: Pool[Any] | None = None
        if where.scheduler is not None:
            from hardplace.branch_and_bound.distributed import Dask

            pool = stack.enter_context(Dask(where.scheduler))
        elif where.workers > 1:
            from hardplace.branch_and_bound.processes import Processes

            pool = stack.enter_context(Processes(where.workers))
        folder = search_folder(question, gap, out, where)  # after all that can be refused
        if where.fresh:
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                (folder / name).unlink(missing_ok=True)
        names = ", ".join(one.name for one in question.workloads)
        opened = stack.enter_context(journal(folder / FILE, asked(question, gap=gap), names, sought(question.goal)))
        evaluator = Journalled(opened, in_process(question, gap, deadline=deadline), pool)
        yield SearchRun(folder=folder, evaluator=evaluator, journal=opened, models=len(question.workloads))
