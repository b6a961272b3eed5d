"""From a question about one model to its answer: the search, the plans to compare with, the chips that were seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hardplace.branch_and_bound.types import LIMITS, ONE_PERCENT, Progress, Stop, StoppingRule
from hardplace.design.cloud import cloud
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.exact.partition_problem import families
from hardplace.design.goals import UNITS, Goal, Objective, shown
from hardplace.design.partition.types import Infeasible
from hardplace.design.question import Question
from hardplace.design.search.candidates import ReachedPlan, SearchOutcome
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.scoring import score_of
from hardplace.design.types import Baseline, DesignResult, Evaluation, FrontierPoint, Job, ParetoResult
from hardplace.errors import BadInput
from hardplace.hardware.phaze import TPUV4
from hardplace.hardware.space_files import space as space_of
from hardplace.ndtypes import Ints
from hardplace.version import __version__
from hardplace.workload.types import OperatorKind, Workload

_REFERENCE_GAP = 0.01  # to which the plans on the chip to compare with are searched


def answer(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> DesignResult | Infeasible:
    """Return the best chip and plan of a question with its certificate, or what every candidate lacks.

    evaluator: where exact evaluations are done (None: in this process). report: called with the incumbent and the
    bound as they move. An interrupt (KeyboardInterrupt) ends the search with the best answer so far; it is raised
    again if there is none yet.
    """
    evaluator = evaluator or in_process(question, ends.gap)
    search = DesignSearch(question=question, ends=ends, report=report, evaluator=evaluator)
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    plan = found.reached[0].plans[0]
    baselines = (_reference(question, ends.gap, evaluator), _pure_data_parallel(search, plan, found.reached[0].places))
    best, score = plan, found.scores[0][0]
    if question.goal.objectives == (Objective.THROUGHPUT,):
        best = _fastest(question, plan, baselines)
        score = best.samples_per_s
    return _exploration(search, found, best, score, baselines)


def frontier(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> ParetoResult | Infeasible:
    """Return the frontier of a question with several objectives; arguments as for `answer`."""
    search = DesignSearch(question=question, ends=ends, report=report, evaluator=evaluator)
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    objectives = question.goal.objectives
    points = [
        FrontierPoint(values=tuple(shown(one, value) for one, value in zip(objectives, scores, strict=True)),
                      evaluation=evaluated(reached.plans[0]))
        for reached, scores in zip(found.reached, found.scores, strict=True)
    ]  # fmt: skip
    return ParetoResult(
        version=__version__,
        model=question.workloads[0].name,
        setting=question.setting.name,
        space=question.space.name,
        objectives=tuple(objectives),
        units=tuple(UNITS[one][0] for one in objectives),
        inverse=tuple(UNITS[one][1] for one in objectives),
        budget=question.budget,
        devices=question.setting.cluster.devices,
        points=tuple(points),
        gap=found.excess,
        stop=found.stop,
        seconds=found.seconds,
        chips_in_space=found.chips,
        candidates=found.candidates,
        exact_evaluations=found.exact_evaluations,
        levels=found.levels,
        notes=notes(question),
    )


def explored(search: DesignSearch) -> SearchOutcome | Infeasible:
    """Return what a search reached, or what every candidate lacks; too_early is raised if it ended before either."""
    short = search.shortage()
    if short is not None:
        return short
    found = search.run()
    if found.reached and math.isfinite(found.excess):
        return found
    if found.reached:
        raise too_early(found.stop, "every chip was bounded")
    if found.stop in LIMITS:
        raise too_early(found.stop, "any plan was reached")
    return search.nothing()


def too_early(stop: Stop, what: str) -> KeyboardInterrupt | BadInput:
    """Return what to raise where a search ended before something: the interrupt again, or which limit ended it."""
    if stop is Stop.INTERRUPTED:
        return KeyboardInterrupt()
    return BadInput(f"search: {stop.value} before {what}; expected more of it")


def evaluated(plan: ReachedPlan) -> Evaluation:
    """Return the exact evaluation of a plan of an answer."""
    assert plan.evaluation is not None
    return plan.evaluation


def _reference(question: Question, gap: float, evaluator: ChipEvaluator) -> Baseline:
    """Return PHAZE's TPUv4-like chip with its best plan in the same setting."""
    cores, rows, columns, vectors, lanes, buffer_bytes = TPUV4
    chip = replace(
        space_of("phaze"), tensor_cores=(cores,), array_rows=(rows,), array_columns=(columns,), vector_cores=(vectors,),
        vector_lanes=(lanes,), buffer_bytes=(buffer_bytes,),
    )  # fmt: skip
    budget = replace(question.budget, area_mm2=chip.area_limit_mm2, tdp_w=None, usd=None, memory_bytes=None)
    goal = Goal(devices=question.goal.devices)
    asked = replace(question, space=chip, budget=replace(budget, step_s=None), goal=goal)
    search = DesignSearch(question=asked, ends=StoppingRule(gap=max(gap, _REFERENCE_GAP)), evaluator=evaluator)
    short = search.shortage()
    found = None if short is not None else search.run()
    if found is None or not found.reached:
        return Baseline(name="TPUv4", evaluation=None, infeasible=short)
    reached = found.reached[0]
    evaluation = evaluated(reached.plans[0])
    score = None
    if question.goal.objectives != (Objective.THROUGHPUT,):
        judge = DesignSearch(
            question=replace(asked, goal=question.goal), ends=StoppingRule(gap=gap), evaluator=evaluator
        )
        score = score_of(judge.scoring, reached.places, evaluation)
    return Baseline(name="TPUv4", evaluation=evaluation, infeasible=None, score=score)


