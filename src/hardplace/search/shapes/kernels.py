"""The kernels of many shapes of a recorded decoder, none of which is recorded, sharded or fused: sizes are put in.

Which operators run as one does not depend on sizes, so the kernels of the recorded shape are those of every shape; their
matmuls, lane-cycles and bytes are polynomials of its sizes (`workload.polynomials`). They equal what
`cost.fusion.kernel_graph` gives for the reshaped workload (tests/search/test_joint.py). One rank, no tensor parallelism.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.fusion import LOOKUPS, kernel_graph, readers, streamed
from hardplace.cost.grouping import PRODUCTS
from hardplace.cost.kernels import kernels_of
from hardplace.cost.types import Floats, Ints, Kernel, KernelGraph, Matmul
from hardplace.search.shapes.types import FIELDS, Shapes
from hardplace.workload.polynomials import Polynomial, multiplied, number
from hardplace.workload.reshape import Reshaping
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Affine, Layer, Operator, OperatorKind, Phase

PHASES = (Phase.FORWARD, Phase.BACKWARD)
_SECOND, _FIRST = ("embedding_dense_backward",), ("embedding",)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layer of a recorded decoder on one rank: its kernels by phase, and what its operators and storages are.

    dims: by operator, the polynomials of each of its dimensions, of which the largest counts. bytes: by storage.
    """

    layer: Layer
    graphs: tuple[KernelGraph, KernelGraph]
    dims: tuple[tuple[tuple[Polynomial, ...], ...], ...]
    bytes: tuple[Polynomial, ...]
    saved: Polynomial
    parameters: Polynomial


def layouts(reshaping: Reshaping, micro_batch: int, cycles: Mapping[str, int]) -> tuple[Layout, ...]:
    """Return embedding, block and head at a micro-batch size (samples), as `kernel_graph` fuses them."""
    found = []
    layers = tensor_parallel(reshaping.workload, 1).layers
    for place, (mine, recorded) in enumerate(zip(layers, reshaping.workload.layers, strict=True)):
        labels, held = reshaping.labels[place], reshaping.bytes[place]
        kept = [one for one in recorded.operators if one.kind is not OperatorKind.VIEW]
        names = [one.name for one in mine.operators]
        assert names == [one.name for one in kept], "sharding over one rank keeps every operator but views"
        sizes: list[Polynomial] = [number(0)] * len(mine.storages)
        for one, other in zip(mine.operators, kept, strict=True):
            pairs = zip((*one.reads, *one.writes), (*other.reads, *other.writes), strict=True)
            for tensor, same in pairs:
                sizes[mine.tensors[tensor].storage] = held[recorded.tensors[same].storage]
        forward, backward = (kernel_graph(mine, phase, micro_batch, cycles) for phase in PHASES)
        saved = parameters = number(0)
        for index in recorded.saved:
            saved = saved + held[index]
        for storage, label in zip(recorded.storages, held, strict=True):
            if storage.parameters:
                parameters = parameters + label * number(1) * _elements_a_byte(storage.parameters, storage.bytes)
        found.append(
            Layout(
                layer=mine,
                graphs=(forward, backward),
                dims=tuple(_dims(one, labels) for one in kept),
                bytes=tuple(sizes),
                saved=saved,
                parameters=parameters,
            )
        )
    return tuple(found)


def _elements_a_byte(parameters: int, size: Affine) -> Polynomial:
    from fractions import Fraction

    return number(Fraction(parameters, size.constant))


