"""The answer that no plan fits devices that exist."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.answers import Infeasible
from hardplace.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlanInfeasible(Infeasible):
    """The answer that no plan fits, or that none goes on in time.

    Attributes:
        nearest: Of the plans that hold least, the one that is short by the fewest bytes; None where memory is not what
            is short.
        stage: Index of its stage that is short, from 0.
        considered: Number of plans.
    """

    nearest: Plan | None = None
    stage: int = 0
    considered: int = 0

    @property
    def short_bytes(self) -> float:
        """Return the bytes by which the nearest plan exceeds the device of its stage; 0 where memory is not what is
        short.
        """
        return max(0.0, self.needed - self.available) if self.unit == "bytes" else 0.0
