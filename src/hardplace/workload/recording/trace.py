"""What a recording is: operators, tensors, storages and calls of modules, by number, at one micro-batch size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hardplace.workload.types import Gradient, OperatorKind, Phase


class View(NamedTuple):
    """A tensor: its storage's number, its shape, strides and offset (elements) at one micro-batch size, its dtype."""

    storage: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: str


class ModuleCall(NamedTuple):
    """One call of a module: its path, and the number of the call that it was made in (itself: the outermost)."""

    path: str
    caller: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """An operator at one micro-batch size; reads and writes are numbers of tensors, call that of a module's call.

    moment: how many events came before it; of a backward operator, before its forward one.
    """

    name: str
    call: int
    moment: int
    kind: OperatorKind
    phase: Phase
    dims: tuple[int, ...]
    flops: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    axes: tuple[int, ...] = ()
    gradient: Gradient = Gradient.NONE
    layout: str = ""
    causal: bool = False
    window: int = 0


@dataclass(slots=True)
class Trace:
    """One step at one micro-batch size.

    views: tensors by number. storage_bytes: by storage number. parameters: elements of each parameter's storage; 0 of
    buffers that stand for weights. trained: the parameters that get a gradient. copies: of a parameter that several
    modules hold, each module's storage -> the first one's. gradients: the storage that holds a parameter's gradient ->
    the parameter's. computed: storages that depend on a parameter or on the model's input, so neither tables nor
    buffers. saved: (call, moment, storage) kept for backward.
    """

    calls: list[ModuleCall] = field(default_factory=list)
    events: list[TraceEvent] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    storage_bytes: list[int] = field(default_factory=list)
    parameters: dict[int, int] = field(default_factory=dict)
    trained: set[int] = field(default_factory=set)
    copies: dict[int, int] = field(default_factory=dict)
    buffers: set[int] = field(default_factory=set)
    gradients: dict[int, int] = field(default_factory=dict)
    computed: set[int] = field(default_factory=set)
    saved: list[tuple[int, int, int]] = field(default_factory=list)

    def storages(self, tensors: tuple[int, ...]) -> set[int]:
        """Return the storages of tensors."""
        return {self.views[number].storage for number in tensors}
