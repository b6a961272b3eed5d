"""Recording a training step of a torch module on fake tensors: operators, tensors, storages, saved bytes, places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from hardplace.errors import BadInput
from hardplace.workload.operators import (
    ATTENTION,
    ATTENTION_BACKWARD,
    GROUPED,
    TRANSPOSED,
    dims_of,
    flops_of,
    gradient_of,
    kind_of,
)
from hardplace.workload.recording.axes import (
    ALLOCATIONS,
    UNDECLARED_VIEWS,
    argument,
    axes_of,
    column_major,
    view_name,
)
from hardplace.workload.recording.memory import RecordedMemory, tensors_in
from hardplace.workload.recording.trace import ModuleCall, Trace, TraceEvent
from hardplace.workload.types import Gradient, OperatorKind, Phase

_PRODUCTS = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL)
# Names of operators whose own torch name says less.
_NAMES = {
    "_grouped_mm": GROUPED,
    "convolution_overrideable": "convolution",
    "_embedding_bag_backward": "_embedding_bag_dense_backward",
}
# Operands of a kind that must be of one type.
_ALIKE = {
    OperatorKind.MATMUL: 3,
    OperatorKind.GROUPED_MATMUL: 2,
    OperatorKind.CONVOLUTION: 2,
    OperatorKind.ATTENTION: 3,
}
_OVERWRITING = ("fill", "zero", "copy", "normal", "uniform", "bernoulli")


class Recorder(TorchDispatchMode):
    """Writes down every aten operator that runs while it is active; see Trace."""

    def __init__(self, model: torch.nn.Module, inputs: list[torch.Tensor]) -> None:
        super().__init__()
        self.trace = Trace(calls=[ModuleCall("", 0)])
        self.memory = RecordedMemory(self.trace)
        self._paths = {id(part): path for path, part in model.named_modules()}
        self._model = model
        self._stack = [0]
        self._phase = Phase.FORWARD
        self._moments: dict[int, tuple[int, int]] = {}  # call and moment, by autograd sequence number
        self._operands: dict[int, tuple[int, int]] = {}  # of a product, by autograd sequence number
        self._now = (0, 0)  # call and moment of what runs
        for weight in model.parameters():
            number = self.memory.storage(weight)
            self.trace.parameters[number] = weight.numel()
            self.memory.tensor(weight)
            if weight.requires_grad:
                weight.register_hook(self._gradient_hook(number))
        self._weights = set(self.trace.parameters)  # parameters and their casts
        self.trace.buffers = {self.memory.storage(buffer) for buffer in model.buffers()}
        self.trace.computed = set(self.trace.parameters) | {self.memory.storage(value) for value in inputs}

    @property
    def where(self) -> str:
        """The path of the module that runs now."""
        return self.trace.calls[self._stack[-1]].path

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and write it down."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.ops.prim.device.default:  # the most frequent of all, and nothing that a device runs
            return result
        name = func._schema.name.partition("::")[2]
        node = torch._C._current_autograd_node() if self._phase is Phase.BACKWARD else None
        if node is not None and "AccumulateGrad" in node.name():
            # It copies a gradient into its own layout, which a training framework's flat buffer has already.
            return result
        key = torch._C._autograd._get_sequence_nr() if node is None else node._sequence_nr() + 1
        if self._phase is Phase.FORWARD:
            self._now = (self._stack[-1], len(self.trace.events))
            self._moments.setdefault(key, self._now)
        elif node is not None:
            # Without a node the engine adds up gradients of one tensor; that belongs to the last node.
            self._now = self._moments.get(key, self._now)
        if name in UNDECLARED_VIEWS:
            self.memory.alias(result, args[0])
        if func.is_view or name in UNDECLARED_VIEWS:
            self._view(func, name, args, kwargs, result)
        elif name not in ALLOCATIONS:
            self._operator(func, name, args, kwargs, result, key)
        return result

    def _view(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        origin = self.memory.tensor(args[0])
        views = tuple(self.memory.tensor(value) for value in tensors_in(result))
        if views == (origin,):
            return
        self.trace.events.append(
            TraceEvent(
                name=view_name(name),
                call=self._now[0],
                moment=self._now[1],
                kind=OperatorKind.VIEW,
                phase=self._phase,
                dims=(),
                flops=0,
                reads=(origin,),
                writes=views,
                axes=axes_of(func, name, args, kwargs),
            )
        )

    def _operator(self, func: Any, name: str, args: Any, kwargs: Any, result: Any, key: int) -> None:
        inputs = [*tensors_in(args), *tensors_in(tuple(kwargs.values()))]
        outputs = list(tensors_in(result))
        reads = tuple(self.memory.tensor(value) for value in inputs)
        writes = tuple(dict.fromkeys(self.memory.tensor(value) for value in outputs))
        self.trace.computed |= {self.memory.storage(one) for one in inputs if not isinstance(one, FakeTensor)}
        stored = self.trace.storages(writes)
        if not outputs or (stored <= self.trace.storages(reads) and not func._schema.is_mutable):
            return
        # An operator in place is known by what it reads and writes.
        plain = name if name.startswith("__") else name.removesuffix("_")
        plain = _NAMES.get(plain, plain)
        if plain.startswith("new_"):  # of the dtype of another tensor, whose values it does not read
            reads = ()
        if plain in _OVERWRITING:
            reads = tuple(number for number in reads if self.trace.views[number].storage not in stored)
        if self.trace.computed & self.trace.storages(reads):
            self.trace.computed |= stored
        if plain == "_to_copy" and self.trace.storages(reads) <= self._weights:
            self._weights |= stored
        if plain == "convolution" and argument(func, args, kwargs, "transposed"):
            plain = TRANSPOSED
        if plain == "convolution_backward":
            self._convolution_backward(func, args, kwargs, result)
            return
        kind = kind_of(plain, torch.Tag.pointwise in func.tags)
        if kind in _ALIKE:
            self._require_alike(plain, inputs[1 if plain == ATTENTION_BACKWARD else 0 :][: _ALIKE[kind]])
        axes = axes_of(func, name, args, kwargs)
        event = self._event(plain, kind, reads, writes, axes)
        if event.kind in _PRODUCTS:
            event = self._product(event, inputs, key)
        elif plain in (ATTENTION, ATTENTION_BACKWARD):
            causal, window = (argument(func, args, kwargs, name) for name in ("causal", "window"))
            event = _changed(event, causal=causal, window=window)
        self.trace.events.append(event)

    def _require_alike(self, name: str, operands: list[torch.Tensor]) -> None:
        """Raise BadInput for a product of two types: fake tensors take it, torch on a device refuses it."""
        types = list(dict.fromkeys(str(one.dtype).removeprefix("torch.") for one in operands))
        if len(types) > 1:
            where = self.where or "(the model itself)"
            raise BadInput(
                f"module {where}: {name} of {' and '.join(types)}: torch multiplies one type; expected parameters, "
                "buffers and inputs of one, or mixed precision by autocast"
            )

    def _event(
        self, name: str, kind: OperatorKind, reads: tuple[int, ...], writes: tuple[int, ...], axes: Any = ()
    ) -> TraceEvent:
        shapes = [self.trace.views[number].shape for number in reads]
        dims = dims_of(kind, name, shapes, [self.trace.views[number].shape for number in writes])
        return TraceEvent(
            name=name,
            call=self._now[0],
            moment=self._now[1],
            kind=kind,
            phase=self._phase,
            dims=dims,
            flops=flops_of(kind, name, dims),
            reads=reads,
            writes=writes,
            axes=axes,
            gradient=gradient_of(kind, Phase.FORWARD if self._recomputing() else self._phase),
        )

    def _recomputing(self) -> bool:
        """Return whether a model's own checkpointing runs its forward pass again: the engine itself tracks none."""
        return self._phase is Phase.BACKWARD and torch.is_grad_enabled()

    def _product(self, event: TraceEvent, inputs: list[torch.Tensor], key: int) -> TraceEvent:
        """Say which of a linear's products this is: that which reads the weight not is the weight's gradient."""
        left, right = inputs[:2] if event.kind is OperatorKind.GROUPED_MATMUL else inputs[-2:]
        layout = "".join("T" if column_major(operand) else "N" for operand in (right, left))
        operands = (self.memory.storage(left), self.memory.storage(right))
        if self._phase is Phase.FORWARD:
            self._operands[key] = operands
            return _changed(event, layout=layout)
        if self._recomputing():
            return _changed(event, layout=layout)
        forward = self._operands.get(key, operands)
        weights = [operand for operand in forward if operand in self._weights]
        of_weight = bool(weights) and not set(weights) & set(operands)
        return _changed(event, layout=layout, gradient=Gradient.WGRAD if of_weight else Gradient.DGRAD)

    def _convolution_backward(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Write down the gradients of input, weight and bias as operators of their own."""
        gradient, given, weight = (self.memory.tensor(value) for value in args[:3])
        name = f"{TRANSPOSED if argument(func, args, kwargs, 'transposed') else 'convolution'}_backward"
        for which, value in zip((Gradient.DGRAD, Gradient.WGRAD), result[:2], strict=True):
            if value is not None:
                operands = (gradient, given, weight)
                event = self._event(name, OperatorKind.CONVOLUTION, operands, (self.memory.tensor(value),))
                # Each gradient reads only the other operand; the shapes of all three say its dimensions.
                used = (gradient, weight) if which is Gradient.DGRAD else (gradient, given)
                self.trace.events.append(_changed(event, gradient=which, reads=used))
        if result[2] is not None:
            axes = tuple(axis for axis in range(args[0].dim()) if axis != 1)
            event = self._event("sum", OperatorKind.REDUCTION, (gradient,), (self.memory.tensor(result[2]),), axes)
            self.trace.events.append(event)

    def _gradient_hook(self, parameter: int) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            self.trace.trained.add(parameter)
            self.trace.gradients[self.memory.storage(gradient)] = parameter

        return hook

    def _save(self, tensor: torch.Tensor) -> torch.Tensor:
        storage, now = self.memory.storage(tensor), len(self.trace.events)
        # Results are kept after the operator has run, inputs before.
        just_made = now > 0 and storage in self.trace.storages(self.trace.events[-1].writes)
        self.trace.saved.append((self._stack[-1], now - just_made, storage))
        return tensor

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Follow modules and saved tensors, and record."""

        def enter(module: torch.nn.Module, _: Any) -> None:
            path = self._paths.get(id(module))
            if module is self._model or path is None:
                self._stack.append(self._stack[-1])
            else:
                self._stack.append(len(self.trace.calls))
                self.trace.calls.append(ModuleCall(path, self._stack[-2]))

        def leave(module: torch.nn.Module, _: Any, __: Any) -> None:
            self._stack.pop()

        before = torch.nn.modules.module.register_module_forward_pre_hook(enter)
        after = torch.nn.modules.module.register_module_forward_hook(leave)
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._save, lambda tensor: tensor), self:
                yield
        finally:
            before.remove()
            after.remove()

    def backward(self, run: Callable[[torch.Tensor], None], loss: torch.Tensor) -> None:
        """Run the backward pass."""
        self._phase = Phase.BACKWARD
        run(loss)


def _changed(event: TraceEvent, **changes: Any) -> TraceEvent:
    """Return an event with other fields; dataclasses.replace takes twice as long, and this runs for every operator."""
    values = {name: getattr(event, name) for name in TraceEvent.__slots__}
    return TraceEvent(**{**values, **changes})


def record(
    recorder: Recorder, step: Callable[[], torch.Tensor], backward: Callable[[torch.Tensor], None] | None
) -> Trace:
    """Return the trace of one forward pass, which `step` runs to return the loss, and of its backward pass, if any."""
    with recorder.listening():
        loss = step()
        if backward is not None:
            recorder.backward(backward, loss)
    return recorder.trace
