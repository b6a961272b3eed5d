"""The best plans of a model on devices that exist: the whole stated space, with a certificate.

Best first: a plan enters with a proven lower bound that is cheap (search/cells.py); at the top it is held against the
memory, then bounded over all ways to cut its stages (search/family.py), then priced. What is still in the heap when its
bound exceeds the tenth best plan cannot be among the ten best. Read `Search.run` first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hardplace.errors import BadInput
from hardplace.hardware.device import Device, Node
from hardplace.placement.cuts import Cuts, cuts_of
from hardplace.placement.plan import Plan, Schedule, problems
from hardplace.search.cells import Least, Weights, least_of, least_step_s, may_fit, weights_of
from hardplace.search.chain import Chain, chain_of, of_workload
from hardplace.search.clusters import Fleet, Site, fleet_of
from hardplace.search.estimate import PlanEstimate, estimate_plan
from hardplace.search.family import Cut, Family
from hardplace.search.space import (
    Shape,
    Space,
    orders,
    pipelines,
    rank_degrees,
    recomputes,
    schedules,
    shape_of,
    shards,
)
from hardplace.search.stages import Layers, Parts, layers_of
from hardplace.search.timing import Known
from hardplace.workload.rank import check_degrees
from hardplace.workload.sharding import shard
from hardplace.workload.types import Layer, Parallelism, Recompute, Workload

BEST = 10
MOST_CUTS = 2000  # partitions of one plan that are priced in search of a better one
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
    """A plan's degrees with its chains and what they take, before schedule, recompute and sharding."""

    plan: Plan
    block: _Block
    fleet: Fleet
    hop_s: float


@dataclass(frozen=True, slots=True)
class _Node:
    cell: _Cell
    plan: Plan
    sharded: bool


@dataclass(slots=True)
class _Block:
    """A model's layers on one rank at one micro-batch: without recompute and with it (by kind)."""

    plain: Chain
    recomputed: dict[Recompute, Chain]
    weights: dict[Recompute, Weights]


@dataclass(slots=True)
class _Found:
    step_s: float
    family: Family
    cut: Cut


