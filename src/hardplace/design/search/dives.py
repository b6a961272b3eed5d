"""First points of a search: the chips that promise most by each mix of the objectives, reached before all else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from hardplace.design.search import single as ones
from hardplace.design.search.bands import Band
from hardplace.design.search.blocks import alone
from hardplace.design.search.candidates import BoxCandidate, ChipBlock
from hardplace.design.search.regions import ALIKE, BY_LIMITS, Order, opened
from hardplace.design.search.scoring import Scoring
from hardplace.design.search.sections import Excluded
from hardplace.hardware.space import corners
from hardplace.ndtypes import Floats

_PARTS = 8  # of which the mixes of two objectives are made
_LIMITS = 32  # on TDP, from which a front by throughput and TDP begins
_LEAST = 1e-300  # a score of 0, as a logarithm


def dive(scoring: Scoring, region: BoxCandidate, check: Callable[[], None]) -> None:
    """Attempt chips of a box that promise most, one by each mix of the objectives.

    Args:
        scoring: What candidates are judged by; its front takes what is reached.
        region: The box.
        check: Called now and then; may raise to end the search.
    """
    count = len(scoring.goal.objectives)
    # With several objectives one order reaches the better chips at the limits, the other the better ones far below.
    orders = (BY_LIMITS,) if count == 1 else (BY_LIMITS, ALIKE)
    for order, mix in product(orders, _mixes(count)):
        _descend(scoring, replace(region, band=None), order, mix, check)  # a small box may have no chip in its band


def dive_within(scoring: Scoring, regions: Sequence[BoxCandidate], check: Callable[[], None]) -> None:
    """Attempt chips that promise most of the first objective within each of some limits on TDP.

    Args:
        scoring: What candidates are judged by; its front takes what is reached.
        regions: The whole space in each section, with the band of its chips.
        check: Called now and then; may raise to end the search.
    """
    bands = [region.band for region in regions if region.band is not None]
    limits_w = np.geomspace(max(band.most_w for band in bands), min(band.over_w for band in bands), _LIMITS + 1)[:-1]
    first = np.eye(len(scoring.goal.objectives))[0]
    most = np.zeros((len(regions), _LIMITS))
    for row, region in zip(most, regions, strict=True):
        low, high = corners([region.box] * _LIMITS)
        row[:] = scoring.vectors(scoring.known(region.section, low, high, None, [_up_to(w) for w in limits_w]))[0]
        check()
    for limit_w, row in zip(limits_w, most.T, strict=True):
        region = regions[int(np.argmax(row))]
        _descend(scoring, replace(region, band=_up_to(limit_w)), BY_LIMITS, first, check)


def _up_to(limit_w: float) -> Band:
    return Band(most_w=float(limit_w))


def _descend(scoring: Scoring, region: BoxCandidate, order: Order, mix: Floats, check: Callable[[], None]) -> None:
    """Attempt the chip of a box that promises most by a mix of the objectives."""
    # What is left out here is counted when the box is opened.
    uncounted = replace(scoring, limits=replace(scoring.limits, excluded=Excluded()))
    order = replace(order, tdp=0.0)
    best: BoxCandidate | ChipBlock = region
    while isinstance(best, BoxCandidate):
        left = opened(uncounted, best, check, order, best=True).left
        if not left:
            return
        best = left[_most(np.array([scores for scores, _ in left]).T, mix)][1]
    chip = _most(scoring.vectors(best.known), mix)
    families = alone(scoring, best, chip)
    scores = np.array([ones.scores(scoring, one) for one in families]).T
    ones.attempt(scoring, families[_most(scores, mix)])


def _mixes(objectives: int) -> Iterator[Floats]:
    """Yield weights of objectives that add up to one."""
    parts = _PARTS // max(1, objectives - 1)
    for bars in combinations(range(parts + objectives - 1), objectives - 1):
        ends = np.array([-1, *bars, parts + objectives - 1])
        yield (np.diff(ends) - 1) / parts


def _most(vectors: Floats, mix: Floats) -> int:
    """Return the column whose weighted product is largest; of equals the best by all objectives alike, then the first.

    Args:
        vectors: Scores, shape (objectives, candidates).
        mix: Weights of the objectives.
    """
    sizes = np.log(np.maximum(vectors, _LEAST))
    return int(np.lexsort((-sizes.sum(axis=0), -(mix @ sizes)))[0])
