"""Sharding rules of look-ups, routing and copies."""

from __future__ import annotations

from hardplace.workload.affine import GENERIC
from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.pointwise import align, alone, common, pointwise, pointwise_like
from hardplace.workload.sharding.splits import PartialSum, Split, moved
from hardplace.workload.sharding.steps import VOCABULARY
from hardplace.workload.types import Operator


def embedding(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of a look-up: tables as long as a vocabulary are cut by row, others stay whole.

    A rank looks up its own rows and gives zeros for the others; the results are partial sums (Megatron-LM).

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, a table (rows, features) and tokens (...).
    """
    if operator.name not in ("embedding", "embedding_dense_backward"):
        alone(walk, operator)
        return
    one, tokens = operator.reads[:2]
    if operator.name == "embedding_dense_backward":
        _embedding_gradient(walk, operator, one, tokens)
        return
    shape = walk.shapes[one]
    if one in walk.open and walk.may_cut(one) and shape[0] >= VOCABULARY:
        walk.decide(one, Split(0, walk.cuts_into(one), 1, frozenset([walk.parameter(one)])))
        walk.tables.add(shape)
    walk.settle(one)
    state = walk.used(one)
    if isinstance(state, Split) and state.axis == 0:
        walk.need(tokens, None)
        walk.step.masked = True
        walk.states[operator.writes[0]] = PartialSum()
        return
    walk.states[operator.writes[0]] = walk.used(tokens)


def _embedding_gradient(walk: Resharding, operator: Operator, gradient: int, tokens: int) -> None:
    result = operator.writes[0]
    if isinstance(walk.used(gradient), PartialSum):
        walk.need(gradient, walk.resolved(gradient))
    if walk.shapes[result] in walk.tables:
        walk.need(gradient, None)
        walk.need(tokens, None)
        walk.step.masked = True
        walk.states[result] = Split(0, walk.parts)
        return
    state = walk.used(gradient)
    if isinstance(state, Split) and state.axis < len(walk.shapes[tokens]):
        walk.need(tokens, moved(state, state.axis))
        walk.states[result] = PartialSum()
    elif isinstance(state, Split):
        walk.states[result] = moved(state, 1)
    else:
        walk.need(tokens, None)
        walk.states[result] = None


def gather(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of indexed reads and writes: along other axes than the cut one, or whole.

    Under context parallelism, and beside whole experts, each rank permutes its own tokens; rows sent to experts stay
    partial sums.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, what is indexed, the indices, and perhaps values.
    """
    given = operator.reads[0]
    state = walk.used(given)
    values = operator.reads[-1]
    if operator.name not in ("gather", "scatter", "scatter_add") and _local(walk, operator):
        return
    if operator.name in ("index_put", "_index_put_impl", "_unsafe_index_put", "index_add"):
        moving = walk.used(values)
        if isinstance(moving, PartialSum) and moving.routed:
            walk.states[operator.writes[0]] = PartialSum()
            return
        alone(walk, operator)
        return
    if operator.name == "index" and operator.axes == (0,) and len(operator.reads) == 2:
        if isinstance(state, PartialSum) and state.routed:
            walk.states[operator.writes[0]] = state
            return
        if isinstance(state, Split) and state.axis > 0:
            walk.states[operator.writes[0]] = moved(state, state.axis - 1 + len(walk.shapes[values]))
            walk.need(values, None)
            return
        if state is None and isinstance(walk.used(values), Split):
            walk.settle(given)
            walk.states[operator.writes[0]] = walk.used(values)
            return
    if operator.name in ("gather", "scatter", "scatter_add") and not isinstance(state, PartialSum):
        states = [walk.used(index) for index in operator.reads]
        if not any(isinstance(one, Split) and one.axis in operator.axes for one in states):
            pointwise(walk, operator)
            return
    alone(walk, operator)


def _local(walk: Resharding, operator: Operator) -> bool:
    """Let each rank route and permute its own tokens: of a context group, of a tensor group where experts are whole."""
    if not walk.own_tokens:
        return False
    found = [state for state in map(walk.used, operator.reads) if isinstance(state, Split)]
    if not found or any(state.axis != 0 or state.origin for state in found):
        return False
    walk.settle(*operator.reads)
    rows = {walk.shapes[index][0] for index in operator.reads if isinstance(walk.used(index), Split)}
    for index in operator.writes:
        shape = walk.shapes[index]
        tokens = bool(shape) and (shape[0] in rows or shape[0] % GENERIC == 0)
        walk.states[index] = moved(found[0], 0) if tokens else None
    return True


def routing(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of sorts and choices of experts: along other axes than the cut one, else whole.

    Under context parallelism, and beside whole experts, each rank routes its own tokens.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, scores (tokens, experts), with the axes that are sorted over.
    """
    if _local(walk, operator):
        return
    state = walk.used(operator.reads[0]) if operator.reads else None
    if isinstance(state, Split) and operator.axes and state.axis not in operator.axes and operator.name != "histc":
        pointwise_like(walk, operator, state)
    else:
        alone(walk, operator)


def copy(walk: Resharding, operator: Operator) -> None:
    """Apply the rule of copies, joins and paddings: as their input is split; a join along the cut axis of unlike splits
    runs whole.

    Args:
        walk: States of the layer's tensors on the process group, before the operator; the rule sets those after it.
        operator: The operator as recorded, one tensor, or those that are joined.
    """
    name = operator.name
    if name in ("cat", "stack") and operator.reads:
        _joined(walk, operator)
    elif name in ("slice_backward", "select_backward"):
        given, result = operator.reads[0], operator.writes[0]
        state = walk.used(given)
        if isinstance(state, Split) and name == "select_backward":
            state = moved(state, state.axis + (operator.axes[0] <= state.axis))
        walk.states[result] = state
    elif name == "constant_pad_nd" and operator.reads:
        walk.states[operator.writes[0]] = None
        state = walk.used(operator.reads[0])
        if isinstance(state, PartialSum):
            walk.need(operator.reads[0], walk.resolved(operator.reads[0]))
        if isinstance(walk.used(operator.reads[0]), Split):
            walk.states[operator.writes[0]] = walk.used(operator.reads[0])
    elif name.startswith("upsample") and isinstance(walk.used(operator.reads[0]), Split):
        pointwise_like(walk, operator, walk.used(operator.reads[0]))  # type: ignore[arg-type]
    elif name in ("repeat", "flip", "roll", "slice_scatter", "select_scatter"):
        alone(walk, operator)
    else:
        pointwise(walk, operator)


def _joined(walk: Resharding, operator: Operator) -> None:
    """Tensors one after the other along an axis."""
    reads = list(dict.fromkeys(operator.reads))
    states = [walk.used(index) for index in reads]
    result, axis = operator.writes[0], operator.axes[0]
    if all(isinstance(state, PartialSum) for state in states):
        walk.states[result] = states[0]
        return
    for index in reads:
        if isinstance(walk.used(index), PartialSum):
            walk.need(index, walk.resolved(index))
    target = common(walk, reads, len(walk.shapes[reads[0]]))
    along = target is not None and operator.name == "cat" and target.axis == axis
    if along and not all(walk.used(index) == target for index in reads):
        alone(walk, operator)
        return
    if target is not None and not along:
        align(walk, reads, target, walk.shapes[reads[0]])
    walk.settle(*reads)
    shift = operator.name == "stack" and target is not None and axis <= target.axis
    walk.states[result] = moved(target, target.axis + shift) if target is not None else None
