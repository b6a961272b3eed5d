"""Values that a user gives a field of a shape."""

from __future__ import annotations

from hardplace.errors import BadInput, unknown
from hardplace.shaping.types import FIELDS
from hardplace.workload.decoder import LARGEST

_MOST_VALUES, _MOST_LAYERS = 4096, 1000


def parse_range(text: str) -> tuple[str, tuple[int, ...]]:
    """Return a field and its values from "hidden=3584:4608:64", "kv_heads=8" or "head_dim=64,128"; BadInput otherwise.

    >>> parse_range("hidden=3584:3712:64"), parse_range("head_dim=64,128")
    (('hidden', (3584, 3648, 3712)), ('head_dim', (64, 128)))
    """
    name, _, values = text.partition("=")
    if name not in FIELDS:
        raise unknown("field", name, FIELDS)
    problem = BadInput("ranges", repr(text), "FIELD=FROM:TO:STEP, FIELD=FROM:TO or FIELD=A,B with whole numbers")
    try:
        if ":" in values:
            first, last, *step = (int(part) for part in values.split(":"))
            steps = range(first, last + 1, *step)
            found = tuple(steps) if len(steps) <= _MOST_VALUES else ()
        else:
            found = tuple(sorted({int(part) for part in values.split(",")}))
    except (ValueError, TypeError):
        raise problem from None
    largest = LARGEST if name != "layers" else _MOST_LAYERS
    if not found or found[0] < 1 or found[-1] > largest:
        raise BadInput("ranges", repr(text), f"1 to {_MOST_VALUES} values from 1 to {largest}")
    return name, found
