"""The least seconds of one inference where an accelerator runs one piece: start, local search and exact by CP-SAT.

docs/model-split.md, "Latency through host memory". Coefficients are rounded down, so the bound holds; what a
split costs
is computed by the problem itself.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hardplace.graph_split.downset_programme import linear_orders
from hardplace.graph_split.groups import ContractedGraph, contracted
from hardplace.graph_split.solver import new_model, solve, whole_bytes
from hardplace.graph_split.staged import HOST, StagedProblem

_UNITS = 10_000_000
_WHOLE = 60  # groups x accelerators, in hundreds, up to which the whole model is solved at once


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySplit:
    """A split with the least latency that was found.

    Attributes:
        devices: Device of each node, HOST on the host.
        latency: Its latency, in the problem's unit of time.
        bound: Latency that no split with one piece an accelerator is below.
        seconds: Seconds of the search.
    """

    devices: tuple[int, ...]
    latency: float
    bound: float
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether no split is better, beyond rounding."""
        return self.latency <= self.bound * (1 + 1e-5)


def least_latency(problem: StagedProblem, *, limit_s: float = 60.0, seed: int = 1, gap: float = 0.0) -> LatencySplit:
    """Solve for the split with the least latency of one inference.

    Starts from the best line of pieces run one after the other, improves it by freeing the groups of some devices at
    a time, and solves the whole model in what is left of the time. Everything on the host is always a split.

    Args:
        problem: The graph with its accelerators and cores.
        limit_s: Seconds of the search.
        seed: Seed of the choice of devices that are freed.
        gap: Relative gap of rates at which it may stop.
    """
    began_s = time.monotonic()
    graph = contracted(problem, line=False)
    best = tuple(HOST for _ in problem.nodes)
    value = problem.latency(best)
    for devices in _lines(problem):
        latency = problem.latency(devices)
        if problem.check(devices) is None and latency < value:
            best, value = devices, latency
    bound = _path_bound(problem)
    ends_s = began_s + limit_s
    small = len(graph.members) * problem.accelerators <= _WHOLE * 100
    draw = random.Random(seed)
    share = 0.5 if small else 0.8
    while (left_s := began_s + share * limit_s - time.monotonic()) > 0.5 and value > bound * (1 + max(gap, 1e-9)):
        if small and problem.accelerators * len(graph.members) <= 1000:
            break
        free = _neighbourhood(problem, graph, best, draw)
        found, _ = _searched(problem, graph, best, value, free, min(left_s, 6.0))
        if found is not None and problem.check(found) is None and problem.latency(found) < value * (1 - 1e-9):
            best, value = found, problem.latency(found)
    left_s = ends_s - time.monotonic()
    if left_s > 0.05 and value > bound * (1 + gap):
        found, below = _searched(problem, graph, best, value, None, left_s, gap)
        bound = max(bound, below)
        if found is not None and problem.check(found) is None and problem.latency(found) < value:
            best, value = found, problem.latency(found)
    return LatencySplit(devices=best, latency=value, bound=min(bound, value), seconds=time.monotonic() - began_s)


def _path_bound(problem: StagedProblem) -> float:
    """Return the longest path where each operator takes what its faster kind takes."""
    ends = [0.0] * len(problem.nodes)
    for one in _topological(problem):
        node = problem.nodes[one]
        takes = min(node.cpu_s, node.accelerator_s) if node.on_accelerator else node.cpu_s
        ends[one] = max((ends[before] for before in problem.predecessors[one]), default=0.0) + takes
    return max(ends, default=0.0)


def _topological(problem: StagedProblem) -> list[int]:
    missing = [len(before) for before in problem.predecessors]
    order = [one for one, count in enumerate(missing) if count == 0]
    for one in order:
        for after in problem.successors[one]:
            missing[after] -= 1
            if missing[after] == 0:
                order.append(after)
    return order


