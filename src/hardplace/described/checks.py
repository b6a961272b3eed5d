"""Checks of a description: names, widths, ways of operands from memory to units and back, loops without a register."""

from __future__ import annotations

from hardplace.described.routes import route_in, route_out
from hardplace.described.types import (
    CONVOLUTION,
    DEPTHWISE,
    DIMS,
    INPUT,
    OUTPUT,
    WEIGHT,
    Description,
    FunctionalUnit,
)
from hardplace.errors import BadInput


def check(made: Description, where: str) -> None:
    """Raise BadInput, one line with file and field, for the first fault of a description."""
    _check_backing(made, where)
    _check_units(made, where)
    _check_widths(made, where)
    _check_dangling(made, where)
    _check_cycles(made, where)
    _check_loops(made, where)
    _check_ways(made, where)


def needs(operation: str) -> tuple[str, ...]:
    """Return the operands that an operation reads."""
    return (INPUT, WEIGHT) if operation in (CONVOLUTION, DEPTHWISE) else (INPUT,)


def _check_backing(made: Description, where: str) -> None:
    backing = [memory.name for memory in made.memories.values() if memory.capacity_bytes is None]
    if len(backing) != 1:
        raise BadInput(f"{where}: memory", ", ".join(backing) or "none", "one memory with backing = true")
    for operand in (INPUT, WEIGHT, OUTPUT):
        if operand not in made.backing.element_bytes:
            raise BadInput(f"{where}: memory.{backing[0]}.holds.{operand}", None, "bytes of an element")
    if not any(unit.operations for unit in made.units.values()):
        raise BadInput(f"{where}: unit", None, "a unit with operations")


def _check_units(made: Description, where: str) -> None:
    for unit in made.units.values():
        field = f"{where}: unit.{unit.name}"
        if unit.fetch not in made.fetches:
            raise BadInput(f"{field}.fetch", repr(unit.fetch), f"one of {', '.join(made.fetches) or 'none'}")
        for index, move in enumerate(unit.moves):
            if move.source.rpartition(".")[0] == move.target.rpartition(".")[0]:
                raise BadInput(f"{field}.moves[{index}].to", repr(move.target), f"another memory than {move.source}'s")
        for place, port, operand in _uses(made, unit):
            if port not in made.ports or (place != "via" and port.rpartition(".")[0] not in made.memories):
                known = ", ".join(name for name in made.ports if (name.rpartition(".")[0] in made.memories))
                raise BadInput(f"{field}.{place}", repr(port), f"a port: {known}")
            if place != "via" and operand not in made.memory_of(port).element_bytes:
                memory = made.memory_of(port).name
                raise BadInput(f"{field}.{place}", repr(port), f"a memory that holds {operand}; {memory} does not")
        for operation in unit.operations.values():
            for operand in needs(operation.name):
                if operand not in operation.reads:
                    raise BadInput(
                        f"{field}.operations.{operation.name}.reads.{operand}", None, "a port; it is missing"
                    )


def _check_widths(made: Description, where: str) -> None:
    for unit in made.units.values():
        for place, port, operand in _uses(made, unit):
            sizes = [
                made.memory_of(end).element_bytes[operand]
                for end in ([port] if place != "via" else _ends(unit, port, operand))
            ]
            width = made.ports[port].width_bytes
            if max(sizes) > width:
                raise BadInput(
                    f"{where}: unit.{unit.name}.{place}",
                    f"{port} is {width} bytes wide",
                    f"at least {max(sizes)}, an element of {operand}",
                )


def _ends(unit: FunctionalUnit, path: str, operand: str) -> list[str]:
    return [
        end for move in unit.moves if path in move.via and move.operand == operand for end in (move.source, move.target)
    ]


