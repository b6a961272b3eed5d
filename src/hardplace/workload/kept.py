"""Activations that several layers keep for the backward pass: one storage, which a device holds once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hardplace.workload.memory import saved_storages
from hardplace.workload.types import Layer, OperatorKind, Recompute, Workload


class SharedKept(NamedTuple):
    """An activation that several layers keep.

    Attributes:
        layers: Positions in the order.
        bytes: Bytes of a micro-batch.
    """

    layers: tuple[int, ...]
    bytes: int


def shared_kept(
    workload: Workload,
    layers: Sequence[Layer] | Mapping[int, Layer],
    inner: Recompute,
    micro_batch: int,
) -> tuple[SharedKept, ...]:
    """Return what several layers keep: the output of one that it or others keep too, those of the same layers together.

    What a layer with the loss keeps is left out.

    Args:
        workload: The model.
        layers: Its distinct layers, of a rank.
        inner: How all but the first and the last layer are recomputed.
        micro_batch: Samples.
    """
    ends = {workload.order[0], workload.order[-1]}
    keeps: dict[int, set[int]] = {}
    for index in dict.fromkeys(workload.order):
        lost = any(one.kind is OperatorKind.CROSS_ENTROPY for one in layers[index].operators)
        keeps[index] = set() if lost else set(saved_storages(layers[index], Recompute.NONE if index in ends else inner))
    holders: dict[tuple[int, int], set[int]] = {}
    for edge in workload.edges:
        source, target = layers[workload.order[edge.source]], layers[workload.order[edge.target]]
        made, taken = source.outputs[edge.output], target.inputs[edge.input]
        if made in keeps[workload.order[edge.source]]:
            holders.setdefault((edge.source, made), set()).add(edge.source)
        alike = source.storages[made].bytes == target.storages[taken].bytes  # a rank may take a part of it
        if alike and taken in keeps[workload.order[edge.target]]:
            holders.setdefault((edge.source, made), set()).add(edge.target)
    found: dict[tuple[int, ...], int] = {}
    for (position, storage), several in holders.items():
        if len(several) > 1:
            key = tuple(sorted(several))
            size = layers[workload.order[position]].storages[storage].bytes.at(micro_batch)
            found[key] = found.get(key, 0) + size
    return tuple(SharedKept(layers=key, bytes=size) for key, size in found.items())


def kept_twice(shared: Sequence[SharedKept], layers: Collection[int]) -> float:
    """Return the bytes that are counted too often where each of these layers (positions) counts all that it keeps."""
    return float(sum(one.bytes * max(0, sum(at in layers for at in one.layers) - 1) for one in shared))


def kept_parts(shared: Sequence[SharedKept], layers: int) -> list[int]:
    """Return the bytes of each layer that others keep too."""
    found = [0] * layers
    for one in shared:
        for at in one.layers:
            found[at] += one.bytes
    return found
