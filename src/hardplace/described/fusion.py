"""Fused groups of layers on a described accelerator: run in strips of rows, what lies between them stays on chip.

A group's result is cut into equal strips of rows. For each strip every layer computes the rows that the next one needs
(halos are computed again), its weights are loaded again, and its result stays in the memory where the next layer reads
it, with two places. That memory must be the first on the way of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hardplace.described.layers import LayerShape
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping, place_after, real_loops, tile_uses
from hardplace.described.model import program_time
from hardplace.described.program import Block, NextTile, Repeat, Step, TileRing, totals
from hardplace.described.targets import OperationTarget, target
from hardplace.described.tiling import MOST_TIMED, mappings_of
from hardplace.described.types import ELEMENTWISE, INPUT, OUTPUT, SOFTMAX, WEIGHT, Description

STRIPS = (1, 2, 4, 7, 8, 14)
_PLACES = 2  # of a result that stays


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedGroup:
    """A way to run a group of layers that follow each other.

    Attributes:
        strips: Strips of rows; 1: whole layers.
        program: What is run.
        kept_bytes: Bytes of results that stay on chip, of one strip.
    """

    strips: int
    program: Block
    kept_bytes: int


def fused_groups(on: Description, layers: Sequence[LayerShape]) -> Iterator[FusedGroup]:
    """Yield the ways to run layers as one group that fit, by the number of strips; a layer alone has one."""
    for strips in STRIPS if len(layers) > 1 else (1,):
        made = _group(on, layers, strips)
        if made is not None:
            yield made


def _group(on: Description, layers: Sequence[LayerShape], strips: int) -> FusedGroup | None:
    cut = _strip_layers(layers, strips)
    if cut is None:
        return None
    steps: list[Step] = []
    kept_bytes = 0
    for place, layer in enumerate(cut):
        goal = target(on, layer)
        stays, came = place < len(cut) - 1, place > 0
        if goal is None or (len(cut) > 1 and not _first_memory(goal)):
            return None
        first = goal.memory(OUTPUT, 1)
        size = layer.elements(OUTPUT, layer.extents) * (first.element_bytes[OUTPUT] if first else 0)
        kept_bytes += size if stays else 0
        around = kept_bytes if len(cut) > 1 else 0
        program = _fastest(goal, layer, stays, around)
        if program is None:
            return None
        if stays:
            assert first is not None
            steps.append(NextTile(ring=_result(first.name, place)))
        steps.append(_Renamed(on, goal, layer, place, stays, came).of(program))
    body = Block(steps=tuple(steps))
    whole = Block(steps=(Repeat(count=strips, body=body, text="strips of rows"),)) if strips > 1 else body
    return FusedGroup(strips=strips, program=whole, kept_bytes=kept_bytes)


def _strip_layers(layers: Sequence[LayerShape], strips: int) -> list[LayerShape] | None:
    """Return the layers of one strip, from the last back; None where rows cannot be cut so."""
    if layers[-1].extents["p"] % strips:
        return None
    rows = layers[-1].extents["p"] // strips
    found = [replace(layers[-1], extents={**layers[-1].extents, "p": rows})]
    for layer, after in zip(layers[-2::-1], layers[:0:-1], strict=True):
        e = after.extents
        share = found[-1].extents["p"] / e["p"]  # of the next layer's rows
        window = after.operation not in (ELEMENTWISE, SOFTMAX) and (e["q"] > 1 or e["r"] > 1)
        if window:
            needed = (found[-1].extents["p"] - 1) * after.stride + e["r"]
        else:
            needed = -(-layer.extents["p"] * found[-1].extents["p"] // e["p"])
            if share < 1 and layer.extents["p"] * found[-1].extents["p"] % e["p"]:
                return None
        found.append(replace(layer, extents={**layer.extents, "p": min(layer.extents["p"], needed)}))
    return found[::-1]


def _first_memory(goal: OperationTarget) -> bool:
    """Return whether results can be read where they lie: one memory, that of no unit alone, first on both ways."""
    memory = goal.memory(OUTPUT, 1)
    return memory is not None and goal.memory(INPUT, 1) == memory and (not goal.spread or goal.spread_level > 1)


def _fastest(goal: OperationTarget, layer: LayerShape, stays: bool, kept_bytes: int) -> Block | None:
    """Return the fastest program of a strip's layer of those that leave room for what is kept, as `tiled` does."""
    found: list[tuple[int, Block]] = []
    for mapping in dict.fromkeys(mappings_of(goal, layer)):
        if stays and not _whole(goal, layer, mapping):
            continue
        uses = {use.memory: use for use in tile_uses(layer, goal, mapping)}
        memory = goal.memory(OUTPUT, 1)
        use = uses.get(memory.name) if memory is not None else None
        if use is not None and kept_bytes and use.needed_bytes + _PLACES * kept_bytes > use.capacity_bytes:
            continue
        program = lowered(goal, layer, mapping)
        found.append((max(totals(program)[1].values()), program))
    found.sort(key=lambda one: one[0])
    timed = [(program_time(goal.on, program).cycles, place) for place, (_, program) in enumerate(found[:MOST_TIMED])]
    return found[min(timed)[1]][1] if timed else None


