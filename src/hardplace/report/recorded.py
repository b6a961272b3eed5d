"""What is said of a recording when it is made: warnings with their share of cost, and its size."""

from __future__ import annotations

from collections.abc import Iterator

from hardplace.units import format_quantity, percent
from hardplace.workload.memory import unfused_attention
from hardplace.workload.sharding.degrees import rank_layers
from hardplace.workload.summary import summarise
from hardplace.workload.types import Parallelism, Workload
from hardplace.workload.weights import weights_of_model


def recording_warnings(workload: Workload, *, fused: bool) -> Iterator[str]:
    """Yield what a recording cannot say of a model, each with its share of cost.

    Args:
        workload: The recording.
        fused: Whether attention was to be one kernel: then attention that the model's own code takes apart is named.
    """
    positions, share = unfused_attention(workload) if fused else (0, 0.0)
    if positions:
        yield (
            f"attention in {positions} of {len(workload.order)} layers is recorded as products and softmax, as the "
            f"model's code has it: {percent(share, 0)} of the bytes that are kept, which grow with tokens squared"
        )
    alone = Parallelism()
    summary = summarise(workload, alone, 1, *rank_layers(workload, alone))
    for name in summary.unmodelled:
        count, flops, moved = summary.share(name)
        yield (
            f"operator without a model of its own: {name}, {count} times, {percent(flops, 2)} of the FLOPs "
            f"and {percent(moved, 2)} of the bytes of a step"
        )
    held = weights_of_model(workload).elements
    if held < workload.parameters:
        yield (
            f"{workload.parameters - held:,} of {workload.parameters:,} parameters take no part in what was "
            "recorded, such as a tower that these inputs do not reach; give a function with the inputs that it needs"
        )


def recording_lines(workload: Workload, loaded_s: float, whole_s: float) -> Iterator[str]:
    """Yield the size of a recording, and the seconds that building the model and all took."""
    total = weights_of_model(workload)
    kind = "training step" if workload.training else "inference"
    yield (
        f"{workload.name}: {kind}, {workload.parameters:,} parameters in {workload.dtype}, sequence "
        f"{workload.sequence_length}, {format_quantity(workload.flops_per_sample(), 'FLOP')} a sample"
    )
    if workload.training and total.trained < total.elements:
        yield (
            f"{total.trained:,} parameters are trained; {total.elements - total.trained:,} are frozen, "
            f"{format_quantity(total.frozen_bytes, 'B')}"
        )
    yield (
        f"{len(workload.order)} layers, {len(workload.layers)} distinct; model built in {loaded_s:.1f} s, "
        f"recorded in {whole_s - loaded_s:.1f} s"
    )
