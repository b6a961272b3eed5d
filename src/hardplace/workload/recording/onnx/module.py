"""The module of an ONNX graph: parameters and buffers in a tree of modules as the exporter named them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hardplace.errors import BadInput
from hardplace.workload.recording.onnx.file import Graph
from hardplace.workload.recording.onnx.node import Constant, OnnxNode, Role
from hardplace.workload.recording.onnx.operators import OPERATORS
from hardplace.workload.recording.onnx.run import OnnxCall, OnnxRun, OnnxStep, Types, known


class _Scope(nn.Module):
    """A module that the exporter named; runs stretches of its nodes."""

    def forward(self, run: OnnxRun, steps: list[OnnxStep | OnnxCall]) -> None:
        run.steps(steps)


class _Scopes(nn.ModuleList):
    """Modules numbered from 0, as an exporter's container of repeated blocks."""

    def forward(self, run: OnnxRun, steps: list[OnnxStep | OnnxCall]) -> None:
        run.steps(steps)


class OnnxModule(nn.Module):
    """The graph of an ONNX file; see onnx_module. names_in_file: of parameters and buffers, by their path."""

    def __init__(self, graph: Graph, types: Types) -> None:
        super().__init__()
        self.names_in_file: dict[str, str] = {}
        self._types = types
        self._path = graph.path
        self._inputs = {one.name for one in graph.inputs}
        self._outputs = graph.outputs
        self._weights: dict[str, tuple[nn.Module, str]] = {}
        self._values = {c.name: known(c.value) for c in graph.constants.values() if c.value is not None}
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
        self.names_in_file[".".join((*path, name))] = constant.source

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs by name; BadInput names the node that failed, or an input that is not there."""
        if set(inputs) != self._inputs:
            raise BadInput(f"{self._path}: expected the inputs {sorted(self._inputs)}, found {sorted(inputs)}")
        values: dict[str, Any] = {**self._values, **inputs}
        values.update({name: getattr(owner, inner) for name, (owner, inner) in self._weights.items()})
        device = next((value.device for value in inputs.values()), torch.device("cpu"))
        run = OnnxRun(self._path, values, self._types, device)
        run.steps(self._steps)
        return {name: run.output(name) for name in self._outputs}


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
            owner = _common(self._users.get(constant.name, [()]))
        name = parts[-1] or "constant"
        if "::" in name or "/" in name or name.startswith("val_"):
            name = (
                "constant" if constant.role is not Role.PARAMETER else "bias" if len(constant.shape) == 1 else "weight"
            )
        module = self._modules[owner]
        path = tuple(self._names[owner[: depth + 1]] for depth in range(len(owner)))
        return module, path, _free(module, name)

    def steps(self, types: Types) -> list[OnnxStep | OnnxCall]:
        """Return the nodes in the file's order, stretches of one child module as calls of it."""
        decisive = _decisive(self._graph.nodes)
        nodes = [
            (OnnxStep(node, types.node(node), not decisive.isdisjoint(node.outputs)), node.scope)
            for node in self._graph.nodes
        ]
        return self._nested(nodes, ())

    def _nested(
        self, nodes: list[tuple[OnnxStep, tuple[str, ...]]], path: tuple[str, ...]
    ) -> list[OnnxStep | OnnxCall]:
        result: list[OnnxStep | OnnxCall] = []
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
                result.append(OnnxCall(self._modules[inner], self._nested(nodes[start:end], inner)))
            start = end
        return result


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what the beginnings of paths have in common."""
    first, last = min(paths), max(paths)
    same = [here == there for here, there in zip(first, last, strict=False)]
    return first[: (*same, False).index(False)]


def _decisive(nodes: Sequence[OnnxNode]) -> set[str]:
    """Return the names of tensors whose numbers decide about shapes, directly or through others."""
    names: set[str] = set()
    for node in reversed(nodes):
        operator = OPERATORS[node.operator]
        through = not names.isdisjoint(node.outputs)
        for place, name in enumerate(node.inputs):
            if place in operator.values or (through and place not in operator.outlines):
                names.add(name)
    return names - {""}


def _free(module: nn.Module, name: str) -> str:
    """Return a name like the one given that no attribute of a module has."""
    name = name.replace(".", "_")
    while hasattr(module, name):
        name += "_"
    return name