def _pure_data_parallel(search: DesignSearch, plan: ReachedPlan, places: Ints) -> Baseline:
    """Return the best plan on the chosen chip in which every device holds the whole model."""
    label = "pure data parallel"
    question = search.question
    goal = question.goal
    reached: Evaluation | None = None
    best = None
    lacking: list[Infeasible] = []
    own = (plan.job.chip.memory_bytes,) if question.space.memories else question.choices.memory_bytes
    for family in families(replace(question.choices, memory_bytes=own), question.setting.batch_samples):
        if family.tensor_parallel == 1:
            chip = replace(plan.job.chip, memory_bytes=family.memory_bytes)
            one = search.evaluate(Job(model=plan.job.model, chip=chip, family=family, max_stages=1))
            if isinstance(one, Infeasible):
                lacking.append(one)
                continue
            score = None if goal.objectives == (Objective.THROUGHPUT,) else score_of(search.scoring, places, one)
            if reached is None or (score or 0.0, one.samples_per_s) > (best or 0.0, reached.samples_per_s):
                reached, best = one, score
    if reached is not None:
        return Baseline(name=label, evaluation=reached, infeasible=None, score=best)
    short = min(lacking, key=lambda one: one.needed / one.available, default=None)
    return Baseline(name=label, evaluation=None, infeasible=short)


def _fastest(question: Question, plan: ReachedPlan, baselines: tuple[Baseline, ...]) -> ReachedPlan:
    """Return the answer, or a plan to compare with that is within the limits and faster (by less than the gap)."""
    budget = question.budget
    if any(limit is not None for limit in (budget.tdp_w, budget.usd, budget.memory_bytes, budget.step_s)):
        return plan
    if question.space.memories or question.space.name != "phaze":
        return plan
    for baseline in baselines:
        other = baseline.evaluation
        within = other is not None and other.chip.area_mm2 <= budget.area_mm2
        if other is not None and within and other.samples_per_s > plan.samples_per_s:
            job = Job(model=plan.job.model, chip=other.chip, family=other.family)
            plan = ReachedPlan(job, other.samples_per_s, plan.joules, other)
    return plan


def notes(question: Question) -> tuple[str, ...]:
    """Return what an answer leaves out: operators without a model, tied parameters, mixed models of area."""
    found = [text for workload in question.workloads for text in _notes(workload)]
    if question.goal.needs_energy:
        found.append(
            "energy is of the kernels and of idle chips; not of the gradient reduction, transfers between stages and "
            "the optimizer step; a plan with recompute is charged a second forward pass in every layer"
        )
    if question.space.area_model.value == "phaze" and any(
        one not in (Objective.THROUGHPUT, Objective.AREA) for one in question.goal.objectives
    ):
        found.append(
            f"area is PHAZE's model at 45 nm; TDP, price, carbon and energy are those of the parts at "
            f"{question.space.node_nm:g} nm"
        )
    return tuple(found)


def _notes(workload: Workload) -> tuple[str, ...]:
    found = []
    layers = workload.layers
    priced = [
        operator
        for index in workload.order
        for operator in layers[index].operators
        if operator.kind is not OperatorKind.VIEW
    ]
    other = [operator for operator in priced if operator.kind is OperatorKind.OTHER]
    if other:
        elements = sum(operator.dims[0].factor for operator in other)
        every = sum(operator.dims[0].factor for operator in priced if operator.kind is not OperatorKind.MATMUL)
        names = ", ".join(sorted({operator.name for operator in other}))
        share = elements / every if every else 0.0
        found.append(f"operators without a model of their own ({share:.2%} of vector elements): {names}")
    held = sum(layers[index].parameters for index in workload.order)
    if held > workload.parameters:
        found.append(
            f"{held - workload.parameters:,} tied parameters are held by the first and the last layer alike; "
            "the all-reduce that keeps the copies equal is not charged"
        )
    return tuple(found)


def _exploration(
    search: DesignSearch, found: SearchOutcome, plan: ReachedPlan, score: float, baselines: tuple[Baseline, ...]
) -> DesignResult:
    question = search.question
    setting, workload = question.setting, question.workloads[0]
    (objective,) = question.goal.objectives
    costs, billed = found.reached[0].costs, search.scoring.limits.billed
    return DesignResult(
        version=__version__,
        model=workload.name,
        parameters=workload.parameters,
        sequence_length=workload.sequence_length,
        setting=setting.name,
        space=question.space.name,
        objective=objective.value,
        unit=UNITS[objective][0],
        inverse=UNITS[objective][1],
        budget=question.budget,
        cluster=setting.cluster,
        batch_samples=setting.batch_samples,
        optimizer=setting.optimizer.name,
        choices=question.choices,
        target_gap=search.ends.gap,
        limit_s=search.ends.limit_s,
        chips_in_space=found.chips,
        candidates=found.candidates,
        best=evaluated(plan),
        baselines=baselines,
        score=score,
        bound=max(score, found.scores[0][0] * (1.0 + found.excess)),
        stop=found.stop,
        seconds=found.seconds,
        exact_evaluations=found.exact_evaluations,
        levels=found.levels,
        progress=found.progress,
        cloud=cloud(search, found.reached[0].section, evaluated(plan)),
        notes=notes(question),
        tdp_w=float(costs.tdp_w[0]) if billed else None,
        usd=float(costs.usd[0]) if billed else None,
    )
