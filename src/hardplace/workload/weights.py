"""What layers hold as weights: trained, frozen or packed, of experts or not, and what several layers hold once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hardplace.workload.types import Layer, Operator, OperatorKind, StorageRole, Workload

_FLOATS = {"float64", "float32", "bfloat16", "float16"}
_EXPERT_AXES = 3  # of the weights of a grouped product: experts, k, n
_LOOKUPS = {"index", "index_select", "embedding"}


class WeightSizes(NamedTuple):
    """Weights of one rank, of dense layers and of experts.

    Attributes:
        parameters: Elements of dense layers with a gradient.
        expert_parameters: Elements of experts with a gradient.
        frozen_parameters: Elements of dense layers without one.
        expert_frozen_parameters: Elements of experts without one.
        packed_bytes: Bytes of what keeps its own type: quantised weights, and buffers that stand for weights.
        expert_packed_bytes: The same of experts.
    """

    parameters: int = 0
    expert_parameters: int = 0
    frozen_parameters: int = 0
    expert_frozen_parameters: int = 0
    packed_bytes: int = 0
    expert_packed_bytes: int = 0

    @property
    def elements(self) -> int:
        """Return the elements of what is in the plan's own format, with a gradient or without."""
        return sum(self[:4])

    @property
    def of_experts(self) -> bool:
        """Return whether experts have any of them."""
        return bool(self.expert_parameters or self.expert_frozen_parameters or self.expert_packed_bytes)

    @property
    def all_dense(self) -> WeightSizes:
        """Return these with those of experts among the dense ones."""
        return WeightSizes(
            parameters=self.parameters + self.expert_parameters,
            frozen_parameters=self.frozen_parameters + self.expert_frozen_parameters,
            packed_bytes=self.packed_bytes + self.expert_packed_bytes,
        )

    def plus(self, other: WeightSizes, times: int = 1) -> WeightSizes:
        """Return these and so many times others."""
        return WeightSizes(*(one + times * more for one, more in zip(self, other, strict=True)))


NOTHING = WeightSizes()


class SharedWeights(NamedTuple):
    """Weights that several layers use and one device holds once.

    Attributes:
        layers: Positions in the order, each as often as the layer holds them.
        sizes: Their sizes.
    """

    layers: tuple[int, ...]
    sizes: WeightSizes


def experts_of(layer: Layer) -> frozenset[int]:
    """Return the storages that a layer's grouped products read, weights of experts and activations, and the experts'
    other parameters (`expert_lookups`)."""
    products = {
        layer.tensors[index].storage
        for operator in layer.operators
        if operator.kind is OperatorKind.GROUPED_MATMUL
        for index in operator.reads
    }
    return frozenset(products | {layer.tensors[one.reads[0]].storage for one in expert_lookups(layer)})


def has_experts(layer: Layer) -> bool:
    """Return whether a layer is a mixture of experts: it has grouped products, or experts that are modules of their
    own, which stand in a list that is called so in all libraries (Switch Transformers: `mlp.experts.expert_0.wi`)."""
    grouped = any(one.kind is OperatorKind.GROUPED_MATMUL for one in layer.operators)
    return grouped or any("experts." in one.module for one in layer.operators)


def expert_lookups(layer: Layer) -> list[Operator]:
    """Return the look-ups of what experts have beside the weights of grouped products (biases, scales): of parameters
    with a row an expert, as many rows as those products have."""
    products = [
        (layer.tensors[one.reads[0]].shape, layer.tensors[one.reads[1]].shape)
        for one in layer.operators
        if one.kind is OperatorKind.GROUPED_MATMUL
    ]
    sizes = {(right[0], left[0]) for left, right in products if len(right) == _EXPERT_AXES}
    found = []
    for one in layer.operators if sizes else ():
        if one.name in _LOOKUPS:
            table, rows = layer.tensors[one.reads[0]], layer.tensors[one.writes[0]].shape
            parameter = layer.storages[table.storage].role is StorageRole.PARAMETER
            if parameter and table.shape and rows and (table.shape[0], rows[0]) in sizes:
                found.append(one)
    return found


def weights_of_layer(layer: Layer) -> dict[int, WeightSizes]:
    """Return the weights of each of a layer's parameter storages, in the order in which they were recorded."""
    dtypes = {tensor.storage: tensor.dtype for tensor in reversed(layer.tensors)}
    trained = layer.trained
    experts = experts_of(layer)
    found = {}
    for number, storage in enumerate(layer.storages):
        if storage.role is StorageRole.PARAMETER:
            plain = storage.parameters and dtypes.get(number, "float32") in _FLOATS
            place = 0 if number in trained else 2 if plain else 4
            sizes = [0] * len(WeightSizes._fields)
            sizes[place + (number in experts)] = storage.bytes.constant if place == 4 else storage.parameters
            found[number] = WeightSizes(*sizes)
    return found


