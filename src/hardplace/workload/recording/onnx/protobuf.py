"""Parts of an ONNX file's protobuf as values of Python and torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from hardplace.errors import BadInput
from hardplace.workload.recording.onnx.node import TYPES

MOST_ELEMENTS = 2**40  # of one tensor


def first_line(problem: BaseException) -> str:
    """Return the beginning of an error's text."""
    return (str(problem) or type(problem).__name__).splitlines()[0][:200]


def name_of(proto: Any) -> str:
    """Return what a node is called in errors: its name, or its first output's."""
    return proto.name or (proto.output[0] if proto.output else proto.op_type)


def domain_of(proto: Any) -> str:
    """Return the domain of a node or an import; ONNX's own has two names."""
    return "" if proto.domain == "ai.onnx" else proto.domain


def key_of(proto: Any) -> str:
    """Return the name of a node's operator as OPERATORS has it."""
    return f"{domain_of(proto)}.{proto.op_type}".lstrip(".")


def check_texts(model: Any) -> None:
    """Raise BadInput if a name is no text, as in damaged files: protobuf then gives bytes."""
    graph = model.graph
    owners = [*graph.initializer, *graph.input, *graph.output, *graph.value_info]
    texts = [owner.name for owner in owners] + [dim.dim_param for info in graph.input for dim in _dims(info)]
    texts += [entry.domain for entry in model.opset_import]
    for node in graph.node:
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
        texts += [text for entry in node.metadata_props for text in (entry.key, entry.value)]
    if any(isinstance(text, bytes) for text in texts):
        raise BadInput("expected names in UTF-8; the file is damaged")


def _dims(info: Any) -> Any:
    return info.type.tensor_type.shape.dim


def dtype_of(code: int, what: str) -> torch.dtype:
    """Return the torch type of a TensorProto.DataType; BadInput if there is none."""
    if not isinstance(code, int) or code not in TYPES:
        raise BadInput(f"{what}: its element type {code} cannot be read; expected a number type of 8 bits or more")
    return TYPES[code]


def elements_of(shape: tuple[int, ...], what: str) -> int:
    """Return the number of elements of a shape that makes sense."""
    count = math.prod(shape)
    if any(size < 0 for size in shape) or count > MOST_ELEMENTS:
        raise BadInput(f"{what}: shape {list(shape)}; expected no negative dimensions and at most 2^40 elements")
    return count


def stored_elements(proto: Any, dtype: torch.dtype) -> float:
    """Return how many elements lie in the tensor's own data, not in a file beside; 0 if none."""
    if proto.data_location == 1:
        return 0
    typed = (proto.float_data, proto.int32_data, proto.int64_data, proto.double_data, proto.uint64_data)
    return len(proto.raw_data) / dtype.itemsize or sum(len(data) for data in typed)


def value_of(proto: Any, what: str) -> torch.Tensor:
    """Return the elements of a TensorProto; BadInput if they lie elsewhere or do not fit."""
    from onnx import numpy_helper

    if proto.data_location == 1:
        raise BadInput(f"{what}: its value decides about shapes, but lies in another file")
    try:
        array = numpy_helper.to_array(proto)
        if array.dtype.name == "bfloat16":
            return torch.tensor(array.astype("float32").tolist(), dtype=torch.bfloat16)
        return torch.from_numpy(array.copy())
    except Exception as problem:  # numpy and onnx raise many types
        raise BadInput(f"{what}: its value cannot be read: {first_line(problem)}") from None


def attributes_of(proto: Any) -> dict[str, Any]:
    """Return a node's attributes as plain values; element types as torch dtypes, texts as str.

    The one element of a tensor is a number, its type is under `dtype`.
    """
    from onnx import helper

    result: dict[str, Any] = {}
    for attribute in proto.attribute:
        what = f"node {name_of(proto)!r}, attribute {attribute.name!r}"
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            result[attribute.name] = value.decode(errors="replace")
        elif attribute.type == attribute.TENSOR:
            tensor = value_of(value, what)
            if tensor.numel() != 1:
                raise BadInput(f"{what}: {tensor.numel()} elements; expected 1")
            result |= {attribute.name: tensor.reshape(-1).tolist()[0], "dtype": tensor.dtype}
        elif attribute.name in ("to", "dtype"):
            result[attribute.name] = dtype_of(value, what)
        elif isinstance(value, (int, float)):
            result[attribute.name] = value
        elif attribute.type in (attribute.FLOATS, attribute.INTS, attribute.STRINGS):
            result[attribute.name] = list(value)
        else:
            raise BadInput(f"{what}: expected numbers, texts or a tensor")
    return result


def constant_of(proto: Any) -> Any:
    """Return the tensor of a Constant node under the name of its output."""
    from onnx import AttributeProto, TensorProto, helper

    kinds = {
        "value": (AttributeProto.TENSOR, None),
        "value_int": (AttributeProto.INT, TensorProto.INT64),
        "value_ints": (AttributeProto.INTS, TensorProto.INT64),
        "value_float": (AttributeProto.FLOAT, TensorProto.FLOAT),
        "value_floats": (AttributeProto.FLOATS, TensorProto.FLOAT),
    }
    attribute = proto.attribute[0] if len(proto.attribute) == len(proto.output) == 1 else AttributeProto()
    kind, element = kinds.get(attribute.name, (None, None))
    if attribute.type != kind:
        raise BadInput(f"node {name_of(proto)!r} (Constant): expected one output and one of {', '.join(kinds)}")
    value = helper.get_attribute_value(attribute)
    if element is None:
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = proto.output[0]
        return tensor
    shape = [len(value)] if attribute.name.endswith("s") else []
    return helper.make_tensor(proto.output[0], element, shape, value if shape else [value])


def restore_weights(graph: Any) -> None:
    """Put back, without numbers, the initializers that onnx.tools.replace_constants has taken out of a graph.

    It leaves a ConstantOfShape node with a weight's name, whose shape is a constant of that name and `__SHAPE`.
    """
    from onnx import TensorProto

    shapes = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.INT64}
    kept = []
    for node in graph.node:
        shape = shapes.get(node.input[0]) if node.op_type == "ConstantOfShape" and len(node.input) == 1 else None
        if shape is None or len(node.output) != 1 or shape.name != f"{node.output[0]}__SHAPE":
            kept.append(node)
            continue
        kind = node.attribute[0].t.data_type if node.attribute else TensorProto.FLOAT
        sizes = value_of(shape, f"constant {shape.name!r}").tolist()
        graph.initializer.append(
            TensorProto(name=node.output[0], dims=sizes, data_type=kind, data_location=TensorProto.EXTERNAL)
        )
    if len(kept) < len(graph.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)


def export_kinds(infos: Iterable[Any]) -> dict[str, str]:
    """Return what torch.export noted about constants: PARAMETER, BUFFER or CONSTANT_TENSOR, by name."""
    kinds = {}
    for info in infos:
        for entry in getattr(info, "metadata_props", ()):
            if entry.key == "pkg.torch.export.graph_signature.InputSpec.kind":
                kinds[info.name] = entry.value
    return kinds
