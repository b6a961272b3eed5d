"""The least maximal load of a graph on equal accelerators and cores, any shape of split, by CP-SAT.

docs/model-split.md, "Maximal load as a constraint model". Coefficients are rounded down, so the bound holds; what a
split costs is computed by the problem itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hardplace.graph_split.downset_programme import OrderedSplit, ordered_split
from hardplace.graph_split.groups import ContractedGraph, contracted
from hardplace.graph_split.solver import new_model, solve, whole_bytes
from hardplace.graph_split.staged import SplitShape, StagedProblem

_UNITS = 10_000_000  # steps of the objective that the value to start from has
PROVEN = 1e-6  # relative: what rounding the coefficients down leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSplit:
    """A split with the least maximal load that was found.

    Attributes:
        devices: Device of each node.
        load: Its greatest load, in the problem's unit of time.
        bound: Load that no split of the shape is below.
        shape: The shape.
        seconds: Seconds of the search.
    """

    devices: tuple[int, ...]
    load: float
    bound: float
    shape: SplitShape
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether no split of the shape is better, beyond rounding."""
        return self.load <= self.bound * (1 + PROVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShortage:
    """No split of the shape was found within the memories; proven: whether none exists."""

    proven: bool


def least_load(
    problem: StagedProblem, shape: SplitShape, *, limit_s: float = 60.0, gap: float = 0.0
) -> LoadSplit | LoadShortage:
    """Solve for the split of a shape with the least maximal load.

    ORDERED: the downset programme, and the constraint model where there are too many downsets. CONVEX and ANY start
    from the ordered split, so that they are never above it.

    Args:
        problem: The graph with its accelerators and cores.
        shape: What a device may hold.
        limit_s: Seconds of the search.
        gap: Relative gap of rates at which it may stop.

    Returns:
        The split with its bound; or whether the memory admits none.

    Source: the semantics are those of dnn-partitioning (Tarnawski et al. 2020), docs/model-split.md.
    """
    began_s = time.monotonic()
    start = ordered_split(problem, limit_s=limit_s)
    if shape is SplitShape.ORDERED and start is not None and start.exact:
        return LoadSplit(
            devices=start.devices, load=start.load, bound=start.load, shape=shape, seconds=time.monotonic() - began_s
        )
    bound = fractional_bound(problem)
    devices = None
    if start is None or start.load > bound * (1 + gap):
        left_s = max(0.05 if start is not None else 1.0, limit_s - (time.monotonic() - began_s))
        devices, below = _searched(problem, shape, start, left_s, gap)
        bound = max(bound, below)
    best = start.devices if start is not None else None
    if devices is not None and problem.check(devices) is None:
        fits = shape is not SplitShape.CONVEX or problem.convex(devices)
        if fits and (start is None or problem.max_load(devices) < start.load):
            best = devices
    if best is None:
        return LoadShortage(proven=math.isinf(bound))
    load = problem.max_load(best)
    return LoadSplit(devices=best, load=load, bound=min(bound, load), shape=shape, seconds=time.monotonic() - began_s)


def fractional_bound(problem: StagedProblem) -> float:
    """Return a bound of the greatest load: operators divided at will between the two kinds, nothing moved.

    The least T with accelerators x T and cores x T of time for all work, by taking to the accelerators first what gains
    most (the fractional knapsack); found by bisection on T.
    """
    work = [
        (node.cpu_s, node.accelerator_s if node.on_accelerator else math.inf)
        for node in problem.nodes
        if node.cpu_s > 0 or node.accelerator_s > 0
    ]
    work.sort(key=lambda pair: pair[0] / pair[1] if 0 < pair[1] < math.inf else (math.inf if pair[1] == 0 else 0.0))

    def enough(seconds: float) -> bool:
        room = seconds * problem.cpu_cores
        accelerator = 0.0
        for cpu_s, accelerator_s in work:  # to the cores first what the accelerators gain least on
            taken = 1.0 if cpu_s <= room else room / cpu_s
            room = max(0.0, room - taken * cpu_s)
            if taken < 1.0:
                accelerator += (1.0 - taken) * accelerator_s
        return accelerator <= seconds * problem.accelerators

    low, high = 0.0, sum(min(pair) for pair in work) + sum(pair[0] for pair in work)
    if not enough(high):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low


def _searched(
    problem: StagedProblem, shape: SplitShape, start: OrderedSplit | None, limit_s: float, gap: float
) -> tuple[tuple[int, ...] | None, float]:
    """Return the devices that CP-SAT found, None if no better, and its bound; inf where it proves that none fits."""
    graph = contracted(problem, line=shape is SplitShape.ORDERED)
    nodes = problem.nodes
    devices = problem.accelerators + problem.cpu_cores
    upper = start.load if start is not None else _most(problem)
    if upper <= 0.0:
        return None, 0.0
    scale = _UNITS / upper

    def units(value: float) -> int:
        return math.floor(value * scale)

    model = new_model()
    x = [[model.new_bool_var("") for _ in range(devices)] for _ in graph.members]
    for row in x:
        model.add_exactly_one(row)
    most = model.new_int_var(0, math.ceil(upper * scale * (1 + 1e-9)), "")
    tensors = _tensors(problem, graph)
    core_at = _positions(model, problem, devices) if shape is SplitShape.ORDERED else None
    held_bytes = [sum(nodes[one].memory_bytes for one in part) for part in graph.members]
    sizes, room = whole_bytes(held_bytes, problem.accelerator_memory_bytes, 1024.0)
    loads = []
    for device in range(devices):
        on_accelerator: list[Any] = []
        on_core: list[Any] = []
        held: list[Any] = []
        for group, part in enumerate(graph.members):
            here = x[group][device]
            on_accelerator.append(units(sum(nodes[one].accelerator_s for one in part)) * here)
            on_core.append(units(sum(nodes[one].cpu_s for one in part)) * here)
            held.append(sizes[group] * here)
        barred = [g for g, part in enumerate(graph.members) if any(not nodes[one].on_accelerator for one in part)]
        if core_at is None and device >= problem.accelerators:
            model.add(sum(on_core) <= most)
            loads.append(sum(on_core))
            continue
        for (touched, source), value in tensors.items():
            cut = model.new_bool_var("")
            for group in touched:
                model.add(cut >= x[source][device] - x[group][device])
                model.add(cut >= x[group][device] - x[source][device])
            on_accelerator.append(units(value) * cut)
        if core_at is None:
            model.add(sum(on_accelerator) <= most)
            model.add(sum(held) <= room)
            for group in barred:
                model.add(x[group][device] == 0)
            loads.append(sum(on_accelerator))
        else:
            core = core_at[device]
            model.add(sum(on_accelerator) <= most).only_enforce_if(~core)
            model.add(sum(held) <= room).only_enforce_if(~core)
            model.add(sum(on_core) <= most).only_enforce_if(core)
            for group in barred:
                model.add_implication(x[group][device], core)
    if core_at is not None:
        _in_line(model, graph, x, devices)
    else:
        for kind in (range(problem.accelerators), range(problem.accelerators, devices)):
            for one in list(kind)[1:]:
                model.add(loads[one - 1] >= loads[one])  # equal devices, in one order
    if shape is SplitShape.CONVEX:
        _convex(model, problem, graph, x, devices)
    model.minimize(most)
    hint = {}
    if start is not None and core_at is None:
        order = _by_load(problem, start.devices)
        for group, part in enumerate(graph.members):
            for device in range(devices):
                hint[x[group][device]] = int(order[start.devices[part[0]]] == device)
    solved = solve(model, limit_s, hint=hint, gap=gap / (1 + gap))
    if solved.impossible and start is None:
        return None, math.inf
    bound = upper if solved.impossible else max(0.0, solved.bound) / scale
    if solved.value is None:
        return None, bound
    found = [0] * len(nodes)
    names = _names(solved.value, core_at, problem) if core_at is not None else list(range(devices))
    for group, part in enumerate(graph.members):
        device = next(one for one in range(devices) if solved.value(x[group][one]))
        for node in part:
            found[node] = names[device]
    return tuple(found), bound


def _most(problem: StagedProblem) -> float:
    """Return a load that no device of any split exceeds."""
    return sum(max(n.cpu_s, n.accelerator_s if n.on_accelerator else 0.0) + n.transfer_s for n in problem.nodes)


def _tensors(problem: StagedProblem, graph: ContractedGraph) -> dict[tuple[tuple[int, ...], int], float]:
    """Return (groups that read an output, its own group) -> what moving it takes; equal ones summed."""
    home = {one: index for index, part in enumerate(graph.members) for one in part}
    found: dict[tuple[tuple[int, ...], int], float] = {}
    for one, node in enumerate(problem.nodes):
        source = home[one]
        touched = tuple(sorted({home[reader] for reader in problem.successors[one]} - {source}))
        if touched and node.transfer_s > 0:
            found[touched, source] = found.get((touched, source), 0.0) + node.transfer_s
    return found


def _positions(model: Any, problem: StagedProblem, devices: int) -> list[Any]:
    """Return for each place in the line whether a core is there."""
    core_at = [model.new_bool_var("") for _ in range(devices)]
    model.add(sum(core_at) == problem.cpu_cores)
    return core_at


def _in_line(model: Any, graph: ContractedGraph, x: Sequence[Sequence[Any]], devices: int) -> None:
    """Let no edge go back in the line: who is at most at p has its predecessors there."""
    reached = []
    for row in x:
        up_to = [model.new_bool_var("") for _ in range(devices)]
        for place in range(devices):
            model.add(up_to[place] == sum(row[: place + 1]))
        reached.append(up_to)
    for source, target in graph.edges:
        for place in range(devices):
            model.add_implication(reached[target][place], reached[source][place])


def _convex(
    model: Any, problem: StagedProblem, graph: ContractedGraph, x: Sequence[Sequence[Any]], devices: int
) -> None:
    """Let a forward operator with one before it and one after it on a device be there itself."""
    home = {one: index for index, part in enumerate(graph.members) for one in part}
    forward = [one for one, node in enumerate(problem.nodes) if not node.backward]
    for device in range(devices):
        behind = {one: model.new_bool_var("") for one in forward}
        ahead = {one: model.new_bool_var("") for one in forward}
        for one in forward:
            here = x[home[one]][device]
            model.add_implication(here, behind[one])
            model.add_implication(here, ahead[one])
            model.add_bool_or(~behind[one], ~ahead[one], here)
        for source, target in problem.edges:
            if source in behind and target in behind:
                model.add_implication(behind[source], behind[target])
                model.add_implication(ahead[target], ahead[source])


def _by_load(problem: StagedProblem, devices: Sequence[int]) -> dict[int, int]:
    """Return each device's place among its equals by falling load."""
    found = {}
    for kind in (range(problem.accelerators), range(problem.accelerators, problem.accelerators + problem.cpu_cores)):
        held = {one: [node for node, where in enumerate(devices) if where == one] for one in kind}
        loads = {one: problem.load(held[one], accelerator=one < problem.accelerators) for one in kind}
        for place, one in zip(kind, sorted(kind, key=lambda device: -loads[device]), strict=True):
            found[one] = place
    return found


def _names(value: Any, core_at: Sequence[Any], problem: StagedProblem) -> list[int]:
    """Return the device at each place of the line."""
    found, accelerators, cores = [], 0, problem.accelerators
    for core in core_at:
        if value(core):
            found.append(cores)
            cores += 1
        else:
            found.append(accelerators)
            accelerators += 1
    return found
