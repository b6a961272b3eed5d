"""Shares of a workload's work that do not need a chip: FLOPs and bytes of operators."""

from __future__ import annotations

from collections import Counter

from hardplace.workload.types import Affine, Layer, Operator, OperatorKind, Workload, total

# These take no memory traffic of their own: views cost nothing, collectives are the network's.
_UNMOVED = (OperatorKind.VIEW, OperatorKind.COLLECTIVE)


def moved_bytes(layer: Layer, operator: Operator) -> Affine:
    """Return the bytes that an operator alone reads and writes, each storage once."""
    if operator.kind in _UNMOVED:
        return Affine(0, 0)
    return total(layer.storages[index].bytes for index in layer.storages_of(operator.reads + operator.writes))


def unmodelled(workload: Workload) -> dict[str, tuple[int, float, float]]:
    """Return the operators without a model of their own: name -> (times a step, share of FLOPs, share of bytes).

    At a micro-batch of one sample.
    """
    counts, flops, moved = Counter[str](), Counter[str](), Counter[str]()
    every_flops = every_byte = 0
    times = Counter(workload.order)
    for number, layer in enumerate(workload.layers):
        for operator in layer.operators:
            work = times[number] * operator.flops.at(1)
            size = times[number] * moved_bytes(layer, operator).at(1)
            every_flops, every_byte = every_flops + work, every_byte + size
            if operator.kind is OperatorKind.OTHER:
                counts[operator.name] += times[number]
                flops[operator.name] += work
                moved[operator.name] += size
    return {
        name: (count, flops[name] / max(1, every_flops), moved[name] / max(1, every_byte))
        for name, count in counts.items()
    }
