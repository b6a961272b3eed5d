"""Downsets of a small directed graph, and whether it is connected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from hardplace.errors import BadInput


def downsets(predecessors: Sequence[Sequence[int]], most: int) -> npt.NDArray[np.bool_]:
    """Return all sets of nodes that hold the predecessors of their members, shape (downsets, nodes).

    The empty set is first, the whole graph last; subsets come before their supersets. On a chain they are its
    prefixes. Raises BadInput for a cyclic graph or one with more than `most` downsets.
    """
    count = len(predecessors)
    before = [sum({1 << other for other in others}) for others in predecessors]
    level, found = {0}, [0]
    for _ in range(count):
        level = {
            held | 1 << node
            for held in level
            for node in range(count)
            if not held >> node & 1 and before[node] & ~held == 0
        }
        found.extend(sorted(level))
        if len(found) > most:
            raise BadInput(
                f"graph of {count} nodes: more than {most} downsets; expected a chain or a graph close to one"
            )
    if not level:
        raise BadInput("graph: its edges form a cycle; expected an acyclic graph")
    return np.array([[bool(held >> node & 1) for node in range(count)] for held in found], dtype=bool)


def connected(count: int, edges: Iterable[tuple[int, int]]) -> bool:
    """Return whether a graph of so many nodes is in one piece, whichever way its edges go."""
    piece = list(range(count))
    for one, other in edges:
        kept, joined = piece[one], piece[other]
        piece = [kept if each == joined else each for each in piece]
    return len(set(piece)) <= 1
