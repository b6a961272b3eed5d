"""The Workload of another shape of a recorded decoder, without torch: what recording it again would give.

The operators of a decoder are the same at every hidden size, number of heads, width of the MLP, vocabulary and depth;
what changes are sizes. `hardplace.workload.reshaping` says which size each recorded axis is; here they are put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from hardplace.errors import BadInput
from hardplace.ndtypes import Bools, Ints
from hardplace.workload.affine import Affine, product, total
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.operators import sized
from hardplace.workload.reshaping import labels_of
from hardplace.workload.reshaping.polynomials import Polynomial, multiplied, number
from hardplace.workload.types import Edge, Holder, Layer, Operator, OperatorKind, Storage, Tensor, Workload
from hardplace.workload.weights import weights_of

Labels = tuple[tuple[Polynomial, ...], ...]
_PARTS = 3  # embedding, block, head
_LEAST = 2  # of a size of the recording


@dataclass(frozen=True, kw_only=True)
class Reshaping:
    """A recorded decoder whose sizes may be changed. sizes: its own, by the names of a shape's fields.

    BadInput, one line, on the first use of a workload that is no embedding, equal blocks and head, or whose operators
    do not tell which size is which.
    """

    workload: Workload
    sizes: Mapping[str, int]

    @cached_property
    def labels(self) -> tuple[Labels, ...]:
        """Return what each axis of each tensor is, by layer; checked to give the recording itself."""
        self._check()
        found = labels_of(self.workload, self.sizes)
        for layer, labels in zip(self.workload.layers, found, strict=True):
            again = _layer(layer, labels, _storages(layer, labels, self.workload.name), self.sizes)
            if again != layer:
                raise BadInput(f"{self.workload.name}: layer {layer.name}: its sizes do not give the recording again")
        return found

    @cached_property
    def bytes(self) -> tuple[tuple[Polynomial, ...], ...]:
        """Return the bytes of each storage, by layer."""
        pairs = zip(self.workload.layers, self.labels, strict=True)
        return tuple(_storages(layer, labels, self.workload.name) for layer, labels in pairs)

    @property
    def possible(self) -> bool:
        """Whether every size tells its axes apart: one of 1, or a block alone, does not."""
        return min(self.sizes.values()) >= _LEAST

    @cached_property
    def tied(self) -> bool:
        """Whether embedding and head share their table."""
        held = sum(self.workload.layers[index].parameters for index in self.workload.order)
        table = self.sizes["vocab"] * self.sizes["hidden"]
        if held - self.workload.parameters not in (0, table):
            raise BadInput(
                f"{self.workload.name}: shares {held - self.workload.parameters:,} parameters: expected none, or the "
                "tokens' table"
            )
        return held > self.workload.parameters

    def of(self, sizes: Mapping[str, int], name: str) -> Workload:
        """Return the Workload of these sizes (fields that are left out stay).

        BadInput where heads do not divide: kv_heads no divisor of heads, or an odd head dimension that is halved.
        """
        wanted = {**self.sizes, **sizes}
        _sound(wanted, name)
        layers = tuple(
            _layer(layer, labels, held, wanted)
            for layer, labels, held in zip(self.workload.layers, self.labels, self.bytes, strict=True)
        )
        order = (0, *[1] * wanted["layers"], 2)
        shared = wanted["vocab"] * wanted["hidden"] if self.tied else 0
        return replace(
            self.workload,
            name=name,
            source=f"{self.workload.name} ({self.workload.source}), reshaped",
            parameters=sum(layers[index].parameters for index in order) - shared,
            order=order,
            edges=self._edges(wanted["layers"]),
            layers=layers,
            shared=self._shared(wanted["layers"]),
        )

    def _check(self) -> None:
        """Raise BadInput unless this is a chain of embedding, equal blocks and head."""
        workload, depth = self.workload, self.sizes["layers"]
        chain = workload.order == (0, *[1] * depth, 2) and len(workload.layers) == _PARTS and depth >= 1
        if not chain or workload.edges != self._edges(depth):
            raise BadInput(
                f"{workload.name}: expected a chain of embedding, equal blocks and head: no other is reshaped"
            )
        if any(sum(weights_of(layer)[2:]) for layer in workload.layers):
            raise BadInput(f"{workload.name}: holds frozen parameters: expected a model that is trained whole")
        for field, size in self.sizes.items():
            if size < _LEAST:
                raise BadInput(
                    f"{workload.name}: {field}: {size}: expected at least 2: an axis of one, or a block alone, does "
                    "not tell what it is"
                )

    def _shared(self, depth: int) -> tuple[tuple[Holder, ...], ...]:
        """Return who shares the table in a chain as deep as that."""
        last = self.sizes["layers"] + 1
        return tuple(
            tuple(Holder(depth + 1 if one.position == last else one.position, one.storage) for one in holders)
            for holders in self.workload.shared
        )

    def _edges(self, depth: int) -> tuple[Edge, ...]:
        """Return the edges of a chain as deep as that, by those of the recording."""
        by_source = {edge.source: edge for edge in self.workload.edges}
        last = self.sizes["layers"]
        given = [by_source.get(0), *[by_source.get(1)] * (depth - 1), by_source.get(last)]
        return tuple(
            Edge(source, edge.output, source + 1, edge.input) for source, edge in enumerate(given) if edge is not None
        )


def can_be_made(sizes: Mapping[str, Ints]) -> Bools:
    """Return which of these sizes, a column for each field, `Reshaping.of` takes."""
    least = [column >= (1 if field == "layers" else 2) for field, column in sizes.items()]
    divide = sizes["heads"] % np.maximum(sizes["kv_heads"], 1) == 0
    return np.asarray(np.all(least, axis=0) & divide & (sizes["head_dim"] % 2 == 0))


def _sound(sizes: Mapping[str, int], name: str) -> None:
    for field, size in sizes.items():
        if size < (1 if field == "layers" else 2):
            raise BadInput(f"{name}: {field}: {size}: expected at least {1 if field == 'layers' else 2}")
    if sizes["heads"] % sizes["kv_heads"]:
        raise BadInput(f"{name}: kv_heads: {sizes['kv_heads']}: expected a divisor of the {sizes['heads']} heads")
    if sizes["head_dim"] % 2:
        raise BadInput(f"{name}: head_dim: {sizes['head_dim']}: expected an even number")


def _value(label: Polynomial, sizes: Mapping[str, int]) -> Affine:
    found = label.affine(sizes)
    assert found is not None
    return found


def _layer(layer: Layer, labels: Labels, held: tuple[Polynomial, ...], sizes: Mapping[str, int]) -> Layer:
    """Return a layer with other sizes."""
    known: dict[Polynomial, Affine] = {}

    def value(label: Polynomial) -> Affine:
        if label not in known:
            known[label] = _value(label, sizes)
        return known[label]

    tensors = tuple(
        Tensor(storage=one.storage, shape=tuple(value(label) for label in row), dtype=one.dtype)
        for one, row in zip(layer.tensors, labels, strict=True)
    )
    dtypes = {one.storage: one.dtype for one in layer.tensors}
    storages = tuple(
        Storage(
            role=one.role,
            bytes=value(label),
            parameters=value(label).constant // ITEM_BYTES[dtypes[index]] if one.parameters else 0,
        )
        for index, (one, label) in enumerate(zip(layer.storages, held, strict=True))
    )
    operators = tuple(_operator(one, tensors) for one in layer.operators)
    return replace(layer, tensors=tensors, storages=storages, operators=operators)


def _operator(operator: Operator, tensors: tuple[Tensor, ...]) -> Operator:
    """Return an operator with the dimensions that its tensors give; of an optimizer, what it updates."""
    if operator.kind is OperatorKind.OPTIMIZER:
        return replace(operator, dims=(total(product(tensors[index].shape) for index in operator.writes),))
    return sized(operator, tensors)


def _storages(layer: Layer, labels: Labels, name: str) -> tuple[Polynomial, ...]:
    """Return the bytes of each storage: of a tensor on it that fills it."""
    found: list[Polynomial | None] = [None] * len(layer.storages)
    for one, row in zip(layer.tensors, labels, strict=True):
        size = multiplied(row) * number(ITEM_BYTES[one.dtype])
        item = ITEM_BYTES[one.dtype]
        own = tuple(prod(axis.at(b) for axis in one.shape) * item for b in (1, 2))
        if own != tuple(layer.storages[one.storage].bytes.at(b) for b in (1, 2)):
            continue
        if found[one.storage] not in (None, size):
            raise BadInput(f"{name}: layer {layer.name}: a storage has two sizes: expected views of one size")
        found[one.storage] = size
    if None in found:
        number_ = found.index(None)
        size_ = layer.storages[number_].bytes.at(1)
        raise BadInput(f"{name}: layer {layer.name}: storages[{number_}]: no tensor fills its {size_} bytes")
    return tuple(one for one in found if one is not None)
