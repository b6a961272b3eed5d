"""Bands of area and TDP: a box of chips is divided by what its chips take as by their sizes (docs/model-search.md,
"Bands").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hardplace.design.goals import Costs
from hardplace.ndtypes import BoolVector, Floats, Ints

_LESS = 1e-9  # of area and TDP of a box's corners, beyond which no chip of it is


class Band(NamedTuple):
    """What chips of a box take: more than `over` and at most `most`, in mm2 and W."""

    over_mm2: float = 0.0
    most_mm2: float = np.inf
    over_w: float = 0.0
    most_w: float = np.inf

    def doublings(self, place: int) -> float:
        """Return how wide the band is in area (0) or TDP (1)."""
        return float(np.log2(self[2 * place + 1] / self[2 * place]))

    def holds(self, costs: Costs) -> BoolVector:
        """Return which chips are of the band, shape (chips,)."""
        return np.asarray(
            (costs.area_mm2 > self.over_mm2)
            & (costs.area_mm2 <= self.most_mm2)
            & (costs.tdp_w > self.over_w)
            & (costs.tdp_w <= self.most_w)
        )

    def halves(self, place: int) -> tuple[Band, Band]:
        """Return the halves in area (0) or TDP (1), as a ratio."""
        over, most = self[2 * place], self[2 * place + 1]
        middle = float(np.sqrt(over * most))
        low, high = list(self), list(self)
        low[2 * place + 1] = high[2 * place] = middle
        return Band(*low), Band(*high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The band of each box, arrays over boxes.

    Attributes:
        over_mm2: Area that all chips exceed.
        most_mm2: Most area.
        over_w: TDP that all chips exceed.
        most_w: Most TDP.
    """

    over_mm2: Floats
    most_mm2: Floats
    over_w: Floats
    most_w: Floats

    def take(self, index: Ints | BoolVector) -> Bands:
        """Return the bands at these positions."""
        return Bands(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def cut(self, least: Costs, most: Costs) -> Bands:
        """Return the bands without what is below the lowest chip of each box, or above the highest."""
        return Bands(
            over_mm2=np.maximum(self.over_mm2, least.area_mm2 * (1.0 - _LESS)),
            most_mm2=np.minimum(self.most_mm2, most.area_mm2 * (1.0 + _LESS)),
            over_w=np.maximum(self.over_w, least.tdp_w * (1.0 - _LESS)),
            most_w=np.minimum(self.most_w, most.tdp_w * (1.0 + _LESS)),
        )

    def at(self, index: int) -> Band:
        """Return one of them."""
        return Band(*(float(getattr(self, name)[index]) for name in self.__dataclass_fields__))


def bands_of(rows: Sequence[Band]) -> Bands:
    """Return bands as columns."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Bands(over_mm2=columns[0], most_mm2=columns[1], over_w=columns[2], most_w=columns[3])
