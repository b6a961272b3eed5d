"""What all figures share: colours that read on light and dark, units of an axis."""

from __future__ import annotations

BLUE, ORANGE, GREEN, PURPLE = "#3f7fbf", "#d9822b", "#2f9e77", "#8a6fc0"
RED, GREY, PINK, TEAL = "#cc4455", "#8b919a", "#c46a9f", "#3a9fb0"
PALETTE = (BLUE, ORANGE, PURPLE, GREEN, TEAL, GREY, PINK, RED)

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def seconds_scale(longest_s: float) -> tuple[float, str]:
    """Return the unit (its seconds and its name) in which a duration reads best on an axis."""
    for scale, name in _SECONDS:
        if longest_s >= scale:
            return scale, name
    return _SECONDS[0] if longest_s <= 0 else _SECONDS[-1]
