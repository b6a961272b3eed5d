"""How a command ends: every error in one line on standard error, signals and closed pipes by convention."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from hardplace.cli.app import BAD_INPUT, BROKEN_PIPE, DEFECT, INTERRUPTED, TERMINATED, app
from hardplace.errors import BadInput, Contradiction, one_line

# What a stream without Unicode shows of the characters that tables and units are written with.
_ASCII = {
    "\u00a0": " ",
    "×": "x",
    "²": "2",
    "³": "3",
    "µ": "u",
    "·": ".",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "█": "#",
}
_ERRORS = "hardplace"
_THREADS = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}  # by which a user says how many OpenBLAS may start


class Terminated(KeyboardInterrupt):
    """SIGTERM, as SLURM and `docker stop` send it: what Ctrl-C does is done, and the exit code says which it was."""


def main() -> NoReturn:
    """Run the command line and exit: 0, or a code of `hardplace.cli.app`."""
    if not _THREADS & os.environ.keys():
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read as numpy is imported: our matrices are too small for threads
    codecs.register_error(_ERRORS, _shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _ended()
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(code)


def _ended() -> int:
    """Run a verb and return the exit code; nothing is left to be flushed."""
    try:
        try:
            return _run()
        finally:
            sys.stdout.flush()
    except BadInput as problem:
        return _say(str(problem), BAD_INPUT)
    except Contradiction as problem:
        return _say(f"{problem}: a defect of hardplace, so no answer is given; please report it", DEFECT)
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.format_message())
        return 0
    except click.ClickException as problem:
        return _say(problem.format_message(), BAD_INPUT)
    except Terminated:
        return _say("terminated before a first answer", TERMINATED)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted before a first answer", INTERRUPTED)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _close_output()
        return BROKEN_PIPE
    except MemoryError:
        return _say("out of memory: expected a smaller question, or a machine with more", BAD_INPUT)
    except OSError as problem:
        if isinstance(problem, FileNotFoundError) and not _here():
            return _say("the current folder is gone; expected one that is there, or another to start from", BAD_INPUT)
        if problem.filename is None:
            _close_output()
        return _say(f"{problem.filename or 'standard output'}: {problem.strerror or problem}", BAD_INPUT)


def _here() -> bool:
    """Return whether the current folder is still there."""
    try:
        return Path.cwd().is_dir()
    except OSError:
        return False


def _run() -> int:
    """Run the verb that the arguments name."""
    if "_HARDPLACE_COMPLETE" in os.environ:
        app.main(prog_name="hardplace")  # a shell that completes a line
    try:
        with app.make_context("hardplace", sys.argv[1:]) as context:
            app.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _say(text: str, code: int) -> int:
    """Print a line on standard error, on a line of its own after a terminal's ^C."""
    begun = "\n" if code in (INTERRUPTED, TERMINATED) and sys.stderr.isatty() else ""
    with contextlib.suppress(OSError):  # nobody reads it
        click.echo(f"{begun}hardplace: {one_line(text)}", err=True)
    return code


def _close_output() -> None:
    """Send what is still to be flushed nowhere: the end of Python would complain about it again."""
    with contextlib.suppress(OSError, ValueError):  # no real stream
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _shown(problem: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for characters that a stream cannot show."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    text = problem.object[problem.start : problem.end]
    return "".join(_ASCII.get(one, "?") for one in text), problem.end
