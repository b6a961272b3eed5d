"""From traces at two micro-batch sizes to a Workload: cut into layers, sizes affine, repeats found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from hardplace.workload.affine import Affine
from hardplace.workload.recording.pieces import Piece, made_by, pieces_of, relative, role_of
from hardplace.workload.recording.step import TrainingStep, first_that_runs, parameters_of, trace
from hardplace.workload.recording.trace import Trace, TraceEvent
from hardplace.workload.types import (
    Edge,
    Holder,
    Layer,
    Operator,
    OperatorKind,
    Phase,
    Storage,
    StorageRole,
    Tensor,
    Workload,
)

# Recorded at the first two, checked at the third. Not 1: torch treats dimensions of size one in its own way. Primes
# that are hardly a model's widths, so that a view over samples is not mistaken for another.
MICRO_BATCHES = (11, 13, 17)


def affine(values: tuple[int, ...]) -> Affine:
    """Return constant and factor of a number seen at the first two MICRO_BATCHES; ValueError if not whole."""
    (x, y, _), (low, high) = MICRO_BATCHES, values[:2]
    factor, rest = divmod(high - low, y - x)
    constant = low - factor * x
    if rest or constant < 0 or factor < 0:
        raise ValueError(f"{values} at micro-batch sizes {x} and {y} is not affine with whole, positive numbers")
    if any(Affine(constant, factor).at(size) != value for size, value in zip(MICRO_BATCHES, values, strict=False)):
        raise ValueError(f"{values} at micro-batch sizes {MICRO_BATCHES} does not lie on a line")
    return Affine(constant, factor)


def _layer(name: str, pieces: list[Piece], traces: list[Trace], training: bool) -> Layer:
    """Return one layer from the same piece at each of MICRO_BATCHES."""
    first, one = pieces[0], traces[0]
    made = made_by(one, first.events)
    storages = tuple(
        Storage(
            role=role_of(one, numbers[0], made),
            bytes=affine(tuple(each.storage_bytes[number] for each, number in zip(traces, numbers, strict=True))),
            parameters=one.parameters.get(numbers[0], 0),
        )
        for numbers in zip(*(piece.storages for piece in pieces), strict=True)
    )
    tensors = []
    for numbers in zip(*(piece.tensors for piece in pieces), strict=True):
        views = [each.views[number] for each, number in zip(traces, numbers, strict=True)]
        tensors.append(
            Tensor(
                storage=first.storages[views[0].storage],
                shape=tuple(affine(sizes) for sizes in zip(*(view.shape for view in views), strict=True)),
                dtype=views[0].dtype,
            )
        )
    operators = [_operator(first, one, events) for events in zip(*(piece.events for piece in pieces), strict=True)]
    trained = one.trained & set(first.storages)
    if training and trained:
        operators.append(_optimizer(storages, tensors, {first.storages[number] for number in trained}))
    return Layer(
        name=name,
        storages=storages,
        tensors=tuple(tensors),
        operators=tuple(operators),
        saved=tuple(sorted(first.storages[storage] for storage in first.saved)),
        inputs=tuple(sorted(first.storages[storage] for storage in first.inputs)),
        outputs=tuple(sorted(first.storages[storage] for storage in first.outputs)),
    )


def _operator(piece: Piece, one: Trace, events: tuple[TraceEvent, ...]) -> Operator:
    event = events[0]
    return Operator(
        name=event.name,
        module=relative(one.calls[event.call].path, piece.name),
        kind=event.kind,
        phase=event.phase,
        dims=tuple(affine(sizes) for sizes in zip(*(each.dims for each in events), strict=True)),
        flops=affine(tuple(each.flops for each in events)),
        reads=tuple(piece.tensors[number] for number in event.reads),
        writes=tuple(piece.tensors[number] for number in event.writes),
        axes=event.axes,
        gradient=event.gradient,
        layout=event.layout,
        causal=event.causal,
        window=event.window,
    )


def _optimizer(storages: tuple[Storage, ...], tensors: list[Tensor], trained: set[int]) -> Operator:
    """Return the update of a layer's trained parameters; its states are the optimizer's business, not the graph's."""
    by_role: dict[StorageRole, list[int]] = {role: [] for role in StorageRole}
    seen = set()
    for index, tensor in enumerate(tensors):
        if tensor.storage not in seen:
            by_role[storages[tensor.storage].role].append(index)
            seen.add(tensor.storage)
    weights = [index for index in by_role[StorageRole.PARAMETER] if tensors[index].storage in trained]
    return Operator(
        name="adamw",
        module="",
        kind=OperatorKind.OPTIMIZER,
        phase=Phase.OPTIMIZER,
        dims=(Affine(sum(storages[tensors[index].storage].parameters for index in weights), 0),),
        flops=Affine(0, 0),
        reads=tuple(weights + by_role[StorageRole.GRADIENT]),
        writes=tuple(weights),
    )


