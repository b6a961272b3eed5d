"""What the layers of a model use of each part of a chip at least, however they are scheduled, by the chip's sizes.

A part is busy for at least its work over its rate; a layer's phase takes at least as long as its busiest part, and as
the longest way through its kernels, each as if it had the whole chip. Values are looked up by the places of chips on
the axes of a space, so that a box of chips costs as little as one (proofs in docs/model-search.md, "Parts").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.cost.arrays import times
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.types import Engine, Kernel
from hardplace.design.exact.layer_kernels import LayerKernels, LayerTimes
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.types import Setting, own_buffer_bytes
from hardplace.ndtypes import Floats, Ints

_SKEW = (2.0, 1.0, -2.0)  # rows, columns, one: cycles of filling and draining that array_cycles counts once a matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWork:
    """Work of every kernel, first axis (kernels,), those of a phase of a layer next to one another.

    array_cycles: of one array by (rows, columns) on the space's axes; then lane-cycles, and bytes through memory by
    buffer size and through the shared buffer by size of a core's own. macs: multiply-accumulates. phases: of each
    (layer, phase) its first kernel, and the predecessors of each of its kernels, counted from there. layers: how many.
    update_bytes: of the optimizer step on unsharded states, (layers,).
    """

    layers: int
    phases: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    macs: Floats
    lane_cycles: Floats
    array_cycles: Floats
    memory_bytes: Floats
    fed_bytes: Floats
    own_sizes: Ints
    update_bytes: Floats

    def summed(self, kernels: Floats) -> Floats:
        """Return the sums over the kernels of each phase, shape (layers, 2, ...), from (kernels, ...)."""
        total = np.zeros((len(self.phases), *kernels.shape[1:]))
        for row, (start, graph) in zip(total, self.phases, strict=True):
            row += kernels[start : start + len(graph)].sum(axis=0)
        return total.reshape(self.layers, 2, *kernels.shape[1:])

    def longest(self, seconds: Floats) -> Floats:
        """Return the longest way through the kernels of each phase, shape (layers, 2, boxes), from (kernels, boxes)."""
        found = np.zeros((len(self.phases), seconds.shape[1]))
        for row, (start, graph) in zip(found, self.phases, strict=True):
            ends: list[Floats] = []
            for place, before in enumerate(graph):
                begin = ends[before[0]] if before else 0.0
                for other in before[1:]:
                    begin = np.maximum(begin, ends[other])
                ends.append(begin + seconds[start + place])
                np.maximum(row, ends[-1], out=row)
        return found.reshape(self.layers, 2, seconds.shape[1])


def work(kernels: LayerKernels, space: ChipSpace) -> KernelWork:
    """Return the work of every kernel at all sizes that a space has."""
    every = tuple(kernel for pair in kernels.graphs for graph in pair for kernel in graph.kernels)
    rows, columns = (np.array(one, dtype=np.int64) for one in (space.array_rows, space.array_columns))
    high, wide = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    own_sizes = np.unique(own_buffer_bytes(high * wide))
    phases, start = [], 0
    for pair in kernels.graphs:
        for graph in pair:
            phases.append((start, tuple(kernel.predecessors for kernel in graph.kernels)))
            start += len(graph.kernels)
    return KernelWork(
        layers=len(kernels.graphs),
        phases=tuple(phases),
        macs=np.array([sum(matmul.macs for matmul in kernel.matmuls) for kernel in every], dtype=np.float64),
        lane_cycles=np.array([kernel.lane_cycles for kernel in every], dtype=np.float64),
        array_cycles=_array_cycles(every, high, wide).reshape(len(every), len(rows), len(columns)),
        memory_bytes=times.bytes_into(every, np.array(space.buffer_bytes, dtype=np.int64)),
        fed_bytes=times.bytes_into(every, own_sizes),
        own_sizes=own_sizes,
        update_bytes=np.array([kernel.stream_bytes for kernel in kernels.updates], dtype=np.float64),
    )


def _array_cycles(kernels: tuple[Kernel, ...], rows: Ints, columns: Ints) -> Floats:
    """Return cycles of each kernel's matmuls on one array without filling, which many cores do side by side."""
    fill = _SKEW[0] * rows + _SKEW[1] * columns + _SKEW[2]
    return times.summed(
        kernels, lambda matmuls: array_cycles(matmuls, np.ones_like(rows), rows, columns) - fill[None, :], len(rows)
    )


