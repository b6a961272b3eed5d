"""Which chips of a cloud nothing smaller beats, and which to draw when there are too many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hardplace.ndtypes import Floats

Ints = npt.NDArray[np.intp]


def frontier(cost: Floats, value: Floats) -> Ints:
    """Return the positions of the points that no point of at most their cost reaches, by rising cost.

    Both have shape (points,). Of points equal in both the first counts; points that are not finite never do.
    """
    finite = np.flatnonzero(np.isfinite(cost) & np.isfinite(value))
    order = finite[np.lexsort((-value[finite], cost[finite]))]
    if not len(order):
        return order
    reached = np.maximum.accumulate(value[order])
    rises = np.concatenate([[True], reached[1:] > reached[:-1]])
    return np.asarray(order[rises])


def thin(cost: Floats, value: Floats, limit: int, keep: Ints) -> Ints:
    """Return at most `limit` finite positions, evenly spread over the points by cost, with all of `keep`.

    Even steps through the points in order of cost (then value) leave dense regions dense. More than `limit`
    are returned only where `keep` alone is more.
    """
    finite = np.flatnonzero(np.isfinite(cost) & np.isfinite(value))
    if len(finite) <= limit:
        return finite
    order = finite[np.lexsort((value[finite], cost[finite]))]
    others = max(0, limit - len(keep))
    steps = np.linspace(0, len(order) - 1, others).astype(np.intp)
    return np.union1d(order[steps], keep)
