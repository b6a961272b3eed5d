"""The terminal, as all tables and lines for it are printed: at any width, with every number whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from hardplace.errors import printable
from hardplace.report.fitting_tables import fitted

PIPED = 120  # columns where there is no terminal, and COLUMNS does not say more
_LEAST = 40


class Screen(Console):
    """Standard output. Names of files may hold anything: what is not printable comes out as an escape."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; a table that is wider than the screen comes in blocks of columns, each with the first column."""
        if len(objects) == 1 and isinstance(objects[0], Table):
            for block in fitted(objects[0], self.width):
                super().print(block, **options)
        else:
            super().print(*objects, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed, all of them safe on a terminal."""
        for one in super().render(renderable, options):
            safe = one.control or one.text.isprintable()
            yield one if safe else Segment(printable(one.text), one.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's end, which exits as the convention is."""
        raise BrokenPipeError


def screen(*, soft_wrap: bool = False) -> Screen:
    """Return standard output: as wide as the terminal, or as COLUMNS says, or 120 columns where there is neither.

    Text is printed as it is: a name of a model or a file may hold what rich would take for markup or an emoji.
    """
    console = Screen(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
    if not console.is_terminal:
        told = os.environ.get("COLUMNS", "")
        console.width = max(_LEAST, int(told)) if told.isdecimal() and len(told) < 5 else PIPED
    return console


def headed(name: str, rest: str = "") -> Text:
    """Return a line that begins with a name in bold."""
    return Text.assemble((name, "bold"), rest)
