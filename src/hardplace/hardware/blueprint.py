"""What the area, power and price models need to know of chips: columns of one length, from Chips or a Device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.errors import BadInput
from hardplace.hardware.device import Arrays, Device, Multiprocessors
from hardplace.hardware.technology import BITS, STACK_BYTES_PER_S
from hardplace.hardware.types import Chips, Setting, own_buffer_bytes
from hardplace.ndtypes import Floats

_TENSOR_CORES = 4  # of a GPU's multiprocessor, which share its multiply-accumulators
_ARRAY_ROWS_REUSED = 256.0
LEAST_VOLTS = 0.9  # relative: 0.707 V of a nominal 0.75 at 7 nm
_GPU_ROWS_REUSED = 16  # rows that pass a stationary operand in one instruction (m16n8k16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Chips as columns of shape (chips,). core_buffer_bytes belong to an array, register_bytes to a vector core.

    dtype: what the arrays are built for; types: how many types they take in all. reuse: rows that pass a stationary
    operand. volts: relative to the voltage that the energies of the tables are for. gpu: the vector cores are
    multiprocessors, whose control is paid for, and arrays feed from registers.

    Of chips that exist: lanes_fp64 are a vector core's; buffer_banks memories make the shared buffer; units_made and
    interfaces_made are what is on the die over what is in use; buffer_made_bytes is the buffer on it. outer_node_nm:
    node of the dies with buffer, memory interface and links where these are others; None: the same.
    """

    arrays: Floats
    rows: Floats
    columns: Floats
    vector_cores: Floats
    vector_lanes: Floats
    core_buffer_bytes: Floats
    register_bytes: Floats
    buffer_bytes: Floats
    clock_hz: Floats
    memory_bandwidth_bytes_per_s: Floats
    memory_bytes: Floats
    stacks: Floats
    link_bandwidth_bytes_per_s: Floats
    volts: Floats
    lanes_fp64: Floats
    buffer_banks: Floats
    buffer_made_bytes: Floats
    units_made: Floats
    interfaces_made: Floats
    memory_kind: str
    dtype: str
    types: int
    reuse: float
    gpu: bool
    outer_node_nm: float | None = None

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def macs_per_s(self) -> Floats:
        """Multiply-accumulates a second with every element busy."""
        return self.arrays * self.rows * self.columns * self.clock_hz


def stacks_of(kind: str, bandwidth_bytes_per_s: Floats | float) -> Floats:
    """Return how many stacks of this kind of memory give a bandwidth; 0 for memory that does not come in stacks."""
    if kind not in STACK_BYTES_PER_S:
        return np.zeros_like(np.asarray(bandwidth_bytes_per_s, dtype=np.float64))
    return np.asarray(np.maximum(1.0, np.ceil(np.asarray(bandwidth_bytes_per_s) / STACK_BYTES_PER_S[kind] - 0.02)))


def volts_at(clock: Floats | float) -> Floats:
    """Return the voltage for a clock, both relative to the nominal ones: a line above a floor.

    V = max(0.9, 0.5 + 0.5 f): the least squares line through published curves at 14 and 7 nm, and the least that
    any of them goes to (validation/voltages.csv, docs/validation.md).
    """
    return np.asarray(np.maximum(LEAST_VOLTS, 0.5 + 0.5 * np.asarray(clock, dtype=np.float64)))


def of_chips(
    chips: Chips,
    setting: Setting,
    *,
    clock_hz: float,
    memory_kind: str,
    stacks: float | None = None,
    dtype: str = "bf16",
) -> Blueprint:
    """Return the blueprint of every chip of a space, with the memory system and links of a setting.

    clock_hz: at which the tables' energies hold, and of chips that have no clock of their own; another clock takes
    another voltage (`volts_at`). stacks: of memory; None: as many as its bandwidth takes.
    """
    clocks_hz = chips.clock_hz if chips.clock_hz is not None else clock_hz
    if dtype not in BITS:
        raise BadInput(f"operand type {dtype!r}: expected one of {', '.join(BITS)}")

    def column(value: object) -> Floats:
        given = np.asarray(value, dtype=np.float64)
        return given if given.shape == (len(chips),) else np.full(len(chips), given)

    return Blueprint(
        arrays=column(chips.tensor_cores),
        rows=column(chips.array_rows),
        columns=column(chips.array_columns),
        vector_cores=column(chips.vector_cores),
        vector_lanes=column(chips.vector_lanes),
        core_buffer_bytes=column(chips.core_buffer_bytes),
        register_bytes=column(chips.vector_buffer_bytes),
        buffer_bytes=column(chips.buffer_bytes),
        clock_hz=column(clocks_hz),
        memory_bandwidth_bytes_per_s=column(setting.memory_bandwidth_bytes_per_s),
        memory_bytes=column(min(setting.memory_capacities_bytes)),
        stacks=column(stacks if stacks is not None else stacks_of(memory_kind, setting.memory_bandwidth_bytes_per_s)),
        link_bandwidth_bytes_per_s=column(setting.cluster.levels[0].bandwidth_bytes_per_s),
        volts=column(volts_at(np.asarray(clocks_hz) / clock_hz)),
        lanes_fp64=column(0.0),
        buffer_banks=column(1.0),
        buffer_made_bytes=column(chips.buffer_bytes),
        units_made=column(1.0),
        interfaces_made=column(1.0),
        memory_kind=memory_kind,
        dtype=dtype,
        types=1,
        reuse=_ARRAY_ROWS_REUSED,
        gpu=False,
    )


