"""Nouns of hardware: one accelerator, many of them as arrays, the network, the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardplace.ndtypes import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A chip: tensor cores (rows x columns arrays), vector cores (lanes), one shared buffer, off-chip memory.

    link_bandwidth_bytes_per_s: of the network's innermost level where the chip chose it; None: the setting's.
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
        """Peak of the tensor cores, two operations a multiply-accumulate."""
        return 2.0 * self.tensor_cores * self.array_rows * self.array_columns * self.clock_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLevel:
    """One level of the network, inside out: devices in a group, bandwidth of a device one way, latency of a message.

    axes: sides of a torus, whose links are wrapped rings; bandwidth is then that of all links of a device together,
    one way (two an axis). Empty: a switch. meshed: every device has a link to every other one instead, so that a group
    of g reaches (g-1)/(devices-1) of the bandwidth. in_network: the switch reduces and multicasts (NVLink SHARP), at
    this share of the bandwidth; 0: it does not. efficiency: share of the bandwidth that collectives reach.
    """

    name: str
    devices: int
    bandwidth_bytes_per_s: float
    latency_s: float
    axes: tuple[int, ...] = ()
    meshed: bool = False
    in_network: float = 0.0
    efficiency: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Devices and the levels that join them; the last level spans them all."""

    devices: int
    levels: tuple[NetworkLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a chip and a step may take at most; None: any. usd: of making it (`hardware.money`)."""

    area_mm2: float
    tdp_w: float | None = None
    usd: float | None = None
    memory_bytes: float | None = None
    step_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """What the update rule holds and moves, per parameter.

    weight, gradient and state bytes are memory; states are divided among the replicas if sharded (ZeRO-1).
    reduction_bytes pass through the network a batch: a group of d sends (d-1)/d of them (an all-reduce of x bytes
    is a reduce-scatter and an all-gather, so 2x). step_bytes and step_functions are the update on the vector cores.
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
class Setting:
    """Everything that is the same for every candidate: clock, memory system, network, batch, optimizer.

    function_cycles: vector lane-cycles an element of each function; a function that is not listed takes `other`.
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


def own_buffer_bytes(units: Ints | int) -> Ints:
    """Return the buffer of a core's own: PHAZE's 16 bytes a multiply-accumulator or a lane, at least 1 KiB."""
    return np.asarray(np.maximum(1024, 16 * units))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chips:
    """Many chips as arrays of one length: what the cost step is vectorised over. Sizes in bytes and mm^2.

    clock_hz: where chips differ in it; None: the setting's.
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
        """A tensor core's own buffer; its area is paid for."""
        return own_buffer_bytes(self.array_rows * self.array_columns)

    @property
    def vector_buffer_bytes(self) -> Ints:
        """A vector core's own buffer, or registers."""
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
