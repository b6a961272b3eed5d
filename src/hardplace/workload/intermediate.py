"""An OpenVINO IR as a Workload: one layer, forward only, at the batch of the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike

from hardplace.errors import BadInput
from hardplace.workload.affine import Affine
from hardplace.workload.intermediate_file import IrGraph, IrNode, read_ir
from hardplace.workload.operators import flops_of
from hardplace.workload.types import (
    Layer,
    Operator,
    OperatorKind,
    Phase,
    Storage,
    StorageRole,
    Tensor,
    Workload,
)

_DTYPES = {"FP64": "float64", "FP32": "float32", "FP16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
_DTYPES |= {"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "BOOLEAN": "bool", "F8E4M3": "float8_e4m3fn"}
_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "ShapeOf", "Result"}
_CONSTANT = {"Const", "ShapeOf", "Range"}
_UNPRICED = ("Backprop", "LSTM", "GRU", "RNN", "Einsum", "DeformableConvolution", "TensorIterator", "Loop", "If")
_NAMES = {
    "ReLU": "relu", "Gelu": "gelu", "Swish": "silu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Add": "add",
    "Multiply": "mul", "Subtract": "sub", "Divide": "div", "Clamp": "clamp", "HSwish": "hardswish", "Power": "pow",
    "Select": "where", "Convert": "_to_copy",
}  # fmt: skip
_OTHERS = {
    "SoftMax": (OperatorKind.SOFTMAX, "_softmax"), "Softmax": (OperatorKind.SOFTMAX, "_softmax"),
    "MVN": (OperatorKind.NORMALISATION, "native_layer_norm"),
    "BatchNormInference": (OperatorKind.NORMALISATION, "native_batch_norm"),
    "GroupNormalization": (OperatorKind.NORMALISATION, "native_group_norm"),
    "MaxPool": (OperatorKind.REDUCTION, "max_pool2d_with_indices"), "AvgPool": (OperatorKind.REDUCTION, "avg_pool2d"),
    "ReduceMean": (OperatorKind.REDUCTION, "mean"), "ReduceSum": (OperatorKind.REDUCTION, "sum"),
    "ReduceMax": (OperatorKind.REDUCTION, "amax"), "Concat": (OperatorKind.COPY, "cat"),
    "Transpose": (OperatorKind.COPY, "clone"), "Gather": (OperatorKind.EMBEDDING, "embedding"),
    "GatherElements": (OperatorKind.GATHER, "gather"), "TopK": (OperatorKind.ROUTING, "topk"),
}  # fmt: skip
_COPIES = ("Broadcast", "Tile", "Pad", "Slice", "StridedSlice", "Split", "VariadicSplit", "Interpolate")


def workload_of_ir(path: str | PathLike[str]) -> Workload:
    """Return the Workload of an IR's .xml: constants are weights, their conversions cost nothing, the rest as it is.

    Raises BadInput for what is no IR with static shapes, and for operators whose products have no model here.
    """
    return _Reading(read_ir(path), str(path)).workload()


class _Reading:
    """The storages, tensors and operators so far; of each output of a node its tensor, and whether it is constant."""

    def __init__(self, graph: IrGraph, place: str) -> None:
        self.graph, self.place = graph, place
        self.storages: list[Storage] = []
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.outputs: list[int] = []
        self.at: dict[tuple[int, int], int] = {}
        self.constant: set[int] = set()

    def workload(self) -> Workload:
        """Return the whole."""
        for index, node in enumerate(self.graph.nodes):
            self._take(index, node)
        parameters = sum(one.parameters for one in self.storages)
        if not self.operators:
            raise BadInput(self.place, "no operators", "a graph that computes something")
        layer = Layer(
            name=self.graph.name, storages=tuple(self.storages), tensors=tuple(self.tensors),
            operators=tuple(self.operators), saved=(), inputs=(), outputs=tuple(dict.fromkeys(self.outputs)),
        )  # fmt: skip
        return Workload(
            name=self.graph.name, source=self.place, command="", sequence_length=1, dtype="float32", training=False,
            parameters=max(1, parameters), order=(0,), edges=(), layers=(layer,),
        )  # fmt: skip

    def _take(self, index: int, node: IrNode) -> None:
        reads = [self.at[one] for one in node.inputs]
        if node.type == "Parameter":
            self._give(index, node, StorageRole.INPUT)
        elif node.type in _CONSTANT or (reads and all(index in self.constant for index in reads)):
            if node.type == "Const" or not reads:
                self._give(index, node, StorageRole.PARAMETER)
            else:  # a conversion of weights, arithmetic of shapes
                self._alias(index, node, reads[0])
            self.constant |= {self.at[index, port] for port in range(len(node.shapes))}
        elif not reads:
            raise BadInput(f"{self.place}: {node.name}: edges", "none", f"what a {node.type or 'layer'} reads")
        elif node.type in _VIEWS:
            if node.type == "Result":
                self.outputs.append(self.tensors[reads[0]].storage)
            self._alias(index, node, reads[0])
        else:
            if any(word in node.type for word in _UNPRICED):
                raise BadInput(f"{self.place}: {node.name}: type", node.type, "one that is priced here")
            self._give(index, node, StorageRole.ACTIVATION)
            self._operator(index, node, reads)

    def _give(self, index: int, node: IrNode, role: StorageRole) -> None:
        for port, (shape, precision) in enumerate(zip(node.shapes, node.precisions, strict=True)):
            dtype = _DTYPES.get(precision)
            if dtype is None:
                raise BadInput(f"{self.place}: {node.name}: precision", precision, ", ".join(_DTYPES))
            count = math.prod(shape)
            size = {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "int16": 2}.get(dtype)
            item = size or (4 if dtype in ("float32", "int32") else 1)
            held = count if role is StorageRole.PARAMETER and "float" in dtype else 0
            self.at[index, port] = len(self.tensors)
            self.tensors.append(Tensor(storage=len(self.storages), shape=_sizes(shape), dtype=dtype))
            self.storages.append(Storage(role=role, bytes=Affine(count * item, 0), parameters=held))

    def _alias(self, index: int, node: IrNode, tensor: int) -> None:
        """Give the outputs of a node as views of a tensor."""
        for port, (shape, precision) in enumerate(zip(node.shapes, node.precisions, strict=True)):
            self.at[index, port] = len(self.tensors)
            dtype = _DTYPES.get(precision, self.tensors[tensor].dtype)
            self.tensors.append(Tensor(storage=self.tensors[tensor].storage, shape=_sizes(shape), dtype=dtype))

    def _operator(self, index: int, node: IrNode, reads: list[int]) -> None:
        kind, name, dims = self._described(node, reads)
        flops = flops_of(kind, name, dims) if kind in _PRODUCTS else 0
        self.operators.append(
            Operator(
                name=name, module=node.name, kind=kind, phase=Phase.FORWARD, dims=_sizes(dims),
                flops=Affine(flops, 0), reads=tuple(reads),
                writes=tuple(self.at[index, port] for port in range(len(node.shapes))),
                causal=kind is OperatorKind.ATTENTION and node.data.get("causal") == "true",
                layout="TN" if kind is OperatorKind.MATMUL else "",
            )
        )  # fmt: skip

    def _described(self, node: IrNode, reads: list[int]) -> tuple[OperatorKind, str, tuple[int, ...]]:
        """Return the kind, the name by torch's and the dimensions of a node."""
        shapes = [self._shape(one) for one in reads]
        out = node.shapes[0] if node.shapes else ()
        if node.type in _PRODUCT_DIMS:
            kind, name, dims_of = _PRODUCT_DIMS[node.type]
            try:
                return kind, name, dims_of(node, shapes, out)
            except (IndexError, ValueError):
                raise BadInput(f"{self.place}: {node.name}: shapes", shapes, f"those of a {node.type}") from None
        elements = max([math.prod(out), *(0 if one in self.constant else math.prod(self._shape(one)) for one in reads)])
        if node.type == "Gather" and reads[0] not in self.constant:
            return OperatorKind.COPY, "index_select", (max(1, math.prod(out)),)
        if node.type in _OTHERS:
            kind, name = _OTHERS[node.type]
            looked_up = kind in (OperatorKind.EMBEDDING, OperatorKind.GATHER)
            return kind, name, (max(1, math.prod(out) if looked_up else elements),)
        kind = OperatorKind.COPY if node.type in _COPIES else OperatorKind.ELEMENTWISE
        return kind, _NAMES.get(node.type, node.type.lower()), (max(1, elements),)

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(size.constant for size in self.tensors[tensor].shape)


