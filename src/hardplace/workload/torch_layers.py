"""From traces at two micro-batch sizes to a Workload: cut into layers, sizes affine, repeats found."""

from __future__ import annotations

from dataclasses import replace

from hardplace.workload.torch_models import Model
from hardplace.workload.torch_record import Event, Trace
from hardplace.workload.torch_step import DTYPE, parameters_of, trace
from hardplace.workload.types import (
    Affine,
    Layer,
    Operator,
    OperatorKind,
    Phase,
    Shard,
    Tensor,
    TensorRole,
    Workload,
)

# Not 1: torch treats dimensions of size one in its own way.
MICRO_BATCHES = (2, 3)
TENSOR_PARALLEL = (1, 2, 4, 8)


def record_workload(model: Model, degrees: tuple[int, ...] = TENSOR_PARALLEL) -> Workload:
    """Return the Workload of a catalogue model, recorded on fake tensors."""
    shards, orders = [], set()
    for degree in degrees:
        low, high = MICRO_BATCHES
        chain = layers_of((trace(model, low, degree), trace(model, high, degree)))
        shard, order = _distinct(degree, chain)
        shards.append(shard)
        orders.add(order)
    if len(orders) != 1:
        raise ValueError(f"{model.name}: layers repeat in another way at another tensor-parallel degree")
    return Workload(
        name=model.name,
        source=model.source,
        sequence_length=model.sequence_length,
        dtype=str(DTYPE).removeprefix("torch."),
        parameters=parameters_of(model),
        order=orders.pop(),
        shards=tuple(shards),
    )


def _distinct(degree: int, chain: list[Layer]) -> tuple[Shard, tuple[int, ...]]:
    """Return the distinct layers and which one each of the chain is; equal means equal graphs."""
    numbers: dict[Layer, int] = {}
    order = tuple(numbers.setdefault(replace(layer, name=""), len(numbers)) for layer in chain)
    names = _names(order)
    layers = tuple(replace(layer, name=names[number]) for layer, number in numbers.items())
    return Shard(tensor_parallel=degree, layers=layers), order


def _names(order: tuple[int, ...]) -> dict[int, str]:
    """Return the name of each distinct layer: embedding, head, and block, or block 1, ... if they differ."""
    blocks = sorted(set(order[1:-1]))
    names = {order[0]: "embedding", order[-1]: "head"}
    return names | {number: "block" if len(blocks) == 1 else f"block {place}" for place, number in enumerate(blocks, 1)}


def layers_of(traces: tuple[Trace, Trace]) -> list[Layer]:
    """Return a model's layers from traces at MICRO_BATCHES: before the blocks, each block, after."""
    _same_graph(*traces)
    return [_layer(traces, number) for number in range(traces[0].blocks + 2)]


def _same_graph(first: Trace, second: Trace) -> None:
    """Raise ValueError unless two traces differ in sizes only."""

    def shape(event: Event) -> Event:
        return replace(event, dims=(), flops=0)

    if [shape(event) for event in first.events] != [shape(event) for event in second.events]:
        raise ValueError("the graph itself depends on the micro-batch size")
    if first.saved != second.saved:
        raise ValueError("what is saved for backward depends on the micro-batch size")


def _affine(values: tuple[int, ...]) -> Affine:
    """Return constant and factor of a number seen at MICRO_BATCHES; ValueError if not whole."""
    (x, y), (low, high) = MICRO_BATCHES, values
    factor, rest = divmod(high - low, y - x)
    constant = low - factor * x
    if rest or constant < 0 or factor < 0:
        raise ValueError(f"{values} at micro-batch sizes {MICRO_BATCHES} is not affine with whole, positive numbers")
    return Affine(constant, factor)


def _bytes(traces: tuple[Trace, Trace], storages: set[int]) -> Affine:
    return _affine(tuple(sum(one.storage_bytes[number] for number in storages) for one in traces))


def _layer(traces: tuple[Trace, Trace], number: int) -> Layer:
    """Return one layer of the chain, not named yet."""
    first = traces[0]
    places = [index for index, event in enumerate(first.events) if event.place.layer == number]
    events = [first.events[index] for index in places]
    touched = list(dict.fromkeys(storage for event in events for storage in event.reads + event.writes))
    local = {storage: index for index, storage in enumerate(touched)}
    weights = {storage: first.parameters[storage] for storage in touched if storage in first.parameters}
    operators = [_operator(traces, index, local) for index in places]
    operators.append(_optimizer(first, weights, local))
    made = _made(events)
    return Layer(
        name="",
        parameters=sum(weights.values()),
        parameter_bytes=sum(first.storage_bytes[storage] for storage in weights),
        saved_bytes=_bytes(traces, _saved(first, number, made)),
        output_bytes=_bytes(traces, _boundary(first, number)),
        tensors=tuple(Tensor(role=_role(first, storage, made), bytes=_bytes(traces, {storage})) for storage in touched),
        operators=tuple(operators),
    )


def _made(events: list[Event]) -> set[int]:
    """Return the storages that were written before they were read."""
    read: set[int] = set()
    made: set[int] = set()
    for event in events:
        read |= set(event.reads) - made
        made |= set(event.writes) - read
    return made


def _role(one: Trace, storage: int, made: set[int]) -> TensorRole:
    if storage in one.parameters:
        return TensorRole.PARAMETER
    if storage not in made:
        return TensorRole.INPUT
    return TensorRole.GRADIENT if storage in one.gradients else TensorRole.ACTIVATION


def _saved(one: Trace, number: int, made: set[int]) -> set[int]:
    """Return the storages that a layer keeps for backward, less parameters, buffers and others' tables."""
    kept = {storage for layer, storage in one.saved if layer == number}
    kept -= set(one.parameters) | one.buffers
    return {storage for storage in kept if storage in one.computed or storage in made}


def _boundary(one: Trace, number: int) -> set[int]:
    """Return what a layer's forward pass hands to the next: computed, not a table such as rotary cosines."""
    written: set[int] = set()
    used: set[int] = set()
    for event in one.events:
        if event.phase is Phase.FORWARD and event.place.layer == number:
            written |= set(event.writes)
        elif event.phase is Phase.FORWARD and event.place.layer > number:
            found = written & set(event.reads) & one.computed
            if found and event.place.layer > number + 1 and found - used:
                raise ValueError(f"layer {event.place.layer} reads what layer {number} made: no chain of layers")
            used |= found
    return used


def _operator(traces: tuple[Trace, Trace], index: int, local: dict[int, int]) -> Operator:
    event, other = (one.events[index] for one in traces)
    return Operator(
        name=event.name,
        module=event.place.module,
        kind=event.kind,
        phase=event.phase,
        dims=tuple(_affine(pair) for pair in zip(event.dims, other.dims, strict=True)),
        flops=_affine((event.flops, other.flops)),
        reads=tuple(local[storage] for storage in event.reads),
        writes=tuple(local[storage] for storage in event.writes),
        gradient=event.gradient,
        causal=event.causal,
    )


def _optimizer(one: Trace, weights: dict[int, int], local: dict[int, int]) -> Operator:
    """Return the update of a layer's parameters; its states are the optimizer's business, not the graph's."""
    gradients = [storage for storage, weight in one.gradients.items() if weight in weights and storage in local]
    return Operator(
        name="adamw",
        module="",
        kind=OperatorKind.OPTIMIZER,
        phase=Phase.OPTIMIZER,
        dims=(Affine(sum(weights.values()), 0),),
        flops=Affine(0, 0),
        reads=tuple(local[storage] for storage in (*weights, *gradients)),
        writes=tuple(local[storage] for storage in weights),
    )
