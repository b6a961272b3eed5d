"""Bounds of plans before their stages are cut: cheap, proven, of seconds and memory (docs/model-placement.md,
"Bounds").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from hardplace.ndtypes import Bools, Floats
from hardplace.plans.chain import LayerChain
from hardplace.plans.memory import StageContents, passes_memory, weight_bytes
from hardplace.plans.pipeline import forwards_left, in_flight, turn_hops
from hardplace.plans.placement.stages import LayerColumns
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.v_orders import v_turns
from hardplace.workload.kept import kept_parts
from hardplace.workload.types import Recompute
from hardplace.workload.weights import WeightSizes, parts_of

NO_CONTENTS = StageContents(
    parameters=0,
    expert_parameters=0,
    saved_bytes=0.0,
    logits_bytes=0.0,
    working_bytes=0.0,
    largest_parameters=0,
    boundary_bytes=0.0,
    largest_trained_parameters=0,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DegreeBounds:
    """Least seconds of each layer of a model under a plan's degrees, over the kinds of device.

    Attributes:
        forward: Forward pass, shape (layers,).
        backward: Backward pass with weight gradients, without recompute, (layers,).
        recomputed: The same, with recompute, (layers,).
        apart: Backward pass alone, where weight gradients run apart, without recompute, (layers,).
        inner: The layers that are cut.
    """

    forward: Floats
    backward: Floats
    recomputed: Floats
    apart: Floats
    inner: slice

    @property
    def again_s(self) -> float:
        """Return the least that recompute adds to a layer that is cut."""
        more = (self.recomputed - self.backward)[self.inner]
        return max(0.0, float(more.min())) if len(more) else 0.0


def least_of(chain: LayerChain, plain: Sequence[LayerColumns], recomputed: Sequence[LayerColumns]) -> DegreeBounds:
    """Return the least seconds of the layers, over the kinds of device.

    Args:
        chain: The layers.
        plain: Layers without recompute, on each kind of device.
        recomputed: Layers with recompute, on each kind of device.
    """
    return DegreeBounds(
        forward=np.min([one.seconds[0] for one in plain], axis=0),
        backward=np.min([one.seconds[1] + one.seconds[2] for one in plain], axis=0),
        recomputed=np.min([one.seconds[1] + one.seconds[2] for one in recomputed], axis=0),
        apart=np.min([one.seconds[1] for one in plain], axis=0),
        inner=chain.inner,
    )


def _busiest_s(each: Floats, stages: int, some: int = 0, more_s: float = 0.0) -> float:
    """Return what the busiest of so many stages takes at least.

    Of the j longest layers some stage has at least j / stages, rounded up, and each takes at least the j-th.

    Args:
        each: Seconds of every layer that is cut, (layers,).
        stages: Number of stages.
        some: Layers of a stage that take `more_s` longer, if it has so many.
        more_s: Seconds.
    """
    if not len(each):
        return 0.0
    count = -(-np.arange(1, len(each) + 1) // stages)
    return float((count * np.sort(each)[::-1] + np.minimum(count, some) * more_s).max())


def compute_step_s(chain: LayerChain, priced: Sequence[LayerColumns], plan: Plan) -> float:
    """Return a lower bound on the step over all orders, schedules and recompute: its compute alone."""
    each = np.min([one.compute_s.sum(axis=0) for one in priced], axis=0)
    return plan.micro_batches * max(float(each.sum()) / plan.pipeline, _busiest_s(each[chain.inner], plan.pipeline))


def least_step_s(least: DegreeBounds, plan: Plan, hop_s: float, *, any_schedule: bool = False) -> float:
    """Return a lower bound on the step over all ways to cut the layers into stages.

    Some stage has at least the mean of the seconds, and some stage at least j / stages, rounded up, of the j longest
    layers.

    Args:
        least: Least seconds of the layers.
        plan: The plan.
        hop_s: Seconds of a boundary tensor.
        any_schedule: Bound all schedules too.
    """
    stages, times, inner = plan.pipeline, plan.micro_batches, least.inner
    some = plan.recompute_layers if plan.recompute is Recompute.FULL else 0
    again_s = least.again_s if some else 0.0
    forward, backward = least.forward, least.backward
    if plan.recompute is not Recompute.NONE and not some:
        backward = least.recomputed
    forward_s, backward_s = float(forward.sum()), float(backward.sum())

    def stage_s(forwards: float, backwards: float) -> float:
        """Return so many forward and backward passes of the stage for which they take longest, at least."""
        mean_s = (forwards * forward_s + backwards * backward_s) / stages
        each = forwards * forward[inner] + backwards * backward[inner]
        return max(mean_s, _busiest_s(each, stages, some, backwards * again_s))

    bound_s = stage_s(times, times)
    if stages == 1 or any_schedule:
        return bound_s
    if plan.schedule is PipelineSchedule.GPIPE:
        return forward_s + backward_s + stage_s(times - 1, 0.0) + stage_s(0.0, times - 1)
    turn_s = forward_s + turn_hops(stages, plan.virtual, plan.schedule) * hop_s
    left = _forwards_left(stages, times, plan.virtual, plan.schedule)
    if plan.virtual == 1 and plan.schedule is PipelineSchedule.ONE_F_ONE_B:
        way_s = turn_s + backward_s + (stages - 1) * hop_s
        return max(bound_s, way_s + stage_s(float(left[0].min()), times - 1))
    # the first backward pass comes after the way down; then all others, and at least so many forward passes
    bound_s = max(bound_s, turn_s + stage_s(float(left.min()), times))
    if plan.schedule.folds:
        loops = (times - 1) // v_turns(stages, times, plan.schedule)[0].apart + 1
        whole_s = turn_s + float(least.apart.sum()) + turn_hops(stages, 2, plan.schedule) * hop_s
        return max(bound_s, loops * whole_s)
    layers = len(forward[inner])
    most = -(-layers // stages)
    up = least.apart if plan.schedule.apart else least.backward
    layer_s, back_s, up_s = (float(each[inner].min()) if layers else 0.0 for each in (forward, backward, up))
    chunk_s = (most // plan.virtual) * layer_s
    # of the first stage with so many layers: the stages before it have fewer, the others what is left
    after = np.maximum(0, layers - most - np.arange(stages) * (most - 1) - (plan.virtual - 1)) / plan.virtual
    ways = after * up_s + left.sum(axis=1) * chunk_s
    return max(bound_s, turn_s + times * (most * back_s + min(most, some) * again_s) + float(ways.min()))


@lru_cache(maxsize=1024)
def _forwards_left(stages: int, times: int, virtual: int, schedule: PipelineSchedule) -> Floats:
    """Return how many forward passes of a chunk follow a stage's first backward pass, (stages, chunks)."""
    left = [forwards_left(stage, stages, times, virtual, schedule) for stage in range(stages)]
    return np.array(left, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightestLayer:
    """The lightest of some layers that are cut, under a plan: the least of each quantity.

    Attributes:
        layers: Number of those layers.
        sizes: Weights that it shares with no other.
        saved_bytes: Activations kept for a micro-batch without recompute that no other layer keeps.
        eased_bytes: The same where it is recomputed.
        beside: What a stage that has any layer holds for a moment, whichever it is and whatever ZeRO divides: working
            memory and a boundary tensor.
    """

    layers: int
    sizes: WeightSizes
    saved_bytes: float
    eased_bytes: float
    beside: StageContents


def lightest_of(plain: LayerChain, recomputed: LayerChain) -> LightestLayer:
    """Return the least of each quantity over the layers that are cut."""
    return _least_among(plain, recomputed, range(len(plain.layers)))


def lightest_kinds(plain: LayerChain, recomputed: LayerChain) -> tuple[LightestLayer, ...]:
    """Return the least of each quantity over all layers that are cut, then over the heavy ones among them.

    Where layers are unlike (dense ones before mixtures of experts) the lightest says little about the others.
    """
    of_layer = {one: sum(one.weights) for one in dict.fromkeys(plain.layers)}
    weights = [of_layer[one] for one in plain.layers]
    every = lightest_of(plain, recomputed)
    if len(set(weights)) < 2:
        return (every,)
    least = max(set(weights), key=lambda weight: weight * sum(one >= weight for one in weights))
    heavy = [place for place, weight in enumerate(weights) if weight >= least]
    return (every, _least_among(plain, recomputed, heavy)) if len(heavy) < len(weights) else (every,)


def _least_among(plain: LayerChain, recomputed: LayerChain, places: Sequence[int]) -> LightestLayer:
    """Return the least of each quantity over some of the layers that are cut, by their place among them."""
    shared = parts_of(plain.shared, len(plain.whole))[plain.inner]
    alike = dict.fromkeys((plain.layers[place], shared[place]) for place in places)
    own = [layer.weights.plus(others, -1) for layer, others in alike]
    working_bytes = min((one.working_bytes for one in dict.fromkeys(recomputed.layers)), default=0.0)
    return LightestLayer(
        layers=len(places),
        sizes=WeightSizes(*map(min, zip(*own, strict=True))) if own else WeightSizes(),
        saved_bytes=_least_kept(plain, places),
        eased_bytes=_least_kept(recomputed, places),
        beside=replace(NO_CONTENTS, working_bytes=working_bytes),
    )


def _least_kept(chain: LayerChain, places: Sequence[int]) -> float:
    """Return the least that one of some layers keeps and shares with no other, by their place among those cut."""
    others = kept_parts(chain.kept, len(chain.whole))[chain.inner]
    return min((max(0.0, chain.layers[place].saved_bytes - others[place]) for place in places), default=0.0)


class DividedBytes(NamedTuple):
    """Bytes of the lightest layer under a plan, before recompute and schedule say how many micro-batches it keeps.

    Attributes:
        layer: Weights, gradients and states of the layer.
        beside: What a stage holds beside its layers.
        saved: Kept activations of a micro-batch, without recompute.
        eased: Kept activations of a micro-batch, where it is recomputed.
    """

    layer: float
    beside: float
    saved: float
    eased: float


def layer_bytes(lightest: LightestLayer, plan: Plan) -> DividedBytes:
    """Return the bytes of the lightest layer as a plan's sharding divides them, with what the allocator loses, while
    passes run: the optimizer's step, where nothing is in flight, may hold more."""
    base = passes_memory(plan, 0, NO_CONTENTS).total_bytes
    # kept in fp8 alone a weight has one byte at the least, not two
    spared = float(lightest.sizes.elements) if plan.fp8_gather and plan.habits.keeps_casts and plan.zero < 3 else 0.0
    sizes = replace(NO_CONTENTS, **lightest.sizes._asdict(), cast_bytes=-spared)
    wide = (1.0 + plan.lost_share) * weight_bytes(plan) / 2.0
    return DividedBytes(
        layer=passes_memory(plan, 0, sizes).total_bytes - base,
        beside=passes_memory(plan, 0, lightest.beside).total_bytes,
        saved=wide * lightest.saved_bytes,
        eased=wide * lightest.eased_bytes,
    )


def may_fit(each: DividedBytes, layers: int, plan: Plan, memory_bytes: Sequence[float]) -> bool:
    """Return whether the stages can hold so many layers at all (`may_fit_with`), recomputed as the plan has it."""
    return bool(may_fit_with((plan.recompute_layers,), each, layers, plan, memory_bytes)[0])


def may_fit_with(
    counts: Sequence[int], each: DividedBytes, layers: int, plan: Plan, memory_bytes: Sequence[float] | Floats
) -> Bools:
    """Return whether the stages can hold so many layers at all, were embedding and head free, (counts,).

    A stage holds as many layers as their weights, gradients, states and kept activations allow, beside what any layer
    takes for a moment. Where some of a stage's layers are recomputed, at most so many of these are: of the heavy ones
    maybe none. So what is counted of a layer is the less of what it keeps recomputed and not.

    Args:
        counts: Layers of each stage that are recomputed, in place of the plan's; 0: all.
        each: Bytes of the lightest of the layers.
        layers: Number of layers that are cut.
        plan: The plan.
        memory_bytes: Memory of a device, by stage.
    """
    some = np.array(counts)[:, None]
    flights = _flights(plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
    memory = np.asarray(memory_bytes)
    free = memory - each.beside
    kept = each.saved if plan.recompute is Recompute.NONE else each.eased
    eased = each.layer + flights * np.where(some, min(each.eased, each.saved), kept)
    count = np.floor(free / np.where(eased > 0, eased, np.inf) + 1e-9)
    count = np.where(eased > 0, count, layers)  # a layer of no bytes: all of them
    if any(counts):  # else the layers of a stage are all recomputed, or none is
        again = np.where(some, some, layers)
        plain = each.layer + flights * each.saved
        within = np.floor((free + again * (plain - eased)) / np.where(plain > 0, plain, np.inf) + 1e-9)
        within = np.where(plain > 0, np.maximum(again, within), layers)
        count = np.where(count > again, within, count)
    held = np.where(free < -1e-9 * memory, 0.0, np.minimum(np.maximum(count, 0.0), layers)).sum(axis=1)
    return np.asarray(held >= layers)


@lru_cache(maxsize=1024)
def _flights(stages: int, micro_batches: int, virtual: int, schedule: PipelineSchedule) -> Floats:
    """Return how many micro-batches' activations each stage holds at once of each of its layers, (stages,).

    In a V at least: of a layers in the first chunk and b in the second, which differ by one at most, x a + y b where x
    and y chunks are in flight, (x + y) / 2 a layer but for |x - y| / 2; the fewest layers that can be odd are 3, and 1
    on the first stage.
    """
    if schedule.folds:
        odd = [1.0, *(3.0,) * (stages - 1)]
        turns = v_turns(stages, micro_batches, schedule)
        return np.array(
            [
                max((x + y) / 2.0 - abs(x - y) / (2.0 * few) for x, y in one.held)
                for one, few in zip(turns, odd, strict=True)
            ]
        )
    return np.array([in_flight(stage, stages, micro_batches, virtual, schedule) for stage in range(stages)])
