"""An ONNX model as a torch module, for the recorder: the graph run with torch operators, weights unread.

The module has a child for each module that the exporter named, so that hooks see where an operator belongs.
Numbers that follow from shapes and constants alone are computed on the side and are no operators of the graph.
"""

from __future__ import annotations

import ast
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from hardplace.errors import BadInput, unknown
from hardplace.workload.torch_onnx_file import MOST_ELEMENTS, Constant, Graph, Input, Role, read_graph
from hardplace.workload.torch_onnx_node import Node
from hardplace.workload.torch_onnx_operators import OPERATORS

_SMALL = 48  # elements up to which a computed tensor of two or more dimensions counts as numbers about shapes
_LONGEST = 2**20  # elements of a computed list of numbers


def onnx_module(
    path: str | os.PathLike[str], sizes: Mapping[str, int], dtype: torch.dtype | None = None
) -> tuple[OnnxModule, dict[str, torch.Tensor]]:
    """Return the model of an ONNX file as a module, and inputs for it; both on the meta device.

    Call the module with the inputs as keywords; it returns the outputs by name. Parameters are the float
    initializers of one or more dimensions, less batch statistics and what torch.export noted as buffers.
    sizes: values of the inputs' named dimensions (input.axis where the file gives no name). dtype: takes the
    place of the float type that most weights have, as bf16 training of an fp32 file does.

    Raises BadInput as read_graph does, and for a dimension without a size, a size without a dimension, and
    dimensions that are not positive or make a tensor of more than 2^40 elements.
    """
    graph = read_graph(path)
    try:
        values = _sizes(graph.inputs, sizes)
        shapes = {one.name: _shape(one, values) for one in graph.inputs}
    except BadInput as problem:
        raise BadInput(f"{graph.path}: {problem}") from None
    types = _Types(_main_type(graph), dtype)
    inputs = {
        one.name: torch.empty(shapes[one.name], dtype=types.of(one.dtype), device="meta") for one in graph.inputs
    }
    return OnnxModule(graph, types), inputs


def _symbols(dimension: str) -> set[str]:
    """Return the names in a dimension: itself, or those of an expression such as `past + 1`."""
    try:
        tree = ast.parse(dimension, mode="eval")
    except (SyntaxError, ValueError):
        return {dimension}
    if any(not isinstance(part, _EXPRESSION) for part in ast.walk(tree)):
        return {dimension}
    return {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)} or {dimension}


_EXPRESSION = (
    ast.Expression,
    ast.BinOp,
    ast.Name,
    ast.Constant,
    ast.Load,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.FloorDiv,
)


