"""Several models at once: one chip for all of them, or the best set of a few (docs/model-search.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import PROOF_SHARE, Deadline, deadline_of
from hardplace.branch_and_bound.types import LIMITS, ONE_PERCENT, Progress, Stop, StoppingRule
from hardplace.certificate import percent_at_most
from hardplace.design.answer import explored, laid_out
from hardplace.design.chip_set import best_chip_set
from hardplace.design.consistency import check_answer
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.goals import UNITS
from hardplace.design.notes import notes
from hardplace.design.question import Question
from hardplace.design.results import ModelOnChip, SharedResult
from hardplace.design.search.candidates import Reached, SearchOutcome, evaluated, only_plan
from hardplace.hardware.space_files import label_of
from hardplace.version import __version__


def together(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> SharedResult | Infeasible:
    """Return the best chip for several models, or the best set of a few, and which model runs where.

    Each model is searched alone first, to the same gap: the score on its own best chip is what its scores are divided
    by. `ends` holds for each of these searches and for the one after them, but for its seconds, which they share. An
    interrupt of one of the first is raised at once: nothing is known of all models yet. Arguments as for `answer`.
    """
    evaluator = evaluator or in_process(question, ends.gap)
    goal, norms, open_ = question.goal, [], []
    start: list[Reached] = []
    whole = deadline_of(ends).rest
    for place, workload in enumerate(question.workloads):
        own = replace(goal, weights=(1.0,), norms=(1.0,), fleet=1)
        asked = replace(question, workloads=(workload,), goal=own)
        within = _share(whole, len(question.workloads) + 1 - place)
        alone = explored(laid_out(asked, ends, report, evaluator, within))
        if isinstance(alone, Infeasible):
            return replace(alone, what=f"{workload.name}: {alone.what}")
        if alone.stop is Stop.INTERRUPTED:
            raise KeyboardInterrupt  # there is no answer for all of them yet
        norms.append(alone.scores[0][0])
        if goal.shared:  # a fleet can have each model's own best
            plans = tuple(only_plan(alone.reached[0]) if index == place else None for index in range(len(goal.norms)))
            start.append(replace(alone.reached[0], plans=plans))
        if alone.stop in LIMITS:
            open_.append(
                f"{workload.name}: {alone.stop.value}: its own best, which scores are divided by, may be up to "
                f"{percent_at_most(alone.excess)} above {norms[-1]:.6g}"
            )
    asked = replace(question, goal=replace(goal, norms=tuple(norms)))
    found = explored(laid_out(asked, ends, report, evaluator, _share(whole, 1), tuple(start)))
    return found if isinstance(found, Infeasible) else _shared(asked, found, tuple(open_))


def _share(whole: Deadline, searches: int) -> Deadline:
    """Return the deadline of the next of so many searches that share what is left."""
    left_s = None if whole.limit_s is None else (whole.limit_s - whole.elapsed_s) / searches
    return Deadline(limit_s=left_s, share=PROOF_SHARE)


def _shared(question: Question, found: SearchOutcome, open_: tuple[str, ...]) -> SharedResult:
    """Return the answer; open_: what is said of own bests that are not proven."""
    goal = question.goal
    (objective,) = goal.objectives
    if goal.fleet > 1:
        score, places = best_chip_set(goal, np.array(found.scores))
    else:
        score, places = found.scores[0][0], (0,) * len(question.workloads)
    used = sorted(set(places), key=places.index)
    runs = []
    for model, place in enumerate(places):
        plan = found.reached[place].plans[model]
        evaluation = evaluated(plan)
        assert plan is not None
        costs = found.reached[place].costs
        runs.append(
            ModelOnChip(
                model=question.workloads[model].name,
                chip=used.index(place),
                score=goal.score(objective, plan.samples_per_s, plan.joules, costs),
                own_best=goal.norms[model],
                evaluation=evaluation,
            )
        )
    check_answer(question, tuple(run.evaluation for run in runs), gap=found.excess)
    return SharedResult(
        version=__version__,
        setting=question.setting.name,
        space=label_of(question.space),
        objective=objective.value,
        unit=UNITS[objective][0],
        combine=goal.combine.value,
        weights=goal.weights,
        budget=question.budget,
        devices=question.setting.cluster.devices,
        chips=tuple(evaluated(found.reached[place].plans[places.index(place)]).chip for place in used),
        runs=tuple(runs),
        score=score,
        bound=score * (1.0 + found.excess),
        stop=found.stop,
        seconds=found.seconds,
        chips_in_space=found.chips,
        candidates=found.candidates,
        exact_evaluations=found.exact_evaluations,
        levels=found.levels,
        notes=(*open_, *notes(question)),
    )
