"""Sharding rules of convolutions: by channels."""

from __future__ import annotations

from hardplace.workload.sharding.moves import Moves
from hardplace.workload.sharding.pointwise import alone
from hardplace.workload.sharding.products import note_weights
from hardplace.workload.sharding.splits import Partial, Split, State, moved
from hardplace.workload.sharding.steps import KeepWhole
from hardplace.workload.types import Gradient, Operator


def convolution(walk: Moves, operator: Operator) -> None:
    """Cut a convolution by channels: of its output where the input is whole, of its input where that is cut."""
    for index in operator.reads:
        state = walk.used(index)
        if isinstance(state, Partial):
            walk.need(index, walk.resolved(index))
        elif isinstance(state, Split) and not state.origin:
            walk.need(index, None)
    if operator.name != "convolution" and operator.name != "convolution_backward":
        alone(walk, operator)
        return
    groups = operator.dims[3].constant
    if operator.gradient is Gradient.FORWARD:
        _convolve(walk, operator, groups)
        return
    gradient, other = operator.reads
    mine, theirs = walk.used(gradient), walk.used(other)
    if operator.gradient is Gradient.DGRAD:
        # other: the weight (out, in / groups, ...).
        if isinstance(theirs, Split) and theirs.axis == 0:
            walk.need(gradient, Split(1, theirs.parts, 1, theirs.origin))
            walk.states[operator.writes[0]] = Partial() if groups == 1 else Split(1, theirs.parts, 1, theirs.origin)
        elif isinstance(theirs, Split):
            walk.need(gradient, None)
            walk.states[operator.writes[0]] = Split(1, theirs.parts, 1, theirs.origin)
        else:
            walk.need(gradient, None)
            walk.states[operator.writes[0]] = None
        return
    cut_out = isinstance(mine, Split)
    cut_in = isinstance(theirs, Split)
    if cut_out and cut_in and groups == 1:
        raise KeepWhole(mine.origin)  # type: ignore[union-attr]
    if cut_out:
        walk.states[operator.writes[0]] = moved(mine, 0)  # type: ignore[arg-type]
    elif cut_in:
        walk.states[operator.writes[0]] = moved(theirs, 1 if groups == 1 else 0)  # type: ignore[arg-type]
    else:
        walk.states[operator.writes[0]] = None


def _convolve(walk: Moves, operator: Operator, groups: int) -> None:
    given, weight, *bias = operator.reads
    state = walk.used(given)
    origin = frozenset([walk.parameter(weight)])
    note_weights(walk, weight)
    result: State = None
    if weight in walk.open:
        outs, ins = walk.shapes[weight][:2]
        able = walk.may_cut(weight)
        if isinstance(state, Split) and groups > 1:
            if not able or groups % state.parts:
                raise KeepWhole(state.origin)
            walk.decide(weight, Split(0, state.parts, 1, origin))
            result = Split(1, state.parts, 1, origin | state.origin)
        elif isinstance(state, Split):
            if not able:
                raise KeepWhole(state.origin)
            walk.decide(weight, Split(1, state.parts, 1, origin))
            result = Partial()
        elif able and groups == 1 and outs % walk.parts == 0 and ins * groups > 0:
            walk.decide(weight, Split(0, walk.parts, 1, origin))
            result = Split(1, walk.parts, 1, origin)
        else:
            walk.decide(weight, None)
    elif isinstance(state, Split):
        raise KeepWhole(state.origin)
    walk.states[operator.writes[0]] = result
    for one in bias:
        if isinstance(result, Partial):
            walk.settle(one)
            walk.step.bias_after = True
        elif isinstance(result, Split):
            if one in walk.open:
                walk.decide(one, moved(result, 0))
        else:
            walk.settle(one)
