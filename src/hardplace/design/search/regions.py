"""Refinement of a box of chips: smaller boxes with their bounds, or, of a small one, its chips with theirs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hardplace.branch_and_bound.front import Scores
from hardplace.design.search.candidates import BoxCandidate, ChipBlock
from hardplace.design.search.scoring import Scoring, scores_of
from hardplace.design.search.sections import tightened
from hardplace.hardware.space import AXES, Box, ChipSpace, corners
from hardplace.hardware.types import Chips
from hardplace.ndtypes import Floats, Ints

_LEAF = 64  # chips of a box that are looked at one by one
_PARTS = 128  # boxes that one is divided into at a time
_BLOCKS = (64, 256, 1024)  # chips refined together: few at first, to reach something; then enough to vectorise
# How much a doubling along each axis matters, to choose where to divide: a buffer's size less than a rate, the clock
# more, for the voltage rises with it.
_WEIGHTS = {"buffer_bytes": 0.3, "clock_hz": 4.0}
# Where sides and clock are given, limits bound the rest best (search.ceilings).
_FIRST = {"array_rows": 100.0, "array_columns": 100.0, "clock_hz": 100.0}
ALIKE = np.array([_WEIGHTS.get(axis, 1.0) for axis in AXES])
BY_LIMITS = ALIKE * [_FIRST.get(axis, 1.0) for axis in AXES]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The result of refining a box.

    Attributes:
        left: Boxes or blocks that may matter, with their scores.
        beyond: Number of chips beyond the limits.
        hopeless: Number of chips that were pruned.
    """

    left: list[tuple[Scores, BoxCandidate | ChipBlock]]
    beyond: int
    hopeless: int


def opened(scoring: Scoring, region: BoxCandidate, check: Callable[[], None], order: Floats) -> Opened:
    """Return the parts of a box that may matter, with their scores.

    Args:
        scoring: What candidates are judged by.
        region: The box.
        check: Called now and then; may raise to end the refinement.
        order: How much each axis matters, to choose where to divide: ALIKE or BY_LIMITS.
    """
    if region.box.size <= _LEAF:
        return _chips(scoring, region)
    section = scoring.sections[region.section]
    parts = list(_divided(region.box, scoring.space, order))
    kept = tightened(scoring.limits, section, parts)
    beyond = region.box.size - sum(box.size for box in kept)
    check()
    if not kept:
        return Opened(left=[], beyond=beyond, hopeless=0)
    known = scoring.known(region.section, *corners(kept), region.families)
    vectors, families = scoring.vectors(known), scoring.matter(known)
    matters = scoring.excess(vectors) > 0.0
    return Opened(
        left=[
            (
                scores_of(vectors[:, index : index + 1]),
                BoxCandidate(region.section, kept[index], None if families is None else families[:, index]),
            )
            for index in np.flatnonzero(matters).tolist()
        ],
        beyond=beyond,
        hopeless=sum(kept[index].size for index in np.flatnonzero(~matters).tolist()),
    )


def _divided(box: Box, space: ChipSpace, order: Floats) -> Iterator[Box]:
    """Yield parts of a box, divided in half along the widest axes, the largest part first."""
    parts = [(-box.size, 0, box)]
    made = 1
    while len(parts) < _PARTS and -parts[0][0] > _LEAF:
        _, _, largest = heapq.heappop(parts)
        for half in largest.halves(_widest(largest, space, order)):
            heapq.heappush(parts, (-half.size, made, half))
            made += 1
    yield from (part for _, _, part in parts)


def _widest(box: Box, space: ChipSpace, order: Floats) -> int:
    """Return the axis along which a box's chips differ most, in weighted doublings."""
    spans = [
        weight * np.log2(values[high - 1] / values[low]) if high - low > 1 else -1.0
        for weight, values, low, high in zip(order, space.values, box.low, box.high, strict=True)
    ]
    return int(np.argmax(spans))


def _chips(scoring: Scoring, region: BoxCandidate) -> Opened:
    """Return the chips of a small region within the limits that may matter, in blocks, best first."""
    places = region.box.places()
    section, limits = scoring.sections[region.section], scoring.limits
    costs, _, _ = limits.costs(section, scoring.space.at(places))
    limits.note(costs, np.ones(places.shape[1], dtype=np.int64))
    inside = np.flatnonzero(limits.within(costs) & limits.large(scoring.space.at(places), costs))
    beyond = places.shape[1] - len(inside)
    if not len(inside):
        return Opened(left=[], beyond=beyond, hopeless=0)
    places = places[:, inside]
    known = scoring.known(region.section, places, places, region.families)
    vectors = scoring.vectors(known)
    matters = np.flatnonzero(scoring.excess(vectors) > 0.0)
    order = matters[_best_first(vectors[:, matters], known.costs.area_mm2[matters])]
    # Where several scores count a block has no best chip, and is taken as it is (search.spread).
    parts = list(_sliced(order)) if len(vectors) == 1 else [order] * bool(len(order))
    whole = ChipBlock(region.section, places, known)
    left = [(scores_of(vectors[:, chosen]), whole.take(chosen)) for chosen in parts]
    return Opened(left=list(left), beyond=beyond, hopeless=len(inside) - len(matters))


def chips_of_section(scoring: Scoring, section: int) -> tuple[Chips, Ints]:
    """Return the chips of a section within the limits, with their areas, and their places on the axes; the others are
    counted.
    """
    places = scoring.space.whole.places()
    costs, _, _ = scoring.limits.costs(scoring.sections[section], scoring.space.at(places))
    scoring.limits.note(costs, np.ones(places.shape[1], dtype=np.int64))
    kept = np.flatnonzero(scoring.limits.within(costs) & scoring.limits.large(scoring.space.at(places), costs))
    return replace(scoring.space.at(places[:, kept]), area_mm2=costs.area_mm2[kept]), places[:, kept]


def _best_first(vectors: Floats, area_mm2: Floats) -> Ints:
    """Return an order by the scores, the first one first; of equal ones the smallest chip first."""
    return np.asarray(np.lexsort((area_mm2, *(-row for row in vectors[::-1]))))


def _sliced(order: Ints) -> Iterator[Ints]:
    """Yield consecutive parts of an order."""
    first = 0
    for turn in range(len(order)):
        size = _BLOCKS[min(turn, len(_BLOCKS) - 1)]
        if first >= len(order):
            return
        yield order[first : first + size]
        first += size
