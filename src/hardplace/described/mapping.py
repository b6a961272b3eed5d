"""Mappings: the loops of a layer over the levels of an accelerator, and the tiles that its memories hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hardplace.described.layers import LayerShape
from hardplace.described.targets import OperationTarget
from hardplace.described.types import DIMS, OUTPUT, DescribedMemory


class TileLoop(NamedTuple):
    """A loop over the tiles of one dimension.

    Attributes:
        level: Level whose tiles it goes over; the level after the last memory's is that of instructions.
        dim: Dimension.
        tile: Extent of a tile.
    """

    level: int
    dim: str
    tile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMapping:
    """The loops of a layer, outermost first; levels do not fall.

    Attributes:
        loops: The loops.
    """

    loops: tuple[TileLoop, ...]


class TileUse(NamedTuple):
    """Bytes that the tiles of a mapping take of a memory.

    Attributes:
        memory: Name of the memory.
        needed_bytes: Bytes of all tiles, all buffers.
        capacity_bytes: Bytes that there are.
    """

    memory: str
    needed_bytes: int
    capacity_bytes: int


def tile_extents(layer: LayerShape, on: OperationTarget, mapping: LayerMapping, level: int) -> dict[str, int]:
    """Return the extents of the largest tile at a level, of one unit from the level on which units share the layer."""
    extents = dict(layer.extents)
    if on.spread and level >= on.spread_level:
        extents[on.spread] = _part(layer, on, mapping)
    for loop in mapping.loops:
        if loop.level <= level:
            extents[loop.dim] = min(extents[loop.dim], loop.tile)
    return extents


def _part(layer: LayerShape, on: OperationTarget, mapping: LayerMapping) -> int:
    """Return the largest part of the shared dimension that one unit has."""
    size = layer.extents[on.spread]
    for loop in mapping.loops:
        if loop.level < on.spread_level and loop.dim == on.spread:
            size = min(size, loop.tile)
    return -(-size // len(on.units))


def place_after(
    layer: LayerShape, loops: tuple[TileLoop, ...], memory: DescribedMemory, operand: str, level: int
) -> int:
    """Return after how many loops a tile of an operand is chosen.

    Inside the innermost that changes it; where the memory keeps fewer tiles than the operand has, inside the innermost
    of its level. Results stay until they change.
    """
    touched = layer.touches(operand)
    if memory.keeps is not None and operand != OUTPUT and tiles_of(layer, loops, operand, level) > memory.keeps:
        touched = "".join(DIMS)
    return max(
        (index + 1 for index, loop in enumerate(loops) if loop.level <= level and loop.dim in touched), default=0
    )


def tiles_of(layer: LayerShape, loops: tuple[TileLoop, ...], operand: str, level: int) -> int:
    """Return the tiles that an operand is cut into down to a level, before units take parts."""
    extents, count = dict(layer.extents), 1
    for loop in loops:
        if loop.level <= level and loop.dim in layer.touches(operand):
            count *= -(-extents[loop.dim] // loop.tile)
            extents[loop.dim] = min(extents[loop.dim], loop.tile)
    return count


def buffers_of(
    layer: LayerShape, loops: tuple[TileLoop, ...], memory: DescribedMemory, operand: str, level: int
) -> int:
    """Return the tiles of an operand that are held at a time: one where it never changes."""
    return memory.buffers if place_after(layer, loops, memory, operand, level) else 1


def tile_uses(layer: LayerShape, on: OperationTarget, mapping: LayerMapping) -> list[TileUse]:
    """Return what the tiles take of each memory, in bytes."""
    taken: dict[str, int] = {}
    loops = real_loops(layer, on, mapping)
    for level in range(1, on.levels + 1):
        extents = tile_extents(layer, on, mapping, level)
        for operand in (*on.operands, OUTPUT):
            memory = on.memory(operand, level)
            if memory is not None and memory.capacity_bytes is not None:
                skips = on.units[0].ways[operand][level - 1].unit.skips
                size = layer.elements(operand, extents, skips) * memory.element_bytes[operand]
                size *= buffers_of(layer, loops, memory, operand, level)
                taken[memory.name] = taken.get(memory.name, 0) + size
    capacities = on.on.memories
    return [TileUse(name, size, capacities[name].capacity_bytes or 0) for name, size in taken.items()]


def real_loops(layer: LayerShape, on: OperationTarget, mapping: LayerMapping) -> tuple[TileLoop, ...]:
    """Return the loops that go around more than once.

    The part of the shared dimension that each unit has is no loop: it is taken before the loops of that level.
    """
    found: list[TileLoop] = []
    extents: Mapping[str, int] = dict(layer.extents)
    sizes = dict(extents)
    shared = False
    for loop in mapping.loops:
        if on.spread and not shared and loop.level >= on.spread_level:
            shared = True
            sizes[on.spread] = -(-sizes[on.spread] // len(on.units))
        if loop.tile < sizes[loop.dim]:
            sizes[loop.dim] = loop.tile
            found.append(loop)
    return tuple(found)
