"""Work of every kernel of a model at all sizes that the chips of a space have, before any chip is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardplace.cost.arrays import times
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.types import Engine, Kernel
from hardplace.design.exact.layer_kernels import LayerKernels
from hardplace.design.scheduling.modes import TENSOR, VECTOR
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.types import Setting, own_buffer_bytes
from hardplace.ndtypes import Bools, Floats, Ints

Phases = tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]  # as in `KernelWork`
_SKEW = (2.0, 1.0, -2.0)  # rows, columns, one: cycles of filling and draining that array_cycles counts once a matmul


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseWork:
    """Work of every phase: sums over its kernels, first axes (layers, 2); fields as those of `KernelWork`."""

    lane_cycles: Floats
    array_cycles: Floats
    memory_bytes: Floats
    fed_bytes: Floats


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
        by_phase: Sums over the kernels of each phase.
    """

    layers: int
    phases: Phases
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
    by_phase: PhaseWork

    def summed(self, kernels: Floats) -> Floats:
        """Return the sums over the kernels of each phase, shape (layers, 2, ...), from (kernels, ...)."""
        return _summed(kernels, self.phases, self.layers)

    def most_summed(self, kernels: Floats) -> Floats:
        """Return the largest of the sums over the kernels of each phase, shape (layers, 2, boxes), from several counts,
        (counts, kernels, boxes).
        """
        most = np.zeros((len(self.phases), kernels.shape[2]))
        for row, (start, graph) in zip(most, self.phases, strict=True):
            kernels[:, start : start + len(graph)].sum(axis=1).max(axis=0, out=row)
        return most.reshape(self.layers, 2, kernels.shape[2])

    def always_whole(self, one_s: Floats, whole_s: Floats) -> Bools:
        """Return which kernels have the whole chip in some best schedule of each box, shape (kernels, boxes): one core
        takes at least as long as the whole chip and then all that may run beside, one after the other
        (docs/model-search.md, "Parts").

        Args:
            one_s: Least seconds on one core, (kernels, boxes).
            whole_s: Least seconds on the whole chip, same shape.
        """
        on_chip, found = self.on_tensor | self.on_vector, np.zeros(whole_s.shape, dtype=bool)
        for start, graph in self.phases:
            rows = slice(start, start + len(graph))
            whole, fixed, apart = whole_s[rows], found[rows], 1.0 - ordered(graph)
            spare = one_s[rows] - whole
            while True:
                grown = on_chip[rows] & (spare >= apart @ np.where(fixed, 0.0, whole))
                if (grown == fixed).all():
                    break
                fixed |= grown
        return found

    def longest(self, seconds: Floats, taken: Floats) -> Floats:
        """Return the critical path through the kernels of each phase, with all that runs between two of them.

        Args:
            seconds: Least seconds of each kernel, (kernels, boxes).
            taken: What each kernel takes of what all share, in several ways, (ways, kernels, boxes).

        Returns:
            Seconds, shape (layers, 2, boxes).
        """
        found = np.zeros((len(self.phases), seconds.shape[1]))
        for row, (start, graph) in zip(found, self.phases, strict=True):
            pairs, members = gaps_of(graph)
            within = np.matmul(members, taken[:, start : start + len(graph)]).max(axis=0) if pairs else members
            ends: list[Floats] = [np.zeros(seconds.shape[1])]  # of the start, then of each kernel
            for place, before in enumerate((*graph, ())):
                begin = ends[0]
                for other in before:
                    begin = np.maximum(begin, ends[other + 1])
                for at, after in pairs.get(place, ()):
                    begin = np.maximum(begin, ends[after + 1] + within[at])
                ends.append(begin + seconds[start + place] if place < len(graph) else begin)
                np.maximum(row, ends[-1], out=row)
        return found.reshape(self.layers, 2, seconds.shape[1])


_WIDE = 64  # kernels of a phase up to which it is looked at what lies between two of them


def _before(graph: tuple[tuple[int, ...], ...]) -> Bools:
    """Return whether column j ends before row i begins, shape (kernels, kernels)."""
    before = np.zeros((len(graph), len(graph)), dtype=bool)
    for place, own in enumerate(graph):
        for other in own:
            before[place] |= before[other]
            before[place, other] = True
    return before


@lru_cache(maxsize=256)
def ordered(graph: tuple[tuple[int, ...], ...]) -> Floats:
    """Return 1 for kernels of which one precedes the other, or the same one, else 0, shape (kernels, kernels)."""
    before = _before(graph)
    return (before | before.T | np.eye(len(graph), dtype=bool)).astype(np.float64)


