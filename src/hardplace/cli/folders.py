"""Where answers go: hardplace-out/MODEL, or the folder of --out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from hardplace.errors import BadInput

OUT = Path("hardplace-out")


def named(name: str) -> Path:
    """Return hardplace-out/NAME, of a model's or a chip's name."""
    return OUT / name.replace("/", "-")


def own(name: str, same: Callable[[Path], bool | None]) -> Path:
    """Return hardplace-out/NAME, or the first of NAME-2, NAME-3, ... that is of the same run, or of none.

    same: whether a folder is of this run; None where no run has left anything in it.
    """
    for number in count(1):
        folder = named(name if number == 1 else f"{name}-{number}")
        if same(folder) is not False:
            return folder
    raise AssertionError


def check_writable(folder: Path) -> None:
    """Raise BadInput, before any work, if the folder cannot be made or written."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    try:
        TemporaryDirectory(dir=nearest).cleanup()  # rights alone do not tell: root may write to /proc, which takes none
    except OSError:
        raise BadInput(f"--out: {folder}: expected a folder that can be written; {nearest} cannot") from None


def made(folder: Path) -> Path:
    """Return the folder, which is there now: what cannot be made ends a verb before it prints."""
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_page(folder: Path, file: str, page: str) -> None:
    """Write a page into a folder, and say so."""
    from hardplace.files import write_text

    write_text(folder / file, page)
    click.echo(f"\nwritten: {folder / file} (open it in a browser)")
