"""The terminal, as all tables and lines for it are printed."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from hardplace.errors import printable


class Screen(Console):
    """Standard output. Names of files may hold anything: what is not printable comes out as an escape."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the parts of what is printed, all of them safe on a terminal."""
        for one in super().render(renderable, options):
            safe = one.control or one.text.isprintable()
            yield one if safe else Segment(printable(one.text), one.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command's end, which exits as the convention is."""
        raise BrokenPipeError


def screen(width: int, *, soft_wrap: bool = False) -> Screen:
    """Return standard output: as wide as the terminal, or `width` columns where there is none.

    Text is printed as it is: a name of a model or a file may hold what rich would take for markup or an emoji.
    """
    console = Screen(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = width
    return console


def headed(name: str, rest: str = "") -> Text:
    """Return a line that begins with a name in bold."""
    return Text.assemble((name, "bold"), rest)
