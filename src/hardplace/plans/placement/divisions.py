"""Divisions of a model among devices in all the ways of a space: layers, prices and bounds, each made once and kept."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.layers.recognise import decoder_of
from hardplace.cost.layers.recorded import FusedLayer, LayerFusion
from hardplace.cuts import Cut, Cuts, cuts_of
from hardplace.errors import BadInput
from hardplace.hardware.device import Node
from hardplace.ndtypes import Bools, Floats
from hardplace.plans.chain import LayerChain, chain_of, of_shape
from hardplace.plans.dividing import rank_layers
from hardplace.plans.estimate import PlanEstimate, estimate_plan
from hardplace.plans.fleet import DevicePool, Fleet, PlanDevice, fleet_of, pricing_of, with_headroom
from hardplace.plans.folding import folded
from hardplace.plans.pipeline import chunk_turns, simulated_micro_batches
from hardplace.plans.placement.critical_paths import StepPath
from hardplace.plans.placement.degree_bounds import (
    DegreeBounds,
    DividedBytes,
    LightestLayer,
    compute_step_s,
    layer_bytes,
    least_of,
    least_step_s,
    lightest_kinds,
    may_fit_with,
)
from hardplace.plans.placement.enumeration import eased, orders, pipelines, rank_degrees, shards
from hardplace.plans.placement.hops import Crossings, Hops, branching_hops, crossings_of, even_hops
from hardplace.plans.placement.partitions import PlanPartitions
from hardplace.plans.placement.space import ModelDims, PlanSpace, shape_of
from hardplace.plans.placement.stages import LayerColumns, LayerVariants, Stages, layers_of
from hardplace.plans.plan import INSIDE_OUT, Plan
from hardplace.plans.replica_traffic import replicas_of
from hardplace.plans.timing import Known, end_of_stage, groups_of
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Layer, Recompute, Workload

Inventory = Sequence[tuple[PlanDevice, Node, int]]


@dataclass(frozen=True, slots=True, eq=False)
class RankLayers:
    """The layers of a model on one rank at one micro-batch, without recompute and with each kind of it.

    Attributes:
        plain: Layers without recompute.
        recomputed: Layers by kind of recompute.
        weights: Lightest layers, of all and of the heavy ones, by kind of recompute.
    """

    plain: LayerChain
    recomputed: dict[Recompute, LayerChain]
    weights: dict[Recompute, tuple[LightestLayer, ...]]


@dataclass(frozen=True, slots=True)
class DegreeChoice:
    """The degrees of a plan with its layers, before sharding, schedule and recompute are chosen.

    Attributes:
        plan: The plan.
        block: Its layers on one rank.
        fleet: Its devices.
        hops: Seconds of a boundary tensor.
        sharded: ZeRO stages with the replicas that they shard over.
        priced: Whether its collectives are priced, which makes its bound tighter.
    """

    plan: Plan
    block: RankLayers
    fleet: Fleet
    hops: Hops
    sharded: tuple[tuple[int, int], ...]
    priced: bool = False


class Divisions:
    """All divisions of a model among devices; `refused` is the first reason why a degree does not suit it."""

    def __init__(self, workload: Workload, inventory: Inventory, space: PlanSpace) -> None:
        self.workload, self.inventory, self.space = workload, inventory, space
        self.shape: ModelDims = shape_of(workload)
        self.decoder = decoder_of(workload)
        edges = [(edge.source, edge.target) for edge in workload.edges] if self.shape.branches else []
        self.cuts: Cuts = cuts_of(len(workload.order), edges)
        self.refused: str = ""
        self._known: dict[Fleet, Known] = defaultdict(dict)
        self._layers: dict[tuple[object, ...], LayerColumns] = {}
        self._ends: dict[tuple[object, ...], dict[object, float]] = {}
        self._leasts: dict[tuple[object, ...], DegreeBounds] = {}
        self._stages: dict[tuple[object, ...], Stages] = {}
        self._fleets: dict[tuple[object, ...], Fleet] = {}
        self._shards = RankShards(workload)
        self._fusion = LayerFusion()
        self._fused: dict[Layer, FusedLayer] = {}
        self._bytes: dict[tuple[object, ...], list[tuple[DividedBytes, int]]] = {}
        self._fits: dict[tuple[object, ...], Bools] = {}  # the order of the degrees does not matter
        self._memory: dict[tuple[object, ...], Floats] = {}
        self._crossings: dict[tuple[object, ...], Crossings] = {}
        self._simulated: dict[tuple[object, ...], dict[Cut, Floats]] = {}
        self._paths: dict[tuple[object, ...], list[StepPath]] = {}
        self._folded: dict[LayerChain, LayerChain] = {}

    def each(self, plan: Plan) -> int:
        """Return the layers of a stage, rounded up."""
        return -(-self.shape.layers // plan.pipeline)

    def compute_s(self, cell: DegreeChoice) -> float:
        """Return a lower bound on the step from compute alone, which holds for any order of the degrees."""
        inward = replace(cell.plan, order=INSIDE_OUT)
        plain = [self.priced(cell, inward, cell.block.plain, site, 1) for site in cell.fleet.sites]
        return compute_step_s(cell.block.plain, plain, cell.plan)

    def cells(self) -> Iterable[DegreeChoice]:
        """Yield every choice of degrees, in each order that puts some process group on other network levels."""
        for base in self.space.bases():
            fleet = self._fleet(base)
            for ranked in rank_degrees(self.space, base, self.shape, fleet):
                made = self._made(ranked)
                if made is None:
                    continue
                blocks: dict[tuple[int, int], RankLayers] = {}
                for plan in pipelines(self.space, ranked, self.shape, fleet):
                    key = plan.micro_batch, plan.pipeline if plan.offload_layers else 0  # a share of a stage's layers
                    if key not in blocks:
                        blocks[key] = self._block(made, plan)
                    for ordered in orders(self.space, plan, fleet):
                        yield self._cell(ordered, blocks[key], fleet)

    def divisions(self) -> Iterable[tuple[Plan, dict[Recompute, LayerChain], Fleet]]:
        """Yield every way to divide the model at its least micro-batch, sharded as far as it goes, with its layers and
        devices.
        """
        found: dict[Plan, DegreeChoice] = {}
        for cell in self.cells():
            if cell.sharded:
                key = replace(cell.plan, micro_batch=1, order=INSIDE_OUT)
                if key not in found or cell.plan.micro_batch < found[key].plan.micro_batch:
                    found[key] = cell
        for cell in found.values():
            ways = [replace(cell.plan, zero=zero, shard=over) for zero, over in cell.sharded]
            most = max(ways, key=lambda one: (one.zero, one.sharded_over))
            yield most, cell.block.recomputed, cell.fleet

    def estimated(self, plan: Plan, chain: LayerChain, fleet: Fleet) -> PlanEstimate:
        """Return the estimate of a plan, from layers that are priced already where they can be."""
        return estimate_plan(chain, plan, fleet, self._known[fleet])

    def _fleet(self, base: Plan) -> Fleet:
        key = pricing_of(base)
        if key not in self._fleets:
            self._fleets[key] = with_headroom(fleet_of(self.inventory, base), self.space.headroom)
        return self._fleets[key]

    def _made(self, ranked: Plan) -> tuple[FusedLayer, ...] | None:
        """Return the layers of a rank; None where a degree divides nothing of the model."""
        try:
            if self.decoder is not None:
                of_shape(self.decoder, ranked)
                return ()
            if set(ranked.recompute_modules) - {"core_attn"}:
                said = "core_attn, or none: the model runs as recorded"
                raise BadInput("recompute_modules", "+".join(ranked.recompute_modules), said)
            layers = rank_layers(self.workload, ranked, self._shards)
            return tuple(self._fusing(one) for one in layers)
        except BadInput as problem:
            if not ranked.exchanges_heads or "context_exchange" in self.space.fixed:  # else others are tried too
                self.refused = self.refused or str(problem)
            return None

    def _fusing(self, layer: Layer) -> FusedLayer:
        found = self._fused.get(layer)
        if found is None:
            found = self._fused[layer] = self._fusion.of(layer)
        return found

    def _block(self, made: Sequence[FusedLayer], plan: Plan) -> RankLayers:
        full = chain_of(self.workload, made, self.decoder, eased(plan, Recompute.FULL, 1))
        kept = tuple(one.without_recompute for one in full.kept)
        plain = replace(full, layers=full.plain, plain=(), kept=kept) if full.plain else full
        recomputed = {Recompute.NONE: plain, Recompute.FULL: full}
        if not plan.flash or self.space.eases or Recompute.SELECTIVE in self.space.of("recompute", ()):
            recomputed[Recompute.SELECTIVE] = chain_of(
                self.workload, made, self.decoder, eased(plan, Recompute.SELECTIVE, 0)
            )
        weights = {kind: lightest_kinds(plain, chain) for kind, chain in recomputed.items()}
        return RankLayers(plain, recomputed, weights)

    def _cell(self, plan: Plan, block: RankLayers, fleet: Fleet) -> DegreeChoice:
        return DegreeChoice(
            plan, block, fleet, self._hops(plan, block.plain, fleet), tuple(shards(self.space, plan, fleet))
        )

    def _hops(self, plan: Plan, chain: LayerChain, fleet: Fleet) -> Hops:
        if plan.pipeline == 1:
            return even_hops(0.0, self.cuts)
        if not chain.edges:
            return even_hops(fleet.hop_s(plan, fleet.of_stages(plan), chain.crossing_bytes([0, 1])), self.cuts)
        key = (chain.edges, plan.pipeline)
        if key not in self._crossings:
            self._crossings[key] = crossings_of(chain, self.cuts, plan.pipeline)
        return branching_hops(self._crossings[key], plan, fleet)

    def least_s(self, cell: DegreeChoice, plan: Plan, *, any_schedule: bool = False) -> float:
        """Return a lower bound on the step over all ways to cut; with `any_schedule` over all schedules and
        recompute too.
        """
        if plan.offload_layers:  # recompute leaves less to move: it may be the faster one
            return 0.0
        least = self._least(cell, plan)
        if any_schedule:
            free = eased(plan, Recompute.NONE, 0)
            return least_step_s(least, free, cell.hops.least_s, any_schedule=True)
        return least_step_s(least, plan, cell.hops.least_s)

    def end_s(self, cell: DegreeChoice, plan: Plan, limit_s: float) -> float:
        """Return a lower bound on the step with its end, over all schedules, recompute and ways to cut.

        A stage with at least the mean of the layers does all its micro-batches, then ends its step. Recompute,
        embedding and head add more to them than hides of the end behind them (of fewer micro-batches than twice those
        that it hides behind, under hybrid sharding, where two reductions hide, that is not sure: 0). What always comes
        first or last counts as layers without parameters: the more layers, the more hides; of chunks the most, too.

        Args:
            cell: The degrees.
            plan: The plan, with its ZeRO stage.
            limit_s: Seconds beyond which the bound need not be tight.
        """
        chunked = plan.pipeline > 1 and self.each(plan) > 1
        plan = replace(plan, virtual=self.each(plan)) if chunked else plan  # the more chunks, the more hides
        twice = plan.zero and plan.shard and plan.micro_batches < 2 * chunk_turns(plan)[1]
        one_kind = len(cell.fleet.sites) == 1 and not plan.offload_layers
        if not self.shape.layers or cell.block.plain.edges or not one_kind or twice:
            return 0.0
        site, chain = cell.fleet.sites[0], cell.block.plain
        priced = self.priced(cell, plan, chain, site, 1)
        among = range(chain.inner.start, chain.inner.stop)
        if len(np.unique(priced.marks[chain.inner])) > 1 or any(
            at in among for one in chain.shared for at in one.layers
        ):
            return 0.0
        layer_s, fixed_s = priced.seconds[:, chain.inner.start], site.pricer.efficiencies.step_s
        known = self._ends_of(cell, plan)
        bare = replace(chain.layers[0], forward=(), parameters=0, expert_parameters=0, tensors=0)
        ends = len(chain.before), len(chain.after)
        together = plan.pipeline == 1 or any(one.folds for one in self.space.schedules)
        beside = (bare,) * (sum(ends) if together else max(ends))
        best_s = math.inf
        for count in range(self.each(plan), self.shape.layers + 1):
            floor_s = plan.micro_batches * count * float(layer_s.sum()) + fixed_s
            if floor_s >= min(best_s, limit_s):
                return min(best_s, floor_s)
            if count not in known:
                work = (*chain.layers[:count], *beside)
                forward_s, backward_s = count * float(layer_s[0]), count * float(layer_s[1:].sum())
                known[count] = end_of_stage(work, plan, site, forward_s, backward_s)
            best_s = min(best_s, floor_s + known[count])
        return best_s

    def _ends_of(self, cell: DegreeChoice, plan: Plan) -> dict[object, float]:
        group = (cell.block, cell.plan.order, cell.plan.pipeline, cell.plan.kinds)
        kind = plan.recompute, plan.schedule.apart, plan.schedule.folds, chunk_turns(plan)
        key = (*group, plan.zero, plan.shard, *kind)
        return self._ends.setdefault(key, {})

    def _least(self, cell: DegreeChoice, plan: Plan) -> DegreeBounds:
        chain = cell.block.recomputed[plan.recompute]
        plain = [self.priced(cell, plan, cell.block.plain, site, 1) for site in cell.fleet.sites]
        key = (chain, *plain)
        if key not in self._leasts:
            again = plain
            if chain is not cell.block.plain:
                again = [self.priced(cell, plan, chain, site, 2) for site in cell.fleet.sites]
            self._leasts[key] = least_of(chain, plain, again)
        return self._leasts[key]

    def priced(self, cell: DegreeChoice, plan: Plan, chain: LayerChain, site: DevicePool, seed: int) -> LayerColumns:
        """Return the layers of a chain, priced on one kind of device."""
        apart = plan.schedule.apart
        divided: tuple[object, ...] = ()
        if plan.zero >= 2:  # parameters and gradients travel in every pass
            divided = (plan.zero, plan.shard, plan.overlap, plan.gradient, plan.micro_batches, *replicas_of(plan))
        groups = tuple(groups_of(plan).values())
        key = (chain, cell.fleet, site.device, seed, apart, divided, groups)
        if key not in self._layers:
            self._layers[key] = layers_of(chain, plan, site, self._known[cell.fleet], seed)
        return self._layers[key]

    def may_fit(self, cell: DegreeChoice, plan: Plan) -> bool:
        """Return whether some way to cut a plan's stages may fit the devices."""
        return bool(self.may_fit_with(cell, plan, (plan.recompute_layers,))[0])

    def may_fit_with(self, cell: DegreeChoice, plan: Plan, counts: Sequence[int]) -> Bools:
        """Return whether some way to cut a plan's stages may fit the devices with so many layers of each stage
        recomputed, (counts,)."""
        over = (plan.sharded_over, plan.experts_sharded_over)
        bytes_key = (cell.block, plan.recompute, plan.zero, over)
        kept = (plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
        key = (bytes_key, kept, cell.fleet, plan.kinds, *counts)
        if key not in self._fits:
            if bytes_key not in self._bytes:
                kinds = cell.block.weights[plan.recompute]
                self._bytes[bytes_key] = [(layer_bytes(one, plan), one.layers) for one in kinds]
            memory = self._usable_bytes(cell.fleet, plan)
            found = np.ones(len(counts), dtype=bool)
            for each, layers in self._bytes[bytes_key]:
                found &= may_fit_with(counts, each, layers, plan, memory)
            self._fits[key] = found
        return self._fits[key]

    def _usable_bytes(self, fleet: Fleet, plan: Plan) -> Floats:
        key = (fleet, plan.pipeline, plan.kinds)
        if key not in self._memory:
            self._memory[key] = np.array([site.usable_bytes for site in fleet.of_stages(plan)])
        return self._memory[key]

    def _fold(self, chain: LayerChain) -> LayerChain:
        if chain not in self._folded:
            self._folded[chain] = folded(chain)
        return self._folded[chain]

    def family(self, cell: DegreeChoice, plan: Plan, limit_s: float) -> PlanPartitions:
        """Return all ways to cut a plan's stages, bounded as far as they are below a limit in seconds."""
        chain, bare = cell.block.recomputed[plan.recompute], cell.block.plain
        if plan.schedule.folds:
            chain, bare = self._fold(chain), self._fold(bare)
        by_site = {}
        for site in cell.fleet.sites:
            plain = self.priced(cell, plan, bare, site, 1)
            again = plain if chain is bare else self.priced(cell, plan, chain, site, 2)
            key = (plain, again, plan.virtual, plan.recompute_layers)
            if key not in self._stages:
                parts = LayerVariants(chain, self.cuts, again, plain)
                self._stages[key] = Stages(parts, plan.virtual, plan.recompute_layers, site)
            by_site[site.device] = self._stages[key]
        alike = (*by_site.values(), plan.pipeline, plan.kinds, plan.order, plan.schedule, plan.micro_batches)
        simulated, ends = self._simulated.setdefault(alike, {}), self._ends_of(cell, plan)
        times = simulated_micro_batches(plan.pipeline, plan.micro_batches)
        paths = self._paths.setdefault((plan.pipeline, times, plan.schedule), [])
        return PlanPartitions(plan, cell.fleet, by_site, cell.hops, ends, simulated, paths, limit_s)
