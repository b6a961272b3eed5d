"""How far a search is, on standard error: a bar on a terminal, else a line every ten seconds; and the end of it, which
an interrupt does not undo.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from hardplace.cli.app import quiet

EVERY_S = 10.0  # between lines where standard error is no terminal


@contextmanager
def progress_bar(begun: str = "laying out the space") -> Iterator[Callable[[str, float], None]]:
    """Show a line of text, the share that is done, the time taken and the time left; nothing with --quiet.

    begun: the text before the first is given.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet():
        yield lambda text, done: None
    elif not console.is_terminal:
        yield lines(time.monotonic)
    else:
        left = (TextColumn("left"), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn(), *left)
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(begun, total=1.0)

            def show(text: str, done: float) -> None:
                bar.update(task, description=text, completed=min(1.0, done))

            yield show


def lines(clock: Callable[[], float]) -> Callable[[str, float], None]:
    """Return what prints a line, at most one every ten seconds, none in the first ten.

    Args:
        clock: Seconds that only go forward.
    """
    begun = last = clock()

    def show(text: str, done: float) -> None:
        nonlocal last
        now = clock()
        if now - last >= EVERY_S:
            last = now
            left = f", about {(now - begun) * (1.0 - done) / done:.0f} s left" if 0.01 < done < 1.0 else ""
            click.echo(f"hardplace: {now - begun:.0f} s: {text}{left}", err=True)

    return show


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no interrupt (Ctrl-C, SIGTERM) come between an answer and its files; what is done within takes a second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