def record_workload(step: TrainingStep) -> Workload:
    """Return the Workload of a step, recorded on fake tensors.

    The whole model once; at the other micro-batch sizes only one of each kind of layer where that gives the same
    graph. Raises ValueError if the graph depends on the micro-batch size in a way that is not affine.
    """
    low, *others = MICRO_BATCHES
    with _silent("torch._subclasses.fake_tensor"):
        step, whole = first_that_runs(step, low)
    pieces, edges = pieces_of(step.module, whole)
    numbers: dict[tuple[object, ...], int] = {}
    order = tuple(numbers.setdefault(piece.key(whole, sizes=True), len(numbers)) for piece in pieces)
    distinct = [pieces[order.index(number)] for number in range(len(numbers))]
    names = _names(pieces, order)
    return Workload(
        name=step.name,
        source=step.source,
        command=step.command,
        sequence_length=step.sequence_length,
        dtype=str(step.dtype).removeprefix("torch."),
        training=step.loss is not None,
        parameters=parameters_of(step.module),
        order=order,
        edges=_edges(pieces, edges),
        shared=_shared(pieces, whole),
        layers=_layers(step, names, (whole, distinct), [_at(step, size, whole, pieces, distinct) for size in others]),
    )


def _shared(pieces: list[Piece], whole: Trace) -> tuple[tuple[Holder, ...], ...]:
    """Return the parameters that are used more than once, with all that hold them."""
    found: dict[int, list[Holder]] = {}
    for position, piece in enumerate(pieces):
        for number, here in piece.storages.items():
            if number in whole.parameters:
                found.setdefault(whole.copies.get(number, number), []).append(Holder(position, here))
    return tuple(sorted(tuple(holders) for holders in found.values() if len(holders) > 1))


def _layers(
    step: TrainingStep, names: list[str], first: tuple[Trace, list[Piece]], rest: list[tuple[Trace, list[Piece]]]
) -> tuple[Layer, ...]:
    """Return the distinct layers, from their pieces of each trace."""
    traces = [one for one, _ in (first, *rest)]
    layers = []
    for name, *pieces in zip(names, *(found for _, found in (first, *rest)), strict=True):
        try:
            layers.append(_layer(name, pieces, traces, step.loss is not None))
        except ValueError as problem:
            raise ValueError(f"{step.name}: layer {name}: {problem}") from None
    return tuple(layers)


def _edges(pieces: list[Piece], edges: list[tuple[int, int, int]]) -> tuple[Edge, ...]:
    """Return (source, target, storage) by the places of the storage in the source's outputs and the target's inputs."""

    def place(piece: Piece, among: dict[int, None], storage: int) -> int:
        return sorted(piece.storages[one] for one in among).index(piece.storages[storage])

    return tuple(
        sorted(
            Edge(
                source,
                place(pieces[source], pieces[source].outputs, storage),
                target,
                place(pieces[target], pieces[target].inputs, storage),
            )
            for source, target, storage in edges
        )
    )


