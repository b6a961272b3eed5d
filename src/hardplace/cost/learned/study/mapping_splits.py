"""The study on mappings: which predictor chooses among the mappings of a layer, against all of them simulated."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardplace.cost.learned.fitting.boosting import booster
from hardplace.cost.learned.judge import kendall_tau
from hardplace.cost.learned.study.types import MappingResult, RegretScore
from hardplace.described.layers import LayerShape, convolution, product
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping
from hardplace.described.model import program_time
from hardplace.described.program import Block, totals
from hardplace.described.reading import description_names, read_description
from hardplace.described.simulate import simulate
from hardplace.described.targets import OperationTarget, target
from hardplace.described.tiling import allowed, fits, mapping_of, mappings_of
from hardplace.described.types import DIMS, Description
from hardplace.ndtypes import Floats

_MOST_INSTRUCTIONS = 500
_RANDOM_MAPPINGS = 24  # beside those of the search, so that bad ones are in the space too
_ITERATIONS, _LEAVES = 300, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A layer on a description with all its mappings.

    Attributes:
        on: Name of the description.
        programs: Program of each mapping.
        seen: Features that a purely learned model has: sizes, tiles and orders, no cycles.
        held: Most held unit of each, sum over units, instructions.
        cycles: Of each, by the generated model.
    """

    on: Description
    programs: tuple[Block, ...]
    seen: Floats
    held: Floats
    cycles: Floats


def mapping_splits(layers: int = 2) -> Iterator[MappingResult]:
    """Yield regret on unseen layers, of each description, and on an unseen description; layers: judged, of each."""
    descriptions = [read_description(name) for name in description_names()]
    train = {on.name: list(_cases(on, 4 * layers, 1)) for on in descriptions}
    test = {on.name: list(_cases(on, layers, 2)) for on in descriptions}
    truth = {name: [_simulated(case) for case in cases] for name, cases in test.items()}
    everyone = [case for cases in train.values() for case in cases]
    predictors = _trained(everyone)
    for name, cases in test.items():
        yield _regret("unseen layers", name, cases, truth[name], predictors)
    for name, cases in test.items():
        others = [case for other, found in train.items() if other != name for case in found]
        yield _regret("unseen accelerator", name, cases, truth[name], _trained(others))


def _cases(on: Description, count: int, seed: int) -> Iterator[_Case]:
    draw = random.Random(f"{on.name} {seed}")
    found = 0
    while found < count:
        if draw.random() < 0.5:
            layer = product("product", *(draw.randint(8, 96) for _ in range(3)))
        else:
            sizes = (draw.randint(4, 12), draw.randint(4, 12))
            layer = convolution("convolution", draw.randint(2, 32), draw.randint(4, 48), sizes, (3, 3), 1)
        goal = target(on, layer)
        assert goal is not None
        mappings = list(dict.fromkeys([*mappings_of(goal, layer), *_drawn(draw, goal, layer)]))
        rows = [(mapping, lowered(goal, layer, mapping)) for mapping in mappings]
        rows = [(mapping, program) for mapping, program in rows if totals(program)[0] <= _MOST_INSTRUCTIONS]
        if len(rows) < 8:
            continue
        found += 1
        held = [totals(program) for _, program in rows]
        yield _Case(
            on=on,
            programs=tuple(program for _, program in rows),
            seen=np.array([_features(goal, layer, mapping) for mapping, _ in rows]),
            held=np.array([(max(of.values()), sum(of.values()), count) for count, of in held], dtype=np.float64),
            cycles=np.array([program_time(on, program).cycles for _, program in rows], dtype=np.float64),
        )


def _drawn(draw: random.Random, on: OperationTarget, layer: LayerShape) -> Iterator[LayerMapping]:
    """Yield mappings with any tiles that fit and any loop orders."""
    for _ in range(4 * _RANDOM_MAPPINGS):
        tiles, around = [], dict(layer.extents)
        for _ in range(on.levels):
            around = {dim: draw.choice([-(-size // 3), -(-size // 2), size, size]) for dim, size in around.items()}
            tiles.append(around)
        orders = ["".join(draw.sample(DIMS, len(DIMS))) for _ in range(2)]
        mapping = mapping_of(layer, on, tiles, *orders)
        if allowed(on, layer, mapping) and fits(layer, on, mapping):
            yield mapping


def _features(on: OperationTarget, layer: LayerShape, mapping: LayerMapping) -> list[float]:
    """Return logarithms of extents and of tiles of two levels, each dimension's place in the loops, the accelerator."""
    row = [math.log2(layer.extents[dim]) for dim in DIMS]
    for level in (1, 2):
        tiles = {loop.dim: loop.tile for loop in mapping.loops if loop.level == level}
        order = [loop.dim for loop in mapping.loops if loop.level == level]
        row += [math.log2(tiles.get(dim, layer.extents[dim])) for dim in DIMS]
        row += [float(order.index(dim)) if dim in order else -1.0 for dim in DIMS]
    return [*row, *(float(on.on.name == name) for name in description_names())]


def _trained(cases: Sequence[_Case]) -> tuple[Any, Any]:
    """Return the trained residual over the bound, and the purely learned model: of cycles over a layer's mean."""
    seen = np.concatenate([case.seen for case in cases])
    held = np.log2(np.concatenate([case.held for case in cases]))
    cycles = np.log(np.concatenate([case.cycles for case in cases]))
    bound = held[:, 0] * math.log(2)
    residual = booster(_ITERATIONS, _LEAVES).fit(np.concatenate([seen, held], axis=1), cycles - bound)
    return residual, booster(_ITERATIONS, _LEAVES).fit(seen, cycles)


def _simulated(case: _Case) -> Floats:
    return np.array([simulate(case.on, program) for program in case.programs], dtype=np.float64)


def _regret(
    question: str, name: str, cases: Sequence[_Case], truth: Sequence[Floats], trained: tuple[Any, Any]
) -> MappingResult:
    residual, learned = trained
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for case, cycles in zip(cases, truth, strict=True):
        both = np.concatenate([case.seen, np.log2(case.held)], axis=1)
        predicted = {
            "most held unit": case.held[:, 0],
            "most held unit with residual": case.held[:, 0] * np.exp(residual.predict(both)),
            "learned": np.exp(learned.predict(case.seen)),
            "generated model": case.cycles,
        }
        best = cycles.min()
        for key, of in predicted.items():
            order = np.argsort(of, kind="stable")
            one, five = cycles[order[0]] / best - 1.0, cycles[order[:5]].min() / best - 1.0
            error = float(np.abs(of / cycles - 1.0).mean())
            lines.setdefault(key, []).append((float(one), float(five), kendall_tau(of, cycles), error))
    scores = tuple(
        RegretScore(
            predictor=key, top1=float(np.mean([line[0] for line in of])), worst1=max(line[0] for line in of),
            top5=float(np.mean([line[1] for line in of])), tau=float(np.mean([line[2] for line in of])),
            mape=float(np.mean([line[3] for line in of])),
        )
        for key, of in lines.items()
    )  # fmt: skip
    return MappingResult(
        question=f"mappings: {question}", split=name, layers=len(cases), mappings=sum(len(of) for of in truth),
        scores=scores,
    )  # fmt: skip
