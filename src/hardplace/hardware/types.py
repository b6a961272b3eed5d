"""Nouns of hardware: one accelerator, many of them as arrays, the network, the budget, the setting of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A chip: systolic arrays as tensor cores, vector cores, one shared buffer, off-chip memory.

    Attributes:
        name: Name by its sizes, such as 8x128x128-2x128-128MiB.
        tensor_cores: Number of arrays.
        array_rows: Rows of an array.
        array_columns: Columns of an array.
        vector_cores: Number of vector cores.
        vector_lanes: Lanes of a vector core.
        buffer_bytes: Shared on-chip buffer.
        clock_hz: Clock.
        memory_bytes: Capacity of the off-chip memory.
        memory_bandwidth_bytes_per_s: Bandwidth of the off-chip memory.
        buffer_bandwidth_bytes_per_s: Bandwidth of the shared buffer.
        area_mm2: Die area by the space's model.
        link_bandwidth_bytes_per_s: Of the network's innermost level where the chip chose it; None: the setting's.
    """

    name: str
    tensor_cores: int
    array_rows: int
    array_columns: int
    vector_cores: int
    vector_lanes: int
    buffer_bytes: int
    clock_hz: float
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    buffer_bandwidth_bytes_per_s: float
    area_mm2: float
    link_bandwidth_bytes_per_s: float | None = None

    @property
    def peak_flops_per_s(self) -> float:
        """Return the peak of the tensor cores, two operations a multiply-accumulate."""
        return 2.0 * self.tensor_cores * self.array_rows * self.array_columns * self.clock_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLevel:
    """One level of the network, inside out.

    Attributes:
        name: Name of the level, such as NVLink.
        devices: Devices in a group of this level.
        bandwidth_bytes_per_s: Bandwidth of a device, one way, over all its links of this level.
        latency_s: Latency of a message.
        axes: Sides of a torus, whose links are wrapped rings, two an axis; (): a switch.
        meshed: Every device has a link to every other one, so that a group of g reaches (g-1)/(devices-1) of the
            bandwidth.
        in_network: Share of the bandwidth at which the switch reduces and multicasts (NVLink SHARP); 0: it does not.
        efficiency: Share of the bandwidth that collectives reach; None: not known.
    """

    name: str
    devices: int
    bandwidth_bytes_per_s: float
    latency_s: float
    axes: tuple[int, ...] = ()
    meshed: bool = False
    in_network: float = 0.0
    efficiency: float | None = None

    @property
    def reached_bytes_per_s(self) -> float:
        """Return the bandwidth that collectives reach: all of it where their efficiency is not known."""
        return self.bandwidth_bytes_per_s * (1.0 if self.efficiency is None else self.efficiency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Devices and the network levels that join them; the last level spans them all.

    Attributes:
        devices: Number of devices.
        levels: Network levels, from the innermost outwards.
    """

    devices: int
    levels: tuple[NetworkLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper limits on a chip and on a step; None: no limit.

    Attributes:
        area_mm2: Die area.
        tdp_w: Thermal design power.
        usd: Price of making the chip (`hardware.money`).
        memory_bytes: Memory capacity.
        step_s: Seconds of one optimizer step.
    """

    area_mm2: float
    tdp_w: float | None = None
    usd: float | None = None
    memory_bytes: float | None = None
    step_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """What an optimizer holds and moves, for each parameter.

    Attributes:
        name: Name of the update rule.
        weight_bytes: Memory of a weight.
        gradient_bytes: Memory of a gradient.
        state_bytes: Memory of its states.
        sharded: Whether states are divided among the replicas (ZeRO-1).
        reduction_bytes: Bytes that pass through the network a batch: a group of d sends (d-1)/d of them (an all-reduce
            of x bytes is a reduce-scatter and an all-gather, so 2x).
        step_bytes: Bytes of the update on the vector cores.
        step_functions: Functions of the update on the vector cores.
    """

    name: str
    weight_bytes: int
    gradient_bytes: int
    state_bytes: int
    sharded: bool
    reduction_bytes: int
    step_bytes: int
    step_functions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLimit:
    """By what the power of chips that share a setting is priced, which limits the rate of their arrays
    (`hardware.throttle`).

    Attributes:
        node_nm: Process node.
        dtype: Type of operand that arrays are built for.
        memory_kind: Kind of memory.
        clock_hz: Clock at the nominal voltage.
    """

    node_nm: float
    dtype: str
    memory_kind: str
    clock_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelLimits:
    """What kernels reach of a chip's rates, beside what arrays leave empty (docs/model-cost.md, "What kernels reach").

    Attributes:
        matrix_share: Of the arrays' rate, or of what power leaves of it.
        memory_share: Of the memory's bandwidth.
        launch_s: Launch and end of a kernel, in which it does nothing.
        buffer_bytes_per_cycle_per_mib: Most that a MiB of shared buffer gives; None: it has no limit of its own.
        power: By what the chips' power is priced; None: it does not limit the arrays.
    """

    matrix_share: float = 1.0
    memory_share: float = 1.0
    launch_s: float = 0.0
    buffer_bytes_per_cycle_per_mib: float | None = None
    power: PowerLimit | None = None


IDEAL = KernelLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same for every candidate of a search: clock, memory system, network, batch, optimizer.

    Attributes:
        name: Name of the setting.
        description: What it stands for.
        clock_hz: Clock of chips that have none of their own.
        memory_bandwidth_bytes_per_s: Bandwidth of the off-chip memory.
        buffer_bandwidth_bytes_per_s: Bandwidth of the shared buffer.
        memory_capacities_bytes: Memory capacities to choose from.
        cluster: Devices and network.
        batch_samples: Samples of the global batch.
        optimizer: The optimizer.
        function_cycles: Vector lane-cycles an element of each function; one that is not listed takes `other`.
        kernels: What kernels reach; ideal where nothing is said.
    """

    name: str
    description: str
    clock_hz: float
    memory_bandwidth_bytes_per_s: float
    buffer_bandwidth_bytes_per_s: float
    memory_capacities_bytes: tuple[float, ...]
    cluster: Cluster
    batch_samples: int
    optimizer: Optimizer
    function_cycles: Mapping[str, int]
    kernels: KernelLimits = IDEAL

    @property
    def memory_reached_bytes_per_s(self) -> float:
        """Return the bandwidth of the memory that kernels reach."""
        return self.memory_bandwidth_bytes_per_s * self.kernels.memory_share


def own_buffer_bytes(units: Ints | int) -> Ints:
    """Return the buffer of a core's own: PHAZE's 16 bytes a multiply-accumulator or a lane, at least 1 KiB."""
    return np.asarray(np.maximum(1024, 16 * units))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips:
    """Many chips as arrays of one length (chips,), over which the cost model is vectorised.

    Attributes:
        tensor_cores: Number of arrays.
        array_rows: Rows of an array.
        array_columns: Columns of an array.
        vector_cores: Number of vector cores.
        vector_lanes: Lanes of a vector core.
        buffer_bytes: Shared on-chip buffer.
        area_mm2: Die area.
        clock_hz: Clock, where chips differ in it; None: the setting's.
    """

    tensor_cores: Ints
    array_rows: Ints
    array_columns: Ints
    vector_cores: Ints
    vector_lanes: Ints
    buffer_bytes: Ints
    area_mm2: Floats
    clock_hz: Floats | None = None

    def __len__(self) -> int:
        return len(self.tensor_cores)

    @property
    def core_buffer_bytes(self) -> Ints:
        """Return a tensor core's own buffer; its area is paid for."""
        return own_buffer_bytes(self.array_rows * self.array_columns)

    @property
    def vector_buffer_bytes(self) -> Ints:
        """Return a vector core's own buffer, or registers."""
        return own_buffer_bytes(self.vector_lanes)

    def clocks_hz(self, setting: Setting) -> Floats:
        """Return the clock of each chip."""
        return np.full(len(self), setting.clock_hz) if self.clock_hz is None else self.clock_hz

    def take(self, index: Ints) -> Chips:
        """Return the chips at these positions."""
        return Chips(
            tensor_cores=self.tensor_cores[index],
            array_rows=self.array_rows[index],
            array_columns=self.array_columns[index],
            vector_cores=self.vector_cores[index],
            vector_lanes=self.vector_lanes[index],
            buffer_bytes=self.buffer_bytes[index],
            area_mm2=self.area_mm2[index],
            clock_hz=None if self.clock_hz is None else self.clock_hz[index],
        )
