"""Nouns of an operator graph on unlike devices: operators, tensors, devices, links, and a schedule of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

MOST_OF_A_FILE = 1e30  # seconds or bytes of one operator: far beyond all that is built, and sums stay finite


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOperator:
    """One operator. time_s: seconds by the kind of device that supports it. group: operators of one share a device."""

    name: str
    time_s: Mapping[str, float]
    memory_bytes: float = 0.0
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphTensor:
    """What an operator gives to others: moved once to each device that reads it. Operators by index."""

    source: int
    readers: tuple[int, ...]
    size_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDevice:
    """A device: kind names the times of operators; it runs one operator at a time."""

    name: str
    kind: str
    memory_bytes: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLink:
    """One direction between two devices. queued: one tensor at a time, in the order of their starts."""

    source: int
    target: int
    bytes_per_s: float
    latency_s: float = 0.0
    queued: bool = True


@dataclass(frozen=True, kw_only=True)
class SplitProblem:
    """A graph, the devices and the links between them (every ordered pair that may exchange tensors)."""

    name: str
    operators: tuple[GraphOperator, ...]
    tensors: tuple[GraphTensor, ...]
    devices: tuple[SplitDevice, ...]
    links: tuple[SplitLink, ...] = field(default=())

    @cached_property
    def times(self) -> tuple[tuple[float, ...], ...]:
        """Seconds of each operator on each device, inf where it is not supported."""
        return tuple(tuple(one.time_s.get(device.kind, math.inf) for device in self.devices) for one in self.operators)

    @cached_property
    def link_of(self) -> Mapping[tuple[int, int], SplitLink]:
        """The link of each ordered pair of devices."""
        return {(link.source, link.target): link for link in self.links}

    def move_s(self, tensor: int, source: int, target: int) -> float:
        """Return the seconds of moving a tensor, 0 within a device, inf where there is no link."""
        if source == target:
            return 0.0
        link = self.link_of.get((source, target))
        return math.inf if link is None else link.latency_s + self.tensors[tensor].size_bytes / link.bytes_per_s

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """The tensors that each operator reads."""
        found: list[list[int]] = [[] for _ in self.operators]
        for index, tensor in enumerate(self.tensors):
            for reader in tensor.readers:
                found[reader].append(index)
        return tuple(map(tuple, found))

    @cached_property
    def outputs(self) -> tuple[tuple[int, ...], ...]:
        """The tensors that each operator gives."""
        found: list[list[int]] = [[] for _ in self.operators]
        for index, tensor in enumerate(self.tensors):
            found[tensor.source].append(index)
        return tuple(map(tuple, found))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The operators, each after those it reads from; shorter than the graph where there is a circle."""
        missing = [len(one) for one in self.inputs]
        order = [one for one, count in enumerate(missing) if count == 0]
        for one in order:
            for tensor in self.outputs[one]:
                for reader in self.tensors[tensor].readers:
                    missing[reader] -= 1
                    if missing[reader] == 0:
                        order.append(reader)
        return tuple(order)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Operators that share a device; an operator without a group is alone."""
        found: dict[object, list[int]] = {}
        for index, one in enumerate(self.operators):
            found.setdefault(index if one.group is None else one.group, []).append(index)
        return tuple(map(tuple, found.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRun:
    """When one operator of one request runs, and where."""

    operator: int
    device: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorTransfer:
    """When a tensor moves between two devices."""

    tensor: int
    source: int
    target: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSchedule:
    """A placement and when everything of one sample happens; makespan_s: the end of the last operator."""

    runs: tuple[OperatorRun, ...]  # by operator
    transfers: tuple[TensorTransfer, ...]

    @property
    def makespan_s(self) -> float:
        """Seconds from the start to the end of the last operator."""
        return max((run.end_s for run in self.runs), default=0.0)

    @property
    def devices(self) -> tuple[int, ...]:
        """The device of each operator."""
        return tuple(run.device for run in self.runs)