def _lines(problem: StagedProblem) -> list[tuple[int, ...]]:
    """Return for each of a few linear orders the best cut into pieces on accelerators and stretches on the host."""
    graph = contracted(problem)
    nodes, count = problem.nodes, len(graph.members)
    home = {one: index for index, part in enumerate(graph.members) for one in part}
    found = []
    for order in linear_orders(graph):
        place = {group: index for index, group in enumerate(order)}
        spans: list[list[tuple[int, int, int, float]]] = [[] for _ in order]
        for one, node in enumerate(nodes):
            touched = sorted({place[home[one]], *(place[home[after]] for after in problem.successors[one])})
            for index in touched:
                spans[index].append((one, len(touched), touched[0], node.transfer_s))
        best = [[math.inf] * (problem.accelerators + 1) for _ in range(count + 1)]
        parent = [[(-1, 0)] * (problem.accelerators + 1) for _ in range(count + 1)]
        best[0][0] = 0.0
        for start in range(count):
            reached = [a for a in range(problem.accelerators + 1) if best[start][a] < math.inf]
            load = memory = cpu_s = moved = 0.0
            seen: dict[int, int] = {}
            allowed = True
            for stop in range(start + 1, count + 1):
                part = [nodes[one] for one in graph.members[order[stop - 1]]]
                load += sum(one.accelerator_s for one in part)
                cpu_s += sum(one.cpu_s for one in part)
                memory += sum(one.memory_bytes for one in part)
                allowed &= all(one.on_accelerator for one in part) and memory <= problem.accelerator_memory_bytes
                for tensor, touches, _, takes in spans[stop - 1]:
                    seen[tensor] = seen.get(tensor, 0) + 1
                    moved += (takes if seen[tensor] == 1 and touches > 1 else 0.0) - (
                        takes if seen[tensor] == touches and touches > 1 else 0.0
                    )
                for a in reached:
                    for after, takes in ((a + 1, load + moved if allowed else math.inf), (a, cpu_s)):
                        if after <= problem.accelerators and best[start][a] + takes < best[stop][after]:
                            best[stop][after] = best[start][a] + takes
                            parent[stop][after] = (start, a)
        used = min(range(problem.accelerators + 1), key=lambda a: best[count][a])
        devices = [HOST] * len(nodes)
        at = count
        while at > 0:
            start, before = parent[at][used]
            for position in range(start, at):
                for one in graph.members[order[position]]:
                    devices[one] = HOST if before == used else before
            at, used = start, before
        found.append(tuple(devices))
    return found


def _neighbourhood(
    problem: StagedProblem, graph: ContractedGraph, devices: Sequence[int], draw: random.Random
) -> set[int]:
    """Return groups to free: those of two devices that exchange tensors, thinned where they are many, or near one."""
    edges = [(a, b) for a, b in problem.edges if devices[a] != devices[b]]
    if edges and draw.random() < 0.7:
        a, b = draw.choice(edges)
        wanted = {devices[a], devices[b]}
        free = [index for index, part in enumerate(graph.members) if devices[part[0]] in wanted]
    else:
        root = draw.randrange(len(problem.nodes))
        near, ring = {root}, [root]
        while ring and len(near) < 80:
            ring = [x for one in ring for x in (*problem.successors[one], *problem.predecessors[one]) if x not in near]
            near |= set(ring)
        free = [index for index, part in enumerate(graph.members) if near & set(part)]
    if len(free) > 100:
        start = draw.randrange(len(free) - 100)
        free = free[start : start + 100]
    return set(free)


