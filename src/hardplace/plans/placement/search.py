"""Search of the best plans of a model on devices that exist: the whole stated space, with a certificate.

Best first: a plan enters with a cheap proven lower bound (`degree_bounds`); at the top it is held against the memory,
then bounded over all ways to cut its stages (`partitions`), then priced. What is still in the heap when its bound
exceeds the last plan of the list cannot be in it. Read `PlanSearch.run` first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np

from hardplace.branch_and_bound.loop import Deadline
from hardplace.branch_and_bound.types import Stop, check_gap
from hardplace.certificate import gap_of
from hardplace.errors import BadInput
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.placement.best_plans import BestPlans, ListedPlan
from hardplace.plans.placement.critical_paths import Effort
from hardplace.plans.placement.degree_map import DegreeMap
from hardplace.plans.placement.divisions import DegreeChoice, Divisions, Inventory
from hardplace.plans.placement.enumeration import eased, more_recomputed, recomputes, schedules, whole_plans
from hardplace.plans.placement.partitions import PlanPartitions, PricedCuts
from hardplace.plans.placement.result import PlacementResult
from hardplace.plans.placement.space import PlanSpace, check, no_degrees
from hardplace.plans.plan import Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.variations import variations
from hardplace.workload.types import Workload

BEST = 10
MOST_CUTS = 1000  # partitions of one plan that are priced in search of a better one
AT_FIRST, ONLY, AT_LAST = Effort(4), Effort(16), Effort(60, 64_000)  # by critical paths; ONLY: to propose, not prove
MOST_PROVEN = 20000  # those that may beat the best plan of all, and of all those that may change the list, to prove it


@dataclass(frozen=True, slots=True)
class _Variant:
    """A cell's plan, sharded; whole: with schedule and recompute, ready to be cut into stages."""

    cell: DegreeChoice
    plan: Plan
    whole: bool = False


@dataclass(frozen=True, slots=True)
class _Bounded:
    """All ways to cut a variant's stages, bounded, and the one with the least bound, priced."""

    family: PlanPartitions
    first: PricedCuts


