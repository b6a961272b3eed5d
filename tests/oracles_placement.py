"""An oracle for small placements: every sequence of convex stages, every replication, straight from the definition."""

import math
from collections.abc import Iterator
from itertools import combinations

from hardplace.design.partition.types import Charge, PartitionProblem, Replication, Variant

Stages = list[frozenset[int]]


def partitions(variant: Variant) -> Iterator[Stages]:
    """Yield every way to cut the graph into stages in order, each holding all that it needs from before."""
    count = len(variant.layers)
    needs = {layer: {edge.source for edge in variant.boundaries if edge.target == layer} for layer in range(count)}

    def grow(done: frozenset[int], stages: Stages) -> Iterator[Stages]:
        rest = [layer for layer in range(count) if layer not in done]
        if not rest:
            yield stages
        for size in range(1, len(rest) + 1):
            for chosen in combinations(rest, size):
                after = done | set(chosen)
                if all(needs[layer] <= after for layer in chosen):
                    yield from grow(after, [*stages, frozenset(chosen)])

    yield from grow(frozenset(), [])


def devices(variant: Variant, stage: frozenset[int]) -> int:
    return variant.tensor_parallel if any(variant.layers[layer].tensor_parallel for layer in stage) else 1


def transfer_s(size: float, replication: Replication) -> float:
    return replication.boundary_latency_s + replication.boundary_s_per_byte * size if size > 0 else 0.0


def crossing(variant: Variant, stage: frozenset[int]) -> tuple[float, float]:
    """Return bytes that come in and go out."""
    into = sum(edge.bytes for edge in variant.boundaries if edge.target in stage and edge.source not in stage)
    out = sum(edge.bytes for edge in variant.boundaries if edge.source in stage and edge.target not in stage)
    return into, out


def counted_twice(variant: Variant, stage: frozenset[int], field: str) -> float:
    """Return what the layers of a stage share, as often as they count it beyond once."""
    total = 0.0
    for one in variant.shared:
        holders = [layer for layer in one.layers if layer in stage]
        total += getattr(one, field) * max(0, len(holders) - 1)
    return total


def adding_up_s(variant: Variant, one: Replication, stage: frozenset[int], stages: int) -> float:
    """Return the seconds of rings in which stages add up the gradients of what their layers share."""
    total = 0.0
    for shared in variant.shared:
        inside = [layer in stage for layer in shared.layers]
        members = min(stages, len(set(shared.layers)))
        if any(inside) and not all(inside) and members > 1 and shared.added_bytes:
            size = shared.added_bytes / members
            total += 2 * (members - 1) * (one.boundary_latency_s + one.boundary_s_per_byte * size)
    return total


def memory_bytes(problem: PartitionProblem, variant: Variant, one: Replication, stage: frozenset[int], s: int) -> float:
    held = [variant.layers[layer] for layer in stage]
    activations = sum(layer.activation_bytes for layer in held)
    for shared in variant.kept:
        activations -= shared.activation_bytes * max(0, sum(layer in stage for layer in shared.layers) - 1)
    stash = crossing(variant, stage)[0] if problem.recompute else activations
    states = sum(layer.state_bytes + layer.sharded_state_bytes / one.optimizer_shards for layer in held)
    states -= counted_twice(variant, stage, "state_bytes")
    states -= counted_twice(variant, stage, "sharded_state_bytes") / one.optimizer_shards
    return states + activations + (s - 1) * stash


def load_s(problem: PartitionProblem, variant: Variant, one: Replication, stage: frozenset[int], s: int) -> float:
    held = [variant.layers[layer] for layer in stage]
    into, out = (transfer_s(size, one) for size in crossing(variant, stage))
    forward = sum(layer.forward_s for layer in held)
    backward = sum(layer.backward_s for layer in held)
    if problem.recompute and s > 1:
        return into + forward + max(forward, out) + backward
    return into + forward + out + backward


def fits(problem: PartitionProblem, variant: Variant, one: Replication, stages: Stages) -> bool:
    needed = (memory_bytes(problem, variant, one, stage, len(stages) - at) for at, stage in enumerate(stages))
    return all(size <= problem.memory_bytes for size in needed)


def slowest_s(problem: PartitionProblem, variant: Variant, one: Replication, stages: Stages) -> float:
    return max(load_s(problem, variant, one, stage, len(stages) - at) for at, stage in enumerate(stages))


def end_s(variant: Variant, one: Replication, stage: frozenset[int], stages: int) -> float:
    held = [variant.layers[layer] for layer in stage]
    latency = one.reduction_latency_s if one.data_parallel > 1 else 0.0
    gradients = sum(layer.gradient_bytes for layer in held) - counted_twice(variant, stage, "gradient_bytes")
    update = sum(layer.optimizer_s for layer in held) - counted_twice(variant, stage, "optimizer_s")
    reduction = one.reduction_s_per_byte * gradients + latency
    return reduction + update / one.optimizer_shards + adding_up_s(variant, one, stage, stages)


def batch_s(problem: PartitionProblem, variant: Variant, one: Replication, stages: Stages) -> float:
    """Return the batch time of one plan, inf if it does not fit."""
    count, degree = len(stages), one.data_parallel
    too_many = degree * sum(devices(variant, stage) for stage in stages) > problem.devices
    if too_many or (problem.divisible and problem.micro_batches % degree):
        return math.inf
    if problem.max_stages is not None and count > problem.max_stages:
        return math.inf
    if not fits(problem, variant, one, stages):
        return math.inf
    ends = [end_s(variant, one, stage, count) for stage in stages]
    end = ends[0] if problem.charge is Charge.FIRST_STAGE else max(ends)
    rounds = math.ceil(problem.micro_batches / degree) + count - 1
    return slowest_s(problem, variant, one, stages) * rounds + end


def best_s(problem: PartitionProblem) -> float:
    return min(
        (
            batch_s(problem, variant, one, stages)
            for variant in problem.variants
            for stages in partitions(variant)
            for one in variant.replications
        ),
        default=math.inf,
    )
