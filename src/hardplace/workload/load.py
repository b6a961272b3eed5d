"""The models that ship with the package, and the check that a file's graph makes sense."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput, unknown
from hardplace.files import read, read_text
from hardplace.workload.types import ITEM_BYTES, Affine, Layer, Operator, OperatorKind, Workload

_FOLDER = Path(__file__).parent / "catalogue"
_SUFFIX = ".json.gz"
# How many dimensions an operator of a kind has; of a convolution 4 and three for each spatial axis.
_DIMS = {
    OperatorKind.MATMUL: (4,),
    OperatorKind.GROUPED_MATMUL: (4,),
    OperatorKind.ATTENTION: (7,),
    OperatorKind.CONVOLUTION: (7, 10, 13),
    OperatorKind.SCAN: (7,),
    OperatorKind.VIEW: (0,),
}


def catalogue() -> tuple[str, ...]:
    """Return the names of the models that ship with the package, in alphabetical order."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}")))


def path_of(name: str) -> Path:
    """Return where the Workload file of a catalogue model lies, whether it is there or not."""
    return _FOLDER / f"{name}{_SUFFIX}"


def published_config(name: str) -> dict[str, Any]:
    """Return the Hugging Face config that a catalogue model was recorded from; {} of one that a function makes."""
    found: dict[str, dict[str, Any]] = json.loads(read_text(_FOLDER / "configs.json"))
    return found.get(name, {})


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
    _require(bool(workload.layers), "layers", workload.layers, "at least one")
    for index in workload.order:
        _require(0 <= index < len(workload.layers), "order", index, f"below {len(workload.layers)}, a layer's index")
    for number, layer in enumerate(workload.layers):
        _check_layer(layer, f"layers[{number}]")
    joined: set[int] = set()
    for number, edge in enumerate(workload.edges):
        _require(
            0 <= edge.source < edge.target < len(workload.order),
            f"edges[{number}]",
            list(edge),
            f"source before target, both below {len(workload.order)}",
        )
        given = workload.layers[workload.order[edge.source]].outputs
        taken = workload.layers[workload.order[edge.target]].inputs
        joined |= {edge.source, edge.target}
        sound = 0 <= edge.output < len(given) and 0 <= edge.input < len(taken)
        _require(sound, f"edges[{number}]", list(edge), "an output of its source and an input of its target")
    alone = set(range(len(workload.order))) - joined
    _require(len(workload.order) == 1 or not alone, "edges", sorted(alone)[:3], "every position of the order in one")


def _check_layer(layer: Layer, where: str) -> None:
    """Raise BadInput if a layer is not sound."""
    _require(bool(layer.operators), f"{where}.operators", layer.operators, "at least one")
    for number, storage in enumerate(layer.storages):
        _require_size(storage.bytes, f"{where}.storages[{number}].bytes")
        _require(storage.parameters >= 0, f"{where}.storages[{number}].parameters", storage.parameters, "not negative")
    for name in ("saved", "inputs", "outputs"):
        for index in getattr(layer, name):
            _require(0 <= index < len(layer.storages), f"{where}.{name}", index, f"below {len(layer.storages)}")
    for number, tensor in enumerate(layer.tensors):
        place = f"{where}.tensors[{number}]"
        _require(0 <= tensor.storage < len(layer.storages), f"{place}.storage", tensor.storage, "a storage's index")
        _require(tensor.dtype in ITEM_BYTES, f"{place}.dtype", tensor.dtype, f"one of {', '.join(ITEM_BYTES)}")
        for size in tensor.shape:
            _require_size(size, f"{place}.shape")
    for number, operator in enumerate(layer.operators):
        _check_operator(operator, len(layer.tensors), f"{where}.operators[{number}]")


def _check_operator(operator: Operator, tensors: int, where: str) -> None:
    """Raise BadInput if an operator is not sound."""
    expected = _DIMS.get(operator.kind, (1,))
    counts = " or ".join(map(str, expected))
    _require(len(operator.dims) in expected, f"{where}.dims", operator.dims, f"{counts} of them")
    for dim in operator.dims:
        _require_size(dim, f"{where}.dims")
    _require_size(operator.flops, f"{where}.flops")
    _require(operator.window >= 0, f"{where}.window", operator.window, "not negative")
    for index in operator.reads + operator.writes:
        _require(0 <= index < tensors, f"{where}.reads and writes", index, f"an index below {tensors}")


def _require_size(size: Affine, where: str) -> None:
    if size.constant < 0 or size.factor < 0:
        raise BadInput(f"{where}: {list(size)}: expected no negative number")
    if max(size) >= 2**80:
        raise BadInput(f"{where}: expected numbers below 2^80")


def _require(holds: bool, where: str, value: object, expected: str) -> None:
    if not holds:
        raise BadInput(f"{where}: {value}: expected {expected}")
