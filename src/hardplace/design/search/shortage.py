"""What is short where a search of chips has no answer: memory, a limit on the chip or the step, chips of a set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.design.chip_set import best_chip_set
from hardplace.design.goals import Combine
from hardplace.design.question import Question
from hardplace.design.search.scoring import Scoring
from hardplace.errors import BadInput
from hardplace.hardware.space import corners
from hardplace.units import percent


def no_memory(question: Question, scoring: Scoring) -> Infeasible | None:
    """Return what is short if some model fits no memory of any section; None: each model fits one.

    Args:
        question: What is searched.
        scoring: Models laid out on the sections of the space; no candidate is looked at.
    """
    if not scoring.sections:
        limit = float(question.budget.memory_bytes or 0.0)
        sizes = [one.bytes for one in question.space.memories] or [*question.choices.memory_bytes]
        return Infeasible(
            what="memory of a chip: every choice is beyond the limit, and the smallest",
            needed=min(sizes),
            available=limit,
            unit="bytes",
            remedy="a higher limit",
        )
    for index, model in enumerate(scoring.models):
        if not any(there[index].families for there in scoring.there):
            return min(model.shortages, key=lambda short: short.needed / short.available)
    return None


def nothing_reached(question: Question, scoring: Scoring) -> Infeasible:
    """Return what every candidate lacks when a search of all of them reached nothing."""
    few = _few_chips(question, scoring)
    if few is not None:
        return few
    limit_s = question.budget.step_s
    least_s = scoring.limits.excluded.step_s
    if limit_s is not None and np.isfinite(least_s):
        return Infeasible(
            what="time of a step: no chip and plan within the other limits is as fast; the least bound on one",
            needed=least_s,
            available=limit_s,
            unit="s",
            remedy="a longer step, more devices, a smaller batch, or larger chips",
        )
    if not scoring.limits.excluded.chips:
        _note_whole(scoring)
    short = scoring.limits.shortage()
    if short is None:
        space, area_mm2 = question.space, question.budget.area_mm2
        raise BadInput(
            f"space {space.name}: every chip is below {percent(space.least_area_share, 0)} of the area limit, "
            f"{area_mm2:g} mm2, the least that the space takes; expected a smaller limit, or larger chips"
        )
    return short


def _note_whole(scoring: Scoring) -> None:
    """Count the chips of each section whose least chip is beyond a limit: no box of them was looked at where what the
    TDP leaves bounds every rate by nothing."""
    limits, whole = scoring.limits, scoring.limits.space.whole
    low, high = (limits.space.at(places) for places in corners([whole]))
    for section in scoring.sections:
        limits.note(limits.least(section, low, high)[0], np.array([whole.size]))


def _few_chips(question: Question, scoring: Scoring) -> Infeasible | None:
    """Return that a fleet is too small, where every model runs on a chip of the front: no chip takes more models
    than one there does."""
    if not question.goal.shared or not scoring.front.points:
        return None
    values = np.array([scores for scores, _ in scoring.front.points]) > 0.0
    if not values.any(axis=0).all():
        return None
    for chips in range(question.goal.fleet + 1, values.shape[1] + 1):
        goal = replace(question.goal, fleet=chips, combine=Combine.WORST)
        if best_chip_set(goal, values.astype(np.float64))[0] > 0.0:
            break
    return Infeasible(
        what="chips of the fleet: no choice of as many has a plan for every model; the least that has",
        needed=float(chips),
        available=float(question.goal.fleet),
        unit="chips",
        remedy="a larger fleet, or fewer models",
    )
