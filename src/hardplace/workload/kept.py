"""Activations that several layers keep for the backward pass: one storage, which a device holds once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hardplace.workload.memory import saved_storages
from hardplace.workload.types import Layer, OperatorKind, Recompute, Workload


class SharedKept(NamedTuple):
    """An activation that several layers keep.

    Attributes:
        layers: Positions in the order that keep it, recomputed as asked.
        plain: Positions that keep it where they are not recomputed.
        bytes: Bytes of a micro-batch.
    """

    layers: tuple[int, ...]
    plain: tuple[int, ...]
    bytes: float

    @property
    def without_recompute(self) -> SharedKept:
        """Return the same where no layer is recomputed."""
        return self._replace(layers=self.plain)


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
    holders: list[dict[tuple[int, int], set[int]]] = []
    for kind in (inner, Recompute.NONE):
        keeps = _keeps(workload, layers, kind)
        of: dict[tuple[int, int], set[int]] = {}
        for edge in workload.edges:
            source, target = layers[workload.order[edge.source]], layers[workload.order[edge.target]]
            made, taken = source.outputs[edge.output], target.inputs[edge.input]
            each = of.setdefault((edge.source, made), set())
            if made in keeps[workload.order[edge.source]]:
                each.add(edge.source)
            alike = source.storages[made].bytes == target.storages[taken].bytes  # a rank may take a part of it
            if alike and taken in keeps[workload.order[edge.target]]:
                each.add(edge.target)
        holders.append(of)
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for (position, storage), again in holders[0].items():
        plain = holders[1][position, storage]
        if len(again | plain) > 1:
            key = tuple(sorted(again)), tuple(sorted(plain))
            size = layers[workload.order[position]].storages[storage].bytes.at(micro_batch)
            found[key] = found.get(key, 0) + size
    return tuple(SharedKept(layers=key[0], plain=key[1], bytes=float(size)) for key, size in found.items())


def _keeps(workload: Workload, layers: Sequence[Layer] | Mapping[int, Layer], inner: Recompute) -> dict[int, set[int]]:
    """Return the storages that each distinct layer keeps; none of one with the loss."""
    ends = {workload.order[0], workload.order[-1]}
    found: dict[int, set[int]] = {}
    for index in dict.fromkeys(workload.order):
        lost = any(one.kind is OperatorKind.CROSS_ENTROPY for one in layers[index].operators)
        kind = Recompute.NONE if index in ends else inner
        found[index] = set() if lost else set(saved_storages(layers[index], kind))
    return found


def kept_twice(shared: Sequence[SharedKept], layers: Collection[int], plain: Collection[int] = ()) -> float:
    """Return the bytes that are counted too often where each of some layers (positions) counts all that it keeps.

    Args:
        shared: What several layers keep.
        layers: Layers that are recomputed as asked.
        plain: Layers beside them that are not recomputed.
    """
    total = 0.0
    for one in shared:
        often = sum(at in layers for at in one.layers) + sum(at in plain for at in one.plain)
        total += one.bytes * max(0, often - 1)
    return total


def kept_parts(shared: Sequence[SharedKept], layers: int) -> list[float]:
    """Return the bytes of each layer that others keep too, or may, recomputed or not."""
    found = [0.0] * layers
    for one in shared:
        for at in one.layers:
            found[at] += one.bytes
    return found
