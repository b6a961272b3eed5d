"""Running an ONNX graph with torch: each node in turn, numbers about shapes computed on the side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from hardplace.errors import BadInput
from hardplace.workload.recording.onnx.node import OnnxNode
from hardplace.workload.recording.onnx.operators import OPERATORS

_FAILURES = (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError, AssertionError)
_LONGEST = 2**20  # elements of numbers about shapes


@dataclass(frozen=True, slots=True)
class Types:
    """Puts one float type in the place of another."""

    main: torch.dtype
    instead: torch.dtype | None

    def of(self, dtype: torch.dtype) -> torch.dtype:
        """Return the type that the module has for one of the file."""
        return self.instead if self.instead is not None and dtype is self.main else dtype

    def node(self, node: OnnxNode) -> OnnxNode:
        """Return a node whose attributes have the types of the module."""
        return replace(
            node,
            attributes={
                name: self.of(value) if isinstance(value, torch.dtype) else value
                for name, value in node.attributes.items()
            },
        )


@dataclass(frozen=True, slots=True)
class OnnxStep:
    """A node to run: as the file has it, for numbers about shapes, and with the module's types.

    decides: whether a shape somewhere follows from the numbers that it makes.
    """

    known: OnnxNode
    node: OnnxNode
    decides: bool


@dataclass(frozen=True, slots=True)
class OnnxCall:
    """A stretch of nodes that belong to a child module."""

    child: nn.Module
    steps: list[OnnxStep | OnnxCall]


@dataclass(frozen=True, slots=True)
class OnnxKnown:
    """A tensor whose elements follow from shapes and constants; a true one also where others are fake."""

    tensor: torch.Tensor
    array: np.ndarray[Any, Any]


@contextmanager
def _aside() -> Iterator[None]:
    """Compute true numbers, unseen by recorders and fake tensor modes."""
    with _disable_current_modes(), torch.no_grad():
        yield


def known(tensor: torch.Tensor) -> OnnxKnown:
    """Return a true tensor as known."""
    return OnnxKnown(tensor, (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy())


class OnnxRun:
    """One pass over the graph; values by name: tensors, known numbers, None for outputs left out."""

    def __init__(self, path: Path, values: dict[str, Any], types: Types, device: torch.device) -> None:
        self._path = path
        self._values = values
        self._types = types
        self._device = device

    def steps(self, steps: list[OnnxStep | OnnxCall]) -> None:
        """Run nodes, those of child modules by calling these."""
        for step in steps:
            if isinstance(step, OnnxCall):
                step.child(self, step.steps)
            else:
                self._node(step)

    def output(self, name: str) -> Any:
        """Return an output of the graph."""
        return self._tensor(self._value("output", name))

    def _tensor(self, value: Any) -> Any:
        """Return a known value as a tensor among the others."""
        if not isinstance(value, OnnxKnown):
            return value
        with _aside():
            true = value.tensor.to(self._types.of(value.tensor.dtype)).to(self._device)
        return torch.ops.aten.lift_fresh.default(true)

    def _node(self, step: OnnxStep) -> None:
        inputs = [self._value(step.node, name) for name in step.node.inputs]
        try:
            result = self._result(step, inputs)
        except _FAILURES as problem:
            shapes = ", ".join(str(list(_tensor_of(value).shape)) for value in inputs if value is not None)
            text = (str(problem) or type(problem).__name__).splitlines()[0][:200]
            raise BadInput(f"{self._path}: {step.node}: {text} (inputs of shapes {shapes})") from problem
        results = result if isinstance(result, (tuple, list)) else (result,)
        made = zip(step.node.outputs, results, strict=False)
        self._values.update({name: value for name, value in made if name and value is not None})

    def _value(self, node: OnnxNode | str, name: str) -> Any:
        """Return a value that was made before; None for an input left out."""
        if name and name not in self._values:
            raise BadInput(f"{self._path}: {node}: it reads {name!r}, an output of an operator that is not made here")
        return self._values[name] if name else None

    def _result(self, step: OnnxStep, inputs: list[Any]) -> Any:
        operator = OPERATORS[step.node.operator]
        for place in operator.values:
            if place < len(inputs) and isinstance(inputs[place], torch.Tensor):
                raise BadInput(
                    f"{self._path}: {step.node}: it needs the numbers in {step.node.inputs[place]!r}, which depend on "
                    "the model's data; only shapes that follow from the inputs' shapes can be read"
                )
        data = [value for place, value in enumerate(inputs) if place not in operator.outlines and value is not None]
        if all(isinstance(value, OnnxKnown) for value in data):
            folded = self._fold(step, inputs)
            if folded is not None:
                return folded
        numbers = bool([value for value in data if isinstance(value, torch.Tensor)])
        arguments = [
            self._argument(value, place in operator.values, numbers and place in operator.scalars)
            for place, value in enumerate(inputs)
        ]
        with nullcontext() if self._device.type == "cpu" else self._device:
            return operator.run(step.node, *arguments)

    def _argument(self, value: Any, as_array: bool, as_number: bool) -> Any:
        if not isinstance(value, OnnxKnown):
            return value
        if as_array:
            return value.array
        return value.array.item() if as_number and value.array.ndim == 0 else self._tensor(value)

    def _fold(self, step: OnnxStep, inputs: list[Any]) -> Any:
        """Return what a node makes of known values, or None if that is a tensor like others.

        Known stay lists of numbers, and whatever decides about shapes. Not by size, so that the graph is the same
        at every micro-batch size.
        """
        node, operator = step.known, OPERATORS[step.known.operator]

        def argument(place: int, value: Any, device: str) -> Any:
            if isinstance(value, torch.Tensor):
                return torch.empty(value.shape, dtype=value.dtype, device="meta")
            if value is None or place in operator.values:
                return None if value is None else value.array
            return value.tensor.to(device)

        def arguments(device: str) -> list[Any]:
            return [argument(place, value, device) for place, value in enumerate(inputs)]

        with _aside():
            with torch.device("meta"):
                dry = operator.run(node, *arguments("meta"))
            if not all(step.decides or one.dim() < 2 for one in _listed(dry)):
                return None
            if any(one.numel() > _LONGEST for one in _listed(dry)):
                return None
            return [known(one) for one in _listed(operator.run(node, *arguments("cpu")))]


def _listed(result: Any) -> list[torch.Tensor]:
    """Return an operator's result as a list; what is None at the end is left out."""
    return [one for one in (result if isinstance(result, (tuple, list)) else (result,)) if one is not None]


def _tensor_of(value: Any) -> torch.Tensor:
    return value.tensor if isinstance(value, OnnxKnown) else value
