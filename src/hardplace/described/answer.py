"""What `describe` answers: an accelerator's parts and connections, and layers mapped onto it, with their cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer, Infeasible
from hardplace.described.layers import LayerShape
from hardplace.described.program import listing
from hardplace.described.simulate import simulate
from hardplace.described.tiling import TiledLayer, tiled
from hardplace.described.types import Description, FunctionalUnit
from hardplace.errors import BadInput

MOST_SIMULATED = 20_000  # instructions: minutes of the simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedPart:
    """A part of an accelerator.

    Attributes:
        kind: Memory, path, fetch stage or unit.
        name: Name.
        what: Its figures, in words.
    """

    kind: str
    name: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLink:
    """A connection between a memory and a unit.

    Attributes:
        source: Name of the memory or unit that operands come from.
        target: Name of the unit or memory that they go to.
        operands: Operands, separated by commas.
        via: Paths on the way, separated by commas.
    """

    source: str
    target: str
    operands: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCycles:
    """A layer on an accelerator.

    Attributes:
        name: Name of the layer.
        operation: Its operation.
        extents: Extents above one, in words.
        count: How often it occurs.
        cycles: Cycles of one, by the generated model.
        seconds: The same in seconds.
        exact: Whether the extrapolation is proven to be the simulation.
        bound_cycles: Cycles that no mapping considered is below.
        bound_by: Unit, port or path that is held longest.
        busy: Its share of the cycles.
        macs: Multiply-accumulates.
        instructions: Instructions of the program.
        evaluated: Instructions that were evaluated.
        considered: Mappings considered.
        mapping: Loops, outermost first: level, dimension, tile.
        simulated_cycles: Cycles of the simulator; None where it was not asked.
        program: Lines of the program; empty where it was not asked for.
    """

    name: str
    operation: str
    extents: str
    count: int
    cycles: int
    seconds: float
    exact: bool
    bound_cycles: int
    bound_by: str
    busy: float
    macs: int
    instructions: int
    evaluated: int
    considered: int
    mapping: str
    simulated_cycles: int | None
    program: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DescribedAccelerator(Answer):
    """A described accelerator, and layers on it.

    Attributes:
        name: Name.
        about: What it is, in words.
        source: Where its figures come from.
        clock_hz: Clock.
        parameters: Value of each parameter.
        parts: Its parts.
        links: What is connected to what.
        network: Name of the network; "" for single layers.
        layers: Layers, each distinct one once.
    """

    name: str
    about: str
    source: str
    clock_hz: float
    parameters: Mapping[str, int]
    parts: tuple[DescribedPart, ...]
    links: tuple[PartLink, ...]
    network: str
    layers: tuple[LayerCycles, ...]

    ROWS: ClassVar[str] = "layers"

    @property
    def cycles(self) -> int:
        """Return the cycles of all layers, one after the other."""
        return sum(layer.count * layer.cycles for layer in self.layers)

    @property
    def seconds(self) -> float:
        """Return the seconds of all layers, one after the other."""
        return self.cycles / self.clock_hz


def described_accelerator(
    on: Description,
    layers: Sequence[LayerShape],
    network: str = "",
    *,
    write_programs: bool = False,
    simulated: bool = False,
) -> DescribedAccelerator | Infeasible:
    """Return an accelerator with layers mapped onto it; Infeasible for the first layer that no mapping fits.

    Args:
        on: The accelerator.
        layers: The layers; those that are alike are mapped once.
        network: Name of the network that they are.
        write_programs: Whether each program is written out.
        simulated: Whether each program is simulated too; BadInput for one of more than 20,000 instructions.
    """
    alike: dict[tuple[object, ...], list[LayerShape]] = {}
    for layer in layers:
        alike.setdefault((layer.operation, *layer.extents.values(), layer.stride, layer.operands), []).append(layer)
    rows = []
    for group in alike.values():
        found = tiled(on, group[0])
        if isinstance(found, Infeasible):
            return found
        rows.append(_row(on, found, len(group), write_programs, simulated))
    return DescribedAccelerator(
        name=on.name,
        about=on.title,
        source=on.source,
        clock_hz=on.clock_hz,
        parameters=dict(on.parameters),
        parts=tuple(_parts(on)),
        links=tuple(_links(on)),
        network=network,
        layers=tuple(rows),
    )


def _row(on: Description, found: TiledLayer, count: int, write_programs: bool, simulated: bool) -> LayerCycles:
    layer, time = found.layer, found.time
    if simulated and time.instructions > MOST_SIMULATED:
        raise BadInput(
            "simulate", f"{layer.name} has {time.instructions:,} instructions", f"at most {MOST_SIMULATED:,}"
        )
    return LayerCycles(
        name=layer.name,
        operation=layer.operation,
        extents=" ".join(f"{dim}{size}" for dim, size in layer.extents.items() if size > 1) or "1",
        count=count,
        cycles=time.cycles,
        seconds=time.cycles / on.clock_hz,
        exact=time.exact,
        bound_cycles=found.bound_cycles,
        bound_by=time.bound_by,
        busy=time.bound_cycles / time.cycles,
        macs=layer.macs,
        instructions=time.instructions,
        evaluated=time.evaluated,
        considered=found.considered,
        mapping=" ".join(f"{loop.level}:{loop.dim}{loop.tile}" for loop in found.mapping.loops) or "whole",
        simulated_cycles=simulate(on, found.program) if simulated else None,
        program=tuple(listing(found.program)) if write_programs else (),
    )


def _parts(on: Description) -> list[DescribedPart]:
    """Return the parts with their figures in words."""
    found = []
    for memory in on.memories.values():
        size = "where operands lie" if memory.capacity_bytes is None else f"{memory.capacity_bytes:,} bytes"
        ports = ", ".join(f"{name.rpartition('.')[2]} {on.ports[name].width_bytes}" for name in memory.ports)
        held = ", ".join(f"{operand} {bytes_} B" for operand, bytes_ in memory.element_bytes.items())
        buffers = "" if memory.buffers == 1 else f", {memory.buffers} buffers"
        buffers += "" if memory.keeps is None else f", keeps an operand of at most {memory.keeps} tiles"
        what = f"{size}{buffers}, latency {memory.latency_cycles}; bytes a cycle: {ports}; elements: {held}"
        found.append(DescribedPart(kind="memory", name=memory.name, what=what))
    for name, port in on.ports.items():
        if name.rpartition(".")[0] not in on.memories:
            what = f"{port.width_bytes} bytes a cycle, latency {port.latency_cycles}"
            found.append(DescribedPart(kind="path", name=name, what=what))
    for stage in on.fetches.values():
        every = "cycle" if stage.interval_cycles == 1 else f"{stage.interval_cycles} cycles"
        what = f"issues every {every}, decodes in {stage.decode_cycles}"
        found.append(DescribedPart(kind="fetch", name=stage.name, what=what))
    found += [DescribedPart(kind="unit", name=unit.name, what=_unit(unit)) for unit in on.units.values()]
    return found


def _unit(unit: FunctionalUnit) -> str:
    does = [f"moves {move.operand} from {move.source} to {move.target}" for move in unit.moves]
    does += [f"{name} in {operation.cycles.text}" for name, operation in unit.operations.items()]
    rows = unit.row_cycles.text
    how = [f"from {unit.fetch}", f"queue {unit.queue}", f"in flight {unit.outstanding}"]
    how += [f"setup {unit.setup_cycles}"] if unit.setup_cycles else []
    how += [f"a row in {rows}"] if unit.moves and rows != "0" else []
    how += ["rows are not merged"] if unit.moves and not unit.merges else []
    how += ["brings what a stride skips"] if unit.moves and not unit.skips else []
    how += ["tiles keep their places until it has stored"] if unit.retires else []
    return f"{'; '.join(does)} ({', '.join(how)})"


def _links(on: Description) -> list[PartLink]:
    """Return what is connected to what, a line for each pair."""
    found: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}

    def add(source: str, target: str, operand: str, via: Sequence[str] = ()) -> None:
        operands, paths = found.setdefault((source, target), ({}, {}))
        operands[operand] = None
        paths.update(dict.fromkeys(via))

    for unit in on.units.values():
        for move in unit.moves:
            add(on.memory_of(move.source).name, unit.name, move.operand, move.via)
            add(unit.name, on.memory_of(move.target).name, move.operand)
        for operation in unit.operations.values():
            for operand, port in operation.reads.items():
                add(on.memory_of(port).name, unit.name, operand)
            add(unit.name, on.memory_of(operation.writes).name, "output")
    return [
        PartLink(source=source, target=target, operands=", ".join(operands), via=", ".join(paths))
        for (source, target), (operands, paths) in found.items()
    ]