def _at(
    step: TrainingStep, size: int, whole: Trace, pieces: list[Piece], distinct: list[Piece]
) -> tuple[Trace, list[Piece]]:
    """Return a trace at another micro-batch size and, in it, the same pieces as the distinct ones."""
    wanted = [piece.key(whole, sizes=False) for piece in distinct]
    with shortened(step, distinct) as few, _silent("torch._subclasses.fake_tensor"):
        try:
            one = trace(few, size)
            short = pieces_of(step.module, one)[0]
        except Exception:  # a model that counts its own layers: the whole of it, then
            short = []
    keys = [piece.key(one, sizes=False) for piece in short]
    if keys == wanted:
        return one, short
    if len(set(wanted)) == len(wanted) and set(wanted) <= set(keys):
        return one, [short[keys.index(key)] for key in wanted]
    one = trace(step, size)
    again = pieces_of(step.module, one)[0]
    if [piece.key(one, sizes=False) for piece in again] != [piece.key(whole, sizes=False) for piece in pieces]:
        raise ValueError(f"{step.name}: the graph itself depends on the micro-batch size")
    return one, [again[_place(pieces, piece)] for piece in distinct]


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Keep torch from telling of a failure that is only a try."""
    one = logging.getLogger(logger)
    disabled, one.disabled = one.disabled, True
    try:
        yield
    finally:
        one.disabled = disabled


def _place(pieces: list[Piece], piece: Piece) -> int:
    return next(place for place, one in enumerate(pieces) if one is piece)


@contextmanager
def shortened(step: TrainingStep, distinct: list[Piece]) -> Iterator[TrainingStep]:
    """Give a step whose containers have only the children that distinct pieces were recorded from.

    Its module is the step's own, put back at the end; what keeps its own type is named by the new paths.
    """
    model = step.module
    kept = {piece.name for piece in distinct}
    own = [(model.get_submodule(path), name) for path, _, name in (one.rpartition(".") for one in step.own_types)]
    held: list[tuple[torch.nn.Module, dict[str, torch.nn.Module | None]]] = []
    for path, container in list(model.named_modules()):
        names = [name for name, _ in container.named_children() if (f"{path}.{name}" if path else name) in kept]
        if isinstance(container, torch.nn.ModuleList | torch.nn.Sequential) and 0 < len(names) < len(container):
            held.append((container, dict(container._modules)))
            chosen = [container._modules[name] for name in names]
            container._modules.clear()
            container._modules.update({str(place): child for place, child in enumerate(chosen)})
    paths = {part: path for path, part in model.named_modules()}
    try:
        yield replace(
            step, own_types=frozenset(f"{paths[part]}.{name}".lstrip(".") for part, name in own if part in paths)
        )
    finally:
        for container, modules in held:
            container._modules.clear()
            container._modules.update(modules)


def _names(pieces: list[Piece], order: tuple[int, ...]) -> list[str]:
    """Return the name of each distinct layer: embedding or stem, blocks by their container, between, head."""
    stems: dict[int, str] = {}
    containers = {piece.name: piece.name.rpartition(".")[0] or piece.name for piece in pieces if piece.name}
    short = _shortest(set(containers.values()))
    for place, (number, piece) in enumerate(zip(order, pieces, strict=True)):
        if number in stems:
            continue
        if piece.name:
            stems[number] = short[containers[piece.name]] if len(short) > 1 else "block"
        elif place == 0:
            embeds = any(event.kind is OperatorKind.EMBEDDING for event in piece.events)
            stems[number] = "embedding" if embeds else "stem"
        else:
            stems[number] = "head" if place == len(order) - 1 else "between"
    counts = {stem: list(stems.values()).count(stem) for stem in stems.values()}
    seen: dict[str, int] = {}
    names = []
    for number in range(len(stems)):
        stem = stems[number]
        seen[stem] = seen.get(stem, 0) + 1
        names.append(stem if counts[stem] == 1 else f"{stem} {seen[stem]}")
    return names


def _shortest(paths: set[str]) -> dict[str, str]:
    """Return the shortest ends of paths that tell them apart and begin with a name, not a number."""
    found = {}
    for path in paths:
        parts = path.split(".")
        for count in range(1, len(parts) + 1):
            end = ".".join(parts[-count:])
            alone = sum(f".{other}".endswith(f".{end}") for other in paths) == 1
            if alone and not parts[-count].isdigit():
                break
        found[path] = end
    return found
