"""Sharding rules of normalisations, softmax, losses and reductions."""

from __future__ import annotations

from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.pointwise import alone, common, pointwise, pointwise_like
from hardplace.workload.sharding.splits import DoesNotFit, PartialSum, Split, State, moved
from hardplace.workload.sharding.steps import KeepWhole
from hardplace.workload.types import Operator, Phase


def normalisation(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a normalisation: rows stay whole, since the axes that are normalised over cannot be cut.

    Batch statistics are cut by channel.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, x (..., features) with weight and bias (features,).
    """
    batch = "batch_norm" in operator.name
    axes = tuple(axis for axis in range(len(walk.shapes[operator.reads[0]])) if axis != 1) if batch else operator.axes
    full = [index for index in dict.fromkeys(operator.reads) if walk.shapes[index] == walk.shapes[operator.reads[0]]]
    for index in full:
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    target = common(walk, full, len(walk.shapes[full[0]]))
    if target is not None and (target.axis in axes or not axes):
        if target.origin:
            raise KeepWhole(target.origin)
        target = None
    for index in full:
        walk.need(index, target)
    small = [index for index in dict.fromkeys(operator.reads) if index not in full]
    for index in small:
        if batch and target is not None and len(walk.shapes[index]) == 1:
            if index in walk.open:
                walk.decide(index, moved(target, 0))
            walk.need(index, moved(target, 0))
        else:
            walk.settle(index)
            if isinstance(walk.used(index), Split) and target is None:
                walk.need(index, None)
    for index in operator.writes:
        walk.states[index] = _normalised(walk, index, full[0], target, batch)


def _normalised(walk: Resharding, index: int, given: int, target: Split | None, batch: bool) -> State:
    if target is None:
        return None
    if len(walk.shapes[index]) == len(walk.shapes[given]):
        return target
    if batch:
        return moved(target, 0) if walk.shapes[index] else None
    return PartialSum()  # gradients of weight and bias


def softmax(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a softmax: it is cut along other axes only.

    The logarithm over a cut vocabulary adds two all-reduces of one number a row: of the maximum and of the sum
    (Megatron-LM's parallel cross entropy).

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, scores (..., classes) with the axis that is summed over.
    """
    for index in operator.reads:
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    target = common(walk, list(operator.reads), len(walk.shapes[operator.reads[0]]))
    if target is not None and target.axis in operator.axes:
        if operator.name not in ("_log_softmax", "_log_softmax_backward_data"):
            raise DoesNotFit(target, 1)
        if operator.name == "_log_softmax":
            walk.step.added = [operator.reads[0]] * 2  # the largest, and the sum of exponentials
    walk.settle(*operator.reads)
    for index in operator.reads:
        walk.need(index, target)
    for index in operator.writes:
        walk.states[index] = target


def cross_entropy(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of the loss: the target's logit over a cut vocabulary takes an all-reduce of one number a row.

    A mean over cut tokens is a partial sum.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, log-probabilities (tokens, vocabulary) and targets (tokens,).
    """
    if not operator.name.startswith("nll_loss"):
        if operator.writes and walk.sizes[operator.writes[0]] > 1:
            pointwise(walk, operator)
        else:
            alone(walk, operator)
        return
    backward = operator.name.endswith("_backward")
    values = operator.reads[backward]
    state = walk.used(values)
    by_class = isinstance(state, Split) and state.axis == 1
    for index in operator.reads:
        if index != values and walk.sizes[index] > 1:
            split = moved(state, 0) if isinstance(state, Split) and not by_class else None
            walk.need(index, split)
    if backward:
        walk.states[operator.writes[0]] = state
        return
    if by_class:
        walk.step.added = [values]  # the target's logarithm
    for index in operator.writes:
        walk.states[index] = PartialSum() if isinstance(state, Split) and not by_class else None


def reduction(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a reduction: a sum over a cut axis is a partial sum; of tokens in the backward pass of
    anything.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, one tensor, with the axes that are reduced.
    """
    given = operator.reads[0]
    state = walk.used(given)
    if isinstance(state, PartialSum) and state.routed and operator.name == "sum":
        # Once the experts' results of a token are added up, it is back; a sum over its width is still routed.
        width = operator.axes == (len(walk.shapes[given]) - 1,)
        for index in operator.writes:
            walk.states[index] = PartialSum(routed=width)
        return
    if isinstance(state, PartialSum):
        walk.need(given, walk.resolved(given))
        state = walk.used(given)
    if "pool" in operator.name:
        if isinstance(state, Split) and state.axis == 1:
            pointwise_like(walk, operator, state)
        else:
            alone(walk, operator)
        return
    walk.settle(*operator.reads)
    if not isinstance(state, Split):
        alone(walk, operator)
        return
    inside = state.axis in operator.axes
    if inside and (operator.name not in ("sum", "mean") or (state.origin and operator.phase is Phase.FORWARD)):
        if state.origin:
            raise KeepWhole(state.origin)
        alone(walk, operator)
        return
    for index in operator.writes:
        kept = len(walk.shapes[index]) == len(walk.shapes[given])
        axis = state.axis if kept else state.axis - sum(axis < state.axis for axis in operator.axes)
        walk.states[index] = PartialSum() if inside else moved(state, axis)
