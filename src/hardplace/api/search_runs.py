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
    from hardplace.design.fingerprint import Fingerprint
    from hardplace.design.journal import Journal
    from hardplace.design.question import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Journalling:
    """What a journal is kept of.

    Attributes:
        file: Name of its file.
        asked: Fingerprint of what is searched.
        models: Their names.
        sought: What it is for, as `design.journal.sought` has it.
    """

    file: str
    asked: Fingerprint
    models: tuple[str, ...]
    sought: str


def journalling(
    question: Question,
    ends: StoppingRule,
    file: str = "journal.sqlite",
    sought: str = "",
    **more: float | str | None,
) -> Journalling:
    """Return what the journal of a search is kept of.

    Args:
        question: What is searched.
        ends: When it stops.
        file: Name of the file.
        sought: What it is for. Empty: the question's objective.
        more: What is asked beside the question, by name.
    """
    from hardplace.design.fingerprint import asked
    from hardplace.design.journal import sought as sought_by

    return Journalling(
        file=file,
        asked=asked(question, gap=ends.gap, **more),
        models=tuple(one.name for one in question.workloads),
        sought=sought or sought_by(question.goal),
    )


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
    kept: Journalling,
    evaluator: ChipEvaluator,
    folder: Callable[[], Path],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    fresh: bool = False,
) -> Iterator[SearchRun]:
    """Open the journal and the workers of a search.

    Args:
        kept: What is searched, and the file of its journal.
        evaluator: Evaluates what the journal does not hold.
        folder: Gives the folder of its journal, after all that can be refused.
        workers: Processes on this machine; 1: this one.
        scheduler: Address of a Dask scheduler whose workers do the work. None: none.
        fresh: Whether an old journal in the folder is forgotten.

    Raises:
        BadInput: Where the journal is of another question.
    """
    from hardplace.design.journal import Journalled, journal

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
            for name in (kept.file, f"{kept.file}-wal", f"{kept.file}-shm"):
                (place / name).unlink(missing_ok=True)
        names = ", ".join(kept.models)
        opened = stack.enter_context(journal(place / kept.file, kept.asked, names, kept.sought))
        there = Journalled(opened, evaluator, pool)
        yield SearchRun(folder=place, evaluator=there, journal=opened, models=len(kept.models))
