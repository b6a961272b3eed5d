"""The forward pass of a Workload as a graph for `split`: what inference runs, which kernels, who reads whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hardplace.cost.kernels.fusion import fused_phase
from hardplace.cost.types import Fusion
from hardplace.workload.types import Layer, Operator, OperatorKind, Phase, StorageRole, Workload

RULES = Fusion(name="inference", chains=True, epilogues=False, flash=True)  # of every device, so that all split alike
_SAME = ("native_dropout", "dropout", "feature_dropout", "alpha_dropout")  # gives its input in inference
_LOSSES = (OperatorKind.CROSS_ENTROPY,)
_BESIDE = (OperatorKind.VIEW, OperatorKind.COLLECTIVE, OperatorKind.OPTIMIZER)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelNode:
    """A kernel of inference; kind: its number among the distinct ones, equal ones at several positions."""

    name: str
    kind: int
    parameter_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceGraph:
    """Kernels in order; kinds: each distinct one as a layer of its own; values: (source, readers, bytes), with
    source -1 for the data that come from outside."""

    kinds: tuple[Layer, ...]
    nodes: tuple[KernelNode, ...]
    values: tuple[tuple[int, tuple[int, ...], float], ...]


def inference_layer(layer: Layer) -> Layer:
    """Return the forward operators of a layer but dropout, the loss with what it alone reads, and counters."""
    forward = [one for one in layer.operators if one.phase is Phase.FORWARD and one.kind not in _BESIDE]
    losses = {index for one in forward if one.kind in _LOSSES for index in one.reads}
    read_by_others = {index for one in forward if one.kind not in _LOSSES for index in one.reads}
    given = {index for index, tensor in enumerate(layer.tensors) if tensor.storage in layer.outputs}
    same: dict[int, int] = {}
    kept: list[Operator] = []
    for one in forward:
        reads = tuple(same.get(index, index) for index in one.reads)
        if one.name in _SAME and reads and one.writes:
            same[one.writes[0]] = reads[0]
            continue
        written = set(one.writes)
        lost = bool(written & losses) and not written & (read_by_others | given)
        if one.kind not in _LOSSES and not lost and not _counts(layer, one):
            kept.append(replace(one, reads=reads))
    return _redirected(replace(layer, operators=tuple(kept)), same)


def scales(workload: Workload) -> bool:
    """Return whether any size of a Workload depends on the batch; those of an imported file do not."""
    return any(storage.bytes.factor for layer in workload.layers for storage in layer.storages)


def inference_graph(workload: Workload, batch: int) -> InferenceGraph:
    """Return the kernels of one inference of a Workload at a batch (samples)."""
    layers = tuple(map(inference_layer, workload.layers))
    batched = scales(workload)
    groups = [_groups(layer) for layer in layers]
    kinds = [_alone(layer, group) for layer, own in zip(layers, groups, strict=True) for group in own]
    first = [sum(map(len, groups[:number])) for number in range(len(groups))]
    nodes: list[KernelNode] = []
    sizes: dict[tuple[int, int], float] = {}  # a value: the node that gives it, its storage there
    readers: dict[tuple[int, int], set[int]] = {}
    given: list[dict[int, tuple[int, int]]] = []  # by position: the value in each storage at its end
    entering: dict[int, dict[int, tuple[int, int]]] = {}
    for edge in workload.edges:
        entering.setdefault(edge.target, {})[edge.input] = (edge.source, edge.output)
    for position, number in enumerate(workload.order):
        layer = layers[number]
        holds: dict[int, tuple[int, int]] = {}
        for place, (source, output) in entering.get(position, {}).items():
            storage = layers[workload.order[source]].outputs[output]
            if source < position and storage in given[source]:
                holds[layer.inputs[place]] = given[source][storage]
        for place, operators in enumerate(groups[number]):
            node = len(nodes)
            weights: set[int] = set()
            for index in operators:
                for storage in layer.storages_of(layer.operators[index].reads):
                    role, size = layer.storages[storage].role, layer.storages[storage].bytes
                    if role is StorageRole.PARAMETER:
                        weights.add(storage)
                    elif role is StorageRole.INPUT and storage not in holds and (size.factor or not batched):
                        holds[storage] = (-1, position * len(layer.storages) + storage)
                        sizes[holds[storage]] = float(size.at(batch))
                    if storage in holds and holds[storage][0] != node:
                        readers.setdefault(holds[storage], set()).add(node)
                for storage in layer.storages_of(layer.operators[index].writes):
                    if layer.storages[storage].role is not StorageRole.PARAMETER:
                        holds[storage] = (node, storage)
                        sizes[holds[storage]] = float(layer.storages[storage].bytes.at(batch))
            size_bytes = sum(float(layer.storages[storage].bytes.at(batch)) for storage in weights)
            name = _name(position, layer, operators)
            nodes.append(KernelNode(name=name, kind=first[number] + place, parameter_bytes=size_bytes))
        given.append(holds)
    values = [(source, tuple(sorted(found)), sizes[source, key]) for (source, key), found in readers.items()]
    return InferenceGraph(kinds=tuple(kinds), nodes=tuple(_unique(nodes)), values=tuple(sorted(values)))


def _groups(layer: Layer) -> list[list[int]]:
    """Return the operators of each kernel, the kernels in an order that they can run in."""
    if not layer.operators:
        return []
    return [list(one.operators) for one in fused_phase(layer, Phase.FORWARD, RULES).groups]


def _alone(layer: Layer, operators: Sequence[int]) -> Layer:
    """Return a layer of some operators, which hands on what others read."""
    chosen = set(operators)
    others = {
        storage
        for index, one in enumerate(layer.operators)
        if index not in chosen
        for storage in layer.storages_of(one.reads)
    }
    written = {storage for index in operators for storage in layer.storages_of(layer.operators[index].writes)}
    return replace(
        layer, operators=tuple(layer.operators[index] for index in operators),
        outputs=tuple(sorted(written & (others | set(layer.outputs)))),
    )  # fmt: skip


def _counts(layer: Layer, one: Operator) -> bool:
    """Return whether an operator only counts batches, as normalisation does in training."""
    return bool(one.writes) and all(
        layer.tensors[index].dtype == "int64" and not layer.tensors[index].shape for index in one.writes
    )


def _redirected(layer: Layer, same: Mapping[int, int]) -> Layer:
    """Return a layer that hands on what stands in place of what is left out."""
    storages = {layer.tensors[a].storage: layer.tensors[b].storage for a, b in same.items()}

    def home(storage: int) -> int:
        while storage in storages:
            storage = storages[storage]
        return storage

    tensors = tuple(
        replace(tensor, storage=home(tensor.storage)) if tensor.storage in storages else tensor
        for tensor in layer.tensors
    )
    return replace(layer, tensors=tensors, outputs=tuple(map(home, layer.outputs)))


def _name(position: int, layer: Layer, operators: Sequence[int]) -> str:
    first = layer.operators[operators[0]]
    words = dict.fromkeys(layer.operators[index].name for index in operators)
    return f"{position} {first.module or layer.name}: {' + '.join(words)}"


def _unique(nodes: Sequence[KernelNode]) -> list[KernelNode]:
    seen: dict[str, int] = {}
    found = []
    for node in nodes:
        seen[node.name] = seen.get(node.name, 0) + 1
        found.append(node if seen[node.name] == 1 else replace(node, name=f"{node.name} ({seen[node.name]})"))
    return found
