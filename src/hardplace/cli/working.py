"""Where a search does its exact evaluations, and its folder: options of `hardplace search`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hardplace.cli import folders
from hardplace.cli.options import gathered
from hardplace.errors import BadInput

if TYPE_CHECKING:
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
        other = changed(folder / FILE, mine) if (folder / FILE).exists() else None
        return None if other is None else not other

    name = "-".join(one.name for one in question.workloads)
    return folders.folder_of(name, out, verb="search", asked=mine, same=same)