def training_dtype(device: Device) -> str:
    """Return the type that training mostly runs in: bf16, else fp16, else the widest that the engines take."""
    return next((dtype for dtype in ("bf16", "fp16") if dtype in device.dtypes), device.dtypes[-1])


def _engines(engine: Multiprocessors | Arrays, dtype: str) -> tuple[float, ...]:
    """Return arrays, rows, columns, vector cores, their lanes, bytes of an array's buffer and of registers, reuse."""
    if isinstance(engine, Multiprocessors):
        side = (engine.flops_per_clock[dtype] / 2.0 / _TENSOR_CORES) ** 0.5
        own = engine.shared_memory_bytes / _TENSOR_CORES
        count, lanes = engine.count, engine.vector_lanes
        return count * _TENSOR_CORES, side, side, count, lanes, own, engine.register_bytes, _GPU_ROWS_REUSED
    # An array's buffer holds a tile of weights twice, rows that stream, and sums. Registers: 32 of fp32 a lane (C).
    own = float(own_buffer_bytes(engine.rows * engine.columns))
    registers = float(engine.register_bytes or max(1024, 128 * engine.vector_lanes))
    cores, lanes = engine.vector_cores, engine.vector_lanes
    return engine.count, engine.rows, engine.columns, cores, lanes, own, registers, _ARRAY_ROWS_REUSED


def of_device(device: Device) -> Blueprint:
    """Return the blueprint of one device, as columns of length one."""
    dtype = training_dtype(device)
    if dtype not in BITS:
        raise BadInput(f"{device.name}: engines of {dtype} only: expected one of {', '.join(BITS)} for the area model")
    kind = device.memory_kind
    stacks = device.memory_stacks or float(stacks_of(kind, device.memory_bandwidth_bytes_per_s))
    arrays, rows, columns, cores, lanes, own, registers, reuse = _engines(device.engine, dtype)
    gpu, die = isinstance(device.engine, Multiprocessors), device.on_die
    units, lanes_fp64 = 1.0, 0.0
    if isinstance(device.engine, Multiprocessors):
        units = (die.multiprocessors or device.engine.count) / device.engine.count
        lanes_fp64 = device.engine.vector_lanes_fp64

    def column(value: float) -> Floats:
        return np.array([value], dtype=np.float64)

    return Blueprint(
        arrays=column(arrays),
        rows=column(rows),
        columns=column(columns),
        vector_cores=column(cores),
        vector_lanes=column(lanes),
        core_buffer_bytes=column(own),
        register_bytes=column(registers),
        buffer_bytes=column(float(device.buffer_bytes)),
        clock_hz=column(device.clock_hz),
        memory_bandwidth_bytes_per_s=column(device.memory_bandwidth_bytes_per_s),
        memory_bytes=column(device.memory_bytes),
        stacks=column(float(stacks)),
        link_bandwidth_bytes_per_s=column(device.link_bandwidth_bytes_per_s or 0.0),
        volts=column(1.0),
        lanes_fp64=column(lanes_fp64),
        buffer_banks=column(device.buffer_banks),
        buffer_made_bytes=column(float(die.buffer_bytes or device.buffer_bytes)),
        units_made=column(units),
        interfaces_made=column(float(die.stacks or stacks) / float(stacks) if stacks else 1.0),
        memory_kind=kind,
        dtype=dtype,
        types=len(device.dtypes),
        reuse=reuse,
        gpu=gpu,
        outer_node_nm=device.outer_node_nm,
    )
