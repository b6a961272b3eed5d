"""Refinement of a box of chips: smaller boxes with their bounds, or, of a small one, its chips with theirs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hardplace.branch_and_bound.front import Scores
from hardplace.design.search.candidates import BoxCandidate, ChipBlock
from hardplace.design.search.scoring import Scoring, scores_of
from hardplace.design.search.sections import tightened
from hardplace.hardware.space import AXES, ChipSpace, corners
from hardplace.hardware.types import Chips
from hardplace.ndtypes import BoolVector, Floats, Ints

_PARTS = 128  # boxes that one is divided into at a time
_SIMILAR = 1.05  # ratio of the last score within which chips of a box are one block
_BLOCKS = (64, 256, 1024)  # chips refined together: few at first, to reach something; then enough to vectorise
# How much a doubling along each axis matters, to choose where to divide: a buffer's size less than a rate, the clock
# more, for the voltage rises with it.
_WEIGHTS = {"buffer_bytes": 0.3, "clock_hz": 4.0}
# Where sides and clock are given, limits bound the rest best (search.ceilings).
_FIRST = {"array_rows": 100.0, "array_columns": 100.0, "clock_hz": 100.0}
_EACH = np.array([_WEIGHTS.get(axis, 1.0) for axis in AXES])


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How much a doubling matters, to choose where to divide.

    Attributes:
        axes: Of each axis of the space.
        tdp: Of a band of TDP.
        banded: Chips up to which a box is not divided by bands.
        leaf: Chips of a box that are looked at one by one.
    """

    axes: Floats
    tdp: float = 400.0
    banded: int = 0
    leaf: int = 64


