"""Programs of a described accelerator: instructions in nested loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class TileRing(NamedTuple):
    """The places for tiles of one operand in one memory, used in turn.

    Attributes:
        memory: Name of the memory.
        operand: Operand whose tiles it holds.
        buffers: Tiles at a time.
        owner: Name of the unit whose tiles they are, where several share the memory.
    """

    memory: str
    operand: str
    buffers: int
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction.

    Attributes:
        text: What it does, for a reader.
        unit: Name of the unit.
        busy_cycles: Cycles that it keeps the unit.
        latency_cycles: Further cycles until its results can be read.
        ports: Ports and paths with the cycles that it holds each of them, from its start.
        reads: Rings whose present tile it reads.
        writes: Rings whose present tile it writes.
    """

    text: str
    unit: str
    busy_cycles: int
    latency_cycles: int
    ports: tuple[tuple[str, int], ...]
    reads: tuple[TileRing, ...]
    writes: tuple[TileRing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NextTile:
    """The next place of a ring becomes the present one; takes no time."""

    ring: TileRing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Steps one after the other; equal only to itself, as a program shares its parts."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeat:
    """A block that is done several times; equal only to itself."""

    count: int
    body: Block
    text: str = ""


Step = Instruction | NextTile | Block | Repeat


def flat(block: Block) -> Iterator[Instruction | NextTile]:
    """Return every instruction in order, loops unrolled."""
    for step in block.steps:
        if isinstance(step, Repeat):
            for _ in range(step.count):
                yield from flat(step.body)
        elif isinstance(step, Block):
            yield from flat(step)
        else:
            yield step


def totals(block: Block) -> tuple[int, dict[str, int]]:
    """Return the number of instructions, and the cycles that each unit, port and path is held in all.

    No run of the program is shorter than the most held of them: each serves one instruction at a time.
    """
    known: dict[Block, tuple[int, dict[str, int]]] = {}

    def of(part: Block) -> tuple[int, dict[str, int]]:
        if part in known:
            return known[part]
        count, held = 0, dict[str, int]()
        for step in part.steps:
            if isinstance(step, Instruction):
                count += 1
                for name, cycles in ((step.unit, step.busy_cycles), *step.ports):
                    held[name] = held.get(name, 0) + cycles
            elif not isinstance(step, NextTile):
                times = step.count if isinstance(step, Repeat) else 1
                inner, inner_held = of(step.body if isinstance(step, Repeat) else step)
                count += times * inner
                for name, cycles in inner_held.items():
                    held[name] = held.get(name, 0) + times * cycles
        known[part] = count, held
        return known[part]

    return of(block)


def listing(block: Block, indent: int = 0) -> list[str]:
    """Return a program as lines of text, a loop's body indented."""
    lines: list[str] = []
    for step in block.steps:
        pad = "  " * indent
        if isinstance(step, Repeat):
            lines.append(f"{pad}repeat {step.count:,}{f'  # {step.text}' if step.text else ''}")
            lines += listing(step.body, indent + 1)
        elif isinstance(step, Block):
            lines += listing(step, indent)
        elif isinstance(step, NextTile):
            lines.append(f"{pad}next tile of {step.ring.operand} in {step.ring.memory}")
        else:
            cycles = f"{step.busy_cycles:,} cycles" + (f" + {step.latency_cycles:,}" if step.latency_cycles else "")
            lines.append(f"{pad}{step.unit}: {step.text}  # {cycles}")
    return lines
