"""Seconds of a boundary tensor between stages, which depend on the cuts where layers branch (docs/model-placement.md,
"Bounds").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cuts import Cuts
from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.plans.chain import LayerChain
from hardplace.plans.fleet import Fleet
from hardplace.plans.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crossings:
    """What of a micro-batch passes the cuts of layers that branch, in bytes.

    Attributes:
        each: What passes each cut, (cuts,).
        before: By number of stages before a cut, the least over all ways to cut these of the most that passes one of
            their cuts, this one among them, (stages + 1, cuts); inf where there is no way.
        after: By number of stages after a cut the same of the cuts after it, (stages + 1, cuts).
    """

    each: Floats
    before: Floats
    after: Floats


def crossings_of(chain: LayerChain, cuts: Cuts, stages: int) -> Crossings:
    """Return what passes the cuts of layers that branch.

    Args:
        chain: The layers.
        cuts: Where they may be cut.
        stages: Stages that they are cut into.
    """
    each = _crossing_bytes(chain, cuts)
    before, after = (np.full((stages + 1, len(each)), np.inf) for _ in range(2))
    before[0, 0] = after[0, -1] = 0.0
    for stage in range(1, stages + 1):
        before[stage] = np.maximum(_least(cuts.valid, before[stage - 1]), each)
        after[stage] = _least(cuts.valid.T, np.maximum(after[stage - 1], each))
    return Crossings(each=each, before=before, after=after)


def _least(valid: Bools, values: Floats) -> Floats:
    """Return the least value over the cuts that may come just before each cut, (cuts,)."""
    return np.asarray(np.where(valid, values[:, None], np.inf).min(axis=0))


def _crossing_bytes(chain: LayerChain, cuts: Cuts) -> Floats:
    """Return the bytes of a micro-batch that pass each cut of layers that branch, (cuts,)."""
    found = np.zeros(len(cuts.members))
    for source, target, size in chain.edges:
        found += size * (cuts.members[:, source] & ~cuts.members[:, target])
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hops:
    """Seconds of the boundary tensor of a plan by where its stages are cut: of a partition those of its fullest cut.

    Attributes:
        each_s: Seconds of what passes each cut, (cuts,).
        before_s: Seconds of `Crossings.before`, (stages + 1, cuts); None: the same whatever the cuts.
        after_s: Seconds of `Crossings.after`, (stages + 1, cuts).
        least_s: Least over all partitions.
    """

    each_s: Floats
    before_s: Floats | None
    after_s: Floats | None
    least_s: float

    def of_stages(self, stage: int, low: Ints, high: Ints) -> Floats:
        """Return the least seconds over all partitions that have a stage between two cuts, (pairs,).

        Args:
            stage: Its index in the pipeline, from 0.
            low: Cut before it.
            high: Cut after it.
        """
        if self.before_s is None or self.after_s is None:
            return np.broadcast_to(self.least_s, len(low))
        around = np.maximum(self.before_s[stage, low], self.after_s[len(self.after_s) - 2 - stage, high])
        return np.asarray(np.maximum(around, self.each_s[high]))

    def of_cuts(self, cuts: Ints) -> Floats:
        """Return the seconds of partitions, (partitions,); cuts: after each stage, (partitions, stages)."""
        if self.before_s is None:
            return np.full(len(cuts), self.least_s)
        return np.asarray(self.each_s[cuts[:, :-1]].max(axis=1))


def even_hops(hop_s: float, cuts: Cuts) -> Hops:
    """Return hops that take the same wherever a chain is cut; hop_s: seconds, 0 with one stage."""
    return Hops(each_s=np.full(len(cuts.members), hop_s), before_s=None, after_s=None, least_s=hop_s)


def branching_hops(crossings: Crossings, plan: Plan, fleet: Fleet) -> Hops:
    """Return the hops of layers that branch; a larger tensor never takes less.

    Args:
        crossings: What passes the cuts, of as many stages as the plan has.
        plan: The plan, of two stages or more.
        fleet: Its devices.
    """
    sites, sizes = fleet.of_stages(plan), np.unique(crossings.each)
    table = np.array([fleet.hop_s(plan, sites, size) for size in sizes.tolist()])

    def seconds(values: Floats) -> Floats:
        """Return the seconds of bytes; of what no partition has those of the most, which is a bound of nothing."""
        return np.asarray(table[np.minimum(np.searchsorted(sizes, values), len(sizes) - 1)])

    each_s, before_s, after_s = map(seconds, (crossings.each, crossings.before, crossings.after))
    return Hops(each_s=each_s, before_s=before_s, after_s=after_s, least_s=float(after_s[-1, 0]))
