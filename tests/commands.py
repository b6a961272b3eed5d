"""A command in this process, as its own process would run it."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

from hardplace.cli import main


class Ended(NamedTuple):
    """Exit code and both streams."""

    code: int
    out: str
    err: str


def command(*words: str, folder: Path) -> Ended:
    """Run `hardplace WORDS` in a folder; what is no orderly end is raised."""
    out, err = io.StringIO(), io.StringIO()
    before, arguments = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["hardplace", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        return Ended(int(ended.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.argv = arguments
        os.chdir(before)
    raise AssertionError
