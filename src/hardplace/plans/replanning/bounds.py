"""Bounds of plans that a running one may become: seconds of runs of layers as sums, and of the pipeline.

Source: docs/model-replan.md, "Bounds".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.layers.low_precision import CastBytes
from hardplace.cost.layers.work import LayerWork
from hardplace.ndtypes import Floats, Ints
from hardplace.plans.chain import LayerChain
from hardplace.plans.chunks import held, kept_again
from hardplace.plans.fleet import DevicePool
from hardplace.plans.memory import StageContents
from hardplace.plans.pipeline import Pipelined, least, pipelined
from hardplace.plans.placement.degree_bounds import LightestLayer, lightest_of
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.stage_sizes import stage_layers
from hardplace.plans.timing import Known, layer_seconds
from hardplace.workload.weights import WeightSizes, surplus

Stages = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCuts:
    """A chain cut into stages.

    Attributes:
        first: Index of the first layer that is cut.
        last: Index after the last layer that is cut.
        edges: Where each stage begins, and the end.
    """

    first: int
    last: int
    edges: Ints

    @property
    def most_chunks(self) -> int:
        """Return the number of chunks that every stage has a layer for; what is always first, or last, counts as
        one.
        """
        low, high = self.edges[:-1], self.edges[1:]
        inner = np.minimum(high, self.last) - np.maximum(low, self.first)
        return int((inner + (low < self.first) + (high > self.last)).min())

    def chunks(self, virtual: int) -> Ints:
        """Return where every chunk begins and ends, shape (stages, chunks + 1); what always comes first is in the
        first.

        Short chunks are a stage's first ones, of the last stage its last ones (`plans.stage_sizes.chunk_layers`).
        """
        low, high = self.edges[:-1, None], self.edges[1:, None]
        start, end = np.maximum(low, self.first), np.minimum(high, self.last)
        more = np.where(high == self.edges[-1], virtual - 1, 0)  # short chunks are the last stage's last ones
        inner = start + ((end - start) * np.arange(1, virtual) + more) // virtual
        return np.concatenate([low, inner, high], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutStages:
    """The layers of each stage.

    Attributes:
        layers: Layers of each stage.
        places: Their places in the chain.
        twice: What they count more than once (`surplus`).
        holds: What they hold on one rank.
    """

    layers: list[tuple[LayerWork, ...]]
    places: list[range]
    twice: list[WeightSizes]
    holds: list[StageContents]


class WaysToCut:
    """The ways to cut a model that are considered: as even as it goes, and as the running plan does."""

    def __init__(self, running: Plan, casts: CastBytes | None = None) -> None:
        self.running, self.casts = running, casts
        self._known: dict[tuple[int, Stages], StageCuts] = {}
        self._held: dict[tuple[LayerChain, int, int, Stages], CutStages] = {}

    def ways(self, pipeline: int) -> tuple[Stages, ...]:
        """Return the values of `stages` that a plan of so many stages may have."""
        own = self.running.stages
        return ((), own) if own and pipeline == self.running.pipeline else ((),)

    def cut(self, pipeline: int, stages: Stages, chain: LayerChain) -> StageCuts:
        """Return the stages of a chain, as `chain.stages_of` has them."""
        if (pipeline, stages) not in self._known:
            first, last = chain.inner.start, chain.inner.stop
            edges = np.array([0, len(chain.whole)])
            if pipeline > 1:
                sizes = stage_layers(last - first, replace(self.running, pipeline=pipeline, stages=stages))
                edges = np.concatenate([[0], first + np.cumsum(sizes)])
                edges[-1] = len(chain.whole)
            self._known[pipeline, stages] = StageCuts(first=first, last=last, edges=edges)
        return self._known[pipeline, stages]

    def held(self, chain: LayerChain, plan: Plan) -> CutStages:
        """Return each stage's layers, and what they hold."""
        key = chain, plan.pipeline, plan.virtual, plan.stages
        if key not in self._held:
            edges = self.cut(plan.pipeline, plan.stages, chain).edges.tolist()
            ranges = [range(low, high) for low, high in itertools.pairwise(edges)]
            stages = [chain.whole[one.start : one.stop] for one in ranges]
            twice = [surplus(chain.shared, one) for one in ranges]
            again = [kept_again(chain, plan, *one) for one in enumerate(ranges)]
            holds = [held(*one, casts=self.casts) for one in zip(stages, twice, again, strict=True)]
            self._held[key] = CutStages(layers=stages, places=ranges, twice=twice, holds=holds)
        return self._held[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBounds:
    """Layers of a rank under a plan's degrees, micro-batch, recompute and schedule, with their seconds as prefix sums.

    Where only some layers are recomputed the sums are of each layer's least seconds, recomputed or not: a lower bound.

    Attributes:
        plan: The plan.
        chain: Its layers.
        before_s: Seconds of all layers before each, shape (forward, backward, weight gradients; layers + 1).
        weights: The lightest layer.
    """

    plan: Plan
    chain: LayerChain
    before_s: Floats
    weights: LightestLayer

    @property
    def bounded(self) -> bool:
        """Return whether the seconds are only a lower bound."""
        return self.plan.recompute_layers > 0


def kind_of(plan: Plan, chain: LayerChain, plain: LayerChain, site: DevicePool, known: Known) -> RunBounds:
    """Return the layers of a plan priced on devices; `plain` are the layers without recompute."""
    tables = []
    for priced_as in (plain, chain) if plan.recompute_layers else (chain,):
        seconds = {}
        for one in dict.fromkeys(priced_as.whole):
            priced = layer_seconds(one, plan, site, known)
            seconds[one] = priced.forward_s, priced.backward_s, priced.weight_s
        tables.append([seconds[one] for one in priced_as.whole])
    table = np.min(tables, axis=0).T
    before_s = np.concatenate([np.zeros((3, 1)), np.cumsum(table, axis=1)], axis=1)
    return RunBounds(plan=plan, chain=chain, before_s=before_s, weights=lightest_of(plain, chain))


def bounds(kind: RunBounds, degrees: Ints, cuts: WaysToCut) -> Floats:
    """Return lower bounds on the seconds of a sample, by degrees.

    All micro-batches on the slowest stage, with (stages alike, so that every chunk has a layer) the way of the first
    one down to it and of the last one back, a layer a stage; where weight gradients run apart, the way of the first one
    to the last stage and all on it.

    Args:
        kind: The layers.
        degrees: Rows of (pipeline, data, batch).
        cuts: The ways to cut the model.
    """
    pipelines = np.unique(degrees[:, 0])
    apart = kind.plan.schedule.apart
    count = len(kind.chain.layers)
    inner = np.diff(kind.before_s, axis=1)[:2].sum(axis=0)[kind.chain.inner]
    layer_s = float(inner.min()) if count else 0.0
    slowest, way, final = np.full((3, int(pipelines[-1]) + 1), np.inf)
    total_s, both_s = kind.before_s.sum(axis=0), kind.before_s[:2].sum(axis=0)
    for stages in {(), cuts.running.stages}:
        here = [one for one in pipelines.tolist() if stages in cuts.ways(one)]
        if not here:
            continue
        edges = [cuts.cut(one, stages, kind.chain).edges for one in here]
        starts = np.cumsum([0, *(len(one) for one in edges[:-1])])
        loads = np.diff(total_s[np.concatenate(edges)], append=0.0)  # from one pipeline's end to the next: below zero
        slowest[here] = np.minimum(slowest[here], np.maximum.reduceat(loads, starts))
        before = both_s[[one[-2] for one in edges]]
        way[here] = np.minimum(way[here], before if apart else (np.array(here) - 1) * layer_s)
        final[here] = np.minimum(final[here], both_s[-1] - before)
    pipeline, data, batch = degrees.T
    times = batch // (data * kind.plan.micro_batch)
    work_s = times * slowest[pipeline]
    if apart:
        return np.asarray(np.maximum(work_s, way[pipeline] + times * final[pipeline]) / batch)
    alike = (count % pipeline == 0) & (pipeline != cuts.running.pipeline)
    if kind.bounded or kind.plan.schedule is PipelineSchedule.GPIPE:
        alike[:] = False
    return np.asarray((work_s + np.where(alike, way[pipeline], 0.0)) / batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedPlan:
    """A plan whose ZeRO stage is not yet chosen, with lower bounds.

    Attributes:
        kind: Its layers.
        plan: The plan.
        cut: Its stages.
        hop_s: Seconds of a boundary tensor.
        done_s: Lower bound on when each stage is done.
        least_s: Lower bound on the step without its end.
        runs: Seconds of the pipeline, once they are known.
    """

    kind: RunBounds
    plan: Plan
    cut: StageCuts
    hop_s: float
    done_s: Floats
    least_s: float
    runs: list[Pipelined]

    def chunks_s(self) -> Sequence[Sequence[Sequence[float]]]:
        """Return the seconds of a micro-batch, [forward, backward, weight gradients][stage][chunk]."""
        found: list[list[list[float]]] = np.diff(self.kind.before_s[:, self.cut.chunks(self.plan.virtual)]).tolist()
        return found

    def run(self) -> Pipelined:
        """Return the seconds of the pipeline."""
        if not self.runs:
            forward_s, backward_s, weight_s = self.chunks_s()
            plan = self.plan
            self.runs.append(pipelined(forward_s, backward_s, weight_s, self.hop_s, plan.micro_batches, plan.schedule))
        return self.runs[0]


def timed(kind: RunBounds, plan: Plan, cut: StageCuts, hop_s: float) -> BoundedPlan:
    """Return a plan with its lower bounds."""
    if kind.bounded:
        return BoundedPlan(
            kind=kind, plan=plan, cut=cut, hop_s=hop_s, done_s=np.zeros(plan.pipeline), least_s=0.0, runs=[]
        )
    seconds = np.diff(kind.before_s[:, cut.chunks(plan.virtual)])[..., None]
    done, total = least(seconds, np.array([hop_s]), plan.micro_batches, plan.schedule)
    least_s = float(total[0])
    return BoundedPlan(kind=kind, plan=plan, cut=cut, hop_s=hop_s, done_s=done[:, 0], least_s=least_s, runs=[])
