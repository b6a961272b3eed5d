"""Which measured kind of kernel a chain of recorded operators is timed as, and the row that it reduces."""

from __future__ import annotations

from collections.abc import Sequence

from hardplace.cost.layers.types import Stream
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase

_STREAMS = (  # a chain is timed as the first of these that it has
    (OperatorKind.OPTIMIZER, Stream.OPTIMIZER),
    (OperatorKind.CROSS_ENTROPY, Stream.CROSS_ENTROPY),
    (OperatorKind.SOFTMAX, Stream.SOFTMAX),
    (OperatorKind.ATTENTION, Stream.SOFTMAX),  # unfused: between its products
    (OperatorKind.NORMALISATION, Stream.NORM),
    (OperatorKind.REDUCTION, Stream.NORM),
    (OperatorKind.ROUTING, Stream.DISPATCH),
    (OperatorKind.EMBEDDING, Stream.EMBEDDING),
    (OperatorKind.GATHER, Stream.EMBEDDING),
)
_REDUCING = (OperatorKind.REDUCTION, OperatorKind.NORMALISATION, OperatorKind.SOFTMAX)


def stream_of(operators: Sequence[Operator], phase: Phase) -> Stream:
    """Return the kind of a chain: that of its most telling operator."""
    if phase is Phase.OPTIMIZER:
        return Stream.OPTIMIZER
    kinds = {operator.kind for operator in operators}
    found = next((stream for has, stream in _STREAMS if has in kinds), Stream.ELEMENTWISE)
    scattered = found is Stream.EMBEDDING and phase is Phase.BACKWARD
    return Stream.EMBEDDING_BACKWARD if scattered else found


def row_of(operators: Sequence[Operator], layer: Layer, kind: Stream, micro_batch: int) -> int:
    """Return the elements of a row that a chain reduces along the last axis; 0 if it reduces none or others."""
    if kind not in (Stream.NORM, Stream.SOFTMAX, Stream.CROSS_ENTROPY):
        return 0
    return max((_row(operator, layer, micro_batch) for operator in operators), default=0)


def _row(operator: Operator, layer: Layer, micro_batch: int) -> int:
    if operator.kind is OperatorKind.ATTENTION:
        return operator.dims[4].at(micro_batch)
    shape = layer.tensors[operator.reads[0]].shape if operator.reads else ()
    reducing = operator.kind in _REDUCING
    return shape[-1].at(micro_batch) if reducing and shape and len(shape) - 1 in operator.axes else 0
