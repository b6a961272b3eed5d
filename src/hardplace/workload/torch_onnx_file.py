"""Reading an ONNX file into nodes, constants and inputs; what cannot be read is said in one line."""

from __future__ import annotations

import ast
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any

import torch

from hardplace.errors import BadInput
from hardplace.files import read_bytes
from hardplace.workload.torch_onnx_node import TYPES, Node
from hardplace.workload.torch_onnx_operators import OPERATORS

OPSETS = (11, 28)  # the first and the last operator set of ai.onnx that the tests have seen
MOST_ELEMENTS = 2**40  # of one tensor
_SMALL = 48  # elements up to which a constant counts as one that shapes may be computed from
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
# Inputs that are weights even where an exporter writes them as Constant nodes; statistics are no parameters.
_WEIGHTS = {"Conv": {1, 2}, "ConvTranspose": {1, 2}, "Gemm": {1, 2}, "MatMul": {0, 1}, "Gather": {0}}
_STATISTICS = {("BatchNormalization", 3), ("BatchNormalization", 4)}


class Role(Enum):
    """What a constant of the file is to the module: trained, a fixed tensor, or a value known beforehand."""

    PARAMETER = auto()
    BUFFER = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """An initializer or a Constant node. value: only where the role is VALUE; weights are never read."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    role: Role
    value: torch.Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input of the graph. shape: a number, or the text that stands for one that the user gives."""

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """An ONNX graph, in an order in which it can run."""

    path: Path
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Return the graph of an ONNX file; external data files need not be there.

    Raises BadInput, one line, for a file that is no whole ONNX model, for operators that are not read (all of
    them named), control flow, operator sets before 11, a node that reads what nothing makes.
    """
    where = Path(path)
    model = _model(where)
    try:
        return _Reader(where, model).graph()
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None


def _model(where: Path) -> Any:
    """Return the protobuf of a file, functions of its own put in place of their calls."""
    try:
        import onnx
        import onnx.inliner
        from google.protobuf.message import DecodeError
    except ImportError:
        raise BadInput(f"{where}: ONNX files need the package onnx: pip install 'hardplace[onnx]'") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_bytes(where))
    except DecodeError:
        raise BadInput(f"{where}: expected a whole ONNX model; it is another kind of file, or cut short") from None
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise BadInput(f"{where}: expected an ONNX model with a graph; the file has none, or is cut short")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as problem:  # C++ errors of several types
            raise BadInput(f"{where}: functions of the file cannot be put in place: {_line(problem)}") from None
    return model


def _line(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).splitlines()[0][:200]


class _Reader:
    """Turns the protobuf of a model into a Graph."""

    def __init__(self, where: Path, model: Any) -> None:
        self._where = where
        self._model = model
        self._versions = {entry.domain.replace("ai.onnx", ""): entry.version for entry in model.opset_import}
        self._uses: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._kinds = _export_kinds(model.graph.value_info)
        for proto in model.graph.node:
            for slot, name in enumerate(proto.input):
                self._uses[name].add((_key(proto), slot))

    def graph(self) -> Graph:
        self._check_operators()
        constants = {proto.name: self._constant(proto, self._trained(proto)) for proto in self._initializers()}
        made = [proto for proto in self._model.graph.node if proto.op_type != "Constant"]
        for proto in self._model.graph.node:
            if proto.op_type == "Constant":
                constants[proto.output[0]] = self._constant(_tensor(proto), self._weighs(proto.output[0]))
        nodes = self._without_aliases([self._node(proto) for proto in made], constants)
        inputs = tuple(self._input(info) for info in self._model.graph.input if info.name not in constants)
        outputs = tuple(info.name for info in self._model.graph.output)
        nodes = _with_scopes(nodes)
        _check_order(nodes, {*constants, *(one.name for one in inputs)}, outputs)
        return Graph(path=self._where, nodes=tuple(nodes), constants=constants, inputs=inputs, outputs=outputs)

    def _check_operators(self) -> None:
        if not self._versions:
            raise BadInput("expected opset_import, the versions of the operator sets; the model has none")
        version = self._versions.get("", OPSETS[0])
        if not OPSETS[0] <= version <= OPSETS[1]:
            raise BadInput(
                f"operator set {version}; expected {OPSETS[0]} to {OPSETS[1]} (onnx.version_converter can convert)"
            )
        counts: Counter[str] = Counter()
        first: dict[str, str] = {}
        for proto in self._model.graph.node:
            key = _key(proto)
            if proto.domain.replace("ai.onnx", "") not in self._versions:
                raise BadInput(f"node {_name(proto)!r}: its domain {proto.domain!r} is missing in opset_import")
            if key not in OPERATORS and key != "Constant":
                counts[key] += 1
                first.setdefault(key, _name(proto))
        if counts:
            found = "; ".join(
                f"{key}{' (control flow)' if key in _CONTROL else ''}, {count} times, first in node {first[key]!r}"
                for key, count in counts.most_common()
            )
            raise BadInput(f"operators that cannot be read: {found}")

    def _initializers(self) -> Iterable[Any]:
        if self._model.graph.sparse_initializer:
            raise BadInput("sparse initializers cannot be read")
        return self._model.graph.initializer  # type: ignore[no-any-return]

    def _trained(self, proto: Any) -> bool:
        """Return whether a float initializer is a parameter: what the exporter says, or by its use."""
        kind = self._kinds.get(proto.name)
        if kind is not None:
            return kind == "PARAMETER"
        uses = self._uses[proto.name]
        return len(proto.dims) > 0 and not (uses and uses <= _STATISTICS)

    def _weighs(self, name: str) -> bool:
        """Return whether a Constant node is a weight."""
        return any(slot in _WEIGHTS.get(key, ()) for key, slot in self._uses[name])

    def _constant(self, proto: Any, trained: bool) -> Constant:
        what = f"constant {proto.name!r}"
        dtype = _dtype(proto.data_type, what)
        shape = tuple(proto.dims)
        count = _elements(shape, what)
        stored = len(proto.raw_data) // dtype.itemsize
        if stored and stored != count:
            raise BadInput(f"{what}: {stored} elements of data for shape {list(shape)}")
        asked = any(key in OPERATORS and slot in OPERATORS[key].values for key, slot in self._uses[proto.name])
        small = len(shape) < 2 or count <= _SMALL
        if dtype.is_floating_point and trained and not asked and (count > 1 or shape or proto.name in self._kinds):
            role = Role.PARAMETER
        elif (small and proto.data_location == 0 and proto.name not in self._kinds) or asked:
            role = Role.VALUE
        else:
            role = Role.BUFFER
        value = _value(proto, what) if role is Role.VALUE else None
        return Constant(name=proto.name, shape=shape, dtype=dtype, role=role, value=value)

    def _node(self, proto: Any) -> Node:
        domain = proto.domain.replace("ai.onnx", "")
        return Node(
            name=_name(proto),
            operator=_key(proto),
            version=self._versions[domain],
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={attribute.name: _attribute(attribute, _name(proto)) for attribute in proto.attribute},
            scope=_scope(proto),
        )

    def _input(self, info: Any) -> Input:
        what = f"input {info.name!r}"
        if not info.type.HasField("tensor_type") or not info.type.tensor_type.HasField("shape"):
            raise BadInput(f"{what}: expected a tensor with a shape")
        shape = []
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                shape.append(dim.dim_value)
            else:
                shape.append(dim.dim_param or f"{info.name}.{axis}")
        return Input(name=info.name, shape=tuple(shape), dtype=_dtype(info.type.tensor_type.elem_type, what))

    def _without_aliases(self, nodes: list[Node], constants: dict[str, Constant]) -> list[Node]:
        """Make parameters of their own of those that PyTorch's exporter merged since they held equal numbers.

        It writes Identity nodes for them, with the parameters' names; weights that the model itself shares are
        one initializer without such a node.
        """
        if self._model.producer_name != "pytorch":
            return nodes
        kept = []
        for node in nodes:
            source = constants.get(node.inputs[0]) if node.operator == "Identity" else None
            if source is not None and source.role is not Role.VALUE:
                constants[node.outputs[0]] = replace(source, name=node.outputs[0])
            else:
                kept.append(node)
        return kept


def _name(proto: Any) -> str:
    return proto.name or (proto.output[0] if proto.output else proto.op_type)  # type: ignore[no-any-return]


def _key(proto: Any) -> str:
    """Return the name of a node's operator as OPERATORS has it."""
    return proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"


