"""A search at work: its folder, its journal, and the processes that evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hardplace.branch_and_bound.steps import Pool
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.journal import Journal
    from hardplace.design.question import Question


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


@contextmanager
def search_run(
    question: Question,
    ends: StoppingRule,
    folder: Callable[[], Path],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    fresh: bool = False,
) -> Iterator[SearchRun]:
    """Open the journal and the workers of a search.

    Args:
        question: What is searched.
        ends: When it stops.
        folder: Gives the folder of its journal, after all that can be refused.
        workers: Processes on this machine; 1: this one.
        scheduler: Address of a Dask scheduler whose workers do the work. None: none.
        fresh: Whether an old journal in the folder is forgotten.

    Raises:
        BadInput: Where the journal is of another question.
    """
    from hardplace.branch_and_bound.loop import deadline_of
    from hardplace.design.exact.evaluator import in_process
    from hardplace.design.fingerprint import asked
    from hardplace.design.journal import Journalled, journal, sought
    from hardplace.design.journal_rows import FILE

    gap, deadline = ends.gap, deadline_of(ends)
    with ExitStack() as stack:
        pool: Pool[Any] | None = None
        if scheduler is not None:
            from hardplace.branch_and_bound.distributed import Dask

            pool = stack.enter_context(Dask(scheduler))
        elif workers > 1:
            from hardplace.branch_and_bound.processes import Processes

            pool = stack.enter_context(Processes(workers))
        place = folder()
        if fresh:
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                (place / name).unlink(missing_ok=True)
        names = ", ".join(one.name for one in question.workloads)
        opened = stack.enter_context(journal(place / FILE, asked(question, gap=gap), names, sought(question.goal)))
        evaluator = Journalled(opened, in_process(question, gap, deadline=deadline), pool)
        yield SearchRun(folder=place, evaluator=evaluator, journal=opened, models=len(question.workloads))
