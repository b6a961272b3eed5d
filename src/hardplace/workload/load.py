"""The models that ship with the package, and the check that a file's graph makes sense."""

from __future__ import annotations

import copy
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput, unknown
from hardplace.files import read, read_json
from hardplace.workload.affine import Affine
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.operators import CAUSAL, TRANSPOSED, flops_of
from hardplace.workload.types import Holder, Layer, Operator, OperatorKind, StorageRole, Workload
from hardplace.workload.weights import weights_of_model

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
_PRODUCTS = (
    OperatorKind.MATMUL,
    OperatorKind.GROUPED_MATMUL,
    OperatorKind.ATTENTION,
    OperatorKind.CONVOLUTION,
    OperatorKind.SCAN,
)
# Ranges: a step of 10^15 parameters at a micro-batch of 2^20 lies far within them, and products of two stay exact.
_MOST_AXES = 64
# By whose name FLOPs may have been counted: an operator of a file may have been given another one since.
_COUNTED = ("", "_backward", "ssd", "ssd_backward", TRANSPOSED, f"{CAUSAL}_backward")
_MOST_TOKENS, _MOST_PARAMETERS, _MOST_SIZE, _MOST_FLOPS = 2**31, 2**53, 2**53, 2**80
_UNREACHED = 2  # a tower that the recorded inputs do not reach may be told as parameters that no layer holds


def catalogue() -> tuple[str, ...]:
    """Return the names of the models that ship with the package, in alphabetical order."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _FOLDER.glob(f"*{_SUFFIX}")))


def path_of(name: str) -> Path:
    """Return where the Workload file of a catalogue model lies, whether it is there or not."""
    return _FOLDER / f"{name}{_SUFFIX}"


def published_config(name: str) -> dict[str, Any]:
    """Return the Hugging Face config that a catalogue model was recorded from; {} of one that a function makes."""
    return copy.deepcopy(_published_configs().get(name, {}))


@cache
def _published_configs() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_json(_FOLDER / "configs.json")
    return found


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
    """Raise BadInput if a workload is not sound.

    Indices and quantities out of range, no layers, parameters or FLOPs that contradict what the layers hold and do.
    """
    _require("\0" not in workload.name, "name", repr(workload.name), "a text without NUL")
    _require(0 < workload.sequence_length <= _MOST_TOKENS, "sequence_length", workload.sequence_length, "1 to 2^31")
    _require(0 < workload.parameters <= _MOST_PARAMETERS, "parameters", workload.parameters, "1 to 2^53")
    _require(bool(workload.order), "order", workload.order, "at least one layer")
    _require(bool(workload.layers), "layers", workload.layers, "at least one")
    for index in workload.order:
        _require(0 <= index < len(workload.layers), "order", index, f"below {len(workload.layers)}, a layer's index")
    for number, layer in enumerate(workload.layers):
        _check_layer(layer, f"layers[{number}]")
    held = sum(workload.layers[index].parameters for index in workload.order)
    _check_shared(workload)
    largest = max(layer.parameters for layer in workload.layers)
    if workload.shared:
        held = largest = weights_of_model(workload).elements
    if held:
        _require(
            largest <= workload.parameters <= _UNREACHED * held,
            "parameters",
            f"{workload.parameters:,}",
            f"about the {held:,} that the layers of the order hold",
        )
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


def _check_shared(workload: Workload) -> None:
    """Raise BadInput if what is shared is no parameter, is shared by one alone, or is not of one size."""
    seen: set[Holder] = set()
    for number, holders in enumerate(workload.shared):
        where = f"shared[{number}]"
        _require(len(holders) > 1, where, [list(one) for one in holders], "two holders or more")
        sizes = set()
        for one in holders:
            known = 0 <= one.position < len(workload.order)
            storages = workload.layers[workload.order[one.position]].storages if known else ()
            sound = 0 <= one.storage < len(storages) and storages[one.storage].role is StorageRole.PARAMETER
            _require(sound, where, list(one), "a position of the order and a parameter's storage of its layer")
            _require(one not in seen, where, list(one), "each storage once")
            seen.add(one)
            layer = workload.layers[workload.order[one.position]]
            sizes.add((storages[one.storage].parameters, one.storage in layer.trained))
        _require(len(sizes) == 1, where, sorted(sizes), "storages of one size, all trained or none")


def _check_layer(layer: Layer, where: str) -> None:
    """Raise BadInput if a layer is not sound."""
    _require(bool(layer.operators), f"{where}.operators", layer.operators, "at least one")
    for number, storage in enumerate(layer.storages):
        _require_size(storage.bytes, f"{where}.storages[{number}].bytes")
        most = storage.bytes.constant if storage.role is StorageRole.PARAMETER else 0  # a byte each, or more
        _require(
            0 <= storage.parameters <= most,
            f"{where}.storages[{number}].parameters",
            storage.parameters,
            f"0 to {most}, the bytes of a parameter's storage",
        )
    for name in ("saved", "inputs", "outputs"):
        indices = getattr(layer, name)
        _require(len(set(indices)) == len(indices), f"{where}.{name}", list(indices), "each storage once")
        for index in indices:
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
    _require_size(operator.flops, f"{where}.flops", _MOST_FLOPS)
    _check_flops(operator, where)
    _require(0 <= operator.window <= _MOST_SIZE, f"{where}.window", operator.window, "0 to 2^53")
    for axis in operator.axes:
        _require(-_MOST_AXES <= axis < _MOST_AXES, f"{where}.axes", axis, "the number of a dimension")
    for index in operator.reads + operator.writes:
        _require(0 <= index < tensors, f"{where}.reads and writes", index, f"an index below {tensors}")


def _check_flops(operator: Operator, where: str) -> None:
    """Raise BadInput if the FLOPs of an operator are not those of its dimensions."""
    if operator.kind not in _PRODUCTS:
        _require(operator.flops == (0, 0), f"{where}.flops", list(operator.flops), "0: only products count")
        return
    for micro_batch in (1, 2):
        dims = tuple(dim.constant + dim.factor * micro_batch for dim in operator.dims)
        _require(0 not in dims, f"{where}.dims", [list(dim) for dim in operator.dims], "sizes of at least 1")
        told, counted = operator.flops.at(micro_batch), flops_of(operator.kind, operator.name, dims)
        if told != counted and told not in [flops_of(operator.kind, name, dims) for name in _COUNTED]:
            raise BadInput(
                f"{where}.flops: {list(operator.flops)}: expected those of its dims, {counted} at micro-batch "
                f"{micro_batch}"
            )


def _require_size(size: Affine, where: str, most: int = _MOST_SIZE) -> None:
    if size[0] < 0 or size[1] < 0:
        raise BadInput(f"{where}: {list(size)}: expected no negative number")
    if size[0] > most or size[1] > most:
        raise BadInput(f"{where}: {list(size)}: expected numbers up to 2^{math.frexp(most)[1] - 1}")


def _require(holds: bool, where: str, value: object, expected: str) -> None:
    if not holds:
        raise BadInput(f"{where}: {value}: expected {expected}")