def _uses(made: Description, unit: FunctionalUnit) -> list[tuple[str, str, str]]:
    """Return (field, port or path, operand) of all that a unit is connected to."""
    found = []
    for index, move in enumerate(unit.moves):
        found += [
            (f"moves[{index}].from", move.source, move.operand),
            (f"moves[{index}].to", move.target, move.operand),
        ]
        found += [("via", path, move.operand) for path in move.via]
    for operation in unit.operations.values():
        place = f"operations.{operation.name}"
        found += [(f"{place}.reads.{operand}", port, operand) for operand, port in operation.reads.items()]
        found.append((f"{place}.output", operation.writes, OUTPUT))
    return found


def _check_dangling(made: Description, where: str) -> None:
    used = {port for unit in made.units.values() for _, port, _ in _uses(made, unit)}
    for name in made.ports:
        if name not in used:
            kind = "port" if name.rpartition(".")[0] in made.memories else "path"
            raise BadInput(f"{where}: {kind} {name}", "dangling", "a unit that uses it")
    for memory in made.memories.values():
        if not memory.ports:
            raise BadInput(f"{where}: memory.{memory.name}", "dangling", "a port that a unit uses")
    for unit in made.units.values():
        if not unit.moves and not unit.operations:
            raise BadInput(f"{where}: unit.{unit.name}", "dangling", "moves or operations")
    for name in made.fetches:
        if not any(unit.fetch == name for unit in made.units.values()):
            raise BadInput(f"{where}: fetch.{name}", "dangling", "a unit that it issues to")


def _check_cycles(made: Description, where: str) -> None:
    """Raise BadInput for cycles that cannot be: none for an operation, or fewer, of the smallest tile or a larger."""
    for unit in made.units.values():
        for size in (1, 64):
            unit.row_cycles.at(bytes=size, pitch=size)
            for move in unit.moves:
                move.cycles.at(**dict.fromkeys(DIMS, size), stride=1)
            for operation in unit.operations.values():
                tile = {dim: min(size, operation.at_most.get(dim, size)) for dim in DIMS}
                operation.latency_cycles.at(**tile, operands=1, stride=1)
                if operation.cycles.at(**tile, operands=1, stride=1) < 1:
                    field = f"{where}: unit.{unit.name}.operations.{operation.name}.cycles"
                    raise BadInput(field, operation.cycles.text, "at least 1 of every tile")


def _check_loops(made: Description, where: str) -> None:
    """Raise BadInput for moves that lead an operand around in a circle in which nothing takes a cycle."""
    for operand in (INPUT, WEIGHT, OUTPUT):
        ways: dict[str, set[str]] = {}
        for unit in made.units.values():
            for move in unit.moves:
                source = made.memory_of(move.source)
                latency = source.latency_cycles + unit.latency_cycles
                latency += sum(made.ports[path].latency_cycles for path in move.via)
                if move.operand == operand and latency == 0:
                    ways.setdefault(source.name, set()).add(made.memory_of(move.target).name)
        for start in ways:
            reached, ahead = set[str](), list(ways[start])
            while ahead:
                here = ahead.pop()
                if here == start:
                    raise BadInput(
                        f"{where}: memory.{start}.latency_cycles", 0, f"a register in the loop of {operand} through it"
                    )
                if here not in reached:
                    reached.add(here)
                    ahead += ways.get(here, ())


def _check_ways(made: Description, where: str) -> None:
    for unit in made.units.values():
        for operation in unit.operations.values():
            for operand in needs(operation.name):
                if route_in(made, operand, operation.reads[operand]) is None:
                    raise BadInput(
                        f"{where}: unit.{unit.name}.operations.{operation.name}.reads.{operand}",
                        repr(operation.reads[operand]),
                        f"a way of moves from {made.backing.name} to it",
                    )
            if route_out(made, operation.writes) is None:
                raise BadInput(
                    f"{where}: unit.{unit.name}.operations.{operation.name}.output",
                    repr(operation.writes),
                    f"a way of moves from it to {made.backing.name}",
                )
