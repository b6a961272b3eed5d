"""Fewer, larger operators: chains as one operator. What is lossless and what may lose: docs/model-split.md,
"Coarsening"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardplace.graph_split.types import GraphOperator, GraphTensor, SplitProblem

_HSDAG_SIZE = 4  # nodes of a group beyond which none is taken in


def chains(problem: SplitProblem, *, lossless: bool) -> list[list[int]]:
    """Return the operators in chains: a link is an operator's only reader that reads nothing else.

    Args:
        problem: The graph.
        lossless: Only where the second takes no time and no memory, is supported wherever the first is, belongs to no
            group, and gives no more than it reads, so that a best split exists in which both share a device.

    Returns:
        Indices of the operators of each chain, in order.
    """
    after: dict[int, int] = {}
    for one in range(len(problem.operators)):
        readers = {reader for tensor in problem.outputs[one] for reader in problem.tensors[tensor].readers}
        if len(readers) != 1 or len(problem.outputs[one]) != 1:
            continue
        (following,) = readers
        if len(problem.inputs[following]) != 1:
            continue
        if set(problem.operators[one].time_s) != set(problem.operators[following].time_s):
            continue
        if problem.operators[one].group != problem.operators[following].group:
            continue
        if not lossless or _free(problem, one, following):
            after[one] = following
    heads = [one for one in problem.order if one not in set(after.values())]
    found = []
    for head in heads:
        chain = [head]
        while chain[-1] in after:
            chain.append(after[chain[-1]])
        found.append(chain)
    return found


def _free(problem: SplitProblem, one: int, following: int) -> bool:
    """Return whether the second operator costs nothing where the first is."""
    second = problem.operators[following]
    given = sum(problem.tensors[tensor].size_bytes for tensor in problem.outputs[following])
    taken = problem.tensors[problem.outputs[one][0]].size_bytes
    return (
        second.memory_bytes == 0
        and second.group is None
        and problem.operators[one].group is None
        and all(second.time_s[kind] == 0 for kind in problem.operators[one].time_s)
        and given <= taken
        and len(problem.outputs[following]) <= 1
    )


def merged(problem: SplitProblem, parts: Sequence[Sequence[int]]) -> SplitProblem:
    """Return the problem with each chain as one operator.

    Args:
        problem: The graph.
        parts: Operators of each chain, in its order.
    """
    home = {one: index for index, part in enumerate(parts) for one in part}
    operators = []
    for part in parts:
        kinds = set.intersection(*(set(problem.operators[one].time_s) for one in part))
        operators.append(
            GraphOperator(
                name=problem.operators[part[0]].name,
                time_s={kind: sum(problem.operators[one].time_s[kind] for one in part) for kind in sorted(kinds)},
                memory_bytes=sum(problem.operators[one].memory_bytes for one in part),
                group=problem.operators[part[0]].group,
            )
        )
    tensors = []
    for tensor in problem.tensors:
        source = home[tensor.source]
        readers = tuple(sorted({home[reader] for reader in tensor.readers} - {source}))
        if readers:
            tensors.append(GraphTensor(source=source, readers=readers, size_bytes=tensor.size_bytes))
    return SplitProblem(
        name=problem.name, operators=tuple(operators), tensors=tuple(tensors), devices=problem.devices,
        links=problem.links,
    )  # fmt: skip


def lifted(parts: Sequence[Sequence[int]], devices: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the device of each operator from that of its chain.

    Args:
        parts: Operators of each chain.
        devices: Device of each chain.
        count: Number of operators.
    """
    found = [0] * count
    for part, device in zip(parts, devices, strict=True):
        for one in part:
            found[one] = device
    return tuple(found)


def hsdag_groups(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the group of each node as HSDAG's release coarsens a graph (nodes in topological order, edges by index).

    In order: a node that is in no group joins that of its only predecessor if it has less than 4 nodes, else opens one;
    its only successor joins too, if it reads nothing else and is in no group. Groups are trees, so what is left has
    no circle. Source: the rule of the release (hping666/HSDAG), known by its counts: docs/model-split.md, "Coarsening".
    """
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in dict.fromkeys(edges):
        before[target].append(source)
        after[source].append(target)
    home: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for node in range(count):
        if node not in home:
            only = before[node][0] if len(before[node]) == 1 else None
            open_group = only is not None and only in home and sizes[home[only]] < _HSDAG_SIZE
            home[node] = home[only] if only is not None and open_group else node
            sizes[home[node]] = sizes.get(home[node], 0) + 1
        if len(after[node]) == 1:
            (following,) = after[node]
            if len(before[following]) == 1 and following not in home:
                home[following] = home[node]
                sizes[home[node]] += 1
    return [home[node] for node in range(count)]


def held_together(problem: SplitProblem) -> SplitProblem:
    """Return the problem whose operators share a device by HSDAG's groups; those with a group of their own keep it,
    those that fewer devices support than others of their group (the data, on the first device) stay free.

    It may lose: no split of fewer groups is better than one of all operators.
    """
    place = {one: position for position, one in enumerate(problem.order)}
    edges = [(place[one.source], place[reader]) for one in problem.tensors for reader in one.readers]
    groups = hsdag_groups(len(problem.operators), sorted(edges))
    kinds: dict[int, set[str]] = {}
    for index, one in enumerate(problem.operators):
        kinds.setdefault(groups[place[index]], set()).update(one.time_s)
    operators = tuple(
        replace(one, group=f"coarse {groups[place[index]]}")
        if one.group is None and set(one.time_s) == kinds[groups[place[index]]]
        else one
        for index, one in enumerate(problem.operators)
    )
    return replace(problem, operators=operators)
