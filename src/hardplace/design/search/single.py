"""Refinement of one chip: its most promising family is placed on bounds, then evaluated exactly, for each model in
turn.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Scores
from hardplace.design.exact.layer_kernels import LayerTimes
from hardplace.design.goals import Costs
from hardplace.design.partition.programme import place
from hardplace.design.partition.types import PipelinePartition
from hardplace.design.search.candidates import ChipCandidate, Reached, ReachedPlan, Refinement
from hardplace.design.search.layout import group_of
from hardplace.design.search.scoring import FamilyBounds, Scoring
from hardplace.design.types import Job, Outcome, PlanFamily
from hardplace.hardware.phaze import accelerator
from hardplace.ndtypes import Ints


def scores(scoring: Scoring, one: ChipCandidate) -> Scores:
    """Return upper bounds of the scores of a chip."""
    known = FamilyBounds(
        samples_per_s=tuple(row[:, None] for row in one.samples_per_s),
        joules=tuple(row[:, None] for row in one.joules),
        costs=one.costs,
    )
    return tuple(scoring.vectors(known)[:, 0].tolist())


def job_of(
    scoring: Scoring, section: int, places: Ints, model: int, family: PlanFamily, max_stages: int | None = None
) -> Job:
    """Return the exact evaluation of one chip of a section with one family of a model."""
    where = scoring.sections[section]
    chips = scoring.space.at(places)
    chips = replace(chips, area_mm2=where.pricer.area_mm2(chips))
    chip = accelerator(chips, 0, where.setting, family.memory_bytes)
    if where.links:
        link = where.setting.cluster.levels[0].bandwidth_bytes_per_s
        chip = replace(chip, link_bandwidth_bytes_per_s=link)
    return Job(model=scoring.models[model].workload.name, chip=chip, family=family, max_stages=max_stages)


def next_step(scoring: Scoring, one: ChipCandidate) -> tuple[int, int] | None:
    """Return the (model, family) to refine: of the models' best families the one refined least; None: all are exact."""
    tops = {model: _top(scoring, one, model) for model in _running(one)}
    stages = {model: int(one.stages[model][family]) for model, family in tops.items()}
    if not stages:
        return None
    model = min(stages, key=lambda each: stages[each])
    return None if stages[model] == Refinement.EXACT else (model, tops[model])


def _running(one: ChipCandidate) -> list[int]:
    """Return the models that may run on a chip: all of them, but for a fleet's."""
    return [model for model, speed in enumerate(one.samples_per_s) if speed.max(initial=0.0) > 0.0]


def _top(scoring: Scoring, one: ChipCandidate, model: int) -> int:
    """Return the family of a model that promises most on a chip."""
    speed = one.samples_per_s[model]
    if len(scoring.goal.objectives) > 1:
        return int(np.argmax(speed))
    values = scoring.goal.scores(scoring.goal.objectives[0], speed[:, None], one.joules[model][:, None], one.costs)
    return int(np.argmax(values[:, 0]))


def job(scoring: Scoring, one: ChipCandidate) -> Job | None:
    """Return the exact evaluation that refining a chip needs, if that is what comes next."""
    step = next_step(scoring, one)
    if step is None or one.stages[step[0]][step[1]] != Refinement.PLACED_ON_BOUNDS:
        return None
    model, family = step
    return job_of(scoring, one.section, one.places, model, scoring.there[one.section][model].families[family])


def refine(scoring: Scoring, one: ChipCandidate, outcome: Outcome | None) -> list[tuple[Scores, ChipCandidate | None]]:
    """Refine a chip by one step; a chip whose best families are all exact can be refined no more."""
    step = next_step(scoring, one)
    if step is None:
        return []  # an attempt has shown that it does not run
    one, (model, family) = one.copy(), step
    if outcome is not None:
        _settle(scoring, one, model, family, outcome)
    elif one.stages[model][family] == Refinement.PARTS:
        _price(scoring, one, model, family)
    else:
        _place(scoring, one, model, family)
    now = scores(scoring, one)
    if scoring.excess(np.array(now)[:, None])[0] <= 0.0:
        return []
    return [(now, one if next_step(scoring, one) is not None else None)]


def attempt(scoring: Scoring, one: ChipCandidate) -> None:
    """Place each model's best family, so that there is an incumbent soon."""
    for model in _running(one):
        family = _top(scoring, one, model)
        if one.stages[model][family] == Refinement.PARTS:
            _price(scoring, one, model, family)
        if one.stages[model][family] == Refinement.SCHEDULE_BOUNDS:
            _place(scoring, one, model, family)


