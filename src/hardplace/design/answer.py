"""From a question about one model to its answer: the search, the baselines, the chips of the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Deadline, TimeUp, deadline_of
from hardplace.branch_and_bound.types import LIMITS, ONE_PERCENT, Finishing, Progress, Stop, StoppingRule
from hardplace.certificate import gap_of, percent_at_most
from hardplace.design.baselines import (
    DATA_PARALLEL,
    REFERENCE_GAP,
    REFERENCE_WORK,
    TPUV4_LIKE,
    fastest,
    pure_data_parallel,
    quick_evaluator,
    reference,
)
from hardplace.design.cloud import cloud
from hardplace.design.consistency import check_answer
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.existing import existing_chips
from hardplace.design.goals import UNITS, Objective, shown
from hardplace.design.notes import notes
from hardplace.design.question import Question
from hardplace.design.results import DesignResult, FrontierPoint, ParetoResult, not_compared
from hardplace.design.search.candidates import Reached, ReachedPlan, SearchOutcome, evaluated, only_plan
from hardplace.design.search.explore import DesignSearch
from hardplace.design.sensitivity import sensitivity
from hardplace.design.types import Baseline, Cloud, ExistingChip, Sensitivity
from hardplace.errors import BadInput
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.space_files import label_of
from hardplace.hardware.types import IDEAL
from hardplace.units import format_quantity
from hardplace.version import __version__

_EXISTING = "chips that exist"
_MOVES = "what moves the answer"


def answer(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
    within: Deadline | None = None,
) -> DesignResult | Infeasible:
    """Return the best chip and plan of a question with its certificate, or what every candidate lacks.

    A time limit is of the whole: the search has a share of it (`PROOF_SHARE`), what follows has the rest, and is left
    out, and named, where that does not suffice.

    Args:
        question: The question.
        ends: When to stop.
        report: Called with incumbent and bound as they move.
        evaluator: Where exact evaluations are done; None: in this process.
        within: Deadline of what the answer is a part of; None: its own, from now.

    Raises:
        KeyboardInterrupt: For an interrupt before a first plan; a later one ends the search with the best answer so
            far.
    """
    search = laid_out(question, ends, report, evaluator, within or deadline_of(ends))
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    plan = only_plan(found.reached[0])
    baselines: tuple[Baseline, ...] = ()
    beside: tuple[ExistingChip, ...] = ()
    moved: tuple[Sensitivity, ...] = ()
    parts = question.space.area_model is Preset.PARTS
    references = () if parts else ((TPUV4_LIKE, reference),)
    best, score = plan, found.scores[0][0]
    seen: Cloud | None = None
    quick, lists = quick_evaluator(search, found), in_process(question, search.ends.gap, work=0.0)
    rest = search.deadline.rest
    try:
        if found.stop is not Stop.INTERRUPTED:
            if parts and not rest.over:
                _tell(search, found, f"comparing with {_EXISTING}")
                hurried = found.stop in LIMITS or search.deadline.over
                least = StoppingRule(gap=max(ends.gap, REFERENCE_GAP))
                work = 0.0 if hurried else REFERENCE_WORK
                beside = tuple(existing_chips(search, least, work, rest.half))
            for doing, compare in (*references, (DATA_PARALLEL, pure_data_parallel)):
                if rest.over:
                    break
                _tell(search, found, f"comparing with {doing}")
                for each in (quick, lists):
                    with suppress(TimeUp):
                        baselines += (compare(search, plan, found.reached[0], each),)
                        break
            if question.goal.objectives == (Objective.THROUGHPUT,):
                best = fastest(search, plan, baselines)
                score = best.samples_per_s
            if not rest.over:
                _tell(search, found, "looking at the chips of the page")
                seen = cloud(search, found.reached[0].section, evaluated(best), rest)
            if parts and question.goal.objectives == (Objective.THROUGHPUT,) and not rest.over:
                _tell(search, found, f"looking at {_MOVES}")
                with suppress(TimeUp):
                    moved = tuple(sensitivity(search, found.reached[0], evaluated(best), lists, rest.check))
    except KeyboardInterrupt:
        found = replace(found, stop=Stop.INTERRUPTED)
    return _exploration(search, found, best, score, baselines, seen, beside, moved)


def laid_out(
    question: Question,
    ends: StoppingRule,
    report: Callable[[Progress], None] | None,
    evaluator: ChipEvaluator | None,
    within: Deadline,
    start: tuple[Reached, ...] = (),
) -> DesignSearch:
    """Return the search of a question, from chips that were reached before.

    `too_early` is raised if its time is over before it is laid out.
    """
    evaluator = evaluator or in_process(question, ends.gap, deadline=within)
    try:
        return DesignSearch(
            question=question, ends=ends, report=report, evaluator=evaluator, start=start, within=within
        )
    except TimeUp:
        raise too_early(Stop.SECONDS, "any plan was reached") from None


def frontier(
    question: Question,
    ends: StoppingRule = ONE_PERCENT,
    *,
    report: Callable[[Progress], None] | None = None,
    evaluator: ChipEvaluator | None = None,
) -> ParetoResult | Infeasible:
    """Return the Pareto front of a question with several objectives; arguments as for `answer`."""
    search = laid_out(question, ends, report, evaluator, deadline_of(ends))
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
        with suppress(TimeUp):
            evaluator = in_process(search.question, 0.0, deadline=search.deadline)
            again = replace(search, evaluator=evaluator, within=search.deadline)
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


def _tell(search: DesignSearch, found: SearchOutcome, doing: str) -> None:
    """Report what is still done."""
    if search.report is not None:
        score, bound = found.scores[0][0], found.scores[0][0] * (1.0 + found.excess)
        search.report(Finishing(seconds=search.deadline.elapsed_s, score=score, bound=bound, doing=doing))


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
        notes=(*_lacking(search, found, baselines, seen, beside, moved), *notes(question)),
        tdp_w=tdp_w,
        usd=usd,
        existing=beside,
        sensitivity=moved,
        ideal=setting.kernels == IDEAL,
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
    search: DesignSearch, found: SearchOutcome, baselines: tuple[Baseline, ...], seen: Cloud | None,
    beside: tuple[ExistingChip, ...], moved: tuple[Sensitivity, ...],
) -> Iterator[str]:  # fmt: skip
    """Yield what an answer lacks, and which plans to compare with could be faster than said."""
    parts = search.question.space.area_model is Preset.PARTS
    names = [one.name for one in baselines] + [_EXISTING] * bool(beside)
    wanted = (_EXISTING if parts else TPUV4_LIKE, DATA_PARALLEL)
    missing = [f"the comparison with {name}" for name in wanted if name not in names]
    missing += ["the other chips of the page"] if seen is None else []
    if parts and not moved and search.question.goal.objectives == (Objective.THROUGHPUT,):
        missing.append(_MOVES)
    if missing and found.stop is Stop.INTERRUPTED:
        yield f"interrupted: {', '.join(missing)} missing; the same command goes on from here and adds them"
    elif missing:
        yield f"time limit: {', '.join(missing)} missing; a longer one adds them"
    if beside and (left := not_compared(beside)):
        yield f"{', '.join(left)}: not compared, since the time limit had passed; a longer one compares them"
    for one in baselines:
        if one.evaluation is not None:
            gap = gap_of(one.evaluation.samples_per_s, one.evaluation.bound_samples_per_s)
            if gap > REFERENCE_GAP:
                yield f"{one.name}: at most {percent_at_most(gap)} faster, as its schedules are not solved to the end"
