"""What an ONNX graph is made of, once read: nodes, constants, inputs; free of the onnx package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import torch

# TensorProto.DataType of onnx.proto3; strings, complex numbers and 8-bit floats are not read.
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    16: torch.bfloat16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """One operator of a graph.

    Attributes:
        name: Name of the node.
        operator: Name of the operator.
        version: Version of the operator set.
        inputs: Names of what it reads, in order; "": left out.
        outputs: Names of what it writes.
        attributes: Plain values; element types as torch dtypes.
        scope: Path of the module that it came from; () if the exporter left none.
    """

    name: str
    operator: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    scope: tuple[str, ...]

    def get(self, attribute: str, default: Any = None) -> Any:
        """Return an attribute's value."""
        return self.attributes.get(attribute, default)

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.operator})"


class Role(Enum):
    """What a constant of the file is to the module: trained, a fixed tensor, or a value known beforehand."""

    PARAMETER = auto()
    BUFFER = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """An initializer or a Constant node.

    Attributes:
        name: Name in the graph.
        source: Name in the file of its numbers.
        shape: Shape, in elements.
        dtype: Type of its elements.
        role: What it is to the module.
        value: Its numbers, only where the role is VALUE; weights are never read.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    role: Role
    value: torch.Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxOperator:
    """How torch runs an operator.

    Attributes:
        run: Takes the node and its inputs, None for one left out; returns a tensor or, for more outputs, a tuple.
        values: Inputs that it gets as numpy arrays, since they decide about shapes.
        scalars: Inputs that come as Python numbers where they are constants of rank 0.
        outlines: Inputs of which it reads shape and type only.
    """

    run: Callable[..., Any]
    values: tuple[int, ...] = ()
    scalars: tuple[int, ...] = ()
    outlines: tuple[int, ...] = ()


def whole(values: np.ndarray[Any, Any] | None) -> list[int] | None:
    """Return an array as a list of whole numbers, a single number as a list of one."""
    return None if values is None else [int(value) for value in values.reshape(-1)]


def axes_of(node: OnnxNode, given: np.ndarray[Any, Any] | None) -> list[int] | None:
    """Return the axes that an operator names: by an attribute in older operator sets, an input in newer."""
    return node.get("axes") if given is None else whole(given)
