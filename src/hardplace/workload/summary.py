"""What a workload costs without a clock: FLOPs, bytes, what is saved, by layer, by kind, and the heaviest operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hardplace.workload.affine import Affine, elements, total
from hardplace.workload.folding import order_text
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.kept import kept_twice, shared_kept
from hardplace.workload.operators import BAG
from hardplace.workload.types import (
    Gradient,
    Group,
    Layer,
    Operator,
    OperatorKind,
    Parallelism,
    Phase,
    Recompute,
    Workload,
)
from hardplace.workload.weights import weights_of_rank

_LOOKUPS = (OperatorKind.EMBEDDING, OperatorKind.GATHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFacts:
    """An operator of a distinct layer on one rank at the micro-batch; count: how often the layer stands in the model.

    flops and bytes are of one repetition. collective_bytes: of the whole tensor on one rank.
    """

    layer: str
    module: str
    name: str
    kind: OperatorKind
    phase: Phase
    gradient: Gradient
    layout: str
    dims: tuple[int, ...]
    group: Group
    count: int
    flops: int
    read_bytes: int
    written_bytes: int
    collective_bytes: int

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFacts:
    """A distinct layer on one rank at the micro-batch; count: its repetitions; all else is of one."""

    name: str
    count: int
    parameters: int
    parameter_bytes: int
    forward_flops: int
    backward_flops: int
    moved_bytes: int
    saved_bytes: int
    output_bytes: int
    operators: int
    collectives: int
    collective_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFacts:
    """All operators of a kind over the whole model, every repetition, with their shares of FLOPs and bytes."""

    kind: OperatorKind
    operators: int
    flops: int
    moved_bytes: int
    flops_share: float
    bytes_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A workload at a glance: what one rank computes for one micro-batch, without recompute.

    parameters (shared ones once) and the FLOPs a sample are of the whole model; layers, kinds and operators are the
    rank's. Views count neither as operators nor as bytes. layers: in the order of their first appearance. whole: what
    stays whole under tensor parallelism, by layer and module. held_parameters, held_bytes: of all layers of one rank,
    shared ones once; trained_parameters: of these, those with a gradient. saved_bytes: what they keep from forward to
    backward pass, what several layers keep once.
    """

    model: str
    source: str
    command: str
    sequence_length: int
    dtype: str
    training: bool
    parameters: int
    forward_flops_per_sample: int
    backward_flops_per_sample: int
    micro_batch: int
    parallelism: Parallelism
    positions: int
    order: str
    layers: tuple[LayerFacts, ...]
    kinds: tuple[KindFacts, ...]
    operators: tuple[OperatorFacts, ...]
    whole: tuple[str, ...]
    held_parameters: int
    held_bytes: int
    trained_parameters: int
    saved_bytes: int

    @property
    def unmodelled(self) -> tuple[str, ...]:
        """Names of the operators without a model of their own."""
        return tuple(dict.fromkeys(one.name for one in self.operators if one.kind is OperatorKind.OTHER))

    def share(self, name: str) -> tuple[int, float, float]:
        """Return how often an operator of this name runs, and its shares of the FLOPs and of the bytes moved."""
        named = [one for one in self.operators if one.name == name]
        return (
            sum(one.count for one in named),
            sum(one.count * one.flops for one in named) / max(1, self.flops),
            sum(one.count * one.moved_bytes for one in named) / max(1, self.moved_bytes),
        )

    @property
    def flops(self) -> int:
        """FLOPs of one rank for one micro-batch."""
        return sum(kind.flops for kind in self.kinds)

    @property
    def moved_bytes(self) -> int:
        """Bytes that all operators of one rank read and write for one micro-batch."""
        return sum(kind.moved_bytes for kind in self.kinds)


def summarise(
    workload: Workload, parallelism: Parallelism, micro_batch: int, layers: dict[int, Layer], whole: tuple[str, ...]
) -> Summary:
    """Return a workload at a glance; layers, whole: rank_layers of these degrees."""
    times = Counter(workload.order)
    facts = {index: _operators(layer, times[index], micro_batch) for index, layer in layers.items()}
    operators = tuple(one for each in facts.values() for one in each)
    recorded = [workload.layers[index] for index in workload.order]
    held = weights_of_rank(workload, layers)
    kept = shared_kept(workload, layers, Recompute.NONE, micro_batch)
    counted = sum(layer.saved_bytes.at(micro_batch) * times[index] for index, layer in layers.items())
    return Summary(
        model=workload.name,
        source=workload.source,
        command=workload.command,
        sequence_length=workload.sequence_length,
        dtype=workload.dtype,
        training=workload.training,
        parameters=workload.parameters,
        forward_flops_per_sample=sum(_flops(layer, Phase.FORWARD).at(1) for layer in recorded),
        backward_flops_per_sample=sum(_flops(layer, Phase.BACKWARD).at(1) for layer in recorded),
        micro_batch=micro_batch,
        parallelism=parallelism,
        positions=len(workload.order),
        order=order_text(workload.order, lambda index: layers[index].name),
        layers=tuple(_layer_facts(layer, times[index], facts[index], micro_batch) for index, layer in layers.items()),
        kinds=_kinds(operators),
        operators=operators,
        whole=whole,
        held_parameters=held.elements,
        held_bytes=held.bytes,
        trained_parameters=held.trained,
        saved_bytes=round(counted - kept_twice(kept, range(len(workload.order)))),
    )


