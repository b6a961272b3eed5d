"""The error types, of bad input and of a defect of ours, and texts that are safe to print."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

_LISTED = 40  # names that a message gives at most
_VALUE = 100  # characters of a value that a message shows at most
_WHOLE = 3000  # characters of a message
# What a message shows of a file: a quoted text, a list, a number. A quote within a word is an apostrophe.
_VALUES = re.compile(
    rf"(?<!\w)'[^'\n]{{{_VALUE - 1},}}'(?!\w)|(?<!\w)\"[^\"\n]{{{_VALUE - 1},}}\"(?!\w)|"
    rf"\[[^\[\]]{{{_VALUE - 1},}}\]|[-+]?\d[\d.]{{39,}}|[^\s/]{{256,}}"
)


class ModelNote(UserWarning):
    """What a recording does not have of a model as its config asks for it, such as quantised weights."""


class BadInput(ValueError):
    """Bad input, which the user can mend: its text is one line naming the field, the value and what was expected.

    Whatever it holds of a file comes out safe in the text: control characters escaped, long values shortened.

    Attributes:
        field: An argument, an option's name without dashes, or a place in a file.
        value: The value; None where the text says it all in `field`, as it does for what no single value is to blame
            for.
        expected: What was expected; "" where the text says it all in `field`.

    >>> print(BadInput("devices", 0, "a whole number from 1"))
    devices: 0: expected a whole number from 1
    """

    def __init__(self, field: str, value: object = None, expected: str = "") -> None:
        """Make the error; with one argument this is the whole line."""
        self.field, self.value, self.expected = field, value, expected
        parts = [field, *([] if value is None else [str(value)]), *([f"expected {expected}"] if expected else [])]
        super().__init__(one_line(": ".join(parts)))

    def __reduce__(self) -> tuple[type[BadInput], tuple[str, object, str]]:
        """Return what makes it again in another process."""
        return type(self), (self.field, self.value, self.expected)


def printable(text: str) -> str:
    r"""Return a text that is safe on a terminal: control, format and unpaired characters as escapes; lines stay.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() or one == "\n" or unicodedata.category(one) == "Zs"
        else one.encode("unicode_escape").decode()
        for one in text
    )


def shortened(text: str, most: int = _VALUE) -> str:
    """Return a text of at most about this many characters: what is longer loses its middle.

    >>> shortened("a" * 5000, 40)
    'aaaaaaaaaaaaaaaaaaaa...aaaaaaaa (5,000 characters)'
    """
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}...{text[-(most // 5) :]} ({len(text):,} characters)"


def one_line(text: str) -> str:
    """Return a message as one line that is safe to print, its long values shortened."""
    if len(text) > _WHOLE * 100:  # no pattern is tried on megabytes
        text = f"{text[: _WHOLE * 50]}{text[-_WHOLE * 50 :]}"
    short = _VALUES.sub(lambda found: shortened(found[0]), printable(text).replace("\n", "\\n"))
    return short if len(short) <= _WHOLE else f"{short[: 2 * _WHOLE // 3]} ... {short[-_WHOLE // 3 :]}"


class Contradiction(Exception):
    """Two results of our own that cannot both be right, so that no answer may be given: its text is one line."""


def unknown(what: str, value: str, known: Iterable[str]) -> BadInput:
    """Return the error for a name that does not exist, with the nearest names that do.

    >>> print(unknown("model", "lama2-7b", ["llama2-7b", "gpt2-xl"]))
    unknown model 'lama2-7b'; did you mean llama2-7b? (known: gpt2-xl, llama2-7b)
    >>> print(unknown("my.json: model_type", "x", ["bert"]))
    my.json: unknown model_type 'x' (known: bert)
    """
    names = sorted(known)
    near = difflib.get_close_matches(value[:_VALUE].lower(), names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    place, colon, noun = what.rpartition(": ")
    return BadInput(f"{place}{colon}unknown {noun} {value!r}{hint} (known: {listed})")