def _sizes(shape: tuple[int, ...]) -> tuple[Affine, ...]:
    return tuple(Affine(size, 0) for size in shape)


_Shapes = list[tuple[int, ...]]


def _convolution(node: IrNode, shapes: _Shapes, out: tuple[int, ...]) -> tuple[int, ...]:
    image, weight = shapes[0], shapes[1]
    grouped = node.type == "GroupConvolution"
    groups = weight[0] if grouped else 1
    kernel = weight[3:] if grouped else weight[2:]
    if not len(kernel) == len(image) - 2 == len(out) - 2 >= 1:
        raise ValueError(kernel)
    return (image[0], image[1], out[1], groups, *image[2:], *out[2:], *kernel)


def _matmul(node: IrNode, shapes: _Shapes, out: tuple[int, ...]) -> tuple[int, ...]:
    left, right = shapes[0], shapes[1]
    depth = left[-2] if node.data.get("transpose_a") == "true" and len(left) > 1 else left[-1]
    columns = 1 if len(right) == 1 else out[-1]
    if len(right) <= 2:  # rows of all samples at once
        return (1, math.prod(out) // columns, columns, depth)
    return (math.prod(out[:-2]), out[-2], columns, depth)


def _attention(_: IrNode, shapes: _Shapes, out: tuple[int, ...]) -> tuple[int, ...]:
    query, key = shapes[0], shapes[1]
    heads = query[-3]
    return (math.prod(query[:-3]), heads, key[-3], query[-2], key[-2], query[-1], out[-1])


_PRODUCT_DIMS: dict[str, tuple[OperatorKind, str, Callable[[IrNode, _Shapes, tuple[int, ...]], tuple[int, ...]]]] = {
    "Convolution": (OperatorKind.CONVOLUTION, "convolution", _convolution),
    "GroupConvolution": (OperatorKind.CONVOLUTION, "convolution", _convolution),
    "MatMul": (OperatorKind.MATMUL, "mm", _matmul),
    "ScaledDotProductAttention": (OperatorKind.ATTENTION, "attention", _attention),
}
_PRODUCTS = (OperatorKind.CONVOLUTION, OperatorKind.MATMUL, OperatorKind.ATTENTION)
