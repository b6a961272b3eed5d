"""Where a search does its refinements, and its folder: options of `search` and `compare`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli import folders
from hardplace.cli.options import gathered
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.api.search_runs import Journalling


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

    @property
    def how(self) -> dict[str, Any]:
        """Return the options as `api.search_runs.search_run` takes them."""
        return {"workers": self.workers, "scheduler": self.scheduler, "fresh": self.fresh}


where_options = gathered(
    "where",
    Where,
    click.option(
        "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that do the work."
    ),
    click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work."),
    click.option("--fresh", is_flag=True, help="Forget what an earlier run in the folder evaluated."),
)


def search_folder(kept: Journalling, out: Path | None, where: Where, verb: str = "search") -> Path:
    """Return the folder of a search, which its journal or its record says that it is."""
    from hardplace.design.journal_rows import changed

    def same(folder: Path) -> bool | None:
        if out is not None and where.fresh:
            return None  # its journal is forgotten
        file = folder / kept.file
        other = changed(file, kept.asked) if file.exists() else None
        return None if other is None else not other

    return folders.folder_of("-".join(kept.models), out, verb=verb, asked=kept.asked, same=same)


@contextmanager
def options_named() -> Iterator[None]:
    """Name options in what a journal refuses, which knows none."""
    try:
        yield
    except BadInput as problem:
        field, expected = (
            text.replace("(out)", "(--out)").replace("(fresh)", "(--fresh)")
            for text in (problem.field, problem.expected)
        )
        raise BadInput(field, problem.value, expected) from None
