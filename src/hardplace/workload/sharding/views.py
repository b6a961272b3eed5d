"""Sharding rule of views."""

from __future__ import annotations

from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.splits import DoesNotFit, PartialSum, Split, through
from hardplace.workload.types import Operator


def view(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a view: the split goes through it; views of open parameters stay open.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, one tensor and its axes.
    """
    origin = operator.reads[0]
    if origin in walk.open:
        for index in operator.writes:
            if index not in walk.open:
                walk.open.add(index)
                walk.views[index] = (origin, operator)
        return
    state = walk.used(origin)
    for index in operator.writes:
        if isinstance(state, Split):
            try:
                walk.states[index] = through(state, operator, walk.shapes[origin], walk.shapes[index])
            except DoesNotFit as problem:
                if problem.split.origin:
                    raise
                walk.need(origin, None)
                walk.states[index] = None
        elif isinstance(state, PartialSum) and state.onto is not None:
            onto = through(state.onto, operator, walk.shapes[origin], walk.shapes[index])
            walk.states[index] = PartialSum(state.routed, onto)
        elif index != origin:
            walk.states[index] = state
