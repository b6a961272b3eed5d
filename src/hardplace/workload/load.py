"""The models that ship with the package, and the check that a file's graph makes sense."""

from __future__ import annotations

import os
from pathlib import Path

from hardplace.errors import BadInput, unknown
from hardplace.files import read
from hardplace.workload.types import Affine, Layer, Operator, OperatorKind, Workload

_FOLDER = Path(__file__).parent / "catalogue"
_SUFFIX = ".json.gz"
_DIMS = {OperatorKind.MATMUL: 4, OperatorKind.ATTENTION: 6}


def catalogue() -> tuple[str, ...]:
    """Return the names of the models that ship with the package, in alphabetical order."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}")))


def path_of(name: str) -> Path:
    """Return where the Workload file of a catalogue model lies, whether it is there or not."""
    return _FOLDER / f"{name}{_SUFFIX}"


def load(name_or_path: str | os.PathLike[str]) -> Workload:
    """Return a model of the catalogue by name, or the Workload of a .json or .json.gz file.

    Raises BadInput for an unknown name, with the nearest ones, and for a file that is not a sound Workload.
    """
    text = os.fspath(name_or_path)
    if text in catalogue():
        path = path_of(text)
    elif text.endswith((".json", _SUFFIX)) or os.sep in text:
        path = Path(text)
    else:
        raise unknown("model", text, catalogue())
    workload = read(path, Workload)
    try:
        check(workload)
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None
    return workload


def check(workload: Workload) -> None:
    """Raise BadInput if a workload is not sound: indices out of range, negative quantities, no layers."""
    _require(workload.sequence_length > 0, "sequence_length", workload.sequence_length, "at least 1")
    _require(workload.parameters > 0, "parameters", workload.parameters, "at least 1")
    _require(bool(workload.order), "order", workload.order, "at least one layer")
    widths = [shard.tensor_parallel for shard in workload.shards]
    _require(
        1 in widths and min(widths) > 0 and len(set(widths)) == len(widths),
        "shards",
        widths,
        "distinct tensor-parallel degrees, 1 among them",
    )
    for place, shard in enumerate(workload.shards):
        for index in workload.order:
            _require(0 <= index < len(shard.layers), "order", index, f"a layer of shards[{place}]")
        for number, layer in enumerate(shard.layers):
            _check_layer(layer, f"shards[{place}].layers[{number}]")


def _check_layer(layer: Layer, where: str) -> None:
    """Raise BadInput if a layer is not sound."""
    _require(layer.parameters >= 0, f"{where}.parameters", layer.parameters, "not negative")
    _require(layer.parameter_bytes >= 0, f"{where}.parameter_bytes", layer.parameter_bytes, "not negative")
    _require_size(layer.saved_bytes, f"{where}.saved_bytes")
    _require_size(layer.output_bytes, f"{where}.output_bytes")
    _require(bool(layer.operators), f"{where}.operators", layer.operators, "at least one")
    for number, tensor in enumerate(layer.tensors):
        _require_size(tensor.bytes, f"{where}.tensors[{number}].bytes")
    for number, operator in enumerate(layer.operators):
        _check_operator(operator, len(layer.tensors), f"{where}.operators[{number}]")


def _check_operator(operator: Operator, tensors: int, where: str) -> None:
    """Raise BadInput if an operator is not sound."""
    expected = _DIMS.get(operator.kind, 1)
    _require(len(operator.dims) == expected, f"{where}.dims", operator.dims, f"{expected} of them")
    for dim in operator.dims:
        _require_size(dim, f"{where}.dims")
    _require_size(operator.flops, f"{where}.flops")
    for index in operator.reads + operator.writes:
        _require(0 <= index < tensors, f"{where}.reads and writes", index, f"an index below {tensors}")


def _require_size(size: Affine, where: str) -> None:
    if size.constant < 0 or size.factor < 0:
        raise BadInput(f"{where}: {list(size)}: expected no negative number")


def _require(holds: bool, where: str, value: object, expected: str) -> None:
    if not holds:
        raise BadInput(f"{where}: {value}: expected {expected}")