def _dtype(code: int, what: str) -> torch.dtype:
    if code not in TYPES:
        raise BadInput(f"{what}: its element type {code} cannot be read; expected a number type of 8 bits or more")
    return TYPES[code]


def _elements(shape: tuple[int, ...], what: str) -> int:
    """Return the number of elements of a shape that makes sense."""
    count = math.prod(shape)
    if any(size < 0 for size in shape) or count > MOST_ELEMENTS:
        raise BadInput(f"{what}: shape {list(shape)}; expected no negative dimensions and at most 2^40 elements")
    return count


def _value(proto: Any, what: str) -> torch.Tensor:
    from onnx import numpy_helper

    if proto.data_location == 1:
        raise BadInput(f"{what}: its value decides about shapes, but lies in another file")
    try:
        array = numpy_helper.to_array(proto)
        if array.dtype.name == "bfloat16":
            return torch.tensor(array.astype("float32").tolist(), dtype=torch.bfloat16)
        return torch.from_numpy(array.copy())
    except (ValueError, TypeError) as problem:
        raise BadInput(f"{what}: its value cannot be read: {_line(problem)}") from None


def _attribute(proto: Any, node: str) -> Any:
    """Return an attribute as Python value, torch tensor (TENSOR) or torch dtype (of Cast and its like)."""
    from onnx import helper

    what = f"node {node!r}, attribute {proto.name!r}"
    value = helper.get_attribute_value(proto)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if proto.name in ("to", "dtype") and isinstance(value, int):
        return _dtype(value, what)
    if proto.type == 4:  # AttributeProto.TENSOR
        return _value(value, what)
    if isinstance(value, (int, float)):
        return value
    return list(value) if proto.type in (6, 7, 8) else value  # FLOATS, INTS, STRINGS


