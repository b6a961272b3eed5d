"""Sharding rules of operators that work element by element, and of those that only run whole."""

from __future__ import annotations

from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.splits import PartialSum, Shape, Split, moved
from hardplace.workload.types import Operator, Phase

_JOINS = ("add", "sub")


def pointwise(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of an element-wise operator: all inputs come into the split of the result.

    Partial sums pass where the operator is linear in them: sums, products with a number, copies that are no wider.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, inputs that broadcast to the shape of the result.
    """
    if not operator.writes:
        return
    shape = walk.shapes[operator.writes[0]]
    reads = [index for index in dict.fromkeys(operator.reads) if walk.sizes[index] > 1]
    if _carried(walk, operator, reads):
        return
    for index in reads:
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    target = common(walk, reads, len(shape))
    if target is None:
        walk.settle(*reads)
    else:
        align(walk, reads, target, shape)
    for index in operator.writes:
        rank = len(walk.shapes[index])
        inside = target is not None and walk.sizes[index] > 1
        walk.states[index] = moved(target, target.axis + rank - len(shape)) if inside and target else None


def _carried(walk: Resharding, operator: Operator, reads: list[int]) -> bool:
    """Leave partial sums as they are where the operator is linear in them."""
    partial = [index for index in reads if isinstance(walk.used(index), PartialSum)]
    if not partial:
        return False
    states = [walk.used(index) for index in partial]
    routed = all(isinstance(state, PartialSum) and state.routed for state in states)
    # Gradients of one tensor are added up one by one: what is whole counts on one rank, so one sum is enough.
    backward = operator.phase is Phase.BACKWARD and operator.name == "add" and not walk.open & set(reads)
    sums = operator.name in _JOINS and (len(partial) == len(reads) or backward)
    scaled = routed and len(partial) == 1 and operator.name in ("mul", "div", "masked_fill")
    scaled |= len(reads) == 1 and operator.name in ("_to_copy", "clone") and _no_wider(walk, operator)
    if not sums and not scaled:
        return False
    split = [state for state in map(walk.used, reads) if isinstance(state, Split)]
    if any(state.origin for state in split) or (split and not sums):
        return False
    walk.settle(*reads)
    onto = next((state.onto for state in states if isinstance(state, PartialSum)), None)
    for index in operator.writes:
        walk.states[index] = PartialSum(routed, onto)
    return True


def _no_wider(walk: Resharding, operator: Operator) -> bool:
    """Return whether a copy has no more bytes an element than what it copies."""
    old, new = (ITEM_BYTES[walk.layer.tensors[one[0]].dtype] for one in (operator.reads, operator.writes))
    return new <= old


def common(walk: Resharding, reads: list[int], rank: int) -> Split | None:
    """Return the split of an element-wise result.

    Args:
        walk: States of the layer's tensors.
        reads: Tensors that are read.
        rank: Number of axes of the result.

    Returns:
        The split of the inputs on the result's axes; the finest where they differ in parts only; where they differ in
        axis, a split by features before one by sequence, which can be gathered. None: nothing is split.
    """
    found: list[tuple[int, Split]] = []
    for index in reads:
        state = walk.used(index)
        if isinstance(state, Split):
            found.append((walk.sizes[index], moved(state, state.axis + rank - len(walk.shapes[index]))))
    if not found:
        return None
    places = {(split.axis, split.before) for _, split in found}
    if len(places) > 1:
        # Features before sequence: what is split by sequence can be gathered.
        found = [max(found, key=lambda one: (bool(one[1].origin), one[0]))]
    best = max((split for _, split in found), key=lambda split: split.parts)
    origin = frozenset().union(*(split.origin for _, split in found))
    return Split(best.axis, best.parts, best.before, origin)


def align(walk: Resharding, reads: list[int], target: Split, shape: Shape) -> None:
    """Bring all that an operator reads into the split of its result: slices, gathers, or cuts of open parameters.

    Args:
        walk: States of the layer's tensors.
        reads: Tensors that are read.
        target: Split of the result.
        shape: Shape of the result.
    """
    for index in reads:
        axis = target.axis + len(walk.shapes[index]) - len(shape)
        spans = axis >= 0 and walk.shapes[index][axis] != 1
        mine = moved(target, axis) if spans else None
        if index in walk.open:
            divides = spans and target.origin and walk.shapes[index][axis] % target.parts == 0
            cut = mine if divides and walk.may_cut(index) else None
            walk.decide(index, cut)
        state = walk.used(index)
        if isinstance(state, Split) and (mine is None or (state.axis, state.before) != (mine.axis, mine.before)):
            walk.need(index, None)
        walk.need(index, mine)


def pointwise_like(walk: Resharding, operator: Operator, state: Split) -> None:
    """Let all of the input's rank that an operator reads and writes be split as its input is."""
    rank = len(walk.shapes[operator.reads[0]])
    for index in operator.reads:
        if len(walk.shapes[index]) == rank:
            walk.need(index, state)
    for index in operator.writes:
        walk.states[index] = state if len(walk.shapes[index]) == rank else None


def alone(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of an operator that only runs whole: what it reads is gathered, every rank computes all of it.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, any.
    """
    for index in dict.fromkeys(operator.reads):
        if index in walk.open:
            walk.decide(index, None)
        state = walk.used(index)
        if isinstance(state, PartialSum):
            walk.need(index, walk.resolved(index))
        if isinstance(walk.used(index), Split):
            walk.need(index, None)
    for index in operator.writes:
        walk.states[index] = None