def _settle(scoring: Scoring, one: ChipCandidate, model: int, family: int, outcome: Outcome) -> None:
    """Take the exact evaluation of a family."""
    one.stages[model][family] = Refinement.EXACT
    if isinstance(outcome, Infeasible):
        one.samples_per_s[model][family] = 0.0
        return
    one.samples_per_s[model][family] = _in_time(scoring, model, outcome.bound_samples_per_s)
    which = scoring.there[one.section][model].families[family]
    made = job_of(scoring, one.section, one.places, model, which)
    energy = float(one.joules[model][family])
    _reach(scoring, one, model, ReachedPlan(made, outcome.samples_per_s, energy, outcome))


def _price(scoring: Scoring, one: ChipCandidate, model: int, family: int) -> None:
    """Bound the schedules of a family that was not priced with the chip's block."""
    layout, there = scoring.models[model], scoring.there[one.section][model]
    which = there.families[family]
    group = group_of(which)
    chips = scoring.space.at(one.places)
    one.seconds[model, group] = layout.kernels[group].lower_bounds(chips, scoring.sections[one.section].setting)
    one.stages[model][list(there.members[group])] = np.maximum(
        one.stages[model][list(there.members[group])], Refinement.SCHEDULE_BOUNDS
    )


def _place(scoring: Scoring, one: ChipCandidate, model: int, family: int) -> None:
    """Place a family on its lower bounds, which bounds it, and on its list schedules, which it reaches."""
    which = scoring.there[one.section][model].families[family]
    group = group_of(which)
    cutoff = _needed(scoring, one, model, family)
    possible = _placed(scoring, one, model, family, one.seconds[model, group], cutoff)
    one.stages[model][family] = Refinement.PLACED_ON_BOUNDS
    speed = one.samples_per_s[model]
    speed[family] = min(speed[family], _in_time(scoring, model, possible))
    if speed[family] <= 0.0:
        return
    setting = scoring.sections[one.section].setting
    listed = scoring.models[model].kernels[group].list_schedules(scoring.space.at(one.places), setting)
    reached = _placed(scoring, one, model, family, listed, cutoff)
    if reached > 0.0:
        made = job_of(scoring, one.section, one.places, model, which)
        _reach(scoring, one, model, ReachedPlan(made, reached, float(one.joules[model][family]), None))


def _needed(scoring: Scoring, one: ChipCandidate, model: int, family: int) -> float:
    """Return the samples a second from which a plan can matter; 0 where that is not known."""
    if len(scoring.models) > 1:
        return 0.0
    energy = float(one.joules[model][family])
    return scoring.goal.least_samples_per_s(scoring.front.best, energy, one.costs)


def _placed(scoring: Scoring, one: ChipCandidate, model: int, family: int, seconds: LayerTimes, needed: float) -> float:
    """Return the samples a second of the best plan on these seconds; 0 if there is none of at least `needed`."""
    layout, there = scoring.models[model], scoring.there[one.section][model]
    which = there.families[family]
    degrees = there.replications[which.micro_batch, which.tensor_parallel]
    problem = layout.problem(which, scoring.sections[one.section].setting, seconds, degrees)
    found = place(problem, cutoff_s=layout.batch / needed if needed > 0.0 else np.inf, some_fits=True)
    return layout.batch / found.batch_s if isinstance(found, PipelinePartition) else 0.0


def _in_time(scoring: Scoring, model: int, samples_per_s: float) -> float:
    return float(scoring.in_time(scoring.models[model], np.array([samples_per_s]))[0])


def _reach(scoring: Scoring, one: ChipCandidate, model: int, plan: ReachedPlan) -> None:
    """Take a plan of a model if it is the chip's best, and offer the chip if every model has one (a fleet's: any)."""
    if _in_time(scoring, model, plan.samples_per_s) <= 0.0:
        return
    known = one.reached.get(model)
    if known is not None and _value(scoring, one, known) > _value(scoring, one, plan):
        return
    one.reached[model] = plan
    if scoring.goal.shared or len(one.reached) == len(scoring.models):
        plans = tuple(one.reached.get(index) for index in range(len(scoring.models)))
        scoring.front.offer(
            reached_scores(scoring, one.costs, plans), Reached(one.section, one.places, one.costs, plans)
        )


def _value(scoring: Scoring, one: ChipCandidate, plan: ReachedPlan) -> float:
    return scoring.goal.score(scoring.goal.objectives[0], plan.samples_per_s, plan.joules, one.costs)


def reached_scores(scoring: Scoring, costs: Costs, plans: tuple[ReachedPlan | None, ...]) -> Scores:
    """Return the scores of a chip with these plans; None: a model that does not run there."""
    known = FamilyBounds(
        samples_per_s=tuple(np.array([[0.0 if plan is None else plan.samples_per_s]]) for plan in plans),
        joules=tuple(np.array([[0.0 if plan is None else plan.joules]]) for plan in plans),
        costs=costs,
    )
    return tuple(scoring.vectors(known)[:, 0].tolist())
