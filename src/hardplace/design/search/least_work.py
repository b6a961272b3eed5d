"""Least work of each part of a chip, however the layers are scheduled, by the sizes of the chip.

A part is busy for at least its work over its rate; a layer's phase takes at least as long as its busiest part, and as
its critical path, each kernel as if it had the whole chip. Values are looked up by the places of chips on the axes of a
space, so that a box of chips costs as little as one (proofs in docs/model-search.md, "Parts").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hardplace.cost.arrays import times
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.types import Engine, Kernel
from hardplace.design.exact.layer_kernels import LayerKernels, LayerTimes
from hardplace.design.scheduling.modes import TENSOR, VECTOR
from hardplace.design.search.ceilings import Ceilings, Shares
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.throttle import most_array_cycles_per_s
from hardplace.hardware.types import Setting, own_buffer_bytes
from hardplace.ndtypes import Bools, Floats, Ints

_SKEW = (2.0, 1.0, -2.0)  # rows, columns, one: cycles of filling and draining that array_cycles counts once a matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWork:
    """Work of every kernel, first axis (kernels,), those of a phase of a layer next to one another.

    Attributes:
        layers: Number of distinct layers.
        phases: Of each (layer, phase) its first kernel, and the predecessors of each of its kernels, counted from
            there.
        phase: Of each kernel, its row in phases.
        macs: Multiply-accumulates.
        lane_cycles: Cycles of vector lanes.
        array_cycles: Cycles of one array, by (rows, columns) on the space's axes.
        memory_bytes: Bytes through memory, by size of the buffer.
        fed_bytes: Bytes through the shared buffer, by size of a core's own.
        own_sizes: Sizes of a core's own buffer that `fed_bytes` is given for, in bytes.
        update_bytes: Bytes of the optimizer step on unsharded states, (layers,).
        on_tensor: Whether a kernel takes tensor cores, (kernels, 1).
        on_vector: Whether a kernel takes vector cores, (kernels, 1).
        share_bytes: Bytes through memory, by the size of a core's share of the buffer.
        whole_cycles: Cycles of all arrays, fill and drain among them, with at most so many cores, by (cores, rows,
            columns); None where the space has more of them than are worth it.
        reductions: Reductions along the lanes, (kernels, 1).
    """

    layers: int
    phases: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    phase: Ints
    macs: Floats
    lane_cycles: Floats
    array_cycles: Floats
    memory_bytes: Floats
    fed_bytes: Floats
    own_sizes: Ints
    update_bytes: Floats
    on_tensor: Bools
    on_vector: Bools
    share_bytes: Floats
    whole_cycles: Floats | None
    reductions: Floats

    def summed(self, kernels: Floats) -> Floats:
        """Return the sums over the kernels of each phase, shape (layers, 2, ...), from (kernels, ...)."""
        total = np.zeros((len(self.phases), *kernels.shape[1:]))
        for row, (start, graph) in zip(total, self.phases, strict=True):
            row += kernels[start : start + len(graph)].sum(axis=0)
        return total.reshape(self.layers, 2, *kernels.shape[1:])

    def longest(self, seconds: Floats) -> Floats:
        """Return the critical path through the kernels of each phase, shape (layers, 2, boxes), from (kernels,
        boxes).
        """
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
        phase=np.repeat(np.arange(len(phases)), [len(graph) for _, graph in phases]),
        macs=np.array([sum(matmul.macs for matmul in kernel.matmuls) for kernel in every], dtype=np.float64),
        lane_cycles=np.array([kernel.lane_cycles for kernel in every], dtype=np.float64),
        array_cycles=_array_cycles(every, high, wide).reshape(len(every), len(rows), len(columns)),
        memory_bytes=times.bytes_into(every, np.array(space.buffer_bytes, dtype=np.int64)),
        fed_bytes=times.bytes_into(every, own_sizes),
        own_sizes=own_sizes,
        update_bytes=np.array([kernel.stream_bytes for kernel in kernels.updates], dtype=np.float64),
        on_tensor=np.array([[kernel.engine in TENSOR] for kernel in every]).reshape(-1, 1),
        on_vector=np.array([[kernel.engine in VECTOR] for kernel in every]).reshape(-1, 1),
        share_bytes=np.minimum(times.bytes_into(every, _SHARES), _MANY_BYTES),
        whole_cycles=_whole_cycles(every, space),
        reductions=np.array([[float(kernel.reductions)] for kernel in every]).reshape(-1, 1),
    )


_SHARES = 2 ** np.arange(10, 41)  # sizes of a core's share of the buffer, which is taken as the next larger one
_MANY_CYCLES = 2**20
_MANY_BYTES = 1e30  # instead of no end of them, where a buffer holds no tile


def _array_cycles(kernels: tuple[Kernel, ...], rows: Ints, columns: Ints) -> Floats:
    """Return cycles of each kernel's matmuls on one array without filling, which many cores do side by side."""
    fill = _SKEW[0] * rows + _SKEW[1] * columns + _SKEW[2]
    return times.summed(
        kernels, lambda matmuls: array_cycles(matmuls, np.ones_like(rows), rows, columns) - fill[None, :], len(rows)
    )


