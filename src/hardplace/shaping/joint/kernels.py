"""The kernels of many shapes of a recorded decoder, none of which is recorded, sharded or fused: sizes are put in.

The kernels of one layout are those of every shape that it is for; their matmuls, lane-cycles, bytes and collectives are
polynomials of its sizes (`workload.reshaping.polynomials`). They equal what `cost.kernels.fusion.kernel_graph`
gives for the sharded workload of each shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hardplace.cost.kernels.from_operators import kernels_of
from hardplace.cost.kernels.fusion import LOOKUPS, readers, streamed
from hardplace.cost.kernels.grouping import PRODUCTS
from hardplace.cost.types import Kernel, Matmul
from hardplace.ndtypes import Ints
from hardplace.shaping.joint.layouts import SymbolicLayout
from hardplace.shaping.types import FIELDS, ShapeColumns
from hardplace.workload.affine import Affine
from hardplace.workload.reshaping.polynomials import Polynomial
from hardplace.workload.types import Operator, OperatorKind, Phase


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Shapes in columns with what their polynomials come to. micro_batch: samples."""

    shapes: ShapeColumns
    micro_batch: int
    known: dict[tuple[Polynomial, ...], Ints] = field(default_factory=dict)

    def of(self, polynomials: Sequence[Polynomial]) -> Ints:
        """Return the largest of polynomials for each shape, shape (shapes,)."""
        key = tuple(polynomials)
        if key not in self.known:
            count = len(self.shapes)
            values = [np.broadcast_to(np.asarray(one.columns(self.sizes), dtype=np.float64), count) for one in key]
            self.known[key] = np.asarray(np.rint(np.max(values, axis=0)), dtype=np.int64)
        return self.known[key]

    @cached_property
    def sizes(self) -> Mapping[str, Any]:
        """What the polynomials are of."""
        return {name: getattr(self.shapes, name) for name in FIELDS} | {"micro_batch": self.micro_batch}


def kernels(
    layout: SymbolicLayout, columns: Columns, cycles: Mapping[str, int]
) -> list[tuple[tuple[Kernel, ...], ...]]:
    """Return the kernels of each shape's forward and backward pass of one layer: by phase, by kernel, by shape."""
    later = readers(layout.layer)
    return [
        tuple(_alike(layout, kernel, columns, cycles, later) for kernel in graph.kernels) for graph in layout.graphs
    ]


def _alike(
    layout: SymbolicLayout, kernel: Kernel, columns: Columns, cycles: Mapping[str, int], later: Mapping[int, set[int]]
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
    if first.kind is OperatorKind.COLLECTIVE:
        volumes = columns.of(layout.dims[members[0]][0]).tolist()
        return tuple(replace(kernel, collective_bytes=volume) for volume in volumes)
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


def _streams(layout: SymbolicLayout, kernel: Kernel, columns: Columns, later: Mapping[int, set[int]]) -> list[int]:
    """Return the bytes that a kernel of each shape streams, as `cost.kernels.fusion` counts them."""
    layer, members = layout.layer, list(kernel.operators)
    first = layer.operators[members[0]]

    def total(storages: Sequence[int]) -> Ints:
        return sum(
            (columns.of((layout.bytes[one],)) for one in storages), np.zeros(len(columns.shapes), dtype=np.int64)
        )

    if first.kind in LOOKUPS and first.phase is Phase.FORWARD:
        return [2 * one for one in total(layer.storages_of(first.writes)).tolist()]
    every = total(streamed(layer, members, later))
    if kernel.tiled:
        every = np.maximum(0, every - total(streamed(layer, members[:1], later)))
    return [int(one) for one in every.tolist()]