def of_layer(summary: Summary, name: str) -> Summary:
    """Return the summary with only the operators and the facts of one layer; kinds stay the whole model's."""
    return replace(
        summary,
        layers=tuple(one for one in summary.layers if one.name == name),
        operators=tuple(one for one in summary.operators if one.layer == name),
    )


def _flops(layer: Layer, phase: Phase) -> Affine:
    return total(operator.flops for operator in layer.operators if operator.phase is phase)


def _operators(layer: Layer, count: int, micro_batch: int) -> tuple[OperatorFacts, ...]:
    """Return what a layer's operators cost at a micro-batch; views cost nothing."""
    return tuple(_facts(layer, one, count, micro_batch) for one in layer.operators if one.kind is not OperatorKind.VIEW)


def _facts(layer: Layer, operator: Operator, count: int, micro_batch: int) -> OperatorFacts:
    collective = operator.kind is OperatorKind.COLLECTIVE
    read, written = (0, 0) if collective else _moved(layer, operator, micro_batch)
    return OperatorFacts(
        layer=layer.name,
        module=operator.module,
        name=operator.name,
        kind=operator.kind,
        phase=operator.phase,
        gradient=operator.gradient,
        layout=operator.layout,
        dims=tuple(dim.at(micro_batch) for dim in operator.dims),
        group=operator.group,
        count=count,
        flops=operator.flops.at(micro_batch),
        read_bytes=read,
        written_bytes=written,
        collective_bytes=operator.dims[0].at(micro_batch) if collective else 0,
    )


def _moved(layer: Layer, operator: Operator, micro_batch: int) -> tuple[int, int]:
    """Return bytes read and written: each storage once each way, as much of it as the operator's views show.

    A look-up reads the rows that it looks up, not the table.
    """
    written = _bytes(layer, operator.writes, micro_batch)
    if operator.name == BAG:
        table = layer.tensors[operator.reads[0]]
        rows = operator.dims[0].at(micro_batch) * ITEM_BYTES[table.dtype]
        return rows + _bytes(layer, operator.reads[1:], micro_batch), written
    if operator.kind in _LOOKUPS and operator.phase is Phase.FORWARD:
        return written + _bytes(layer, operator.reads[1:], micro_batch), written
    return _bytes(layer, operator.reads, micro_batch), written


def _bytes(layer: Layer, tensors: Iterable[int], micro_batch: int) -> int:
    """Return the bytes of tensors: of a storage at most all, however many views of it there are."""
    seen: Counter[int] = Counter()
    for index in dict.fromkeys(tensors):
        tensor = layer.tensors[index]
        seen[tensor.storage] += elements(tensor.shape, micro_batch) * ITEM_BYTES[tensor.dtype]
    return sum(min(size, layer.storages[one].bytes.at(micro_batch)) for one, size in seen.items())


def _layer_facts(layer: Layer, count: int, facts: tuple[OperatorFacts, ...], micro_batch: int) -> LayerFacts:
    return LayerFacts(
        name=layer.name,
        count=count,
        parameters=layer.parameters,
        parameter_bytes=layer.parameter_bytes,
        forward_flops=sum(one.flops for one in facts if one.phase is Phase.FORWARD),
        backward_flops=sum(one.flops for one in facts if one.phase is Phase.BACKWARD),
        moved_bytes=sum(one.moved_bytes for one in facts),
        saved_bytes=layer.saved_bytes.at(micro_batch),
        output_bytes=layer.output_bytes.at(micro_batch),
        operators=len(facts),
        collectives=sum(one.kind is OperatorKind.COLLECTIVE for one in facts),
        collective_bytes=sum(one.collective_bytes for one in facts),
    )


def _kinds(operators: tuple[OperatorFacts, ...]) -> tuple[KindFacts, ...]:
    """Return the kinds that occur, those with most FLOPs first, then most bytes."""
    count: Counter[OperatorKind] = Counter()
    flops: Counter[OperatorKind] = Counter()
    moved: Counter[OperatorKind] = Counter()
    for one in operators:
        count[one.kind] += one.count
        flops[one.kind] += one.count * one.flops
        moved[one.kind] += one.count * one.moved_bytes
    all_flops, all_moved = sum(flops.values()), sum(moved.values())
    found = [
        KindFacts(
            kind=kind,
            operators=count[kind],
            flops=flops[kind],
            moved_bytes=moved[kind],
            flops_share=flops[kind] / all_flops if all_flops else 0.0,
            bytes_share=moved[kind] / all_moved if all_moved else 0.0,
        )
        for kind in count
    ]
    return tuple(sorted(found, key=lambda one: (-one.flops, -one.moved_bytes, one.kind)))
