"""Small random graphs and every split of them: the oracles of graph_split, written from the definitions alone."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from hardplace.graph_split.staged import HOST, StagedNode, StagedProblem
from hardplace.graph_split.types import (
    GraphOperator,
    GraphTensor,
    SplitDevice,
    SplitLink,
    SplitProblem,
)


def staged_graph(seed: int, *, training: bool = False) -> StagedProblem:
    """Return a graph of 3 to 6 forward operators, some in groups, some not for accelerators, some with gradients."""
    draw = random.Random(seed)
    count = draw.randint(3, 5 if training else 6)
    edges = [(a, b) for a, b in itertools.combinations(range(count), 2) if draw.random() < 0.45]
    group = [one if draw.random() < 0.8 or one == 0 else one - 1 for one in range(count)]
    nodes = []
    for one in range(count):
        nodes.append((group[one], False))
    if training:
        for one in range(count):
            nodes.append((group[one] if draw.random() < 0.8 else count + one, True))
        edges += [(count + b, count + a) for a, b in edges] + [(one, count + one) for one in range(count)]
    return StagedProblem(
        name=f"random-{seed}",
        nodes=tuple(
            StagedNode(
                name=str(index), group=where, on_accelerator=draw.random() < 0.9, backward=backward,
                cpu_s=draw.randint(0, 60), accelerator_s=draw.randint(0, 12), memory_bytes=1024.0 * draw.randint(0, 4),
                transfer_s=draw.choice([0, 1, 2, 5]),
            )
            for index, (where, backward) in enumerate(nodes)
        ),
        edges=tuple(edges),
        accelerators=draw.randint(1, 2),
        accelerator_memory_bytes=1024.0 * draw.randint(4, 14),
        cpu_cores=1,
    )  # fmt: skip


def staged_splits(problem: StagedProblem, *, host: bool) -> Iterator[list[int]]:
    """Yield every valid split; host: operators elsewhere are on a host without limit, else on the cores."""
    devices = [
        *range(problem.accelerators),
        *([HOST] if host else range(problem.accelerators, problem.accelerators + 1)),
    ]
    groups = sorted({node.group for node in problem.nodes})
    for choice in itertools.product(devices, repeat=len(groups)):
        where = dict(zip(groups, choice, strict=True))
        split = [where[node.group] for node in problem.nodes]
        if problem.check(split) is None:
            yield split


def in_a_line(problem: StagedProblem, split: list[int]) -> bool:
    """Return whether the devices can stand in a line that no forward edge goes back in.

    Edges of the backward part between a group without a forward operator and another count in the other direction.
    """
    nodes = problem.nodes
    forward = {node.group for node in nodes if not node.backward}
    pairs = set()
    for a, b in problem.edges:
        if not nodes[a].backward and not nodes[b].backward:
            pairs.add((split[a], split[b]))
        elif nodes[a].backward and nodes[b].backward and not {nodes[a].group, nodes[b].group} <= forward:
            pairs.add((split[b], split[a]))
    used = sorted(set(split))
    return any(all(line.index(a) <= line.index(b) for a, b in pairs) for line in itertools.permutations(used))


def unlike_graph(seed: int) -> SplitProblem:
    """Return a graph of 3 or 4 operators on 2 devices with queued links."""
    draw = random.Random(seed)
    count = draw.randint(3, 4)
    edges = [(a, b) for a, b in itertools.combinations(range(count), 2) if draw.random() < 0.6]
    readers: dict[int, list[int]] = {}
    for a, b in edges:
        readers.setdefault(a, []).append(b)
    return SplitProblem(
        name=f"random-{seed}",
        operators=tuple(
            GraphOperator(
                name=str(one), memory_bytes=draw.randint(0, 3), group="g" if draw.random() < 0.2 else None,
                time_s={"cpu": draw.randint(0, 9), "gpu": draw.randint(0, 5)} if draw.random() < 0.9 else {"cpu": 4},
            )
            for one in range(count)
        ),
        tensors=tuple(
            GraphTensor(source=a, readers=tuple(b), size_bytes=draw.randint(0, 4)) for a, b in readers.items()
        ),
        devices=(
            SplitDevice(name="cpu", kind="cpu"), SplitDevice(name="gpu", kind="gpu", memory_bytes=draw.randint(2, 9)),
        ),
        links=tuple(
            SplitLink(
                source=a, target=1 - a, bytes_per_s=1.0, latency_s=draw.choice([0, 1]), queued=draw.random() < 0.8
            )
            for a in (0, 1)
        ),
    )  # fmt: skip


def least_makespan(problem: SplitProblem) -> float:
    """Return the least makespan over every placement and every order of operators and transfers."""
    best = math.inf
    for devices in itertools.product(range(len(problem.devices)), repeat=len(problem.operators)):
        held = [0.0] * len(problem.devices)
        for one, device in enumerate(devices):
            held[device] += problem.operators[one].memory_bytes
        if any(size > device.memory_bytes for size, device in zip(held, problem.devices, strict=True)):
            continue
        if any(problem.times[one][device] == math.inf for one, device in enumerate(devices)):
            continue
        if any(len({devices[one] for one in group}) > 1 for group in problem.groups):
            continue
        moves = {
            (index, devices[reader])
            for index, tensor in enumerate(problem.tensors)
            for reader in tensor.readers
            if devices[reader] != devices[tensor.source]
        }
        best = min(best, _ordered(problem, devices, moves, {}, {}, 0.0, best))
    return best


def _ordered(problem, devices, moves, done, free, end_s, best):  # type: ignore[no-untyped-def]
    """Return the least makespan from here on, each item as early as it can."""
    if end_s >= best:
        return best
    todo = [one for one in range(len(problem.operators)) if one not in done] + [one for one in moves if one not in done]
    if not todo:
        return end_s
    for item in todo:
        if isinstance(item, int):
            needs = [
                problem.tensors[t].source if devices[problem.tensors[t].source] == devices[item] else (t, devices[item])
                for t in problem.inputs[item]
            ]
            queue, takes = devices[item], problem.times[item][devices[item]]
        else:
            source = problem.tensors[item[0]].source
            needs, link = [source], (devices[source], item[1])
            queue = link if problem.link_of[link].queued else None
            takes = problem.move_s(item[0], *link)
        if any(one not in done for one in needs):
            continue
        start = max([done[one] for one in needs] + [free.get(queue, 0.0) if queue is not None else 0.0])
        after = dict(free)
        if queue is not None:
            after[queue] = start + takes
        best = _ordered(problem, devices, moves, {**done, item: start + takes}, after, max(end_s, start + takes), best)
    return best


def least_busiest(problem: SplitProblem) -> float:
    """Return the least time of the busiest device or queued link over every placement."""
    best = math.inf
    for devices in itertools.product(range(len(problem.devices)), repeat=len(problem.operators)):
        held = [0.0] * len(problem.devices)
        busy = [0.0] * len(problem.devices)
        for one, device in enumerate(devices):
            held[device] += problem.operators[one].memory_bytes
            busy[device] += problem.times[one][device]
        if any(size > device.memory_bytes for size, device in zip(held, problem.devices, strict=True)):
            continue
        if any(len({devices[one] for one in group}) > 1 for group in problem.groups):
            continue
        for a, b in problem.link_of:
            if problem.link_of[a, b].queued:
                busy.append(
                    sum(
                        problem.move_s(index, a, b)
                        for index, tensor in enumerate(problem.tensors)
                        if devices[tensor.source] == a and any(devices[reader] == b for reader in tensor.readers)
                    )
                )
        best = min(best, max(busy))
    return best


def series_graph(seed: int) -> SplitProblem:
    """Return a graph whose first, middle and last operator run on one device alone, two others between each pair."""
    draw = random.Random(seed)
    small = unlike_graph(seed)
    times = [{"cpu": draw.randint(1, 9), "gpu": draw.randint(1, 5)} for _ in range(7)]
    for one in (0, 3, 6):
        del times[one][draw.choice(["cpu", "gpu"])]
    readers = {0: (1, 2), 1: (3,), 2: (3,), 3: (4, 5), 4: (6,), 5: (6,)}
    if draw.random() < 0.3:
        readers[1] = (2, 3)
    if draw.random() < 0.3:
        readers[2] = (3, 6)  # passes by the middle
    return SplitProblem(
        name=f"series-{seed}",
        operators=tuple(GraphOperator(name=str(one), time_s=row, memory_bytes=1.0) for one, row in enumerate(times)),
        tensors=tuple(
            GraphTensor(source=one, readers=to, size_bytes=draw.randint(0, 3)) for one, to in readers.items()
        ),
        devices=(SplitDevice(name="cpu", kind="cpu"), SplitDevice(name="gpu", kind="gpu", memory_bytes=6)),
        links=small.links,
    )


def least_of_requests(problem: SplitProblem, requests: int) -> float:
    """Return the least end of so many requests that are there at 0, over placements of the operators and orders of
    events: each operator and each transfer once for each request, weights once."""
    best = math.inf
    operators, devices = range(len(problem.operators)), range(len(problem.devices))
    for home in itertools.product(devices, repeat=len(operators)):
        held = [sum(problem.operators[v].memory_bytes for v in operators if home[v] == d) for d in devices]
        if any(size > device.memory_bytes for size, device in zip(held, problem.devices, strict=True)):
            continue
        if any(problem.times[v][home[v]] == math.inf for v in operators):
            continue
        if any(len({home[v] for v in group}) > 1 for group in problem.groups):
            continue
        moved = {
            (x, home[v]) for x, tensor in enumerate(problem.tensors) for v in tensor.readers
            if home[v] != home[tensor.source]
        }  # fmt: skip
        events = [(r, what) for r in range(requests) for what in (*operators, *moved)]

        def least(ended, busy, now, limit, home=home, events=events):  # type: ignore[no-untyped-def]
            if now >= limit:
                return limit
            if len(ended) == len(events):
                return now
            for r, what in events:
                if (r, what) in ended or any((e, what) not in ended for e in range(r)):
                    continue  # requests are alike: each event in their order
                if isinstance(what, int):
                    waits = [
                        ended.get((r, source if home[source] == home[what] else (x, home[what])), math.inf)
                        for x, tensor in enumerate(problem.tensors) if what in tensor.readers
                        for source in (tensor.source,)
                    ]  # fmt: skip
                    server, takes = home[what], problem.times[what][home[what]]
                else:
                    source = problem.tensors[what[0]].source
                    link = problem.link_of[home[source], what[1]]
                    waits = [ended.get((r, source), math.inf)]
                    server = (home[source], what[1]) if link.queued else None
                    takes = link.latency_s + problem.tensors[what[0]].size_bytes / link.bytes_per_s
                start = max([0.0 if server is None else busy.get(server, 0.0), *waits])
                if start == math.inf:
                    continue
                end = start + takes
                after = busy if server is None else {**busy, server: end}
                limit = least({**ended, (r, what): end}, after, max(now, end), limit)
            return limit

        best = least({}, {}, 0.0, best)
    return best
