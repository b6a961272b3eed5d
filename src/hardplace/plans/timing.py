"""Seconds of a layer, and of the end of a step, on devices of one kind (docs/model-training.md, sections 2 and 4)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from hardplace.cost.collectives import Ring
from hardplace.cost.layers.software import software_named
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.layers.work import GemmWork, LayerWork
from hardplace.cost.types import Collective
from hardplace.hardware.types import Cluster
from hardplace.plans.fleet import DevicePool, Fleet
from hardplace.plans.memory import state_bytes, weight_bytes
from hardplace.plans.pipeline import chunk_turns
from hardplace.plans.plan import GRADIENT_BYTES, ContextExchange, Dimension, OptimizerKind, Plan
from hardplace.plans.pricer import IsolatedTimes
from hardplace.plans.replica_traffic import (
    between_groups_s,
    layer_gather_s,
    over_replicas_s,
    owners_broadcast_s,
    sent_bytes,
    weights_cast_s,
)
from hardplace.plans.time_shares import TimeShares
from hardplace.workload.types import Group
from hardplace.workload.weights import NOTHING, SharedWeights, WeightSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLayerTimes:
    """Seconds of a layer for one micro-batch, as a training step reaches them.

    Attributes:
        forward: Forward pass.
        backward: Backward pass with recompute.
        weight: Weight gradients, where the schedule runs them apart; else zero.
        forward_gather_s: Gathering of weights (ZeRO-3) that the forward pass does not hide.
        backward_gather_s: Gathering of weights and scattering of gradients that the backward pass does not hide.
        forward_host_s: Activations on their way to host memory that the forward pass does not hide.
        backward_host_s: The same on their way back.
    """

    forward: TimeShares
    backward: TimeShares
    weight: TimeShares
    forward_gather_s: float
    backward_gather_s: float
    forward_host_s: float = 0.0
    backward_host_s: float = 0.0

    @property
    def forward_s(self) -> float:
        """Return the seconds of the forward pass, with exposed traffic."""
        return self.forward.total_s + self.forward_gather_s + self.forward_host_s

    @property
    def backward_s(self) -> float:
        """Return the seconds of the backward pass, with recompute and exposed traffic."""
        return self.backward.total_s + self.backward_gather_s + self.backward_host_s

    @property
    def weight_s(self) -> float:
        """Return the seconds of the weight gradients that run apart."""
        return self.weight.total_s


# By the layer, the site and the groups: its forward, its backward, its weight gradients where they run apart.
Known = dict[tuple[object, ...], tuple[IsolatedTimes, IsolatedTimes, IsolatedTimes]]


def groups_of(plan: Plan) -> dict[Group, Ring]:
    """Return the process group of each kind of collective within a layer, as members and stride.

    Expert groups fold into tensor x context x data, innermost first.
    """
    return {
        Group.TENSOR: Ring(members=plan.tensor, stride=plan.stride(Dimension.TENSOR)),
        Group.CONTEXT: Ring(members=plan.context, stride=plan.stride(Dimension.CONTEXT)),
        Group.EXPERT: Ring(members=plan.expert, stride=plan.stage_stride),
    }


def layer_seconds(layer: LayerWork, plan: Plan, site: DevicePool, known: Known) -> StepLayerTimes:
    """Return the seconds of a layer for one micro-batch, with the traffic of ZeRO-2 and ZeRO-3 that compute does not
    hide.

    Under ZeRO-3 weights are gathered in each pass and gradients scattered. Under ZeRO-2 gradients are scattered after
    every micro-batch; the last one's scatter is as ZeRO-1's, at the end of the step (`end_of_stage`), so a micro-batch
    has its share of the others'. Gradients of weights that earlier layers of the same stage hold as well are scattered
    there, summed up. Activations in host memory cross the link beside compute; what is longer shows. In zero-bubble
    and V-shaped schedules weight gradients (products of layout NT) are apart.

    Args:
        layer: Work of the layer on one rank.
        plan: The plan.
        site: The devices.
        known: Layers already priced, by layer, device and process groups; this call adds to it.

    Source: docs/model-training.md, sections 2 and 4.
    """
    pricer, groups = site.pricer, groups_of(plan)
    apart = plan.schedule.apart
    key = (layer, site.device, apart, *groups.values())
    if key not in known:
        back = (*layer.again, *layer.backward)
        late = [one for one in back if apart and isinstance(one, GemmWork) and one.layout is Layout.NT]
        rest = [one for one in back if one not in late] if late else back
        first, second, third = (pricer.parts(work, site.cluster, groups) for work in (layer.forward, rest, late))
        known[key] = first, second, third
    ring = plan.context_exchange is ContextExchange.RING
    first, *others = known[key]
    forward = pricer.reached(first, ring=ring, casts_weights=plan.zero == 3)
    backward, weight = (pricer.reached(one, ring=ring) for one in others)
    gather_s = scatter_s = 0.0
    if plan.zero == 3:
        gather_s = layer_gather_s(layer, plan, site)
    early = (plan.micro_batches - 1) / plan.micro_batches if plan.zero == 2 else float(plan.zero == 3)
    if early:
        held = layer.parameters, layer.expert_parameters
        if plan.pipeline == 1:
            held = held[0] - layer.repeated_parameters, held[1] - layer.repeated_expert_parameters
        scatter_s = over_replicas_s(held, plan, site, Collective.REDUCE_SCATTER, GRADIENT_BYTES[plan.gradient])
    ahead = 1.0 - pricer.efficiencies.looped if software_named(pricer.software).loops else 1.0
    hidden = ahead if plan.overlap else 0.0
    least = pricer.efficiencies.shown if software_named(pricer.software).loops else 0.0
    host_s = layer.offloaded_bytes / site.host_bytes_per_s
    beside_s = _beside_s(gather_s + scatter_s, backward.compute_s, hidden, pricer.efficiencies.contention, least)
    return StepLayerTimes(
        forward=forward,
        backward=backward,
        weight=weight,
        forward_gather_s=_beside_s(gather_s, forward.compute_s, hidden, pricer.efficiencies.contention, least),
        backward_gather_s=early * beside_s,
        forward_host_s=max(0.0, host_s - forward.total_s),
        backward_host_s=max(0.0, host_s - backward.total_s),
    )


def _beside_s(traffic_s: float, compute_s: float, hidden: float, contention: float, least: float) -> float:
    """Return what traffic beside compute adds: what does not hide, and what it slows the compute down by; least: the
    share of the traffic that shows whatever runs beside it."""
    inside_s = min((1.0 - least) * traffic_s, hidden * compute_s)
    return traffic_s - inside_s + contention * inside_s


def _update_s(stage: Sequence[LayerWork], count: float, whole: int, plan: Plan, site: DevicePool) -> float:
    """Return seconds of the optimizer on `count` of a stage's `whole` parameters on a rank.

    Gradients are read for their norm, for clipping (and written), and for the update; all that are not divided are set
    to zero. Offloaded states are read and written in host memory at the rate of the link, gradients and weights cross
    it. Muon: five Newton-Schulz steps of three products for each matrix, ranks sharing the matrices (Jordan 2024).
    """
    gradient, pricer = GRADIENT_BYTES[plan.gradient], site.pricer
    zeroed = whole if plan.zero < 2 else count
    states = 2 * state_bytes(plan) * count
    device = count * (4 * gradient + weight_bytes(plan)) + gradient * zeroed
    if plan.offload:
        crossing = count * (gradient + weight_bytes(plan))
        return pricer.moved_s(Stream.OPTIMIZER, device) + (states + crossing) / site.host_bytes_per_s
    update_s = pricer.moved_s(Stream.OPTIMIZER, device + states)
    if plan.optimizer is not OptimizerKind.MUON:
        return update_s
    steps = [product for one in stage for product in _orthogonal(one)]
    made = pricer.reached(pricer.parts(steps, site.cluster, groups_of(plan)))
    return update_s + made.products_s / (plan.sharded_over if plan.zero else 1)


def _orthogonal(layer: LayerWork) -> list[GemmWork]:
    """Return the products that make a layer's gradients orthogonal: of every matrix of its linear layers."""
    found = []
    for one in layer.forward:
        if isinstance(one, GemmWork) and one.low and one.layout is Layout.TN:
            small, large = sorted((one.n, one.k))
            square = replace(one, m=small, n=small, k=large, low=False, output_bytes=2.0)
            found += 5 * [square, replace(square, k=small), replace(square, n=large, k=small)]
    return found


