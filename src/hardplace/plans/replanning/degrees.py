"""The space of plans that keep what a running plan fixes (docs/model-replan.md, "The space")."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hardplace.ndtypes import Ints
from hardplace.plans.placement.degree_bounds import layer_bytes, may_fit
from hardplace.plans.placement.enumeration import MICRO_BATCHES, divisors
from hardplace.plans.plan import INSIDE_OUT, Dimension, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.plans.replanning.bounds import BoundedPlan
from hardplace.plans.replanning.devices import AvailableDevices, Inside, inside
from hardplace.workload.types import Recompute

NEAR = 0.02  # by what share an uneven batch may differ from the running one


@dataclass(frozen=True, slots=True, kw_only=True)
class DegreeTable:
    """A way to run the layers, not yet priced, and the degrees that it may have on networks alike.

    Attributes:
        plan: The way to run the layers, with its pipeline stages where they change what a layer keeps.
        network: What collectives within a layer see of the network.
        degrees: Rows of (pipeline, data, batch).
    """

    plan: Plan
    network: Inside
    degrees: Ints


def rows(hand: AvailableDevices, *, uneven: bool) -> Iterator[DegreeTable]:
    """Yield the ways to run a layer, each with the degrees that the devices at hand allow it.

    With `uneven` of batches near the running one instead, which more devices divide.
    """
    running = hand.running
    base = replace(running, order=_order(running), stages=(), assignment=(), zero=0, shard=0, virtual=1)
    recomputes = [(one, 0) for one in Recompute if not (running.flash and one is Recompute.SELECTIVE)]
    if running.recompute_layers:
        recomputes.append((running.recompute, running.recompute_layers))
    schedules = dict.fromkeys((PipelineSchedule.ONE_F_ONE_B, PipelineSchedule.ZERO_BUBBLE, running.schedule))
    for tensor in sorted({*divisors(hand.node.levels[0].devices or hand.devices), running.tensor}):
        sequence = tensor > 1 and (running.sequence or running.tensor == 1)
        ranked = replace(base, tensor=tensor, sequence=sequence, micro_batch=1)
        if tensor * running.context > hand.devices or not hand.divides(ranked):
            continue
        for network, degrees in (_near if uneven else _even)(hand, ranked).items():
            for each, micro_batch in itertools.product(_alike(ranked, degrees), MICRO_BATCHES):
                able = each[(each[:, 2] // each[:, 1]) % micro_batch == 0]
                for (recompute, count), schedule in itertools.product(recomputes, schedules):
                    here = able if schedule is PipelineSchedule.ONE_F_ONE_B else able[able[:, 0] > 1]
                    if len(here):
                        plan = replace(ranked, micro_batch=micro_batch, schedule=schedule, recompute=recompute)
                        if plan.offload_layers:
                            plan = replace(plan, pipeline=int(here[0, 0]))
                        yield DegreeTable(plan=replace(plan, recompute_layers=count), network=network, degrees=here)


def _alike(ranked: Plan, degrees: Ints) -> list[Ints]:
    """Return the degrees in groups whose layers are the same: with activations in host memory by the number of stages,
    of whose layers so many are moved, else all."""
    if not ranked.offload_layers:
        return [degrees]
    return [degrees[degrees[:, 0] == stages] for stages in np.unique(degrees[:, 0])]


def _order(running: Plan) -> tuple[Dimension, ...]:
    """Return the running plan's order of degrees, if collectives within a layer then do not depend on pipeline and
    data degree, else Megatron-LM's."""
    own = running.order
    inner = own[0] is Dimension.TENSOR and (running.context == 1 or own[1] is Dimension.CONTEXT)
    return own if inner else INSIDE_OUT


def _pipelines(hand: AvailableDevices) -> range:
    return range(1, 2 if hand.shape.branches else hand.shape.layers + 1)


def _even(hand: AvailableDevices, ranked: Plan) -> dict[Inside, Ints]:
    """Return (pipeline, data, batch) of all degrees that divide the batch and that there is room for."""
    width, batch = ranked.tensor * ranked.context, ranked.global_batch
    found = [
        (pipeline, data, batch)
        for pipeline in _pipelines(hand)
        for data in divisors(batch)
        if width * pipeline * data <= hand.devices and (width * data) % ranked.expert == 0
    ]
    return _grouped(hand, ranked, found)


def _near(hand: AvailableDevices, ranked: Plan) -> dict[Inside, Ints]:
    """Return for each pipeline the most replicas that there is room for, with the nearest batch they divide."""
    width, asked = ranked.tensor * ranked.context, ranked.global_batch
    found = []
    for pipeline in _pipelines(hand):
        data = hand.devices // (width * pipeline)
        while data > 1 and hand.placed(width * pipeline * data) is None:
            data -= 1
        batch = round(asked / data) * data if data else 0
        near = 0 < abs(batch - asked) <= NEAR * asked
        if batch and near and (width * data) % ranked.expert == 0:
            found.append((pipeline, data, batch))
    return _grouped(hand, ranked, found)


def _grouped(hand: AvailableDevices, ranked: Plan, degrees: list[tuple[int, int, int]]) -> dict[Inside, Ints]:
    """Return the degrees that there is room for, by the network that they see."""
    found: dict[Inside, list[tuple[int, int, int]]] = {}
    for pipeline, data, batch in degrees:
        fleet = hand.placed(ranked.tensor * ranked.context * pipeline * data)
        if fleet is not None:
            found.setdefault(inside(fleet), []).append((pipeline, data, batch))
    return {network: np.array(some, dtype=np.int64) for network, some in found.items()}


def virtuals(running: Plan, plan: Plan, layers: int) -> list[int]:
    """Return how many chunks of its layers a stage may have: divisors of its layers, rounded up, in 1F1B."""
    if plan.schedule is not PipelineSchedule.ONE_F_ONE_B or plan.pipeline == 1 or plan.micro_batches % plan.pipeline:
        return [1]
    own = {running.virtual} if running.pipeline == plan.pipeline else set()
    return sorted({*divisors(-(-layers // plan.pipeline)), *own})


def zeros(hand: AvailableDevices, way: BoundedPlan) -> Iterator[Plan]:
    """Yield the plan with each ZeRO stage that it may have, over all replicas or as the running plan.

    Only as far as a cheap bound on its memory fits.
    """
    plan, own = way.plan, hand.running.shard
    memory, replicas = [hand.chip.memory_bytes] * plan.pipeline, plan.replicas
    # ZeRO-2 scatters gradients after every micro-batch: no framework joins it to a pipeline.
    apart = plan.pipeline == 1 or hand.running.zero == 2
    for zero in (0, 1, 2, 3) if replicas > 1 else (0,):
        if zero == 2 and not apart:
            continue
        for over in sorted({0, own}) if zero and own and replicas % own == 0 else (0,):
            one = replace(plan, zero=zero, shard=over)
            each = layer_bytes(way.kind.weights, one)
            if may_fit(each, way.cut.last - way.cut.first, one, memory) and not any(problems(one)):
                yield one
