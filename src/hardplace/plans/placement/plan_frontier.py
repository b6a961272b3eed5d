"""Frontiers of plans: the least step for each limit on memory, or for each number of devices, each one proven.

A limit is lowered below what the last plan took and the search is asked again (the epsilon-constraint method), so that
every point has the certificate of a search of its own. docs/model-placement.md, "Frontiers".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import Stop
from hardplace.certificate import Certificate, gap_of
from hardplace.errors import BadInput
from hardplace.plans.estimate import PlanEstimate
from hardplace.plans.infeasible import PlanInfeasible
from hardplace.plans.placement.divisions import Inventory
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.shortage import placed_or_short
from hardplace.plans.placement.space import PlanSpace
from hardplace.workload.types import Workload

MEMORY_STEP = 0.05  # by which share of its memory the next plan of a frontier needs less, at the least


class Against(StrEnum):
    """What the step is weighed against: the memory that the fullest device fills, or how many devices there are."""

    MEMORY = "memory"
    DEVICES = "devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPoint:
    """A plan of a frontier: none within its limit has a shorter step.

    Attributes:
        estimate: The plan with its estimate.
        memory_share: Share of a device's memory that it fills, on the fullest stage.
        limit: What was allowed: a share of a device's memory, or a number of devices; the highest for which it stands.
        bound_s: Lower bound on the step of every plan within the limit.
    """

    estimate: PlanEstimate
    memory_share: float
    limit: float
    bound_s: float

    @property
    def gap(self) -> float:
        """Return by what share more samples/s a plan within the limit could have at most."""
        return gap_of(1.0 / self.estimate.step_s, 1.0 / self.bound_s if self.bound_s > 0.0 else math.inf)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PlanFrontier(Answer):
    """The fastest plans within ever lower limits, fastest first.

    Attributes:
        against: What the step is weighed against.
        model: Name of the model.
        points: The plans; the next one has a longer step and takes less.
        least: The lowest limit at which a plan was searched; under it nothing was asked.
        nothing_below: Whether it is proven that no plan is within that limit.
        considered: Number of plans considered, over all limits.
        stop: Why the search stopped.
        seconds: Wall-clock seconds.
    """

    against: Against
    model: str
    points: tuple[PlanPoint, ...]
    least: float
    nothing_below: bool
    considered: int
    stop: Stop
    seconds: float

    ROWS: ClassVar[str] = "points"

    @property
    def certificate(self) -> Certificate:
        """Return the proof that at no limit searched a plan has more samples/s than the point by more than the gap."""
        return Certificate(
            score=1.0,
            bound=1.0 + max(one.gap for one in self.points),
            unit="of each point's samples/s",
            stop=self.stop.value,
            considered=self.considered,
            seconds=self.seconds,
        )


Limits = Iterator[tuple[float, Inventory, PlanSpace]]


class PlanFrontierSearch:
    """One search of a frontier.

    Args:
        workload: The model.
        inventory: Device, node and number, of each kind.
        space: What is fixed and what is searched; its headroom is the first limit on memory.
        against: What the step is weighed against.
        watch: As `PlanSearch` has it, of the search at the present limit.
        gap: Relative gap of each point; 0: proven optimal.
        seconds: Wall-clock seconds for all of them; None: no limit.
    """

    def __init__(
        self,
        workload: Workload,
        inventory: Inventory,
        space: PlanSpace,
        against: Against,
        watch: Callable[[int, int, float, float], None] | None = None,
        gap: float = 0.0,
        seconds: float | None = None,
    ) -> None:
        self._workload, self._inventory, self._space, self._against = workload, inventory, space, against
        self._watch, self._gap, self._deadline = watch, gap, Deadline(limit_s=seconds)
        self._points: list[PlanPoint] = []
        self._considered, self._least, self._nothing_below = 0, 0.0, False

    def run(self) -> PlanFrontier | PlanInfeasible:
        """Search and return the frontier, or what is short where no plan is within the first limit.

        Raises:
            BadInput: As `PlanSearch.run` does at the first limit; for numbers of devices of several kinds.
            KeyboardInterrupt: For an interrupt before a first point; a later one ends the search with what it has.
        """
        if self._against is Against.DEVICES and len(self._inventory) > 1:
            names = ", ".join(chip.name for chip, _, _ in self._inventory)
            raise BadInput("device", names, "one kind, of which fewer are tried")
        limits = self._memories() if self._against is Against.MEMORY else self._numbers()
        stop = Stop.OPTIMAL
        try:
            for limit, inventory, space in limits:
                found = self._at(limit, inventory, space)
                if isinstance(found, PlanInfeasible):
                    return found
                if found is None:
                    break
                self._add(limit, found)
                if found.stopped or self._deadline.over:
                    stop = found.stop if found.stopped else Stop.SECONDS
                    break
                if found.stop is Stop.GAP:
                    stop = Stop.GAP
        except KeyboardInterrupt:
            if not self._points:
                raise
            stop = Stop.INTERRUPTED
        return PlanFrontier(
            against=self._against,
            model=self._workload.name,
            points=tuple(self._points),
            least=self._least,
            nothing_below=self._nothing_below,
            considered=self._considered,
            stop=stop,
            seconds=self._deadline.elapsed_s,
        )

    def _at(self, limit: float, inventory: Inventory, space: PlanSpace) -> PlacementResult | PlanInfeasible | None:
        left_s = self._deadline.limit_s
        if left_s is not None:
            left_s = max(1e-3, left_s - self._deadline.elapsed_s)
        search = PlanSearch(self._workload, inventory, space, self._watch, most=1, gap=self._gap, seconds=left_s)
        try:
            found = search.run() if self._points else placed_or_short(self._workload, inventory, space, search)
        except BadInput:  # no degrees or no even network of so few devices: the frontier ends without a proof
            if not self._points:
                raise
            return None
        self._considered += search.considered
        self._least, self._nothing_below = limit, found is None
        return found

    def _add(self, limit: float, found: PlacementResult) -> None:
        one = found.best[0]
        share = max(held.total_bytes / whole for held, whole in zip(one.memory, one.memory_bytes, strict=True))
        bound_s = found.bound_s
        while self._points and self._points[-1].estimate.step_s >= one.step_s:  # as fast, and takes less
            left_out = self._points.pop()  # whose limit and bound hold on: the new point stands for it too
            limit, bound_s = left_out.limit, min(bound_s, left_out.bound_s)
        self._points.append(PlanPoint(estimate=one, memory_share=share, limit=limit, bound_s=bound_s))

    def _memories(self) -> Limits:
        """Yield ever lower limits on memory: below what the last plan fills by `MEMORY_STEP` of it."""
        share = 1.0 - self._space.headroom
        while True:
            yield share, self._inventory, replace(self._space, headroom=1.0 - share)
            share = (1.0 - MEMORY_STEP) * self._points[-1].memory_share

    def _numbers(self) -> Limits:
        """Yield ever fewer devices: half of them each time, while the number is whole."""
        chip, where, count = self._inventory[0]
        while True:
            yield count, ((chip, where, count),), self._space
            if count % 2:
                return
            count //= 2
