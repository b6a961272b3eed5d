"""Shared weights by stage, as arrays over pairs of cuts (docs/model-placement.md, "Partitions")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardplace.ndtypes import Bools, Floats, Ints
from hardplace.workload.weights import SharedWeights


class StageSharing:
    """How many of the layers that share a weight each stage has, array of shape (groups, stages).

    Built from the downsets of the layers and, for each stage, the cuts before and after it.
    """

    def __init__(self, shared: Sequence[SharedWeights], members: Bools, low: Ints, high: Ints) -> None:
        self._shared = shared
        total = often([one.layers for one in shared], members.shape[1]) @ members.T
        self.held = total[:, high] - total[:, low]

    def twice(self, name: str) -> Floats:
        """Return what each stage's layers count more than once (`surplus`), of one kind of weight."""
        sizes = np.array([getattr(one.sizes, name) for one in self._shared], dtype=np.float64)
        return np.asarray(sizes @ np.maximum(0.0, self.held - 1.0))

    def tied_s(self, seconds: Sequence[float], chosen: Ints) -> Floats:
        """Return the seconds that the chosen stages spend on reducing weights that they share with others
        (`ties_s`).
        """
        held = self.held[:, chosen]
        every = np.array([len(one.layers) for one in self._shared]).reshape(-1, 1)
        return np.asarray(np.array(seconds) @ ((held > 0) & (held < every)))

    def marks(self, marks: Ints, chosen: Ints) -> Ints:
        """Return sums that tell apart what the chosen stages count more than once, from a number for each weight."""
        again = np.maximum(0.0, self.held[:, chosen] - 1.0).astype(np.int64)
        return np.asarray((marks.reshape(-1, 1) * again).sum(axis=0))


def often(groups: Sequence[tuple[int, ...]], layers: int) -> Floats:
    """Return how often each of so many layers is in each group, shape (groups, layers)."""
    found = np.zeros((len(groups), layers))
    for row, one in zip(found, groups, strict=True):
        np.add.at(row, list(one), 1.0)
    return found
