"""An ONNX model as a torch module, for the recorder: the graph run with torch operators, weights unread.

The module has a child for each module that the exporter named, so that hooks see where an operator belongs.
Numbers that follow from shapes and constants alone are computed on the side and are no operators of the graph.
"""

from __future__ import annotations

import ast
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from hardplace.errors import BadInput, unknown
from hardplace.workload.recording.onnx.file import Graph, Input, read_graph
from hardplace.workload.recording.onnx.module import OnnxModule
from hardplace.workload.recording.onnx.protobuf import MOST_ELEMENTS
from hardplace.workload.recording.onnx.run import Types


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
    inputs = inputs_of(graph, sizes, dtype)
    return module_of(graph, dtype), inputs


def module_of(graph: Graph, dtype: torch.dtype | None = None) -> OnnxModule:
    """Return the module of a graph, on the meta device, as onnx_module says it."""
    return OnnxModule(graph, Types(_main_type(graph), dtype))


def inputs_of(graph: Graph, sizes: Mapping[str, int], dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Return inputs for a graph, on the meta device, as onnx_module says it."""
    types = Types(_main_type(graph), dtype)
    try:
        values = _sizes(graph.inputs, sizes)
        shapes = {one.name: _shape(one, values) for one in graph.inputs}
    except BadInput as problem:
        raise BadInput(f"{graph.path}: {problem}") from None
    return {one.name: torch.empty(shapes[one.name], dtype=types.of(one.dtype), device="meta") for one in graph.inputs}


def _symbols(dimension: str) -> set[str]:
    """Return the names in a dimension: itself, or those of an expression such as `past + 1`."""
    try:
        tree = ast.parse(dimension, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {dimension}
    parts = list(ast.walk(tree))
    numbers = [part.value for part in parts if isinstance(part, ast.Constant)]
    if not all(isinstance(part, _EXPRESSION) for part in parts) or not all(type(one) is int for one in numbers):
        return {dimension}
    return {part.id for part in parts if isinstance(part, ast.Name)} or {dimension}


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
        give = " ".join(f"size {name}=8" for name in missing)
        raise BadInput(
            f"input {one.name!r}: dimension {one.shape.index(text)} is {text!r} "
            f"and has no value; give {give} (or other numbers)"
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
