"""SI constants, parsing and formatting of quantities with units."""

from __future__ import annotations

import math
import re

from hardplace.errors import BadInput

KIB = 1024
MIB = 1024**2
GIB = 1024**3
GB = 1e9
UM2_PER_MM2 = 1e6

_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_SMALL = {"m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
# What a quantity of a unit can be at all: far around all that is built, and where figures stay exact.
_RANGES = {
    "B": (1.0, 2.0**60),
    "B/s": (1.0, 1e20),
    "FLOP/s": (1.0, 1e25),
    "Hz": (1.0, 1e15),
    "W": (1e-6, 1e12),
    "mm2": (1e-9, 1e9),
    "nm": (1e-2, 1e6),
    "s": (1e-18, 1e12),
    "USD": (1e-6, 1e15),
}
_BITS_PER_S = re.compile("([kKMGTP]?)(?:b/s|bit/s|bps)")
_ANY = (1e-30, 1e30)


def parse_quantity(text: str, unit: str, where: str) -> float:
    """Return a positive quantity in its base unit from text such as "80 GiB", "3.35 TB/s" or "300" (but for bytes).

    unit: the base unit expected ("B", "B/s", "s", "mm2", ...). where: names the option or field for the error.
    Raises BadInput for anything else than a finite, positive number with that unit, within what can be.

    >>> parse_quantity("80 GiB", "B", "memory")
    85899345920.0
    >>> parse_quantity("3.35 TB/s", "B/s", "bandwidth")
    3350000000000.0
    >>> parse_quantity("400 Gb/s", "B/s", "link")
    50000000000.0
    """
    match = re.fullmatch(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9]\S*)?\s*", text)
    expected = f"a positive number in {unit}" + (
        f" with its unit, such as '80 G{unit}'" if unit.startswith("B") else ""
    )
    problem = BadInput(where, repr(text), expected)
    if match is None or (unit.startswith("B") and not match[2]):  # 80: bytes, or GB?
        raise problem
    suffix = match[2] or unit
    bits = _BITS_PER_S.fullmatch(suffix) if unit == "B/s" else None  # as links are sold
    if bits is not None:
        suffix = f"{bits[1]}B/s"
    if not suffix.endswith(unit):
        raise problem
    prefix = suffix[: len(suffix) - len(unit)]
    scale = {**_PREFIXES, **_BINARY, **_SMALL}.get(prefix)
    try:
        value = float(match[1]) * (scale if scale is not None else math.nan) / (8.0 if bits is not None else 1.0)
    except ValueError:
        raise problem from None
    if not math.isfinite(value) or value <= 0:
        raise problem
    least, most = _RANGES.get(unit, _ANY)
    if not least <= value <= most:
        raise BadInput(f"{where}: {text!r}: expected {least:.3g} to {most:.3g} {unit}".rstrip())
    return value


def format_quantity(value: float, unit: str, digits: int = 3) -> str:
    """Return value with an SI prefix and `digits` significant digits.

    >>> format_quantity(0.00123, "s"), format_quantity(3.35e12, "B/s"), format_quantity(0, "s")
    ('1.23 ms', '3.35 TB/s', '0 s')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    prefixes = ["n", "µ", "m", "", "k", "M", "G", "T", "P", "E"]
    rounded = float(f"{value:.{digits}g}")
    power = min(max(math.floor(math.log10(abs(rounded)) / 3 + 1e-12), -3), 6)
    scaled = rounded / 1000.0**power
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled)) + 1e-12))
    return f"{scaled:.{decimals}f} {prefixes[power + 3]}{unit}"


def percent(share: float, decimals: int = 1, *, sign: bool = False) -> str:
    r"""Return a share in percent, with a space that does not break, as units have it.

    >>> percent(0.4123), percent(-0.05, 0, sign=True)
    ('41.2\xa0%', '-5\xa0%')
    """
    return f"{100.0 * share:{'+' if sign else ''}.{decimals}f}\u00a0%"
