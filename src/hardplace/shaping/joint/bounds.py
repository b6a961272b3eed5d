"""Upper bounds on the throughput of many shapes with a group of plans on any chip (docs/model-shape.md, "Joint
search").

A phase of a layer takes at least the sum, over its kernels, of the lesser of two: the seconds it has the whole chip to
itself, and its seconds on one core of each kind that it needs, as a share of all cores. Collectives come on top of the
kernels that have to run before or after every one of them. Batches are bounded as in `design.search.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.types import Engine, Kernel, KernelGraph
from hardplace.design.exact.partition_problem import replications
from hardplace.design.scheduling.modes import TENSOR, VECTOR, ancestors, of
from hardplace.design.scheduling.types import TaskGraph
from hardplace.design.search.bound_inputs import FeasiblePlans as Rows
from hardplace.design.search.bound_inputs import shapes as rows_of
from hardplace.design.search.layout import Group
from hardplace.hardware.types import Chips, Setting
from hardplace.ndtypes import Floats, Ints
from hardplace.shaping.joint.kernels import Columns, kernels
from hardplace.shaping.joint.layouts import SymbolicLayout
from hardplace.shaping.price import OF_BLOCK, OF_ENDS, distinct
from hardplace.shaping.types import ShapeColumns

_PAIRS = 2**18  # kernels times chips that are priced together


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Least seconds of forward and backward pass of one layer, shape (shapes, chips) each."""

    forward_s: Floats
    backward_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBytes:
    """Bytes that one layer of each shape holds on a rank, shape (shapes,).

    Attributes:
        whole: States that every replica holds.
        shared: States that replicas divide.
        saved: Activations of a micro-batch.
        reduced: Gradients that replicas add up.
    """

    whole: Floats
    shared: Floats
    saved: Floats
    reduced: Floats


def least_s(graph: KernelGraph, per_kernel: Sequence[Floats], chips: Chips) -> Floats:
    """Return the least seconds of a phase; per_kernel: (2, shapes, chips) of each, on one core and on all."""
    tasks = TaskGraph.of(graph)
    network = of(tasks, Engine.NETWORK)
    before = ancestors(tasks)
    comparable = before | before.T | np.eye(len(graph.kernels), dtype=bool)
    tied = np.asarray(comparable[:, network].all(axis=1))
    ends: list[Floats] = []
    for kernel, seconds in zip(graph.kernels, per_kernel, strict=True):
        start = np.max([ends[other] for other in kernel.predecessors], axis=0) if kernel.predecessors else 0.0
        ends.append(np.asarray(start + seconds[1]))
    found = np.max(ends, axis=0)
    linked = sum((seconds[1] for seconds, off in zip(per_kernel, network, strict=True) if off), np.zeros(found.shape))
    alike = chips.tensor_cores / (chips.tensor_cores + chips.vector_cores)
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0, alike):
        every, serial = np.zeros(found.shape), linked
        for index, (kernel, seconds) in enumerate(zip(graph.kernels, per_kernel, strict=True)):
            if network[index]:
                continue
            share = weight / chips.tensor_cores if kernel.engine in TENSOR else 0.0
            share = share + ((1.0 - weight) / chips.vector_cores if kernel.engine in VECTOR else 0.0)
            least = np.minimum(seconds[1], seconds[0] * share)
            every = every + least
            serial = serial + least if tied[index] else serial
        found = np.maximum(found, every)
        if tied[network].all():
            found = np.maximum(found, serial)
    return np.asarray(found)


