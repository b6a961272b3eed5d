"""The study on fusions: which predictor groups the layers of a block, against every grouping at the simulator's cycles.

A block is a chain of layers; a grouping cuts it into groups that are run as `described.fusion` does, each in some
number of strips. The generated model is the simulator where it is proven; the groups that are chosen are simulated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardplace.cost.learned.fitting.boosting import booster
from hardplace.cost.learned.study.types import FusionResult, FusionScore
from hardplace.described.fusion import FusedGroup, fused_groups, group_bytes
from hardplace.described.layers import LayerShape, convolution, elementwise, product, softmax
from hardplace.described.model import program_time
from hardplace.described.program import Block, totals
from hardplace.described.reading import read_description
from hardplace.described.simulate import simulate
from hardplace.described.types import Description
from hardplace.ndtypes import Floats

_ACCELERATORS = ("eyeriss", "vector-dsp")  # that can read a result where it lies
_TRAINED_ON = 10  # random chains of each accelerator
_ITERATIONS, _LEAVES = 300, 15


def blocks() -> dict[str, tuple[LayerShape, ...]]:
    """Return the judged blocks, small enough to simulate."""
    heads, tokens, width, hidden = 2, 28, 32, 96
    side, image = 14, 14 * 14
    return {
        "ResNet bottleneck, 14 x 14": (
            convolution("reduce", 32, 16, (side, side)), convolution("middle", 16, 16, (side, side), (3, 3)),
            convolution("expand", 16, 32, (side, side)), elementwise("sum", 32 * image, 2),
        ),
        "MobileNet block, 14 x 14": (
            convolution("expand", 16, 48, (side, side)),
            convolution("depthwise", 48, 48, (side, side), (3, 3), groups=48),
            convolution("project", 48, 16, (side, side)), elementwise("sum", 16 * image, 2),
        ),
        "Llama block, 28 tokens": (
            product("scores", tokens, tokens, width // heads, heads), softmax("softmax", heads * tokens, tokens),
            product("values", tokens, width // heads, tokens, heads), product("out", tokens, width, width),
            elementwise("sum", tokens * width, 2), product("gate", tokens, hidden, width),
            elementwise("times up", tokens * hidden, 2), product("down", tokens, width, hidden),
            elementwise("second sum", tokens * width, 2),
        ),
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGroup:
    """A group of a block with a number of strips, and what is known of it.

    Attributes:
        group: The group.
        seen: Features that a purely learned model has: logarithms of sizes, counts of layers, the accelerator.
        held: Cycles of its most held unit, sum over units, instructions.
        cycles: By the generated model, proven.
    """

    group: FusedGroup
    seen: tuple[float, ...]
    held: tuple[float, float, float]
    cycles: int


def fusion_splits() -> Iterator[FusionResult]:
    """Yield the regret of each predictor on each accelerator and block."""
    draw = random.Random(1)
    known = [segments_of(read_description(name), _chain(draw)) for name in _ACCELERATORS for _ in range(_TRAINED_ON)]
    ways = [way for segments in known for some in segments.values() for way in some]
    seen, held = np.array([way.seen for way in ways]), np.log2(np.array([way.held for way in ways]))
    cycles = np.log(np.array([way.cycles for way in ways], dtype=np.float64))
    bound = held[:, 0] * np.log(2.0)
    residual = booster(_ITERATIONS, _LEAVES).fit(np.concatenate([seen, held], axis=1), cycles - bound)
    learned = booster(_ITERATIONS, _LEAVES).fit(seen, cycles)
    for name in _ACCELERATORS:
        on = read_description(name)
        for title, layers in blocks().items():
            yield _judged(on, title, layers, residual, learned)


def _chain(draw: random.Random) -> tuple[LayerShape, ...]:
    """Return a random chain of three or four layers, of a kind with the judged ones but of other sizes."""
    if draw.random() < 0.5:
        side = draw.choice([8, 14, 16, 28])
        wide, narrow = draw.randint(8, 40), draw.randint(8, 32)
        middle = convolution("middle", narrow, narrow, (side, side), (3, 3), groups=draw.choice([1, narrow]))
        last = convolution("expand", narrow, wide, (side, side))
        return (
            convolution("reduce", wide, narrow, (side, side)), middle, last, elementwise("sum", wide * side * side, 2)
        )  # fmt: skip
    tokens, width, hidden = draw.choice([14, 28, 32, 56]), draw.randint(8, 48), draw.randint(16, 96)
    return (
        product("up", tokens, hidden, width), elementwise("activation", tokens * hidden, draw.randint(1, 2)),
        product("down", tokens, width, hidden), elementwise("sum", tokens * width, 2),
    )  # fmt: skip


def segments_of(on: Description, layers: Sequence[LayerShape]) -> dict[tuple[int, int], list[PricedGroup]]:
    """Return the ways to run every group of layers that follow each other; none where no way fits."""
    found = {}
    for first in range(len(layers)):
        for end in range(first + 1, len(layers) + 1):
            found[first, end] = [_way(on, layers[first:end], group) for group in fused_groups(on, layers[first:end])]
    return found


def _way(on: Description, layers: Sequence[LayerShape], group: FusedGroup) -> PricedGroup:
    count, held = totals(group.program)
    time = program_time(on, group.program)
    assert time.exact, "a group whose cycles are not proven"
    outside, weights, result = group_bytes(layers)
    sizes = (sum(layer.macs for layer in layers), outside, weights, result, group.kept_bytes, group.strips)
    kinds = [sum(layer.operation == kind for layer in layers) for kind in ("convolution", "depthwise", "elementwise")]
    return PricedGroup(
        group=group,
        seen=(*np.log2(np.array(sizes) + 1.0), len(layers), *kinds, float(on.name == _ACCELERATORS[0])),
        held=(max(held.values()), sum(held.values()), count),
        cycles=time.cycles,
    )


def _judged(on: Description, title: str, layers: Sequence[LayerShape], residual: Any, learned: Any) -> FusionResult:
    segments = segments_of(on, layers)

    def with_residual(ways: Sequence[PricedGroup]) -> Floats:
        held = np.array([way.held for way in ways])
        both = np.concatenate([np.array([way.seen for way in ways]), np.log2(held)], axis=1)
        return np.asarray(held[:, 0] * np.exp(residual.predict(both)))

    predictors: dict[str, Callable[[Sequence[PricedGroup]], Floats]] = {
        "nothing fused": lambda ways: np.array([float(way.cycles) for way in ways]),
        "most held unit": lambda ways: np.array([way.held[0] for way in ways]),
        "with residual": with_residual,
        "learned": lambda ways: np.exp(learned.predict(np.array([way.seen for way in ways]))),
        "generated model": lambda ways: np.array([float(way.cycles) for way in ways]),
    }
    best = grouped(segments, predictors["generated model"], len(layers))
    fewest = sum(way.cycles for way in best)
    scores, simulated = list[FusionScore](), dict[Block, int]()
    for name, predict in predictors.items():
        allowed = {key: ways for key, ways in segments.items() if name != "nothing fused" or key[1] - key[0] == 1}
        chosen = grouped(allowed, predict, len(layers))
        for way in chosen:
            if way.group.program not in simulated:
                simulated[way.group.program] = simulate(on, way.group.program)
            assert simulated[way.group.program] == way.cycles, "the model is not the simulator"
        cycles = sum(way.cycles for way in chosen)
        scores.append(FusionScore(predictor=name, groups=len(chosen), cycles=cycles, regret=cycles / fewest - 1.0))
    ways = sum(map(len, segments.values()))
    return FusionResult(accelerator=on.name, block=title, layers=len(layers), ways=ways, scores=tuple(scores))


def grouped(
    segments: Mapping[tuple[int, int], Sequence[PricedGroup]],
    predict: Callable[[Sequence[PricedGroup]], Floats],
    layers: int,
) -> list[PricedGroup]:
    """Return the groups whose predicted cycles are fewest in all: the shortest path over the places to cut."""
    best: list[tuple[float, list[PricedGroup]]] = [(0.0, [])]
    for end in range(1, layers + 1):
        found: list[tuple[float, list[PricedGroup]]] = []
        for first in range(end):
            ways = segments.get((first, end), ())
            if not ways or best[first][0] == float("inf"):
                continue
            predicted = predict(ways)
            least = int(np.argmin(predicted))
            found.append((best[first][0] + float(predicted[least]), [*best[first][1], ways[least]]))
        best.append(min(found, key=lambda one: one[0], default=(float("inf"), [])))
    assert best[-1][1], "a layer that nothing runs"
    return best[-1][1]
