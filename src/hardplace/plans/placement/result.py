"""The answer of a search of plans: the best ones with their estimates, and the certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.branch_and_bound.types import Stop
from hardplace.certificate import Certificate, gap_of
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.placement.degree_map import DegreeOutcome
from hardplace.plans.variations import PlanVariation


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlacementResult(Answer):
    """The best plans, fastest first, and the certificate.

    Attributes:
        best: Estimates of the best plans.
        bound_s: Lower bound on the step of every plan of the space.
        considered: Number of plans before their stages are cut.
        short: Number of them that do not fit the memory.
        bounded: Number of them that their bounds pruned.
        priced: Number of them that were priced.
        cuts: Number of partitions priced.
        list_bound_s: Lower bound on the step of every plan that is not listed, and of one that is listed where it may
            be faster than said; at most the last one's step.
        proven_plans: So many of the best are the best of the space, in this order, with their steps.
        stop: Why the search stopped.
        seconds: Wall-clock seconds of the search; None: not told.
        model: Name of the model.
        node_devices: Devices of a node, as launchers start processes there.
        degrees: What became of each pair of tensor and pipeline degrees.
        variations: What the best plan takes with other links and batches.
    """

    best: tuple[PlanEstimate, ...]
    bound_s: float
    considered: int
    short: int
    bounded: int
    priced: int
    cuts: int
    list_bound_s: float
    proven_plans: int
    stop: Stop = Stop.OPTIMAL
    seconds: float | None = None
    model: str = ""
    node_devices: int = 1
    degrees: tuple[DegreeOutcome, ...] = ()
    variations: tuple[PlanVariation, ...] = ()

    ROWS: ClassVar[str] = "best"

    @property
    def stopped(self) -> bool:
        """Whether the user or a time limit ended the search early."""
        return self.stop in (Stop.INTERRUPTED, Stop.SECONDS)

    @property
    def gap(self) -> float:
        """Return by what share more samples/s than the best plan's another one could have at most; 0: it is the
        optimum.
        """
        return gap_of(1.0 / self.best[0].step_s, 1.0 / self.bound_s if self.bound_s > 0.0 else math.inf)

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no plan of the space has a throughput above the bound."""
        return Certificate(
            score=self.best[0].plan.global_batch / self.best[0].step_s,
            bound=self.best[0].plan.global_batch / self.bound_s if self.bound_s > 0.0 else math.inf,
            unit="samples/s",
            stop="cuts left" if self.stop is Stop.OPTIMAL and self.gap > 1e-9 else self.stop.value,
            considered=self.considered,
            seconds=self.seconds,
        )
