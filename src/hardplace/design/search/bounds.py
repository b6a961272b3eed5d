"""Lower bounds on the batch time of families of plans, vectorised over chips (proofs in docs/model.md, "Search
bounds").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.search.bound_inputs import BoundInputs, FeasiblePlans
from hardplace.design.search.whole_layers import FullestStages
from hardplace.ndtypes import Floats, Ints

_FEW = 8  # plans of a family that are bounded in every way before the others


def _bottlenecks_s(seconds: LayerTimes, links: BoundInputs, stages: Floats, recompute: bool) -> Floats:
    """Return lower bounds on the load of the slowest of so many stages, shape (stage counts, chips)."""
    both = seconds.forward_s + seconds.backward_s
    total = links.counts[:, None] * both
    count = stages[:, None]
    best = (total.sum(axis=0)[None, :] + links.paid(count) * links.hop_s) / count
    if recompute:
        # All stages but the last run the forward part again: a share of at least rho of what they hold.
        rho = np.divide(seconds.forward_s, both, out=np.zeros_like(both), where=both > 0)
        again = (total * (1.0 + rho)).sum(axis=0)[None, :] / (count + rho.max(axis=0)[None, :])
        best = np.maximum(best, np.where(count > 1.0, again, 0.0))
    for layer, number in enumerate(links.counts):
        # Some stage has at least ceil(n / stages) of the n layers of a kind.
        best = np.maximum(best, np.ceil(number / stages)[:, None] * both[layer][None, :])
    return np.asarray(best)


def batch_bound_s(
    seconds: LayerTimes,
    links: BoundInputs,
    recompute: bool,
    options: FeasiblePlans,
    bottlenecks_s: Floats | None = None,
    enough_s: Floats | float = np.inf,
    whole: bool = True,
) -> Floats:
    """Return a lower bound on the batch time of any plan of a family on each chip; inf if none fits.

    Args:
        seconds: Lower bounds of the layers, (layers, chips).
        links: Layers and what passes between them.
        recompute: Whether stages recompute.
        options: Plans that fit the memory.
        bottlenecks_s: Least bottleneck loads by number of stages, (stages, chips), where they are known; else closed
            forms.
        enough_s: Seconds from which on a bound need not be any better, of all chips or of each.
        whole: Whether what whole layers tell is asked for.

    Returns:
        Seconds, shape (chips,).
    """
    chips = seconds.forward_s.shape[1]
    if not len(options.stages):
        return np.full(chips, np.inf)
    stages, which = np.unique(options.stages, return_inverse=True)
    if bottlenecks_s is None:
        load = _bottlenecks_s(seconds, links, stages, recompute)
    else:
        load = bottlenecks_s[stages.astype(np.int64) - 1]
    # What is cheapest to know of each plan: micro-batches on the slowest stage, and a mean stage's gradients.
    reduced_s = float(links.once @ links.reduced_bytes) * options.reduction_s_per_byte / options.stages
    quick = load[which] * options.rounds[:, None] + (options.latency_s + reduced_s)[:, None]
    # Plans that are slower by it than those that promise most are by all bounds need no other.
    best = np.argsort(quick.min(axis=1), kind="stable")[:_FEW]
    rest = np.ones(len(quick), dtype=bool)
    rest[best] = False
    least = quick.min(axis=0)
    if not (least < enough_s).any():
        return np.asarray(least)

    def known_s(plans: Ints) -> Floats:
        """Return the bound by all that is known of some plans."""
        some, own = options.take(plans), load[which[plans]]
        ends = _ends_of_batch(seconds, links, some)
        found = np.maximum(_plans_s(some, ends, own), quick[plans]).min(axis=0)
        # What whole layers tell is dear to work out: only where the rest does not do.
        still = np.flatnonzero(found < enough_s)
        if whole and len(still) and options.fullest is not None:
            at = LayerTimes(
                forward_s=seconds.forward_s[:, still],
                backward_s=seconds.backward_s[:, still],
                optimizer_s=seconds.optimizer_s[:, still],
            )
            fullest_s = _whole_load_s(at, links, recompute, some, options.fullest.take(plans))
            better = _plans_s(some, ends.take(still), np.maximum(own[:, still], fullest_s))
            found[still] = np.maximum(better, quick[plans][:, still]).min(axis=0)
        return np.asarray(found)

    least = known_s(best)
    more = np.flatnonzero(rest & (quick < np.minimum(least, enough_s)).any(axis=1))
    if len(more):
        least = np.minimum(least, known_s(more))
    rest[more] = False
    if rest.any():
        # These are slower than the least, or slow enough.
        least = np.minimum(least, quick[rest].min(axis=0))
    return np.asarray(least)


def rough_batch_s(seconds: LayerTimes, links: BoundInputs, options: FeasiblePlans) -> Floats:
    """Return a lower bound on the batch time of any plan of a family that is quick to know: the load of a mean stage
    and its gradients; inf if none fits, shape (chips,).
    """
    total_s = links.counts @ (seconds.forward_s + seconds.backward_s)
    if not len(options.stages):
        return np.full(len(total_s), np.inf)
    reduced_s = float(links.once @ links.reduced_bytes) * options.reduction_s_per_byte / options.stages
    each, once = options.rounds / options.stages, options.latency_s + reduced_s
    # A plan with no fewer rounds a stage than another and no less beside them is never the least alone.
    order = np.lexsort((once, each))
    few = order[np.diff(np.minimum.accumulate(once[order]), prepend=np.inf) < 0.0]
    return np.asarray((each[few, None] * total_s + once[few, None]).min(axis=0))


def _whole_load_s(
    seconds: LayerTimes, links: BoundInputs, recompute: bool, options: FeasiblePlans, whole: FullestStages
) -> Floats:
    """Return lower bounds on the load of the slowest stage of plans, by whole layers, shape (plans, chips)."""
    # Any stage of several pays once for what comes in or goes out; recompute may hide what goes out.
    hop_s = 0.0 if recompute else links.hop_s
    fullest = whole.loads_s(seconds)
    return np.asarray(fullest + hop_s * ((options.stages[:, None] > 1.0) & (fullest > 0.0)))


@dataclass(frozen=True, slots=True)
class _BatchEnds:
    """What plans have beside the load of their slowest stage: seconds, each of shape (plans, chips).

    Attributes:
        end_s: End of the batch of any stage.
        first_last: Of the first and of the last of several stages the end of the batch, and the micro-batches with what
            they hold; (): not known.
    """

    end_s: Floats
    first_last: tuple[tuple[Floats, Floats], ...]

    def take(self, chips: Ints) -> _BatchEnds:
        """Return those of some chips."""
        return _BatchEnds(self.end_s[:, chips], tuple((end[:, chips], best[:, chips]) for end, best in self.first_last))


def _plans_s(options: FeasiblePlans, ends: _BatchEnds, load: Floats) -> Floats:
    """Return lower bounds on the batch time of plans, by their slowest stage, by the end of the batch and by the
    stages at the ends, shape (plans, chips).

    Args:
        options: Plans that fit the memory.
        ends: What they have beside the load.
        load: Lower bounds on the load of the slowest stage of each plan, (plans, chips).
    """
    turns_s = load * options.rounds[:, None]
    batch = turns_s + ends.end_s + options.latency_s[:, None]
    if not ends.first_last:
        return np.asarray(batch)
    found = np.zeros_like(load)
    for end_s, best_s in ends.first_last:
        found = np.maximum(found, end_s + np.maximum(best_s, turns_s))
    return np.maximum(batch, np.where(options.stages[:, None] > 1.0, found + options.latency_s[:, None], 0.0))


def _ends_of_batch(seconds: LayerTimes, links: BoundInputs, options: FeasiblePlans) -> _BatchEnds:
    """Return what plans have beside the load of their slowest stage; of the stages at the ends by what they hold (proof
    in docs/model.md, section 7, "Stages at the ends").

    Args:
        seconds: Lower bounds of the layers, (layers, chips).
        links: Layers and what passes between them.
        options: Plans that fit the memory.
    """
    per_byte, shards, count = options.reduction_s_per_byte[:, None], options.shards[:, None], options.stages[:, None]
    update_s = links.once @ seconds.optimizer_s
    # End of the batch: the slowest stage is at least the mean, and at least the one with most layers of a kind.
    end = (float(links.once @ links.reduced_bytes) * per_byte + update_s[None, :] / shards) / count
    owns = []
    for layer, number in enumerate(links.counts):
        held = np.ceil(number / count)
        own = links.reduced_bytes[layer] * per_byte + seconds.optimizer_s[layer][None, :] / shards
        owns.append(own)
        end = np.maximum(end, held * links.own[layer] * own)
    ends = links.ends
    if ends is None:
        return _BatchEnds(end, ())
    both = seconds.forward_s + seconds.backward_s
    total = (links.counts @ both)[None, :]
    rounds = options.rounds[:, None]
    others = np.maximum(count - 1.0, 1.0)
    # What a second of a layer's load adds to the end of the batch at least.
    rate = np.full((len(options.stages), both.shape[1]), np.inf)
    for layer in np.flatnonzero(ends.between).tolist():
        with np.errstate(divide="ignore", invalid="ignore"):
            added = links.own[layer] * owns[layer] / both[layer]
        rate = np.minimum(rate, np.where(both[layer] > 0.0, added, np.inf))
    rate = np.where(np.isfinite(rate), rate, 0.0)
    hop, adding_up_s = links.hop_s, ends.adding_up_s(options.stages)[:, None]
    first_last = []
    for layer, alone in zip(ends.layers, ends.alone, strict=True):
        least = both[layer][None, :]
        balanced = (total + (count - 2.0) * hop) / count
        # With this layer alone in its stage, and with as much in it as the others have on average.
        alone_s = rounds * np.maximum(least + hop, (total - least + (2.0 * count - 3.0) * hop) / others)
        even_s = rounds * (balanced + hop) + rate * (balanced - least)
        best_s = np.where(balanced > least, np.minimum(alone_s, even_s), alone_s)
        first_last.append((alone * owns[layer] + adding_up_s, best_s))
    return _BatchEnds(end, tuple(first_last))
