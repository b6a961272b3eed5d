"""A trace cut into pieces: what belongs together as a layer, and what passes between layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from hardplace.workload.recording.parts import ModelParts
from hardplace.workload.recording.trace import Trace, TraceEvent
from hardplace.workload.types import OperatorKind, Phase, StorageRole


@dataclass(slots=True)
class Piece:
    """A layer at one micro-batch size: events with local numbers of tensors, sizes apart from structure."""

    name: str
    storages: dict[int, int] = field(default_factory=dict)  # number in the trace -> here
    tensors: dict[int, int] = field(default_factory=dict)
    events: list[TraceEvent] = field(default_factory=list)
    saved: set[int] = field(default_factory=set)  # in the trace, as the next two
    inputs: dict[int, None] = field(default_factory=dict)
    outputs: dict[int, None] = field(default_factory=dict)

    def key(self, one: Trace, *, sizes: bool) -> tuple[object, ...]:
        """Return what makes two pieces equal; without sizes, at any micro-batch size."""
        events = tuple(
            (
                event.name,
                event.kind,
                event.phase,
                event.gradient,
                event.layout,
                event.causal,
                event.window,
                event.axes,
                relative(one.calls[event.call].path, self.name),
                tuple(self.tensors[number] for number in event.reads),
                tuple(self.tensors[number] for number in event.writes),
                event.dims if sizes else len(event.dims),
            )
            for event in self.events
        )
        views = tuple(
            (self.storages[one.views[number].storage], one.views[number].dtype, one.views[number].shape if sizes else 0)
            for number in self.tensors
        )
        made = made_by(one, self.events)
        stored = tuple(
            (role_of(one, number, made), one.storage_bytes[number] if sizes else 0) for number in self.storages
        )
        kept = tuple(sorted(self.storages[number] for number in self.saved))
        first: dict[int, int] = {}  # of a parameter, the storage here that holds it first
        twice = tuple(
            first.setdefault(one.copies[number], here) for number, here in self.storages.items() if number in one.copies
        )
        return (events, views, stored, kept, self._local(self.inputs), self._local(self.outputs), twice)

    def _local(self, storages: dict[int, None]) -> tuple[int, ...]:
        return tuple(sorted(self.storages[number] for number in storages))


def relative(path: str, part: str) -> str:
    """Return a module's path within its part."""
    return path.removeprefix(part).removeprefix(".") if part else path


def made_by(one: Trace, events: list[TraceEvent]) -> set[int]:
    """Return the storages that were written before they were read."""
    read: set[int] = set()
    made: set[int] = set()
    for event in events:
        read |= one.storages(event.reads) - made
        if event.kind is not OperatorKind.VIEW:
            made |= one.storages(event.writes) - read
    return made


def role_of(one: Trace, storage: int, made: set[int]) -> StorageRole:
    """Return what a storage is to the piece that made those."""
    if storage in one.parameters:
        return StorageRole.PARAMETER
    if storage not in made:
        return StorageRole.INPUT
    return StorageRole.GRADIENT if storage in one.gradients else StorageRole.ACTIVATION


def pieces_of(model: torch.nn.Module, one: Trace) -> tuple[list[Piece], list[tuple[int, int, int]]]:
    """Return a trace's layers in the order they ran, and (source, target, storage) of what passes between them."""
    parts = ModelParts(model, one)
    home = _merged(parts, one)
    pieces: dict[int, Piece] = {}
    for event in one.events:
        number = home[parts.of(event.call, event.moment)]
        piece = pieces.setdefault(number, Piece(name=parts.parts[number].path))
        piece.events.append(event)
        for tensor in event.reads + event.writes:
            piece.tensors.setdefault(tensor, len(piece.tensors))
            piece.storages.setdefault(one.views[tensor].storage, len(piece.storages))
    for call, moment, storage in one.saved:
        piece = pieces[home[parts.of(call, moment)]]
        if storage in piece.storages:
            piece.saved.add(storage)
    place = {number: position for position, number in enumerate(sorted(pieces))}
    edges = _edges(one, pieces, lambda event: home[parts.of(event.call, event.moment)])
    for piece in pieces.values():
        made = made_by(one, piece.events)
        others = piece.saved - set(one.parameters) - one.buffers
        piece.saved = {storage for storage in others if storage in one.computed or storage in made}
    return [pieces[number] for number in sorted(pieces)], [(place[a], place[b], storage) for a, b, storage in edges]


def _merged(parts: ModelParts, one: Trace) -> list[int]:
    """Return for each part the one that it goes with.

    One without parameters goes with the one before it; where it joins what several made, with the one after it, so
    that branches stay side by side. What runs in turns (a loop over two lists of modules) is one.
    """
    weighty: set[int] = set()
    sources: dict[int, set[int]] = {}
    writer: dict[int, int] = {}
    weights = set(one.parameters)
    for event in one.events:
        if event.phase is not Phase.FORWARD:
            break
        number = parts.of(event.call, event.moment)
        read = one.storages(event.reads)
        if read & weights:
            weighty.add(number)
        if event.kind is not OperatorKind.VIEW:
            made = {writer[storage] for storage in read & one.computed if storage in writer}
            sources.setdefault(number, set()).update(made - {number})
            writer.update(dict.fromkeys(one.storages(event.writes), number))
    home: list[int] = []
    last = min(weighty, default=0)
    for number in range(len(parts.parts)):
        last = number if number in weighty else last
        after = min((one for one in weighty if one > number), default=last)
        apart = {home[one] for one in sources.get(number, ()) if one < number} - {last}
        home.append(after if number not in weighty and len(apart) and number > last else last)
    return _in_order(home, [(home[source], home[number]) for number, read in sources.items() for source in read])


def _in_order(home: list[int], edges: list[tuple[int, int]]) -> list[int]:
    """Return for each part the one that it goes with, where those that edges lead back to are one with all between."""
    first = {number: number for number in home}
    for source, target in edges:
        if source > target:
            low = first[target]
            for number in first:
                if low <= number <= source or low <= first[number] <= source:
                    first[number] = low
    return [first[number] for number in home]


def _edges(one: Trace, pieces: dict[int, Piece], home: Callable[[TraceEvent], int]) -> list[tuple[int, int, int]]:
    """Return (source, target, storage) of every activation that a layer's forward pass takes from another's.

    Tables such as rotary cosines depend on no parameter and no input: each stage makes its own.
    """
    writer: dict[int, int] = {}
    found: dict[tuple[int, int, int], None] = {}
    for event in one.events:
        if event.phase is not Phase.FORWARD or event.kind is OperatorKind.VIEW:
            continue
        here = home(event)
        for storage in one.storages(event.reads) & one.computed:
            source = writer.get(storage, here)
            if source != here:
                found[source, here, storage] = None
                pieces[source].outputs[storage] = None
                pieces[here].inputs[storage] = None
        writer.update(dict.fromkeys(one.storages(event.writes), here))
    return list(found)
