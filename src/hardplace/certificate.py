"""Certificates: how far from the best an answer can be, by one formula, in texts that stay true when they are
rounded.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

MOST_CONSIDERED = 10**18  # candidates are not counted beyond
_NOISE = 1e-12  # relative: what divisions of doubles leave
_PROVEN = 1e-9  # a gap that sums of many doubles leave


def gap_of(score: float, bound: float) -> float:
    """Return the relative gap of a rate, of which more is better: bound / score - 1.

    Args:
        score: What is reached, positive. Of seconds the rate is the inverse: `gap_of(1 / step_s, 1 / bound_s)`.
        bound: Upper bound that nothing exceeds; inf gives inf.

    Returns:
        The share by which the score can be exceeded at most, never negative.

    >>> gap_of(100.0, 200.0), gap_of(100.0, 100.0)
    (1.0, 0.0)
    """
    return max(0.0, bound / score - 1.0)


def percent_at_most(gap: float) -> str:
    r"""Return a gap in percent, rounded up to a hundredth, so that "at most" stays true.

    >>> percent_at_most(0.00901), percent_at_most(0.0), percent_at_most(1.0)
    ('0.91\xa0%', '0.00\xa0%', '100.00\xa0%')
    """
    if not math.isfinite(gap):
        return "an unknown share"
    hundredths = gap * 1e4
    return f"{math.ceil(hundredths - _NOISE * max(1.0, hundredths)) / 100:,.2f}\u00a0%"


def at_most(bound: float, digits: int = 4) -> str:
    """Return an upper bound of a rate to so many significant digits, rounded up, so that "at most" stays true.

    >>> at_most(2697.91), at_most(0.123411), at_most(1.0), at_most(12345678.0, 1)
    ('2,698', '0.1235', '1.000', '12,345,678')
    """
    places = max(0, digits - 1 - math.floor(math.log10(bound))) if bound > 0.0 and math.isfinite(bound) else 0
    if not math.isfinite(bound):
        return "inf"
    scaled = bound * 10.0**places
    return f"{math.ceil(scaled * (1.0 - _NOISE)) / 10.0**places:,.{places}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The proof of how far from the best an answer can be: no candidate that was considered has a rate above `bound`.

    Attributes:
        score: Rate of the answer, more is better, in `unit`.
        bound: Upper bound on the rate of every candidate, in `unit`.
        unit: Unit of both, such as samples/s.
        stop: Why the search ended, such as optimal, gap or time.
        considered: Number of candidates for which the bound holds, `MOST_CONSIDERED` at the most.
        seconds: Wall-clock seconds of the search; None: not told.
    """

    score: float
    bound: float
    unit: str
    stop: str
    considered: int
    seconds: float | None = None

    @property
    def gap(self) -> float:
        """Return by what share the best can exceed the answer at most: bound / score - 1."""
        return gap_of(self.score, self.bound)

    @property
    def proven(self) -> bool:
        """Return whether no candidate is better than the answer, but for what sums of doubles leave."""
        return self.gap <= _PROVEN

    def __str__(self) -> str:
        """Return the certificate in one sentence.

        >>> print(Certificate(score=2.0, bound=2.0, unit="samples/s", stop="optimal", considered=10**18))
        proven: none of 10^18 or more candidates is better (optimal)
        """
        count = f"{self.considered:,}" if self.considered < MOST_CONSIDERED else "10^18 or more"
        if self.proven:
            return f"proven: none of {count} candidates is better ({self.stop})"
        return (
            f"at most {percent_at_most(self.gap)} better is possible among {count} candidates: "
            f"{self.score:,.4g} {self.unit} reached, bound {at_most(self.bound)} ({self.stop})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields with gap and proven, as they stand in files."""
        return {**asdict(self), "gap": self.gap, "proven": self.proven}
