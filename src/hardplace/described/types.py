"""Nouns of a described accelerator: memories with ports, paths, fetch stages, functional units; a program's time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardplace.described.expression import Expression

INPUT, WEIGHT, OUTPUT = "input", "weight", "output"
OPERANDS = (INPUT, WEIGHT, OUTPUT)
CONVOLUTION, DEPTHWISE, POOL, ELEMENTWISE, SOFTMAX = "convolution", "depthwise", "pool", "elementwise", "softmax"
OPERATIONS = (CONVOLUTION, DEPTHWISE, POOL, ELEMENTWISE, SOFTMAX)
DIMS = ("n", "g", "k", "c", "p", "q", "r", "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPort:
    """A port of a memory, or a path between units: what one transfer at a time goes through.

    Attributes:
        name: `memory.port`, or a path's name.
        width_bytes: Bytes a cycle.
        latency_cycles: Cycles that a path adds; 0 for a port, whose memory has the latency.
    """

    name: str
    width_bytes: int
    latency_cycles: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedMemory:
    """A memory: off-chip, a buffer, or registers.

    Attributes:
        name: Name, with its instance before a dot.
        capacity_bytes: Bytes; None for the memory where the operands of a layer lie whole.
        latency_cycles: Cycles from a read's last byte requested to its arrival.
        buffers: Tiles of each operand that are held at a time; 2 is double buffering.
        keeps: Tiles of an operand that stay at most: an operand of more is loaded anew in each pass of the loops
            outside, changed or not; None: a tile stays until it changes.
        element_bytes: Bytes of an element of each operand that it holds.
        ports: Names of its ports.
    """

    name: str
    capacity_bytes: int | None
    latency_cycles: int
    buffers: int
    keeps: int | None
    element_bytes: Mapping[str, int]
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStage:
    """A stage that fetches, decodes and issues instructions in order.

    Attributes:
        name: Name.
        interval_cycles: Cycles between two issues.
        decode_cycles: Cycles from issue to the earliest start.
    """

    name: str
    interval_cycles: int
    decode_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataMove:
    """A move of an operand that a unit can make from one memory to another.

    Attributes:
        operand: Input, weight or output.
        source: Port that it reads.
        target: Port that it writes.
        via: Paths that it goes through, in order.
        cycles: Least cycles of a tile, by its extents and the stride.
    """

    operand: str
    source: str
    target: str
    via: tuple[str, ...]
    cycles: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOperation:
    """What a functional unit does with one instruction of one operation.

    Attributes:
        name: Convolution (matrix products too), depthwise, pool, elementwise or softmax.
        cycles: Cycles that the instruction keeps the unit, by the extents of its tile.
        latency_cycles: Further cycles until its result can be read, by the extents of its tile.
        at_most: Largest extent of one instruction by dimension.
        reads: Port by operand.
        writes: Port of the output.
    """

    name: str
    cycles: Expression
    latency_cycles: Expression
    at_most: Mapping[str, int]
    reads: Mapping[str, str]
    writes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionalUnit:
    """A unit that moves tiles between memories, computes on them, or both; it serves instructions in order.

    Attributes:
        name: Name, with its instance before a dot.
        fetch: Name of the stage that issues to it.
        queue: Instructions that wait for it at most.
        outstanding: Instructions begun whose results are not there yet, at most.
        setup_cycles: Cycles of control that each of its instructions takes besides its data.
        latency_cycles: Cycles that a move takes besides the latency of the memory that it reads.
        row_cycles: Cycles of one contiguous row of a moved tile, by `bytes` (of the row) and `pitch` (bytes from the
            start of a row to that of the next).
        merges: Whether rows that lie one after the other are one; if not a row is along the innermost dimension.
        skips: Whether inputs that no tap of a strided window reads stay behind; if not a tile of n outputs brings
            stride n + taps - 1 inputs along each direction.
        retires: Whether the tiles that a result was made of keep their places until this unit has moved the result.
        forwards: Whether results accumulate without waiting for the instruction before (in-order accumulation).
        moves: What it can move.
        operations: What it can compute.
    """

    name: str
    fetch: str
    queue: int
    outstanding: int
    setup_cycles: int
    latency_cycles: int
    row_cycles: Expression
    merges: bool
    skips: bool
    retires: bool
    forwards: bool
    moves: tuple[DataMove, ...]
    operations: Mapping[str, UnitOperation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """An accelerator as described, with all parameters set and all instances made.

    Attributes:
        name: Name.
        title: What it is, in words.
        source: Where its figures come from.
        clock_hz: Clock.
        parameters: Value of each parameter.
        memories: By name.
        ports: Ports and paths by name.
        fetches: By name.
        units: By name, in the order of the file.
        device_memory_bytes: Capacity of the backing memory, which plans need; None: not said.
    """

    name: str
    title: str
    source: str
    clock_hz: float
    parameters: Mapping[str, int]
    memories: Mapping[str, DescribedMemory]
    ports: Mapping[str, MemoryPort]
    fetches: Mapping[str, FetchStage]
    units: Mapping[str, FunctionalUnit]
    device_memory_bytes: float | None = None

    @property
    def backing(self) -> DescribedMemory:
        """Return the memory where the operands of a layer lie before and after it."""
        return next(memory for memory in self.memories.values() if memory.capacity_bytes is None)

    @property
    def on_chip_bytes(self) -> int:
        """Return the bytes of all memories but the backing one."""
        return sum(memory.capacity_bytes or 0 for memory in self.memories.values())

    def memory_of(self, port: str) -> DescribedMemory:
        """Return the memory that a port belongs to."""
        return self.memories[port.rpartition(".")[0]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramTime:
    """What the generated model says of a program.

    Attributes:
        cycles: Cycles from the first issue until the last result is there.
        exact: Whether every loop that was extrapolated had come back to a state (the proven case).
        evaluated: Instructions that were evaluated.
        instructions: Instructions of the program.
        iterations: Iterations of loops that were evaluated.
        bound_cycles: The most that one unit, port or path is held: no run is shorter.
        bound_by: Name of that unit, port or path.
    """

    cycles: int
    exact: bool
    evaluated: int
    instructions: int
    iterations: int
    bound_cycles: int
    bound_by: str
