"""The error type for bad input, and the one for a defect of ours that was found out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 40  # names that a message gives at most


class BadInput(Exception):
    """Input that the user can mend: its text is one line naming the place, the value and what was expected."""


class Contradiction(Exception):
    """Two results of our own that cannot both be right, so that no answer may be given: its text is one line."""


def unknown(what: str, value: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that does not exist, with the nearest names that do.

    >>> print(unknown("model", "lama2-7b", ["llama2-7b", "gpt2-xl"]))
    unknown model 'lama2-7b'; did you mean llama2-7b? (known: gpt2-xl, llama2-7b)
    """
    names = sorted(known)
    near = difflib.get_close_matches(value.lower(), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return BadInput(f"unknown {what} {value!r}{hint} (known: {listed})")
