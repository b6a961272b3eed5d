"""Every strategy on one question with one budget, and the certified search beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.problem import Refined
from hardplace.branch_and_bound.types import StoppingRule
from hardplace.design.answer import explored
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.notes import notes
from hardplace.design.question import Question
from hardplace.design.search.candidates import SearchOutcome, evaluated
from hardplace.design.search.explore import DesignSearch
from hardplace.design.strategies import bayesian, phaze, random, wham
from hardplace.design.strategies.oracle import Oracle, Spent
from hardplace.design.strategies.types import Certified, Comparison, End, Point, Trial
from hardplace.design.types import Evaluation, Outcome
from hardplace.errors import BadInput
from hardplace.units import GIB
from hardplace.version import __version__

STRATEGIES = MappingProxyType({"phaze": phaze, "wham": wham, "bayesian": bayesian, "random": random})


def compare(
    question: Question,
    names: tuple[str, ...],
    ends: StoppingRule,
    *,
    seed: int = 0,
    evaluator: ChipEvaluator | None = None,
    report: Callable[[str], None] | None = None,
) -> Comparison | Infeasible:
    """Run the certified search to its gap, then each strategy from scratch within the same limits.

    The limits of ends are for the strategies; the certified search runs until its gap, so that it is the optimum that
    stands beside them. On workers each strategy is one piece of work, with all of its limits. evaluator: where the
    search is refined and strategies run; None: in this process. report: called with the name of what is waited for.
    Returns what every candidate lacks if that is all.
    """
    tell = report or (lambda name: None)
    tell("certified search")
    there = evaluator or in_process(question, ends.gap)
    search = DesignSearch(question=question, ends=StoppingRule(gap=ends.gap), evaluator=there)
    if question.space.memories or question.space.links_bytes_per_s or len(question.workloads) != 1:
        raise BadInput("compare: expected one model and a space with one memory and one kind of link")
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    trials = []
    steps = there.steps(_Trials(question, ends, seed))
    for number, name in enumerate(names):
        steps.start(number, name, ())
    for number, name in enumerate(names):
        tell(name)
        trials.append(steps.finish(number).refined.tally)
    return Comparison(
        version=__version__,
        model=question.workloads[0].name,
        setting=question.setting.name,
        objective=question.goal.objectives[0],
        area_mm2=question.budget.area_mm2,
        tdp_w=question.budget.tdp_w,
        chips_in_space=found.chips,
        candidates=found.candidates,
        seed=seed,
        limit_s=ends.limit_s,
        limit_evaluations=ends.evaluations,
        certified=_certified(found),
        trials=tuple(trials),
        notes=notes(question),
    )


def _certified(found: SearchOutcome) -> Certified:
    best, (score,) = evaluated(found.reached[0].plans[0]), found.scores[0]
    way = [
        Point(seconds=now.seconds, evaluations=found.exact_evaluations, score=now.score)
        for now in found.progress
        if now.score > 0
    ]
    last = Point(seconds=found.seconds, evaluations=found.exact_evaluations, score=score)
    return Certified(
        score=score,
        bound_score=score * (1.0 + found.excess),
        samples_per_s=best.samples_per_s,
        tdp_w=_known(float(found.reached[0].costs.tdp_w[0])),
        chip=best.chip.name,
        plan=_plan(best),
        evaluations=found.exact_evaluations,
        seconds=found.seconds,
        stop=found.stop.value,
        way=(*way, last),
    )


@dataclass(frozen=True, slots=True)
class _Trials:
    """Strategies as refinements that leave nothing: the tally of each is its trial, with exact evaluations of its own,
    since its seconds count."""

    question: Question
    ends: StoppingRule
    seed: int

    def job(self, candidate: str) -> None:
        """Return no exact evaluation that is needed before."""

    def refine(self, candidate: str, outcome: Outcome | None, front: Front[Any]) -> Refined[str]:
        """Run a strategy, by its name."""
        return Refined(left=(), offers=(), tally=_trial(self.question, candidate, self.ends, self.seed))


def _trial(question: Question, name: str, ends: StoppingRule, seed: int) -> Trial:
    oracle = Oracle(question, ends)
    end = End.OWN
    try:
        STRATEGIES[name].search(oracle, seed)
    except Spent as spent:
        end = spent.end
    best = oracle.best
    last = Point(seconds=oracle.seconds, evaluations=len(oracle.seen), score=oracle.best_score)
    return Trial(
        strategy=name,
        source=STRATEGIES[name].SOURCE,
        score=last.score,
        samples_per_s=best.samples_per_s if best else 0.0,
        tdp_w=_known(oracle.best_tdp_w),
        chip=best.chip.name if best else "",
        plan=_plan(best) if best else "",
        evaluations=last.evaluations,
        chips=len({chip for chip, _ in oracle.seen}),
        seconds=last.seconds,
        end=end,
        way=(*oracle.way, last),
    )


def _known(tdp_w: float) -> float | None:
    return None if math.isnan(tdp_w) else tdp_w


def _plan(evaluation: Evaluation) -> str:
    family, placement = evaluation.family, evaluation.placement
    return (
        f"tensor {family.tensor_parallel} × pipeline {len(placement.stages)} × data {placement.data_parallel}, "
        f"micro-batch {family.micro_batch}, {'full' if family.recompute else 'no'} recompute, "
        f"{family.memory_bytes / GIB:g} GiB"
    )
