"""One layer of a recorded decoder on one rank, its sizes as polynomials of the shape's: told from the recording.

Which operators run as one does not depend on sizes, so the layout of one shape is that of every shape whose sizes the
ranks divide alike (`alike`). Sharding changes operators; what they read and write is told from the recorded ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fractions import Fraction
from math import prod

import numpy as np

from hardplace.cost.kernels.fusion import kernel_graph
from hardplace.cost.types import KernelGraph
from hardplace.ndtypes import Ints
from hardplace.shaping.types import ShapeColumns
from hardplace.workload.affine import Affine
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.reshaping.polynomials import Polynomial, multiplied, number
from hardplace.workload.reshaping.reshape import Reshaping
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, Workload
from hardplace.workload.weights import weights_of_layer

PHASES = (Phase.FORWARD, Phase.BACKWARD)


@dataclass(frozen=True, kw_only=True)
class SymbolicLayout:
    """One layer of a decoder on one rank: its kernels by phase, and what its operators and storages are.

    dims: by operator, the polynomials of each of its dimensions, of which the largest counts. bytes: by storage.
    saved: bytes kept from forward to backward. parameters: of one rank, without those that an earlier layer holds.
    """

    layer: Layer
    graphs: tuple[KernelGraph, KernelGraph]
    dims: tuple[tuple[tuple[Polynomial, ...], ...], ...]
    bytes: tuple[Polynomial, ...]
    saved: Polynomial
    parameters: Polynomial

    def at(self, micro_batch: int, cycles: Mapping[str, int]) -> SymbolicLayout:
        """Return it with the kernels of another micro-batch size (samples)."""
        forward, backward = (kernel_graph(self.layer, phase, micro_batch, cycles) for phase in PHASES)
        return replace(self, graphs=(forward, backward))


def layouts(
    reshaping: Reshaping, like: Workload, ranks: int, micro_batch: int, cycles: Mapping[str, int]
) -> tuple[SymbolicLayout, ...] | None:
    """Return embedding, block and head at a micro-batch size (samples), as they are sharded and fused.

    like: the workload of a shape; the layouts hold for all whose sizes `ranks` divides alike (`alike`). None where the
    sharded operators cannot be told from the recorded ones.
    """
    found = []
    layers = tensor_parallel(like, ranks).layers
    for place, (mine, recorded) in enumerate(zip(layers, like.layers, strict=True)):
        labels = _sharded(mine, recorded, reshaping.labels[place], ranks)
        if labels is None:
            return None
        sizes = _storage_sizes(mine, labels)
        again = _repeated(like, place, mine)
        forward, backward = (kernel_graph(mine, phase, micro_batch, cycles) for phase in PHASES)
        found.append(
            SymbolicLayout(
                layer=mine,
                graphs=(forward, backward),
                dims=tuple(_dims(one, mine, rows) for one, rows in zip(mine.operators, labels, strict=True)),
                bytes=tuple(sizes),
                saved=_total(sizes[index] for index in mine.saved),
                parameters=_total(
                    size * number(Fraction(storage.parameters, storage.bytes.constant))
                    for index, (storage, size) in enumerate(zip(mine.storages, sizes, strict=True))
                    if storage.parameters and index not in again
                ),
            )
        )
    return tuple(found)


def _repeated(like: Workload, place: int, mine: Layer) -> set[int]:
    """Return the storages of a rank's layer that an earlier layer holds as well: a table that ends share."""
    there = {one.storage for holders in like.shared for one in holders[1:] if like.order[one.position] == place}
    recorded = list(weights_of_layer(like.layers[place]))
    return {number for number, old in zip(weights_of_layer(mine), recorded, strict=True) if old in there}


def alike(shapes: ShapeColumns, ranks: int) -> Ints:
    """Return a number for each shape, equal where `ranks` leaves the same of its sizes over, shape (shapes,)."""
    found = np.zeros(len(shapes), dtype=np.int64)
    for name in ("hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab"):
        found = ranks * found + getattr(shapes, name) % ranks
    return found


def _total(sizes: Iterable[Polynomial]) -> Polynomial:
    found = number(0)
    for size in sizes:
        found = found + size
    return found


Row = tuple[Polynomial, ...]
Rows = tuple[list[Row], list[Row]]  # of what an operator reads and writes


def _storage_sizes(layer: Layer, labels: Sequence[Rows]) -> tuple[Polynomial, ...]:
    """Return the bytes of each storage: of a tensor that fills it."""
    found = [number(0)] * len(layer.storages)
    for operator, rows in zip(layer.operators, labels, strict=True):
        for index, row in zip((*operator.reads, *operator.writes), (*rows[0], *rows[1]), strict=True):
            one = layer.tensors[index]
            item, size = ITEM_BYTES[one.dtype], layer.storages[one.storage].bytes
            if all(prod(axis.at(b) for axis in one.shape) * item == size.at(b) for b in (1, 2)):
                found[one.storage] = multiplied(row) * number(item)
    return tuple(found)


