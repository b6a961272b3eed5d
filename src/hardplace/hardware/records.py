"""Strict reading of tables whose figures carry a unit, a source and a trust (devices, nodes: TOML)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hardplace.errors import BadInput
from hardplace.hardware.device import Provenance, Trust
from hardplace.units import parse_quantity

MOST_COUNT = 10**7
_LEAST_NUMBER, _MOST_NUMBER = 1e-9, 1e18


class Record:
    """One table of a file. Every field must be asked for: `end` complains of those that never were.

    A figure is a value alone, or [value, source, trust] or [value, source, trust, note]; source is a key of the
    file's [sources].
    """

    def __init__(self, path: str, data: Mapping[str, Any], name: str = "", sources: Mapping[str, str] | None = None):
        self.path, self.data, self.name = path, data, name
        self.sources = sources or {}
        self.asked: set[str] = set()
        self.provenance: list[Provenance] = []

    def where(self, field: str) -> str:
        """Return the file and the field, for an error."""
        return f"{self.path}: {f'{self.name}.' if self.name else ''}{field}"

    def has(self, field: str) -> bool:
        """Return whether the field is there."""
        self.asked.add(field)
        return field in self.data

    def table(self, field: str) -> Record:
        """Return a table within this one."""
        value = self._get(field, "a table")
        if not isinstance(value, dict):
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected a table")
        return Record(self.path, value, f"{self.name}.{field}" if self.name else field, self.sources)

    def text(self, field: str) -> str:
        """Return a text that is not empty."""
        value = self._figure(field, "a text")
        if not isinstance(value, str) or not value.strip():
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected a text")
        return value

    def choice(self, field: str, known: Iterable[str]) -> str:
        """Return a text that is one of those known."""
        value = self.text(field)
        if value not in (names := tuple(known)):
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected one of {', '.join(names)}")
        return value

    def count(self, field: str) -> int:
        """Return a whole number, one or more; of parts of a chip or devices, of which there are not billions."""
        value = self._figure(field, "a whole number, 1 or more")
        if value.__class__ is not int or not 1 <= value <= MOST_COUNT:
            most = "" if value.__class__ is not int or value < 1 else f" to {MOST_COUNT:,}"
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected a whole number, 1{most or ' or more'}")
        return int(value)

    def number(self, field: str) -> float:
        """Return a positive number without a unit."""
        value = self._figure(field, "a positive number")
        if value.__class__ not in (int, float) or not 0 < value < float("inf"):
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected a positive number")
        if not _LEAST_NUMBER <= value <= _MOST_NUMBER:
            expected = f"a number from {_LEAST_NUMBER:g} to {_MOST_NUMBER:g}"
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected {expected}")
        return float(value)

    def share(self, field: str) -> float:
        """Return a number above 0 and at most 1."""
        value = self.number(field)
        if value > 1.0:
            raise BadInput(f"{self.where(field)}: {value:g}: expected a share, above 0 and at most 1")
        return value

    def quantity(self, field: str, unit: str) -> float:
        """Return a positive quantity in its base unit; the unit must be written."""
        example = _EXAMPLES.get(unit, f"1 {unit}")
        value = self._figure(field, f"a quantity such as {example!r}")
        bare = not isinstance(value, str) or re.fullmatch(r"[-+0-9.eE\s]+", value)
        if bare:
            raise BadInput(
                f"{self.where(field)}: {_shown(value)}: expected a number with its unit, such as {example!r}"
            )
        try:
            return parse_quantity(value, unit, self.where(field))
        except BadInput:
            expected = f"a positive quantity in {unit} that can be, such as {example!r}"
            raise BadInput(f"{self.where(field)}: {_shown(value)}: expected {expected}") from None

    def end(self) -> None:
        """Raise BadInput for the first field that is not one of this table's."""
        for field in self.data:
            if field not in self.asked:
                near = difflib.get_close_matches(field, sorted(self.asked), n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise BadInput(f"{self.where(field)}: unknown field; {hint}expected {', '.join(sorted(self.asked))}")

    def keys(self, known: Iterable[str], what: str) -> tuple[str, ...]:
        """Return the fields that are there, all of which must be known; at least one."""
        names = tuple(known)
        for field in self.data:
            if field not in names:
                raise BadInput(f"{self.where(field)}: unknown {what}; expected one of {', '.join(names)}")
        if not self.data:
            raise BadInput(f"{self.path}: {self.name}: empty; expected one or more of {', '.join(names)}")
        return tuple(self.data)

    def _get(self, field: str, expected: str) -> Any:
        self.asked.add(field)
        if field not in self.data:
            raise BadInput(f"{self.where(field)}: missing; expected {expected}")
        return self.data[field]

    def _figure(self, field: str, expected: str) -> Any:
        value = self._get(field, expected)
        own = value.__class__ is not list
        figure, source, trust, note = (value, "", Trust.OWN, "") if own else self._sourced(field, value)
        full = f"{self.name}.{field}" if self.name else field
        self.provenance.append(Provenance(field=full, source=source, trust=trust, note=note))
        return figure

    def _sourced(self, field: str, value: list[Any]) -> tuple[Any, str, Trust, str]:
        if len(value) not in (3, 4) or not all(isinstance(item, str) for item in value[1:]):
            raise BadInput(
                f"{self.where(field)}: {_shown(value)}: expected [value, source, trust] or with a note after them"
            )
        figure, source, trust, note = (*value, "")[:4]
        if source not in self.sources:
            raise BadInput(f"{self.where(field)}: source {source!r}: expected a key of [sources]")
        if trust not in ("A", "B", "C"):
            raise BadInput(f"{self.where(field)}: trust {trust!r}: expected A, B or C")
        return figure, self.sources[source], Trust(trust), note


def _shown(value: Any) -> str:
    """Return a value of a file for a message; of a whole number of thousands of digits, how long it is."""
    if value.__class__ is int and value.bit_length() > 256:
        return f"a number of {value.bit_length():,} bits"
    return repr(value)


_EXAMPLES = {
    "B": "80 GB",
    "B/s": "3.35 TB/s",
    "Hz": "1830 MHz",
    "FLOP/s": "989 TFLOP/s",
    "W": "700 W",
    "mm2": "814 mm2",
    "nm": "7 nm",
    "s": "3.4 us",
    "USD": "15000 USD",
}
