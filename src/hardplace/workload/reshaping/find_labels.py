"""The labels of a recorded decoder: seeds, then what operators say, until nothing changes.

Where two sizes are equal (hidden and heads x head dimension, say), a number does not tell which one it is; the operator
graph does. Seeds are what operators mean: attention's heads, the width that the MLP's last product sums over, the rows
of the table that tokens look up, the hidden size of what layers hand on. Every operator then says which of its axes
are one and the same, until nothing changes. Each label must have the recorded number as its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hardplace.errors import BadInput
from hardplace.workload.reshaping.label_rules import apply
from hardplace.workload.reshaping.label_seeds import seed, seed_block, seed_end
from hardplace.workload.reshaping.labels import Labels
from hardplace.workload.reshaping.polynomials import Polynomial
from hardplace.workload.types import StorageRole, Workload


def labels_of(workload: Workload, sizes: Mapping[str, int]) -> tuple[tuple[tuple[Polynomial, ...], ...], ...]:
    """Return the labels of embedding, block and head: by layer and tensor, one an axis.

    sizes: the recorded decoder's, by the names of SYMBOLS. Raises BadInput, one line, for what the graph leaves open.
    """
    first, block, last = (Labels(layer=layer, sizes=sizes, name=workload.name) for layer in workload.layers)
    for one in (first, block, last):
        seed(one)
    seed_block(block)
    seed_end(last)
    for one in (block, last):
        _settle(one)
    _join_tables(first, (block, last))
    _settle(first)
    _join_tables(first, (block, last))
    return tuple(_complete(one) for one in (first, block, last))


def _complete(labels: Labels) -> tuple[tuple[Polynomial, ...], ...]:
    """Return all labels; BadInput if one is not known."""
    found = []
    for tensor, row in enumerate(labels.known):
        if any(label is None for label in row):
            where = next((o.name for o in labels.layer.operators if tensor in (*o.reads, *o.writes)), "no operator")
            shape = [size.at(1) for size in labels.layer.tensors[tensor].shape]
            raise BadInput(
                f"{labels.name}: layer {labels.layer.name}: {where} has a tensor of {shape} whose sizes the graph does "
                "not tell: expected a decoder of known operators (record the shape itself: hardplace trace)"
            )
        found.append(tuple(label for label in row if label is not None))
    return tuple(found)


def _settle(labels: Labels) -> None:
    """Apply what the operators say, forward and backward through the graph, until nothing changes."""
    labels.changed = True
    while labels.changed:
        labels.changed = False
        for operators in (labels.layer.operators, labels.layer.operators[::-1]):
            for operator in operators:
                apply(labels, operator)


def _join_tables(first: Labels, others: Sequence[Labels]) -> None:
    """Tables (rotary cosines) that a layer takes without an edge are those that the first one makes and leaves."""
    layer = first.layer
    read = {tensor for operator in layer.operators for tensor in operator.reads}
    made = {tensor for operator in layer.operators for tensor in operator.writes} - read
    tables = [one for one in made if layer.storages[layer.tensors[one].storage].role is StorageRole.ACTIVATION]
    for other in others:
        for tensor, one in enumerate(other.layer.tensors):
            storage = other.layer.storages[one.storage]
            if storage.role is not StorageRole.INPUT or one.storage in other.layer.inputs:
                continue
            for table in tables:
                if (layer.tensors[table].shape, layer.tensors[table].dtype) == (one.shape, one.dtype):
                    for axis, label in enumerate(other.known[tensor]):
                        first.put(table, axis, label)