class Search:
    """One search; watch: told (considered, left in the heap, best seconds, bound) now and then."""

    def __init__(
        self,
        workload: Workload,
        inventory: Inventory,
        space: Space,
        watch: Callable[[int, int, float, float], None] | None = None,
    ) -> None:
        self.workload, self.inventory, self.space, self.watch = workload, inventory, space, watch
        self.shape: Shape = shape_of(workload)
        edges = [(edge.source, edge.target) for edge in workload.edges] if self.shape.branches else []
        self.cuts: Cuts = cuts_of(len(workload.order), edges)
        self.best: list[_Found] = []
        self.considered = self.short = self.priced = self.cut_count = 0
        self.open_s = math.inf
        self.refused: str = ""
        self._heap: list[tuple[float, int, _Node | Family]] = []
        self._count = itertools.count()
        self._known: Known = {}
        self._layers: dict[tuple[object, ...], Layers] = {}
        self._ends: dict[tuple[object, ...], dict[object, float]] = {}
        self._fleets: dict[tuple[object, ...], Fleet] = {}

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> Placed | None:
        """Return the best plans; None if none fits. Raises BadInput if no degrees of the space suit model and devices."""
        stopped = False
        try:
            for cell in self._cells():
                for plan in self._variants(cell):
                    self._push(self._least_s(cell, plan), _Node(cell, plan, False))
            if not self.considered:
                raise BadInput(self.refused or self._nothing())
            while self._heap and self._heap[0][0] < self.limit_s:
                bound_s, _, one = heapq.heappop(self._heap)
                self._tell(bound_s)
                if isinstance(one, Family):
                    self._price(one)
                elif not self._may_fit(one.cell, one.plan):
                    self.short += 1
                elif one.sharded:
                    family = self._family(one.cell, one.plan)
                    self.short += not family.fits
                    self._push(family.least_s, family)
                else:
                    for plan in self._sharded(one.cell, one.plan):
                        self._push(bound_s, _Node(one.cell, plan, True))
        except KeyboardInterrupt:
            if not self.best:
                raise
            stopped = True
        return self._answer(stopped) if self.best else None

    @property
    def limit_s(self) -> float:
        """What a plan must beat to be among the best."""
        return self.best[-1].step_s if len(self.best) == BEST else math.inf

    def _push(self, bound_s: float, one: _Node | Family) -> None:
        if bound_s < self.limit_s:
            heapq.heappush(self._heap, (bound_s, next(self._count), one))

    def _price(self, family: Family) -> None:
        """Price the partition with the least bound, then all others whose bound is below what is known."""
        self.priced += 1
        found = family.first()
        self.cut_count += 1
        for batch in family.better(min(found.step_s, self.limit_s), MOST_CUTS):
            self.cut_count += len(batch)
            found = min(found, *batch, key=lambda one: one.step_s)
        self.best.append(_Found(found.step_s, family, found.cut))
        self.best.sort(key=lambda one: one.step_s)
        del self.best[BEST:]

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

    def _cell(self, plan: Plan, block: _Block, fleet: Fleet) -> _Cell:
        hop_s = 0.0
        if plan.pipeline > 1 and not block.plain.edges:
            hop_s = fleet.hop_s(plan, fleet.of_stages(plan), block.plain.crossing_bytes([0, 1]))
        return _Cell(plan, block, fleet, hop_s)

    def _variants(self, cell: _Cell) -> Iterable[Plan]:
        for schedule, virtual in schedules(self.space, cell.plan, self.shape):
            for kind, count in recomputes(self.space, cell.plan, self.shape):
                plan = replace(
                    cell.plan, schedule=schedule, virtual=virtual, recompute=kind, recompute_layers=count, zero=0
                )
                self.considered += len(shards(self.space, plan, cell.fleet))
                yield plan

    def _sharded(self, cell: _Cell, plan: Plan) -> Iterable[Plan]:
        for zero, over in shards(self.space, plan, cell.fleet):
            one = replace(plan, zero=zero, shard=over)
            if not any(problems(one)):
                yield one

    # -- bounds -----------------------------------------------------------------------------------------------------

    def _least_s(self, cell: _Cell, plan: Plan) -> float:
        return least_step_s(self._least(cell, plan), self.shape.layers, plan, cell.hop_s)

    def _least(self, cell: _Cell, plan: Plan) -> Least:
        plain = [self._priced(cell, plan, cell.block.plain, site, 1) for site in cell.fleet.sites]
        chain = cell.block.recomputed[plan.recompute]
        return least_of(chain, plain, [self._priced(cell, plan, chain, site, 2) for site in cell.fleet.sites])

    def _priced(self, cell: _Cell, plan: Plan, chain: Chain, site: Site, seed: int) -> Layers:
        apart = plan.schedule is Schedule.ZERO_BUBBLE
        three = (plan.zero, plan.shard, plan.data) if plan.zero == 3 else ()
        strides = (plan.order, plan.pipeline, plan.data) if plan.order[0] is not plan.order[0].TENSOR else ()
        key = (id(chain), id(cell.fleet), site.device, seed, apart, three, strides)
        if key not in self._layers:
            self._layers[key] = layers_of(chain.whole, plan, site, self._known, seed)
        return self._layers[key]

    def _may_fit(self, cell: _Cell, plan: Plan) -> bool:
        weights = cell.block.weights[plan.recompute]
        memory = [site.memory_bytes for site in cell.fleet.of_stages(plan)]
        if plan.zero == 0:  # not yet chosen: as divided as it goes
            last = max(shards(self.space, plan, cell.fleet), key=lambda one: (one[0], -one[1]))
            plan = replace(plan, zero=last[0], shard=0)
        return may_fit(weights, self.shape.layers, plan, memory)

    def _family(self, cell: _Cell, plan: Plan) -> Family:
        parts = {}
        for site in cell.fleet.sites:
            plain = self._priced(cell, plan, cell.block.plain, site, 1)
            chain = cell.block.recomputed[plan.recompute]
            parts[site.device] = Parts(chain, self.cuts, self._priced(cell, plan, chain, site, 2), plain)
        key = (
            id(cell),
            plan.zero,
            plan.shard,
            plan.recompute,
            plan.schedule is Schedule.ZERO_BUBBLE,
        )
        return Family(plan, cell.fleet, parts, self._ends.setdefault(key, {}), self.limit_s)

    # -- the answer -------------------------------------------------------------------------------------------------

    def _answer(self, stopped: bool) -> Placed:
        estimates = []
        for one in self.best:
            plan = one.family.planned(one.cut)
            chain = of_workload(self.workload, plan)
            estimates.append(estimate_plan(chain, plan, one.family.fleet))
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
        return (
            f"--batch {self.space.global_batch}: no data-parallel degree of {devices} devices divides it: expected a "
            f"multiple of devices / (tensor x pipeline)"
        )