class PlanSearch:
    """One search of plans.

    Args:
        workload: The model.
        inventory: Device, node and number, of each kind.
        space: What is fixed and what is searched.
        watch: Called with (considered, left in the heap, best seconds, lower bound) at each step.
        most: Number of plans to keep.
        gap: Ends when no plan can have more samples/s than the best by more than this share; 0: when the list of the
            best is proven.
        seconds: Wall-clock seconds after which it ends with what it has; None: no limit.
    """

    def __init__(
        self,
        workload: Workload,
        inventory: Inventory,
        space: PlanSpace,
        watch: Callable[[int, int, float, float], None] | None = None,
        most: int = BEST,
        gap: float = 0.0,
        seconds: float | None = None,
    ) -> None:
        check_gap(gap)
        self._gap, self._deadline = gap, Deadline(limit_s=seconds)
        self.divided, self.space, self.watch = Divisions(workload, inventory, space), space, watch
        self._list = BestPlans(most)
        self.considered = self.short = self.priced = self.cut_count = 0
        self.open_s, self._taken_s = math.inf, math.inf
        self._left: list[tuple[float, PlanPartitions]] = []  # partitions that are not priced: their bound, whose
        self._later: list[tuple[float, PlanPartitions]] = []  # the same, to be taken up when all else is done
        self._devices = sum(count for _, _, count in inventory)
        self._heap: list[tuple[float, int, DegreeChoice | _Variant | _Bounded]] = []
        self._count = itertools.count()
        self._map = DegreeMap()

    @property
    def best(self) -> list[ListedPlan]:
        """The best plans found, the fastest first."""
        return self._list.plans

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> PlacementResult | None:
        """Search and return the best plans; None if none fits.

        Raises:
            BadInput: If no degrees suit the model and the devices.
        """
        check(self.space, self.divided.shape, self._devices)
        stopped: Stop | None = None
        try:
            for cell in self.divided.cells():
                self._enter(cell)
            if not self.considered:
                raise BadInput(self.divided.refused) if self.divided.refused else no_degrees(self.space, self._devices)
            while self._heap and self._heap[0][0] < self._list.limit_s:
                self._taken_s = self._heap[0][0]  # first: an interrupt may come between any two steps
                if self._near(min(self._taken_s, *(bound_s for bound_s, _ in self._later), math.inf)):
                    stopped = Stop.GAP
                    break
                if self._deadline.over and self.best:
                    stopped = Stop.SECONDS
                    break
                one = heapq.heappop(self._heap)[2]
                self._tell(self._taken_s)
                self._refine(self._taken_s, one)
            if stopped is None:
                self._taken_s = math.inf
                self._settle()
        except KeyboardInterrupt:  # what was being refined is open, with the bound that it had
            if not self.best:
                raise
            stopped = Stop.INTERRUPTED
        return self._answer(stopped) if self.best else None

    def _near(self, bound_s: float) -> bool:
        """Return whether the best plan is within the gap of what is left."""
        return self._gap > 0.0 and bool(self.best) and gap_of(1.0 / self._list.best_s, 1.0 / bound_s) <= self._gap

    def _refine(self, bound_s: float, one: DegreeChoice | _Variant | _Bounded) -> None:
        """Take what is most promising one step further: collectives, schedules, ways to cut, sharding, price."""
        match one:
            case DegreeChoice(priced=False):
                priced = replace(one, priced=True)
                self._push(max(bound_s, self.divided.least_s(priced, one.plan, any_schedule=True)), priced)
            case DegreeChoice():
                for zero, over in one.sharded:
                    plan = replace(one.plan, zero=zero, shard=over)
                    self._push(max(bound_s, self.divided.end_s(one, plan, self._list.limit_s)), _Variant(one, plan))
            case _Variant(whole=False):
                for plan in self._variants(one.cell, one.plan):
                    more = more_recomputed(self.space, plan, self.divided.shape)
                    self._next(bound_s, one.cell, plan, [plan.recompute_layers, *more])
            case _Variant():
                self._cut(bound_s, one)
            case _Bounded():
                self._price(one.family, one.first)

    def _next(self, bound_s: float, cell: DegreeChoice, plan: Plan, counts: Sequence[int]) -> None:
        """Push a plan with the first of these numbers of each stage's layers recomputed with which it may fit."""
        fits = self.divided.may_fit_with(cell, plan, counts)
        first = int(np.argmax(fits)) if fits.any() else len(counts)
        self.short += first
        if first < len(counts):
            if counts[first] != plan.recompute_layers:
                plan = replace(plan, recompute_layers=counts[first])
            self._push(max(bound_s, self.divided.least_s(cell, plan)), _Variant(cell, plan, True))

    def _cut(self, bound_s: float, one: _Variant) -> None:
        """Bound a variant over all ways to cut its stages; then one more layer of each recomputed."""
        family = self.divided.family(one.cell, one.plan, self._list.limit_s)
        if family.least_s < self._list.limit_s:
            self.priced += 1
            self.cut_count += 1
            first = family.first()
            self._map.price(one.plan, first.step_s)
            self._list.keep(family, first)
            self._push(max(bound_s, family.least_s), _Bounded(family, first))
        elif math.isfinite(self._list.limit_s):  # slower than the tenth best, or none fits: the bound holds for both
            self._map.bound(one.plan, max(bound_s, self._list.limit_s))
        if more := more_recomputed(self.space, one.plan, self.divided.shape):
            self._next(max(bound_s, family.free_s), one.cell, one.plan, more)

    def _push(self, bound_s: float, one: DegreeChoice | _Variant | _Bounded) -> None:
        if bound_s < self._list.limit_s:
            heapq.heappush(self._heap, (bound_s, next(self._count), one))
        elif not isinstance(one, _Bounded):
            self._map.bound(one.plan, bound_s)

    def _price(self, family: PlanPartitions, first: PricedCuts) -> None:
        """Price all partitions whose bound is below what is known of a plan: its own first, the best of its name (in
        another order, with more or fewer layers recomputed), and the tenth best. In a V by critical paths; what is left
        then waits until the best step of all is known."""
        tried, left_s = [first], math.inf
        if family.plan.schedule.folds:
            effort = AT_FIRST if family.exact else ONLY
            faster, left_s = family.by_paths(min(first.step_s, self._list.wanted_s(family)), effort)
            tried += faster
        if not (family.plan.schedule.folds and family.exact):
            self._price_in_order(family, tried)
        elif math.isfinite(left_s):
            self._later.append((left_s, family))
        best = min(tried, key=lambda one: one.step_s)
        self.cut_count += len({one.cut for one in tried}) - 1  # the first was counted when it was found
        self._map.price(family.plan, best.step_s)
        if best.step_s < self._list.limit_s:
            self._list.keep(family, best)

    def _price_in_order(self, family: PlanPartitions, tried: list[PricedCuts]) -> None:
        """Price partitions from the least bound on, to those tried, which are added to."""
        known = len(tried)
        for batch in family.better(min(tried[0].step_s, self._list.wanted_s(family)), MOST_CUTS):
            tried += batch
        if len(tried) - known < MOST_CUTS:
            return
        # some may be left: of the ten best, or even faster than the best
        best_s = min(one.step_s for one in tried)
        most_s = min(self._list.best_s, best_s)
        faster, left_s = family.below(most_s, MOST_PROVEN)
        tried += faster
        self.open_s = min(self.open_s, left_s)
        least_s, _ = family.left(min(best_s, *(one.step_s for one in faster), self._list.wanted_s(family)))
        if math.isfinite(least_s):
            self._left.append((max(least_s, min(most_s, left_s)), family))

    def _settle_by_paths(self) -> None:
        """Price the partitions that wait and may beat the best plan; what may only change the list stays open."""
        self._later.sort(key=lambda one: -one[0])
        while self._later and not self._deadline.over:
            bound_s, family = self._later[-1]
            most_s, left_s = self._list.best_s, math.inf
            if bound_s < most_s:
                faster, left_s = family.by_paths(most_s, AT_LAST)
                self.cut_count += len(faster)
                if faster:
                    best = min(faster, key=lambda one: one.step_s)
                    self._list.keep(family, best)
                    most_s = min(most_s, best.step_s)
                self.open_s = min(self.open_s, left_s)
            self._left.append((max(bound_s, min(most_s, left_s)), family))
            self._later.pop()

    def _settle(self) -> None:
        """Price partitions that were left and may change the list, where they are few, from the least bound on; what
        is left of a plan stays in the certificate until nothing is left of it."""
        self._settle_by_paths()
        budget = MOST_PROVEN
        self._left.sort(key=lambda one: one[0])
        settled = 0
        while settled < len(self._left) and not self._deadline.over:
            known_s, family = self._left[settled]
            wanted_s = self._list.wanted_s(family)
            least_s, count = family.left(wanted_s)
            if count > budget:  # the list is proven below this bound at the most
                self._left[settled] = max(known_s, least_s), family
                break
            if count:
                priced, _ = family.below(wanted_s, budget)
                budget -= len(priced)
                self.cut_count += len(priced)
                best = min(priced, key=lambda one: one.step_s)
                self._map.price(family.plan, best.step_s)
                if best.step_s < wanted_s:
                    self._list.keep(family, best)
            settled += 1
        self._left = self._left[settled:]

    def _tell(self, bound_s: float) -> None:
        if self.watch is not None:
            self.watch(self.considered, len(self._heap), self._list.best_s, bound_s)

    # -- the space --------------------------------------------------------------------------------------------------

    def _enter(self, cell: DegreeChoice) -> None:
        """Put a cell on the heap, unless no plan of it can fit."""
        plans = [(schedule, virtual) for schedule, virtual in schedules(self.space, cell.plan, self.divided.shape)]
        kinds = recomputes(self.space, cell.plan, self.divided.shape)
        count = len(plans) * len(kinds) * len(cell.sharded)
        if self.space.within is not None:
            count = sum(map(self.space.admits, whole_plans(cell.plan, cell.sharded, plans, kinds)))
        self.considered += count
        if not count:
            return
        self._map.enter(cell.plan)
        zero = max(zero for zero, _ in cell.sharded)
        # of plans that recompute some layers of each stage the most: that is what keeps least
        most = max(some for _, some in kinds)
        ways = [replace(eased(cell.plan, kind, some), zero=zero) for kind, some in kinds if some in (0, most)]
        ways += [
            replace(eased(cell.plan, kind, some), schedule=schedule, virtual=virtual, zero=zero)
            for schedule, virtual in plans
            for kind, some in kinds
            if schedule.folds and not some
        ]
        if not any(self.divided.may_fit(cell, way) for way in reversed(ways)):
            self.short += count
            return
        self._push(self.divided.compute_s(cell), cell)

    def _variants(self, cell: DegreeChoice, sharded: Plan) -> Iterable[Plan]:
        """Yield schedules with recompute; of plans that recompute so many layers of each stage the first."""
        for schedule, virtual in schedules(self.space, sharded, self.divided.shape):
            some = False
            for kind, count in recomputes(self.space, sharded, self.divided.shape):
                if count and some:
                    continue
                plan = replace(eased(sharded, kind, count), schedule=schedule, virtual=virtual)
                if not self.space.admits(plan):
                    continue
                some = some or count > 0
                if any(problems(plan)):
                    self.short += 1
                else:
                    yield plan

    def _answer(self, stopped: Stop | None) -> PlacementResult:
        estimates = []
        for one in self.best:
            estimates.append(estimate_plan(one.family.chain, one.family.planned(one.cut), one.family.fleet))
        left_s = min([bound_s for bound_s, _, _ in self._heap], default=math.inf)
        first, cost = self.best[0], estimates[0]
        left_s = min(left_s, self._taken_s, self.open_s, *(bound_s for bound_s, _ in self._later))
        first_s = estimates[0].step_s
        list_s = min(left_s, *(bound_s for bound_s, _ in self._left), estimates[-1].step_s)
        return PlacementResult(
            best=tuple(estimates),
            # nothing below the best is left: its own step, as its estimate has it
            bound_s=first_s if left_s >= self._list.best_s else min(left_s, first_s),
            considered=self.considered,
            short=self.short,
            bounded=self.considered - self.short - self.priced,
            priced=self.priced,
            cuts=self.cut_count,
            list_bound_s=list_s,
            proven_plans=sum(one.step_s <= list_s * (1.0 + 1e-9) for one in self.best),
            stop=stopped or Stop.OPTIMAL,
            seconds=self._deadline.elapsed_s,
            degrees=self._map.outcomes((one.plan, bound_s) for bound_s, _, one in self._heap if _open(one)),
            variations=variations(first.family.chain, cost.plan, first.family.fleet),
        )


def _open(one: DegreeChoice | _Variant | _Bounded) -> TypeGuard[DegreeChoice | _Variant]:
    """Return whether plans of it are not priced yet."""
    return not isinstance(one, _Bounded)
