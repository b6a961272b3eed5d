"""A Workload's operators in the terms of the CPU's cost model."""

from __future__ import annotations

import math

from hardplace.cost.cpu.types import CpuOperator
from hardplace.workload.affine import elements
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.types import Layer, Operator, OperatorKind

_FP32_BYTES = 4
_LOOKED_UP = (OperatorKind.EMBEDDING, OperatorKind.GATHER)


def cpu_operator(layer: Layer, operator: Operator, batch: int) -> CpuOperator:
    """Return a forward operator at a batch; floats count as fp32, in which the CPU was measured."""
    dims = [size.at(batch) for size in operator.dims]
    rows, m, n, k, taps = 1, 0, 0, 0, 1
    if operator.kind is OperatorKind.MATMUL:
        rows, m, n, k = dims
    elif operator.kind is OperatorKind.GROUPED_MATMUL:
        rows, m, n, k = dims
        m = max(1, m // rows)
    elif operator.kind is OperatorKind.CONVOLUTION:
        axes = (len(dims) - 4) // 3
        samples, channels, filters, rows = dims[:4]
        taps = math.prod(dims[4 + 2 * axes :])
        m, n, k = samples * math.prod(dims[4 + axes : 4 + 2 * axes]), filters // rows, channels // rows * taps
    elif operator.kind is OperatorKind.ATTENTION:
        samples, heads, _, m, n, k = dims[:6]
        rows = samples * heads
    moved = [_bytes(layer, index, batch) for index in (*operator.reads, *operator.writes)]
    if operator.kind in _LOOKED_UP:
        moved = [2 * _bytes(layer, index, batch) for index in operator.writes]
    return CpuOperator(
        kind=operator.kind.value, name=operator.name, batch=rows, m=m, n=n, k=k, taps=taps,
        moved_bytes=float(sum(moved)),
    )  # fmt: skip


def _bytes(layer: Layer, index: int, batch: int) -> int:
    tensor = layer.tensors[index]
    size = ITEM_BYTES[tensor.dtype]
    return elements(tensor.shape, batch) * (_FP32_BYTES if "float" in tensor.dtype else size)
