"""Axes of a roofline: operations a second over operations a byte, both logarithmic, and the slope of the memory."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.report.drawing import LogAxis
from hardplace.units import format_quantity

_LEFT, _RIGHT, _TOP = 100.0, 700.0, 16.0  # of a drawing 720 wide


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineAxes:
    """The axes of a roofline, in the units of the drawing, for `templates/roofline.html`.

    Attributes:
        x: Operations a byte.
        y: Operations a second.
    """

    x: LogAxis
    y: LogAxis

    @property
    def bottom(self) -> float:
        """Return where the drawing ends."""
        return self.y.start

    @property
    def x_ticks(self) -> tuple[tuple[float, str], ...]:
        """Return where the powers of ten stand on x, with their labels."""
        return tuple((self.x.at(tick), f"{tick:g}") for tick in self.x.ticks())

    @property
    def y_ticks(self) -> tuple[tuple[float, str], ...]:
        """Return where the powers of ten stand on y, with their labels."""
        return tuple((self.y.at(tick), format_quantity(tick, "FLOP/s", 1)) for tick in self.y.ticks())

    def slope(self, bandwidth_bytes_per_s: float, peak_flops_per_s: float) -> tuple[float, float, float, float]:
        """Return the ends (x, y, x, y) of the memory's slope: from the edge of the axes to its ridge below a peak."""
        low = max(self.y.low, self.x.low * bandwidth_bytes_per_s)
        ridge = peak_flops_per_s / bandwidth_bytes_per_s
        return self.x.at(low / bandwidth_bytes_per_s), self.y.at(low), self.x.at(ridge), self.y.at(peak_flops_per_s)


def roofline_axes(*, intensities: tuple[float, float], rates: tuple[float, float], bottom: float) -> RooflineAxes:
    """Return axes over ranges.

    Args:
        intensities: Least and most operations a byte.
        rates: Least and most operations a second.
        bottom: Where y starts, in the units of the drawing.
    """
    return RooflineAxes(
        x=LogAxis(low=intensities[0], high=intensities[1], start=_LEFT, end=_RIGHT),
        y=LogAxis(low=rates[0], high=rates[1], start=bottom, end=_TOP),
    )