ALIKE = Order(axes=_EACH)
BY_LIMITS = Order(axes=_EACH * [_FIRST.get(axis, 1.0) for axis in AXES])
# With costs beside the throughput a box says little of its chips, most of which their busiest parts rule out: thousands
# at once take less time than the boxes that they could be divided into.
OF_COSTS = Order(axes=BY_LIMITS.axes, banded=300_000, leaf=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The result of refining a box.

    Attributes:
        left: Boxes or blocks that may matter, with their scores.
        beyond: Number of chips beyond the limits.
        hopeless: Number of chips that were pruned.
        within: Most by which one that was pruned for being within the gap exceeds the front.
    """

    left: list[tuple[Scores, BoxCandidate | ChipBlock]]
    beyond: int
    hopeless: int
    within: float = 0.0


def opened(
    scoring: Scoring, region: BoxCandidate, check: Callable[[], None], order: Order, *, best: bool = False
) -> Opened:
    """Return the parts of a box that may matter, with their scores.

    Args:
        scoring: What candidates are judged by.
        region: The box.
        check: Called now and then; may raise to end the refinement.
        order: How much each axis matters, to choose where to divide.
        best: Whether the best family of each part alone is asked for.
    """
    if region.box.size <= order.leaf:
        return _chips(scoring, region, best)
    section = scoring.sections[region.section]
    parts = list(_divided(region, scoring.space, order))
    kept = tightened(scoring.limits, section, [(part.box, part.band) for part in parts])
    check()
    counts = _shared_out(region.chips, [box.size for box, _ in kept])
    beyond = region.chips - sum(counts)
    if not kept:
        return Opened(left=[], beyond=beyond, hopeless=0)
    boxes, bands = [box for box, _ in kept], [band for _, band in kept]
    known = scoring.known(region.section, *corners(boxes), region.families, bands, best=best)
    vectors, families = scoring.vectors(known), scoring.matter(known)
    matters, within = _matters(scoring, vectors)
    return Opened(
        left=[
            (
                scores_of(vectors[:, index : index + 1]),
                BoxCandidate(
                    region.section,
                    boxes[index],
                    counts[index],
                    None if families is None else families[:, index],
                    bands[index],
                ),
            )
            for index in np.flatnonzero(matters).tolist()
        ],
        beyond=beyond,
        hopeless=sum(counts[index] for index in np.flatnonzero(~matters).tolist()),
        within=within,
    )


def _matters(scoring: Scoring, vectors: Floats) -> tuple[BoolVector, float]:
    """Return which columns may matter, and the most by which one that does not exceeds the front.

    With costs beside the throughput what is within the gap is pruned for good: points are only added to a front.
    """
    excess = scoring.excess(vectors)
    matters = excess > (scoring.gap if scoring.costs_beside else 0.0)
    return matters, float(excess[~matters].max(initial=0.0))


def _divided(region: BoxCandidate, space: ChipSpace, order: Order) -> list[BoxCandidate]:
    """Return parts of a box, divided in half along the widest axes, the largest part first; bands are axes too."""
    parts: list[tuple[int, int, BoxCandidate]] = [(-region.box.size, 0, region)]
    made = 1
    while len(parts) < _PARTS and -parts[0][0] > order.leaf:
        _, _, largest = heapq.heappop(parts)
        for half in _halves(largest, space, order):
            heapq.heappush(parts, (-half.box.size, made, half))
            made += 1
    return [part for _, _, part in parts]


def _halves(part: BoxCandidate, space: ChipSpace, order: Order) -> list[BoxCandidate]:
    """Return the halves of a part along the axis by which its chips differ most, in weighted doublings."""
    box, band = part.box, part.band
    ratios = [values[high - 1] / values[low] for values, low, high in zip(space.values, box.low, box.high, strict=True)]
    several = np.array(box.high) - np.array(box.low) > 1
    spans = np.where(several, order.axes * np.log2(ratios), -1.0)
    axis = int(np.argmax(spans))
    if band is not None and box.size > order.banded and order.tdp * band.doublings > spans[axis]:
        return [replace(part, band=half, chips=0) for half in band.halves()]
    return [replace(part, box=half, chips=0) for half in box.halves(axis)]


def _chips(scoring: Scoring, region: BoxCandidate, best: bool) -> Opened:
    """Return the chips of a small region within the limits that may matter, in blocks, best first."""
    places = region.box.places()
    section, limits = scoring.sections[region.section], scoring.limits
    costs, _, _ = limits.costs(section, scoring.space.at(places))
    limits.note(costs, np.ones(places.shape[1], dtype=np.int64))
    within = limits.within(costs) & limits.large(scoring.space.at(places), costs)
    if region.band is not None:
        within &= region.band.holds(costs)
    inside = np.flatnonzero(within)
    beyond = region.chips - len(inside)
    if not len(inside):
        return Opened(left=[], beyond=beyond, hopeless=0)
    places = places[:, inside]
    known = scoring.known(region.section, places, places, region.families, best=best)
    vectors = scoring.vectors(known)
    kept, most = _matters(scoring, vectors)
    matters = np.flatnonzero(kept)
    order = matters[_best_first(vectors[:, matters], known.costs.area_mm2[matters])]
    if scoring.costs_beside and len(vectors) > 1:
        parts = alike(order, vectors, _SIMILAR)
    else:
        # Where several scores count a block has no best chip, and is taken as it is (search.spread).
        parts = list(_sliced(order)) if len(vectors) == 1 else [order] * bool(len(order))
    whole = ChipBlock(region.section, places, known)
    left = [(scores_of(vectors[:, chosen]), whole.take(chosen)) for chosen in parts]
    return Opened(left=list(left), beyond=beyond, hopeless=len(inside) - len(matters), within=most)


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


def alike(chips: Ints, vectors: Floats, ratio: float) -> list[Ints]:
    """Return parts of these columns whose last scores differ by no more than a ratio, the largest first."""
    bins = np.floor(np.log(vectors[-1, chips]) / np.log(ratio))
    return [chips[bins == one] for one in np.unique(bins)[::-1]]


def _sliced(order: Ints) -> Iterator[Ints]:
    """Yield consecutive parts of an order."""
    first = 0
    for turn in range(len(order)):
        size = _BLOCKS[min(turn, len(_BLOCKS) - 1)]
        if first >= len(order):
            return
        yield order[first : first + size]
        first += size


def _shared_out(chips: int, sizes: Sequence[int]) -> list[int]:
    """Return what each of these boxes counts for of so many chips: its size, or where they overlap, its share of it."""
    total = sum(sizes)
    if total <= chips:
        return list(sizes)
    ends = [chips * end // total for end in np.cumsum([0, *sizes]).tolist()]
    return [high - low for low, high in pairwise(ends)]