def _searched(
    problem: StagedProblem,
    graph: ContractedGraph,
    start: Sequence[int],
    upper: float,
    free: set[int] | None,
    limit_s: float,
    gap: float = 0.0,
) -> tuple[tuple[int, ...] | None, float]:
    """Return the devices that CP-SAT found, None if none, and its bound (0 where groups are fixed).

    free: groups that may move, None for all.
    """
    nodes = problem.nodes
    devices = [*range(problem.accelerators), HOST]
    scale = _UNITS / upper
    model = new_model()
    home = {one: index for index, part in enumerate(graph.members) for one in part}
    x: list[dict[int, Any]] = []
    for group, part in enumerate(graph.members):
        if free is not None and group not in free:
            x.append({device: int(start[part[0]] == device) for device in devices})
            continue
        x.append({device: model.new_bool_var("") for device in devices})
        model.add_exactly_one(x[-1].values())
        if any(not nodes[one].on_accelerator for one in part):
            model.add(x[-1][HOST] == 1)
    horizon = math.ceil(upper * scale * (1 + 1e-9)) + 1

    def units(value: float) -> int:
        return math.floor(value * scale)

    def moment() -> Any:
        return model.new_int_var(0, horizon, "")

    ends = [moment() for _ in nodes]
    paths = [moment() for _ in nodes]
    begins, finishes = [moment() for _ in devices[:-1]], [moment() for _ in devices[:-1]]
    most = moment()
    loads: list[list[Any]] = [[] for _ in devices[:-1]]
    held_bytes = [sum(nodes[one].memory_bytes for one in part) for part in graph.members]
    sizes, room = whole_bytes(held_bytes, problem.accelerator_memory_bytes, 1024.0)
    crossing: dict[tuple[int, int], tuple[Any, Any]] = {}  # groups of an edge -> enters, leaves an accelerator
    for device in devices[:-1]:
        held = []
        for group, part in enumerate(graph.members):
            here = x[group][device]
            loads[device].append(units(sum(nodes[one].accelerator_s for one in part)) * here)
            held.append(sizes[group] * here)
        model.add(sum(held) <= room)
    tensors: dict[tuple[int, tuple[int, ...]], float] = {}
    for one, node in enumerate(nodes):
        readers = tuple(sorted({home[after] for after in problem.successors[one]} - {home[one]}))
        if readers:
            tensors[home[one], readers] = tensors.get((home[one], readers), 0.0) + node.transfer_s
    inside: dict[tuple[int, int], list[tuple[Any, Any]]] = {}
    for (source, readers), takes in tensors.items():
        for device in devices[:-1]:
            cut = _new_bool(model, [x[source][device], *(x[reader][device] for reader in readers)])
            for reader in readers:
                apart_in, apart_out = x[reader][device] - x[source][device], x[source][device] - x[reader][device]
                if isinstance(apart_in, int) and isinstance(cut, int):
                    inside.setdefault((source, reader), []).append((max(0, apart_in), max(0, apart_out)))
                    continue
                model.add(cut >= apart_in)
                model.add(cut >= apart_out)
                pair = inside.setdefault((source, reader), [])
                if len(pair) <= device:
                    enters, leaves = model.new_bool_var(""), model.new_bool_var("")
                    model.add(enters >= apart_in)
                    model.add(leaves >= apart_out)
                    pair.append((enters, leaves))
            loads[device].append(units(takes) * cut)
    for edge, pairs in inside.items():
        unique = pairs[: problem.accelerators]
        crossing[edge] = (sum(one[0] for one in unique), sum(one[1] for one in unique))
    for device in devices[:-1]:
        model.add(finishes[device] >= begins[device] + sum(loads[device]))
        model.add(most >= finishes[device])
    for one, node in enumerate(nodes):
        mine = x[home[one]]
        accelerated = 1 - mine[HOST]
        takes = units(node.cpu_s) * mine[HOST] + units(node.accelerator_s) * accelerated
        model.add(most >= ends[one])
        model.add(ends[one] >= paths[one])
        model.add(paths[one] >= takes)
        _if(model, mine[HOST], ends[one] >= units(node.cpu_s))
        for device in devices[:-1]:
            _if(model, mine[device], ends[one] >= finishes[device])
        for before in problem.predecessors[one]:
            theirs = x[home[before]]
            enters, leaves = crossing.get((home[before], home[one]), (0, 0))
            moves = units(nodes[before].transfer_s)
            model.add(paths[one] >= paths[before] + takes + moves * enters + moves * leaves)
            _if(model, mine[HOST], ends[one] >= ends[before] + units(node.cpu_s))
            if home[before] == home[one]:
                continue
            for device in devices[:-1]:
                _if(model, mine[device], begins[device] >= ends[before], unless=theirs[device])
    if free is None:
        _in_order(model, graph, x, problem.accelerators)
    model.minimize(most)
    hint = {
        x[group][device]: int(start[part[0]] == device)
        for group, part in enumerate(graph.members)
        for device in devices
        if free is not None and group in free
    }
    if free is None:
        rank: dict[int, int] = {}
        for part in graph.members:
            if start[part[0]] != HOST:
                rank.setdefault(start[part[0]], len(rank))
        for group, part in enumerate(graph.members):
            for device in devices:
                hint[x[group][device]] = int(rank.get(start[part[0]], HOST) == device)
    solved = solve(model, limit_s, hint=hint, gap=gap / (1 + gap))
    bound = 0.0 if free is not None else upper if solved.impossible else max(0.0, solved.bound) / scale
    if solved.value is None:
        return None, bound
    found = [HOST] * len(nodes)
    for group, part in enumerate(graph.members):
        for device in devices:
            if solved.value(x[group][device]):
                for node_index in part:
                    found[node_index] = device
    return tuple(found), bound


def _new_bool(model: Any, literals: Sequence[Any]) -> Any:
    """Return a new Boolean, or whether the values differ where all of them are fixed."""
    if all(isinstance(one, int) for one in literals):
        return int(len(set(literals)) > 1)
    return model.new_bool_var("")


def _if(model: Any, literal: Any, constraint: Any, unless: Any = 0) -> None:
    """Add a constraint that holds where a literal is true and another is not; either may be a fixed 0 or 1."""
    if (isinstance(literal, int) and not literal) or (isinstance(unless, int) and unless):
        return
    wanted = ([] if isinstance(literal, int) else [literal]) + ([] if isinstance(unless, int) else [~unless])
    added = model.add(constraint)
    if wanted:
        added.only_enforce_if(wanted)


def _in_order(model: Any, graph: ContractedGraph, x: Sequence[dict[int, Any]], accelerators: int) -> None:
    """Number equal accelerators by their first group: none is used before the one before it."""
    used = [model.new_bool_var("") for _ in range(accelerators)]
    for one in used:
        model.add(one == 0)
    for row in x:
        now = [model.new_bool_var("") for _ in range(accelerators)]
        for device in range(accelerators):
            if device:
                model.add_implication(row[device], used[device - 1])
            model.add_implication(used[device], now[device])
            model.add_implication(row[device], now[device])
            model.add_bool_or(~now[device], used[device], row[device])
        used = now
