"""The best plans of a model on devices that exist: the whole stated space, with a certificate.

Best first: a plan enters with a proven lower bound that is cheap (search/cells.py); at the top it is held against the
memory, then bounded over all ways to cut its stages (search/family.py), then priced. What is still in the heap when its
bound exceeds the tenth best plan cannot be among the ten best. Read `Search.run` first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.cuts import Cuts, cuts_of
from hardplace.placement.plan import INSIDE_OUT, Plan, Schedule, problems
from hardplace.search.cells import Least, Weights, compute_step_s, least_of, least_step_s, may_fit, weights_of
from hardplace.search.chain import Chain, chain_of
from hardplace.search.clusters import Fleet, Site, fleet_of
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.family import Cut, Family, Priced
from hardplace.search.space import (
    Shape,
    Space,
    check,
    orders,
    pipelines,
    rank_degrees,
    recomputes,
    schedules,
    shape_of,
    shards,
)
from hardplace.search.stages import Layers, Parts, Stages, layers_of
from hardplace.search.timing import Known, end_of_stage
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Layer, Parallelism, Recompute, Workload

BEST = 10
MOST_CUTS = 1000  # partitions of one plan that are priced in search of a better one
Inventory = Sequence[tuple[Device, Node, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The best plans, fastest first, and the certificate.

    bound_s: no plan of the space is faster. considered: plans before their stages are cut; of them short of memory,
    discarded by their bounds, priced (with so many ways to cut). stopped: by the user before the end.
    """

    best: tuple[PlanEstimate, ...]
    bound_s: float
    considered: int
    short: int
    bounded: int
    priced: int
    cuts: int
    stopped: bool

    @property
    def gap(self) -> float:
        """How much faster than the best plan another one could be, as a share of its seconds; 0: it is the optimum."""
        return max(0.0, 1.0 - self.bound_s / self.best[0].step_s)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A plan's degrees with its layers, before sharding, schedule and recompute; priced: with its collectives."""

    plan: Plan
    block: _Block
    fleet: Fleet
    hop_s: float
    sharded: tuple[tuple[int, int], ...]
    priced: bool = False


@dataclass(frozen=True, slots=True)
class _Variant:
    """A cell's plan, sharded; whole: with schedule and recompute, ready to be cut into stages."""

    cell: _Cell
    plan: Plan
    whole: bool = False


@dataclass(slots=True)
class _Block:
    """A model's layers on one rank at one micro-batch: without recompute and with it (by kind)."""

    plain: Chain
    recomputed: dict[Recompute, Chain]
    weights: dict[Recompute, Weights]


@dataclass(slots=True)
class _Found:
    step_s: float
    name: Plan
    family: Family
    cut: Cut


