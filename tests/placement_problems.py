"""Small placement problems by hand: layers that cost nothing but what a test names, replicas that exchange nothing."""

from dataclasses import replace
from typing import Any

from hardplace.design.partition.types import Boundary, Charge, LayerLoad, PartitionProblem, Replication, Variant

LAYER = LayerLoad(
    name="layer",
    forward_s=1.0,
    backward_s=2.0,
    gradient_bytes=0.0,
    state_bytes=0.0,
    sharded_state_bytes=0.0,
    activation_bytes=0.0,
    optimizer_s=0.0,
    tensor_parallel=False,
)


def replicas(degree: int) -> Replication:
    return Replication(
        data_parallel=degree,
        reduction_s_per_byte=0.0,
        reduction_latency_s=0.0,
        boundary_s_per_byte=0.0,
        boundary_latency_s=0.0,
        optimizer_shards=degree,
    )


def problem_of(
    layers: tuple[LayerLoad, ...], edges: tuple[tuple[int, int], ...], degrees: tuple[int, ...], **changes: Any
) -> PartitionProblem:
    """Return the problem of one variant; edges: of a byte each."""
    variant = Variant(
        tensor_parallel=1,
        layers=layers,
        boundaries=tuple(Boundary(source=source, target=target, bytes=1.0) for source, target in edges),
        replications=tuple(replicas(degree) for degree in degrees),
    )
    plain = PartitionProblem(
        variants=(variant,),
        devices=4,
        memory_bytes=100.0,
        micro_batches=8,
        recompute=False,
        charge=Charge.SLOWEST_STAGE,
        divisible=True,
    )
    return replace(plain, **changes)
