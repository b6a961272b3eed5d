"""Readers of the reference cases' own JSON formats (PHAZE's device_placement; small operator graphs)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

from hardplace.cost.types import Engine
from hardplace.design.partition.types import Boundary, Charge, LayerLoad, PartitionProblem, Replication, Variant
from hardplace.design.scheduling.types import ScheduleProblem, TaskGraph

ENGINES = {"TC": Engine.TENSOR, "VC": Engine.VECTOR, "TCandVC": Engine.BOTH}


class BadCase(Exception):
    """A case that cannot be read: one line with the field."""


def fail(path: str, problem: object) -> NoReturn:
    print(f"{path}: {problem}", file=sys.stderr)
    raise SystemExit(2)


def load(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except OSError as problem:
        fail(path, problem.strerror)
    except ValueError as problem:
        fail(path, f"expected JSON: {problem}")


def field(case: Any, name: str, *kinds: type) -> Any:
    """Return a field of the kind wanted; numbers must be finite and not negative."""
    if not isinstance(case, dict) or name not in case:
        raise BadCase(f"{name}: missing")
    value = case[name]
    wanted = kinds or (int, float)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise BadCase(f"{name}: {value!r:.60}: expected {' or '.join(kind.__name__ for kind in wanted)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not 0 <= value < float("inf"):
        raise BadCase(f"{name}: {value!r}: expected a number that is not negative")
    return value


def positive(case: Any, name: str, *kinds: type) -> Any:
    value = field(case, name, *kinds)
    if value <= 0:
        raise BadCase(f"{name}: {value!r}: expected a positive number")
    return value


def placement_problem(case: Any) -> tuple[PartitionProblem, dict[int, list[int]]]:
    """Return PHAZE's problem, and the node ids by tensor-parallel degree."""
    instance = case.get("instance", case) if isinstance(case, dict) else case
    devices, bandwidth = positive(instance, "maxDevices", int), positive(instance, "bandwidth")
    adam = field(instance, "optimizerAlgorithm", str).lower() == "adam"
    edges = field(instance, "edges", dict, list)
    variants, ids = [], {}
    for key, nodes in field(instance, "nodes", dict).items():
        width = int(key)
        ids[width] = [int(field_any(node, "id")) for node in nodes]
        mine = edges if isinstance(edges, list) else field(edges, key, list)
        variants.append(_variant(width, nodes, mine, ids[width], devices, bandwidth, 3 if adam else 2))
    problem = PartitionProblem(
        variants=tuple(variants),
        devices=devices,
        memory_bytes=float(positive(instance, "maxMemoryPerDevice")),
        micro_batches=positive(instance, "mbsInBatch", int),
        recompute=field(instance, "activationRecomputation", bool),
        charge=Charge.FIRST_STAGE,
        divisible=False,
    )
    return problem, ids


def field_any(case: Any, name: str) -> int:
    """Return a whole number of either sign."""
    if not isinstance(case, dict) or not isinstance(case.get(name), int):
        raise BadCase(f"{name}: missing or not a whole number")
    return int(case[name])


def _variant(
    width: int, nodes: Any, edges: Any, ids: list[int], devices: int, bandwidth: float, copies: int
) -> Variant:
    place = {one: index for index, one in enumerate(ids)}
    layers = tuple(
        LayerLoad(
            name=str(one),
            forward_s=float(field(node, "optimalLatencyFw")),
            backward_s=float(field(node, "optimalLatencyBw")),
            gradient_bytes=float(field(node, "parameterSize")),
            state_bytes=copies * float(field(node, "parameterSize")),
            sharded_state_bytes=0.0,
            activation_bytes=float(field(node, "activationSize")),
            optimizer_s=0.0,
            tensor_parallel=field(node, "isTensorParallelized", bool),
        )
        for one, node in zip(ids, nodes, strict=True)
    )
    for edge in edges:
        for end in ("sourceId", "destId"):
            if field_any(edge, end) not in place:
                raise BadCase(f"edges: {end} {edge[end]}: no such node")
    boundaries = tuple(
        Boundary(
            source=place[edge["sourceId"]],
            target=place[edge["destId"]],
            bytes=float(field(edge, "communicationCost")),
        )
        for edge in edges
    )
    replications = tuple(
        Replication(
            data_parallel=degree,
            reduction_s_per_byte=4.0 * (degree - 1) / degree / bandwidth,
            reduction_latency_s=0.0,
            boundary_s_per_byte=1.0 / bandwidth,
            boundary_latency_s=0.0,
            optimizer_shards=1,
        )
        for degree in range(1, devices + 1)
    )
    return Variant(tensor_parallel=width, layers=layers, boundaries=boundaries, replications=replications)


def schedule_problem(case: Any) -> ScheduleProblem:
    """Return the problem of an operator graph, its tasks in a topological order."""
    nodes = field(case, "nodes", dict)
    before: dict[str, set[str]] = {name: set() for name in nodes}
    for edge in field(case, "edges", list):
        if (
            not isinstance(edge, list)
            or len(edge) != 2
            or any(not isinstance(end, str) or end not in nodes for end in edge)
        ):
            raise BadCase(f"edges: {edge!r:.60}: expected two names of nodes")
        before[edge[1]].add(edge[0])
    order: list[str] = []
    while len(order) < len(nodes):
        ready = [name for name in nodes if name not in order and before[name] <= set(order)]
        if not ready:
            raise BadCase("edges: a cycle; expected an acyclic graph")
        order += ready
    for name, node in nodes.items():
        if not isinstance(node, list) or len(node) != 3 or node[0] not in list(ENGINES):
            raise BadCase(f"nodes.{name}: {node!r:.60}: expected [TC, VC or TCandVC, seconds, seconds]")
        for place in (1, 2):
            field({f"nodes.{name}": node[place]}, f"nodes.{name}")
    return ScheduleProblem(
        graph=TaskGraph(
            engines=tuple(ENGINES[nodes[name][0]] for name in order),
            predecessors=tuple(tuple(sorted(order.index(other) for other in before[name])) for name in order),
        ),
        tensor_cores=positive(case, "num_tc", int),
        vector_cores=positive(case, "num_vc", int),
        single_s=tuple(float(nodes[name][1]) for name in order),
        whole_s=tuple(float(nodes[name][2]) for name in order),
    )