@lru_cache(maxsize=256)
def gaps_of(graph: tuple[tuple[int, ...], ...]) -> tuple[dict[int, list[tuple[int, int]]], Floats]:
    """Return pairs of kernels of a phase between which several run side by side (docs/model-search.md, "Parts").

    Left out are pairs between which some kernel follows or precedes all others there: it divides them into two.

    Args:
        graph: Predecessors of each kernel; -1 stands for the start, the number of kernels for the end.

    Returns:
        Of each later kernel (row, earlier kernel) of its pairs, and the kernels between, shape (rows, kernels).
    """
    count = len(graph)
    before = np.concatenate([_before(graph), np.ones((1, count), dtype=bool)])
    alike = ordered(graph) > 0.0
    pairs: dict[int, list[tuple[int, int]]] = {}
    rows: list[Bools] = []
    for later in range(count + 1) if count <= _WIDE else ():
        for earlier in (-1, *np.flatnonzero(before[later]).tolist()):
            if earlier < 0 and later == count:
                continue  # all kernels: their sum is known
            between = before[later] if earlier < 0 else before[later] & before[:count, earlier]
            inside = np.flatnonzero(between)
            if len(inside) > 1 and not alike[np.ix_(inside, inside)].all(axis=1).any():
                pairs.setdefault(later, []).append((len(rows), earlier))
                rows.append(between)
    return pairs, np.array(rows, dtype=np.float64).reshape(len(rows), count)


def _summed(kernels: Floats, phases: Phases, layers: int) -> Floats:
    total = np.zeros((len(phases), *kernels.shape[1:]))
    for phase, (start, graph) in enumerate(phases):
        total[phase] = kernels[start : start + len(graph)].sum(axis=0)
    return total.reshape(layers, 2, *kernels.shape[1:])


def work(kernels: LayerKernels, space: ChipSpace, share_bytes: Floats | None = None) -> KernelWork:
    """Return the work of every kernel at all sizes that a space has.

    Args:
        kernels: The kernels.
        space: The space.
        share_bytes: Their bytes through memory by a core's share, which are the same for all spaces, if known.
    """
    every = tuple(kernel for pair in kernels.graphs for graph in pair for kernel in graph.kernels)
    rows, columns = (np.array(one, dtype=np.int64) for one in (space.array_rows, space.array_columns))
    high, wide = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    own_sizes = np.unique(own_buffer_bytes(high * wide))
    phases, start = [], 0
    for pair in kernels.graphs:
        for graph in pair:
            phases.append((start, tuple(kernel.predecessors for kernel in graph.kernels)))
            start += len(graph.kernels)
    layers, all_phases = len(kernels.graphs), tuple(phases)
    lane_cycles = np.array([kernel.lane_cycles for kernel in every], dtype=np.float64)
    cycles = _array_cycles(every, high, wide).reshape(len(every), len(rows), len(columns))
    memory_bytes = times.bytes_into(every, np.array(space.buffer_bytes, dtype=np.int64))
    fed_bytes = times.bytes_into(every, own_sizes)
    sums = [_summed(one, all_phases, layers) for one in (lane_cycles, cycles, memory_bytes, fed_bytes)]
    return KernelWork(
        layers=layers,
        phases=all_phases,
        phase=np.repeat(np.arange(len(phases)), [len(graph) for _, graph in phases]),
        macs=np.array([sum(matmul.macs for matmul in kernel.matmuls) for kernel in every], dtype=np.float64),
        lane_cycles=lane_cycles,
        array_cycles=cycles,
        memory_bytes=memory_bytes,
        fed_bytes=fed_bytes,
        own_sizes=own_sizes,
        update_bytes=np.array([kernel.stream_bytes for kernel in kernels.updates], dtype=np.float64),
        on_tensor=np.array([[kernel.engine in TENSOR] for kernel in every]).reshape(-1, 1),
        on_vector=np.array([[kernel.engine in VECTOR] for kernel in every]).reshape(-1, 1),
        share_bytes=np.minimum(times.bytes_into(every, SHARES), _MANY_BYTES) if share_bytes is None else share_bytes,
        whole_cycles=_whole_cycles(every, space),
        reductions=np.array([[float(kernel.reductions)] for kernel in every]).reshape(-1, 1),
        by_phase=PhaseWork(lane_cycles=sums[0], array_cycles=sums[1], memory_bytes=sums[2], fed_bytes=sums[3]),
    )


SHARES = 2 ** np.arange(10, 41)  # sizes of a core's share of the buffer, which is taken as the next larger one
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
