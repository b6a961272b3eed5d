"""Which rule says how the tensors of each kind of operator lie, given those that it reads."""

from __future__ import annotations

from collections.abc import Callable

from hardplace.workload.sharding.along_axes import cross_entropy, normalisation, reduction, softmax
from hardplace.workload.sharding.convolutions import convolution
from hardplace.workload.sharding.moves import Resharding
from hardplace.workload.sharding.pointwise import alone, pointwise
from hardplace.workload.sharding.products import attention, grouped, matmul
from hardplace.workload.sharding.tables import copy, embedding, gather, routing
from hardplace.workload.sharding.views import view
from hardplace.workload.types import Operator, OperatorKind

RULES: dict[OperatorKind, Callable[[Resharding, Operator], None]] = {
    OperatorKind.VIEW: view,
    OperatorKind.MATMUL: matmul,
    OperatorKind.GROUPED_MATMUL: grouped,
    OperatorKind.ATTENTION: attention,
    OperatorKind.CONVOLUTION: convolution,
    OperatorKind.NORMALISATION: normalisation,
    OperatorKind.SOFTMAX: softmax,
    OperatorKind.CROSS_ENTROPY: cross_entropy,
    OperatorKind.REDUCTION: reduction,
    OperatorKind.EMBEDDING: embedding,
    OperatorKind.GATHER: gather,
    OperatorKind.ROUTING: routing,
    OperatorKind.COPY: copy,
    OperatorKind.ELEMENTWISE: pointwise,
    OperatorKind.SCAN: alone,
    OperatorKind.OTHER: alone,
}