def layer_s(
    layout: SymbolicLayout, shapes: ShapeColumns, micro_batch: int, ranks: int, chips: Chips, setting: Setting,
    check: Callable[[], None],
) -> Phases:  # fmt: skip
    """Return the least seconds of a layer of each shape on each chip."""
    per_shape = max(1, sum(len(graph.kernels) for graph in layout.graphs))
    size = max(1, _PAIRS // (per_shape * max(1, len(chips))))
    found: list[list[Floats]] = [[], []]
    for start in range(0, len(shapes), size):
        check()
        part = shapes.take(np.arange(start, min(start + size, len(shapes))))
        columns = Columns(shapes=part, micro_batch=micro_batch)
        for side, graph, made in zip(
            found, layout.graphs, kernels(layout, columns, setting.function_cycles), strict=True
        ):
            if not graph.kernels:
                side.append(np.zeros((len(part), len(chips))))
                continue
            flat: tuple[Kernel, ...] = tuple(one for kernel in made for one in kernel)
            times = kernel_times(flat, chips, setting, ranks)
            table = np.stack([times.single_s, times.whole_s]).reshape(2, len(made), len(part), len(chips))
            side.append(least_s(graph, list(np.moveaxis(table, 1, 0)), chips))
    return Phases(forward_s=np.concatenate(found[0]), backward_s=np.concatenate(found[1]))


def held(layout: SymbolicLayout, shapes: ShapeColumns, micro_batch: int, setting: Setting) -> LayerBytes:
    """Return what one layer of each shape holds."""
    optimizer = setting.optimizer
    columns = Columns(shapes=shapes, micro_batch=micro_batch)
    parameters = columns.of((layout.parameters,)).astype(np.float64)
    whole = optimizer.weight_bytes + optimizer.gradient_bytes + (0 if optimizer.sharded else optimizer.state_bytes)
    return LayerBytes(
        whole=whole * parameters,
        shared=(optimizer.state_bytes if optimizer.sharded else 0) * parameters,
        saved=columns.of((layout.saved,)).astype(np.float64),
        reduced=optimizer.reduction_bytes * parameters,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The plans of a group.

    Attributes:
        group: Micro-batch and tensor-parallel degree.
        setting: Devices, network and batch.
        memory_bytes: Memory at most.
        recompute: Whether stages recompute.
    """

    group: Group
    setting: Setting
    memory_bytes: float
    recompute: bool


def most_samples_per_s(
    layouts: Sequence[SymbolicLayout], shapes: ShapeColumns, chips: Chips, plans: Plans, check: Callable[[], None]
) -> Floats:
    """Return what no plan of the group exceeds, samples a second of each shape on each chip, shape (shapes, chips)."""
    micro_batch, ranks = plans.group
    setting = plans.setting
    parts: list[tuple[Phases, Ints, LayerBytes, Floats]] = []
    for layout, names in zip(layouts, (OF_ENDS, OF_BLOCK, OF_ENDS), strict=True):
        few, which = distinct(shapes, names)
        seconds = layer_s(layout, few, micro_batch, ranks, chips, setting, check)
        times = shapes.layers.astype(np.float64) if names is OF_BLOCK else np.ones(len(shapes))
        parts.append((seconds, which, held(layout, few, micro_batch, setting), times))
    forward = sum(part.forward_s[which] * times[:, None] for part, which, _, times in parts)
    backward = sum(part.backward_s[which] * times[:, None] for part, which, _, times in parts)
    reduced = sum(hold.reduced[which] * times for _, which, hold, times in parts)
    rho = np.max(
        [
            np.divide(part.forward_s, both, out=np.zeros_like(both), where=both > 0)[which]
            for part, which, _, _ in parts
            for both in (part.forward_s + part.backward_s,)
        ],
        axis=0,
    )
    block, which, holds, times = parts[1]
    one = (block.forward_s + block.backward_s)[which]
    best = np.full(np.shape(forward), np.inf)
    batch = setting.batch_samples
    rows = _rows(plans, int(shapes.layers.max()) + 2)
    rooms = {
        shards: _room(holds, which, int(rows.stages.max()), shards, plans.memory_bytes)
        for shards in set(rows.shards.tolist())
    }
    hop_s = _hop_s(shapes, micro_batch, setting)
    for index, stages in enumerate(rows.stages):
        check()
        with_it, without = rooms[float(rows.shards[index])]
        fits = (with_it if plans.recompute else without)[int(stages) - 1] >= shapes.layers
        if not fits.any():
            continue
        total = forward + backward
        mean = (total + 2.0 * (stages - 1.0) * hop_s[:, None]) / stages  # decoders are chains: both ends of each cut
        if stages > 1:
            again = (total + forward) / (stages + rho)
            needed = without[int(stages) - 1] < shapes.layers
            mean = np.where(needed[:, None], np.maximum(mean, again), mean)
        load = np.maximum(mean, np.ceil(times / stages)[:, None] * one)
        end = reduced / stages * rows.reduction_s_per_byte[index] + rows.latency_s[index]
        seconds = load * rows.rounds[index] + end[:, None]
        best = np.where(fits[:, None], np.minimum(best, seconds), best)
    return np.asarray(batch / best)


def _rows(plans: Plans, most: int) -> Rows:
    """Return stages and data-parallel degrees that the devices allow."""
    micro_batch, ranks = plans.group
    count = plans.setting.batch_samples // micro_batch
    degrees = replications(plans.setting, ranks, count)
    devices = plans.setting.cluster.devices
    feasible = [
        (degree, stages)
        for stages in range(1, min(most, devices // ranks) + 1)
        for degree in degrees
        if degree.data_parallel * stages * ranks <= devices
    ]
    return rows_of(feasible, count)


def _hop_s(shapes: ShapeColumns, micro_batch: int, setting: Setting) -> Floats:
    """Return the least seconds of a hidden state between stages, shape (shapes,); 2 bytes an element."""
    outer = setting.cluster.levels[-1]
    size = 2.0 * micro_batch * shapes.base.sequence * shapes.hidden
    return np.asarray(size / outer.bandwidth_bytes_per_s + outer.latency_s)


def _room(holds: LayerBytes, which: Ints, most: int, shards: float, memory: float) -> tuple[Floats, Floats]:
    """Return how many blocks 1, 2, ... `most` stages hold at most, shape (stages, shapes): with recompute and without.

    Without, the n-th stage from the end holds n micro-batches of each; with it, one (what others keep is left out).
    Necessary, not sufficient: embedding and head are not counted.
    """
    state = (holds.whole + holds.shared / shards)[which]
    again = np.floor(memory / (state + holds.saved[which]))
    stage = np.arange(1.0, most + 1.0)[:, None]
    return stage * again, np.cumsum(np.floor(memory / (state + stage * holds.saved[which])), axis=0)
