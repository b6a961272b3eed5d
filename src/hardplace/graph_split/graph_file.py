"""A file of operators with costs, devices and links as text: what `split` reads (docs/formats.md, "Operator graph")."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from hardplace.answers import Infeasible
from hardplace.described.networks import layer_of
from hardplace.described.reading import is_description, read_description
from hardplace.described.tiling import tiled
from hardplace.errors import BadInput, unknown
from hardplace.files import read
from hardplace.graph_split.groups import circle
from hardplace.graph_split.types import MOST_OF_A_FILE, GraphOperator, GraphTensor, SplitDevice, SplitLink, SplitProblem
from hardplace.units import parse_quantity

_MOST_DEVICES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One operator of the file.

    Attributes:
        name: Name.
        time_s: Seconds by kind of device.
        memory_bytes: Bytes that it keeps on its device.
        output_bytes: Bytes that are moved once to each other device that reads it.
        group: Name that operators of one device share.
        layer: What it computes, as `describe` takes it, for described accelerators.
    """

    name: str
    time_s: dict[str, float]
    memory_bytes: float = 0.0
    output_bytes: float = 0.0
    group: str | None = None
    layer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRow:
    """One edge of the file.

    Attributes:
        source: Name of the operator that writes.
        target: Name of the one that reads.
        bytes: Bytes of its own, moved for this reader alone; null: the operator's output.
    """

    source: str
    target: str
    bytes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFile:
    """The file: operators, and who reads whom."""

    name: str
    operators: tuple[OperatorRow, ...]
    edges: tuple[EdgeRow, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChoice:
    """How devices exchange tensors.

    Attributes:
        bytes_per_s: Bandwidth of every pair.
        latency_s: Latency of every pair.
        queued: Whether a link moves one tensor at a time.
        named: Pairs of their own, such as "gpu0-gpu1=50 GB/s,5 us".
    """

    bytes_per_s: float
    latency_s: float = 0.0
    queued: bool = True
    named: tuple[str, ...] = ()


def read_graph(path: str | PathLike[str], devices: Sequence[str], links: LinkChoice) -> SplitProblem:
    """Return the problem of a graph file.

    Args:
        path: The file.
        devices: Devices such as "gpu" or "gpu:24 GiB".
        links: How they exchange tensors.

    Raises:
        BadInput: One line, for a circle, an operator that no device supports, a cost that is negative, operators of a
            group that share no device, a link of an unknown device.
    """
    where = Path(path)
    nouns = devices_of(devices)
    kinds = {one.kind for one in nouns}
    data = _with_described(where, read(where, GraphFile), sorted(kinds))
    index: dict[str, int] = {}
    for row, one in enumerate(data.operators):
        place = f"{where}: operators[{row}]"
        if one.name in index:
            raise BadInput(f"{place}.name", repr(one.name), "a name that no other operator has")
        index[one.name] = row
        for what, value in (
            *one.time_s.items(),
            ("memory_bytes", one.memory_bytes),
            ("output_bytes", one.output_bytes),
        ):
            if not 0 <= value <= MOST_OF_A_FILE:
                raise BadInput(f"{place} {one.name!r}: {what}", value, f"a number from 0 to {MOST_OF_A_FILE:g}")
        if not kinds & set(one.time_s):
            raise BadInput(
                f"{place} {one.name!r}: time_s", ", ".join(one.time_s) or "no kind",
                f"a time on one of the devices asked for: {', '.join(sorted(kinds))}",
            )  # fmt: skip
    if not data.operators:
        raise BadInput(f"{where}: operators", "none", "one operator at least")
    _check_groups(where, data, kinds)
    readers: dict[int, list[int]] = {}
    tensors = []
    for row, edge in enumerate(data.edges):
        for name in (edge.source, edge.target):
            if name not in index:
                raise BadInput(f"{where}: edges[{row}]", repr(name), "the name of an operator")
        if edge.bytes is not None and not 0 <= edge.bytes <= MOST_OF_A_FILE:
            raise BadInput(f"{where}: edges[{row}].bytes", edge.bytes, f"a number from 0 to {MOST_OF_A_FILE:g}")
        pair = (index[edge.source], index[edge.target])
        if edge.bytes is None:
            readers.setdefault(pair[0], []).append(pair[1])
        else:
            tensors.append(GraphTensor(source=pair[0], readers=(pair[1],), size_bytes=edge.bytes))
    for source, targets in sorted(readers.items()):
        size = data.operators[source].output_bytes
        tensors.append(GraphTensor(source=source, readers=tuple(sorted(set(targets))), size_bytes=size))
    round_trip = circle(len(index), [(one.source, reader) for one in tensors for reader in one.readers])
    if round_trip is not None:
        names = ", ".join(data.operators[one].name for one in round_trip[:8])
        raise BadInput(f"{where}: edges", f"a circle through {names}", "a graph without circles")
    return SplitProblem(
        name=data.name,
        operators=tuple(
            GraphOperator(name=one.name, time_s=one.time_s, memory_bytes=one.memory_bytes, group=one.group)
            for one in data.operators
        ),
        tensors=tuple(tensors),
        devices=nouns,
        links=links_of(nouns, links),
    )


def _with_described(where: Path, data: GraphFile, kinds: Sequence[str]) -> GraphFile:
    """Return the file with the seconds of every `layer` on each kind that is a described accelerator.

    A time that the file has stays; a layer that no mapping fits is not supported there.
    """
    chips = [read_description(kind) for kind in kinds if is_description(kind)]
    if not chips:
        return data
    names = [kind for kind in kinds if is_description(kind)]
    known: dict[tuple[str, str], float | None] = {}
    rows = []
    for index, row in enumerate(data.operators):
        times = dict(row.time_s)
        for name, chip in zip(names, chips, strict=True):
            if row.layer is None or name in times:
                continue
            if (name, row.layer) not in known:
                try:
                    found = tiled(chip, layer_of(row.layer))
                except BadInput as problem:
                    raise BadInput(f"{where}: operators[{index}].layer: {problem}") from None
                known[name, row.layer] = None if isinstance(found, Infeasible) else found.time.cycles / chip.clock_hz
            seconds = known[name, row.layer]
            if seconds is not None:
                times[name] = seconds
        rows.append(replace(row, time_s=times))
    return replace(data, operators=tuple(rows))


def devices_of(texts: Sequence[str]) -> tuple[SplitDevice, ...]:
    """Return devices from "KIND" or "KIND:MEMORY"; several of a kind are numbered: gpu0, gpu1."""
    if not 1 <= len(texts) <= _MOST_DEVICES:
        raise BadInput("device", f"{len(texts)} devices", f"1 to {_MOST_DEVICES}")
    parsed = []
    for text in texts:
        kind, colon, memory = text.partition(":")
        if not kind.strip() or (colon and not memory.strip()):
            raise BadInput("device", repr(text), "a kind such as gpu, or with its memory gpu:24GiB")
        parsed.append((kind.strip(), parse_quantity(memory, "B", "device") if colon else math.inf))
    counts = [kind for kind, _ in parsed]
    found = []
    for position, (kind, memory_bytes) in enumerate(parsed):
        number = counts[:position].count(kind) if counts.count(kind) > 1 else ""
        found.append(SplitDevice(name=f"{kind}{number}", kind=kind, memory_bytes=memory_bytes))
    return tuple(found)


def links_of(devices: Sequence[SplitDevice], choice: LinkChoice) -> tuple[SplitLink, ...]:
    """Return a link for every ordered pair of devices; BadInput for a named one between devices that are not there."""
    names = {one.name: position for position, one in enumerate(devices)}
    own: dict[tuple[int, int], tuple[float, float]] = {}
    for text in choice.named:
        match = re.fullmatch(r"\s*([^=]+-[^=]+?)\s*=\s*([^,]+?)\s*(?:,\s*(.+?)\s*)?", text)
        if match is None:
            raise BadInput("link", repr(text), "two devices, bandwidth and latency, such as cpu-gpu=16GB/s,10us")
        pieces = match[1].split("-")
        ends = [("-".join(pieces[:at]).strip(), "-".join(pieces[at:]).strip()) for at in range(1, len(pieces))]
        pair = next((one for one in ends if one[0] in names and one[1] in names), ends[-1])
        for name in pair:
            if name not in names:
                raise unknown("device of link", name, names)
        if pair[0] == pair[1]:
            raise BadInput("link", repr(text), "two different devices")
        speed = parse_quantity(match[2], "B/s", "link")
        latency_s = parse_quantity(match[3], "s", "link") if match[3] else 0.0
        a, b = names[pair[0]], names[pair[1]]
        own[a, b] = own[b, a] = (speed, latency_s)
    found = []
    for a in range(len(devices)):
        for b in range(len(devices)):
            if a != b:
                speed, latency_s = own.get((a, b), (choice.bytes_per_s, choice.latency_s))
                found.append(
                    SplitLink(source=a, target=b, bytes_per_s=speed, latency_s=latency_s, queued=choice.queued)
                )
    return tuple(found)


def _check_groups(where: Path, data: GraphFile, kinds: set[str]) -> None:
    """Raise BadInput for a group whose operators have no kind of device in common."""
    common: dict[str, set[str]] = {}
    for one in data.operators:
        if one.group is not None:
            common[one.group] = common.get(one.group, set(kinds)) & set(one.time_s)
            if not common[one.group]:
                members = ", ".join(row.name for row in data.operators if row.group == one.group)
                raise BadInput(
                    f"{where}: group {one.group!r}", f"no device supports all of {members}",
                    f"a time of each on one of {', '.join(sorted(kinds))}",
                )  # fmt: skip