def _tensor(proto: Any) -> Any:
    """Return the tensor of a Constant node under the name of its output."""
    from onnx import TensorProto, helper

    attribute = proto.attribute[0] if proto.attribute else None
    types = {"value_int": TensorProto.INT64, "value_ints": TensorProto.INT64, "value_float": TensorProto.FLOAT}
    types["value_floats"] = TensorProto.FLOAT
    if attribute is None or attribute.name not in {*types, "value"}:
        raise BadInput(f"node {_name(proto)!r} (Constant): expected a value, value_int(s) or value_float(s)")
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = proto.output[0]
        return tensor
    single = attribute.name in ("value_int", "value_float")
    numbers = [value] if single else list(value)
    return helper.make_tensor(proto.output[0], types[attribute.name], [] if single else [len(numbers)], numbers)


def _export_kinds(infos: Iterable[Any]) -> dict[str, str]:
    """Return what torch.export noted about constants: PARAMETER, BUFFER or CONSTANT_TENSOR, by name."""
    kinds = {}
    for info in infos:
        for entry in getattr(info, "metadata_props", ()):
            if entry.key == "pkg.torch.export.graph_signature.InputSpec.kind":
                kinds[info.name] = entry.value
    return kinds


def _scope(proto: Any) -> tuple[str, ...]:
    """Return the path of the module that a node came from, as its exporter left it; ("?",) if it did not.

    PyTorch's exporter from 2.5 on leaves it in the metadata, the one before in the name: `/layer1/layer1.0/conv1/Conv`.
    """
    for entry in getattr(proto, "metadata_props", ()):
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = ast.literal_eval(entry.value)
                path = str(scopes[-2]) if len(scopes) > 1 else ""
            except (ValueError, SyntaxError, TypeError, IndexError):
                break
            return () if path.startswith("_empty") else tuple(part for part in path.split(".") if part)
    if "/" not in proto.name:
        return ("?",)
    path, before = [], ""
    for part in [part for part in proto.name.split("/")[:-1] if part]:
        inner = part.removeprefix(f"{before}.") if before and part.startswith(f"{before}.") else part
        path += [piece for piece in inner.split(".") if piece]
        before = part
    return tuple(path)


def _with_scopes(nodes: list[Node]) -> list[Node]:
    """Give nodes without a scope that of the node that made their first input; none if no node has one."""
    of: dict[str, tuple[str, ...]] = {}
    result = []
    for node in nodes:
        scope = node.scope
        if scope == ("?",):
            scope = next((of[name] for name in node.inputs if name in of), ())
        of.update(dict.fromkeys(node.outputs, scope))
        result.append(replace(node, scope=scope))
    return result


def _check_order(nodes: Iterable[Node], known: set[str], outputs: Iterable[str]) -> None:
    """Raise BadInput if a node reads what nothing before it makes, or a name is made twice."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise BadInput(f"{node}: it reads {name!r}, which nothing before it makes")
        for name in node.outputs:
            if name in known:
                raise BadInput(f"{node}: it makes {name!r}, which is there already")
        known |= {name for name in node.outputs if name}
    for name in outputs:
        if name not in known:
            raise BadInput(f"output {name!r}: nothing makes it")
