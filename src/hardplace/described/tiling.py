"""Chooses the mapping of a layer: tiles that fit, loop orders, each bounded; the generated model times the best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from hardplace.answers import Infeasible
from hardplace.described.layers import LayerShape
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping, TileLoop, TileUse, place_after, real_loops, tile_uses
from hardplace.described.model import program_time
from hardplace.described.program import Block, totals
from hardplace.described.targets import OperationTarget, target
from hardplace.described.types import DIMS, OUTPUT, SOFTMAX, Description, ProgramTime

MOST_BOUNDED = 32  # mappings of a layer whose programs are written and bounded at most
MOST_TIMED = 8  # mappings of a layer that the generated model times at most
_GROWTH = (
    "crskqpng",
    "qpncrskg",
    "kcrsqpng",
    "qkcrspng",
    "cqrskpng",
    "gcrskqpn",
)  # dimension that a tile grows by first
_ORDERS = ("gnkpqcrs", "gkcrsnpq", "gncrspqk", "gcrsknpq", "gnpqkcrs")  # loops, outermost first
_INNER = ("gkcrsnpq", "gnkpqcrs")  # the same within the outermost tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledLayer:
    """A layer with the mapping that was chosen.

    Attributes:
        layer: The layer.
        mapping: Its loops.
        program: Its program.
        time: What the generated model says of it.
        bound_cycles: Cycles that no considered mapping is below: the least of their most held units or ports.
        considered: Mappings considered.
        timed: Mappings timed.
    """

    layer: LayerShape
    mapping: LayerMapping
    program: Block
    time: ProgramTime
    bound_cycles: int
    considered: int
    timed: int


def tiled(on: Description, layer: LayerShape, most_timed: int = MOST_TIMED) -> TiledLayer | Infeasible:
    """Return the fastest mapping found for a layer, with a bound on all that were considered.

    Args:
        on: The accelerator.
        layer: The layer.
        most_timed: Mappings that are timed at most, by their bounds; the rest stay in the bound.
    """
    goal = target(on, layer)
    if goal is None:
        known = sorted({name for unit in on.units.values() for name in unit.operations})
        return Infeasible(
            what=f"{layer.name}: a unit of {on.name} for {layer.operation}", needed=1, available=0, unit="units",
            remedy=f"operations that it has: {', '.join(known)}",
        )  # fmt: skip
    mappings = sorted(dict.fromkeys(mappings_of(goal, layer)), key=lambda one: _estimate(goal, layer, one))
    if not mappings:
        return _short(goal, layer)
    mappings = mappings[:MOST_BOUNDED]
    programs = [(lowered(goal, layer, mapping), mapping) for mapping in mappings]
    held = [totals(program)[1].values() for program, _ in programs]
    bounded = sorted((max(cycles), sum(cycles), index) for index, cycles in enumerate(held))
    best: tuple[ProgramTime, int] | None = None
    timed, bound = 0, bounded[0][0]
    for least, _, index in bounded:
        if best is not None and (least >= best[0].cycles or timed == most_timed):
            bound = min(best[0].cycles, least)
            break
        found = program_time(on, programs[index][0])
        timed += 1
        if best is None or found.cycles < best[0].cycles:
            best = found, index
    else:
        assert best is not None
        bound = best[0].cycles
    return TiledLayer(
        layer=layer, mapping=programs[best[1]][1], program=programs[best[1]][0], time=best[0], bound_cycles=bound,
        considered=len(mappings), timed=timed,
    )  # fmt: skip


def mappings_of(on: OperationTarget, layer: LayerShape) -> Iterator[LayerMapping]:
    """Return the mappings that are considered: tiles grown dimension by dimension until a memory is full."""
    for growth in _GROWTH if layer.extents["g"] > 1 else _GROWTH[:-1]:
        tiles = _tiles(on, layer, growth)
        if tiles is None:
            return
        for order in _ORDERS:
            for inner in _INNER[: on.levels]:
                for variant in (tiles, _halved(on, layer, tiles, growth)):
                    mapping = mapping_of(layer, on, variant, order, inner)
                    if allowed(on, layer, mapping) and fits(layer, on, mapping):
                        yield mapping


def _estimate(on: OperationTarget, layer: LayerShape, mapping: LayerMapping) -> tuple[int, int]:
    """Return roughly the most held unit or port of a mapping in cycles, and the sum over all; only to put in order."""
    loops = real_loops(layer, on, mapping)
    left = dict(layer.extents)
    if on.spread:
        left[on.spread] = -(-left[on.spread] // len(on.units))
    times = []
    for loop in loops:
        times.append(-(-left[loop.dim] // loop.tile))
        left[loop.dim] = loop.tile
    operation = on.units[0].operation
    cycles = operation.cycles.at(**left, operands=layer.operands, stride=layer.stride) * math.prod(times)
    held = {on.units[0].unit.name: cycles}
    for operand in (*on.operands, OUTPUT):
        for level, hop in enumerate(on.units[0].ways[operand], 1):
            memory = on.memory(operand, level)
            assert memory is not None
            place = place_after(layer, loops, memory, operand, level)
            again = math.prod(
                count
                for count, loop in zip(times[:place], loops[:place], strict=True)
                if loop.dim not in layer.touches(operand)
            )
            for port in (hop.move.source, hop.move.target):
                size = on.on.memory_of(port).element_bytes[operand] * layer.elements(operand, layer.extents)
                shared = 1 if operand == OUTPUT and level == 1 else (2 if operand == OUTPUT and again > 1 else 1)
                held[port] = held.get(port, 0) + shared * again * size // on.on.ports[port].width_bytes
    return max(held.values()), sum(held.values())


def mapping_of(
    layer: LayerShape, on: OperationTarget, tiles: list[dict[str, int]], order: str, inner: str = "gkcrsnpq"
) -> LayerMapping:
    """Return the loops for the tiles of each level: level 1 in an order, those within it in another."""
    limits = on.units[0].operation.at_most
    loops = [
        TileLoop(level, dim, tile[dim])
        for level, tile in enumerate(tiles, 1)
        for dim in (order if level == 1 else inner)
    ]
    loops += [TileLoop(on.levels + 1, dim, limits[dim]) for dim in inner if dim in limits]
    return LayerMapping(loops=tuple(loop for loop in loops if loop.tile < layer.extents[loop.dim]))


def allowed(on: OperationTarget, layer: LayerShape, mapping: LayerMapping) -> bool:
    """Return whether partial sums can go where a mapping sends them, and a softmax has whole rows."""
    loops = real_loops(layer, on, mapping)
    if layer.operation == SOFTMAX and any(loop.dim == "c" for loop in loops):
        return False
    for level, hop in enumerate(on.units[0].ways[OUTPUT], 1):
        memory = on.memory(OUTPUT, level)
        assert memory is not None
        place = place_after(layer, loops, memory, OUTPUT, level)
        if hop.back is None and any(loop.dim in layer.reductions for loop in loops[:place]):
            return False
    return True


def fits(layer: LayerShape, on: OperationTarget, mapping: LayerMapping) -> bool:
    """Return whether all tiles fit in their memories."""
    return all(use.needed_bytes <= use.capacity_bytes for use in tile_uses(layer, on, mapping))


def _least(on: OperationTarget, layer: LayerShape) -> list[dict[str, int]]:
    """Return the smallest tiles: one element; a whole row of a softmax."""
    tile = dict.fromkeys(DIMS, 1)
    if layer.operation == SOFTMAX:
        tile["c"] = layer.extents["c"]
    return [dict(tile) for _ in range(on.levels)]


def _tiles(on: OperationTarget, layer: LayerShape, growth: str) -> list[dict[str, int]] | None:
    """Return a tile for each level, the innermost grown first; None where the smallest do not fit."""
    tiles = _least(on, layer)

    def fit() -> bool:
        return fits(layer, on, mapping_of(layer, on, tiles, _ORDERS[0]))

    if not fit():
        return None
    limits = on.units[0].operation.at_most
    for level in range(on.levels, 0, -1):
        held = [operand for operand in (*on.operands, OUTPUT) if on.memory(operand, level) is not None]
        bound = {dim for operand in held for dim in layer.touches(operand)}
        tile = tiles[level - 1]
        for dim in growth:  # first what one instruction takes, so that units are full
            if dim in limits and (dim in bound or level == 1):
                _grow(tiles, level, dim, [min(limits[dim], layer.extents[dim])], fit)
        for dim in growth:
            if dim in bound or level == 1:
                _grow(tiles, level, dim, _steps(layer.extents[dim], tile[dim]), fit)
    return _followed(on, layer, tiles)


def _followed(on: OperationTarget, layer: LayerShape, tiles: list[dict[str, int]]) -> list[dict[str, int]]:
    """Return the tiles with those of inner levels whole along dimensions that nothing held there has."""
    made = [tiles[0]]
    for level in range(2, on.levels + 1):
        held = [operand for operand in (*on.operands, OUTPUT) if on.memory(operand, level) is not None]
        bound = {dim for operand in held for dim in layer.touches(operand)}
        made.append({dim: size if dim in bound else made[-1][dim] for dim, size in tiles[level - 1].items()})
    return made


def _set(tiles: list[dict[str, int]], level: int, dim: str, size: int) -> None:
    """Set a tile's extent; the tiles around it are at least as large."""
    tiles[level - 1][dim] = size
    for outer in tiles[: level - 1]:
        outer[dim] = max(outer[dim], size)


