"""What a group does at each operator of a layer, and what makes the analysis start again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hardplace.workload.sharding.splits import State
from hardplace.workload.types import Group

VOCABULARY = 8192  # rows from which a table is cut by row, and outputs that may be padded up to a multiple


@dataclass(frozen=True, slots=True)
class TensorMove:
    """A tensor on its way from one state to another before an operator.

    Attributes:
        tensor: Index of the tensor.
        source: State before.
        target: State after.
        collective: Collective that it takes; "": none.
        stays: Whether the new state holds for all that follows as well.
    """

    tensor: int
    source: State
    target: State
    collective: str  # "" for a slice of what is there
    stays: bool


@dataclass(slots=True)
class OperatorStep:
    """What one process group does at one operator.

    Attributes:
        moves: Tensors that are resharded before it.
        reads: States of what it reads.
        writes: States of what it writes.
        added: All-reduces of (rows,) 4-byte numbers within the operator (loss over a cut vocabulary).
        masked: Whether it looks up only its own rows.
        bias_after: Whether the bias is added once the partial sums are added up.
    """

    moves: list[TensorMove] = field(default_factory=list)
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    added: list[int] = field(default_factory=list)
    masked: bool = False
    bias_after: bool = False


class KeepWhole(Exception):
    """Parameters (storages) that cannot be cut: the analysis starts again with them whole."""

    def __init__(self, parameters: Iterable[int]) -> None:
        self.parameters = frozenset(parameters)


class Fewer(Exception):
    """A parameter that can be cut into fewer parts only, with copies (key/value heads): the analysis starts again."""

    def __init__(self, parameter: int, parts: int) -> None:
        self.parameter, self.parts = parameter, parts


class Earlier(Exception):
    """A tensor that is gathered before an operator copies or widens it, which takes fewer bytes: it starts again."""

    def __init__(self, number: int) -> None:
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What one process group does in a layer.

    Attributes:
        group: Which process group.
        parts: Its ranks.
        steps: Steps of all operators.
        after_forward: Moves at the end of the forward pass.
        at_end: Moves at the end of the layer.
        parameters: State of each parameter.
        whole: Parameters (storages) of matrix products that stay whole although the group is larger than one.
    """

    group: Group
    parts: int
    steps: tuple[OperatorStep, ...]
    after_forward: tuple[TensorMove, ...]
    at_end: tuple[TensorMove, ...]
    parameters: dict[int, State]
    whole: frozenset[int]
