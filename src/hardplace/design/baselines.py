"""Baselines of an answer: PHAZE's TPUv4-like chip in the same setting, and pure data parallelism on the chosen chip."""

from __future__ import annotations

from dataclasses import replace

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import LIMITS, Stop, StoppingRule
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.exact.partition_problem import families
from hardplace.design.goals import Goal, Objective
from hardplace.design.search.candidates import Reached, ReachedPlan, SearchOutcome, evaluated
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.scoring import score_of
from hardplace.design.types import Baseline, Evaluation, Job
from hardplace.hardware.phaze import TPUV4
from hardplace.hardware.space_files import space as space_of
from hardplace.hardware.types import Accelerator

REFERENCE_GAP = 0.01  # to which the plans on the chip to compare with are searched
REFERENCE_WORK = 0.05  # how hard their schedules are tried: a second for a layer, where the answer's may take ten
_HURRIED_S = 1.0  # for them where the search has used up its own time
TPUV4_LIKE, DATA_PARALLEL = "TPUv4", "pure data parallel"


def quick_evaluator(search: DesignSearch, found: SearchOutcome) -> ChipEvaluator:
    """Return what evaluates plans to compare with: with a bounded effort until the time of the search is over, or with
    list schedules if it is.
    """
    hurried = found.stop in LIMITS or search.deadline.over
    deadline = None if hurried else search.deadline
    return in_process(search.question, search.ends.gap, work=0.0 if hurried else REFERENCE_WORK, deadline=deadline)


def reference(search: DesignSearch, plan: ReachedPlan, found: Reached, evaluator: ChipEvaluator) -> Baseline:
    """Return PHAZE's TPUv4-like chip with its best plan in the same setting; the answer's plan plays no role."""
    question, gap = search.question, search.ends.gap
    cores, rows, columns, vectors, lanes, buffer_bytes = TPUV4
    chip = replace(
        space_of("phaze"), tensor_cores=(cores,), array_rows=(rows,), array_columns=(columns,), vector_cores=(vectors,),
        vector_lanes=(lanes,), buffer_bytes=(buffer_bytes,),
    )  # fmt: skip
    budget = replace(question.budget, area_mm2=chip.area_limit_mm2, tdp_w=None, usd=None, memory_bytes=None)
    goal = Goal(devices=question.goal.devices)
    asked = replace(question, space=chip, budget=replace(budget, step_s=None), goal=goal)
    limit_s = None if search.ends.limit_s is None else max(_HURRIED_S, search.ends.limit_s - search.deadline.elapsed_s)
    ends = StoppingRule(gap=max(gap, REFERENCE_GAP), limit_s=limit_s)
    alone = DesignSearch(question=asked, ends=ends, evaluator=evaluator, alike=search.scoring.models)
    short = alone.shortage()
    best = None if short is not None else alone.run()
    if best is not None and best.stop is Stop.INTERRUPTED:
        raise KeyboardInterrupt
    if best is None or not best.reached:
        return Baseline(name=TPUV4_LIKE, evaluation=None, infeasible=short)
    reached = best.reached[0]
    evaluation = evaluated(reached.plans[0])
    score = None
    if question.goal.objectives != (Objective.THROUGHPUT,):
        judge = DesignSearch(
            question=replace(asked, goal=question.goal), ends=StoppingRule(gap=gap), evaluator=evaluator
        )
        score = score_of(judge.scoring, reached.section, reached.places, evaluation)
    return Baseline(name=TPUV4_LIKE, evaluation=evaluation, infeasible=None, score=score)


def pure_data_parallel(search: DesignSearch, plan: ReachedPlan, found: Reached, evaluator: ChipEvaluator) -> Baseline:
    """Return the best plan on the chosen chip in which every device holds the whole model."""
    label = DATA_PARALLEL
    question = search.question
    goal = question.goal
    reached: Evaluation | None = None
    best = None
    lacking: list[Infeasible] = []
    own = (plan.job.chip.memory_bytes,) if question.space.memories else question.choices.memory_bytes
    for family in families(replace(question.choices, memory_bytes=own), question.setting.batch_samples):
        if family.tensor_parallel == 1:
            chip = replace(plan.job.chip, memory_bytes=family.memory_bytes)
            one = evaluator.evaluate(Job(model=plan.job.model, chip=chip, family=family, max_stages=1))
            if isinstance(one, Infeasible):
                lacking.append(one)
                continue
            score = None
            if goal.objectives != (Objective.THROUGHPUT,):
                score = score_of(search.scoring, found.section, found.places, one)
            if reached is None or (score or 0.0, one.samples_per_s) > (best or 0.0, reached.samples_per_s):
                reached, best = one, score
    if reached is not None:
        return Baseline(name=label, evaluation=reached, infeasible=None, score=best)
    short = min(lacking, key=lambda one: one.needed / one.available, default=None)
    return Baseline(name=label, evaluation=None, infeasible=short)


def fastest(search: DesignSearch, plan: ReachedPlan, baselines: tuple[Baseline, ...]) -> ReachedPlan:
    """Return the answer, or a plan to compare with that is of the space and faster (by less than the gap)."""
    budget = search.question.budget
    if any(limit is not None for limit in (budget.tdp_w, budget.usd, budget.memory_bytes, budget.step_s)):
        return plan
    for baseline in baselines:
        other = baseline.evaluation
        if other is not None and other.samples_per_s > plan.samples_per_s and _has(search, other.chip):
            job = Job(model=plan.job.model, chip=other.chip, family=other.family)
            plan = ReachedPlan(job, other.samples_per_s, plan.joules, other)
    return plan


def _has(search: DesignSearch, chip: Accelerator) -> bool:
    """Return whether a chip with the setting's memory and links is one of the search's space, within its limits."""
    space, limits = search.question.space, search.scoring.limits
    places = space.place_of(chip, search.question.setting.clock_hz)
    if places is None or space.memories or space.links_bytes_per_s:
        return False
    chips = space.at(places)
    costs, _, _ = limits.costs(search.scoring.sections[0], chips)
    return bool((limits.within(costs) & limits.large(chips, costs))[0])
