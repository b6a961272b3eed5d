"""From a question about one model to its answer: the search, the baselines, the chips of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.types import LIMITS, ONE_PERCENT, Finishing, Progress, Stop, StoppingRule
from hardplace.certificate import gap_of, percent_at_most
from hardplace.design.cloud import cloud
from hardplace.design.consistency import check_answer
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.exact.partition_problem import families
from hardplace.design.existing import existing_chips
from hardplace.design.goals import UNITS, Goal, Objective, shown
from hardplace.design.question import Question
from hardplace.design.results import DesignResult, FrontierPoint, ParetoResult
from hardplace.design.search.candidates import Reached, ReachedPlan, SearchOutcome
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.scoring import score_of
from hardplace.design.sensitivity import sensitivity
from hardplace.design.types import Baseline, Cloud, Evaluation, ExistingChip, Job, Sensitivity
from hardplace.errors import BadInput
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.phaze import TPUV4
from hardplace.hardware.space_files import label_of
from hardplace.hardware.space_files import space as space_of
from hardplace.hardware.types import Accelerator
from hardplace.ndtypes import Ints
from hardplace.units import format_quantity, percent
from hardplace.version import __version__
from hardplace.workload.types import OperatorKind, Workload
from hardplace.workload.weights import weights_of_model

_REFERENCE_GAP = 0.01  # to which the plans on the chip to compare with are searched
_REFERENCE_WORK = 0.05  # how hard their schedules are tried: a second for a layer, where the answer's may take ten
_HURRIED_S = 1.0  # for them where the search has used up its own time
_TPUV4, _DATA_PARALLEL, _EXISTING = "TPUv4", "pure data parallel", "chips that exist"


def answer(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> DesignResult | Infeasible:
    """Return the best chip and plan of a question with its certificate, or what every candidate lacks.

    Args:
        question: The question.
        ends: When to stop.
        report: Called with incumbent and bound as they move.
        evaluator: Where exact evaluations are done; None: in this process.

    Raises:
        KeyboardInterrupt: For an interrupt before a first plan; a later one ends the search with the best answer so
            far.
    """
    evaluator = evaluator or in_process(question, ends.gap)
    search = DesignSearch(question=question, ends=ends, report=report, evaluator=evaluator)
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    plan = only_plan(found.reached[0])
    baselines: tuple[Baseline, ...] = ()
    beside: tuple[ExistingChip, ...] = ()
    moved: tuple[Sensitivity, ...] = ()
    parts = question.space.area_model is Preset.PARTS
    references = () if parts else ((_TPUV4, _reference),)
    best, score = plan, found.scores[0][0]
    seen: Cloud | None = None
    quick = _quick(search, found)
    try:
        if found.stop is not Stop.INTERRUPTED:
            if parts:
                _tell(search, found, f"comparing with {_EXISTING}")
                hurried = found.stop in LIMITS or search.deadline.over
                least = StoppingRule(gap=max(ends.gap, _REFERENCE_GAP))
                beside = tuple(existing_chips(search, least, 0.0 if hurried else _REFERENCE_WORK))
            for doing, compare in (*references, (_DATA_PARALLEL, _pure_data_parallel)):
                _tell(search, found, f"comparing with {doing}")
                baselines += (compare(search, plan, found.reached[0].places, quick),)
            if question.goal.objectives == (Objective.THROUGHPUT,):
                best = _fastest(search, plan, baselines)
                score = best.samples_per_s
                if parts:
                    _tell(search, found, "looking at what moves the answer")
                    lists = in_process(question, search.ends.gap, work=0.0)
                    moved = tuple(sensitivity(search, found.reached[0], evaluated(best), lists))
            _tell(search, found, "looking at the chips of the page")
            seen = cloud(search, found.reached[0].section, evaluated(best))
    except KeyboardInterrupt:
        found = replace(found, stop=Stop.INTERRUPTED)
    return _exploration(search, found, best, score, baselines, seen, beside, moved)


def frontier(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> ParetoResult | Infeasible:
    """Return the Pareto front of a question with several objectives; arguments as for `answer`."""
    search = DesignSearch(question=question, ends=ends, report=report, evaluator=evaluator)
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    objectives = question.goal.objectives
    check_answer(question, tuple(evaluated(only_plan(one)) for one in found.reached), gap=found.excess)
    points = [
        FrontierPoint(values=tuple(shown(one, value) for one, value in zip(objectives, scores, strict=True)),
                      evaluation=evaluated(reached.plans[0]))
        for reached, scores in zip(found.reached, found.scores, strict=True)
    ]  # fmt: skip
    return ParetoResult(
        version=__version__,
        model=question.workloads[0].name,
        setting=question.setting.name,
        space=label_of(question.space),
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
    """Return what a search reached, or what every candidate lacks; `too_early` is raised if it ended before either."""
    short = search.shortage()
    if short is not None:
        return short
    found = search.run()
    if found.stop is Stop.SCHEDULES and search.question.budget.step_s is not None:
        # By its bound a chip is within the limit of a step, but not with the schedules that were found.
        again = replace(search, evaluator=in_process(search.question, 0.0), within=search.deadline)
        exact = again.run()
        if exact.stop not in LIMITS and (exact.excess < found.excess or not found.reached):
            search, found = again, exact
    if found.reached and math.isfinite(found.excess):
        return found
    if found.reached:
        raise too_early(found.stop, "every chip was bounded")
    if found.stop in LIMITS:
        raise too_early(found.stop, "any plan was reached")
    if found.stop is Stop.SCHEDULES:
        raise undecided(search.question)
    return search.nothing()


def undecided(question: Question) -> BadInput:
    """Return the error where no plan was reached within the limit on the step, and none is ruled out."""
    return BadInput(
        f"search: a step of {format_quantity(question.budget.step_s or 0.0, 's', 6)}: no plan that fast was found,"
        " and a chip that could be is not ruled out, since its schedules are not solved to the end; expected a limit "
        "that is a little longer or shorter"
    )


def too_early(stop: Stop, what: str) -> KeyboardInterrupt | BadInput:
    """Return the error where a search ended before something: the interrupt again, or which limit ended it."""
    if stop is Stop.INTERRUPTED:
        return KeyboardInterrupt()
    return BadInput(f"search: {stop.value} before {what}; expected more of it")


def only_plan(reached: Reached) -> ReachedPlan:
    """Return the plan of the only model."""
    (plan,) = reached.plans
    assert plan is not None
    return plan


def evaluated(plan: ReachedPlan | None) -> Evaluation:
    """Return the exact evaluation of a plan of an answer."""
    assert plan is not None
    assert plan.evaluation is not None
    return plan.evaluation


def _quick(search: DesignSearch, found: SearchOutcome) -> ChipEvaluator:
    """Return what evaluates plans to compare with: with a bounded effort, and with list schedules once time is up."""
    hurried = found.stop in LIMITS or search.deadline.over
    return in_process(search.question, search.ends.gap, work=0.0 if hurried else _REFERENCE_WORK)


def _tell(search: DesignSearch, found: SearchOutcome, doing: str) -> None:
    """Report what is still done."""
    if search.report is not None:
        score, bound = found.scores[0][0], found.scores[0][0] * (1.0 + found.excess)
        search.report(Finishing(seconds=search.deadline.elapsed_s, score=score, bound=bound, doing=doing))


def _reference(search: DesignSearch, plan: ReachedPlan, places: Ints, evaluator: ChipEvaluator) -> Baseline:
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
    ends = StoppingRule(gap=max(gap, _REFERENCE_GAP), limit_s=limit_s)
    alone = DesignSearch(question=asked, ends=ends, evaluator=evaluator, alike=search.scoring.models)
    short = alone.shortage()
    found = None if short is not None else alone.run()
    if found is not None and found.stop is Stop.INTERRUPTED:
        raise KeyboardInterrupt
    if found is None or not found.reached:
        return Baseline(name=_TPUV4, evaluation=None, infeasible=short)
    reached = found.reached[0]
    evaluation = evaluated(reached.plans[0])
    score = None
    if question.goal.objectives != (Objective.THROUGHPUT,):
        judge = DesignSearch(
            question=replace(asked, goal=question.goal), ends=StoppingRule(gap=gap), evaluator=evaluator
        )
        score = score_of(judge.scoring, reached.places, evaluation)
    return Baseline(name=_TPUV4, evaluation=evaluation, infeasible=None, score=score)


def _pure_data_parallel(search: DesignSearch, plan: ReachedPlan, places: Ints, evaluator: ChipEvaluator) -> Baseline:
    """Return the best plan on the chosen chip in which every device holds the whole model."""
    label = _DATA_PARALLEL
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
            score = None if goal.objectives == (Objective.THROUGHPUT,) else score_of(search.scoring, places, one)
            if reached is None or (score or 0.0, one.samples_per_s) > (best or 0.0, reached.samples_per_s):
                reached, best = one, score
    if reached is not None:
        return Baseline(name=label, evaluation=reached, infeasible=None, score=best)
    short = min(lacking, key=lambda one: one.needed / one.available, default=None)
    return Baseline(name=label, evaluation=None, infeasible=short)


def _fastest(search: DesignSearch, plan: ReachedPlan, baselines: tuple[Baseline, ...]) -> ReachedPlan:
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
        found.append(f"operators without a model of their own ({percent(share, 2)} of vector elements): {names}")
    held = weights_of_model(workload)
    if workload.shared:
        found.append(
            f"{len(workload.shared):,} parameters are used by several layers, {held.twice:,} elements more than once: "
            "held once by a stage; stages that share one add up its gradient"
        )
    if held.elements < workload.parameters:
        found.append(
            f"{workload.parameters - held.elements:,} of {workload.parameters:,} parameters take no part in what was "
            "recorded, and are not held"
        )
    if held.trained < held.elements:
        found.append(
            f"{held.elements - held.trained:,} parameters are frozen: held without gradient and optimizer's states"
        )
    return tuple(found)


def _exploration(
    search: DesignSearch, found: SearchOutcome, plan: ReachedPlan, score: float, baselines: tuple[Baseline, ...],
    seen: Cloud | None, beside: tuple[ExistingChip, ...], moved: tuple[Sensitivity, ...],
) -> DesignResult:  # fmt: skip
    question = search.question
    setting, workload = question.setting, question.workloads[0]
    (objective,) = question.goal.objectives
    bound = found.scores[0][0] * (1.0 + found.excess)
    check_answer(question, (evaluated(plan),), gap=bound / score - 1.0)
    tdp_w, usd = _taken(search, found.reached[0])
    return DesignResult(
        version=__version__,
        model=workload.name,
        parameters=workload.parameters,
        sequence_length=workload.sequence_length,
        setting=setting.name,
        space=label_of(question.space),
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
        bound=max(score, bound),
        stop=found.stop,
        seconds=found.seconds,
        exact_evaluations=found.exact_evaluations,
        levels=found.levels,
        progress=found.progress,
        cloud=seen or Cloud(area_mm2=(), samples_per_s=(), bound_samples_per_s=(), label=()),
        notes=(*_lacking(baselines, seen, beside, parts=question.space.area_model is Preset.PARTS), *notes(question)),
        tdp_w=tdp_w,
        usd=usd,
        existing=beside,
        sensitivity=moved,
    )


def _taken(search: DesignSearch, reached: Reached) -> tuple[float | None, float | None]:
    """Return TDP and cost of making of a chip that was reached; None where nothing asks for them."""
    if search.scoring.limits.billed:
        return float(reached.costs.tdp_w[0]), float(reached.costs.usd[0])
    if search.question.space.area_model is not Preset.PARTS:
        return None, None
    bill, cost, _ = search.scoring.sections[reached.section].pricer.bill(search.question.space.at(reached.places))
    return float(bill.tdp_w[0]), float(cost.usd[0])


def _lacking(
    baselines: tuple[Baseline, ...], seen: Cloud | None, beside: tuple[ExistingChip, ...], *, parts: bool
) -> Iterator[str]:
    """Yield what an answer lacks that was interrupted, and which plans to compare with could be faster than said."""
    names = [one.name for one in baselines] + [_EXISTING] * bool(beside)
    wanted = (_EXISTING if parts else _TPUV4, _DATA_PARALLEL)
    missing = [f"the comparison with {name}" for name in wanted if name not in names]
    missing += ["the other chips of the page"] if seen is None else []
    if missing:
        yield f"interrupted: {', '.join(missing)} missing; the same command goes on from here and adds them"
    for one in baselines:
        if one.evaluation is not None:
            gap = gap_of(one.evaluation.samples_per_s, one.evaluation.bound_samples_per_s)
            if gap > _REFERENCE_GAP:
                yield f"{one.name}: at most {percent_at_most(gap)} faster, as its schedules are not solved to the end"
