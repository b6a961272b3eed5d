"""Recording a training step of a torch module on fake tensors: operators, storages, saved bytes, places."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from hardplace.workload.torch_kinds import (
    ALLOCATIONS,
    ATTENTION,
    ATTENTION_BACKWARD,
    NAMES,
    dims_of,
    flops_of,
    kind_of,
)
from hardplace.workload.types import Gradient, OperatorKind, Phase

# Outputs of these share the storage of their input, though their schemas do not say so.
_UNDECLARED_VIEWS = {"_unsafe_view", "_reshape_alias", "lift_fresh"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator runs: layer 0 is all before the blocks, 1 to L the blocks, L + 1 all after them."""

    layer: int
    module: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An operator at one micro-batch size; reads and writes are numbers of storages."""

    name: str
    place: Place
    kind: OperatorKind
    phase: Phase
    dims: tuple[int, ...]
    flops: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    gradient: Gradient = Gradient.NONE
    causal: bool = False


@dataclass(slots=True)
class Trace:
    """One training step at one micro-batch size.

    storage_bytes, by storage number. parameters: elements of each parameter's storage. gradients: the storage
    that holds a parameter's gradient -> the parameter's. computed: storages that depend on a parameter or on
    the model's input, so neither tables nor buffers. saved: (layer, storage) kept for backward.
    """

    blocks: int
    events: list[Event] = field(default_factory=list)
    storage_bytes: list[int] = field(default_factory=list)
    parameters: dict[int, int] = field(default_factory=dict)
    buffers: set[int] = field(default_factory=set)
    gradients: dict[int, int] = field(default_factory=dict)
    computed: set[int] = field(default_factory=set)
    saved: list[tuple[int, int]] = field(default_factory=list)
    seconds: float = 0.0


def blocks_of(model: torch.nn.Module) -> str:
    """Return the path of the module list of the model's repeated blocks: the one with most parameters."""
    lists = [(path, part) for path, part in model.named_modules() if isinstance(part, torch.nn.ModuleList)]
    if not lists:
        raise ValueError("the model has no ModuleList of blocks to cut it by")
    return max(lists, key=lambda found: sum(weight.numel() for weight in found[1].parameters()))[0]