def _sharded(mine: Layer, recorded: Layer, labels: Sequence[Row], ranks: int) -> list[Rows] | None:
    """Return the labels of what a rank's operators read and write: the recorded ones, over the ranks if divided.

    None if a tensor is not told. Operators that sharding adds (collectives, masks, biases on their own) work on
    tensors of others, element by element. Labels are by operator: a matrix and its transpose may be one tensor.
    """
    found: list[tuple[list[Row | None], list[Row | None]]]
    found = [([None] * len(one.reads), [None] * len(one.writes)) for one in mine.operators]
    kept = [one for one in recorded.operators if one.kind is not OperatorKind.VIEW]
    pairs = SequenceMatcher(None, [_key(one) for one in kept], [_key(one) for one in mine.operators], autojunk=False)
    for start, other, length in pairs.get_matching_blocks():
        for place in range(length):
            one, two, rows = kept[start + place], mine.operators[other + place], found[other + place]
            for theirs, ours, side in ((one.reads, two.reads, rows[0]), (one.writes, two.writes, rows[1])):
                for back in range(1, min(len(theirs), len(ours)) + 1):
                    shapes = mine.tensors[ours[-back]].shape, recorded.tensors[theirs[-back]].shape
                    side[-back] = _divided(*shapes, labels[theirs[-back]], ranks)
    _fill(mine, found)
    complete = []
    for reads, writes in found:
        whole = [one for one in reads if one is not None], [one for one in writes if one is not None]
        if (len(whole[0]), len(whole[1])) != (len(reads), len(writes)):
            return None
        complete.append(whole)
    return complete


def _fill(layer: Layer, found: list[tuple[list[Row | None], list[Row | None]]]) -> None:
    """Label what is still open from the same tensor elsewhere, or from one of the same operator with its last axes."""
    for _ in range(2):
        known: dict[int, Row] = {}
        for operator, rows in zip(layer.operators, found, strict=True):
            for index, row in zip((*operator.reads, *operator.writes), (*rows[0], *rows[1]), strict=True):
                if row is not None:
                    known.setdefault(index, row)
        for operator, rows in zip(layer.operators, found, strict=True):
            tensors = (*operator.reads, *operator.writes)
            for side, indices in zip(rows, (operator.reads, operator.writes), strict=True):
                for place, index in enumerate(indices):
                    if side[place] is None:
                        side[place] = known.get(index) or _as_large(layer, index, tensors, known)
                        if (row := side[place]) is not None:
                            known[index] = row


def _as_large(layer: Layer, tensor: int, others: Sequence[int], known: Mapping[int, Row]) -> Row | None:
    """Return the labels of a tensor whose shape is another's, or its last or first axes."""
    shape = layer.tensors[tensor].shape
    for other in others:
        size = layer.tensors[other].shape
        if other in known and size[len(size) - len(shape) :] == shape:
            return known[other][len(size) - len(shape) :]
        if other in known and size[: len(shape)] == shape:
            return known[other][: len(shape)]
    return None


def _key(operator: Operator) -> tuple[str, str, str]:
    name = "mm" if operator.name == "addmm" else operator.name
    return name, operator.module, operator.phase.value


def _divided(ours: Sequence[Affine], theirs: Sequence[Affine], labels: Row, ranks: int) -> Row | None:
    if len(ours) != len(theirs):
        return None
    row = []
    for mine, whole, label in zip(ours, theirs, labels, strict=True):
        if mine == whole:
            row.append(label)
        elif Affine(mine.constant * ranks, mine.factor * ranks) == whole:
            row.append(label * number(Fraction(1, ranks)))
        elif not mine.factor and 0 < mine.constant * ranks - whole.constant < ranks:
            # The vocabulary is padded to a multiple; all shapes of a class are padded by as much.
            row.append((label + number(mine.constant * ranks - whole.constant)) * number(Fraction(1, ranks)))
        else:
            return None
    return tuple(row)


def _dims(operator: Operator, layer: Layer, rows: Rows) -> tuple[tuple[Polynomial, ...], ...]:
    """Return an operator's dimensions, as `workload.operators.dims_of` has them: of each, what it is the largest of."""
    reads, writes = rows
    if operator.kind is OperatorKind.MATMUL:
        left, right = reads[-2:]
        return ((left[0] if len(left) > len(right[-2:]) else number(1),), (left[-2],), (right[-1],), (left[-1],))
    if operator.kind is OperatorKind.ATTENTION:
        query, key, value = reads[operator.phase is Phase.BACKWARD :][:3]
        sizes = (query[0], query[1], key[1], query[2], key[2], query[3], value[3])
        return tuple((one,) for one in sizes)
    if operator.kind is OperatorKind.COLLECTIVE:
        item = ITEM_BYTES[layer.tensors[operator.reads[0]].dtype]
        return (
            (multiplied(reads[0]) * number(item * operator.dims[0].at(1) // max(1, item * _size(layer, operator))),),
        )
    if operator.name == "embedding":
        return (tuple(multiplied(one) for one in writes),)
    if operator.name == "embedding_dense_backward":
        return ((multiplied(reads[0]),),)
    if operator.kind is OperatorKind.OPTIMIZER:
        return ((number(0),),)
    return (tuple(dict.fromkeys(multiplied(one) for one in (*reads, *writes))),)


def _size(layer: Layer, operator: Operator) -> int:
    return prod(axis.at(1) for axis in layer.tensors[operator.reads[0]].shape)
