"""Graphs cut into stages that are copied and divided: the problem of Piper and its semantics.

Source: Tarnawski, Narayanan, Phanishayee, "Piper", NeurIPS 2021, and its release; equations in docs/model-split.md,
"Stages with degrees". What a stage costs is computed here from the graph alone: every plan is checked by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from os import PathLike
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput
from hardplace.files import read_json
from hardplace.graph_split.groups import circle
from hardplace.graph_split.types import MOST_OF_A_FILE


class StageDimension(StrEnum):
    """What a plan may use beside stages; forbidden: degrees of 1, no recompute."""

    DATA = "data"
    TENSOR = "tensor"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWay:
    """One way to run an operator: on `tensor` devices, its activations recomputed or kept.

    seconds: of a sample, forward and backward. parameter_bytes: of a device. in_flight_bytes: for each micro-batch
    that a device has in flight; fixed_bytes: besides. extra_bytes: by neighbour, moved more where it is elsewhere.
    """

    tensor: int
    recompute: bool
    seconds: float
    parameter_bytes: float
    in_flight_bytes: float
    fixed_bytes: float
    extra_bytes: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysProblem:
    """Operators with their ways, edges (from, to, bytes) by index, equal devices with one bandwidth."""

    name: str
    operators: tuple[str, ...]
    ways: tuple[tuple[OperatorWay, ...], ...]
    edges: tuple[tuple[int, int, float], ...]
    devices: int
    memory_bytes: float
    micro_batches: int
    bytes_per_s: float
    without: frozenset[StageDimension] = frozenset()

    @property
    def work_bound_s(self) -> float:
        """Seconds of a sample that no plan is below: each operator in the way of least device-seconds, over all
        devices, whose stages take d t of them for seconds / d."""
        least = [min((way.tensor * way.seconds for way in ways), default=0.0) for ways in self.ways]
        return sum(least) / self.devices * (1 - 1e-12)

    @property
    def one_stage_plans(self) -> int:
        """The number of plans of one stage without data parallelism: each operator in every way of one degree."""
        degrees = {way.tensor for ways in self.ways for way in ways}
        if StageDimension.TENSOR in self.without:
            degrees &= {1}
        numbers = range(len(self.operators))
        return sum(math.prod(len(self.allowed(one, tensor)) for one in numbers) for tensor in degrees)

    def allowed(self, operator: int, tensor: int) -> list[int]:
        """Return the numbers of an operator's ways of a degree that are not forbidden."""
        return [
            number
            for number, way in enumerate(self.ways[operator])
            if way.tensor == tensor and not (way.recompute and StageDimension.RECOMPUTE in self.without)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelStage:
    """Operators on `data` x `tensor` devices; ways: of each operator, in their order."""

    operators: tuple[int, ...]
    ways: tuple[int, ...]
    data: int
    tensor: int


def stage_s(problem: WaysProblem, stage: ParallelStage) -> float:
    """Return the seconds of a sample on a stage: work, bytes that cross its ends, and the gradients' all-reduce."""
    held = set(stage.operators)
    ways = [problem.ways[one][way] for one, way in zip(stage.operators, stage.ways, strict=True)]
    crossing = sum(size for a, b, size in problem.edges if (a in held) != (b in held))
    extra = sum(size for way in ways for other, size in way.extra_bytes.items() if other not in held)
    gradients = sum(way.parameter_bytes for way in ways) / problem.micro_batches
    moved = 2 * (crossing + extra) / stage.data + 4 * (stage.data - 1) / stage.data * gradients
    return moved / problem.bytes_per_s + sum(way.seconds for way in ways) / stage.data


def stage_bytes(problem: WaysProblem, stages: Sequence[ParallelStage], number: int) -> float:
    """Return the bytes of a device of a stage: micro-batches in flight are the degrees from here on over its own."""
    stage = stages[number]
    in_flight = -(-sum(one.data for one in stages[number:]) // stage.data)
    ways = [problem.ways[one][way] for one, way in zip(stage.operators, stage.ways, strict=True)]
    return sum(way.in_flight_bytes * in_flight + way.fixed_bytes for way in ways)


def stage_violations(problem: WaysProblem, stages: Sequence[ParallelStage]) -> list[str]:
    """Return what a plan breaks: an operator twice or missing, a line that goes back, degrees, devices, memory."""
    found = []
    home: dict[int, int] = {}
    for number, stage in enumerate(stages):
        for one in stage.operators:
            if home.setdefault(one, number) != number:
                found.append(f"{problem.operators[one]}: in two stages")
        for one, way in zip(stage.operators, stage.ways, strict=True):
            if way not in problem.allowed(one, stage.tensor):
                found.append(f"{problem.operators[one]}: a way that is not allowed")
        if stage.data < 1 or problem.micro_batches % stage.data:
            found.append(f"stage {number}: data degree {stage.data} does not divide the micro-batches")
        if (stage.data > 1 and StageDimension.DATA in problem.without) or (
            stage.tensor > 1 and StageDimension.TENSOR in problem.without
        ):
            found.append(f"stage {number}: a degree that is forbidden")
        if stage_bytes(problem, stages, number) > problem.memory_bytes * (1 + 1e-12):
            found.append(f"stage {number}: holds {stage_bytes(problem, stages, number):.6g} bytes")
    if len(home) != len(problem.operators):
        found.append(f"{len(problem.operators) - len(home)} operators in no stage")
    else:
        found += [f"edge {a} to {b} goes back" for a, b, _ in problem.edges if home[a] > home[b]]
    if sum(one.data * one.tensor for one in stages) > problem.devices:
        found.append("more devices than there are")
    if sum(one.data for one in stages) > problem.micro_batches:
        found.append("data degrees add up to more than the micro-batches")
    return found


_COLUMNS = ["tensor_degree", "recompute", "time_per_sample", "parameter_bytes", "memory_per_in_flight_bytes"]
_COLUMNS += ["memory_fixed_bytes", "extra_input_bytes_by_predecessor", "extra_output_bytes_by_successor"]


def read_ways(
    path: str | PathLike[str],
    *,
    devices: int,
    memory_bytes: float,
    micro_batches: int | None = None,
    without: frozenset[StageDimension] = frozenset(),
) -> WaysProblem:
    """Return the problem of a converted file of Piper (docs/formats.md) on so many devices; BadInput with its field.

    micro_batches: None: the file's own number.
    """
    where = Path(path)
    data = read_json(where)
    for field in ("name", "micro_batches_default", "bytes_per_s", "way_columns", "nodes", "edges"):
        if not isinstance(data, dict) or field not in data:
            raise BadInput(f"{where}: {field}", None, "a field of this name")
    if data["way_columns"] != _COLUMNS:
        raise BadInput(f"{where}: way_columns", data["way_columns"], ", ".join(_COLUMNS))
    for field in ("nodes", "edges"):
        if not isinstance(data[field], list):
            raise BadInput(f"{where}: {field}", data[field], "a list")
    count = data["micro_batches_default"] if micro_batches is None else micro_batches
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise BadInput(f"{where}: micro_batches_default", count, "a whole number from 1")
    if not _number(f"{where}: bytes_per_s", data["bytes_per_s"]) > 0:
        raise BadInput(f"{where}: bytes_per_s", data["bytes_per_s"], "a number above 0")
    index: dict[Any, int] = {}
    for row, one in enumerate(data["nodes"]):
        place = f"{where}: nodes[{row}]"
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[2], list) or not one[2]:
            raise BadInput(place, None, "[id, name, ways], with one way at least")
        if not isinstance(one[0], int | str):
            raise BadInput(f"{place}: id", one[0], "a whole number or a text")
        if index.setdefault(one[0], row) != row:
            raise BadInput(f"{place}: id", one[0], "an id that no other node has")
    if not index:
        raise BadInput(f"{where}: nodes", "none", "one operator at least")
    edges = []
    for row, edge in enumerate(data["edges"]):
        known = isinstance(edge, list) and len(edge) == 3 and all(isinstance(one, int | str) for one in edge[:2])
        if not known or any(one not in index for one in edge[:2]):
            raise BadInput(f"{where}: edges[{row}]", edge, "ids of two nodes and bytes")
        edges.append((index[edge[0]], index[edge[1]], _number(f"{where}: edges[{row}]: bytes", edge[2])))
    round_trip = circle(len(index), [(a, b) for a, b, _ in edges])
    if round_trip is not None:
        names = ", ".join(str(data["nodes"][one][1]) for one in round_trip[:8])
        raise BadInput(f"{where}: edges", f"a circle through {names}", "a graph without circles")
    return WaysProblem(
        name=str(data["name"]),
        operators=tuple(f"{one[1]} {one[0]}" for one in data["nodes"]),
        ways=tuple(
            tuple(_way(f"{where}: nodes[{row}]: ways[{number}]", way, index) for number, way in enumerate(one[2]))
            for row, one in enumerate(data["nodes"])
        ),
        edges=tuple(edges), devices=devices, memory_bytes=memory_bytes,
        micro_batches=count, bytes_per_s=float(data["bytes_per_s"]), without=without,
    )  # fmt: skip


def _way(where: str, row: Any, index: Mapping[Any, int]) -> OperatorWay:
    if not isinstance(row, list) or len(row) != len(_COLUMNS):
        raise BadInput(where, None, f"a list of {len(_COLUMNS)} values")
    for name, value in zip(_COLUMNS[:2], row[:2], strict=True):
        if not isinstance(value, int) or value < (name == "tensor_degree"):
            raise BadInput(f"{where}: {name}", value, "a whole number")
    numbers = [_number(f"{where}: {name}", value) for name, value in zip(_COLUMNS[2:6], row[2:6], strict=True)]
    extra: dict[int, float] = {}
    known = {str(name): position for name, position in index.items()}
    for name, ends in zip(_COLUMNS[6:], row[6:], strict=True):
        if not isinstance(ends, dict) or any(one not in known for one in ends):
            raise BadInput(f"{where}: {name}", ends, "bytes by the id of a neighbour")
        for one, size in ends.items():
            extra[known[one]] = extra.get(known[one], 0.0) + _number(f"{where}: {name}: {one}", size)
    return OperatorWay(
        tensor=row[0], recompute=bool(row[1]), seconds=numbers[0], parameter_bytes=numbers[1],
        in_flight_bytes=numbers[2], fixed_bytes=numbers[3], extra_bytes=extra,
    )  # fmt: skip


def _number(where: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MOST_OF_A_FILE:
        raise BadInput(where, value, f"a number from 0 to {MOST_OF_A_FILE:g}")
    return float(value)
