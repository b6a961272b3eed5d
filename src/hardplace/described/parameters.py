"""Search over an accelerator's parameters: best first by roofline bounds, the generated model evaluates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hardplace.answers import Answer, Infeasible
from hardplace.certificate import Certificate
from hardplace.described.answer import DescribedAccelerator, described_accelerator
from hardplace.described.expression import Expression
from hardplace.described.layers import LayerShape
from hardplace.described.targets import OperationTarget, target
from hardplace.described.types import DIMS, OUTPUT, Description

MOST_CANDIDATES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterChoice:
    """Values of the parameters that vary.

    Attributes:
        variant: The values in words, such as rows=8 columns=16.
        values: By name.
        on_chip_bytes: Bytes of all its memories but the one where operands lie.
        bound_cycles: Cycles that no mapping of the layers is below, by the roofline of units and memory.
        cycles: Cycles by the generated model; None where the bound made it needless, or no mapping fits.
        what: Evaluated, bounded, or what is short.
    """

    variant: str
    values: Mapping[str, int]
    on_chip_bytes: int
    bound_cycles: int
    cycles: int | None
    what: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ParameterResult(Answer):
    """The fastest of an accelerator's variants for some layers, with its proof.

    Attributes:
        best: The fastest variant, with its layers.
        choices: Every variant, by bound.
        proof: That none is faster.
    """

    best: DescribedAccelerator
    choices: tuple[ParameterChoice, ...]
    proof: Certificate

    ROWS: ClassVar[str] = "choices"

    @property
    def certificate(self) -> Certificate:
        """Return the proof that no variant is faster; a rate of all layers together, 1/s."""
        return self.proof


def fastest_parameters(
    variant: Callable[[Mapping[str, int]], Description],
    vary: Mapping[str, Sequence[int]],
    within: Sequence[tuple[Expression, int]],
    layers: Sequence[LayerShape],
    network: str,
) -> ParameterResult | Infeasible:
    """Return the fastest of all combinations of parameters for layers run one after the other.

    Variants are evaluated by rising bound until the next bound is not below the best value: what is left cannot be
    faster. Infeasible where nothing is within the limits, or no variant has a mapping of every layer.

    Args:
        variant: Gives the accelerator with parameters set.
        vary: Values of each parameter.
        within: Expressions of parameters, each with what it may be at most.
        layers: The layers.
        network: Their name.
    """
    combinations = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    allowed, least = [], math.inf
    for values in combinations:
        on = variant(values)
        over = [limit.at(**dict(on.parameters)) / most for limit, most in within]
        least = min(least, max(over, default=0.0))
        if max(over, default=0.0) <= 1.0:
            allowed.append((layers_bound(on, layers), values, on))
    if not allowed:
        return Infeasible(
            what="variants within the limits: the smallest, of its limit", needed=least, available=1.0, unit="times",
            remedy="smaller values, or a wider limit",
        )  # fmt: skip
    allowed.sort(key=lambda one: (one[0], tuple(one[1].values())))
    choices, best, short = [], None, None
    for bound, values, on in allowed:
        if best is not None and bound >= best.cycles:
            choices.append(_choice(values, on, bound, None, "bounded"))
            continue
        found = described_accelerator(on, layers, network)
        if isinstance(found, Infeasible):
            short = short or found
            choices.append(_choice(values, on, bound, None, found.what))
            continue
        assert found.cycles >= bound, f"{values}: {found.cycles} cycles, below the bound {bound}"
        choices.append(_choice(values, on, bound, found.cycles, "evaluated"))
        if best is None or found.cycles < best.cycles:
            best = found
    if best is None:
        assert short is not None
        return short
    rate = 1.0 / best.seconds
    proof = Certificate(score=rate, bound=rate, unit="1/s", stop="optimal", considered=len(allowed))
    return ParameterResult(best=best, choices=tuple(choices), proof=proof)


def _choice(values: Mapping[str, int], on: Description, bound: int, cycles: int | None, what: str) -> ParameterChoice:
    variant = " ".join(f"{name}={value}" for name, value in values.items())
    return ParameterChoice(
        variant=variant, values=values, on_chip_bytes=on.on_chip_bytes, bound_cycles=bound, cycles=cycles, what=what
    )


def layers_bound(on: Description, layers: Sequence[LayerShape]) -> int:
    """Return cycles that no mapping of layers, one after the other, is below; 0 for a layer that nothing runs."""
    return sum(layer_bound(on, layer) for layer in layers)


def layer_bound(on: Description, layer: LayerShape) -> int:
    """Return cycles that no mapping of a layer is below (docs/model-described.md, parameters).

    The longer of: every operand once through the memory's ports at their width; the layer's work at the best rate of
    its units.
    """
    goal = target(on, layer)
    if goal is None:
        return 0
    held: dict[frozenset[str], int] = {}  # by the ports that units take for an operand, which may be a port each
    for operand in (*goal.operands, OUTPUT):
        moves = [unit.ways[operand][0].move for unit in goal.units if unit.ways[operand]]
        ports = frozenset(move.target if operand == OUTPUT else move.source for move in moves)
        if ports:
            size = on.backing.element_bytes[operand] * layer.elements(operand, layer.extents)
            held[ports] = held.get(ports, 0) + size // sum(on.ports[port].width_bytes for port in ports)
    return max([*held.values(), work_cycles(goal, layer)])


def work_cycles(goal: OperationTarget, layer: LayerShape) -> int:
    """Return the layer's work over the best rate of its units: over tiles as large, or as small, as each dimension
    allows; without rounding of quotients where parts of the layer may take less than the whole."""
    operation = goal.units[0].operation
    capped = any(operation.at_most.get(dim, size) < size for dim, size in layer.extents.items())
    cycles_of = (
        operation.cycles.at_least if capped or not operation.cycles.divides_evenly(DIMS) else operation.cycles.at
    )
    sizes = [sorted({1, min(layer.extents[dim], operation.at_most.get(dim, layer.extents[dim]))}) for dim in DIMS]
    best = 0.0
    for tile in itertools.product(*sizes):
        cycles = cycles_of(**dict(zip(DIMS, tile, strict=True)), operands=layer.operands, stride=layer.stride)
        best = max(best, math.prod(tile) / max(1, cycles))
    return math.floor(math.prod(layer.extents.values()) / (best * len(goal.units)) * (1.0 - 1e-9))
