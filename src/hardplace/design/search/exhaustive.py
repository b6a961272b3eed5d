"""Exhaustive search: every chip with every family evaluated exactly, which branch and bound must agree with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Ended
from hardplace.branch_and_bound.types import Stop
from hardplace.design.search.candidates import Reached, ReachedPlan
from hardplace.design.search.regions import chips_of_section
from hardplace.design.search.scoring import Scoring
from hardplace.design.search.single import job_of, reached_scores
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from hardplace.branch_and_bound.front import Scores
    from hardplace.design.goals import Costs
    from hardplace.design.search.candidates import Count
    from hardplace.design.types import Job, Outcome
    from hardplace.ndtypes import Floats, Ints

MOST = 20_000  # candidates within the limits: some minutes of exact evaluations
_CHIPS = 1_000_000  # of a space before the limits, which are looked at one by one


def everything(scoring: Scoring, gap: float, evaluate: Callable[[Job], Outcome], count: Count) -> Ended:
    """Evaluate every candidate within the limits and offer it to the front; no bound prunes any.

    Args:
        scoring: Models laid out on the sections of the space, with the front.
        gap: Relative gap that is asked for.
        evaluate: Gives the outcome of an exact evaluation.
        count: Exact evaluations, which are added to.

    Returns:
        How it ended; its excess is what schedules, solved to a quarter of the gap, leave.

    Raises:
        BadInput: For more than MOST candidates.
    """
    places = _places(scoring)
    most: list[Scores] = []
    for section, columns in enumerate(places):
        costs, _, _ = scoring.limits.costs(scoring.sections[section], scoring.space.at(columns))
        for chip in range(columns.shape[1]):
            own = costs.take(np.array([chip]))
            most += _chip(scoring, evaluate, count, section, columns[:, chip : chip + 1], own)
    excess = max((scoring.front.excess(scores) for scores in most), default=0.0)
    stop = Stop.OPTIMAL if excess <= 0.0 else Stop.GAP if excess <= gap else Stop.SCHEDULES
    return Ended(stop=stop, excess=max(0.0, excess), evaluations=count.entered, progress=())


def _places(scoring: Scoring) -> list[Ints]:
    """Return the chips of each section within the limits; BadInput if they are too many."""
    chips = scoring.space.whole.size
    if chips > _CHIPS:
        raise BadInput("exhaustive", f"a space of {chips:,} chips", f"at most {_CHIPS:,}")
    found = [chips_of_section(scoring, section)[1] for section in range(len(scoring.sections))]
    families = [sum(len(there.families) for there in models) for models in scoring.there]
    count = sum(one.shape[1] * number for one, number in zip(found, families, strict=True))
    if count > MOST:
        raise BadInput(
            "exhaustive",
            f"{count:,} candidates (a chip with a plan family each) within the limits",
            f"at most {MOST:,}: a smaller space or area, or fewer choices of a plan",
        )
    return found


def _chip(
    scoring: Scoring, evaluate: Callable[[Job], Outcome], count: Count, section: int, places: Ints, costs: Costs
) -> list[Scores]:
    """Evaluate every family of every model on one chip; offer what is reached, return what is possible at most."""
    joules = scoring.known(section, places, places).joules
    reached: list[list[ReachedPlan]] = []
    possible: list[list[ReachedPlan]] = []
    for model, there in enumerate(scoring.there[section]):
        plans: tuple[list[ReachedPlan], list[ReachedPlan]] = [], []
        for number, family in enumerate(there.families):
            job = job_of(scoring, section, places, model, family)
            outcome = evaluate(job)
            count.entered += 1
            if isinstance(outcome, Infeasible):
                continue
            energy = float(joules[model][number, 0])
            if not _slow(scoring, model, outcome.samples_per_s):
                plans[0].append(ReachedPlan(job, outcome.samples_per_s, energy, outcome))
            if not _slow(scoring, model, outcome.bound_samples_per_s):
                plans[1].append(ReachedPlan(job, outcome.bound_samples_per_s, energy, None))
        reached.append(plans[0])
        possible.append(plans[1])
    for chosen in _choices(scoring, costs, reached):
        scores = reached_scores(scoring, costs, chosen)
        scoring.front.offer(scores, Reached(section, places, costs, chosen))
    return [reached_scores(scoring, costs, chosen) for chosen in _choices(scoring, costs, possible)]


def _slow(scoring: Scoring, model: int, samples_per_s: float) -> bool:
    speeds: Floats = np.array([samples_per_s])
    return bool(scoring.in_time(scoring.models[model], speeds)[0] <= 0.0)


def _choices(scoring: Scoring, costs: Costs, plans: list[list[ReachedPlan]]) -> list[tuple[ReachedPlan | None, ...]]:
    """Return what a chip can be scored with: each plan by itself for several objectives, else each model's best."""
    if not (any(plans) if scoring.goal.shared else all(plans)):
        return []
    if len(scoring.goal.objectives) > 1:
        return [(plan,) for plan in plans[0]]
    objective = scoring.goal.objectives[0]

    def value(plan: ReachedPlan) -> float:
        return scoring.goal.score(objective, plan.samples_per_s, plan.joules, costs)

    return [tuple(max(mine, key=value, default=None) for mine in plans)]
