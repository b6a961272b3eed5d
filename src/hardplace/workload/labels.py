"""What each axis of a recorded decoder's tensors is: a polynomial in its sizes, found by structure, not by value.

Where two sizes are equal (hidden and heads x head dimension, say), a number does not tell which one it is; the operator
graph does. Seeds are what operators mean: attention's heads, the width that the MLP's last product sums over, the rows
of the table that tokens look up, the hidden size of what layers hand on. Every operator then says which of its axes
are one and the same, until nothing changes. Each label must have the recorded number as its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, count
from math import prod

from hardplace.errors import BadInput
from hardplace.workload.polynomials import Polynomial, multiplied, number, of_affine, symbol
from hardplace.workload.types import (
    Affine,
    Gradient,
    Layer,
    Operator,
    OperatorKind,
    Phase,
    StorageRole,
    Workload,
)

_AT = 1_000_003  # a micro-batch size at which products of axes are compared: a prime no size has
_LOSSES = OperatorKind.CROSS_ENTROPY


@dataclass
class Labels:
    """The labels of one layer's tensors while they are found: by tensor, one a axis, None where it is not known yet."""

    layer: Layer
    sizes: Mapping[str, int]
    name: str
    known: list[list[Polynomial | None]] = field(init=False)
    changed: bool = True

    def __post_init__(self) -> None:
        """Start with nothing but axes of one and of the micro-batch: all sizes are 2 and more."""
        plain = {Affine(1, 0): number(1), Affine(0, 1): symbol("micro_batch")}
        self.known = [[plain.get(size) for size in one.shape] for one in self.layer.tensors]

    def put(self, tensor: int, axis: int, label: Polynomial | None) -> None:
        """Set an axis; BadInput if it is something else already, or if the recorded number says otherwise."""
        if label is None:
            return
        row = self.known[tensor]
        if row[axis] == label:
            return
        size = self.layer.tensors[tensor].shape[axis]
        if row[axis] is not None or label.affine(self.sizes) != size:
            raise BadInput(
                f"{self.name}: layer {self.layer.name}: a tensor's axis of {size.at(1)} is two sizes at once: expected "
                "a decoder whose operators tell its sizes apart (record the shape itself: hardplace trace)"
            )
        row[axis] = label
        self.changed = True

    def same(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Say that two (tensor, axis) are one size."""
        self.put(*one, self.known[other[0]][other[1]])
        self.put(*other, self.known[one[0]][one[1]])

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's recorded shape at one micro-batch size."""
        return tuple(size.at(_AT) for size in self.layer.tensors[tensor].shape)


def labels_of(workload: Workload, sizes: Mapping[str, int]) -> tuple[tuple[tuple[Polynomial, ...], ...], ...]:
    """Return the labels of embedding, block and head: by layer and tensor, one an axis.

    sizes: the recorded decoder's, by the names of SYMBOLS. Raises BadInput, one line, for what the graph leaves open.
    """
    first, block, last = (Labels(layer=layer, sizes=sizes, name=workload.name) for layer in workload.layers)
    for one in (first, block, last):
        _seed(one)
    _seed_block(block)
    _seed_end(last)
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
                _apply(labels, operator)


# -- what is known from the start --------------------------------------------------------------------------------


def _seed(labels: Labels) -> None:
    """Label what layers hand on, tokens, and the tables that they look up."""
    layer, hidden = labels.layer, symbol("hidden")
    for tensor, one in enumerate(layer.tensors):
        storage = layer.storages[one.storage]
        handed = one.storage in (*layer.inputs, *layer.outputs)
        if handed and len(one.shape) == 3:
            for axis, label in enumerate((of_affine(one.shape[0]), of_affine(one.shape[1]), hidden)):
                labels.put(tensor, axis, label)
        if storage.role is StorageRole.INPUT and one.dtype.startswith("int"):
            for axis, size in enumerate(one.shape):
                labels.put(tensor, axis, of_affine(size))
    for operator in layer.operators:
        if operator.kind is OperatorKind.EMBEDDING:
            _seed_table(labels, operator)
        if operator.name in ("arange", "ones"):
            for axis, size in enumerate(layer.tensors[operator.writes[0]].shape):
                labels.put(operator.writes[0], axis, of_affine(size))


def _seed_table(labels: Labels, operator: Operator) -> None:
    """Label the rows of a table: tokens where they come from the data, else positions, which no size of a shape is."""
    backward = operator.phase is Phase.BACKWARD
    table = operator.writes[0] if backward else operator.reads[0]
    layer, ids = labels.layer, operator.reads[1]
    given = layer.storages[layer.tensors[ids].storage].role is StorageRole.INPUT
    labels.put(table, 0, symbol("vocab") if given else of_affine(layer.tensors[table].shape[0]))
    labels.put(table, 1, symbol("hidden"))


def _seed_block(labels: Labels) -> None:
    """Label attention's heads, and the width that the MLP's last product sums over."""
    for operator in labels.layer.operators:
        if operator.kind is OperatorKind.ATTENTION:
            backward = int(operator.phase is Phase.BACKWARD)
            for place, tensor in enumerate(operator.reads[backward : backward + 3]):
                shape = labels.layer.tensors[tensor].shape
                heads = symbol("kv_heads" if place else "heads")
                for axis, label in enumerate((of_affine(shape[0]), heads, of_affine(shape[2]), symbol("head_dim"))):
                    labels.put(tensor, axis, label)
    down = [one for one in labels.layer.operators if one.gradient is Gradient.FORWARD][-1]
    labels.put(down.reads[-2], 1, symbol("ffn"))


def _seed_end(labels: Labels) -> None:
    """Label the vocabulary: the columns of the last product with weights."""
    logits = [one for one in labels.layer.operators if one.gradient is Gradient.FORWARD][-1]
    labels.put(logits.writes[0], 1, symbol("vocab"))


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


# -- what operators say ------------------------------------------------------------------------------------------


def _apply(labels: Labels, operator: Operator) -> None:
    """Say which axes of an operator's tensors are one size."""
    reads, writes, axes = operator.reads, operator.writes, operator.axes
    match operator.name:
        case "permute":
            for axis, source in enumerate(axes):
                labels.same((reads[0], source), (writes[0], axis))
        case "reshape":
            _reshape(labels, reads[0], writes[0])
        case "slice":
            _slice(labels, reads[0], writes[0], axes[0])
        case "slice_backward":
            _slice(labels, writes[0], reads[0], axes[0])
        case "split":
            _joined(labels, reads[0], writes, axes[0])
        case "cat":
            _joined(labels, writes[0], reads, axes[0])
        case "constant_pad_nd":
            _padded(labels, reads[0], writes[0])
        case "adamw":
            pass
        case _ if operator.kind is OperatorKind.MATMUL:
            _matmul(labels, operator)
        case _ if operator.kind is OperatorKind.EMBEDDING:
            _embedding(labels, operator)
        case _ if operator.kind is OperatorKind.REDUCTION and axes:
            _reduction(labels, reads[0], writes[0], axes)
        case _ if operator.kind is _LOSSES:
            _loss(labels, operator)
        case _ if operator.kind is OperatorKind.ATTENTION:
            _attention(labels, operator)
        case _:
            _broadcast(labels, (*reads, *writes))


def _broadcast(labels: Labels, tensors: Sequence[int]) -> None:
    """Axes counted from the last are one size wherever they are equal; the others are of 1, or padded."""
    for one, other in combinations(dict.fromkeys(tensors), 2):
        left, right = labels.shape(one), labels.shape(other)
        for back in range(1, min(len(left), len(right)) + 1):
            if left[-back] == right[-back] != 1:
                labels.same((one, len(left) - back), (other, len(right) - back))


def _reshape(labels: Labels, source: int, target: int) -> None:
    """Runs of axes with one product on both sides are the same elements."""
    left, right = labels.shape(source), labels.shape(target)
    ones, others = [a for a in range(len(left)) if left[a] != 1], [a for a in range(len(right)) if right[a] != 1]
    while ones and others:
        for taken in count(2):
            sizes = [(i, j) for i in range(1, taken) for j in (taken - i,) if i <= len(ones) and j <= len(others)]
            equal = [(i, j) for i, j in sizes if prod(left[a] for a in ones[:i]) == prod(right[a] for a in others[:j])]
            if equal or taken > len(ones) + len(others):
                break
        if not equal:
            return
        i, j = equal[0]
        _run(labels, [(source, a) for a in ones[:i]], [(target, a) for a in others[:j]])
        ones, others = ones[i:], others[j:]


def _run(labels: Labels, one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """The product of these axes is the product of those: the only one that is not known follows."""
    for known, open_ in ((one, other), (other, one)):
        whole = [labels.known[tensor][axis] for tensor, axis in known]
        parts = [labels.known[tensor][axis] for tensor, axis in open_]
        if None in whole or parts.count(None) != 1:
            continue
        given = multiplied([label for label in whole if label is not None])
        rest = given.over(multiplied([label for label in parts if label is not None]))
        labels.put(*open_[parts.index(None)], rest)


def _slice(labels: Labels, whole: int, part: int, axis: int) -> None:
    """All axes but the sliced one are the same; of that, a part of a constant is one, and half of a head is half."""
    for other in range(len(labels.known[whole])):
        if other != axis:
            labels.same((whole, other), (part, other))
    label = labels.known[whole][axis]
    size = labels.layer.tensors[part].shape[axis]
    if label is None:
        return
    if label.constant:
        labels.put(part, axis, of_affine(size))
    elif labels.shape(whole)[axis] == labels.shape(part)[axis]:
        labels.put(part, axis, label)
    elif label == symbol("head_dim") and labels.shape(whole)[axis] == 2 * labels.shape(part)[axis]:
        labels.put(part, axis, label * number(Fraction(1, 2)))


def _padded(labels: Labels, source: int, target: int) -> None:
    """What no size of the shape is in has none when it is padded."""
    for axis, label in enumerate(labels.known[source]):
        if label is not None and (label.constant or labels.shape(source)[axis] == labels.shape(target)[axis]):
            same = labels.shape(source)[axis] == labels.shape(target)[axis]
            labels.put(target, axis, label if same else of_affine(labels.layer.tensors[target].shape[axis]))


def _joined(labels: Labels, whole: int, parts: Sequence[int], axis: int) -> None:
    """The joined axis is the sum of the parts'; the others are the same."""
    for part in parts:
        for other in range(len(labels.known[whole])):
            if other != axis:
                labels.same((whole, other), (part, other))
    found = [labels.known[part][axis] for part in parts]
    summed = number(0)
    for label in found:
        summed = summed + label if label is not None else summed
    open_ = {part for part, label in zip(parts, found, strict=True) if label is None}
    total = labels.known[whole][axis]
    if not open_:
        labels.put(whole, axis, summed)
    elif len(open_) == 1 and total is not None:
        labels.put(open_.pop(), axis, (total - summed) * number(Fraction(1, found.count(None))))


def _matmul(labels: Labels, operator: Operator) -> None:
    """Rows, columns and what is summed over; a bias is as wide as the columns."""
    left, right, made = *operator.reads[-2:], operator.writes[0]
    last = len(labels.known[left]) - 1
    labels.same((left, last - 1), (made, last - 1))
    labels.same((left, last), (right, last - 1))
    labels.same((right, last), (made, last))
    for axis in range(last - 1):
        labels.same((left, axis), (made, axis))
        labels.same((right, axis), (made, axis))
    for bias in operator.reads[:-2]:
        _broadcast(labels, (bias, made))


def _embedding(labels: Labels, operator: Operator) -> None:
    backward = operator.phase is Phase.BACKWARD
    rows = operator.reads[0] if backward else operator.writes[0]
    table, ids = operator.writes[0] if backward else operator.reads[0], operator.reads[1]
    for axis in range(len(labels.known[ids])):
        labels.same((rows, axis), (ids, axis))
    labels.same((rows, len(labels.known[rows]) - 1), (table, 1))


def _reduction(labels: Labels, source: int, target: int, axes: Sequence[int]) -> None:
    """Axes that are not reduced are kept, in order; a running sum keeps all."""
    kept = [axis for axis in range(len(labels.known[source])) if axis not in axes]
    whole = len(labels.known[target]) == len(labels.known[source])
    if whole and labels.shape(source) == labels.shape(target):
        kept = list(range(len(labels.known[source])))
    for place, axis in enumerate(kept):
        labels.same((source, axis), (target, axis if whole else place))


def _loss(labels: Labels, operator: Operator) -> None:
    """Rows of log-probabilities, one a label."""
    tensors = [*operator.reads, *operator.writes]
    _broadcast(labels, [one for one in tensors if len(labels.known[one]) == 2])
    rows = [one for one in tensors if labels.known[one]]
    for one, other in combinations(rows, 2):
        labels.same((one, 0), (other, 0))


def _attention(labels: Labels, operator: Operator) -> None:
    """The output is as the queries, gradients as what they are of; log-sums lack the last axis."""
    backward = operator.phase is Phase.BACKWARD
    query, key, value = operator.reads[backward : backward + 3]
    others = (query, key, value) if backward else (query,)
    pairs = list(zip(operator.writes, others, strict=False))
    pairs += [(one, query) for one in (*operator.reads[:backward], *operator.reads[backward + 3 :])]
    pairs += [(one, query) for one in operator.writes[len(others) :]]
    for one, like in pairs:
        for axis in range(min(len(labels.known[one]), len(labels.known[like]))):
            if labels.shape(one)[axis] == labels.shape(like)[axis]:
                labels.same((one, axis), (like, axis))
