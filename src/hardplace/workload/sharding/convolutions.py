"""Sharding rules of convolutions: by channels."""

from __future__ import annotations

from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.pointwise import alone
from hardplace.workload.sharding.products import note_weights
from hardplace.workload.sharding.splits import PartialSum, Split, State, moved
from hardplace.workload.sharding.steps import KeepWhole
from hardplace.workload.types import Gradient, Operator


def convolution(walk: Resharding, operator: Operator) -> None:
    """Cut a convolution by channels: of its output where the input is whole, of its input where that is cut, which
    leaves partial sums.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, x (batch, channels in, ...) and w (channels out, channels in / groups,
            ...).
    """
    for index in operator.reads:
        state = walk.used(index)
        if isinstance(state, PartialSum):
            walk.need(index, walk.resolved(index))
        elif isinstance(state, Split) and not state.origin:
            walk.need(index, None)
    if operator.name not in ("convolution", "convolution_backward"):
        alone(walk, operator)
        return
    rule = {Gradient.FORWARD: _convolve, Gradient.DGRAD: _of_input, Gradient.WGRAD: _of_weight}[operator.gradient]
    walk.states[operator.writes[0]] = rule(walk, operator, operator.dims[3].constant)


def _of_input(walk: Resharding, operator: Operator, groups: int) -> State:
    """Return the state of the input's gradient: by its channels where the weight is cut so, else partial sums."""
    gradient, weight = operator.reads
    cut = walk.used(weight)  # (out, in / groups, ...)
    if not isinstance(cut, Split):
        walk.need(gradient, None)
        return None
    channels = moved(cut, 1)
    walk.need(gradient, channels if cut.axis == 0 else None)
    return PartialSum() if cut.axis == 0 and groups == 1 else channels


def _of_weight(walk: Resharding, operator: Operator, groups: int) -> State:
    """Return the state of the weight's gradient: by the channels that are cut of what it is a product of."""
    mine, theirs = (walk.used(index) for index in operator.reads)
    if isinstance(mine, Split):
        if isinstance(theirs, Split) and groups == 1:
            raise KeepWhole(mine.origin)
        return moved(mine, 0)
    return moved(theirs, 1 if groups == 1 else 0) if isinstance(theirs, Split) else None


def _convolve(walk: Resharding, operator: Operator, groups: int) -> State:
    """Return the state of the output: by its channels where the input is whole, partial sums where that is cut."""
    given, weight, *biases = operator.reads
    state, result = walk.used(given), None
    note_weights(walk, weight)
    if weight in walk.open:
        result = _cut_weight(walk, weight, state, groups)
    elif isinstance(state, Split):
        raise KeepWhole(state.origin)
    for bias in biases:
        if isinstance(result, PartialSum):
            walk.settle(bias)
            walk.step.bias_after = True
        elif isinstance(result, Split):
            if bias in walk.open:
                walk.decide(bias, moved(result, 0))
        else:
            walk.settle(bias)
    return result


def _cut_weight(walk: Resharding, weight: int, state: State, groups: int) -> State:
    """Cut an open weight for an input in this state; return the state of the output."""
    origin, able = frozenset([walk.parameter(weight)]), walk.may_cut(weight)
    if isinstance(state, Split):
        if not able or (groups > 1 and groups % state.parts):
            raise KeepWhole(state.origin)
        walk.decide(weight, Split(0 if groups > 1 else 1, state.parts, 1, origin))
        return Split(1, state.parts, 1, origin | state.origin) if groups > 1 else PartialSum()
    if able and groups == 1 and walk.shapes[weight][0] % walk.parts == 0:
        walk.decide(weight, Split(0, walk.parts, 1, origin))
        return Split(1, walk.parts, 1, origin)
    walk.decide(weight, None)
    return None
