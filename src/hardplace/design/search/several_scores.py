"""Refinement of a block of chips with several scores: those that promise most in different ways, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardplace.branch_and_bound.front import Scores
from hardplace.design.search import single as ones
from hardplace.design.search.blocks import Scheduled, alone, scheduled
from hardplace.design.search.candidates import ChipBlock, ChipCandidate
from hardplace.design.search.scoring import Scoring, scores_of
from hardplace.ndtypes import Floats, Ints

_LEAST = 1e-12
_FEW = 512  # chips that are priced together


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadBlock:
    """The result of refining a block with several scores.

    Attributes:
        left: Chips, and blocks of the others, that may matter, with their scores.
        priced: Number of (chip, family) that were priced.
        alone: Number of chips pruned for being within the gap.
        within: Most by which one of these exceeds the front.
    """

    left: list[tuple[Scores, ChipCandidate | ChipBlock]]
    priced: int
    alone: int
    within: float


def spread(scoring: Scoring, block: ChipBlock, check: Callable[[], None]) -> SpreadBlock:
    """Return a block's chips that may matter: some of them one by one, the others as a block.

    Chips within the gap of what was reached are pruned for good: points are only added to a front. Arguments as for
    `blocks.scheduled`.
    """
    vectors = scoring.vectors(block.known)
    excess = scoring.excess(vectors)
    open_ = np.flatnonzero(excess > scoring.gap)
    within = float(excess[excess <= scoring.gap].max(initial=0.0))
    if not len(open_):
        return SpreadBlock(left=[], priced=0, alone=block.places.shape[1], within=within)
    if scoring.costs_beside:
        # Chips of a block cost nearly the same, so the fastest rules out most; it is bounded as well as schedules are.
        chosen = open_[[int(np.argmax(vectors[0, open_]))]]
        done = Scheduled(
            left=[(ones.scores(scoring, one), one) for one in alone(scoring, block, int(chosen[0]))], priced=0
        )
    else:
        chosen = open_[_apart(vectors[:, open_], 1.0 + scoring.gap)]
        done = scheduled(scoring, block.take(chosen), check)
    for _, one in sorted(done.left, key=lambda pair: pair[0], reverse=True):
        if scoring.front.excess(ones.scores(scoring, one)) > scoring.gap:
            check()
            ones.attempt(scoring, one)
    left: list[tuple[Scores, ChipCandidate | ChipBlock]] = []
    for _, one in done.left:
        most = ones.scores(scoring, one)
        beyond = float(scoring.excess(np.array(most)[:, None])[0])
        if beyond > scoring.gap:
            left.append((most, one))
        else:
            within = max(within, beyond)
    others = np.setdiff1d(open_, chosen)
    excess = scoring.excess(vectors[:, others])
    within = max(within, float(excess[excess <= scoring.gap].max(initial=0.0)))
    rest = others[excess > scoring.gap]
    if len(rest):
        left.append((scores_of(vectors[:, rest]), block.take(rest)))
    pruned = (
        block.places.shape[1]
        - len(rest)
        - len({one.places.tobytes() for _, one in left if isinstance(one, ChipCandidate)})
    )
    return SpreadBlock(left=left, priced=done.priced, alone=pruned, within=within)


def _apart(vectors: Floats, factor: float) -> Ints:
    """Return a few columns, the largest products first, those first of which none is nearly as good as another."""
    # A model of a fleet that does not run on a chip has a score of 0: it counts as a very small one.
    size = np.log(np.maximum(vectors, _LEAST)).sum(axis=0)
    left = np.ones(vectors.shape[1], dtype=bool)
    found: list[int] = []
    while left.any() and len(found) < _FEW:
        open_ = left.copy()
        while open_.any() and len(found) < _FEW:
            best = int(np.argmax(np.where(open_, size, -np.inf)))
            found.append(best)
            left[best] = False
            open_ &= left & (vectors > factor * vectors[:, best : best + 1]).any(axis=0)
    return np.array(found, dtype=np.int64)
