"""From layer times to partition problems: what a plan family holds, sends and reduces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hardplace.cost.network import scatter_s
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.partition.types import (
    Boundary,
    Charge,
    LayerLoad,
    PartitionProblem,
    Replication,
    SharedActivation,
    SharedLoad,
    Variant,
)
from hardplace.design.types import PlanChoices, PlanFamily
from hardplace.hardware.types import Setting
from hardplace.workload.affine import Affine
from hardplace.workload.kept import shared_kept
from hardplace.workload.types import Layer, Recompute, Shard, Workload
from hardplace.workload.weights import WeightSizes, shared_weights, weights_of


def families(choices: PlanChoices, batch_samples: int) -> tuple[PlanFamily, ...]:
    """Return every combination of the choices whose micro-batch divides the global batch."""
    return tuple(
        PlanFamily(memory_bytes=memory, micro_batch=size, recompute=recompute, tensor_parallel=width)
        for width in choices.tensor_parallel
        for size in choices.micro_batches
        if batch_samples % size == 0
        for recompute in choices.recompute
        for memory in choices.memory_bytes
    )


def replications(setting: Setting, tensor_parallel: int, micro_batches: int) -> tuple[Replication, ...]:
    """Return the data-parallel degrees that divide the micro-batches of a batch, with what each costs.

    Replicas of a stage are tensor_parallel devices apart; stages come outermost, so that their transfers are charged to
    the last level of the network.
    """
    outer = setting.cluster.levels[-1]
    found = []
    for degree in range(1, setting.cluster.devices // tensor_parallel + 1):
        if micro_batches % degree:
            continue
        per_byte, latency_s = scatter_s(setting.cluster, degree, tensor_parallel)
        found.append(
            Replication(
                data_parallel=degree,
                reduction_s_per_byte=per_byte,
                reduction_latency_s=2.0 * latency_s,
                boundary_s_per_byte=1.0 / outer.bandwidth_bytes_per_s,
                boundary_latency_s=outer.latency_s,
                optimizer_shards=degree if setting.optimizer.sharded else 1,
            )
        )
    return tuple(found)


def held_bytes(weights: WeightSizes, setting: Setting) -> tuple[float, float, float]:
    """Return the bytes of gradients to reduce, of what every replica holds, and of what replicas divide among them.

    Gradients and states are of trained weights alone; quantised weights keep their own type.
    """
    optimizer = setting.optimizer
    trained, frozen, packed = (sum(weights[place : place + 2]) for place in (0, 2, 4))
    whole = optimizer.gradient_bytes + (0 if optimizer.sharded else optimizer.state_bytes)
    return (
        float(optimizer.reduction_bytes * trained),
        float(optimizer.weight_bytes * (trained + frozen) + whole * trained + packed),
        float(optimizer.state_bytes * trained if optimizer.sharded else 0),
    )


def _shared(
    workload: Workload, layers: Sequence[Layer], seconds: LayerTimes, setting: Setting
) -> tuple[SharedLoad, ...]:
    """Return what layers share; its update takes the share of a holder's update that its parameters have there."""
    found = []
    for one in shared_weights(workload, layers):
        index = workload.order[one.layers[0]]
        gradient_bytes, state_bytes, sharded_bytes = held_bytes(one.sizes, setting)
        trained, all_trained = sum(one.sizes[:2]), sum(weights_of(layers[index])[:2])
        found.append(
            SharedLoad(
                layers=one.layers,
                gradient_bytes=gradient_bytes,
                added_bytes=float(setting.optimizer.gradient_bytes * trained),
                state_bytes=state_bytes,
                sharded_state_bytes=sharded_bytes,
                optimizer_s=float(seconds.optimizer_s[index, 0]) * trained / all_trained if trained else 0.0,
            )
        )
    return tuple(found)


def _kept(workload: Workload, layers: Sequence[Layer], family: PlanFamily) -> tuple[SharedActivation, ...]:
    """Return what several layers keep: all of a stage's activations are there in its backward pass, recomputed or
    not."""
    found = shared_kept(workload, layers, Recompute.NONE, family.micro_batch)
    return tuple(SharedActivation(layers=one.layers, activation_bytes=one.bytes) for one in found)


def _load(layer: Layer, index: int, seconds: LayerTimes, family: PlanFamily, setting: Setting) -> LayerLoad:
    gradient_bytes, state_bytes, sharded_bytes = held_bytes(weights_of(layer), setting)
    return LayerLoad(
        name=layer.name,
        forward_s=float(seconds.forward_s[index, 0]),
        backward_s=float(seconds.backward_s[index, 0]),
        gradient_bytes=gradient_bytes,
        state_bytes=state_bytes,
        sharded_state_bytes=sharded_bytes,
        activation_bytes=float(layer.saved_bytes.at(family.micro_batch)),
        optimizer_s=float(seconds.optimizer_s[index, 0]),
        tensor_parallel=family.tensor_parallel > 1,
    )


def hops(workload: Workload, layers: tuple[Layer, ...]) -> list[tuple[int, int, Affine]]:
    """Return (source, target, bytes) of every tensor that one position of the order hands to another.

    A tensor that several positions read is handed on from each to the next, as a pipeline does it, so that a cut
    between stages counts it once.
    """
    readers: dict[tuple[int, int], list[int]] = {}
    for edge in workload.edges:
        readers.setdefault((edge.source, edge.output), []).append(edge.target)
    found = []
    for (source, output), targets in readers.items():
        layer = layers[workload.order[source]]
        size = layer.storages[layer.outputs[output]].bytes
        places = [source, *sorted(targets)]
        found += [(one, other, size) for one, other in pairwise(places)]
    return found


def placement_problem(
    workload: Workload,
    shard: Shard,
    setting: Setting,
    family: PlanFamily,
    seconds: LayerTimes,
    choices: tuple[Replication, ...],
    max_stages: int | None = None,
) -> PartitionProblem:
    """Return the partition problem of one family on one chip.

    Args:
        workload: The model.
        shard: What one tensor-parallel rank computes.
        setting: The setting, with what the chip brings.
        family: The family of plans.
        seconds: Seconds of the layers, one column.
        choices: Data-parallel degrees with their costs.
        max_stages: Pipeline stages at most; None: as many as there are layers.
    """
    layers = shard.layers
    loads = [_load(layer, index, seconds, family, setting) for index, layer in enumerate(layers)]
    chain = tuple(loads[index] for index in workload.order)
    boundaries = tuple(
        Boundary(source=source, target=target, bytes=float(size.at(family.micro_batch)))
        for source, target, size in hops(workload, layers)
    )
    return PartitionProblem(
        variants=(
            Variant(
                tensor_parallel=family.tensor_parallel,
                layers=chain,
                boundaries=boundaries,
                replications=choices,
                shared=_shared(workload, layers, seconds, setting),
                kept=_kept(workload, layers, family),
            ),
        ),
        devices=setting.cluster.devices,
        memory_bytes=family.memory_bytes,
        micro_batches=setting.batch_samples // family.micro_batch,
        recompute=family.recompute,
        charge=Charge.SLOWEST_STAGE,
        divisible=True,
        max_stages=max_stages,
    )
