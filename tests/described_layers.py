"""Random small layers with random mappings, for the model against the simulator."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hardplace.described.layers import LayerShape, convolution, elementwise, pool, product, softmax
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping
from hardplace.described.program import Block, totals
from hardplace.described.targets import OperationTarget, target
from hardplace.described.tiling import allowed, fits, mapping_of, mappings_of
from hardplace.described.types import SOFTMAX, Description

LOOPS = "gnkpqcrs"


def random_layer(draw: random.Random) -> LayerShape:
    """Return a small layer of any operation."""
    size = draw.randint
    match draw.randrange(6):
        case 0:
            return product("product", size(1, 60), size(1, 60), size(1, 60), size(1, 2))
        case 1:
            window = draw.choice([(1, 1), (3, 3), (3, 1), (5, 5)])
            return convolution("convolution", size(1, 20), size(1, 24), (size(5, 12), size(5, 12)), window, size(1, 2))
        case 2:
            channels = size(2, 20)
            hw = (size(5, 10), size(5, 10))
            return convolution("depthwise", channels, channels, hw, (3, 3), size(1, 2), groups=channels)
        case 3:
            window = draw.choice([(2, 2), (3, 3)])
            return pool("pool", size(1, 40), (size(4, 12), size(4, 12)), window, size(1, 2))
        case 4:
            return elementwise("elementwise", size(1, 5000), size(1, 3))
    return softmax("softmax", size(1, 40), size(1, 60))


def random_mapping(draw: random.Random, on: OperationTarget, layer: LayerShape) -> LayerMapping | None:
    """Return a mapping with any tiles that fit and any loop orders; None if even the search has none."""
    for _ in range(30):
        tiles, around = [], dict(layer.extents)
        for _ in range(on.levels):
            around = {dim: draw.choice([1, -(-size // 3), -(-size // 2), size, size]) for dim, size in around.items()}
            if layer.operation == SOFTMAX:
                around["c"] = layer.extents["c"]
            tiles.append(around)
        order, inner = (("".join(draw.sample(LOOPS, len(LOOPS)))) for _ in range(2))
        mapping = mapping_of(layer, on, tiles, order, inner)
        if allowed(on, layer, mapping) and fits(layer, on, mapping):
            return mapping
    return next(mappings_of(on, layer), None)


def random_programs(
    descriptions: tuple[Description, ...], count: int, seed: int, most: int
) -> Iterator[tuple[Description, LayerShape, Block]]:
    """Return programs of at most so many instructions, the descriptions in turn."""
    draw = random.Random(seed)
    made = 0
    while made < count:
        on, layer = descriptions[made % len(descriptions)], random_layer(draw)
        goal = target(on, layer)
        mapping = None if goal is None else random_mapping(draw, goal, layer)
        if goal is None or mapping is None:
            continue
        program = lowered(goal, layer, mapping)
        if totals(program)[0] <= most:
            made += 1
            yield on, layer, program
