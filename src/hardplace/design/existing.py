"""Chips that exist beside an answer: each with its best plan, in the same model and setting, with what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Deadline, TimeUp
from hardplace.branch_and_bound.types import Stop, StoppingRule
from hardplace.design.exact.evaluator import in_process
from hardplace.design.goals import Costs, Goal
from hardplace.design.question import Question
from hardplace.design.search.candidates import ReachedPlan
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.sections import SLACK
from hardplace.design.types import ExistingChip
from hardplace.hardware.device import Device
from hardplace.hardware.existing import MOST_MM2, ExistingCosts, costs_of, existing, setting_of, space_of
from hardplace.hardware.types import Budget


def existing_chips(search: DesignSearch, ends: StoppingRule, work: float, within: Deadline) -> Iterator[ExistingChip]:
    """Yield the chips that exist, each with its best plan; the answer's plan plays no role.

    Args:
        search: The search that the answer is of; its limits do not hold for these chips, but which of them they exceed
            is said.
        ends: When the search of plans on each stops.
        work: How hard schedules are tried (`design.exact.evaluator.in_process`).
        within: After which no other chip is begun, and one that is not done is left out.

    Raises:
        KeyboardInterrupt: For an interrupt.
    """
    for one in existing():
        try:
            within.check()
            found = _placed(one, search, ends, work, within)
        except TimeUp:
            return
        yield found


def _placed(one: Device, beside: DesignSearch, ends: StoppingRule, work: float, within: Deadline) -> ExistingChip:
    question, costs = beside.question, costs_of(one)
    asked = replace(
        question,
        setting=setting_of(one, question.setting),
        space=space_of(one),
        budget=Budget(area_mm2=MOST_MM2),
        goal=question.goal,
    )
    evaluator = in_process(asked, ends.gap, work=work, deadline=within)
    search = DesignSearch(question=asked, ends=ends, evaluator=evaluator, within=within, alike=beside.scoring.models)
    short: Infeasible | None = search.shortage()
    found = None if short is not None else search.run()
    if found is not None and found.stop is Stop.INTERRUPTED:
        raise KeyboardInterrupt
    if found is not None and found.stop is Stop.SECONDS:
        raise TimeUp  # its best plan is not known
    plan = found.reached[0].plans[0] if found is not None and found.reached else None
    evaluation = None if plan is None else plan.evaluation
    score = 0.0 if plan is None else _score(question.goal, plan, costs)
    return ExistingChip(
        name=one.name,
        title=one.title,
        evaluation=evaluation,
        infeasible=short,
        area_mm2=costs.area_mm2,
        tdp_w=costs.tdp_w,
        usd=costs.usd,
        published=costs.published,
        beyond=tuple(_beyond(one, costs, question, evaluation.placement.batch_s if evaluation else 0.0)),
        score=score,
    )


def _score(goal: Goal, plan: ReachedPlan, costs: ExistingCosts) -> float:
    """Return what a plan reaches of the only objective on a chip with these costs."""
    each = {name: np.array([getattr(costs, name)]) for name in ("area_mm2", "tdp_w", "usd", "embodied_kg", "idle_w")}
    taken = Costs(die_mm2=each["area_mm2"], **each)
    return goal.score(goal.objectives[0], plan.samples_per_s, plan.joules, taken)


def _beyond(one: Device, costs: ExistingCosts, question: Question, step_s: float) -> Iterator[str]:
    """Yield the limits of a question that a chip exceeds."""
    budget = question.budget
    for name, taken, limit in (
        ("area", costs.area_mm2, budget.area_mm2),
        ("TDP", costs.tdp_w, budget.tdp_w),
        ("price", costs.usd, budget.usd),
        ("memory", one.memory_bytes, budget.memory_bytes),
        ("step", step_s, budget.step_s),
    ):
        if limit is not None and taken > limit * (1.0 + SLACK):
            yield name
