"""What of an accelerator runs an operation: its units, and the memories that their operands go through, by level.

Level 0 is where operands lie; level i is the memory after the i-th move. Units that do the same operation share a
layer: from the level on which they have memories of their own, each works on its part of one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.described.checks import needs
from hardplace.described.layers import LayerShape
from hardplace.described.routes import Hop, route_in, route_out
from hardplace.described.types import (
    CONVOLUTION,
    DEPTHWISE,
    ELEMENTWISE,
    OUTPUT,
    POOL,
    SOFTMAX,
    DescribedMemory,
    Description,
    FunctionalUnit,
    UnitOperation,
)

_SPREAD = {CONVOLUTION: "k", DEPTHWISE: "g", POOL: "g", ELEMENTWISE: "p", SOFTMAX: "p"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRoutes:
    """A unit with the ways of its operands.

    Attributes:
        unit: The unit.
        operation: What it does.
        ways: Moves by operand, the one at the memory where operands lie first (of outputs: the last one made).
    """

    unit: FunctionalUnit
    operation: UnitOperation
    ways: dict[str, tuple[Hop, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationTarget:
    """The units that run an operation together.

    Attributes:
        on: The accelerator.
        units: Units with their ways, alike but for their names.
        operands: Operands read.
        levels: Most moves of an operand.
        spread: Dimension that the units share; "" for one unit.
        spread_level: Level from which each unit has its own part; levels + 1 where they share all memories.
    """

    on: Description
    units: tuple[UnitRoutes, ...]
    operands: tuple[str, ...]
    levels: int
    spread: str
    spread_level: int

    def memory(self, operand: str, level: int, unit: int = 0) -> DescribedMemory | None:
        """Return the memory of an operand at a level; None where its way is shorter."""
        way = self.units[unit].ways[operand]
        if level == 0:
            return self.on.backing
        if level > len(way):
            return None
        move = way[level - 1].move
        return self.on.memory_of(move.source if operand == OUTPUT else move.target)

    @property
    def returns(self) -> bool:
        """Return whether partial sums can come back from where operands lie."""
        way = self.units[0].ways[OUTPUT]
        return not way or way[0].back is not None


def target(on: Description, layer: LayerShape) -> OperationTarget | None:
    """Return the units that run a layer; None if none does its operation.

    A depthwise convolution runs as a convolution of one channel at a time where no unit has an operation for it.
    """
    for name in dict.fromkeys((layer.operation, CONVOLUTION if layer.operation == DEPTHWISE else layer.operation)):
        units = tuple(_routes(on, unit, unit.operations[name]) for unit in on.units.values() if name in unit.operations)
        if units:
            break
    else:
        return None
    units = tuple(unit for unit in units if _alike(unit, units[0]))
    operands = needs(units[0].operation.name)
    levels = max(len(units[0].ways[operand]) for operand in (*operands, OUTPUT))
    spread = _SPREAD[layer.operation] if len(units) > 1 else ""
    made = OperationTarget(on=on, units=units, operands=operands, levels=levels, spread=spread, spread_level=levels + 1)
    if not spread:
        return made
    own = [
        level
        for operand in (*operands, OUTPUT)
        for level in range(1, len(units[0].ways[operand]) + 1)
        if made.memory(operand, level, 0) != made.memory(operand, level, 1)
    ]
    return OperationTarget(
        on=on, units=units, operands=operands, levels=levels, spread=spread, spread_level=min(own, default=levels + 1)
    )


def _routes(on: Description, unit: FunctionalUnit, operation: UnitOperation) -> UnitRoutes:
    ways = {operand: route_in(on, operand, operation.reads[operand]) for operand in needs(operation.name)}
    ways[OUTPUT] = (route_out(on, operation.writes) or ())[::-1]
    return UnitRoutes(unit=unit, operation=operation, ways={operand: way or () for operand, way in ways.items()})


def _alike(one: UnitRoutes, other: UnitRoutes) -> bool:
    """Return whether two units do an operation alike: the same cycles, and ways of as many moves."""
    return (
        one.operation.cycles.text == other.operation.cycles.text
        and one.operation.at_most == other.operation.at_most
        and {operand: len(way) for operand, way in one.ways.items()}
        == {operand: len(way) for operand, way in other.ways.items()}
    )
