"""Ways to cut layers into stages: downsets of the layer graph, the least bottleneck over all partitions, and every
partition below a limit. Proofs: docs/model-placement.md, "Partitions"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hardplace.errors import BadInput
from hardplace.ndtypes import Bools, Floats

Cut = tuple[int, ...]  # a partition: the cut after each stage
MOST_DOWNSETS = 2048  # pairs of them are held as dense matrices


@dataclass(frozen=True, slots=True)
class Cuts:
    """Downsets of the layers, shape (downsets, layers), the empty one first and the whole last; of a chain: prefixes.

    valid: pairs (before, after) of which the first is a proper subset of the second: the stages.
    """

    members: Bools
    valid: Bools

    def between(self, values: Floats) -> Floats:
        """Return the sum of a value over the layers of each pair, (downsets, downsets); values: (layers,)."""
        total = self.members @ values
        return np.asarray(total[None, :] - total[:, None])

    def largest(self, values: Floats) -> Floats:
        """Return the largest of a value that is never negative over the layers of each pair."""
        found = np.zeros_like(self.valid, dtype=np.float64)
        for value in np.unique(values[values > 0]):
            inside = self.between((values == value).astype(np.float64)) > 0
            found[inside] = value
        return found


def cuts_of(layers: int, edges: Sequence[tuple[int, int]]) -> Cuts:
    """Return the cuts of a layer graph; edges (from, to), none for a chain. BadInput if there are too many."""
    if not edges:
        members = np.tri(layers + 1, layers, -1, dtype=bool)
        return Cuts(members, np.triu(np.ones((layers + 1, layers + 1), dtype=bool), 1))
    return graph_cuts(layers, edges, MOST_DOWNSETS)


def graph_cuts(layers: int, edges: Sequence[tuple[int, int]], most: int) -> Cuts:
    """Return the cuts of a layer graph, all subsets where it has no edges; BadInput if there are more than `most`."""
    return _graph_cuts(layers, tuple(edges), most)


@lru_cache(maxsize=4)  # a search asks for those of the same few graphs, thousands of times
def _graph_cuts(layers: int, edges: tuple[tuple[int, int], ...], most: int) -> Cuts:
    members = downsets([[a for a, b in edges if b == layer] for layer in range(layers)], most)
    inside = members.astype(np.float64)
    size = inside.sum(axis=1)
    return Cuts(members, (inside @ inside.T == size[:, None]) & (size[:, None] < size[None, :]))


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What stages cost as pairs of cuts, by stage, and the least bottleneck from each cut to the end.

    costs: inf where a stage is not allowed. to_go: (stages + 1, downsets).
    """

    costs: Sequence[Floats]
    to_go: Floats

    @property
    def least(self) -> float:
        """The least over all partitions of the largest cost of a stage; inf if none is allowed."""
        return float(self.to_go[0, 0])

    def best(self) -> tuple[int, ...]:
        """Return the cuts after each stage of one partition with the least bottleneck."""
        at, found = 0, []
        for stage, cost in enumerate(self.costs):
            at = int(np.argmin(np.maximum(cost[at], self.to_go[stage + 1])))
            found.append(at)
        return tuple(found)

    def useful(self, limit: float) -> Iterator[Bools]:
        """Yield, by stage, which pairs some partition with a bottleneck below the limit has."""
        start = np.full(self.to_go.shape[1], np.inf)
        start[0] = -np.inf
        for stage, cost in enumerate(self.costs):
            through = np.maximum(cost, start[:, None])
            yield np.maximum(through, self.to_go[stage + 1][None, :]) < limit
            start = through.min(axis=0)

    def count_below(self, limit: float) -> float:
        """Return how many partitions have a bottleneck below a limit."""
        ways = np.zeros(self.to_go.shape[1])
        ways[0] = 1.0
        for cost in self.costs:
            ways = ways @ (cost < limit)
        return float(ways[-1])

    def below(self, limit: float) -> Iterator[tuple[int, ...]]:
        """Yield every partition whose bottleneck is below a limit, the most promising branch first."""
        known: dict[tuple[int, int], list[int]] = {}  # of a cut after so many stages: cuts that may follow
        done: list[int] = []
        branches = [iter(self._following(0, 0, limit))]
        while branches:
            following = next(branches[-1], None)
            if following is None:
                branches.pop()
                if done:
                    done.pop()
            elif len(branches) == len(self.costs):
                yield (*done, following)
            else:
                done.append(following)
                here = len(done), following
                if here not in known:
                    known[here] = self._following(*here, limit)
                branches.append(iter(known[here]))

    def _following(self, stage: int, at: int, limit: float) -> list[int]:
        """Return the cuts after a stage that starts at a cut, of partitions below a limit, the most promising first."""
        value = np.maximum(self.costs[stage][at], self.to_go[stage + 1])
        within = np.flatnonzero(value < limit)
        found: list[int] = within[np.argsort(value[within], kind="stable")].tolist()
        return found


def bottleneck(costs: Sequence[Floats]) -> Bottleneck:
    """Return the least bottleneck from every cut, stage by stage from the end."""
    count = len(costs[0])
    to_go = np.full((len(costs) + 1, count), np.inf)
    to_go[-1, -1] = -np.inf
    for stage in range(len(costs) - 1, -1, -1):
        to_go[stage] = np.maximum(costs[stage], to_go[stage + 1][None, :]).min(axis=1)
    return Bottleneck(costs, to_go)


def downsets(predecessors: Sequence[Sequence[int]], most: int) -> Bools:
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
