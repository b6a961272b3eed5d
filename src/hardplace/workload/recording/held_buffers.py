"""Buffers that stand for weights: quantised ones and their scales, which a product with activations takes."""

from __future__ import annotations

from hardplace.workload.recording.trace import Trace
from hardplace.workload.types import OperatorKind, Phase

_PRODUCTS = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL, OperatorKind.CONVOLUTION)


def held_buffers(one: Trace) -> set[int]:
    """Return the buffers (storages) that forward products or look-ups take as weights, as they are or dequantised.

    What is computed from parameters, buffers and tables alone is a weight too; a product of a weight with anything
    that depends on the model's input holds the buffers that the weight is made of. So batch statistics, masks and
    rotary frequencies are none.
    """
    made_of: dict[int, set[int]] = {buffer: {buffer} for buffer in one.buffers}
    made_of.update({weight: set() for weight in one.parameters})
    found: set[int] = set()
    for event in one.events:
        if event.phase is not Phase.FORWARD:
            break
        reads = [one.views[number].storage for number in event.reads]
        if event.kind is OperatorKind.EMBEDDING:
            found |= made_of.get(reads[0], set())
        elif event.kind in _PRODUCTS and any(read in one.computed and read not in made_of for read in reads):
            found |= set().union(*(made_of.get(read, set()) for read in reads))
        if reads and all(read in made_of or read not in one.computed for read in reads):
            sources = set().union(*(made_of.get(read, set()) for read in reads))
            for storage in one.storages(event.writes) - made_of.keys():
                made_of[storage] = sources
    return found
