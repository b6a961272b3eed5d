"""Least work of each part of a chip, however the layers are scheduled, by the sizes of the chip.

A part is busy for at least its work over its rate; a layer's phase takes at least as long as its busiest part, and as
its critical path, each kernel as if it had the whole chip. Values are looked up by the places of chips on the axes of a
space, so that a box of chips costs as little as one (proofs in docs/model-search.md, "Parts").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardplace.cost.arrays import times
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.search.ceilings import Ceilings, Shares
from hardplace.design.search.kernel_work import SHARES, KernelWork
from hardplace.hardware.space import ChipSpace
from hardplace.hardware.throttle import most_array_cycles_per_s
from hardplace.hardware.types import Setting
from hardplace.ndtypes import Floats, Ints


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

    def take(self, boxes: Ints) -> Rates:
        """Return the rates of the boxes at these positions."""
        found: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if name == "shares":
                found[name] = tuple(share.take(boxes) for share in value)
            else:
                found[name] = tuple(one[boxes] for one in value) if isinstance(value, tuple) else value[boxes]
        return Rates(**found)


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
    return _over_sides(done.array_cycles, on)


def _over_sides(cycles: Floats, on: Rates) -> Floats:
    """Return the least over the sides in each box, shape (..., boxes), from (..., rows, columns)."""
    (top, bottom), (left, right) = on.rows, on.columns
    if np.array_equal(top, bottom) and np.array_equal(left, right):
        return np.asarray(cycles[..., top, left])
    sides, which = np.unique(np.stack([top, bottom, left, right]), axis=1, return_inverse=True)
    least = [cycles[..., a : b + 1, c : d + 1].min(axis=(-2, -1)) for a, b, c, d in sides.T.tolist()]
    return np.asarray(np.stack(least, axis=-1)[..., which.ravel()])


def busiest_seconds(done: KernelWork, on: Rates, collectives_s: Floats, setting: Setting) -> LayerTimes:
    """Return lower bounds on the seconds of each layer in each box by the busiest part of each phase alone.

    Args:
        done: Work of every kernel.
        on: Rates of the boxes.
        collectives_s: Seconds of each kernel that is a collective, (kernels,).
        setting: Setting of the chips.
    """
    sums = done.by_phase
    cycles, lanes = _over_sides(sums.array_cycles, on), sums.lane_cycles[..., None]
    busiest = np.maximum(_took_s(cycles, on.arrays_per_s), lanes / on.lanes_per_s)
    own = np.searchsorted(done.own_sizes, on.own_bytes)
    busiest = np.maximum(busiest, (sums.memory_bytes / setting.memory_reached_bytes_per_s)[..., on.buffer])
    busiest = np.maximum(busiest, sums.fed_bytes[..., own] / on.buffer_bytes_per_s)
    busiest = np.maximum(busiest, done.summed(collectives_s)[..., None])
    for share in on.shares:
        busiest = np.maximum(busiest, _shared_s(cycles, lanes, on, share))
    return _layers(busiest, np.repeat(_update_s(done, setting)[:, None], len(own), axis=1))


def _update_s(done: KernelWork, setting: Setting) -> Floats:
    """Return seconds of the optimizer step of each layer."""
    return np.asarray(done.update_bytes / setting.memory_reached_bytes_per_s + setting.kernels.launch_s)


def _shared_s(cycles: Floats, lane_cycles: Floats, on: Rates, share: Shares) -> Floats:
    """Return how long cores take what a limit leaves: what takes arrays and lanes takes of it for both."""
    return np.asarray(_core_taken(cycles, lane_cycles, on, share) / share.left)


def _core_taken(cycles: Floats, lane_cycles: Floats, on: Rates, share: Shares) -> Floats:
    """Return what cores take of a limit at least, times seconds, for cycles of arrays and of lanes."""
    built = _took_s(cycles, on.matrix_share) * share.per_array_rate
    return np.asarray(built + cycles * share.per_reached_rate + lane_cycles * share.per_lane_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSeconds:
    """Least seconds of each kernel on each part of the chip, (kernels, boxes).

    Attributes:
        cycles: Least cycles of one array.
        parts: Of all arrays, all lanes, memory, the shared buffer, links; then of what each limit leaves for cores.
        busiest: Of each phase the seconds of its busiest part, (layers, 2, boxes).
        update_s: Of the optimizer step, (layers, boxes).
    """

    cycles: Floats
    parts: tuple[Floats, ...]
    busiest: Floats
    update_s: Floats


def _took_s(cycles: Floats, rate: Floats) -> Floats:
    """Return cycles over a rate; where power leaves none of it, whatever has cycles takes for ever."""
    return np.divide(cycles, rate, out=np.where(cycles > 0.0, np.inf, 0.0), where=rate > 0.0)


def part_seconds(done: KernelWork, on: Rates, collectives_s: Floats, setting: Setting) -> PartSeconds:
    """Return how long each part is busy at least in each box."""
    own = np.searchsorted(done.own_sizes, on.own_bytes)
    memory_bytes_per_s = setting.memory_reached_bytes_per_s
    cycles = array_cycles_of(done, on)
    parts = [
        _took_s(cycles, on.arrays_per_s),
        done.lane_cycles[:, None] / on.lanes_per_s,
        done.memory_bytes[:, on.buffer] / memory_bytes_per_s,
        done.fed_bytes[:, own] / on.buffer_bytes_per_s,
        np.repeat(collectives_s[:, None], len(own), axis=1),
    ]
    parts += [_shared_s(cycles, done.lane_cycles[:, None], on, share) for share in on.shares]
    update_s = _update_s(done, setting)
    return PartSeconds(
        cycles=cycles,
        parts=tuple(parts),
        busiest=done.most_summed(np.stack(parts)),
        update_s=np.repeat(update_s[:, None], len(own), axis=1),
    )


def least_seconds(done: KernelWork, on: Rates, taken: PartSeconds, setting: Setting) -> LayerTimes:
    """Return lower bounds on the seconds of each layer in each box: its busiest part, and its critical path."""
    parts, busiest = taken.parts, taken.busiest
    each = np.maximum(_whole_s(done, on, parts[0]), parts[1] + done.reductions * _depth(on) / on.clock_hz)
    for part in parts[2:]:
        each = np.maximum(each, part)
    each = each + setting.kernels.launch_s * (done.on_tensor | done.on_vector)
    energies = _energies(done, on, each, taken.cycles / on.array_per_s, parts, setting)
    busiest = np.maximum(busiest, done.most_summed(energies))
    shared = np.concatenate([energies, np.stack(parts[2:5])])  # arrays and lanes are in the energies
    return _layers(np.maximum(busiest, done.longest(each, shared)), taken.update_s)


def _layers(seconds: Floats, update_s: Floats) -> LayerTimes:
    return LayerTimes(forward_s=seconds[:, 0], backward_s=seconds[:, 1], optimizer_s=update_s)


def taken_s(done: KernelWork, on: Rates, share: Shares, counts: Floats, tensor_parallel: int) -> Floats:
    """Return a lower bound on what cores take of a limit times the seconds of a micro-batch, in J or mm2 s, (boxes,).

    Args:
        done: Work of every kernel.
        on: Rates of the boxes.
        share: What cores take of the limit.
        counts: How often each layer is there.
        tensor_parallel: Ranks that do this work each.
    """
    taken = done.summed(_core_taken(array_cycles_of(done, on), done.lane_cycles[:, None], on, share))
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
    done: KernelWork, on: Rates, whole_s: Floats, array_s: Floats, parts: tuple[Floats, ...], setting: Setting
) -> Floats:
    """Return what each kernel takes at least of the time of both kinds of cores, by some weights, (weights, kernels,
    boxes).

    A kernel has the whole chip for whole_s, or one core of its kind, with that core's share of buffer and bandwidth;
    its matmuls take one array for array_s.
    """
    arrays_s, lanes_s, _, fed_s = parts[:4]
    (few_tensor, tensor), (few_vector, vector) = on.tensor_cores, on.vector_cores
    share = np.searchsorted(SHARES, on.share_bytes)
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
    always |= done.always_whole(one_s, whole_s)
    weights = np.stack([0.0 * alike, 0.5 * alike, alike, 0.5 + 0.5 * alike, 0.0 * alike + 1.0])[:, None, :]
    alone = weights * np.where(done.on_tensor, on_tensor, 0.0)
    alone = alone + (1.0 - weights) * np.where(done.on_vector, on_vector, 0.0)
    return np.where(always, on_cores, np.minimum(on_cores, alone))