def _grow(tiles: list[dict[str, int]], level: int, dim: str, sizes: list[int], fit: object) -> None:
    """Take the largest of the sizes that fits."""
    before = [tile[dim] for tile in tiles]
    for size in sorted(sizes, reverse=True):
        if size <= before[level - 1]:
            break
        _set(tiles, level, dim, size)
        if fit():  # type: ignore[operator]
            return
        for tile, old in zip(tiles, before, strict=True):
            tile[dim] = old


def _steps(extent: int, least: int) -> list[int]:
    """Return the sizes that a dimension's tile is tried at: equal parts of it, and powers of two."""
    parts = {-(-extent // count) for count in (1, 2, 3, 4, 6, 7, 8, 14)}
    return sorted(size for size in parts | {1 << power for power in range(extent.bit_length())} if size > least)


def _halved(on: OperationTarget, layer: LayerShape, tiles: list[dict[str, int]], growth: str) -> list[dict[str, int]]:
    """Return the tiles with the outermost's largest dimension of a growth order halved: less to wait for at first."""
    outer = tiles[0]
    limits = on.units[0].operation.at_most
    for dim in growth:
        half = -(-outer[dim] // 2)
        if outer[dim] > 1 and half >= limits.get(dim, 1):
            inner = [{**tile, dim: min(tile[dim], half)} for tile in tiles[1:]]
            return [{**outer, dim: half}, *inner]
    return tiles


def _short(on: OperationTarget, layer: LayerShape) -> Infeasible:
    """Return what is short for the smallest tiles."""
    uses = tile_uses(layer, on, mapping_of(layer, on, _least(on, layer), _ORDERS[0]))
    worst = max(uses, key=lambda use: use.needed_bytes / use.capacity_bytes, default=TileUse("memory", 1, 1))
    if worst.needed_bytes <= worst.capacity_bytes:
        return Infeasible(
            what=f"{layer.name}: a way back for partial sums on {on.on.name}", needed=1, available=0, unit="ways",
            remedy="a move of output from memory to the unit",
        )  # fmt: skip
    return Infeasible(
        what=f"{layer.name}: {worst.memory} for the smallest tiles of {layer.operation}", needed=worst.needed_bytes,
        available=worst.capacity_bytes, unit="bytes", remedy=f"{worst.needed_bytes:,} bytes of {worst.memory}",
    )  # fmt: skip
