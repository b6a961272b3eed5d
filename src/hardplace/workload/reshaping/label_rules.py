"""What each recorded operator says of its axes: which are one size, which is the product or the sum of others."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, count
from math import prod

from hardplace.workload.operators import ATTENTION_BACKWARD
from hardplace.workload.reshaping.labels import Labels
from hardplace.workload.reshaping.polynomials import multiplied, number, of_affine, symbol
from hardplace.workload.types import Operator, OperatorKind


def apply(labels: Labels, operator: Operator) -> None:
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
        case _ if operator.kind is OperatorKind.CROSS_ENTROPY:
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
    backward = operator.name.endswith("_backward")
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
    backward = operator.name == ATTENTION_BACKWARD
    query, key, value = operator.reads[backward : backward + 3]
    others = (query, key, value) if backward else (query,)
    pairs = list(zip(operator.writes, others, strict=False))
    pairs += [(one, query) for one in (*operator.reads[:backward], *operator.reads[backward + 3 :])]
    pairs += [(one, query) for one in operator.writes[len(others) :]]
    for one, like in pairs:
        for axis in range(min(len(labels.known[one]), len(labels.known[like]))):
            if labels.shape(one)[axis] == labels.shape(like)[axis]:
                labels.same((one, axis), (like, axis))