def _whole_cycles(kernels: tuple[Kernel, ...], space: ChipSpace) -> Floats | None:
    """Return the least cycles of each kernel's matmuls on any number of cores up to each of a space."""
    axes = space.tensor_cores, space.array_rows, space.array_columns
    shape = (len(kernels), *(len(axis) for axis in axes))
    if np.prod(shape) > _MANY_CYCLES:
        return None
    cores, rows, columns = (
        grid.ravel() for grid in np.meshgrid(*(np.array(axis, dtype=np.int64) for axis in axes), indexing="ij")
    )
    cycles = times.summed(kernels, lambda matmuls: array_cycles(matmuls, cores, rows, columns), len(cores))
    return np.asarray(np.minimum.accumulate(cycles.reshape(shape), axis=1))


def network_s(kernels: LayerKernels, setting: Setting) -> Floats:
    """Return the seconds of each kernel that is a collective, 0 of the others, shape (kernels,)."""
    group = kernels.shard.parallelism.tensor
    every = [kernel for pair in kernels.graphs for graph in pair for kernel in graph.kernels]
    return np.array(
        [times.network_s(one, setting, group) if one.engine is Engine.NETWORK else 0.0 for one in every],
        dtype=np.float64,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """The rates of each part in boxes of chips, at most, arrays over boxes. A chip is a box of one.

    Attributes:
        clock_hz: Highest clock.
        cores: Place of the most tensor cores on their axis.
        lanes: Fewest lanes of a vector core.
        tensor_cores: Fewest and most tensor cores.
        vector_cores: Fewest and most vector cores.
        arrays_per_s: Cycles of all arrays a second that kernels reach.
        array_per_s: Cycles of one array a second that kernels reach.
        matrix_share: Of the arrays' rate as built that kernels reach.
        lanes_per_s: Cycles of all vector lanes a second.
        buffer_bytes_per_s: Bytes through the shared buffer a second.
        buffer: Place of the largest buffer.
        own_bytes: Largest buffer of a core.
        share_bytes: Largest share of the buffer of one core.
        rows: First and last place on the axis of array rows.
        columns: First and last place on the axis of array columns.
        shares: Of each limit, for both kinds of cores together.
    """

    clock_hz: Floats
    cores: Ints
    lanes: Ints
    tensor_cores: tuple[Floats, Floats]
    vector_cores: tuple[Floats, Floats]
    arrays_per_s: Floats
    array_per_s: Floats
    matrix_share: Floats
    lanes_per_s: Floats
    buffer_bytes_per_s: Floats
    buffer: Ints
    own_bytes: Ints
    share_bytes: Floats
    rows: tuple[Ints, Ints]
    columns: tuple[Ints, Ints]
    shares: tuple[Shares, ...] = ()


def rates(space: ChipSpace, low: Ints, high: Ints, setting: Setting, within: Ceilings | None = None) -> Rates:
    """Return the rates of boxes, by the places of their lowest and highest chips, each of shape (axes, boxes).

    Args:
        space: Space of chips.
        low: Lowest places.
        high: Highest places.
        setting: Setting, whose clock chips without one have.
        within: What limits leave of the cores; None: all.
    """
    top, least = space.at(high), space.at(low)
    clock = top.clocks_hz(setting)
    arrays, vectors = (np.asarray(most, dtype=np.float64) for most in (top.tensor_cores, top.vector_cores))
    if within is not None:
        arrays, vectors = within.tensor_cores, within.vector_cores
    limit_w = None if within is None else within.tdp_w
    arrays_per_s = most_array_cycles_per_s(least, top, arrays * clock, setting, limit_w)
    fewest = np.maximum(least.tensor_cores, 1)
    most = setting.kernels.matrix_share
    return Rates(
        clock_hz=clock,
        cores=np.searchsorted(space.values[0], arrays),
        lanes=least.vector_lanes,
        tensor_cores=(least.tensor_cores.astype(np.float64), arrays),
        vector_cores=(least.vector_cores.astype(np.float64), vectors),
        arrays_per_s=arrays_per_s,
        array_per_s=np.minimum(most * clock, arrays_per_s / fewest),
        matrix_share=np.minimum(most, arrays_per_s / (fewest * least.clocks_hz(setting))),
        lanes_per_s=vectors * top.vector_lanes * clock,
        buffer_bytes_per_s=times.buffer_bandwidth_bytes_per_s(top, setting),
        buffer=high[5],
        own_bytes=top.core_buffer_bytes,
        share_bytes=top.buffer_bytes / (least.tensor_cores + least.vector_cores),
        rows=(low[1], high[1]),
        columns=(low[2], high[2]),
        shares=() if within is None else within.shares,
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
    """Return lower bounds on the seconds of each layer in each box: its busiest part, and its critical path."""
    own = np.searchsorted(done.own_sizes, on.own_bytes)
    reached, memory_bytes_per_s = setting.kernels, setting.memory_reached_bytes_per_s
    cycles = array_cycles_of(done, on)
    parts = [
        cycles / on.arrays_per_s,
        done.lane_cycles[:, None] / on.lanes_per_s,
        done.memory_bytes[:, on.buffer] / memory_bytes_per_s,
        done.fed_bytes[:, own] / on.buffer_bytes_per_s,
        np.repeat(collectives_s[:, None], len(own), axis=1),
    ]
    for share in on.shares:
        # What takes arrays and lanes takes of a limit for both.
        parts.append(
            (cycles / on.matrix_share * share.per_array_rate + done.lane_cycles[:, None] * share.per_lane_rate)
            / share.left
        )
    each = np.maximum(_whole_s(done, on, parts[0]), parts[1] + done.reductions * _depth(on) / on.clock_hz)
    busiest = done.summed(parts[0])
    busiest = np.maximum(busiest, done.summed(parts[1]))
    for part in parts[2:]:
        each = np.maximum(each, part)
        busiest = np.maximum(busiest, done.summed(part))
    each = each + reached.launch_s * (done.on_tensor | done.on_vector)
    for energy in _energies(done, on, each, cycles / on.array_per_s, parts, setting):
        busiest = np.maximum(busiest, done.summed(energy))
    seconds = np.maximum(busiest, done.longest(each))
    update_s = done.update_bytes / memory_bytes_per_s + reached.launch_s
    return LayerTimes(
        forward_s=seconds[:, 0],
        backward_s=seconds[:, 1],
        optimizer_s=np.repeat(update_s[:, None], seconds.shape[2], axis=1),
    )


def taken_s(done: KernelWork, on: Rates, share: Shares, counts: Floats, tensor_parallel: int) -> Floats:
    """Return a lower bound on what cores take of a limit times the seconds of a micro-batch, in J or mm2 s, (boxes,).

    Args:
        done: Work of every kernel.
        on: Rates of the boxes.
        share: What cores take of the limit.
        counts: How often each layer is there.
        tensor_parallel: Ranks that do this work each.
    """
    cycles = array_cycles_of(done, on) / on.matrix_share
    taken = done.summed(cycles * share.per_array_rate + done.lane_cycles[:, None] * share.per_lane_rate)
    return np.asarray(np.einsum("l,lpb->b", counts, taken) * tensor_parallel)


def _depth(on: Rates) -> Floats:
    """Return the levels of a tree over a vector core's lanes, (boxes,)."""
    return np.asarray(np.ceil(np.log2(on.lanes)))


def _whole_s(done: KernelWork, on: Rates, shared_s: Floats) -> Floats:
    """Return least seconds of each kernel's matmuls on all arrays, (kernels, boxes), which is at least shared_s.

    Fill, drain and what is left over in a split are counted where a box has arrays of one size.
    """
    if done.whole_cycles is None:
        return shared_s
    (top, bottom), (left, right) = on.rows, on.columns
    same = np.flatnonzero((top == bottom) & (left == right))
    seconds = shared_s.copy()
    seconds[:, same] = np.maximum(
        seconds[:, same], done.whole_cycles[:, on.cores[same], top[same], left[same]] / on.array_per_s[same]
    )
    return seconds


def _energies(
    done: KernelWork, on: Rates, whole_s: Floats, array_s: Floats, parts: list[Floats], setting: Setting
) -> Iterator[Floats]:
    """Yield what each kernel takes at least of the time of both kinds of cores, by some weights, (kernels, boxes).

    A kernel has the whole chip for whole_s, or one core of its kind, with that core's share of buffer and bandwidth;
    its matmuls take one array for array_s.
    """
    arrays_s, lanes_s, _, fed_s = parts[:4]
    (few_tensor, tensor), (few_vector, vector) = on.tensor_cores, on.vector_cores
    share = np.searchsorted(_SHARES, on.share_bytes)
    moved_s = done.share_bytes[:, share] / setting.memory_reached_bytes_per_s
    moved_s = np.maximum(moved_s, fed_s) / np.where(done.on_tensor & done.on_vector, 2.0, 1.0)
    # Seconds on one core over the number of cores.
    on_tensor = np.maximum(np.maximum(arrays_s, lanes_s * (vector / tensor)), moved_s * (1.0 + few_vector / tensor))
    on_vector = np.maximum(np.maximum(lanes_s, array_s / vector), moved_s * (1.0 + few_tensor / vector))
    alike = tensor / (tensor + vector)
    # What takes longer on one core than all kernels one by one on the whole chip need not be tried on one.
    on_cores = np.where(done.on_tensor | done.on_vector, whole_s, 0.0)
    one_s = np.maximum(array_s, lanes_s * vector)
    one_s = np.maximum(one_s, moved_s * (few_tensor + few_vector))
    always = one_s >= done.summed(on_cores).reshape(len(done.phases), whole_s.shape[1])[done.phase]
    for weight in (0.0 * alike, 0.5 * alike, alike, 0.5 + 0.5 * alike, 0.0 * alike + 1.0):
        alone = weight * np.where(done.on_tensor, on_tensor, 0.0)
        alone = alone + (1.0 - weight) * np.where(done.on_vector, on_vector, 0.0)
        yield np.where(always, on_cores, np.minimum(on_cores, alone))
