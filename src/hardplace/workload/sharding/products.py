"""Sharding rules of matrix products and attention."""

from __future__ import annotations

from hardplace.workload.operators import ATTENTION_BACKWARD
from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.pointwise import alone
from hardplace.workload.sharding.splits import DoesNotFit, PartialSum, Shape, Split, State, moved
from hardplace.workload.sharding.steps import VOCABULARY, KeepWhole
from hardplace.workload.types import Operator


def matmul(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a matrix product, with its bias if it has one.

    A weight of a whole input is cut by output features (column parallel), of a cut input by input features (row
    parallel, whose result are partial sums). Source: Megatron-LM, arXiv 1909.08053, section 3.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, x (..., k), w (k, n) and perhaps a bias (n,).
    """
    left, right = operator.reads[-2:]
    bias = operator.reads[0] if operator.name.startswith("add") or operator.name == "baddbmm" else None
    for index in (left, right):
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    note_weights(walk, left, right)
    if len(walk.shapes[left]) < 2 or len(walk.shapes[right]) < 2:
        alone(walk, operator)
        return
    if right in walk.open and left not in walk.open:
        _cut_weight(walk, left, right)
    walk.settle(left, right)
    state = _product(walk, left, right)
    walk.states[operator.writes[0]] = state
    if bias is not None:
        _bias(walk, bias, state, walk.shapes[operator.writes[0]])


def note_weights(walk: Resharding, *operands: int) -> None:
    """Note the weights that products use, to name those that stay whole."""
    walk.in_products |= {walk.parameter(index) for index in operands if index in walk.open}


def _cut_weight(walk: Resharding, left: int, right: int) -> None:
    """Cut a weight by output features, or by input features where its input is cut so."""
    state, rank = walk.used(left), len(walk.shapes[right])
    inner = len(walk.shapes[left]) - 1
    rows, width = walk.shapes[right][-2:]
    logits = width >= max(VOCABULARY, 3 * rows)
    if isinstance(state, Split) and state.axis == inner:
        if logits and state.origin and walk.may_cut(right):
            raise KeepWhole(state.origin)  # rather than to add up logits
        cut = walk.may_cut(right) and state.before == 1
        walk.decide(right, Split(rank - 2, state.parts, 1, frozenset([walk.parameter(right)])) if cut else None)
        return
    parts = walk.cuts_into(right)
    if walk.may_cut(right) and (width % parts == 0 or logits):
        walk.decide(right, Split(rank - 1, parts, 1, frozenset([walk.parameter(right)])))
    else:
        walk.decide(right, None)


def _product(walk: Resharding, left: int, right: int) -> State:
    """Return the state of a product of two operands whose states are known, after the moves that it takes."""
    places = {"left": ("m", "k"), "right": ("k", "n")}

    def place(index: int, side: str) -> str:
        state, rank = walk.used(index), len(walk.shapes[index])
        if not isinstance(state, Split):
            return ""
        return places[side][state.axis - rank + 2] if state.axis >= rank - 2 else "batch"

    one, other = place(left, "left"), place(right, "right")
    if one and other and (one, other) not in (("k", "k"), ("batch", "batch")):
        mine, theirs = walk.used(left), walk.used(right)
        assert isinstance(mine, Split)
        assert isinstance(theirs, Split)
        if mine.origin and theirs.origin:
            raise KeepWhole(theirs.origin - walk.whole or mine.origin)
        if theirs.origin:
            walk.need(left, None)
        else:
            walk.need(right, None)
        one, other = place(left, "left"), place(right, "right")
    if one in ("k", "batch") and not other:
        _mirror(walk, left, right, one)
        other = one
    elif other in ("k", "batch") and not one:
        _mirror(walk, right, left, other)
        one = other
    mine, theirs = walk.used(left), walk.used(right)
    if one == other and isinstance(mine, Split) and isinstance(theirs, Split) and mine.parts != theirs.parts:
        parts = max(mine.parts, theirs.parts)
        walk.need(left, Split(mine.axis, parts, mine.before, mine.origin))
        walk.need(right, Split(theirs.axis, parts, theirs.before, theirs.origin))
    mine, theirs = walk.used(left), walk.used(right)
    if one == "k":
        return PartialSum()
    if one in ("m", "batch"):
        assert isinstance(mine, Split)
        origin = mine.origin | (theirs.origin if isinstance(theirs, Split) else frozenset())
        return Split(mine.axis, mine.parts, mine.before, origin)
    return theirs if other == "n" else None


def _mirror(walk: Resharding, split: int, whole: int, place: str) -> None:
    """Cut the other operand of a product as this one is cut."""
    state = walk.used(split)
    assert isinstance(state, Split)
    rank = len(walk.shapes[whole])
    last = state.axis == len(walk.shapes[split]) - 1
    axis = state.axis if place == "batch" else rank - 2 if last else rank - 1
    walk.need(whole, Split(axis, state.parts, state.before, state.origin))


def _bias(walk: Resharding, bias: int, state: State, shape: Shape) -> None:
    if isinstance(state, PartialSum):
        walk.settle(bias)
        walk.step.bias_after = True
    elif isinstance(state, Split) and state.axis == len(shape) - 1:
        mine = moved(state, len(walk.shapes[bias]) - 1)
        if bias in walk.open:
            walk.decide(bias, mine)
        walk.need(bias, mine)
    else:
        walk.settle(bias)


def grouped(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a grouped product, one for each expert's tokens.

    Experts are cut by feature as a matrix product's weight is; partial sums wait until the tokens are back. Where they
    are whole, each rank has the rows of its own tokens.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, tokens (rows, k) and weights (experts, k, n).
    """
    left, right = operator.reads[:2]
    for index in (left, right):
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, None)
    note_weights(walk, left, right)
    if right in walk.open:
        state = walk.used(left)
        if isinstance(state, Split) and state.axis == 0 and walk.may_cut(right):
            walk.need(left, None)
        _cut_weight(walk, left, right)
    walk.settle(left, right)
    if len(walk.shapes[right]) == 3:
        result = _product(walk, left, right)
        if isinstance(result, Split) and result.axis == 2:
            result = moved(result, 1)
    else:
        result = _outer(walk, left, right)
        if walk.own_tokens and isinstance(result, PartialSum):
            result = None  # added up over all ranks with the same experts, after the layer, as data-parallel traffic
    walk.states[operator.writes[0]] = PartialSum(routed=True) if isinstance(result, PartialSum) else result


