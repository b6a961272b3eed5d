"""Bounds of plans before their stages are cut: cheap, proven, of seconds and memory (docs/model-placement.md,
"Bounds").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from hardplace.ndtypes import Floats
from hardplace.plans.chain import LayerChain
from hardplace.plans.memory import StageContents, stage_memory
from hardplace.plans.pipeline import forwards_left, in_flight
from hardplace.plans.placement.stages import LayerColumns
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.workload.types import Recompute
from hardplace.workload.weights import WeightSizes, parts_of

_NOTHING = StageContents(
    parameters=0,
    expert_parameters=0,
    saved_bytes=0.0,
    logits_bytes=0.0,
    working_bytes=0.0,
    largest_parameters=0,
    boundary_bytes=0.0,
    largest_trained_parameters=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DegreeBounds:
    """Least seconds of a model's layers under a plan's degrees, over the kinds of device.

    Attributes:
        forward_s: Forward pass of all layers.
        backward_s: Backward pass of all layers, with weight gradients.
        layer_forward_s: Forward pass of one layer that is cut.
        layer_backward_s: Its backward pass, with weight gradients.
        layer_apart_s: Its backward pass alone, where weight gradients run apart.
        again_s: What recompute adds to a layer.
    """

    forward_s: float
    backward_s: float
    layer_forward_s: float
    layer_backward_s: float
    layer_apart_s: float
    again_s: float


def least_of(chain: LayerChain, plain: Sequence[LayerColumns], recomputed: Sequence[LayerColumns]) -> DegreeBounds:
    """Return the least seconds over the layers and the kinds of device.

    Args:
        chain: The layers.
        plain: Layers without recompute, on each kind of device.
        recomputed: Layers with recompute, on each kind of device.
    """
    forward = np.min([one.seconds[0] for one in plain], axis=0)
    backward = np.min([one.seconds[1] + one.seconds[2] for one in plain], axis=0)
    apart = np.min([one.seconds[1] for one in plain], axis=0)
    again = np.min(
        [(b.seconds[1:] - a.seconds[1:]).sum(axis=0) for a, b in zip(plain, recomputed, strict=True)], axis=0
    )

    def inner(values: Floats) -> float:
        return float(values[chain.inner].min()) if chain.layers else 0.0

    return DegreeBounds(
        forward_s=float(forward.sum()),
        backward_s=float(backward.sum()),
        layer_forward_s=inner(forward),
        layer_backward_s=inner(backward),
        layer_apart_s=inner(apart),
        again_s=max(0.0, inner(again)),
    )


def compute_step_s(chain: LayerChain, priced: Sequence[LayerColumns], layers: int, plan: Plan) -> float:
    """Return a lower bound on the step over all orders, schedules and recompute: its compute alone."""
    each = np.min([one.compute_s.sum(axis=0) for one in priced], axis=0)
    most = -(-layers // plan.pipeline)
    layer_s = float(each[chain.inner].min()) if chain.layers else 0.0
    return plan.micro_batches * max(float(each.sum()) / plan.pipeline, most * layer_s)


def least_step_s(least: DegreeBounds, layers: int, plan: Plan, hop_s: float, *, any_schedule: bool = False) -> float:
    """Return a lower bound on the step over all ways to cut the layers into stages.

    Some stage has at least the mean of the seconds, and one at least layers / stages, rounded up, of the layers.

    Args:
        least: Least seconds of the layers.
        layers: Number of layers that are cut.
        plan: The plan.
        hop_s: Seconds of a boundary tensor.
        any_schedule: Bound all schedules too.
    """
    stages, times = plan.pipeline, plan.micro_batches
    most = -(-layers // stages)
    count = 0
    if plan.recompute is Recompute.FULL:
        count = min(most, plan.recompute_layers or most)
    elif plan.recompute is Recompute.SELECTIVE:
        count = most
    forward_s = most * least.layer_forward_s
    backward_s = most * least.layer_backward_s + count * least.again_s
    mean_s = (least.forward_s + least.backward_s) / stages
    bound_s = times * max(mean_s, forward_s + backward_s)
    if stages == 1 or any_schedule:
        return bound_s
    turn_s = least.forward_s + (stages * plan.virtual - 1) * hop_s
    if plan.schedule is PipelineSchedule.GPIPE:
        return least.forward_s + least.backward_s + (times - 1) * max(mean_s, forward_s + backward_s)
    left = forwards_left(0, stages, times, plan.virtual)
    if plan.virtual == 1 and plan.schedule is PipelineSchedule.ONE_F_ONE_B:
        way_s = turn_s + least.backward_s + (stages - 1) * hop_s
        mean_s = ((times - 1) * least.backward_s + left[0] * least.forward_s) / stages
        return max(bound_s, way_s + max(mean_s, (times - 1) * backward_s + left[0] * forward_s))
    up_s = least.layer_apart_s if plan.schedule is PipelineSchedule.ZERO_BUBBLE else least.layer_backward_s
    chunk_s = (most // plan.virtual) * least.layer_forward_s
    # of the first stage with so many layers: the stages before it have fewer, the others what is left
    after = np.maximum(0, layers - most - np.arange(stages) * (most - 1) - (plan.virtual - 1)) / plan.virtual
    ways = after * up_s + _forwards_left(stages, times, plan.virtual) * chunk_s
    return max(bound_s, turn_s + times * backward_s + float(ways.min()))


@lru_cache(maxsize=1024)
def _forwards_left(stages: int, times: int, virtual: int) -> Floats:
    """Return, by stage, how many forward passes of a chunk follow its first backward pass."""
    return np.array([sum(forwards_left(stage, stages, times, virtual)) for stage in range(stages)], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LightestLayer:
    """The lightest layer that is cut, under a plan: the least of each quantity.

    Attributes:
        sizes: Weights that it shares with no other.
        saved_bytes: Activations kept for a micro-batch, without recompute.
        eased_bytes: Activations kept for a micro-batch, where it is recomputed.
    """

    sizes: WeightSizes
    saved_bytes: float
    eased_bytes: float  # kept where it is recomputed


def lightest_of(plain: LayerChain, recomputed: LayerChain) -> LightestLayer:
    """Return the least of each quantity over the layers that are cut."""
    shared = parts_of(plain.shared, len(plain.whole))[plain.inner]
    own = [one.weights.plus(part, -1) for one, part in zip(plain.layers, shared, strict=True)]
    return LightestLayer(
        sizes=WeightSizes(*map(min, zip(*own, strict=True))),
        saved_bytes=min((one.saved_bytes for one in plain.layers), default=0.0),
        eased_bytes=min((one.saved_bytes for one in recomputed.layers), default=0.0),
    )


def may_fit(weights: LightestLayer, layers: int, plan: Plan, memory_bytes: Sequence[float]) -> bool:
    """Return whether the stages can hold the layers at all, were embedding, head and working memory free.

    A stage holds as many layers as their weights, gradients, states and kept activations allow.

    Args:
        weights: The lightest layer.
        layers: Number of layers that are cut.
        plan: The plan.
        memory_bytes: Memory of a device, by stage.
    """
    one = replace(_NOTHING, **weights.sizes._asdict())
    base = stage_memory(plan, 0, _NOTHING).total_bytes
    layer = stage_memory(plan, 0, one).total_bytes - base
    held = 0
    again = 0 if plan.recompute is Recompute.NONE else plan.recompute_layers or layers
    for stage, memory in enumerate(memory_bytes):
        flight = in_flight(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule)
        kept = flight * (1.0 + plan.lost_share)
        free = memory - base
        plain, eased = layer + kept * weights.saved_bytes, layer + kept * weights.eased_bytes
        count = math.floor(free / eased + 1e-9) if eased > 0 else layers
        if count > again:
            count = max(again, math.floor((free + again * (plain - eased)) / plain + 1e-9)) if plain > 0 else layers
        held += max(0, min(count, layers))
        if held >= layers:
            return True
    return False
