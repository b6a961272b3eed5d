"""Every kernel of a model on one chip: mapping, time and its parts, traffic, energy (`estimate --operators`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardplace.cost.arrays.machine import ArrayMachine
from hardplace.cost.arrays.tensor import array_cycles
from hardplace.cost.arrays.times import kernel_levels
from hardplace.cost.kernels.fusion import FUSED, kernel_graph, optimizer_kernel
from hardplace.cost.types import Dataflow, Engine, Fusion, Kernel, KernelLevels, Matmul
from hardplace.hardware.bill import Energies, feed_bytes_per_mac
from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.technology import CLOCK_SHARE
from hardplace.hardware.types import Setting
from hardplace.workload.types import Layer, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCost:
    """The cost of one kernel on a whole chip; its parts overlap, and `seconds` is the longest of them.

    On a GPU `seconds` is its fitted model's, the parts are at the rates that this model reaches (power and launch may
    bound a kernel too; 0 for what it does not tell apart), and `mapping` is what the kernel was fitted as.

    Attributes:
        layer: Name of the layer.
        phase: Forward, backward or optimizer.
        name: Name of the kernel.
        engine: What runs it.
        mapping: Operand that the arrays hold, of each distinct matmul.
        seconds: Seconds of one repetition.
        bound_by: Name of the longest part.
        array_s: Seconds of the arrays.
        vector_s: Seconds of the vector lanes.
        memory_s: Seconds of the memory.
        buffer_s: Seconds of the shared buffer.
        flops: FLOPs of matrix products.
        memory_bytes: Bytes through memory.
        utilisation: Share of the arrays' peak in this type; 0 for a kernel without products.
        energy_j: Energy, leakage over its seconds included.
        raised_s: Part of `seconds` by which a GPU's fitted model was below what the datasheet allows; 0 on arrays.
    """

    layer: str
    phase: str
    name: str
    engine: str
    mapping: str
    seconds: float
    bound_by: str
    array_s: float
    vector_s: float
    memory_s: float
    buffer_s: float
    flops: float
    memory_bytes: float
    utilisation: float
    energy_j: float
    raised_s: float = 0.0


def phase_kernels(
    layer: Layer, phase: Phase, micro_batch: int, on: Setting, cycles: Mapping[str, int], rules: Fusion = FUSED
) -> tuple[Kernel, ...]:
    """Return the kernels of one phase of a layer, the setting's optimizer as one; collectives left out."""
    if phase is Phase.OPTIMIZER:
        return (optimizer_kernel(layer, on.optimizer, cycles),)
    made = kernel_graph(layer, phase, micro_batch, cycles, rules).kernels
    return tuple(kernel for kernel in made if kernel.engine is not Engine.NETWORK)


def kernel_costs(
    layer: Layer, phase: Phase, micro_batch: int, on: ArrayMachine, rules: Fusion = FUSED
) -> tuple[KernelCost, ...]:
    """Return the kernels of one phase of a layer at a micro-batch size (samples), in order; collectives left out."""
    kernels = phase_kernels(layer, phase, micro_batch, on.setting, on.setting.function_cycles, rules)
    if not kernels:
        return ()
    levels = kernel_levels(kernels, on.chips, on.setting, precision=on.precision)
    return tuple(_cost(kernel, layer.name, phase, on, levels, row) for row, kernel in enumerate(kernels))


def _cost(kernel: Kernel, layer: str, phase: Phase, on: ArrayMachine, levels: KernelLevels, row: int) -> KernelCost:
    """Return one kernel's row of the table from its row of the levels."""
    parts = {
        "arrays": float(levels.array_s[row, 0]),
        "lanes": float(levels.lane_s[row, 0]),
        "memory": float(levels.memory_s[row, 0]),
        "buffer": float(levels.buffer_s[row, 0]),
    }
    memory_bytes, fed_bytes = float(levels.memory_bytes[row, 0]), float(levels.buffer_bytes[row, 0])
    bound = max(parts, key=lambda name: parts[name])
    macs = float(sum(matmul.macs for matmul in kernel.matmuls))
    peak = float(on.plan.macs_per_s[0]) * on.precision.rate
    return KernelCost(
        layer=layer,
        phase=phase.value,
        name=kernel.name,
        engine=kernel.engine.value,
        mapping=_mapping(kernel, on),
        seconds=parts[bound],
        bound_by=bound,
        array_s=parts["arrays"],
        vector_s=parts["lanes"],
        memory_s=parts["memory"],
        buffer_s=parts["buffer"],
        flops=2.0 * macs + float(kernel.lane_cycles),
        memory_bytes=memory_bytes,
        utilisation=macs / (peak * parts[bound]) if macs else 0.0,
        energy_j=energy_j(kernel, on.energy, on.plan, memory_bytes, fed_bytes, parts[bound]),
    )


def held_operand(matmul: Matmul, on: ArrayMachine) -> Dataflow:
    """Return the operand that the arrays hold while the others stream: that of the fastest dataflow."""
    chips, exchange = on.chips, on.setting.buffer_bandwidth_bytes_per_s / on.setting.clock_hz

    def cycles(dataflow: Dataflow) -> float:
        found = array_cycles(
            (matmul,), chips.tensor_cores, chips.array_rows, chips.array_columns, on.precision,
            dataflows=(dataflow,), exchange_bytes_per_cycle=exchange,
        )  # fmt: skip
        return float(found[0, 0])

    return min(Dataflow, key=cycles)


def _mapping(kernel: Kernel, on: ArrayMachine) -> str:
    """Return the stationary operand of each distinct matmul, the best of the three."""
    return ", ".join(dict.fromkeys(held_operand(matmul, on).value for matmul in dict.fromkeys(kernel.matmuls)))


def energy_j(
    kernel: Kernel, energy: Energies, plan: Blueprint, memory_bytes: float, fed_bytes: float, seconds: float
) -> float:
    """Return joules: operations and their operands, buffer, wires, the clock on these; memory; leakage.

    memory_bytes, fed_bytes: through memory, and from the shared buffer into the cores.
    """
    macs = float(sum(matmul.macs for matmul in kernel.matmuls))
    logic = (
        macs * (float(energy.mac_j[0]) + float(feed_bytes_per_mac(plan)[0] * energy.feed_j_per_byte[0]))
        + kernel.lane_cycles * float(energy.vector_j[0])
        + fed_bytes * float(energy.shared_j_per_byte[0])
        + memory_bytes * float(energy.wire_j_per_byte[0])
    )
    idle_w = float(energy.idle_w[0])
    return logic * (1.0 + CLOCK_SHARE) + memory_bytes * energy.memory_j_per_byte + idle_w * seconds
