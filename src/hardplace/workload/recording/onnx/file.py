"""Reading an ONNX file into nodes, constants and inputs; what cannot be read is said in one line."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hardplace.errors import BadInput
from hardplace.files import read_bytes
from hardplace.workload.recording.onnx.merged import separate_aliases, separate_modules
from hardplace.workload.recording.onnx.node import Constant, OnnxNode, Role
from hardplace.workload.recording.onnx.operators import OPERATORS
from hardplace.workload.recording.onnx.protobuf import (
    attributes_of,
    check_texts,
    constant_of,
    domain_of,
    dtype_of,
    elements_of,
    export_kinds,
    first_line,
    key_of,
    name_of,
    restore_weights,
    stored_elements,
    value_of,
)
from hardplace.workload.recording.onnx.scopes import scope_of, with_scopes

OPSETS = (11, 28)  # the first and the last operator set of ai.onnx that the tests have seen
_SMALL = 48  # elements up to which a constant counts as one that shapes may be computed from
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
# Inputs that are weights even where an exporter writes them as Constant nodes; statistics are no parameters.
_WEIGHTS = {"Conv": {1, 2}, "ConvTranspose": {1, 2}, "Gemm": {1, 2}, "MatMul": {0, 1}, "Gather": {0}}
_COPIED = ("Identity", 0)  # what reads the copy says what it is
_STATISTICS = {("BatchNormalization", 3), ("BatchNormalization", 4)}


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
    nodes: tuple[OnnxNode, ...]
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
        check_texts(model)
        restore_weights(model.graph)
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
            raise BadInput(f"{where}: functions of the file cannot be put in place: {first_line(problem)}") from None
    return model


class _Reader:
    """Turns the protobuf of a model into a Graph."""

    def __init__(self, where: Path, model: Any) -> None:
        self._where = where
        self._model = model
        self._versions = {domain_of(entry): entry.version for entry in model.opset_import}
        self._uses: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._kinds = export_kinds(model.graph.value_info)
        for proto in model.graph.node:
            for slot, name in enumerate(proto.input):
                self._uses[name].add((key_of(proto), slot))

    def graph(self) -> Graph:
        """Return the graph, checked."""
        self._check_operators()
        outputs = tuple(info.name for info in self._model.graph.output)
        initializers = {proto.name: proto for proto in self._initializers()}
        used = {name: proto for name, proto in initializers.items() if name in self._uses or name in outputs}
        constants = {name: self._constant(proto, self._trained(name, len(proto.dims))) for name, proto in used.items()}
        for proto in self._model.graph.node:
            if proto.op_type == "Constant":
                constant = constant_of(proto)
                constants[constant.name] = self._constant(constant, self._weighs(constant.name))
        nodes = [self._node(proto) for proto in self._model.graph.node if proto.op_type != "Constant"]
        nodes = with_scopes(nodes)
        if self._model.producer_name == "pytorch":
            nodes = (
                separate_modules(nodes, constants) if self._kinds else separate_aliases(nodes, constants, self._trained)
            )
        inputs = tuple(self._input(info) for info in self._model.graph.input if info.name not in initializers)
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
            key = key_of(proto)
            if domain_of(proto) not in self._versions:
                raise BadInput(f"node {name_of(proto)!r}: its domain {proto.domain!r} is missing in opset_import")
            if key not in OPERATORS and key != "Constant":
                counts[key] += 1
                first.setdefault(key, name_of(proto))
        if counts:
            found = "; ".join(
                f"{key}{' (control flow)' if key in _CONTROL else ''}, {count} times, first in node {first[key]!r}"
                for key, count in counts.most_common()
            )
            raise BadInput(f"operators that cannot be read: {found}")

    def _initializers(self) -> Iterable[Any]:
        if self._model.graph.sparse_initializer:
            raise BadInput("sparse initializers cannot be read")
        return self._model.graph.initializer

    def _trained(self, name: str, rank: int) -> bool:
        """Return whether a float initializer is a parameter: what the exporter says, else by its use.

        Numbers of rank 0 are constants, and so are batch statistics. Where the exporter says which initializers
        are parameters, those of an instance norm that it does not name are constants of a group norm.
        """
        kind = self._kinds.get(name)
        if kind is not None:
            return kind == "PARAMETER"
        fixed = (
            _STATISTICS | {("InstanceNormalization", 1), ("InstanceNormalization", 2)} if self._kinds else _STATISTICS
        )
        uses = self._uses[name] - {_COPIED}
        return rank > 0 and not (uses and uses <= fixed)

    def _weighs(self, name: str) -> bool:
        """Return whether a Constant node is a weight."""
        return any(slot in _WEIGHTS.get(key, ()) for key, slot in self._uses[name])

    def _constant(self, proto: Any, trained: bool) -> Constant:
        what = f"constant {proto.name!r}"
        dtype, shape = dtype_of(proto.data_type, what), tuple(proto.dims)
        count = elements_of(shape, what)
        stored = stored_elements(proto, dtype)
        if stored not in (0, count):
            raise BadInput(f"{what}: its shape {list(shape)} does not fit its {stored:g} elements")
        small = (len(shape) < 2 or count <= _SMALL) and proto.data_location == 0
        if any(key in OPERATORS and slot in OPERATORS[key].values for key, slot in self._uses[proto.name]):
            role = Role.VALUE
        elif dtype.is_floating_point and trained:
            role = Role.PARAMETER
        else:
            noted = proto.name in self._kinds or self._uses[proto.name] & _STATISTICS
            role = Role.BUFFER if noted or not small else Role.VALUE
        value = value_of(proto, what) if role is Role.VALUE else None
        return Constant(name=proto.name, source=proto.name, shape=shape, dtype=dtype, role=role, value=value)

    def _node(self, proto: Any) -> OnnxNode:
        domain = domain_of(proto)
        return OnnxNode(
            name=name_of(proto),
            operator=key_of(proto),
            version=self._versions[domain],
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes=attributes_of(proto),
            scope=scope_of(proto),
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
        return Input(name=info.name, shape=tuple(shape), dtype=dtype_of(info.type.tensor_type.elem_type, what))


def _check_order(nodes: Iterable[OnnxNode], known: set[str], outputs: Iterable[str]) -> None:
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
