"""The kernels of every layer of a model on one chip, an array machine or a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from hardplace.answers import Answer
from hardplace.cost.arrays.machine import ArrayMachine, machine
from hardplace.cost.one_chip.array_kernels import KernelCost, kernel_costs
from hardplace.cost.one_chip.described_kernels import DescribedChip, described_chip, described_kernel_costs
from hardplace.cost.one_chip.gpu_kernels import Gpu, gpu, gpu_kernel_costs
from hardplace.described.reading import is_description
from hardplace.described.tiling import TiledLayer
from hardplace.hardware.device import Device, Multiprocessors
from hardplace.hardware.sheet import find
from hardplace.units import percent
from hardplace.workload.sharding import shard
from hardplace.workload.sharding.degrees import check_degrees
from hardplace.workload.types import Layer, Parallelism, Phase, Workload

_NAMED = 3  # kernels that a note names


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OperatorEstimate(Answer):
    """The kernels of a model on one chip.

    Attributes:
        model: Name of the model.
        chip: Name of the chip.
        dtype: Type of the operands of products.
        peak_flops_per_s: Dense peak in that type.
        memory_bandwidth_bytes_per_s: Bandwidth of the memory.
        memory_kind: Kind of memory.
        micro_batch: Samples of a micro-batch.
        tensor_parallel: Tensor-parallel degree.
        counts: How often each layer occurs.
        kernels: The kernels, each of one repetition; their energies are 0 on a described accelerator, which has none.
        notes: What is left out or was taken for the figures.
    """

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
        """Return the seconds of all kernels one after the other, every repetition."""
        return sum(kernel.seconds * self.counts[kernel.layer] for kernel in self.kernels)

    @property
    def energy_j(self) -> float:
        """Return the energy of all kernels in J, every repetition."""
        return sum(kernel.energy_j * self.counts[kernel.layer] for kernel in self.kernels)

    @property
    def bound_shares(self) -> tuple[tuple[str, float], ...]:
        """Return the share of the seconds of the kernels that each part bounds, largest first."""
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


def chip_named(name: str, dtype: str) -> ArrayMachine | Gpu | DescribedChip:
    """Return a chip in the terms of its cost model by its name or file: a device, or a description.

    dtype: Type of the operands of products; a description has its own.
    """
    return described_chip(name) if is_description(name) else priced_on(find(name), dtype)


def estimated(
    workload: Workload, on: ArrayMachine | Gpu | DescribedChip, micro_batch: int, tensor_parallel: int
) -> OperatorEstimate:
    """Return the kernels of every distinct layer of a model on a chip."""
    known: dict[object, TiledLayer] = {}

    def costs(layer: Layer, phase: Phase) -> tuple[KernelCost, ...]:
        if isinstance(on, DescribedChip):
            return described_kernel_costs(layer, phase, micro_batch, on, known)
        if isinstance(on, Gpu):
            return gpu_kernel_costs(layer, phase, micro_batch, on)
        return kernel_costs(layer, phase, micro_batch, on)

    times = Counter(workload.order)
    check_degrees(workload, Parallelism(tensor=tensor_parallel))
    layers = _named(shard(workload, Parallelism(tensor=tensor_parallel)).layers)
    network = ("collectives are left out",) if tensor_parallel > 1 else ()
    counts = {layers[index].name: times[index] for index in dict.fromkeys(workload.order)}
    kernels = tuple(
        cost
        for index in dict.fromkeys(workload.order)
        for phase in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
        for cost in costs(layers[index], phase)
    )
    notes = (*on.notes, *network, *_raised(kernels, counts))
    return OperatorEstimate(
        model=workload.name,
        micro_batch=micro_batch,
        tensor_parallel=tensor_parallel,
        counts=counts,
        kernels=kernels,
        notes=notes,
        **_facts(on),
    )


def _facts(on: ArrayMachine | Gpu | DescribedChip) -> dict[str, Any]:
    """Return what an answer says of its chip."""
    if isinstance(on, DescribedChip):
        return {
            "chip": on.description.name,
            "title": on.description.title,
            "dtype": on.dtype,
            "peak_flops_per_s": on.peak_flops_per_s,
            "memory_bandwidth_bytes_per_s": on.memory_bandwidth_bytes_per_s,
            "memory_kind": on.description.backing.name,
        }
    return {
        "chip": on.device.name,
        "title": on.device.title,
        "dtype": on.dtype,
        "peak_flops_per_s": on.device.peak_flops_per_s(on.dtype),
        "memory_bandwidth_bytes_per_s": on.device.memory_bandwidth_bytes_per_s,
        "memory_kind": on.device.memory_kind,
    }


def _raised(kernels: Sequence[KernelCost], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return what to say of kernels that their fitted model has faster than the datasheet allows."""
    found = [one for one in kernels if one.raised_s > 0.0]
    if not found:
        return ()
    total_s = sum(one.seconds * counts[one.layer] for one in kernels)
    share = sum(one.seconds * counts[one.layer] for one in found) / total_s
    most = max(one.raised_s / one.seconds for one in found)
    names = ", ".join(dict.fromkeys(f"{one.layer} {one.name}" for one in found[:_NAMED]))
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"{names}{more}: {percent(share, 2)} of the time: the fitted model is faster than the datasheet's peak or "
        f"bandwidth allow, by up to {percent(most, 0)} of a kernel's seconds; shown at what they allow",
    )