def _whole(goal: OperationTarget, layer: LayerShape, mapping: LayerMapping) -> bool:
    """Return whether a mapping has the result as one tile in its first memory."""
    memory = goal.memory(OUTPUT, 1)
    return memory is not None and place_after(layer, real_loops(layer, goal, mapping), memory, OUTPUT, 1) == 0


def _result(memory: str, place: int) -> TileRing:
    return TileRing(memory, f"{OUTPUT} {place}", _PLACES)


class _Renamed:
    """A layer's program within a group: its tiles have names of their own, moves that fusion saves are gone."""

    def __init__(self, on: Description, goal: OperationTarget, layer: LayerShape, place: int, stays: bool, came: bool):
        """Keep what is asked of every step."""
        self._backing, self._layer, self._place, self._stays, self._came = on.backing.name, layer, place, stays, came
        memory = goal.memory(OUTPUT, 1)
        self._memory = memory.name if memory is not None else ""
        self._known: dict[Block, Block] = {}

    def of(self, block: Block) -> Block:
        """Return the block with every step renamed, parts that are shared made once."""
        if block not in self._known:
            steps = [new for step in block.steps for new in self._step(step)]
            self._known[block] = Block(steps=tuple(steps))
        return self._known[block]

    def _step(self, step: Step) -> tuple[Step, ...]:
        if isinstance(step, Block):
            return (self.of(step),)
        if isinstance(step, Repeat):
            return (replace(step, body=self.of(step.body)),)
        if isinstance(step, NextTile):
            gone = (self._came_whole and self._is(step.ring, INPUT)) or (self._stays and self._is(step.ring, OUTPUT))
            return () if gone else (NextTile(ring=self._ring(step.ring)),)
        saved = 1
        if self._stays and step.text.startswith("store ") and step.text.endswith(f"to {self._backing}"):
            return ()
        if self._came and step.text.startswith(f"load {INPUT}") and f"from {self._backing} " in step.text:
            if self._came_whole:
                return ()
            saved = self._layer.operands  # one of so many operands is there
        busy = step.busy_cycles - step.busy_cycles // saved if saved > 1 else step.busy_cycles
        ports = tuple((name, held - held // saved if saved > 1 else held) for name, held in step.ports)
        reads = [self._ring(ring) for ring in step.reads]
        if self._came and any(self._is(ring, INPUT) for ring in step.reads):
            reads = [ring for ring in reads if not (self._came_whole and self._is(ring, f"{INPUT} {self._place}"))]
            reads.append(_result(self._memory, self._place - 1))
        return (
            replace(
                step, busy_cycles=busy, ports=ports, reads=tuple(reads), writes=tuple(map(self._ring, step.writes))
            ),
        )

    @property
    def _came_whole(self) -> bool:
        return self._came and self._layer.operands == 1

    def _is(self, ring: TileRing, operand: str) -> bool:
        return ring.memory == self._memory and ring.operand == operand

    def _ring(self, ring: TileRing) -> TileRing:
        if self._stays and self._is(ring, OUTPUT):
            return _result(self._memory, self._place)
        return ring._replace(operand=f"{ring.operand} {self._place}")


def group_bytes(layers: Sequence[LayerShape]) -> tuple[int, int, int]:
    """Return elements that a group reads from outside, has as weights, and gives as its result."""
    outside = layers[0].elements(INPUT, layers[0].extents)
    for layer in layers[1:]:
        outside += layer.elements(INPUT, layer.extents) * (layer.operands - 1) // layer.operands
    weights = sum(layer.elements(WEIGHT, layer.extents) for layer in layers if layer.touches(WEIGHT))
    return outside, weights, layers[-1].elements(OUTPUT, layers[-1].extents)
