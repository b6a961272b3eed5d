"""Entries of the glossary for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns

from hardplace.glossary import GlossaryEntry
from hardplace.report.console import headed, screen


def show_entries(entries: Sequence[GlossaryEntry]) -> None:
    """Print each term with its meaning."""
    console = screen()
    for one in entries:
        console.print(headed(one.term, f": {one.meaning}"))


def show_terms(terms: Sequence[str]) -> None:
    """Print all terms in columns."""
    screen().print(Columns(terms, column_first=True))
