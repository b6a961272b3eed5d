"""What became of each pair of tensor and pipeline degrees in a search of plans: a step, a bound, or nothing fits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hardplace.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class DegreeOutcome:
    """A pair of degrees and what the search knows of its plans.

    Attributes:
        tensor: Tensor-parallel degree.
        pipeline: Pipeline stages.
        step_s: Least seconds of a step of the plans that were priced; None: none was.
        bound_s: Lower bound on the step of every plan with these degrees that was not priced; None: none is left.
    """

    tensor: int
    pipeline: int
    step_s: float | None
    bound_s: float | None

    @property
    def fits(self) -> bool:
        """Return whether some plan with these degrees may fit the memory."""
        return self.step_s is not None or self.bound_s is not None


class DegreeMap:
    """Collects the outcomes while a search goes on; it changes nothing in the search."""

    def __init__(self) -> None:
        self._priced: dict[tuple[int, int], float] = {}
        self._bounded: dict[tuple[int, int], float] = {}
        self._seen: dict[tuple[int, int], None] = {}

    def enter(self, plan: Plan) -> None:
        """Note that plans with these degrees are considered."""
        self._seen[plan.tensor, plan.pipeline] = None

    def price(self, plan: Plan, step_s: float) -> None:
        """Note the seconds of a step of a plan."""
        self._least(self._priced, plan, step_s)

    def bound(self, plan: Plan, bound_s: float) -> None:
        """Note a lower bound on what is left out, or still open."""
        self._least(self._bounded, plan, bound_s)

    def _least(self, known: dict[tuple[int, int], float], plan: Plan, value_s: float) -> None:
        key = (plan.tensor, plan.pipeline)
        known[key] = min(value_s, known.get(key, math.inf))

    def outcomes(self, left: Iterable[tuple[Plan, float]]) -> tuple[DegreeOutcome, ...]:
        """Return the outcome of each pair, by tensor and then pipeline degree.

        Args:
            left: Plans that are still open, with their bounds in seconds.
        """
        for plan, bound_s in left:
            self.bound(plan, bound_s)
        return tuple(
            DegreeOutcome(tensor=key[0], pipeline=key[1], step_s=self._priced.get(key), bound_s=self._bounded.get(key))
            for key in sorted(self._seen)
        )