def ties_s(shared: Sequence[SharedWeights], plan: Plan, fleet: Fleet) -> tuple[float, ...]:
    """Return the seconds in which stages add up the gradients of each of the weights that they share.

    An all-reduce of the whole gradient over as many stages as layers hold it, at most all of the pipeline's, evenly
    apart; where stages stand on several kinds of device, over the network that joins them. A stage that holds all of a
    group, or none, has nothing to add up.

    Args:
        shared: Weights that several layers hold.
        plan: The plan.
        fleet: The devices.

    Returns:
        Seconds for each of `shared`.
    """
    found = []
    for one in shared:
        members = min(plan.pipeline, len(set(one.layers)))
        size = float(GRADIENT_BYTES[plan.gradient] * (one.sizes.parameters + one.sizes.expert_parameters))
        ring = Ring(members=members, stride=plan.stride(Dimension.PIPELINE) * (plan.pipeline // members))
        if members == 1 or not size:
            found.append(0.0)
        elif fleet.joint is None:
            site = fleet.sites[0]
            found.append(site.pricer.exchange_s(Collective.ALL_REDUCE, size, site.cluster, ring))
        else:
            joined = Cluster(devices=members, levels=(replace(fleet.joint, devices=members),))
            ring = Ring(members=members, stride=1)
            costs = [site.pricer.exchange_s(Collective.ALL_REDUCE, size, joined, ring) for site in fleet.sites]
            found.append(max(costs))
    return tuple(found)


def tied_s(shared: Sequence[SharedWeights], seconds: Sequence[float], layers: Collection[int]) -> float:
    """Return the seconds that a stage spends on reducing weights that it shares with other stages.

    Args:
        shared: Weights that several layers hold.
        seconds: Seconds of each (`ties_s`).
        layers: Positions of the stage's layers.
    """
    held = [sum(layer in layers for layer in one.layers) for one in shared]
    return sum(each for each, one, count in zip(seconds, shared, held, strict=True) if 0 < count < len(one.layers))


def end_of_stage(
    stage: Sequence[LayerWork],
    plan: Plan,
    site: DevicePool,
    forward_s: float,
    backward_s: float,
    twice: WeightSizes = NOTHING,
) -> float:
    """Return the seconds of a stage at the end of a step: exposed reduction and gather, and the optimizer step.

    The reduction (ZeRO-2: of the last micro-batch) hides behind the last micro-batch's backward pass but for its last
    layer, the gather behind the first forward pass; where a stage has chunks, behind those of a group of micro-batches.

    Args:
        stage: Layers of the stage.
        plan: The plan.
        site: The devices.
        forward_s: Seconds of the stage's forward pass of one micro-batch.
        backward_s: Seconds of its backward pass.
        twice: What its layers count more than once (`workload.weights.surplus`).

    Source: docs/model-training.md, section 4.
    """
    held = (
        sum(one.parameters for one in stage) - twice.parameters,
        sum(one.expert_parameters for one in stage) - twice.expert_parameters,
    )
    tensors = sum(one.tensors for one in stage)
    return stage_end_s(held, len(stage), tensors, stage, plan, site, forward_s, backward_s)


def stage_end_s(
    held: tuple[int, int],
    layers: int,
    tensors: int,
    stage: Sequence[LayerWork],
    plan: Plan,
    site: DevicePool,
    forward_s: float,
    backward_s: float,
) -> float:
    """Return the seconds of a stage at the end of a step, from what its layers hold together.

    Args:
        held: Trained parameters of a rank, of dense layers and of experts.
        layers: Number of the stage's layers.
        tensors: Number of their trained tensors.
        stage: The layers; read for Muon's products alone.
        plan: The plan.
        site: The devices.
        forward_s: Seconds of the stage's forward pass of one micro-batch.
        backward_s: Seconds of its backward pass.
    """
    gradient, layers = GRADIENT_BYTES[plan.gradient], max(1, layers)
    hidden = (1.0 - site.pricer.efficiencies.exposed) * (1.0 - 1.0 / layers) if plan.overlap else 0.0

    chunks, turns = chunk_turns(plan)

    def exposed_s(traffic_s: float, beside_s: float) -> float:
        behind_s = hidden * beside_s / chunks
        rest_s = traffic_s - ((chunks - 1) * turns + 1) * behind_s
        return max(rest_s, traffic_s / chunks - behind_s, traffic_s / layers)

    between_s = between_groups_s(held, plan, site) if plan.shard and plan.zero else 0.0
    if plan.zero == 1 and plan.habits.whole_tensors:
        reduced_s = over_replicas_s(held, plan, site, Collective.ALL_REDUCE, gradient)
        total_s = exposed_s(reduced_s, backward_s) + owners_broadcast_s(held, tensors, plan, site)
    elif plan.zero == 0:
        total_s = exposed_s(over_replicas_s(held, plan, site, Collective.ALL_REDUCE, gradient), backward_s)
    elif plan.zero < 3:
        reduced_s = over_replicas_s(held, plan, site, Collective.REDUCE_SCATTER, gradient) + between_s
        gathered_s = over_replicas_s(held, plan, site, Collective.ALL_GATHER, sent_bytes(plan, site))
        total_s = exposed_s(reduced_s, backward_s) + exposed_s(gathered_s, forward_s)
    else:
        total_s = between_s if software_named(site.pricer.software).loops else exposed_s(between_s, backward_s)
    count = held[0] / (plan.sharded_over if plan.zero else 1)
    count += held[1] / (plan.experts_sharded_over if plan.zero else 1)
    return total_s + _update_s(stage, count, sum(held), plan, site) + weights_cast_s(sum(held), plan, site)
