"""Every stage that a plan may cut, as arrays: seconds, memory and bounds (docs/model-placement.md, "Bounds")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from hardplace.cost.layers.work import LayerWork
from hardplace.cuts import Cuts
from hardplace.ndtypes import Floats, Ints
from hardplace.plans.chain import LayerChain
from hardplace.plans.chunks import kept_casts_bytes
from hardplace.plans.fleet import DevicePool
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.placement.sharing import StageSharing, often
from hardplace.plans.plan import OptimizerKind, Plan
from hardplace.plans.timing import Known, StepLayerTimes, layer_seconds, stage_end_s
from hardplace.workload.weights import WeightSizes

_COMPUTE: tuple[Callable[[StepLayerTimes], float], ...] = (
    lambda one: one.forward.compute_s,
    lambda one: one.backward.compute_s + one.weight.compute_s,
)
_HELD = tuple(one.name for one in fields(StageContents))
_OF_LOSS = ("logits_bytes", "passing_bytes", "lingering_bytes", "logits_gradient_bytes")
_SIDES = ("forward_s", "backward_s", "weight_s")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerColumns:
    """The layers of a chain in order, one column for each quantity.

    Attributes:
        work: The layers.
        seconds: Forward, backward and weight gradients, shape (3, layers).
        compute_s: Compute alone, of the forward pass and of the rest, shape (2, layers).
        saved_bytes: Activations kept for a micro-batch, (layers,).
        working_bytes: Temporary buffers of the backward pass, (layers,).
        brief_bytes: Of those, what no weight gradient needs, (layers,).
        late_bytes: What recompute makes, or comes back, that weight gradients need, (layers,).
        marks: Numbers that tell apart layers that differ, (layers,).
        shared_marks: Numbers that tell apart weights that layers share.
    """

    work: tuple[LayerWork, ...]
    seconds: Floats
    compute_s: Floats
    saved_bytes: Floats
    working_bytes: Floats
    brief_bytes: Floats
    late_bytes: Floats
    marks: Ints  # a random number for each distinct layer: sums tell what a stage holds
    shared_marks: Ints  # the same for weights that several layers hold


def layers_of(chain: LayerChain, plan: Plan, site: DevicePool, known: Known, seed: int) -> LayerColumns:
    """Return the layers of a chain, priced on one kind of device under a plan.

    Args:
        chain: The layers.
        plan: The plan.
        site: The devices.
        known: Layers already priced; this call adds to it.
        seed: Seed of the marks.
    """
    work, shared = chain.whole, len(chain.shared)
    distinct = {one: number for number, one in enumerate(dict.fromkeys(work))}
    each = np.array([distinct[one] for one in work])
    priced = [layer_seconds(one, plan, site, known) for one in distinct]
    marks = np.random.default_rng(seed).integers(1, 2**60, len(distinct) + shared)
    return LayerColumns(
        work=work,
        seconds=np.array([[getattr(one, side) for one in priced] for side in _SIDES])[:, each],
        compute_s=np.array([[side(one) for one in priced] for side in _COMPUTE])[:, each],
        saved_bytes=np.array([one.saved_bytes for one in distinct])[each],
        working_bytes=np.array([one.working_bytes for one in distinct])[each],
        brief_bytes=np.array([one.brief_bytes for one in distinct])[each],
        late_bytes=np.array([one.late_bytes for one in distinct])[each],
        marks=marks[: len(distinct)][each],
        shared_marks=marks[len(distinct) :],
    )


@dataclass(frozen=True, slots=True)
class LayerVariants:
    """The layers of a model on one kind of device as a plan runs them, with recompute and without.

    Attributes:
        chain: The layers.
        cuts: Where stages may be cut.
        recomputed: Layers recomputed as asked.
        plain: Layers without recompute; the same, if all are recomputed.
    """

    chain: LayerChain
    cuts: Cuts
    recomputed: LayerColumns
    plain: LayerColumns

    def run(self, plan: Plan) -> tuple[LayerColumns, ...]:
        """Return the layers of which a plan runs some: with recompute, and without where it takes a part of a stage."""
        return (self.recomputed, self.plain) if plan.recompute_layers else (self.recomputed,)


class Stages:
    """All stages (pairs of cuts) of a model on one kind of device, as arrays over them.

    `low` and `high` are the cuts before and after a stage; `inner` counts its layers that are neither always first nor
    always last.
    """

    def __init__(self, parts: LayerVariants, virtual: int, recompute_layers: int, site: DevicePool) -> None:
        self.parts, self.virtual, self.recompute_layers, self.site = parts, virtual, recompute_layers, site
        cuts, chain = parts.cuts, parts.chain
        self.low, self.high = np.nonzero(cuts.valid)
        between = np.zeros(len(chain.whole))
        between[chain.inner] = 1.0
        self._inside = (cuts.members @ between).astype(np.int64)
        self._index = np.zeros(cuts.valid.shape, dtype=np.int64)
        self._index[self.low, self.high] = np.arange(len(self.low))
        self.inner = self._inside[self.high] - self._inside[self.low]
        count = cuts.members.sum(axis=1)
        self._count = count[self.high] - count[self.low]
        tensors = cuts.members @ np.array([one.tensors for one in chain.whole])
        self._tensors = tensors[self.high] - tensors[self.low]
        self.last = len(cuts.members) - 1
        self._start = np.maximum(self.low, chain.inner.start)
        self.seconds = self._chunks()
        self._allowed: dict[tuple[bool, bool], Ints] = {}
        self.load_s = self.seconds.sum(axis=(0, 1))
        self.sharing = StageSharing(chain.shared, cuts.members, self.low, self.high)
        self.held = self._held()

    def _split(self, again: Floats, eased: Floats, low: Ints, high: Ints, start: Ints) -> Floats:
        """Return sums between cuts: of the first recompute_layers inner layers of each stage as recomputed, of the
        others as plain. Columns of one quantity a layer, or of several."""
        members = self.parts.cuts.members
        whole = members @ again
        if not self.recompute_layers:
            return np.asarray(whole[high] - whole[low])
        plain = members @ eased
        begin = np.clip(start, low, high)
        stop = np.clip(start + self.recompute_layers, low, high)
        more = whole - plain
        return np.asarray(plain[high] - plain[low] + more[stop] - more[begin])

    def _chunks(self) -> Floats:
        """Return seconds of every stage, (forward, backward, weight gradient; chunks; stages)."""
        if self.parts.chain.second:
            return self._by_side(self.parts.recomputed.seconds.T).transpose(2, 0, 1)
        again, plain = self.parts.recomputed.seconds, self.parts.plain.seconds
        found = [
            [self._split(again[side], plain[side], low, high, self._start) for side in range(3)]
            for low, high in self._chunk_cuts()
        ]
        return np.asarray(np.array(found).transpose(1, 0, 2))

    def _by_side(self, each: Floats) -> Floats:
        """Return sums over the layers of every stage's two chunks in a V, (chunks, stages, columns); each: columns of a
        layer, (layers, columns)."""
        second = np.array(self.parts.chain.second)[:, None]
        before = [self.parts.cuts.members @ (each * side) for side in (~second, second)]
        return np.array([one[self.high] - one[self.low] for one in before])

    def _chunk_cuts(self) -> Iterator[tuple[Ints, Ints]]:
        """Yield the cuts before and after each chunk of every stage."""
        count = self.virtual
        inner_end = np.minimum(self.high, self.last - len(self.parts.chain.after))
        size = np.maximum(0, inner_end - self._start)
        more = np.where(self.high == self.last, count - 1, 0)  # short chunks are the last stage's last ones
        for chunk in range(count):
            low = self.low if chunk == 0 else self._start + (size * chunk + more) // count
            high = self.high if chunk == count - 1 else self._start + (size * (chunk + 1) + more) // count
            yield low, high

    def _kept_again(self) -> Floats:
        """Return the bytes of activations that the layers of each stage count although another of their chunk does
        (`plans.chunks.kept_again`)."""
        kept, layers = self.parts.chain.kept, self.parts.cuts.members.shape[1]
        sizes = np.array([one.bytes for one in kept])
        again, plain = (often([getattr(one, name) for one in kept], layers).T for name in ("layers", "plain"))
        found = np.zeros(len(self.low))
        if self.parts.chain.second:
            return np.asarray(self._kept_by_side().sum(axis=0))
        for low, high in self._chunk_cuts() if kept else ():
            found += np.maximum(0.0, self._split(again, plain, low, high, self._start) - 1.0) @ sizes
        return found

    def _kept_by_side(self) -> Floats:
        """Return the same of each chunk in a V, (chunks, stages)."""
        kept, layers = self.parts.chain.kept, self.parts.cuts.members.shape[1]
        sizes = np.array([one.bytes for one in kept])
        return np.asarray(np.maximum(0.0, self._by_side(often([one.layers for one in kept], layers).T) - 1.0) @ sizes)

    def _held(self) -> StageContents:
        """Return what the stages hold, arrays in the place of numbers."""
        cuts, plain, again = self.parts.cuts, self.parts.plain, self.parts.recomputed
        names, casts = (*WeightSizes._fields, *_OF_LOSS, "cast_weights"), self.site.pricer.casts
        sizes = {one: [getattr(one, name) for name in names] for one in dict.fromkeys(again.work)}
        columns = np.array([sizes[one] for one in again.work], dtype=np.float64)
        before = cuts.members @ columns
        totals = dict(zip(names, (before[self.high] - before[self.low]).T, strict=True))
        weights = {name: totals[name] - self.sharing.twice(name) for name in WeightSizes._fields}

        def largest(names: slice) -> Floats:
            return np.asarray(cuts.largest(columns[:, names].sum(axis=1))[self.low, self.high])

        working = self._largest(again.working_bytes, plain.working_bytes)
        beside = self._largest(again.brief_bytes, plain.brief_bytes)
        outputs = np.array([one.output_bytes for one in again.work])
        held = {
            **weights,
            "cast_bytes": kept_casts_bytes(totals["cast_weights"], WeightSizes(**cast(Any, weights)), casts),
            "saved_bytes": self._split(again.saved_bytes, plain.saved_bytes, self.low, self.high, self._start)
            - self._kept_again(),
            **{name: totals[name] for name in _OF_LOSS},
            "working_bytes": working,
            "late_bytes": self._split(again.late_bytes, plain.late_bytes, self.low, self.high, self._start),
            "late_working_bytes": working - beside,
            "largest_parameters": largest(slice(4)),
            "largest_trained_parameters": largest(slice(2)),
            "largest_packed_bytes": largest(slice(4, 6)),
            "boundary_bytes": outputs[self._first()],
            "second_saved_bytes": np.zeros(len(self.low)),
            "second_late_bytes": np.zeros(len(self.low)),
        }
        if self.parts.chain.second:
            saved, late = self._by_side(np.stack([again.saved_bytes, again.late_bytes], axis=1))[1].T
            held |= {"second_saved_bytes": saved - self._kept_by_side()[1], "second_late_bytes": late}
        return StageContents(**cast(Any, held))

    def _largest(self, again: Floats, eased: Floats) -> Floats:
        """Return the largest of every stage's layers: of the recomputed ones `again`, of the others `eased`."""
        cuts = self.parts.cuts
        most = cuts.largest(again)
        if not self.recompute_layers:
            return np.asarray(most[self.low, self.high])
        plain = cuts.largest(eased)  # only on a chain: cuts are prefixes
        begin = np.clip(self._start, self.low, self.high)
        stop = np.clip(self._start + self.recompute_layers, self.low, self.high)
        around_it = np.maximum(plain[self.low, begin], plain[stop, self.high])
        return np.asarray(np.maximum(most[begin, stop], around_it))

    def _first(self) -> Ints:
        """Return the first layer of every stage."""
        members = self.parts.cuts.members
        if not self.parts.chain.edges:
            return np.asarray(self.low)
        found = np.zeros(len(self.low), dtype=np.int64)
        for layer in reversed(range(members.shape[1])):
            found[members[self.high, layer] & ~members[self.low, layer]] = layer
        return found

    def at(self, low: Ints, high: Ints) -> Ints:
        """Return the indices of the stages between cuts."""
        return np.asarray(self._index[low, high])

    def allowed(self, first: bool, last: bool) -> Ints:
        """Return the stages that may be the first, the last or an inner one of the pipeline.

        The first begins the model and the last ends it; each has a layer that is cut for each chunk, one less in the
        first and the last, which have layers that are always theirs.
        """
        if (first, last) not in self._allowed:
            self._allowed[first, last] = self._stand(first, last)
        return self._allowed[first, last]

    def _stand(self, first: bool, last: bool) -> Ints:
        chain = self.parts.chain
        right = ((self.low == 0) == first) & ((self.high == self.last) == last)
        if chain.edges or (first and last):
            return np.flatnonzero(right)
        start, stop = len(chain.before), self.last - len(chain.after)
        if not first:
            right &= (self.low >= start) & (self.low <= stop)
        if not last:
            right &= (self.high >= start) & (self.high <= stop)
        bare = int(bool((first and chain.before) or (last and chain.after)))
        if first and chain.second and any(chain.second[: len(chain.before)]):
            bare = 2  # embedding and head, a chunk each
        return np.flatnonzero(right & (self.inner >= self.virtual - bare))

    def fits(self, plan: Plan, stage: int, chosen: Ints) -> npt.NDArray[np.bool_]:
        """Return which of the chosen stages fit the device as the stage-th of the pipeline."""
        held = {name: getattr(self.held, name)[chosen] for name in _HELD}
        return np.asarray(stage_memory(plan, stage, StageContents(**held)).total_bytes <= self.site.usable_bytes)

    def end_s(self, plan: Plan, chosen: Ints, known: dict[object, float]) -> Floats:
        """Return the seconds of the end of the step (reduction, gather, optimizer) of the chosen stages.

        Args:
            plan: The plan.
            chosen: Indices of stages.
            known: Ends known for the same degrees and sharding; this call adds to it.
        """
        again, plain = self.parts.recomputed, self.parts.plain
        low, high, start = self.low[chosen], self.high[chosen], self._start[chosen]
        marks = self._split(cast(Floats, again.marks), cast(Floats, plain.marks), low, high, start)
        marks = marks + self.sharing.marks(again.shared_marks, chosen)
        names, place, which = np.unique(marks, return_index=True, return_inverse=True)
        found, trained = np.empty(len(names)), (self.held.parameters, self.held.expert_parameters)
        for index, (name, at) in enumerate(zip(names.tolist(), place.tolist(), strict=True)):
            key = (self.site.device, name)
            if key not in known:
                one = int(chosen[at])
                forward_s, backward_s = self.seconds[:2, :, one].sum(axis=1)
                dense, experts = (cast(Floats, held)[one] for held in trained)
                own = round(float(dense)), round(float(experts))
                work = self.layers(one) if plan.optimizer is OptimizerKind.MUON else ()
                count = int(self._count[one])
                passes = float(forward_s), float(backward_s)
                known[key] = stage_end_s(own, count, int(self._tensors[one]), work, plan, self.site, *passes)
            found[index] = known[key]
        return found[which]

    def _inside_of(self, stage: int) -> list[int]:
        """Return the layers (positions) of a stage."""
        members = self.parts.cuts.members
        found: list[int] = np.flatnonzero(members[self.high[stage]] & ~members[self.low[stage]]).tolist()
        return found

    def layers(self, stage: int) -> tuple[LayerWork, ...]:
        """Return the layers of a stage, as they are run."""
        inside = self._inside_of(stage)
        more = self.recompute_layers
        if not more:
            return tuple(self.parts.recomputed.work[one] for one in inside)
        end = int(self._start[stage]) + more
        return tuple((self.parts.recomputed if one < end else self.parts.plain).work[one] for one in inside)
