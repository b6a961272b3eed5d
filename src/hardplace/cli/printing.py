"""What verbs print: lines and JSON that are safe on a terminal, and the answer before its files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hardplace.errors import printable

if TYPE_CHECKING:
    from pathlib import Path

    from hardplace.answers import Answer, Infeasible

_JSON = "hardplace.json"
_CONTROL = re.compile("[\x7f-\x9f\ud800-\udfff]")


def ask_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Take note of the option --json, for `json_asked`."""
    context.meta[_JSON] = value


def json_asked() -> bool:
    """Return whether the verb that runs was asked for its answer as JSON, and nothing else."""
    return bool(click.get_current_context().meta.get(_JSON))


def say_written(files: str, trace_path: Path | None = None) -> None:
    """Print which files were written, with the trace if there is one, unless the answer alone is asked for, or JSON."""
    from hardplace.cli.app import quiet

    if not (quiet() or json_asked()):
        say(f"\nwritten: {files}" + (f", {trace_path} (a trace)" if trace_path is not None else ""))


def say(text: str, *, err: bool = False) -> None:
    """Print a line; what a file's names hold beside printable characters as escapes."""
    click.echo(printable(text), err=err)


def say_json(value: object) -> None:
    """Print an answer as JSON in the envelope that all answers have: of ASCII alone where the stream is, and without
    control characters.
    """
    from hardplace.files import dumps

    if not (isinstance(value, dict) and {"hardplace", "kind", "answer"} <= value.keys()):
        value = _envelope(value)
    text = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", dumps(value))
    if not (sys.stdout.encoding or "utf-8").lower().startswith("utf"):
        text = text.encode("ascii", errors="backslashreplace").decode()
        text = re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", text)
        text = re.sub(r"\\U([0-9a-f]{8})", _pair, text)
    click.echo(text)


def _envelope(value: object) -> dict[str, object]:
    """Return what a verb answers that is no saved answer in the envelope of one: its kind is the verb, its question
    the arguments.
    """
    from hardplace.typed import untyped
    from hardplace.version import __version__

    context = click.get_current_context()
    question = {name: None if one is None else untyped(one) for name, one in sorted(context.params.items())}
    return {
        "hardplace": __version__,
        "kind": context.info_name,
        "question": question,
        "answer": value,
        "certificate": None,
        "notes": list(getattr(value, "notes", ())),
    }


def _pair(found: re.Match[str]) -> str:
    """Return a character beyond 16 bits as JSON's pair of them."""
    high, low = divmod(int(found[1], 16) - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def give(show: Callable[[], None], write: Callable[[], None]) -> None:
    """Print an answer, then write its files: a full disk never hides it, and a pipe closed by `head` loses no file."""
    try:
        show()
        sys.stdout.flush()
    finally:
        write()


def give_answer(found: Answer, show: Callable[[Any], None], write: Callable[[], None]) -> None:
    """Print an answer by what shows one of its class, or as JSON where that is asked for; then write its files."""
    give(lambda: say_json(found.envelope()) if json_asked() else show(found), write)


def end_infeasible(found: Infeasible, show: Callable[[Any], None]) -> NoReturn:
    """Print what is short, by what shows it or as JSON, and end with exit code 3."""
    from hardplace.cli.app import INFEASIBLE

    say_json(found.envelope()) if json_asked() else show(found)
    sys.exit(INFEASIBLE)


def end_search(names: str, found: Infeasible) -> NoReturn:
    """End a search of chips for these models without an answer (`end_infeasible`), with one line on standard error."""
    from hardplace.report.terminal import infeasible_line

    end_infeasible(found, lambda one: say(f"infeasible: {names}: {infeasible_line(one)}", err=True))
