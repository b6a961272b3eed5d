"""The glossary, as the documentation has it: terms and their meanings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hardplace.errors import BadInput, unknown
from hardplace.files import read_text

_HERE = Path(__file__).parent
_PLACES = (_HERE / "glossary.md", _HERE.parents[1] / "docs/glossary.md")  # of a wheel; of a checkout
_ROW = re.compile(r"^\| (?!Term \|)([^|]+?) \| ([^|]+(?:\\\|[^|]+)*?) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlossaryEntry:
    """A term, or several that mean the same, and the meaning."""

    term: str
    meaning: str


def entries() -> tuple[GlossaryEntry, ...]:
    """Return all entries.

    Raises:
        BadInput: Where the glossary is not installed.
    """
    path = next((one for one in _PLACES if one.is_file()), None)
    if path is None:
        raise BadInput("glossary", "not installed", f"{_PLACES[0]}")
    return tuple(
        GlossaryEntry(term=_plain(found[1]), meaning=_plain(found[2])) for found in _ROW.finditer(read_text(path))
    )


def terms() -> tuple[str, ...]:
    """Return all terms."""
    return tuple(one.term for one in entries())


def explained(term: str) -> tuple[GlossaryEntry, ...]:
    """Return the entries of a term: those that are it, else those that begin with it or hold it as a word.

    Raises:
        BadInput: With the nearest terms, if there is none.
    """
    asked, known = term.strip().lower(), entries()
    names = {one: [part.strip().lower() for part in re.split(r"[,(]|\bof\b", one.term)] for one in known}
    exact = tuple(one for one in known if asked == one.term.lower() or asked in names[one])
    if exact:
        return exact
    word = re.compile(rf"(?<!\w){re.escape(asked)}")
    near = tuple(one for one in known if asked and one.term.lower().startswith(asked))
    near = near or tuple(one for one in known if asked and word.search(one.term.lower()))
    if near:
        return near
    raise unknown("term", term, [one.term for one in known])


def _plain(text: str) -> str:
    return re.sub(r"[*`]", "", text).replace("\\|", "|").strip()