def _sizes(inputs: Sequence[Input], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the value of each dimension's text, checked."""
    texts = {text: one.name for one in inputs for text in one.shape if isinstance(text, str)}
    known = set(texts).union(*map(_symbols, texts))
    for name, size in sizes.items():
        if name not in known:
            if not known:
                raise BadInput(f"unknown size {name!r}: all dimensions of the inputs are fixed in the file")
            raise unknown("size", name, known)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise BadInput(f"size {name!r} is {size!r}; expected a whole number of at least 1")
    missing = sorted(set().union(*(_symbols(text) for text in texts if text not in sizes)) - set(sizes))
    if missing:
        text = next(text for text in texts if text not in sizes and missing[0] in _symbols(text))
        one = next(one for one in inputs if one.name == texts[text])
        give = " ".join(f"--size {name}=8" for name in missing)
        raise BadInput(
            f"input {one.name!r}: dimension {one.shape.index(text)} is {text!r} and has no value; give {give} (or other numbers)"
        )
    return {text: sizes[text] if text in sizes else _evaluate(text, sizes) for text in texts}


def _evaluate(text: str, sizes: Mapping[str, int]) -> int:
    """Return the value of a sum or product of names."""
    operations: dict[type, Callable[[int, int], int]] = {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.FloorDiv: lambda a, b: a // b if b else 0,
    }

    def value(part: Any) -> int:
        if isinstance(part, ast.BinOp):
            return operations[type(part.op)](value(part.left), value(part.right))
        return sizes[part.id] if isinstance(part, ast.Name) else int(part.value)

    return value(ast.parse(text, mode="eval").body)


def _shape(one: Input, values: Mapping[str, int]) -> tuple[int, ...]:
    shape = tuple(values[size] if isinstance(size, str) else size for size in one.shape)
    if any(size < 1 for size in shape) or math.prod(shape) > MOST_ELEMENTS:
        raise BadInput(
            f"input {one.name!r}: shape {list(shape)}; expected dimensions of at least 1, at most 2^40 elements"
        )
    return shape


def _main_type(graph: Graph) -> torch.dtype:
    """Return the float type that most elements of weights have; of inputs if there are no weights."""
    counts: Counter[torch.dtype] = Counter()
    for constant in graph.constants.values():
        if constant.dtype.is_floating_point:
            counts[constant.dtype] += math.prod(constant.shape)
    floats = [one.dtype for one in graph.inputs if one.dtype.is_floating_point]
    return counts.most_common(1)[0][0] if counts else (*floats, torch.float32)[0]


@dataclass(frozen=True, slots=True)
class _Types:
    """Puts one float type in the place of another."""

    main: torch.dtype
    instead: torch.dtype | None

    def of(self, dtype: torch.dtype) -> torch.dtype:
        return self.instead if self.instead is not None and dtype is self.main else dtype

    def node(self, node: Node) -> Node:
        """Return a node whose attributes have the types of the module."""

        def change(value: Any) -> Any:
            if isinstance(value, torch.dtype):
                return self.of(value)
            return value.to(self.of(value.dtype)) if isinstance(value, torch.Tensor) else value

        return replace(node, attributes={name: change(value) for name, value in node.attributes.items()})


@dataclass(frozen=True, slots=True)
class _Step:
    """A node to run: as the file has it, for numbers about shapes, and with the module's types."""

    known: Node
    node: Node


@dataclass(frozen=True, slots=True)
class _Call:
    """A stretch of nodes that belong to a child module."""

    child: nn.Module
    steps: list[_Step | _Call]


class _Scope(nn.Module):
    """A module that the exporter named; runs stretches of its nodes."""

    def forward(self, run: _Run, steps: list[_Step | _Call]) -> None:
        run.steps(steps)


class _Scopes(nn.ModuleList):
    """Modules numbered from 0, as an exporter's container of repeated blocks."""

    def forward(self, run: _Run, steps: list[_Step | _Call]) -> None:
        run.steps(steps)


@dataclass(frozen=True, slots=True)
class _Known:
    """A tensor whose elements follow from shapes and constants; a true one also where others are fake."""

    tensor: torch.Tensor
    array: np.ndarray[Any, Any]


@contextmanager
def _aside() -> Iterator[None]:
    """Compute true numbers, unseen by recorders and fake tensor modes."""
    with _disable_current_modes(), torch.no_grad():
        yield


def _known(tensor: torch.Tensor) -> _Known:
    return _Known(tensor, (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy())


class OnnxModule(nn.Module):
    """The graph of an ONNX file; see onnx_module. names_in_file: of parameters and buffers, by their path."""

    def __init__(self, graph: Graph, types: _Types) -> None:
        super().__init__()
        self.names_in_file: dict[str, str] = {}
        self._types = types
        self._path = graph.path
        self._outputs = graph.outputs
        self._weights: dict[str, tuple[nn.Module, str]] = {}
        self._values = {c.name: _known(c.value) for c in graph.constants.values() if c.value is not None}
        tree = _Tree(self, graph)
        for constant in graph.constants.values():
            if constant.role is not Role.VALUE:
                self._register(constant, tree)
        self._steps = tree.steps(types)

    def _register(self, constant: Constant, tree: _Tree) -> None:
        owner, path, name = tree.home(constant)
        made = torch.empty(constant.shape, dtype=self._types.of(constant.dtype), device="meta")
        if constant.role is Role.PARAMETER:
            owner.register_parameter(name, nn.Parameter(made))
        else:
            owner.register_buffer(name, made)
        self._weights[constant.name] = (owner, name)
        self.names_in_file[".".join((*path, name))] = constant.name

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs by name; BadInput names the node that failed."""
        values: dict[str, Any] = {**self._values, **inputs}
        values.update({name: getattr(owner, inner) for name, (owner, inner) in self._weights.items()})
        device = next((value.device for value in inputs.values()), torch.device("cpu"))
        run = _Run(self._path, values, self._types, device)
        run.steps(self._steps)
        return {name: run.tensor(values[name]) for name in self._outputs}


class _Tree:
    """The modules that a graph's nodes came from, as children of a root module."""

    def __init__(self, root: nn.Module, graph: Graph) -> None:
        self._root = root
        self._graph = graph
        self._names: dict[tuple[str, ...], str] = {}
        self._modules: dict[tuple[str, ...], nn.Module] = {(): root}
        self._users: dict[str, list[tuple[str, ...]]] = {}
        paths = {node.scope[:depth] for node in graph.nodes for depth in range(1, len(node.scope) + 1)}
        inner: dict[tuple[str, ...], list[str]] = {}
        for path in paths:
            inner.setdefault(path[:-1], []).append(path[-1])
        for path in sorted(paths, key=lambda path: (len(path), [(len(part), part) for part in path])):
            numbers = sorted(inner.get(path, []), key=lambda name: (len(name), name))
            whole = bool(numbers) and numbers == [str(number) for number in range(len(numbers))]
            self._modules[path] = child = _Scopes() if whole else _Scope()
            self._names[path] = _free(self._modules[path[:-1]], path[-1])
            self._modules[path[:-1]].add_module(self._names[path], child)
        for node in graph.nodes:
            for name in node.inputs:
                self._users.setdefault(name, []).append(node.scope)

    def home(self, constant: Constant) -> tuple[nn.Module, tuple[str, ...], str]:
        """Return the module for a constant, its path, and a free name there.

        By the constant's name if it is a path of such a module, else what its users have in common.
        """
        parts = tuple(constant.name.split("."))
        owner = parts[:-1]
        if not owner or owner not in self._modules:
            users = self._users.get(constant.name, [()])
            owner = tuple(os.path.commonprefix(users))
        name = parts[-1] or "constant"
        if "::" in name or "/" in name or name.startswith("val_"):
            name = "weight" if constant.role is Role.PARAMETER else "constant"
        module = self._modules[owner]
        path = tuple(self._names[owner[: depth + 1]] for depth in range(len(owner)))
        return module, path, _free(module, name)

    def steps(self, types: _Types) -> list[_Step | _Call]:
        """Return the nodes in the file's order, stretches of one child module as calls of it."""
        nodes = [(_Step(node, types.node(node)), node.scope) for node in self._graph.nodes]
        return self._nested(nodes, ())

    def _nested(self, nodes: list[tuple[_Step, tuple[str, ...]]], path: tuple[str, ...]) -> list[_Step | _Call]:
        result: list[_Step | _Call] = []
        start = 0
        while start < len(nodes):
            step, scope = nodes[start]
            end = start + 1
            if len(scope) == len(path):
                result.append(step)
            else:
                inner = scope[: len(path) + 1]
                while end < len(nodes) and nodes[end][1][: len(inner)] == inner:
                    end += 1
                result.append(_Call(self._modules[inner], self._nested(nodes[start:end], inner)))
            start = end
        return result


def _free(module: nn.Module, name: str) -> str:
    """Return a name like the one given that no attribute of a module has."""
    name = name.replace(".", "_")
    while hasattr(module, name):
        name += "_"
    return name


class _Run:
    """One pass over the graph; values by name: tensors, known numbers, None for outputs left out."""

    def __init__(self, path: Any, values: dict[str, Any], types: _Types, device: torch.device) -> None:
        self._path = path
        self._values = values
        self._types = types
        self._device = device

    def steps(self, steps: list[_Step | _Call]) -> None:
        """Run nodes, those of child modules by calling these."""
        for step in steps:
            if isinstance(step, _Call):
                step.child(self, step.steps)
            else:
                self._node(step)

    def tensor(self, value: Any) -> Any:
        """Return a known value as a tensor among the others."""
        if not isinstance(value, _Known):
            return value
        with _aside():
            true = value.tensor.to(self._types.of(value.tensor.dtype)).to(self._device)
        return torch.ops.aten.lift_fresh.default(true)

    def _node(self, step: _Step) -> None:
        inputs = [self._values[name] if name else None for name in step.node.inputs]
        try:
            result = self._result(step, inputs)
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError) as problem:
            if isinstance(problem, BadInput):
                raise
            shapes = ", ".join(str(list(_tensor_of(value).shape)) for value in inputs if value is not None)
            text = (str(problem) or type(problem).__name__).splitlines()[0][:200]
            raise BadInput(f"{self._path}: {step.node}: {text} (inputs of shapes {shapes})") from problem
        results = result if isinstance(result, (tuple, list)) else (result,)
        self._values.update({name: value for name, value in zip(step.node.outputs, results, strict=False) if name})

    def _result(self, step: _Step, inputs: list[Any]) -> Any:
        operator = OPERATORS[step.node.operator]
        for place in operator.values:
            if place < len(inputs) and isinstance(inputs[place], torch.Tensor):
                raise BadInput(
                    f"{self._path}: {step.node}: it needs the numbers in {step.node.inputs[place]!r}, which depend on "
                    "the model's data; only shapes that follow from the inputs' shapes can be read"
                )
        data = [value for place, value in enumerate(inputs) if place not in operator.outlines and value is not None]
        if all(isinstance(value, _Known) for value in data):
            known = self._fold(step.known, inputs)
            if known is not None:
                return known
        numbers = bool([value for value in data if isinstance(value, torch.Tensor)])
        arguments = [
            self._argument(value, place in operator.values, numbers and place in operator.scalars)
            for place, value in enumerate(inputs)
        ]
        with self._device:
            return operator.run(step.node, *arguments)

    def _argument(self, value: Any, as_array: bool, as_number: bool) -> Any:
        if not isinstance(value, _Known):
            return value
        if as_array:
            return value.array
        return value.array.item() if as_number and value.array.ndim == 0 else self.tensor(value)

    def _fold(self, node: Node, inputs: list[Any]) -> Any:
        """Return what a node makes of known values, or None if that is not a small thing about shapes."""
        operator = OPERATORS[node.operator]

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
            results = dry if isinstance(dry, (tuple, list)) else (dry,)
            if any(one.numel() > (_LONGEST if one.dim() < 2 else _SMALL) for one in results):
                return None
            true = operator.run(node, *arguments("cpu"))
            return [_known(one) for one in true] if isinstance(true, (tuple, list)) else _known(true)


def _tensor_of(value: Any) -> torch.Tensor:
    return value.tensor if isinstance(value, _Known) else value
