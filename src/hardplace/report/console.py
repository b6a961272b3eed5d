"""The terminal, as all tables and lines for it are printed."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def screen(width: int, *, soft_wrap: bool = False) -> Console:
    """Return standard output: as wide as the terminal, or `width` columns where there is none.

    Text is printed as it is: a name of a model or a file may hold what rich would take for markup or an emoji.
    """
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = width
    return console


def headed(name: str, rest: str = "") -> Text:
    """Return a line that begins with a name in bold."""
    return Text.assemble((name, "bold"), rest)
