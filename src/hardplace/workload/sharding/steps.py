"""What a group does at each operator of a layer, and what makes the analysis start again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hardplace.workload.sharding.splits import State
from hardplace.workload.types import Group

VOCABULARY = 8192  # rows from which a table is cut by row, and outputs that may be padded up to a multiple


@dataclass(frozen=True, slots=True)
class TensorMove:
    """A tensor on its way from one state to another before an operator; stays: for all that follows as well."""

    tensor: int
    source: State
    target: State
    collective: str  # "" for a slice of what is there
    stays: bool


@dataclass(slots=True)
class OperatorStep:
    """What one group does at one operator: moves before it, states of what it reads and writes, added collectives.

    added: all-reduces of (rows,) 4-byte numbers within the operator (loss over a cut vocabulary). masked: looks up
    only its own rows. bias_after: the bias is added once the partial sums are added up.
    """

    moves: list[TensorMove] = field(default_factory=list)
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    added: list[int] = field(default_factory=list)
    masked: bool = False
    bias_after: bool = False


class KeepWhole(Exception):
    """These parameters cannot be cut."""

    def __init__(self, parameters: Iterable[int]) -> None:
        self.parameters = frozenset(parameters)


class Fewer(Exception):
    """A parameter can be cut into fewer parts only, with copies (key/value heads)."""

    def __init__(self, parameter: int, parts: int) -> None:
        self.parameter, self.parts = parameter, parts


class Earlier(Exception):
    """A tensor is gathered before this operator copies or widens it, which takes fewer bytes."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Steps of all operators of a layer for one group, the moves at the end of the forward pass and of the layer.

    whole: parameters (storages) of matrix products that stay whole although the group is larger than one.
    """

    group: Group
    parts: int
    steps: tuple[OperatorStep, ...]
    after_forward: tuple[TensorMove, ...]
    at_end: tuple[TensorMove, ...]
    parameters: dict[int, State]
    whole: frozenset[int]
