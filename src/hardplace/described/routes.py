"""Ways of an operand through memories: the fewest moves from where a layer's operands lie to a unit, and back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hardplace.described.types import OUTPUT, DataMove, Description, FunctionalUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One move on the way of an operand.

    Attributes:
        unit: Unit that makes the move.
        move: The move.
        back: Move of an output the other way, by which partial sums return; None where there is none.
        back_unit: Unit of `back`.
    """

    unit: FunctionalUnit
    move: DataMove
    back: DataMove | None = None
    back_unit: FunctionalUnit | None = None


def route_in(on: Description, operand: str, port: str) -> tuple[Hop, ...] | None:
    """Return the moves that bring an operand to a port's memory, first move first; None if there is no way."""
    return _shortest(on, operand, on.backing.name, on.memory_of(port).name)


def route_out(on: Description, port: str) -> tuple[Hop, ...] | None:
    """Return the moves that bring an output from a port's memory to where it lies, first move first, or None."""
    way = _shortest(on, OUTPUT, on.memory_of(port).name, on.backing.name)
    if way is None:
        return None
    return tuple(_with_return(on, hop) for hop in way)


def _shortest(on: Description, operand: str, start: str, goal: str) -> tuple[Hop, ...] | None:
    """Return the first shortest way, breadth first in the order of the file."""
    came: dict[str, tuple[Hop, ...]] = {start: ()}
    ahead = deque([start])
    while ahead:
        here = ahead.popleft()
        if here == goal:
            return came[here]
        for unit in on.units.values():
            for move in unit.moves:
                target = on.memory_of(move.target).name
                if move.operand == operand and on.memory_of(move.source).name == here and target not in came:
                    came[target] = (*came[here], Hop(unit=unit, move=move))
                    ahead.append(target)
    return None


def _with_return(on: Description, hop: Hop) -> Hop:
    """Return a move of an output with the move by which partial sums come back."""
    ends = (on.memory_of(hop.move.target).name, on.memory_of(hop.move.source).name)
    for unit in on.units.values():
        for move in unit.moves:
            if move.operand == OUTPUT and (on.memory_of(move.source).name, on.memory_of(move.target).name) == ends:
                return Hop(unit=hop.unit, move=hop.move, back=move, back_unit=unit)
    return hop
