"""Seconds of each distinct layer on many chips at once: bounds from both sides, and the exact schedule on one chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardplace.cost.arrays.times import kernel_times
from hardplace.cost.kernels.fusion import kernel_graph, optimizer_kernel
from hardplace.cost.types import Kernel, KernelGraph, KernelTimes
from hardplace.design.scheduling.bounds import lower_bound
from hardplace.design.scheduling.lists import list_schedule
from hardplace.design.scheduling.modes import Modes, modes
from hardplace.design.scheduling.types import Schedule, ScheduleProblem, TaskGraph
from hardplace.design.types import LayerSchedule, PhaseSchedule
from hardplace.hardware.types import Chips, Optimizer, Setting
from hardplace.ndtypes import Floats
from hardplace.workload.types import Phase, Shard

PHASES = (Phase.FORWARD, Phase.BACKWARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTimes:
    """Seconds of each distinct layer on each chip for one micro-batch, shape (layers, chips).

    Attributes:
        forward_s: Forward pass.
        backward_s: Backward pass.
        optimizer_s: Update of all states of the layer's parameters, once a batch.
    """

    forward_s: Floats
    backward_s: Floats
    optimizer_s: Floats

    def at(self, chip: int) -> LayerTimes:
        """Return one chip's column, shape (layers, 1)."""
        column = slice(chip, chip + 1)
        return LayerTimes(
            forward_s=self.forward_s[:, column],
            backward_s=self.backward_s[:, column],
            optimizer_s=self.optimizer_s[:, column],
        )


@dataclass(frozen=True, kw_only=True)
class LayerKernels:
    """The kernels of a shard's distinct layers at one micro-batch size, ready to be priced on chips.

    Attributes:
        shard: What one tensor-parallel rank computes.
        micro_batch: Samples of a micro-batch.
        function_cycles: Lane-cycles an element of each function of the vector cores.
        optimizer: The optimizer.
    """

    shard: Shard
    micro_batch: int
    function_cycles: Mapping[str, int]
    optimizer: Optimizer

    @cached_property
    def graphs(self) -> tuple[tuple[KernelGraph, KernelGraph], ...]:
        """Return the kernel graphs (forward, backward) of each distinct layer."""
        cycles = self.function_cycles
        return tuple(
            (
                kernel_graph(layer, Phase.FORWARD, self.micro_batch, cycles),
                kernel_graph(layer, Phase.BACKWARD, self.micro_batch, cycles),
            )
            for layer in self.shard.layers
        )

    @cached_property
    def updates(self) -> tuple[Kernel, ...]:
        """Return the optimizer step of each distinct layer, on unsharded states."""
        return tuple(optimizer_kernel(layer, self.optimizer, self.function_cycles) for layer in self.shard.layers)

    @cached_property
    def _all(self) -> tuple[Kernel, ...]:
        kernels = [kernel for pair in self.graphs for graph in pair for kernel in graph.kernels]
        return (*kernels, *self.updates)

    def _phases(self, times: KernelTimes) -> list[tuple[int, int, TaskGraph, Floats, Floats]]:
        """Return (layer, phase, task graph, single_s, whole_s) of every phase of every layer."""
        phases, start = [], 0
        for layer, pair in enumerate(self.graphs):
            for phase, graph in enumerate(pair):
                rows = slice(start, start + len(graph.kernels))
                start = rows.stop
                phases.append((layer, phase, TaskGraph.of(graph), times.single_s[rows], times.whole_s[rows]))
        return phases

    def lower_bounds(self, chips: Chips, setting: Setting, check: Callable[[], None] = lambda: None) -> LayerTimes:
        """Return lower bounds of each layer on each chip.

        Args:
            chips: The chips.
            setting: What they share.
            check: Called between layers; may raise to end it.
        """
        return self._seconds(chips, setting, check, lower_bound)

    def list_schedules(self, chips: Chips, setting: Setting, check: Callable[[], None] = lambda: None) -> LayerTimes:
        """Return the seconds of list schedules of each layer on each chip; arguments as for `lower_bounds`."""
        return self._seconds(chips, setting, check, list_schedule)

    def _seconds(
        self, chips: Chips, setting: Setting, check: Callable[[], None], phase_s: Callable[[Modes], Floats]
    ) -> LayerTimes:
        times = kernel_times(self._all, chips, setting, self.shard.parallelism.tensor)
        layers = len(self.shard.layers)
        found = np.zeros((2, layers, len(chips)))
        for layer, phase, tasks, single_s, whole_s in self._phases(times):
            check()
            if tasks.engines:
                found[phase, layer] = phase_s(modes(tasks, chips.tensor_cores, chips.vector_cores, single_s, whole_s))
        return LayerTimes(forward_s=found[0], backward_s=found[1], optimizer_s=times.whole_s[-layers:])

    def schedules(
        self, chip: Chips, setting: Setting, solve: Callable[[ScheduleProblem], Schedule]
    ) -> tuple[LayerSchedule, ...]:
        """Return the schedules of each distinct layer on one chip, made by `solve`."""
        times = kernel_times(self._all, chip, setting, self.shard.parallelism.tensor)
        layers = len(self.shard.layers)
        solved: list[list[PhaseSchedule]] = [[] for _ in range(layers)]
        for layer, _, tasks, single_s, whole_s in self._phases(times):
            problem = ScheduleProblem(
                graph=tasks,
                tensor_cores=int(chip.tensor_cores[0]),
                vector_cores=int(chip.vector_cores[0]),
                single_s=tuple(single_s[:, 0].tolist()),
                whole_s=tuple(whole_s[:, 0].tolist()),
            )
            solved[layer].append(
                PhaseSchedule(
                    kernels=tasks.names,
                    engines=tasks.engines,
                    schedule=solve(problem),
                )
            )
        return tuple(
            LayerSchedule(
                layer=layer.name,
                forward=solved[index][0],
                backward=solved[index][1],
                optimizer_s=float(times.whole_s[index - layers, 0]),
            )
            for index, layer in enumerate(self.shard.layers)
        )


def kernels_of(shard: Shard, micro_batch: int, setting: Setting) -> LayerKernels:
    """Return the kernels of a shard at a micro-batch size, with the setting's cycles and optimizer."""
    return LayerKernels(
        shard=shard, micro_batch=micro_batch, function_cycles=setting.function_cycles, optimizer=setting.optimizer
    )


def scheduled_seconds(layers: tuple[LayerSchedule, ...], *, bound: bool) -> LayerTimes:
    """Return the makespans of exact schedules, or with `bound` their proven lower bounds, shape (layers, 1)."""

    def seconds(phase: PhaseSchedule) -> float:
        return phase.schedule.bound_s if bound else phase.schedule.makespan_s

    return LayerTimes(
        forward_s=np.array([[seconds(layer.forward)] for layer in layers]),
        backward_s=np.array([[seconds(layer.backward)] for layer in layers]),
        optimizer_s=np.array([[layer.optimizer_s] for layer in layers]),
    )