class Recorder(TorchDispatchMode):
    """Writes down every aten operator that runs while it is active; see Trace."""

    def __init__(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self._container = blocks_of(model)
        blocks = model.get_submodule(self._container)
        self.trace = Trace(blocks=len(list(blocks.children())))
        self._paths = {id(part): path for path, part in model.named_modules()}
        self._stack: list[str] = []
        self._entered = False
        self._phase = Phase.FORWARD
        self._numbers: dict[int, int] = {}
        self._alive: list[torch.UntypedStorage] = []  # addresses must not be used again
        self._places: dict[int, Place] = {}  # by autograd sequence number
        self._operands: dict[int, tuple[int, int]] = {}  # of a matmul, by autograd sequence number
        self._last = Place(self.trace.blocks + 1, "")
        for weight in model.parameters():
            self.trace.parameters[self._number(weight)] = weight.numel()
            weight.register_hook(self._gradient_hook(self._number(weight)))
        self.trace.buffers = {self._number(buffer) for buffer in model.buffers()}
        self.trace.computed = set(self.trace.parameters) | {self._number(value) for value in inputs.values()}

    def place(self) -> Place:
        """Return where the model's forward pass is now."""
        module = self._stack[-1] if self._stack else ""
        prefix = f"{self._container}."
        if module.startswith(prefix):
            number, _, inner = module.removeprefix(prefix).partition(".")
            self._entered = True
            return Place(int(number) + 1, inner)
        parent = self._container.rpartition(".")[0]
        outer = module.removeprefix(f"{parent}.") if parent else module
        return Place(self.trace.blocks + 1 if self._entered else 0, "" if outer == parent else outer)

    def collective(self, name: str, tensor: torch.Tensor, place: Place) -> None:
        """Write down a collective over a tensor, in place."""
        number = self._number(tensor)
        size = tensor.numel() * tensor.element_size()
        self.trace.events.append(
            Event(
                name=name,
                place=place,
                kind=OperatorKind.COLLECTIVE,
                phase=self._phase,
                dims=(size,),
                flops=0,
                reads=(number,),
                writes=(number,),
            )
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and write it down."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        node = torch._C._current_autograd_node() if self._phase is Phase.BACKWARD else None
        if node is not None and "AccumulateGrad" in node.name():
            # It copies a gradient into its own layout, which a training framework's flat buffer has already.
            return result
        key = torch._C._autograd._get_sequence_nr() if node is None else node._sequence_nr() + 1
        if self._phase is Phase.FORWARD:
            place = self.place()
            self._places.setdefault(key, place)
        else:
            # Without a node the engine adds up gradients of one tensor; that belongs to the last node.
            place = self._last = self._places.get(key, self._last) if node is not None else self._last
        if name in _UNDECLARED_VIEWS:
            self._alias(result, args[0])
        elif not func.is_view and name not in ALLOCATIONS:
            self._write_down(func, name, args, kwargs or {}, result, place, key)
        return result

    def _write_down(self, func: Any, name: str, args: Any, kwargs: Any, result: Any, place: Place, key: int) -> None:
        inputs = [value for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)]
        outputs = [value for value in tree_iter(result) if isinstance(value, torch.Tensor)]
        reads = tuple(dict.fromkeys(self._number(value) for value in inputs))
        writes = tuple(dict.fromkeys(self._number(value) for value in outputs))
        if not outputs or (set(writes) <= set(reads) and not func._schema.is_mutable):
            return
        if name in ("fill_", "zero_", "copy_"):
            reads = tuple(number for number in reads if number not in writes)
        if self.trace.computed & set(reads):
            self.trace.computed |= set(writes)
        dims = dims_of(name, args, inputs, outputs)
        causal = name in (ATTENTION, ATTENTION_BACKWARD) and any(value is True for value in args)
        self.trace.events.append(
            Event(
                # An operator in place is known by what it reads and writes.
                name=f"aten.{NAMES.get(name, name.removesuffix('_'))}",
                place=place,
                kind=kind_of(name),
                phase=self._phase,
                dims=dims,
                flops=flops_of(name, dims),
                reads=reads,
                writes=writes,
                gradient=self._gradient(name, inputs, key),
                causal=causal,
            )
        )

    def _gradient(self, name: str, inputs: list[torch.Tensor], key: int) -> Gradient:
        """Return which of a linear's products this is: the left operand's gradient reads the right one."""
        if kind_of(name) is not OperatorKind.MATMUL:
            return Gradient.NONE
        left, right = (self._number(value) for value in inputs[-2:])
        if self._phase is Phase.FORWARD:
            self._operands[key] = (left, right)
            return Gradient.FORWARD
        return Gradient.DGRAD if self._operands[key][1] in (left, right) else Gradient.WGRAD

    def _number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's storage."""
        storage = tensor.untyped_storage()
        number = self._numbers.get(storage._cdata)
        if number is None:
            number = self._numbers[storage._cdata] = len(self.trace.storage_bytes)
            self.trace.storage_bytes.append(storage.nbytes())
            self._alive.append(storage)
        return number

    def _alias(self, view: torch.Tensor, origin: torch.Tensor) -> None:
        """Let two storages be one."""
        number = self._number(origin)
        storage = view.untyped_storage()
        self._numbers[storage._cdata] = number
        self._alive.append(storage)

    def _gradient_hook(self, parameter: int) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            self.trace.gradients[self._number(gradient)] = parameter

        return hook

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        self.trace.saved.append((self.place().layer, self._number(tensor)))
        return tensor

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Follow modules and saved tensors, and record."""

        def enter(module: torch.nn.Module, _: Any) -> None:
            self._stack.append(self._paths.get(id(module), self._stack[-1] if self._stack else ""))

        def leave(module: torch.nn.Module, _: Any, __: Any) -> None:
            self._stack.pop()

        before = torch.nn.modules.module.register_module_forward_pre_hook(enter)
        after = torch.nn.modules.module.register_module_forward_hook(leave, always_call=True)
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor), self:
                yield
        finally:
            before.remove()
            after.remove()

    def backward(self, loss: torch.Tensor) -> None:
        """Run the backward pass."""
        self._phase = Phase.BACKWARD
        loss.backward()


def record(recorder: Recorder, step: Callable[[], torch.Tensor]) -> Trace:
    """Return the trace of one forward pass, which `step` runs to return the loss, and its backward pass."""
    start = time.perf_counter()
    with recorder.listening():
        recorder.backward(step())
    recorder.trace.seconds = time.perf_counter() - start
    return recorder.trace
