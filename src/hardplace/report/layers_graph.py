"""The layer graph that is drawn: repeated runs folded into one node, and what nodes hand to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.workload.folding import runs
from hardplace.workload.types import Edge, Layer, OperatorKind, Phase, StorageRole


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A layer that stands at `positions` of the order, one after the other or alternating with others."""

    layer: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What one node hands to another, or to its own next repetition: bytes of each storage, and its edges.

    table: the same for every sample, such as a position bias.
    """

    source: int
    target: int
    bytes: tuple[int, ...]
    edges: tuple[int, ...]
    table: bool


def nodes(order: Sequence[int]) -> tuple[GraphNode, ...]:
    """Return the nodes of an order, by their first positions; together they take every position once."""

    def fold(part: Sequence[int], starts: list[int]) -> list[GraphNode]:
        found = []
        for run in runs(part):
            length = len(run.pattern)
            begins = [start + run.start + length * time for start in starts for time in range(run.count)]
            if length == 1:
                found.append(GraphNode(layer=run.pattern[0], positions=tuple(begins)))
            else:
                found += fold(run.pattern, begins)
        return found

    return tuple(fold(order, [0]))


def links(
    found: Sequence[GraphNode], edges: Sequence[Edge], layers: Sequence[Layer], micro_batch: int
) -> tuple[Link, ...]:
    """Return what nodes hand to each other; layers: by index in the workload, whose outputs have the bytes."""
    node_at = {position: number for number, node in enumerate(found) for position in node.positions}
    groups: dict[tuple[int, int, bool], list[Edge]] = {}
    for edge in edges:
        source, target = node_at[edge.source], node_at[edge.target]
        layer = layers[found[source].layer]
        table = layer.storages[layer.outputs[edge.output]].bytes.factor == 0
        groups.setdefault((source, target, table), []).append(edge)
    made = []
    for (source, target, table), group in groups.items():
        layer = layers[found[source].layer]
        edges_of = Counter(edge.output for edge in group)
        sizes = tuple(layer.storages[layer.outputs[output]].bytes.at(micro_batch) for output in edges_of)
        made.append(Link(source=source, target=target, bytes=sizes, edges=tuple(edges_of.values()), table=table))
    return tuple(made)


def data_bytes(layer: Layer, *, first: bool, micro_batch: int) -> int:
    """Return the bytes of the model's input that a layer reads in the forward pass; tables and labels are none."""
    written = {storage for operator in layer.operators for storage in layer.storages_of(operator.writes)
               if operator.kind is not OperatorKind.VIEW}  # fmt: skip
    forward = [one for one in layer.operators if one.phase is Phase.FORWARD and one.kind is not OperatorKind.VIEW]
    if not first and all(one.kind is not OperatorKind.EMBEDDING for one in forward):
        return 0
    read = {
        layer.tensors[index].storage
        for operator in forward
        for index in operator.reads
        if first or layer.tensors[index].dtype.startswith("int")
    }
    return sum(
        layer.storages[one].bytes.at(micro_batch)
        for one in read - written - set(layer.inputs)
        if layer.storages[one].role is StorageRole.INPUT and layer.storages[one].bytes.factor
    )