def weights_of(layer: Layer) -> WeightSizes:
    """Return the weights of a layer."""
    total = WeightSizes()
    for one in weights_of_layer(layer).values():
        total = total.plus(one)
    return total


def shared_weights(workload: Workload, layers: Sequence[Layer] | Mapping[int, Layer]) -> tuple[SharedWeights, ...]:
    """Return what several layers of a workload hold, those with the same holders together; layers: of a rank.

    Where a rank holds a whole and, elsewhere, a part of the same parameter, the part lies within the whole: held once.
    """
    if not workload.shared:
        return ()
    recorded = [list(weights_of_layer(layer)) for layer in workload.layers]
    mine = {kind: list(weights_of_layer(layers[kind]).values()) for kind in set(workload.order)}
    groups: dict[tuple[int, ...], WeightSizes] = {}
    for holders in workload.shared:
        kinds = [(workload.order[one.position], one.storage) for one in holders]
        sizes = [mine[kind][recorded[kind].index(storage)] for kind, storage in kinds]
        key = tuple(one.position for one in holders)
        groups[key] = groups.get(key, WeightSizes()).plus(min(sizes, key=sum))
    return tuple(SharedWeights(layers=key, sizes=sizes) for key, sizes in groups.items())


def surplus(shared: Sequence[SharedWeights], layers: Collection[int]) -> WeightSizes:
    """Return what is counted too often where each of these layers (positions) counts all that it holds."""
    total = WeightSizes()
    for one in shared:
        total = total.plus(one.sizes, max(0, sum(layer in layers for layer in one.layers) - 1))
    return total


def parts_of(shared: Sequence[SharedWeights], layers: int) -> list[WeightSizes]:
    """Return of each layer what it shares, each holding as often as it has it."""
    found = [WeightSizes()] * layers
    for one in shared:
        for layer, times in Counter(one.layers).items():
            found[layer] = found[layer].plus(one.sizes, times)
    return found


def repeated(shared: Sequence[SharedWeights], layers: int) -> list[WeightSizes]:
    """Return of each layer what it holds although it, or an earlier one, holds it already."""
    found = [WeightSizes()] * layers
    for one in shared:
        for layer in one.layers[1:]:
            found[layer] = found[layer].plus(one.sizes)
    return found


class ModelWeights(NamedTuple):
    """Parameters that take part, each once: elements (packed ones as they are stored), of them trained, bytes of those
    that are not; twice: elements that layers count beyond that."""

    elements: int
    trained: int
    frozen_bytes: int
    twice: int


def weights_of_model(workload: Workload) -> ModelWeights:
    """Return the parameters of a model that take part in what was recorded."""
    again = {holder for holders in workload.shared for holder in holders[1:]}
    trained_by = [layer.trained for layer in workload.layers]
    elements = trained = frozen_bytes = twice = 0
    for position, index in enumerate(workload.order):
        for number, storage in enumerate(workload.layers[index].storages):
            if storage.role is not StorageRole.PARAMETER:
                continue
            if (position, number) in again:
                twice += storage.parameters
                continue
            elements += storage.parameters
            if number in trained_by[index]:
                trained += storage.parameters
            else:
                frozen_bytes += storage.bytes.constant
    return ModelWeights(elements=elements, trained=trained, frozen_bytes=frozen_bytes, twice=twice)


class RankWeights(NamedTuple):
    """Weights that one rank's layers hold together, each once: elements, bytes as recorded, of the elements trained."""

    elements: int
    bytes: int
    trained: int


def weights_of_rank(workload: Workload, layers: Mapping[int, Layer]) -> RankWeights:
    """Return what the layers of a rank hold, by index in the workload's layers."""
    mine = {index: [layer.storages[one] for one in weights_of_layer(layer)] for index, layer in layers.items()}
    recorded = [list(weights_of_layer(layer)) for layer in workload.layers]
    elements = sum(layers[index].parameters for index in workload.order)
    size = sum(layers[index].parameter_bytes for index in workload.order)
    for holders in workload.shared:
        kinds = [(workload.order[one.position], one.storage) for one in holders]
        held = [mine[kind][recorded[kind].index(storage)] for kind, storage in kinds]
        elements -= sum(one.parameters for one in held) - max(one.parameters for one in held)
        size -= sum(one.bytes.constant for one in held) - max(one.bytes.constant for one in held)
    by_layer = {index: sum(weights_of(layer)[:2]) for index, layer in layers.items()}
    again = surplus(shared_weights(workload, layers), range(len(workload.order)))
    return RankWeights(
        elements=elements, bytes=size, trained=sum(by_layer[index] for index in workload.order) - sum(again[:2])
    )
