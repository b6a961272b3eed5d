"""Bands of TDP: a box of chips is divided by what its chips take as by their sizes (docs/model-search.md, "Bands")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hardplace.design.goals import Costs
from hardplace.ndtypes import BoolVector, Floats

_LESS = 1e-9  # of the TDP of a box's corners, beyond which no chip of it is


class Band(NamedTuple):
    """The TDP of chips of a box, in W: more than `over_w` and at most `most_w`."""

    over_w: float = 0.0
    most_w: float = np.inf

    @property
    def doublings(self) -> float:
        """Return how wide the band is."""
        return float(np.log2(self.most_w / self.over_w))

    def holds(self, costs: Costs) -> BoolVector:
        """Return which chips are of the band, shape (chips,)."""
        return np.asarray((costs.tdp_w > self.over_w) & (costs.tdp_w <= self.most_w))

    def halves(self) -> tuple[Band, Band]:
        """Return the halves, as a ratio."""
        middle_w = float(np.sqrt(self.over_w * self.most_w))
        return Band(self.over_w, middle_w), Band(middle_w, self.most_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The band of each box, arrays over boxes.

    Attributes:
        over_w: TDP that all chips exceed.
        most_w: Most TDP.
    """

    over_w: Floats
    most_w: Floats

    def cut(self, least: Costs, most: Costs) -> Bands:
        """Return the bands without what is below the lowest chip of each box, or above the highest."""
        return Bands(
            over_w=np.maximum(self.over_w, least.tdp_w * (1.0 - _LESS)),
            most_w=np.minimum(self.most_w, most.tdp_w * (1.0 + _LESS)),
        )

    def at(self, index: int) -> Band:
        """Return one of them."""
        return Band(float(self.over_w[index]), float(self.most_w[index]))


def bands_of(rows: Sequence[Band]) -> Bands:
    """Return bands as columns."""
    over_w, most_w = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    return Bands(over_w=over_w, most_w=most_w)
