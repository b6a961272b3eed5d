"""From a layer and its mapping to a program: loops of instructions with loads, stores, partial sums, edge tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hardplace.described.layers import LayerShape
from hardplace.described.mapping import LayerMapping, TileLoop, buffers_of, place_after, real_loops
from hardplace.described.program import Block, Instruction, NextTile, Repeat, Step, TileRing
from hardplace.described.routes import Hop
from hardplace.described.targets import OperationTarget
from hardplace.described.types import DIMS, OUTPUT, DataMove, FunctionalUnit

_Flags = tuple[tuple[bool, bool], ...]  # for each level of the output: first sum, last sum


class _At(NamedTuple):
    """Where in the loops: after how many, with which extents, for which units, with which sums."""

    after: int
    extents: tuple[int, ...]
    units: tuple[int, ...]
    flags: _Flags


class Lowering:
    """The program of one layer; parts that are alike are made once and shared."""

    def __init__(self, on: OperationTarget, layer: LayerShape, mapping: LayerMapping):
        """Lay out where tiles are chosen."""
        self.on, self.layer = on, layer
        self.loops: tuple[TileLoop, ...] = real_loops(layer, on, mapping)
        self.spread_at = next(
            (index for index, loop in enumerate(self.loops) if loop.level >= on.spread_level), len(self.loops)
        )
        self.loads: list[list[tuple[str, int]]] = [[] for _ in range(len(self.loops) + 1)]
        self.sums: list[list[int]] = [[] for _ in range(len(self.loops) + 1)]
        for level in range(1, on.levels + 1):
            for operand in on.operands:
                if level <= len(on.units[0].ways[operand]):
                    self.loads[self._chosen(operand, level)].append((operand, level))
        self.out_levels = len(on.units[0].ways[OUTPUT])
        self.out_at = [self._chosen(OUTPUT, level) for level in range(1, self.out_levels + 1)]
        for level, place in enumerate(self.out_at, 1):
            self.sums[place].append(level)
        self.known: dict[_At, Block] = {}
        self._rings: dict[tuple[str, int, int], TileRing] = {}
        self._made: dict[tuple[object, ...], Instruction] = {}

    def program(self) -> Block:
        """Return the program of the whole layer."""
        flags = ((True, True),) * self.out_levels
        every = tuple(range(len(self.on.units)))
        return self._from(
            _At(after=0, extents=tuple(self.layer.extents[dim] for dim in DIMS), units=every, flags=flags),
            spread=bool(self.on.spread),
        )

    def _chosen(self, operand: str, level: int) -> int:
        """Return after how many loops an operand's tile at a level is chosen; a unit's own: after the parts are."""
        memory = self.on.memory(operand, level)
        assert memory is not None
        place = place_after(self.layer, self.loops, memory, operand, level)
        return max(place, self.spread_at) if self.on.spread and level >= self.on.spread_level else place

    def _from(self, at: _At, spread: bool = False) -> Block:
        """Return what is done from some place in the loops on."""
        if not spread and at in self.known:
            return self.known[at]
        extents = dict(zip(DIMS, at.extents, strict=True))
        steps: list[Step] = []
        for operand, level in self.loads[at.after]:
            if not self._belongs(level, spread):
                continue
            for unit in self._units(at, level):
                steps += [NextTile(ring=self._ring(operand, level, unit)), self._load(operand, level, unit, extents)]
        here = [level for level in self.sums[at.after] if self._belongs(level, spread)]
        for level in here:
            for unit in self._units(at, level):
                steps.append(NextTile(ring=self._ring(OUTPUT, level, unit)))
                if not at.flags[level - 1][0]:
                    steps.append(self._reload(level, unit, extents))
        if spread and at.after == self.spread_at:
            steps.append(self._parts(at))
        elif at.after == len(self.loops):
            steps += [self._compute(unit, extents) for unit in at.units]
        else:
            steps += self._loop(at, spread)
        for level in reversed(here):
            steps += [self._store(level, unit, extents, at.flags[level - 1][1]) for unit in self._units(at, level)]
        made = Block(steps=tuple(steps))
        if not spread:
            self.known[at] = made
        return made

    def _own(self, level: int) -> bool:
        """Return whether each unit has its own tiles at a level, when the parts are still to be taken."""
        return bool(self.on.spread) and level >= self.on.spread_level

    def _belongs(self, level: int, spread: bool) -> bool:
        """Return whether tiles of a level are chosen here, before the parts are taken (spread) or after."""
        return not self.on.spread or self._own(level) != spread

    def _units(self, at: _At, level: int) -> tuple[int, ...]:
        return at.units if self._own(level) else (0,)

    def _parts(self, at: _At) -> Block:
        """Return the parts of the shared dimension, as equal as whole numbers are, in step; what is left after them."""
        index = DIMS.index(self.on.spread)
        size = at.extents[index]
        part = -(-size // len(self.on.units))
        full, rest = divmod(size, part)
        steps: list[Step] = []
        for units, extent in ((tuple(range(full)), part), ((full,), rest)):
            if extent:
                extents = (*at.extents[:index], extent, *at.extents[index + 1 :])
                steps.append(self._from(_At(after=at.after, extents=extents, units=units, flags=at.flags)))
        return Block(steps=tuple(steps))

    def _loop(self, at: _At, spread: bool) -> list[Step]:
        """Return a loop: whole tiles, then what is left; of sums the first and the last apart where they differ."""
        loop = self.loops[at.after]
        index = DIMS.index(loop.dim)
        size = at.extents[index]
        whole, rest = divmod(size, loop.tile)
        count = whole + (rest > 0)
        outside = [at.after < place for place in self.out_at]
        apart = loop.dim in self.layer.reductions and any(outside) and count > 1
        pieces = [(whole, loop.tile, False, False)] + [(1, rest, False, False)] * (rest > 0)
        if apart:
            pieces = [(1, loop.tile, True, False)]
            pieces += [(whole - (1 if rest else 2), loop.tile, False, False)]
            pieces += [(1, rest or loop.tile, False, True)]
        steps: list[Step] = []
        for times, extent, first, last in pieces:
            if times <= 0:
                continue
            flags = at.flags
            if apart:
                flags = tuple(
                    (old[0] and first, old[1] and last) if out else old
                    for old, out in zip(at.flags, outside, strict=True)
                )
            extents = (*at.extents[:index], extent, *at.extents[index + 1 :])
            body = self._from(_At(after=at.after + 1, extents=extents, units=at.units, flags=flags), spread)
            steps.append(
                body if times == 1 else Repeat(count=times, body=body, text=f"{loop.dim} in steps of {extent}")
            )
        return steps

    def _ring(self, operand: str, level: int, unit: int) -> TileRing:
        key = (operand, level, unit)
        if key not in self._rings:
            memory = self.on.memory(operand, level, unit)
            assert memory is not None
            owner = self.on.units[unit].unit.name if self._own(level) else ""
            count = buffers_of(self.layer, self.loops, memory, operand, level)
            self._rings[key] = TileRing(memory.name, operand, count, owner)
        return self._rings[key]

    def _load(self, operand: str, level: int, unit: int, extents: Mapping[str, int]) -> Instruction:
        key = ("load", operand, level, unit, *[extents[dim] for dim in self.layer.touches(operand)])
        if key not in self._made:
            self._made[key] = self._new_load(operand, level, unit, extents)
        return self._made[key]

    def _new_load(self, operand: str, level: int, unit: int, extents: Mapping[str, int]) -> Instruction:
        hop = self.on.units[unit].ways[operand][level - 1]
        reads = (self._ring(operand, level - 1, unit),) if level > 1 else ()
        return self._move("load", hop.unit, hop.move, extents, reads, (self._ring(operand, level, unit),))

    def _store(self, level: int, unit: int, extents: Mapping[str, int], last: bool) -> Instruction:
        key = ("store", level, unit, last, *[extents[dim] for dim in self.layer.touches(OUTPUT)])
        if key not in self._made:
            self._made[key] = self._new_store(level, unit, extents, last)
        return self._made[key]

    def _new_store(self, level: int, unit: int, extents: Mapping[str, int], last: bool) -> Instruction:
        hop = self.on.units[unit].ways[OUTPUT][level - 1]
        writes = (self._ring(OUTPUT, level - 1, unit),) if level > 1 else ()
        reads: tuple[TileRing, ...] = (self._ring(OUTPUT, level, unit),)
        if hop.unit.retires:
            held = [operand for operand in self.on.operands if level <= len(self.on.units[unit].ways[operand])]
            reads += tuple(self._ring(operand, level, unit) for operand in held)
        return self._move("store" if last else "spill", hop.unit, hop.move, extents, reads, writes, partial=not last)

    def _reload(self, level: int, unit: int, extents: Mapping[str, int]) -> Instruction:
        hop: Hop = self.on.units[unit].ways[OUTPUT][level - 1]
        assert hop.back is not None, "a mapping that spills where nothing comes back"
        assert hop.back_unit is not None
        reads = (self._ring(OUTPUT, level - 1, unit),) if level > 1 else ()
        writes = (self._ring(OUTPUT, level, unit),)
        return self._move("reload", hop.back_unit, hop.back, extents, reads, writes, partial=True)

    def _move(
        self,
        verb: str,
        unit: FunctionalUnit,
        move: DataMove,
        extents: Mapping[str, int],
        reads: tuple[TileRing, ...],
        writes: tuple[TileRing, ...],
        partial: bool = False,
    ) -> Instruction:
        """Return a move of a tile: each port and path held for its bytes, the unit for the longest, or for its rows."""
        on = self.on.on
        source, goal = on.memory_of(move.source), on.memory_of(move.target)
        rows, row, pitch = self.layer.rows(move.operand, extents, unit.merges, unit.skips)
        size = {memory.name: memory.element_bytes[move.operand] for memory in (source, goal)}
        widest = max(size.values())
        if partial:
            size = dict.fromkeys(size, widest)
        ports = [(move.source, size[source.name]), (move.target, size[goal.name])]
        ports += [(path, widest) for path in move.via]
        held = tuple((port, _quotient(rows * row * bytes_, on.ports[port].width_bytes)) for port, bytes_ in ports)
        outer = goal if move.operand == OUTPUT and not partial else source
        by_rows = rows * unit.row_cycles.at(bytes=row * size[outer.name], pitch=pitch * size[outer.name])
        least = move.cycles.at(**extents, stride=self.layer.stride)
        return Instruction(
            text=f"{verb} {move.operand} {'x'.join(map(str, self.layer.sizes(move.operand, extents, unit.skips)))} "
            f"from {source.name} to {goal.name}",
            unit=unit.name,
            busy_cycles=unit.setup_cycles + max(1, by_rows, least, *(cycles for _, cycles in held)),
            latency_cycles=unit.latency_cycles
            + source.latency_cycles
            + sum(on.ports[path].latency_cycles for path in move.via),
            ports=held,
            reads=reads,
            writes=writes,
        )

    def _compute(self, unit: int, extents: Mapping[str, int]) -> Instruction:
        key = (unit, *extents.values())
        if key not in self._made:
            self._made[key] = self._new_compute(unit, extents)
        return self._made[key]

    def _new_compute(self, unit: int, extents: Mapping[str, int]) -> Instruction:
        routes = self.on.units[unit]
        operation, on = routes.operation, self.on.on
        free = {**extents, "operands": self.layer.operands, "stride": self.layer.stride}
        cycles = operation.cycles.at(**free)
        ends = [(operand, operation.reads[operand]) for operand in self.on.operands] + [(OUTPUT, operation.writes)]
        held: dict[str, int] = {}
        for operand, port in ends:
            bytes_ = self.layer.elements(operand, extents) * on.memory_of(port).element_bytes[operand]
            held[port] = held.get(port, 0) + _quotient(bytes_, on.ports[port].width_bytes)
        rings = {
            operand: self._ring(operand, len(routes.ways[operand]), unit) for operand, _ in ends if routes.ways[operand]
        }
        latency = max(on.memory_of(operation.reads[operand]).latency_cycles for operand in self.on.operands)
        size = "x".join(f"{dim}{extents[dim]}" for dim in DIMS if extents[dim] > 1) or "1"
        return Instruction(
            text=f"{self.layer.operation} {size}",
            unit=routes.unit.name,
            busy_cycles=routes.unit.setup_cycles + max(1, cycles, *held.values()),
            latency_cycles=routes.unit.latency_cycles + operation.latency_cycles.at(**free) + latency,
            ports=tuple(held.items()),
            reads=tuple(rings[operand] for operand in self.on.operands if operand in rings),
            writes=(rings[OUTPUT],) if OUTPUT in rings else (),
        )


def _quotient(size: int, width: int) -> int:
    return -(-size // width)


def lowered(on: OperationTarget, layer: LayerShape, mapping: LayerMapping) -> Block:
    """Return the program of a layer with its mapping."""
    return Lowering(on, layer, mapping).program()