def _dims(operator: Operator, labels: Sequence[Sequence[Polynomial]]) -> tuple[tuple[Polynomial, ...], ...]:
    """Return an operator's dimensions, as `workload.operators.dims_of` has them: of each, what it is the largest of."""
    reads, writes = ([labels[index] for index in indices] for indices in (operator.reads, operator.writes))
    if operator.kind is OperatorKind.MATMUL:
        left, right = reads[-2:]
        batch = left[0] if len(left) > len(right[-2:]) else number(1)
        return ((batch,), (left[-2],), (right[-1],), (left[-1],))
    if operator.kind is OperatorKind.ATTENTION:
        query, key, value = reads[operator.phase is Phase.BACKWARD :][:3]
        sizes = (query[0], query[1], key[1], query[2], key[2], query[3], value[3])
        return tuple((one,) for one in sizes)
    if operator.name in _FIRST:
        return (tuple(multiplied(one) for one in writes),)
    if operator.name in _SECOND:
        return ((multiplied(reads[0]),),)
    every = tuple(dict.fromkeys(multiplied(one) for one in (*reads, *writes)))
    return (every,)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Shapes in columns with what their polynomials come to. micro_batch: samples."""

    shapes: Shapes
    micro_batch: int

    def of(self, polynomials: Sequence[Polynomial]) -> Ints:
        """Return the largest of polynomials for each shape, shape (shapes,)."""
        sizes = {name: getattr(self.shapes, name) for name in FIELDS} | {"micro_batch": self.micro_batch}
        values = [one.columns(sizes) for one in polynomials]
        whole = np.max([np.broadcast_to(np.asarray(one, dtype=np.float64), len(self.shapes)) for one in values], axis=0)
        return np.asarray(np.rint(whole), dtype=np.int64)


def kernels(layout: Layout, columns: Columns, cycles: Mapping[str, int]) -> list[tuple[tuple[Kernel, ...], ...]]:
    """Return the kernels of each shape's forward and backward pass of one layer: by phase, by kernel, by shape."""
    later = readers(layout.layer)
    return [
        tuple(_alike(layout, kernel, columns, cycles, later) for kernel in graph.kernels) for graph in layout.graphs
    ]


def _alike(
    layout: Layout, kernel: Kernel, columns: Columns, cycles: Mapping[str, int], later: Mapping[int, set[int]]
) -> tuple[Kernel, ...]:
    """Return a kernel of the recorded shape as each shape has it."""
    layer, members = layout.layer, list(kernel.operators)
    first = layer.operators[members[0]]
    streams = _streams(layout, kernel, columns, later)
    if first.kind is OperatorKind.ATTENTION:
        dims = [columns.of(one).tolist() for one in layout.dims[members[0]]]
        return tuple(
            replace(
                kernels_of([_sized(first, sizes)], cycles, columns.micro_batch, flash=True)[0],
                stream_bytes=stream,
                predecessors=kernel.predecessors,
                operators=kernel.operators,
            )
            for *sizes, stream in zip(*dims, streams, strict=True)
        )
    lanes: Ints = np.zeros(len(columns.shapes), dtype=np.int64)
    for index in members:
        operator = layer.operators[index]
        if operator.kind not in PRODUCTS:
            function = operator.name.split(".")[-1].removeprefix("_")
            lanes = lanes + columns.of(layout.dims[index][0]) * cycles.get(function, cycles["other"])
    products = [columns.of(one).tolist() for one in layout.dims[members[0]]] if first.kind in PRODUCTS else []
    matmuls = [(Matmul(batch=b, m=m, n=n, k=k),) for b, m, n, k in zip(*products, strict=True)] if products else None
    return tuple(
        replace(kernel, matmuls=matmuls[row] if matmuls else (), lane_cycles=lane, stream_bytes=stream)
        for row, (lane, stream) in enumerate(zip(lanes.tolist(), streams, strict=True))
    )


def _sized(operator: Operator, sizes: Sequence[int]) -> Operator:
    return replace(operator, dims=tuple(Affine(size, 0) for size in sizes))


def _streams(layout: Layout, kernel: Kernel, columns: Columns, later: Mapping[int, set[int]]) -> list[int]:
    """Return the bytes that a kernel of each shape streams, as `cost.fusion` counts them."""
    layer, members = layout.layer, list(kernel.operators)
    first = layer.operators[members[0]]

    def total(storages: Sequence[int]) -> Ints:
        return sum((columns.of((layout.bytes[one],)) for one in storages), np.zeros(len(columns.shapes), dtype=np.int64))

    if first.kind in LOOKUPS and first.phase is Phase.FORWARD:
        return [2 * one for one in total(layer.storages_of(first.writes)).tolist()]
    every = total(streamed(layer, members, later))
    if kernel.tiled:
        every = np.maximum(0, every - total(streamed(layer, members[:1], later)))
    return [int(one) for one in every.tolist()]


Pricer = Callable[[tuple[Kernel, ...]], tuple[Floats, Floats]]
