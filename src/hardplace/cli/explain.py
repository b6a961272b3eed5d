"""`hardplace explain TERM`: what a word of this project means."""

from __future__ import annotations

import click

from hardplace.cli import options
from hardplace.cli.app import app
from hardplace.cli.printing import json_asked, say_json


@app.command()
@click.argument("term", nargs=-1)
@options.as_json
def explain(term: tuple[str, ...]) -> None:
    """Print what TERM means here, from the glossary; without TERM, list the terms."""
    from hardplace.glossary import explained, terms
    from hardplace.report.glossary import show_entries, show_terms

    if not term:
        say_json(list(terms())) if json_asked() else show_terms(terms())
        return
    found = explained(" ".join(term))
    say_json({one.term: one.meaning for one in found}) if json_asked() else show_entries(found)
