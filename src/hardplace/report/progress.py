"""How far a search is, in a line."""

from __future__ import annotations

import math

from hardplace.branch_and_bound.types import Finishing, Progress
from hardplace.certificate import gap_of, percent_at_most
from hardplace.design.goals import UNITS, Objective, shown


def search_line(now: Progress | Finishing, gap: float, objective: Objective | None) -> tuple[str, float]:
    """Return how far a search of chips is, and the share that is done by how far the gap has closed.

    Args:
        now: Its state.
        gap: The gap at which it stops.
        objective: The only objective, whose incumbent and bound are shown. None: there are several.
    """
    if isinstance(now, Finishing):
        return now.doing, 1.0
    left = gap_of(now.score, now.bound) if now.score else math.inf
    closed = math.log(max(left, 1e-9)) / math.log(max(gap, 1e-6)) if left < 1 else 0.0
    values = ""
    if objective is not None:
        best, bound = (f"{shown(objective, one):,.5g}" if one else "none" for one in (now.score, now.bound))
        values = f"best {best}  bound {bound} {UNITS[objective][0]}  "
    known = f"gap {percent_at_most(left)}" if math.isfinite(left) else "no answer yet"
    return f"{values}{known}", closed


def placement_line(considered: int, left: int, best_s: float, bound_s: float, elapsed_s: float) -> tuple[str, float]:
    """Return how far a search of plans is, and bound over best.

    Args:
        considered: Plans considered.
        left: Candidates in the heap.
        best_s: Seconds of a step of the best plan, inf without one.
        bound_s: Lower bound on them.
        elapsed_s: Seconds of the search.
    """
    rate = considered / max(1e-3, elapsed_s)
    best = f"best {best_s:.4g} s" if math.isfinite(best_s) else "no plan fits yet"
    text = f"{best}, bound {bound_s:.4g} s, {considered:,} plans, {rate:,.0f}/s, {left:,} open"
    return text, bound_s / best_s if math.isfinite(best_s) else 0.0
