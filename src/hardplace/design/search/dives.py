"""First points of a search: the chips that promise most by each mix of the objectives, reached before all else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product

import numpy as np

from hardplace.design.search import single as ones
from hardplace.design.search.blocks import alone
from hardplace.design.search.candidates import BoxCandidate, ChipBlock
from hardplace.design.search.regions import ALIKE, BY_LIMITS, Order, alike, opened
from hardplace.design.search.scoring import Scoring
from hardplace.design.search.sections import Excluded
from hardplace.ndtypes import Floats

_PARTS = 8  # of which the mixes of two objectives are made
_SURVEYED = 4096  # chips of a section from which a front of throughput and costs begins
_LEVEL = 0.001  # of the last score, between its levels at least: the gap may be 0
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


def survey(scoring: Scoring, check: Callable[[], None]) -> None:
    """Attempt those of some chips of each section, taken at even steps, that promise most of the first score at each
    level of the last.

    Args:
        scoring: What candidates are judged by; its front takes what is reached.
        check: Called now and then; may raise to end the search.
    """
    every, blocks = scoring.space.whole.sampled(_SURVEYED), []
    for index, section in enumerate(scoring.sections):
        check()
        chips = scoring.space.at(every)
        costs, _, _ = scoring.limits.costs(section, chips)
        places = every[:, scoring.limits.within(costs) & scoring.limits.large(chips, costs)]
        blocks.append(ChipBlock(index, places, scoring.known(index, places, places, best=True)))
    vectors = np.concatenate([scoring.vectors(block.known) for block in blocks], axis=1)
    owners = np.repeat(np.arange(len(blocks)), [block.places.shape[1] for block in blocks])
    starts = np.searchsorted(owners, np.arange(len(blocks)))
    open_ = np.flatnonzero(scoring.possible(vectors))
    for similar in alike(open_, vectors, 1.0 + max(scoring.gap, _LEVEL)):
        check()
        best = int(similar[np.argmax(vectors[0, similar])])
        block = blocks[owners[best]]
        families = alone(scoring, block, best - int(starts[owners[best]]))
        one = max(families, key=lambda each: ones.scores(scoring, each)[0])
        if scoring.front.excess(ones.scores(scoring, one)) > scoring.gap:
            ones.attempt(scoring, one)


def _descend(scoring: Scoring, region: BoxCandidate, order: Order, mix: Floats, check: Callable[[], None]) -> None:
    """Attempt the chip of a box that promises most by a mix of the objectives."""
    # What is left out here is counted when the box is opened.
    uncounted = replace(scoring, limits=replace(scoring.limits, excluded=Excluded()))
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