def _outer(walk: Resharding, left: int, right: int) -> State:
    """Return the state of the gradient of grouped weights: (groups, rows of the left, columns of the right)."""
    mine, theirs = walk.used(left), walk.used(right)
    if isinstance(mine, Split) and isinstance(theirs, Split):
        if (mine.axis, theirs.axis) == (1, 0):
            return PartialSum()
        walk.need(right, None)
        theirs = None
    if isinstance(mine, Split):
        return PartialSum() if mine.axis == 1 else moved(mine, 1)
    if isinstance(theirs, Split):
        return PartialSum() if theirs.axis == 0 else moved(theirs, 2)
    return None


def attention(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of attention: by heads (tensor parallelism), or by queries with all keys and values gathered
    (context).

    Forward and backward; sinks, one number a head, are cut as the heads are.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, query, key and value (batch, heads, sequence, head dimension).
    """
    backward = operator.name == ATTENTION_BACKWARD
    query, key, value = operator.reads[backward : backward + 3]
    for index in operator.reads:
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    walk.settle(*operator.reads)
    state = walk.used(query)
    if isinstance(state, Split) and state.axis == 3:
        raise DoesNotFit(state, 1)
    if not isinstance(state, Split):
        for index in operator.reads:
            walk.need(index, None)
    by_sequence = isinstance(state, Split) and state.axis == 2
    for index in (key, value):
        if by_sequence:
            walk.need(index, None)
    for index in operator.reads:
        if isinstance(state, Split) and index not in (query, key, value) and len(walk.shapes[index]) >= 3:
            spans = walk.shapes[index][state.axis] != 1
            walk.need(index, moved(state, state.axis) if spans else None)
    sinks = moved(state, 0) if isinstance(state, Split) and not by_sequence else None
    for index in operator.reads:
        if len(walk.shapes[index]) == 1:  # a score a head
            if sinks and index in walk.open:
                walk.decide(index, sinks)
            walk.need(index, sinks)
    writes = operator.writes
    for index in writes[:1] if backward else writes:
        walk.states[index] = state
    for index, of in zip(writes[1:], (key, value), strict=False) if backward else ():
        alike = isinstance(walk.used(of), Split) or state is None
        # By heads, a whole key has a gradient from each rank's queries; by sequence, a gathered one.
        onto = Split(2, state.parts) if isinstance(state, Split) and by_sequence else None
        walk.states[index] = walk.used(of) if alike else PartialSum(onto=onto)
    for index in writes[3:] if backward else ():
        of_sinks = PartialSum() if by_sequence else sinks
        walk.states[index] = of_sinks if len(walk.shapes[index]) == 1 else state
