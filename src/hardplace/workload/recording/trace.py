"""What a recording is: operators, tensors, storages and calls of modules, by number, at one micro-batch size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hardplace.workload.types import Gradient, OperatorKind, Phase


class View(NamedTuple):
    """A tensor at one micro-batch size.

    Attributes:
        storage: Number of its storage.
        shape: Shape, in elements.
        stride: Strides, in elements.
        offset: Where it begins in the storage, in elements.
        dtype: Type of its elements.
    """

    storage: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: str


class ModuleCall(NamedTuple):
    """One call of a module.

    Attributes:
        path: Path of the module.
        caller: Number of the call that it was made in; its own of the outermost.
    """

    path: str
    caller: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """An operator at one micro-batch size.

    Attributes:
        name: Name of the operator.
        call: Number of the module's call that it is of.
        moment: How many events came before it; of a backward operator, before its forward one.
        kind: Kind, as a cost model must know it.
        phase: Forward or backward.
        dims: Dimensions of its kind.
        flops: FLOPs.
        reads: Tensors that it reads, by number.
        writes: Tensors that it writes, by number.
        axes: Axes that it works along.
        gradient: Which of the three GEMMs of a linear layer it is.
        layout: Layout of a product's operands.
        causal: Whether attention is causal.
        window: Keys that a query sees; 0: all.
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

    Attributes:
        calls: Calls of modules.
        events: Operators, in the order in which they ran.
        views: Tensors, by number.
        storage_bytes: Bytes of each storage, by number.
        parameters: Elements of each parameter's storage; 0 of buffers that stand for weights.
        trained: Parameters that get a gradient.
        copies: Of a parameter that several modules hold, the first one's storage by each module's.
        buffers: Storages of buffers.
        gradients: Parameter by the storage that holds its gradient.
        computed: Storages that depend on a parameter or on the model's input, so neither tables nor buffers.
        saved: Call, moment and storage of what is kept for the backward pass.
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
