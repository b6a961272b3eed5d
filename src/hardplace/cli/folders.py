"""Where answers go: hardplace-out/NAME, or the folder of --out.

One rule for all verbs: a folder holds one answer of each verb, and VERB-asked.json says to which question. The same
question goes to the same folder; another one to the next, NAME-2, NAME-3, ...; a folder that --out names is taken, and
that it held another answer is said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from hardplace.cli.printing import say, say_written
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.report.runs import FolderAnswer

OUT = Path("hardplace-out")
ASKED = "-asked.json"
_UNASKED = {"out", "trace_path", "fresh", "workers", "scheduler"}  # options that change no answer

Asked = dict[str, Any]


def folder_of(
    name: str,
    out: Path | None,
    *,
    verb: str | None = None,
    asked: Asked | None = None,
    same: Callable[[Path], bool | None] | None = None,
) -> Path:
    """Return the folder for the answer to a question, which is there now and is this question's: of several commands
    that start at once, each different one has its own.

    name: of a model, or what else is asked about. verb, asked: the command's own, and its arguments, unless given.
    same: what else tells whether a folder is of this question; None where it cannot say.
    """
    verb, asked = verb or click.get_current_context().info_name or "", arguments() if asked is None else asked
    if out is not None:
        _take(_made(out), verb, asked, same)
        return out
    for number in count(1):
        folder = _made(named(name, number))
        found = same(folder) if same is not None else None
        if found is None:
            found = _claimed(folder, verb, asked)
        if found:
            return folder
    raise AssertionError


def named(name: str, number: int = 1) -> Path:
    """Return hardplace-out/NAME, of a model's or a chip's name, or NAME-NUMBER."""
    from hardplace.files import path_name

    return OUT / (path_name(name) if number == 1 else f"{path_name(name)}-{number}")


def arguments() -> Asked:
    """Return what the command was asked: its arguments and options, files by what is in them."""
    given = click.get_current_context().params
    return {key: _told(given[key]) for key in sorted(given) if key not in _UNASKED}


def command() -> str:
    """Return the command line that runs, as a shell takes it."""
    import shlex
    import sys

    return shlex.join(["hardplace", *sys.argv[1:]])


def check_writable(folder: Path | None) -> None:
    """Raise BadInput, before any work, if the folder (None: that of all answers) cannot be made or written."""
    folder = folder or OUT
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    try:
        TemporaryDirectory(dir=nearest).cleanup()  # rights alone do not tell: root may write to /proc, which takes none
    except OSError:
        raise BadInput(f"--out: {folder}: expected a folder that can be written; {nearest} cannot") from None


def write_page(name: str, out: Path | None, file: str, page: str) -> None:
    """Write a page into the folder of this command's answer, and say so."""
    from hardplace.files import write_text

    folder = folder_of(name, out)
    write_text(folder / file, page)
    say_written(f"{folder / file} (open it in a browser)")


def answer(record: Path) -> FolderAnswer:
    """Return the answer that a record in a folder is of."""
    from hardplace.report.runs import FolderAnswer

    verb = record.name.removesuffix(ASKED)
    command = _read(record).get("command")
    return FolderAnswer(
        path=str(record.parent),
        verb=verb,
        command=command if isinstance(command, str) else "not told",
        updated_unix_s=record.stat().st_mtime,
    )


def _made(folder: Path) -> Path:
    """Return the folder, which is there now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadInput(f"--out: {folder}: expected a folder; it is a file") from None
    return folder


def _take(folder: Path, verb: str, asked: Asked, same: Callable[[Path], bool | None] | None) -> None:
    """Make a folder that was named this question's; what refuses another question by itself, refuses."""
    from hardplace.files import write_text

    if _claimed(folder, verb, asked) or (same is not None and same(folder) is False):
        return
    before = _read(folder / f"{verb}{ASKED}").get("command", "another question")
    say(f"hardplace: {folder}: replaces the answer to: {before}", err=True)
    write_text(folder / f"{verb}{ASKED}", _record(asked))


def _claimed(folder: Path, verb: str, asked: Asked) -> bool:
    """Return whether a folder is this question's: it was already, or is from now on."""
    from hardplace.files import write_new

    path = folder / f"{verb}{ASKED}"
    if not path.exists() and write_new(path, _record(asked)):
        return True
    return bool(_read(path).get("asked") == json.loads(json.dumps(asked)))


def _record(asked: Asked) -> str:
    """Return the text of a record."""
    return json.dumps({"command": command(), "asked": asked}, indent=1) + "\n"


def _read(path: Path) -> Mapping[str, Any]:
    """Return a record; an empty one where it cannot be read."""
    from hardplace.files import read_json

    try:
        found = read_json(path)
    except BadInput:
        return {}
    return found if isinstance(found, dict) else {}


def _told(value: Any) -> Any:
    """Return an argument as it stands in a record."""
    if isinstance(value, tuple | list):
        return [_told(one) for one in value]
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    name, colon, number = value.partition(":")
    for text, rest in ((value, ""), (name, f"{colon}{number}")):
        try:
            if text and Path(text).is_file():
                return f"{Path(text).name}{rest}, SHA-256 {_hash(Path(text))}"
        except (OSError, ValueError):
            break  # no name of a file
    return value


def _hash(path: Path) -> str:
    """Return the hash of what a file holds."""
    from hardplace.files import read_bytes

    return hashlib.sha256(read_bytes(path)).hexdigest()[:16]