def network_s(kernels: LayerKernels, setting: Setting) -> Floats:
    """Return seconds of each kernel that is a collective, 0 of the others, shape (kernels,)."""
    group = kernels.shard.parallelism.tensor
    every = [kernel for pair in kernels.graphs for graph in pair for kernel in graph.kernels]
    return np.array(
        [times.network_s(one, setting, group) if one.engine is Engine.NETWORK else 0.0 for one in every],
        dtype=np.float64,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What boxes of chips have of each part at most, arrays over boxes: a second's cycles and bytes, and places.

    rows, columns: first and last place on the axes of array sides. A chip is a box of one.
    """

    arrays_per_s: Floats
    lanes_per_s: Floats
    buffer_bytes_per_s: Floats
    buffer: Ints
    own_bytes: Ints
    rows: tuple[Ints, Ints]
    columns: tuple[Ints, Ints]


def rates(space: ChipSpace, low: Ints, high: Ints, setting: Setting) -> Rates:
    """Return the rates of boxes by the places of their lowest and highest chips, each of shape (axes, boxes)."""
    top = space.at(high)
    clock = top.clocks_hz(setting)
    return Rates(
        arrays_per_s=top.tensor_cores * clock,
        lanes_per_s=top.vector_cores * top.vector_lanes * clock,
        buffer_bytes_per_s=times.buffer_bandwidth_bytes_per_s(top, setting),
        buffer=high[5],
        own_bytes=top.core_buffer_bytes,
        rows=(low[1], high[1]),
        columns=(low[2], high[2]),
    )


def array_cycles_of(done: KernelWork, on: Rates) -> Floats:
    """Return the least cycles of one array over the sides in each box, shape (kernels, boxes)."""
    (top, bottom), (left, right) = on.rows, on.columns
    if np.array_equal(top, bottom) and np.array_equal(left, right):
        return np.asarray(done.array_cycles[:, top, left])
    sides, which = np.unique(np.stack([top, bottom, left, right]), axis=1, return_inverse=True)
    least = [done.array_cycles[:, a : b + 1, c : d + 1].min(axis=(1, 2)) for a, b, c, d in sides.T.tolist()]
    return np.asarray(np.stack(least, axis=-1)[:, which.ravel()])


def least_seconds(done: KernelWork, on: Rates, collectives_s: Floats, setting: Setting) -> LayerTimes:
    """Return lower bounds on the seconds of each layer in each box: its busiest part, and its longest way."""
    own = np.searchsorted(done.own_sizes, on.own_bytes)
    parts = (
        array_cycles_of(done, on) / on.arrays_per_s,
        done.lane_cycles[:, None] / on.lanes_per_s,
        done.memory_bytes[:, on.buffer] / setting.memory_bandwidth_bytes_per_s,
        done.fed_bytes[:, own] / on.buffer_bytes_per_s,
        np.repeat(collectives_s[:, None], len(own), axis=1),
    )
    each = parts[0]
    busiest = done.summed(parts[0])
    for part in parts[1:]:
        each = np.maximum(each, part)
        busiest = np.maximum(busiest, done.summed(part))
    seconds = np.maximum(busiest, done.longest(each))
    update_s = done.update_bytes / setting.memory_bandwidth_bytes_per_s
    return LayerTimes(
        forward_s=seconds[:, 0],
        backward_s=seconds[:, 1],
        optimizer_s=np.repeat(update_s[:, None], seconds.shape[2], axis=1),
    )
