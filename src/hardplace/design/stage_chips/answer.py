"""A chip for each stage: the best single chip, a bound on all plans of several stages, and the best pair of chips."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.loop import Deadline, TimeUp, deadline_of
from hardplace.branch_and_bound.types import LIMITS, ONE_PERCENT, Finishing, Progress, Stop, StoppingRule
from hardplace.certificate import MOST_CONSIDERED, gap_of
from hardplace.design.answer import explored, laid_out, too_early
from hardplace.design.exact.evaluator import in_process
from hardplace.design.exact.layer_kernels import scheduled_seconds
from hardplace.design.goals import UNITS, Objective
from hardplace.design.notes import notes
from hardplace.design.question import Question
from hardplace.design.results import StageOnChip, StagesResult
from hardplace.design.search.candidates import SearchOutcome, evaluated, only_plan
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.single import job_of
from hardplace.design.stage_chips.bound import StageBounds
from hardplace.design.stage_chips.least_layers import LeastLayers
from hardplace.design.stage_chips.pairs import ChipPairs, PairPlan, StageChip, TriedPairs
from hardplace.design.types import PlanFamily
from hardplace.errors import BadInput
from hardplace.hardware.space_files import label_of
from hardplace.hardware.types import Accelerator
from hardplace.version import __version__

_ONE_KIND_SHARE = 0.5  # of a time limit, for the search of one kind of chip
_BOUND_SHARE = 0.8  # after which no layer is searched any more
_LAYER_SHARE = 0.25  # of the gap, to which a layer is searched
_FAMILIES = 8  # that pairs are tried with
_CHIPS = 10  # of which pairs are tried
_LOOSE = (
    "the bound of several stages is that of the whole space's best corner wherever a layer's best chip is not searched "
    "yet, and loose; more time closes it"
)
_LEAST_GAIN = 1e-6  # relative, below which a second kind of chip is none


def check_asked(question: Question) -> None:
    """Raise BadInput for a question that chips of their own for stages have no answer to."""
    if len(question.workloads) > 1:
        raise BadInput("model", f"{len(question.workloads)} of them", "one, for chips per stage")
    names = ", ".join(question.goal.objectives)
    if question.goal.objectives != (Objective.THROUGHPUT,):
        raise BadInput("objective", f"{names} with chips per stage", Objective.THROUGHPUT.value)
    if question.budget.step_s is not None:
        raise BadInput("limits", "step with chips per stage", "area, tdp, price or memory")


def stage_chips(
    question: Question, ends: StoppingRule = ONE_PERCENT, *, report: Callable[[Progress], None] | None = None
) -> StagesResult | Infeasible:
    """Return one kind of chip or two for the stages of a pipeline, with a bound for any number of kinds.

    The best single chip is always a candidate, so the answer is never worse. A time limit is of the whole.

    Args:
        question: The question, of one model.
        ends: When to stop.
        report: Called with each Progress.

    Raises:
        BadInput: For several models, another objective than throughput, a limit on the step.
        KeyboardInterrupt: For an interrupt before there is a bound for all plans.
    """
    check_asked(question)
    whole = deadline_of(ends)
    search = laid_out(question, ends, report, None, replace(whole, share=_ONE_KIND_SHARE))
    found = explored(search)
    if isinstance(found, Infeasible):
        return found
    if found.stop is Stop.INTERRUPTED:
        raise KeyboardInterrupt  # nothing is known of several kinds
    return _Stages(question, ends, search, found, replace(whole, share=_BOUND_SHARE), report).answer()


@dataclass
class _Stages:
    """What follows the search of one kind of chip."""

    question: Question
    ends: StoppingRule
    search: DesignSearch
    found: SearchOutcome
    within: Deadline
    report: Callable[[Progress], None] | None

    def answer(self) -> StagesResult:
        """Return the answer."""
        one_score, one_bound = self.found.scores[0][0], self.found.scores[0][0] * (1.0 + self.found.excess)
        least = LeastLayers(self.search, self.within)
        target = max(one_bound, one_score * (1.0 + self.ends.gap))
        bounds = StageBounds(least, self._families(), limit=self._cost(target))
        self._tell(one_score, target, "bounding stages on chips of their own")
        stop = Stop.GAP
        try:
            if not bounds.refine(self.ends.gap * _LAYER_SHARE):
                stop = Stop.SECONDS
        except TimeUp:
            raise too_early(Stop.SECONDS, "plans of several stages were bounded") from None
        except KeyboardInterrupt:
            if len(bounds.bounds) < len(bounds.families):
                raise
            stop = Stop.INTERRUPTED
        stages_bound, lacking = self._cost(bounds.cost), []
        if stop in LIMITS:
            lacking.append(f"{stop.value}: {_LOOSE}")
        tried = TriedPairs(stop=stop)
        if stop is not Stop.INTERRUPTED:
            try:
                self._tell(one_score, max(one_bound, stages_bound), "trying pairs of chips")
                tried = self._pair(bounds, least, self._cost(one_score * (1.0 + _LEAST_GAIN)))
            except KeyboardInterrupt:
                tried = TriedPairs(stop=Stop.INTERRUPTED)
            stop = tried.stop or stop
        if tried.stop is not None:
            lacking.append(f"{stop.value}: pairs of chips tried: {tried.count}, which are not all that are worth it")
        return self._result(tried, one_score, one_bound, stages_bound, stop, tuple(lacking))

    def _cost(self, score: float) -> float:
        """Return the seconds of a batch of a score, and the other way."""
        return self.question.setting.batch_samples / score if score > 0.0 else math.inf

    def _families(self) -> tuple[PlanFamily, ...]:
        """Return the families that fit some memory, without it."""
        every = (family for there in self.search.scoring.there for family in there[0].families)
        return tuple(dict.fromkeys(replace(family, memory_bytes=0.0) for family in every))

    def _tell(self, score: float, bound: float, doing: str) -> None:
        if self.report is not None:
            self.report(Finishing(seconds=self.within.elapsed_s, score=score, bound=bound, doing=doing))

    def _pair(self, bounds: StageBounds, least: LeastLayers, cutoff: float) -> TriedPairs:
        """Return the best plan on two kinds of chip, with exact schedules where there is time for them."""
        reached = self.found.reached[0]
        families = sorted(bounds.families, key=lambda one: bounds.bounds[one].cost)[:_FAMILIES]
        chips = [StageChip(section=reached.section, places=reached.places)]
        for family in families:
            for one, known in least.reached.items():
                if one.group == (family.micro_batch, family.tensor_parallel) and not one.forward:
                    chips.append(StageChip(section=known.section, places=known.places))
        few = list({one.key: one for one in chips}.values())[:_CHIPS]
        pairs = ChipPairs(self.search.scoring, self.within.rest.check)
        tried = pairs.best(few, families, cutoff)
        if tried.plan is None or tried.stop is not None:
            return tried  # a plan on list schedules is reached as well
        try:
            return replace(tried, plan=self._exactly(pairs, tried.plan, cutoff) or tried.plan)
        except TimeUp:
            return replace(tried, stop=Stop.SECONDS)
        except KeyboardInterrupt:
            return replace(tried, stop=Stop.INTERRUPTED)

    def _exactly(self, pairs: ChipPairs, plan: PairPlan, cutoff: float) -> PairPlan | None:
        """Return the best plan of a pair's family with exact schedules, None where it costs no less than cutoff."""
        evaluator = in_process(self.question, self.ends.gap, deadline=self.within.rest)
        seconds = []
        for chip in plan.chips:
            capacity = self.search.scoring.sections[chip.section].capacity_bytes
            family = replace(plan.family, memory_bytes=capacity)
            job = job_of(self.search.scoring, chip.section, chip.places, 0, family)
            seconds.append(scheduled_seconds(evaluator.schedules(job), bound=False))
        return pairs.placed_in(plan.chips, plan.family, seconds, cutoff)

    def _result(
        self, tried: TriedPairs, one_score: float, one_bound: float, stages_bound: float, stop: Stop,
        lacking: tuple[str, ...],
    ) -> StagesResult:  # fmt: skip
        question, found, best = self.question, self.found, tried.plan
        (objective,) = question.goal.objectives
        reached = found.reached[0]
        one = evaluated(only_plan(reached))
        if best is None:
            best_chips: tuple[StageChip, ...] = (StageChip(section=reached.section, places=reached.places),)
            kinds, placement, family, score = (0,) * len(one.placement.stages), one.placement, one.family, one_score
            chips: tuple[Accelerator, ...] = (one.chip,)
        else:
            used = sorted(set(best.found.kinds), key=best.found.kinds.index)
            best_chips = tuple(best.chips[kind] for kind in used)
            kinds = tuple(used.index(kind) for kind in best.found.kinds)
            placement, family, score = best.found.placement, best.family, self._cost(best.found.cost)
            chips = tuple(
                job_of(
                    self.search.scoring, chip.section, chip.places, 0,
                    replace(family, memory_bytes=self.search.scoring.sections[chip.section].capacity_bytes),
                ).chip
                for chip in best_chips
            )  # fmt: skip
        bound = max(score, one_bound, stages_bound)
        if found.stop in LIMITS and stop is Stop.GAP:
            stop = found.stop
        elif stop is Stop.GAP:
            gap = gap_of(score, bound)
            stop = Stop.OPTIMAL if gap <= 0.0 else Stop.GAP if gap <= self.ends.gap * (1.0 + 1e-9) else Stop.RELAXED
        limits = self.search.scoring.limits
        pairs = ChipPairs(self.search.scoring, self.within.check)
        tdp_w = tuple(float(pairs.costs(chip).tdp_w[0]) for chip in best_chips) if limits.billed else ()
        return StagesResult(
            version=__version__,
            setting=question.setting.name,
            space=label_of(question.space),
            budget=question.budget,
            candidates=min(MOST_CONSIDERED, found.chips * found.chips * len(self._families())),
            stop=stop,
            seconds=self.within.elapsed_s,
            levels=found.levels,
            notes=(*lacking, *notes(question)),
            score=score,
            bound=bound,
            model=question.workloads[0].name,
            objective=objective.value,
            unit=UNITS[objective][0],
            devices=question.goal.devices,
            batch_samples=question.setting.batch_samples,
            chips=chips,
            tdp_w=tdp_w,
            family=family,
            placement=placement,
            stages=tuple(
                StageOnChip(
                    stage=number,
                    chip=kind,
                    layers=len(stage.layers),
                    load_s=stage.load_s,
                    memory_bytes=stage.memory_bytes,
                    capacity_bytes=chips[kind].memory_bytes,
                    end_s=stage.reduction_s + stage.optimizer_s,
                )
                for number, (kind, stage) in enumerate(zip(kinds, placement.stages, strict=True), start=1)
            ),
            samples_per_s=question.setting.batch_samples / placement.batch_s,
            one_kind=one,
            one_kind_score=one_score,
            one_kind_bound=max(one_score, one_bound),
            stages_bound=stages_bound,
            pairs_tried=tried.count,
            chips_in_space=found.chips,
            exact_evaluations=found.exact_evaluations,
        )
