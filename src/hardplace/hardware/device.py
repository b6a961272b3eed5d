"""Nouns of the catalogue: a device that exists (or that a user describes), and the node that it stands in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hardplace.errors import BadInput
from hardplace.hardware.types import Cluster, NetworkLevel

# A narrower type is a subset of each of these, in this order: what it holds, they hold. int8 falls back to nothing:
# its sums are exact in int32 and not in fp32.
_WIDER = {
    "fp4": ("fp8", "fp16", "bf16", "tf32", "fp32"),
    "fp8": ("fp16", "bf16", "tf32", "fp32"),
    "int8": (),
    "bf16": ("tf32", "fp32"),
    "fp16": ("tf32", "fp32"),
    "tf32": ("fp32",),
    "fp32": (),
}
DTYPES = tuple(_WIDER)


class Trust(StrEnum):
    """How far a figure may be relied on; each member says what it stands for."""

    A = "A"  # the vendor, or several that agree
    B = "B"  # one secondary source, a vendor document that was not opened for this, or worked out from such figures
    C = "C"  # from memory, conflicting, or an upper bound: check before use
    OWN = "own"  # the user's file, without a source


# A board's clock under load over its datasheet's, at most: a measured rate above that much of the peak is a mistake.
FASTEST_CLOCK = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where one figure of a device is from.

    Attributes:
        field: Field as in the file, such as memory.bandwidth.
        source: Source of the figure.
        trust: How far it may be relied on.
        note: What else to know of it.
    """

    field: str
    source: str
    trust: Trust
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiprocessors:
    """The engines of a GPU.

    Attributes:
        count: Number of multiprocessors.
        flops_per_clock: Dense tensor FLOPs a clock and multiprocessor, by type of operand.
        vector_lanes: fp32 multiply-adds a clock and multiprocessor, outside the tensor cores.
        shared_memory_bytes: Shared memory of a multiprocessor.
        register_bytes: Registers of a multiprocessor.
        vector_lanes_fp64: fp64 multiply-adds a clock and multiprocessor, outside the tensor cores.
        matmul_flops_per_s: Rate of large 16-bit products that was measured, where the board power keeps it far below
            the peak or the board's clock is above its datasheet's; None: not known.
    """

    count: int
    flops_per_clock: Mapping[str, int]
    vector_lanes: int
    shared_memory_bytes: int
    register_bytes: int
    vector_lanes_fp64: int = 0
    matmul_flops_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """The engines of a chip with systolic arrays.

    Attributes:
        count: Number of arrays.
        rows: Rows of an array.
        columns: Columns of an array.
        macs_per_clock: Multiply-accumulates a clock and element, by type of operand.
        vector_cores: Number of vector cores.
        vector_lanes: Lanes of a vector core.
        register_bytes: Registers of a vector core; None: 128 bytes a lane.
        devices: Devices that software sees on a chip: cores that run programmes of their own.
    """

    count: int
    rows: int
    columns: int
    macs_per_clock: Mapping[str, float]
    vector_cores: int
    vector_lanes: int
    register_bytes: int | None = None
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDie:
    """What is on the die where some of it is disabled; None: as much as is in use.

    Attributes:
        multiprocessors: Multiprocessors on the die.
        buffer_bytes: Shared buffer on the die.
        stacks: Interfaces to memory on the die.
    """

    multiprocessors: int | None = None
    buffer_bytes: int | None = None
    stacks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An accelerator that exists, or that a user describes. Peaks are dense: sparsity is not counted. None: not
    published.

    Attributes:
        name: Name in the catalogue, or the file's.
        title: Full name.
        vendor: Vendor.
        engine: Multiprocessors of a GPU, or systolic arrays.
        process: Process node as the foundry calls it.
        node_nm: Process node in nm.
        clock_hz: Clock at which the peaks hold.
        buffer_bytes: Outermost on-chip memory that all engines share (a GPU's L2 or last cache, a TPU's VMEM + CMEM).
        memory_kind: Kind of memory, such as HBM3.
        memory_bytes: Capacity of the memory.
        memory_bandwidth_bytes_per_s: Bandwidth of the memory.
        memory_stacks: Number of stacks.
        max_clock_hz: Highest clock.
        buffer_bandwidth_bytes_per_s: Bandwidth of the shared buffer.
        link_bandwidth_bytes_per_s: Bandwidth of all links to other devices, one way.
        links: Number of links.
        host_bandwidth_bytes_per_s: Bandwidth of the link to the host, one way.
        die_area_mm2: Area of all dies.
        transistors: Number of transistors.
        tdp_w: Thermal design power.
        price_usd: Price.
        on_die: What is on the die where some of it is disabled.
        buffer_banks: Separate memories that make the shared buffer.
        outer_node_nm: Process node of the dies with buffer, memory interfaces and links; None: of all.
        published_peaks: Published peaks in FLOP/s, by type of operand.
        provenance: Source and trust of each figure.
    """

    name: str
    title: str
    vendor: str
    engine: Multiprocessors | Arrays
    process: str
    node_nm: float
    clock_hz: float
    buffer_bytes: int
    memory_kind: str
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    memory_stacks: int | None = None
    max_clock_hz: float | None = None
    buffer_bandwidth_bytes_per_s: float | None = None
    link_bandwidth_bytes_per_s: float | None = None
    links: int | None = None
    host_bandwidth_bytes_per_s: float | None = None
    die_area_mm2: float | None = None
    transistors: float | None = None
    tdp_w: float | None = None
    price_usd: float | None = None
    on_die: OnDie = OnDie()
    buffer_banks: int = 1
    outer_node_nm: float | None = None
    published_peaks: Mapping[str, float]
    provenance: tuple[Provenance, ...]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Return the types of operand that the matrix engines take, widest last."""
        rates = self.engine.flops_per_clock if isinstance(self.engine, Multiprocessors) else self.engine.macs_per_clock
        return tuple(dtype for dtype in DTYPES if dtype in rates)

    def peak_flops_per_s(self, dtype: str) -> float:
        """Return the dense peak of the matrix engines for operands of this type.

        Raises:
            BadInput: If they do not take it.
        """
        if dtype not in self.dtypes:
            raise BadInput(f"{self.name}: {dtype!r}: expected a type that its engines take: {', '.join(self.dtypes)}")
        if isinstance(self.engine, Multiprocessors):
            return self.engine.count * self.engine.flops_per_clock[dtype] * self.clock_hz
        array = self.engine.count * self.engine.rows * self.engine.columns
        return 2.0 * array * self.engine.macs_per_clock[dtype] * self.clock_hz

    @property
    def vector_flops_per_s(self) -> float:
        """Return the peak of the vector units in fp32, two operations a multiply-add, at the highest clock."""
        clock_hz = self.max_clock_hz or self.clock_hz
        if isinstance(self.engine, Multiprocessors):
            return 2.0 * self.engine.count * self.engine.vector_lanes * clock_hz
        return 2.0 * self.engine.vector_cores * self.engine.vector_lanes * clock_hz

    def ridge_flops_per_byte(self, dtype: str) -> float:
        """Return the ridge point: FLOPs a byte of memory traffic above which a kernel is bound by the engines."""
        return self.peak_flops_per_s(dtype) / self.memory_bandwidth_bytes_per_s

    def supports(self, dtype: str) -> tuple[str, str]:
        """Return the type that operands of `dtype` are computed in, and a sentence if that is another one.

        The fallback is the narrowest type that the engines take and that holds every value of `dtype`.

        Raises:
            BadInput: For a type that is unknown or that nothing on the chip can hold.
        """
        if dtype not in _WIDER:
            raise BadInput(f"operand type {dtype!r}: expected one of {', '.join(DTYPES)}")
        if dtype in self.dtypes:
            return dtype, ""
        for wider in _WIDER[dtype]:
            if wider in self.dtypes:
                return wider, f"{self.name} has no {dtype}: computed in {wider}, which holds all its values"
        raise BadInput(
            f"{self.name}: operands of {dtype}: its matrix engines take only {', '.join(self.dtypes)}; "
            f"expected one of these, or an operator on the vector units"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLevel:
    """One level of a node's network, inside out, as `NetworkLevel` has it.

    Attributes:
        name: Name of the level.
        devices: Devices in a group; None for the outermost, which grows with the job.
        bandwidth_bytes_per_s: Bandwidth of a device, one way, over all its links of this level.
        latency_s: Latency of a message.
        axes: Sides of a torus; (): a switch.
        meshed: Every device has a link to every other one.
        in_network: Share of the bandwidth at which the switch reduces and multicasts; 0: it does not.
        efficiency: Share of the bandwidth that collectives reach; None: not known.
    """

    name: str
    devices: int | None
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

    def of(self, devices: int) -> NetworkLevel:
        """Return the level with this number of devices; a part of a torus has sides as equal as they can be."""
        return NetworkLevel(
            name=self.name,
            devices=devices,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            latency_s=self.latency_s,
            axes=_sides(devices, len(self.axes)) if math.prod(self.axes) != devices else self.axes,
            meshed=self.meshed,
            in_network=self.in_network,
            efficiency=self.efficiency,
        )


def _sides(devices: int, count: int) -> tuple[int, ...]:
    """Return so many sides of a torus of these devices, as equal as they can be, the shortest first.

    >>> _sides(64, 3), _sides(96, 3), _sides(32, 2), _sides(7, 2)
    ((4, 4, 4), (4, 4, 6), (4, 8), (1, 7))
    """
    if count <= 1:
        return (devices,) * count
    most = round(devices ** (1.0 / count))
    side = next(one for one in range(most, 0, -1) if devices % one == 0)
    return (side, *_sides(devices // side, count - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Devices of one kind and the network that joins them.

    Attributes:
        name: Name in the catalogue, or the file's.
        title: Full name.
        device: Name of the device.
        levels: Network levels, from the innermost outwards.
        price_usd: Price; None: not published.
        provenance: Source and trust of each figure.
    """

    name: str
    title: str
    device: str
    levels: tuple[NodeLevel, ...]
    price_usd: float | None
    provenance: tuple[Provenance, ...]

    def cluster(self, devices: int) -> Cluster:
        """Return the network of so many of these devices; inner levels that hold all of them are the last.

        Raises:
            BadInput: Where the number exceeds the outermost level's.
        """
        if devices < 1:
            raise BadInput(f"{self.name}: {devices} devices: expected one or more")
        found: list[NetworkLevel] = []
        for level in self.levels:
            here = devices if level.devices is None else min(devices, level.devices)
            found.append(level.of(level.devices if level.meshed and level.devices else here))
            if here == devices:
                return Cluster(devices=devices, levels=tuple(found))
        raise BadInput(f"{self.name}: {devices} devices: expected at most {self.levels[-1].devices}")
