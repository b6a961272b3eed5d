"""Graphs whose devices exchange tensors through host memory: the problem of dnn-partitioning and its semantics.

Source: Tarnawski et al., NeurIPS 2020 (arXiv 2006.16423) and its release; equations in docs/model-split.md,
"Through host memory". What a split costs is computed here from the graph alone: every solver's answer is checked by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput
from hardplace.files import read_json
from hardplace.graph_split.types import MOST_OF_A_FILE

HOST = -1  # the device of an operator on the host, where cores are not limited (latency)


class SplitShape(StrEnum):
    """What a device may hold; each contains the ones before it.

    ORDERED: differences of nested downsets, the devices in a line. CONVEX: no path of the forward part leaves a device
    and comes back. ANY: no shape.
    """

    ORDERED = "ordered"
    CONVEX = "convex"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedNode:
    """One operator.

    Attributes:
        name: Name.
        group: Number of its group; operators of one group share a device.
        on_accelerator: Whether an accelerator supports it.
        backward: Whether it is of the backward pass.
        cpu_s: Seconds (or the source's unit of time) on a core.
        accelerator_s: The same on an accelerator.
        memory_bytes: Bytes that it keeps on its device.
        transfer_s: Time to move its output between an accelerator and the host.
    """

    name: str
    group: int
    on_accelerator: bool
    backward: bool
    cpu_s: float
    accelerator_s: float
    memory_bytes: float
    transfer_s: float


@dataclass(frozen=True, kw_only=True)
class StagedProblem:
    """A graph on equal accelerators and equal cores that exchange tensors through host memory.

    Attributes:
        name: Name.
        nodes: Operators.
        edges: (from, to) by index of nodes.
        accelerators: Number of accelerators.
        accelerator_memory_bytes: Memory of each.
        cpu_cores: Number of cores.
    """

    name: str
    nodes: tuple[StagedNode, ...]
    edges: tuple[tuple[int, int], ...]
    accelerators: int
    accelerator_memory_bytes: float
    cpu_cores: int

    @cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        """The operators that read each one's output."""
        found: list[set[int]] = [set() for _ in self.nodes]
        for source, target in self.edges:
            found[source].add(target)
        return tuple(tuple(sorted(one)) for one in found)

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """The operators whose outputs each one reads."""
        found: list[set[int]] = [set() for _ in self.nodes]
        for source, target in self.edges:
            found[target].add(source)
        return tuple(tuple(sorted(one)) for one in found)

    def check(self, devices: Sequence[int]) -> str | None:
        """Return what a split breaks (group, support, memory); None where it is valid.

        Args:
            devices: Of each node 0 to accelerators - 1, then the cores, or HOST.
        """
        if len(devices) != len(self.nodes):
            return f"{len(devices)} devices for {len(self.nodes)} operators"
        groups: dict[int, int] = {}
        memory = [0.0] * self.accelerators
        for node, device in zip(self.nodes, devices, strict=True):
            if not HOST <= device < self.accelerators + self.cpu_cores:
                return f"{node.name}: device {device} does not exist"
            if groups.setdefault(node.group, device) != device:
                return f"{node.name}: apart from its group"
            if 0 <= device < self.accelerators:
                if not node.on_accelerator:
                    return f"{node.name}: on an accelerator"
                memory[device] += node.memory_bytes
        for device, held in enumerate(memory):
            if held > self.accelerator_memory_bytes * (1 + 1e-12):
                return f"accelerator {device} holds {held:.4g} of {self.accelerator_memory_bytes:.4g} bytes"
        return None

    def load(self, members: Iterable[int], *, accelerator: bool = True) -> float:
        """Return a device's load: compute of `members`, and of an accelerator each output it reads or is read
        of, once."""
        held = set(members)
        if not accelerator:
            return math.fsum(self.nodes[one].cpu_s for one in held)
        entering = {one for member in held for one in self.predecessors[member]} - held
        leaving = {one for one in held if any(after not in held for after in self.successors[one])}
        return math.fsum(
            [self.nodes[one].accelerator_s for one in held]
            + [self.nodes[one].transfer_s for one in entering]
            + [self.nodes[one].transfer_s for one in leaving]
        )

    def max_load(self, devices: Sequence[int]) -> float:
        """Return the greatest load of a split: the time between two samples of a pipeline."""
        members = self._members(devices)
        return max(
            self.load(held, accelerator=device < self.accelerators) if held else 0.0 for device, held in members.items()
        )

    def latency(self, devices: Sequence[int], pieces: Sequence[Sequence[int]] | None = None) -> float:
        """Return the time of one inference; inf where the pieces wait for each other in a circle.

        A piece is one call: it starts when all its inputs are there, takes its load, and all its outputs appear at
        its end.

        Args:
            devices: Device of each node, or HOST.
            pieces: Of accelerators, in the order in which one accelerator runs them; None: one for each accelerator.
        """
        if pieces is None:
            members = self._members(devices)
            pieces = [members[device] for device in sorted(members) if 0 <= device < self.accelerators]
        item = {one: ("piece", index) for index, piece in enumerate(pieces) for one in piece}
        items = [item.get(one, ("host", one)) for one in range(len(self.nodes))]
        waits: dict[tuple[str, int], set[tuple[str, int]]] = {one: set() for one in items}
        for source, target in self.edges:
            if items[source] != items[target]:
                waits[items[target]].add(items[source])
        last: dict[int, tuple[str, int]] = {}
        for index, piece in enumerate(pieces):
            device = devices[piece[0]]
            if device in last:
                waits["piece", index].add(last[device])
            last[device] = ("piece", index)
        takes = {one: self.load(pieces[one[1]]) if one[0] == "piece" else self.nodes[one[1]].cpu_s for one in waits}
        return _longest(waits, takes)

    def convex(self, devices: Sequence[int]) -> bool:
        """Return whether no path of the forward part leaves a device and comes back to it."""
        forward = [(a, b) for a, b in self.edges if not self.nodes[a].backward and not self.nodes[b].backward]
        after: list[list[int]] = [[] for _ in self.nodes]
        for source, target in forward:
            after[source].append(target)
        for device in set(devices):
            held = [one for one, where in enumerate(devices) if where == device and not self.nodes[one].backward]
            stack = [b for a in held for b in after[a] if devices[b] != device]
            seen = set(stack)
            while stack:
                for one in after[stack.pop()]:
                    if devices[one] == device:
                        return False
                    if one not in seen:
                        seen.add(one)
                        stack.append(one)
        return True

    def _members(self, devices: Sequence[int]) -> dict[int, list[int]]:
        members: dict[int, list[int]] = {}
        for one, device in enumerate(devices):
            members.setdefault(device, []).append(one)
        return members


def _longest(waits: dict[Any, set[Any]], takes: dict[Any, float]) -> float:
    """Return the greatest end of items that start when what they wait for has ended; inf in a circle."""
    missing = {one: len(before) for one, before in waits.items()}
    after: dict[Any, list[Any]] = {one: [] for one in waits}
    for one, before in waits.items():
        for other in before:
            after[other].append(one)
    ready = [one for one, count in missing.items() if count == 0]
    ends: dict[Any, float] = {}
    while ready:
        one = ready.pop()
        ends[one] = max((ends[other] for other in waits[one]), default=0.0) + takes[one]
        for other in after[one]:
            missing[other] -= 1
            if missing[other] == 0:
                ready.append(other)
    return max(ends.values(), default=0.0) if len(ends) == len(waits) else math.inf


_COLUMNS = [
    "id",
    "same_device_class",
    "may_be_on_accelerator",
    "backward",
    "cpu_time",
    "accelerator_time",
    "memory_bytes",
    "output_transfer_time",
    "name",
]


def read_staged(path: str | PathLike[str]) -> StagedProblem:
    """Return the problem of a converted file of dnn-partitioning (docs/formats.md).

    Raises:
        BadInput: With file, field, value and what was expected.
    """
    where = Path(path)
    data = read_json(where)
    for field in ("name", "accelerators", "accelerator_memory_bytes", "cpu_cores", "node_columns", "nodes", "edges"):
        if not isinstance(data, dict) or field not in data:
            raise BadInput(f"{where}: {field}", None, "a field of this name")
    if data["node_columns"] != _COLUMNS:
        raise BadInput(f"{where}: node_columns", data["node_columns"], ", ".join(_COLUMNS))
    index: dict[Any, int] = {}
    groups: dict[Any, int] = {}
    nodes = []
    for row, one in enumerate(data["nodes"]):
        place = f"{where}: nodes[{row}]"
        if not isinstance(one, list) or len(one) != len(_COLUMNS):
            raise BadInput(place, None, f"a list of {len(_COLUMNS)} values")
        if one[0] in index:
            raise BadInput(f"{place}: id", one[0], "an id that no other node has")
        for name, value in zip(_COLUMNS[4:8], one[4:8], strict=True):
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MOST_OF_A_FILE:
                raise BadInput(f"{place}: {name}", value, f"a number from 0 to {MOST_OF_A_FILE:g}")
        index[one[0]] = row
        group = groups.setdefault(("own", row) if one[1] is None else one[1], len(groups))
        nodes.append(
            StagedNode(
                name=str(one[8]), group=group, on_accelerator=bool(one[2]), backward=bool(one[3]),
                cpu_s=float(one[4]), accelerator_s=float(one[5]), memory_bytes=float(one[6]), transfer_s=float(one[7]),
            )
        )  # fmt: skip
    edges = []
    for row, edge in enumerate(data["edges"]):
        if not isinstance(edge, list) or len(edge) != 2 or any(one not in index for one in edge):
            raise BadInput(f"{where}: edges[{row}]", edge, "ids of two nodes")
        edges.append((index[edge[0]], index[edge[1]]))
    return StagedProblem(
        name=str(data["name"]), nodes=tuple(nodes), edges=tuple(edges), accelerators=int(data["accelerators"]),
        accelerator_memory_bytes=float(data["accelerator_memory_bytes"]), cpu_cores=int(data["cpu_cores"]),
    )  # fmt: skip
