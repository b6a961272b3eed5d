"""Operators that share a device, as one: groups joined along circles, and the order that is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardplace.graph_split.staged import StagedProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractedGraph:
    """Groups of operators that share a device, as a graph without circles.

    Attributes:
        members: Operators of each group, in an order in which groups follow their predecessors.
        edges: Edges of the order, (from, to) by index of groups.
    """

    members: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, int], ...]


def contracted(problem: StagedProblem, *, line: bool = True) -> ContractedGraph:
    """Return a problem's groups in the order of its forward part; `line`: joined so that devices can stand in a line.

    Edges of the forward part order the groups. A group of backward operators alone follows its neighbours as their
    gradients do: an edge of the backward part with one end in such a group counts in the other direction. Groups in a
    circle cannot be apart in a line of devices and become one.
    """
    number: dict[int, int] = {}
    for node in problem.nodes:
        number.setdefault(node.group, len(number))
    nodes = problem.nodes
    forward = {node.group for node in nodes if not node.backward}
    edges: set[tuple[int, int]] = set()
    for source, target in problem.edges:
        a, b = nodes[source], nodes[target]
        if a.group == b.group:
            continue
        if not a.backward and not b.backward:
            edges.add((number[a.group], number[b.group]))
        elif a.backward and b.backward and not (a.group in forward and b.group in forward):
            edges.add((number[b.group], number[a.group]))
    joined = components(len(number), edges) if line else [[group] for group in range(len(number))]
    home = {group: index for index, part in enumerate(joined) for group in part}
    members: list[list[int]] = [[] for _ in joined]
    for index, node in enumerate(nodes):
        members[home[number[node.group]]].append(index)
    return ContractedGraph(
        members=tuple(map(tuple, members)),
        edges=tuple(sorted({(home[a], home[b]) for a, b in edges if home[a] != home[b]})),
    )


def components(count: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the strongly connected components of a graph in topological order.

    Args:
        count: Number of nodes.
        edges: (from, to) by index of nodes.

    Source: Tarjan 1972, without recursion.
    """
    after: list[list[int]] = [[] for _ in range(count)]
    for source, target in sorted(edges):
        after[source].append(target)
    order = [-1] * count
    low = [0] * count
    stacked = [False] * count
    stack: list[int] = []
    found: list[list[int]] = []
    clock = 0
    for root in range(count):
        if order[root] >= 0:
            continue
        work = [(root, 0)]
        while work:
            one, position = work.pop()
            if position == 0:
                order[one] = low[one] = clock
                clock += 1
                stack.append(one)
                stacked[one] = True
            for offset in range(position, len(after[one])):
                other = after[one][offset]
                if order[other] < 0:
                    work += [(one, offset + 1), (other, 0)]
                    break
                if stacked[other]:
                    low[one] = min(low[one], order[other])
            else:
                if low[one] == order[one]:
                    part: list[int] = []
                    while not part or part[-1] != one:
                        part.append(stack.pop())
                        stacked[part[-1]] = False
                    found.append(sorted(part))
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[one])
    return found[::-1]


def circle(count: int, edges: Sequence[tuple[int, int]]) -> list[int] | None:
    """Return the nodes of one circle of a graph, in order; None where it has none.

    Args:
        count: Number of nodes.
        edges: (from, to) by index of nodes.
    """
    loops = [[source] for source, target in edges if source == target]
    return next((part for part in [*loops, *components(count, edges)] if len(part) > 1 or part in loops), None)