class Search:
    """One search; watch: told (considered, left in the heap, best seconds, bound) at each step; most: plans to keep."""

    def __init__(
        self,
        workload: Workload,
        inventory: Inventory,
        space: Space,
        watch: Callable[[int, int, float, float], None] | None = None,
        most: int = BEST,
    ) -> None:
        self.most = most
        self.workload, self.inventory, self.space, self.watch = workload, inventory, space, watch
        self.shape: Shape = shape_of(workload)
        edges = [(edge.source, edge.target) for edge in workload.edges] if self.shape.branches else []
        self.cuts: Cuts = cuts_of(len(workload.order), edges)
        self.best: list[_Found] = []
        self.considered = self.short = self.priced = self.cut_count = 0
        self.open_s = math.inf
        self.refused: str = ""
        self._heap: list[tuple[float, int, _Cell | _Variant | Family]] = []
        self._count = itertools.count()
        self._known: dict[int, Known] = defaultdict(dict)
        self._layers: dict[tuple[object, ...], Layers] = {}
        self._ends: dict[tuple[object, ...], dict[object, float]] = {}
        self._leasts: dict[tuple[object, ...], Least] = {}
        self._stages: dict[tuple[object, ...], Stages] = {}
        self._fleets: dict[tuple[object, ...], Fleet] = {}

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> Placed | None:
        """Return the best plans; None if none fits. Raises BadInput if no degrees suit the model and the devices."""
        check(self.space, self.shape, sum(count for _, _, count in self.inventory))
        stopped = False
        try:
            for cell in self._cells():
                self._enter(cell)
            if not self.considered:
                raise BadInput(self.refused or self._nothing())
            while self._heap and self._heap[0][0] < self.limit_s:
                bound_s, _, one = heapq.heappop(self._heap)
                self._tell(bound_s)
                self._refine(bound_s, one)
        except KeyboardInterrupt:
            if not self.best:
                raise
            stopped = True
        return self._answer(stopped) if self.best else None

    def _refine(self, bound_s: float, one: _Cell | _Variant | Family) -> None:
        """Take what is most promising one step further: collectives, schedules, ways to cut, sharding, price."""
        match one:
            case _Cell(priced=False):
                priced = replace(one, priced=True)
                self._push(max(bound_s, self._least_s(priced, one.plan, any_schedule=True)), priced)
            case _Cell():
                for zero, over in one.sharded:
                    plan = replace(one.plan, zero=zero, shard=over)
                    self._push(max(bound_s, self._end_s(one, plan)), _Variant(one, plan))
            case _Variant(whole=False):
                for plan in self._variants(one.cell, one.plan):
                    self._next(bound_s, _Variant(one.cell, plan, True))
            case _Variant():
                self._cut(bound_s, one)
            case Family():
                self._price(one)

    def _next(self, bound_s: float, one: _Variant) -> None:
        """Push a variant, or the first that may fit of those with more layers of each stage recomputed."""
        plan = one.plan
        while not self._may_fit(one.cell, plan):
            self.short += 1
            count = plan.recompute_layers
            if not count or count + 1 >= self._each(plan) or not self.space.allows("recompute_layers", count + 1):
                return
            plan = replace(plan, recompute_layers=count + 1)
        self._push(max(bound_s, self._least_s(one.cell, plan)), _Variant(one.cell, plan, True))

    def _cut(self, bound_s: float, one: _Variant) -> None:
        """Bound a variant over all ways to cut its stages; then one more layer of each recomputed."""
        family = self._family(one.cell, one.plan)
        if family.least_s < self.limit_s:
            self.priced += 1
            self.cut_count += 1
            self._keep(family, family.first())
            self._push(max(bound_s, family.least_s), family)
        count = one.plan.recompute_layers
        if count and count + 1 < self._each(one.plan) and self.space.allows("recompute_layers", count + 1):
            more = _Variant(one.cell, replace(one.plan, recompute_layers=count + 1))
            self._next(max(bound_s, family.free_s), more)

    def _each(self, plan: Plan) -> int:
        return -(-self.shape.layers // plan.pipeline)

    @property
    def limit_s(self) -> float:
        """What a plan must beat to be among the best."""
        return self.best[-1].step_s if len(self.best) == self.most else math.inf

    def _push(self, bound_s: float, one: _Cell | _Variant | Family) -> None:
        if bound_s < self.limit_s:
            heapq.heappush(self._heap, (bound_s, next(self._count), one))

    def _price(self, family: Family) -> None:
        """Price all partitions whose bound is below what is known of a plan."""
        found = next((one for one in self.best if one.family is family), None)
        if found is None:
            return
        best, count = Priced(found.cut, found.step_s), 0
        for batch in family.better(min(found.step_s, self.limit_s), MOST_CUTS):
            count += len(batch)
            best = min(best, *batch, key=lambda one: one.step_s)
        self.cut_count += count
        if count == MOST_CUTS:  # some may be left
            self.open_s = min(self.open_s, family.least_s)
        self._keep(family, best)

    def _keep(self, family: Family, found: Priced) -> None:
        """Keep the best plans that differ in more than order and how many layers of a stage are recomputed."""
        name = replace(family.plan, recompute_layers=min(1, family.plan.recompute_layers), order=INSIDE_OUT)
        others = [one for one in self.best if one.name != name or one.step_s < found.step_s]
        if not any(one.name == name for one in others):
            others.append(_Found(found.step_s, name, family, found.cut))
        self.best = sorted(others, key=lambda one: one.step_s)[: self.most]

    def _tell(self, bound_s: float) -> None:
        if self.watch is not None:
            best_s = self.best[0].step_s if self.best else math.inf
            self.watch(self.considered, len(self._heap), best_s, bound_s)

    # -- the space --------------------------------------------------------------------------------------------------

    def _cells(self) -> Iterable[_Cell]:
        for base in self.space.bases():
            fleet = self._fleet(base)
            for ranked in rank_degrees(self.space, base, self.shape, fleet.devices):
                made = self._made(ranked)
                if made is None:
                    continue
                blocks: dict[int, _Block] = {}
                for plan in pipelines(self.space, ranked, self.shape, fleet):
                    if plan.micro_batch not in blocks:
                        blocks[plan.micro_batch] = self._block(made, plan)
                    for ordered in orders(self.space, plan, fleet):
                        yield self._cell(ordered, blocks[plan.micro_batch], fleet)

    def divisions(self) -> Iterable[tuple[Plan, dict[Recompute, Chain], Fleet]]:
        """Yield every way to divide the model at its least micro-batch, sharded as far as it goes, with its chains."""
        seen: set[Plan] = set()
        for cell in self._cells():
            least = replace(cell.plan, micro_batch=1, order=INSIDE_OUT)
            if least not in seen:
                seen.add(least)
                yield replace(cell.plan, zero=max(zero for zero, _ in cell.sharded)), cell.block.recomputed, cell.fleet

    def estimated(self, plan: Plan, chain: Chain, fleet: Fleet) -> PlanEstimate:
        """Return the estimate of a plan whose layers are priced already where they can be."""
        return estimate_plan(chain, plan, fleet, self._known[id(fleet)])

    def _fleet(self, base: Plan) -> Fleet:
        key = (base.precision, base.flash)
        if key not in self._fleets:
            self._fleets[key] = fleet_of(self.inventory, base)
        return self._fleets[key]

    def _made(self, ranked: Plan) -> tuple[Layer, ...] | None:
        """Return the layers of a rank; None where a degree divides nothing of the model."""
        degrees = Parallelism(
            tensor=ranked.tensor, sequence=ranked.sequence, context=ranked.context, expert=ranked.expert
        )
        try:
            check_degrees(self.workload, degrees)
        except BadInput as problem:
            self.refused = self.refused or str(problem)
            return None
        return shard(self.workload, degrees).layers

    def _block(self, made: Sequence[Layer], plan: Plan) -> _Block:
        full = chain_of(self.workload, made, replace(plan, recompute=Recompute.FULL, recompute_layers=1))
        plain = replace(full, layers=full.plain, plain=()) if full.plain else full
        recomputed = {Recompute.NONE: plain, Recompute.FULL: full}
        if not plan.flash:
            recomputed[Recompute.SELECTIVE] = chain_of(
                self.workload, made, replace(plan, recompute=Recompute.SELECTIVE, recompute_layers=0)
            )
        weights = {kind: weights_of(plain.layers, chain.layers) for kind, chain in recomputed.items()}
        return _Block(plain, recomputed, weights)

    def _enter(self, cell: _Cell) -> None:
        """Put a cell on the heap, unless no plan of it can fit."""
        plans = [(schedule, virtual) for schedule, virtual in schedules(self.space, cell.plan, self.shape)]
        kinds = recomputes(self.space, cell.plan, self.shape)
        count = len(plans) * len(kinds) * len(cell.sharded)
        self.considered += count
        if not count:
            return
        lightest = Recompute.FULL if any(kind is Recompute.FULL for kind, _ in kinds) else kinds[-1][0]
        zero = max(zero for zero, _ in cell.sharded)
        if not self._may_fit(cell, replace(cell.plan, recompute=lightest, zero=zero)):
            self.short += count
            return
        plain = [self._priced(cell, self._inward(cell.plan), cell.block.plain, site, 1) for site in cell.fleet.sites]
        self._push(compute_step_s(cell.block.plain, plain, self.shape.layers, cell.plan), cell)

    def _inward(self, plan: Plan) -> Plan:
        return replace(plan, order=INSIDE_OUT)

    def _cell(self, plan: Plan, block: _Block, fleet: Fleet) -> _Cell:
        hop_s = 0.0
        if plan.pipeline > 1 and not block.plain.edges:
            hop_s = fleet.hop_s(plan, fleet.of_stages(plan), block.plain.crossing_bytes([0, 1]))
        return _Cell(plan, block, fleet, hop_s, tuple(shards(self.space, plan, fleet)))

    def _variants(self, cell: _Cell, sharded: Plan) -> Iterable[Plan]:
        """Yield schedules with recompute; of plans that recompute so many layers of each stage the first."""
        for schedule, virtual in schedules(self.space, sharded, self.shape):
            some = False
            for kind, count in recomputes(self.space, sharded, self.shape):
                if count and some and "recompute_layers" not in self.space.fixed:
                    continue
                some = some or count > 0
                plan = replace(sharded, schedule=schedule, virtual=virtual, recompute=kind, recompute_layers=count)
                if any(problems(plan)):
                    self.short += 1
                else:
                    yield plan

    # -- bounds -----------------------------------------------------------------------------------------------------

    def _least_s(self, cell: _Cell, plan: Plan, *, any_schedule: bool = False) -> float:
        """Return a bound over all ways to cut; any_schedule: over all schedules and recompute too."""
        least = self._least(cell, plan)
        if any_schedule:
            free = replace(plan, recompute=Recompute.NONE, recompute_layers=0)
            return least_step_s(least, self.shape.layers, free, cell.hop_s, any_schedule=True)
        return least_step_s(least, self.shape.layers, plan, cell.hop_s)

    def _end_s(self, cell: _Cell, plan: Plan) -> float:
        """Return a bound over all schedules, recompute and ways to cut: a stage with at least the mean of the layers
        does all its micro-batches, then ends its step. Recompute adds more to them than it hides of the end."""
        if not self.shape.layers or cell.block.plain.edges or len(cell.fleet.sites) > 1:
            return 0.0
        site, chain = cell.fleet.sites[0], cell.block.plain
        priced = self._priced(cell, plan, chain, site, 1)
        first, last = len(chain.before), len(chain.whole) - len(chain.after)
        if len(np.unique(priced.marks[first:last])) > 1:
            return 0.0
        layer_s, fixed_s = priced.seconds[:, first], site.pricer.efficiencies.step_s
        known = self._ends_of(cell, plan)
        best_s = math.inf
        for count in range(self._each(plan), self.shape.layers + 1):
            floor_s = plan.micro_batches * count * float(layer_s.sum()) + fixed_s
            if floor_s >= min(best_s, self.limit_s):
                return min(best_s, floor_s)
            if count not in known:
                work = chain.layers[:count]
                known[count] = sum(
                    end_of_stage(work, plan, site, count * float(layer_s[0]), count * float(layer_s[1:].sum()))
                )
            best_s = min(best_s, floor_s + known[count])
        return best_s

    def _ends_of(self, cell: _Cell, plan: Plan) -> dict[object, float]:
        group = (id(cell.block), cell.plan.order, cell.plan.pipeline, cell.plan.kinds)
        key = (*group, plan.zero, plan.shard, plan.recompute, plan.schedule is Schedule.ZERO_BUBBLE)
        return self._ends.setdefault(key, {})

    def _least(self, cell: _Cell, plan: Plan) -> Least:
        chain = cell.block.recomputed[plan.recompute]
        plain = [self._priced(cell, plan, cell.block.plain, site, 1) for site in cell.fleet.sites]
        key = (id(chain), *(id(one) for one in plain))
        if key not in self._leasts:
            again = [self._priced(cell, plan, chain, site, 2) for site in cell.fleet.sites]
            self._leasts[key] = least_of(chain, plain, again)
        return self._leasts[key]

    def _priced(self, cell: _Cell, plan: Plan, chain: Chain, site: Site, seed: int) -> Layers:
        apart = plan.schedule is Schedule.ZERO_BUBBLE
        three = (plan.zero, plan.shard, plan.data, plan.overlap, plan.gradient) if plan.zero == 3 else ()
        strides = (plan.order, plan.pipeline, plan.data) if plan.order[0] is not plan.order[0].TENSOR else ()
        key = (id(chain), id(cell.fleet), site.device, seed, apart, three, strides)
        if key not in self._layers:
            self._layers[key] = layers_of(chain.whole, plan, site, self._known[id(cell.fleet)], seed)
        return self._layers[key]

    def _may_fit(self, cell: _Cell, plan: Plan) -> bool:
        memory = [site.memory_bytes for site in cell.fleet.of_stages(plan)]
        return may_fit(cell.block.weights[plan.recompute], self.shape.layers, plan, memory)

    def _family(self, cell: _Cell, plan: Plan) -> Family:
        chain = cell.block.recomputed[plan.recompute]
        by_site = {}
        for site in cell.fleet.sites:
            plain = self._priced(cell, plan, cell.block.plain, site, 1)
            again = self._priced(cell, plan, chain, site, 2)
            key = (id(plain), id(again), plan.virtual, plan.recompute_layers)
            if key not in self._stages:
                parts = Parts(chain, self.cuts, again, plain)
                self._stages[key] = Stages(parts, plan.virtual, plan.recompute_layers, site)
            by_site[site.device] = self._stages[key]
        return Family(plan, cell.fleet, by_site, self._ends_of(cell, plan), self.limit_s)

    # -- the answer -------------------------------------------------------------------------------------------------

    def _answer(self, stopped: bool) -> Placed:
        estimates = []
        for one in self.best:
            estimates.append(estimate_plan(one.family.chain, one.family.planned(one.cut), one.family.fleet))
        left_s = min((bound_s for bound_s, _, _ in self._heap), default=math.inf)
        return Placed(
            best=tuple(estimates),
            bound_s=min(left_s, self.open_s, self.best[0].step_s),
            considered=self.considered,
            short=self.short,
            bounded=self.considered - self.short - self.priced,
            priced=self.priced,
            cuts=self.cut_count,
            stopped=stopped,
        )

    def _nothing(self) -> str:
        devices = sum(count for _, _, count in self.inventory)
        if self.space.fixed:
            names = ", ".join(f"{name}={','.join(map(str, values))}" for name, values in self.space.fixed.items())
            return (
                f"--fix {names}: no plan of {devices:,} devices with {self.space.global_batch:,} samples has these: "
                f"expected degrees that multiply to the devices, and data x micro_batch that divides the batch"
            )
        return (
            f"--batch {self.space.global_batch}: no data-parallel degree of {devices:,} devices divides it: expected a "
            f"multiple of devices / (tensor x pipeline)"
        )
