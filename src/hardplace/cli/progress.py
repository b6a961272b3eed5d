"""The bar of a search that goes on, on standard error, and the end of it, which an interrupt does not undo."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """Show a line of text and the share that is done; nothing where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("laying out the space", total=1.0)

        def show(text: str, done: float) -> None:
            bar.update(task, description=text, completed=min(1.0, done))

        yield show


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
