"""Where the nodes of a layer graph go: columns from left to right, rows from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_LONGEST = 9  # nodes of a chain in one column


class NodePlace(NamedTuple):
    """Column and row of a node, from 0."""

    column: int
    row: int


def places(count: int, links: Sequence[tuple[int, int, int]]) -> list[NodePlace]:
    """Return a place for each of `count` nodes, which stand in topological order.

    links: (source, target, how many edges) of what depends on the samples. Skip connections that are nested make a
    U; a node whose output goes to most of those after it (an encoder's last) ends a column, and a node that takes
    nothing (a second tower's first) begins one; a long chain is broken into columns.
    """
    skips = sorted((source, target) for source, target, _ in links if target > source + 1)
    targets = [target for _, target in skips]
    sources = [source for source, _ in skips]
    nested = len(skips) > 1 and len(set(sources)) == len(sources) and targets == sorted(set(targets), reverse=True)
    if nested:
        return _u_shape(count, skips)
    begins = {node for node in range(1, count) if all(target != node for _, target, _ in links)}
    if hub := _hub(count, links):
        begins.add(hub + 1)
    if not begins and not skips and count > _LONGEST:
        height = -(-count // -(-count // _LONGEST))
        begins = set(range(height, count, height))
        return [NodePlace(number // height, number % height) for number in range(count)]
    return _columns(count, links, begins, hub)


def _hub(count: int, links: Sequence[tuple[int, int, int]]) -> int:
    """Return the node from which most edges go past the next node, if they reach half of those after it; else 0."""
    reached: dict[int, set[int]] = {}
    edges: dict[int, int] = {}
    for source, target, times in links:
        if target > source:
            reached.setdefault(source, set()).add(target)
            edges[source] = edges.get(source, 0) + times
    able = [
        node for node, found in reached.items() if node and len(found) > 1 and 2 * len(found) >= count - 1 - node > 1
    ]
    return max(able, key=lambda node: edges[node], default=0)


def _columns(count: int, links: Sequence[tuple[int, int, int]], begins: set[int], hub: int) -> list[NodePlace]:
    """Return places in columns that begin at these nodes, each below what it takes from, but for a hub."""
    found: list[NodePlace] = []
    for node in range(count):
        sources = [source for source, target, _ in links if target == node and source < node]
        if node in begins:
            found.append(NodePlace(found[-1].column + 1, 0))
        elif not node:
            found.append(NodePlace(0, 0))
        else:
            above = [found[source].row for source in sources if not hub or source != hub]
            found.append(NodePlace(found[-1].column, max([found[-1].row, *above]) + 1))
    return found


def _u_shape(count: int, skips: Sequence[tuple[int, int]]) -> list[NodePlace]:
    """Return places down the left column and up the right one, so that each skip connection is level."""
    left, right = skips[0]
    row = max(left, count - 1 - right)
    found = {node: NodePlace(0, row - (left - node)) for node in range(left)}
    found |= {node: NodePlace(1, row - (node - right)) for node in range(right + 1, count)}
    for number, (source, target) in enumerate(skips):
        found[source], found[target] = NodePlace(0, row), NodePlace(1, row)
        last = number == len(skips) - 1
        next_source, next_target = (target, source) if last else skips[number + 1]
        if last:
            found |= {node: NodePlace(0, row + node - source) for node in range(source + 1, target)}
            break
        found |= {node: NodePlace(0, row + node - source) for node in range(source + 1, next_source)}
        row += max(next_source - source, target - next_target)
        found |= {node: NodePlace(1, row - (node - next_target)) for node in range(next_target + 1, target)}
    return [found[node] for node in range(count)]
