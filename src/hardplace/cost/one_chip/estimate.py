"""The kernels of every layer of a model on one chip, an array machine or a GPU."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

from hardplace.answers import Answer
from hardplace.cost.arrays.machine import ArrayMachine, machine
from hardplace.cost.one_chip.array_kernels import KernelCost, kernel_costs
from hardplace.cost.one_chip.gpu_kernels import Gpu, gpu, gpu_kernel_costs
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.workload.sharding import shard
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.types import Layer, Parallelism, Phase, Workload


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OperatorEstimate(Answer):
    """The kernels of a model on a chip, each of one repetition; counts: how often each layer occurs."""

    model: str
    chip: str
    dtype: str
    peak_flops_per_s: float
    memory_bandwidth_bytes_per_s: float
    memory_kind: str
    micro_batch: int
    tensor_parallel: int
    counts: dict[str, int]
    kernels: tuple[KernelCost, ...]
    notes: tuple[str, ...]

    ROWS: ClassVar[str] = "kernels"

    @property
    def seconds(self) -> float:
        """Seconds of all kernels one after the other, every repetition."""
        return sum(kernel.seconds * self.counts[kernel.layer] for kernel in self.kernels)

    @property
    def energy_j(self) -> float:
        """Joules of all kernels, every repetition."""
        return sum(kernel.energy_j * self.counts[kernel.layer] for kernel in self.kernels)

    @property
    def bound_shares(self) -> tuple[tuple[str, float], ...]:
        """Share of the seconds of the kernels that each part bounds, largest first."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            share = kernel.seconds * self.counts[kernel.layer] / self.seconds
            found[kernel.bound_by] = found.get(kernel.bound_by, 0.0) + share
        return tuple(sorted(found.items(), key=lambda item: -item[1]))


def _named(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Return the layers with names of their own: distinct ones of one name get a number."""
    often = Counter(layer.name for layer in layers)
    return tuple(
        replace(layer, name=f"{layer.name} {index}") if often[layer.name] > 1 else layer
        for index, layer in enumerate(layers)
    )


def priced_on(chip: Device, dtype: str) -> ArrayMachine | Gpu:
    """Return a device in the terms of its cost model: arrays, or the fitted model of GPUs."""

    return gpu(chip, dtype) if isinstance(chip.engine, Multiprocessors) else machine(chip, dtype)


def estimated(workload: Workload, on: ArrayMachine | Gpu, micro_batch: int, tensor_parallel: int) -> OperatorEstimate:
    """Return the kernels of every distinct layer of a model on a chip."""

    def costs(layer: Layer, phase: Phase) -> tuple[KernelCost, ...]:
        if isinstance(on, Gpu):
            return gpu_kernel_costs(layer, phase, micro_batch, on)
        return kernel_costs(layer, phase, micro_batch, on)

    times = Counter(workload.order)
    check_degrees(workload, Parallelism(tensor=tensor_parallel))
    layers = _named(shard(workload, Parallelism(tensor=tensor_parallel)).layers)
    network = ("collectives are left out",) if tensor_parallel > 1 else ()
    return OperatorEstimate(
        model=workload.name,
        chip=on.device.name,
        title=on.device.title,
        dtype=on.dtype,
        peak_flops_per_s=on.device.peak_flops_per_s(on.dtype),
        memory_bandwidth_bytes_per_s=on.device.memory_bandwidth_bytes_per_s,
        memory_kind=on.device.memory_kind,
        micro_batch=micro_batch,
        tensor_parallel=tensor_parallel,
        counts={layers[index].name: times[index] for index in dict.fromkeys(workload.order)},
        kernels=tuple(
            cost
            for index in dict.fromkeys(workload.order)
            for phase in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
            for cost in costs(layers[index], phase)
        ),
        notes=(*on.notes, *network),
    )
