"""The search over chips as a problem of branch and bound: boxes of chips, blocks of them, single chips with families.

Read `DesignSearch.refine` first: what each kind of candidate becomes. Nothing in the heap can exceed its scores, so
what exceeds the front most bounds the whole space.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass, replace
from typing import Any

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Front, Scores
from hardplace.branch_and_bound.loop import Deadline, Ended, Loop, TimeUp
from hardplace.branch_and_bound.problem import Refined
from hardplace.branch_and_bound.types import Progress, Stop, StoppingRule
from hardplace.design.chip_set import best_chip_set
from hardplace.design.exact.evaluator import ChipEvaluator, in_process
from hardplace.design.goals import Objective
from hardplace.design.question import Question
from hardplace.design.search import single as ones
from hardplace.design.search.bands import Band, bands_of
from hardplace.design.search.blocks import scheduled
from hardplace.design.search.candidates import (
    LEVEL_NAMES,
    BoxCandidate,
    Candidate,
    ChipBlock,
    ChipCandidate,
    Count,
    Reached,
    ReachedPlan,
    Refinement,
    SearchCounts,
    SearchOutcome,
)
from hardplace.design.search.dives import dive, survey
from hardplace.design.search.exhaustive import everything
from hardplace.design.search.layout import ModelLayout
from hardplace.design.search.regions import ALIKE, BY_LIMITS, OF_COSTS, opened
from hardplace.design.search.scoring import Scoring, scores_of
from hardplace.design.search.sections import Limits, sections
from hardplace.design.search.several_scores import spread
from hardplace.design.search.shortage import no_memory, nothing_reached
from hardplace.design.types import Evaluation, Job, Outcome, RefinementLevel
from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.space import corners

_BANDED = {Objective.THROUGHPUT, Objective.TDP}  # objectives that both bound one another


@dataclass
class DesignSearch:
    """One search over a space of chips and the plans of one model or several.

    Attributes:
        question: What is searched.
        ends: When to stop.
        report: Called with each Progress.
        evaluator: Where exact evaluations are done; None: in this process.
        start: Chips that were reached before.
        within: Deadline of what the search is a part of; None: its own, from now.
        alike: Layouts of the same models with the same choices on other chips, whose kernels are these.
    """

    question: Question
    ends: StoppingRule
    report: Callable[[Progress], None] | None = None
    evaluator: ChipEvaluator | None = None
    start: tuple[Reached, ...] = ()
    within: InitVar[Deadline | None] = None
    alike: InitVar[tuple[ModelLayout, ...]] = ()

    def __post_init__(self, within: Deadline | None, alike: tuple[ModelLayout, ...]) -> None:
        """Lay out models and sections; nothing depends on the chips yet. Raises TimeUp at the deadline."""
        self.deadline = within or Deadline(limit_s=self.ends.limit_s)
        question, goal = self.question, self.question.goal
        self._evaluator: ChipEvaluator = self.evaluator or in_process(question, self.ends.gap)
        budget = question.budget
        billed = any(one not in (Objective.THROUGHPUT, Objective.AREA) for one in goal.objectives)
        billed = billed or budget.tdp_w is not None or budget.usd is not None
        parts = sections(question.space, question.setting, question.choices.memory_bytes, budget, apart=billed)
        models = tuple(
            ModelLayout(
                workload=workload,
                setting=question.setting,
                choices=question.choices,
                space=question.space,
                alike=like,
            )
            for workload, like in zip(question.workloads, alike or (None,) * len(question.workloads), strict=True)
        )
        self.scoring = Scoring(
            goal=goal,
            gap=self.ends.gap,
            space=question.space,
            limits=Limits(space=question.space, budget=budget, billed=billed),
            models=models,
            sections=parts,
            there=tuple(tuple(model.on(section, self.deadline.check) for model in models) for section in parts),
            front=Front[Reached](),
        )
        for one in self.start:
            self.front.offer(ones.reached_scores(self.scoring, one.costs, one.plans), one)
        self._tally = SearchCounts(excluded=self.scoring.limits.excluded)
        self._laid_out_s = self.deadline.elapsed_s

    # -- the problem, as the loop sees it ------------------------------------------------------------------------

    def run(self) -> SearchOutcome:
        """Refine candidates best first until the gap, a limit or an interrupt, and return what was reached."""
        if self.ends.exhaustive:
            return self._found(everything(self.scoring, self.ends.gap, self.evaluate, self.counted(Refinement.EXACT)))
        loop = Loop(self, self.front, self._evaluator.steps(self), self.ends, self.deadline, self.report)
        return self._found(loop.run())

    def roots(self) -> Iterator[tuple[Scores, Candidate]]:
        """Yield the box of all chips of each section in which every model has a plan that fits."""
        for scores, box in self._boxes():
            self._tally.levels[Refinement.BOX].entered += box.chips * self.families(box.section)
            yield scores, box

    def _boxes(self) -> Iterator[tuple[Scores, BoxCandidate]]:
        whole = self.question.space.whole
        for index in range(len(self.scoring.sections)):
            scores = scores_of(self.scoring.vectors(self.scoring.known(index, *corners([whole]), best=True)))
            if self.scoring.possible(np.array(scores)[:, None])[0]:
                yield scores, BoxCandidate(index, whole, whole.size, band=self._band(index))

    def _band(self, section: int) -> Band | None:
        """Return what chips of a section take, where that is of the objectives, else None (docs/model-search.md,
        "Bands").
        """
        if not set(self.question.goal.objectives) >= _BANDED or self.question.space.area_model is not Preset.PARTS:
            return None
        limits, whole = self.scoring.limits, [self.question.space.whole]
        least, most = (limits.costs(self.scoring.sections[section], limits.space.at(at))[0] for at in corners(whole))
        allowed = Band() if limits.tdp_w is None else Band(most_w=float(limits.tdp_w))
        return bands_of([allowed]).cut(least, most).at(0)

    def job(self, candidate: Candidate) -> Job | None:
        """Return the exact evaluation that refining a candidate needs."""
        return ones.job(self.scoring, candidate) if isinstance(candidate, ChipCandidate) else None

    def refine(self, candidate: Candidate, outcome: Outcome | None, front: Front[Any]) -> Refined[Candidate]:
        """Return what the next level of refinement leaves of a candidate, with its scores, and what it reached."""
        started, tally = time.perf_counter(), SearchCounts()
        limits = replace(self.scoring.limits, excluded=tally.excluded)
        level, left = self._refined(replace(self.scoring, limits=limits, front=front), tally, candidate, outcome)
        tally.levels[level].seconds += time.perf_counter() - started
        return Refined(left=tuple(left), offers=front.offered, tally=tally)

    def _refined(
        self, scoring: Scoring, tally: SearchCounts, candidate: Candidate, outcome: Outcome | None
    ) -> tuple[Refinement, Sequence[tuple[Scores, Candidate | None]]]:
        families = self.families(candidate.section)
        if isinstance(candidate, BoxCandidate):
            if not (scoring.front.points or self.question.goal.shared):
                if scoring.costs_beside:
                    if candidate.box == self.question.space.whole:
                        survey(scoring, self.deadline.check)
                else:
                    dive(scoring, candidate, self.deadline.check)
            # With several objectives the front says what a chip may cost, not a limit.
            order = BY_LIMITS if len(self.question.goal.objectives) == 1 else ALIKE
            result = opened(scoring, candidate, self.deadline.check, OF_COSTS if scoring.costs_beside else order)
            tally.beyond += result.beyond * families
            tally.within = max(tally.within, result.within)
            small = candidate.box.size and all(isinstance(one, ChipBlock) for _, one in result.left)
            level = Refinement.PARTS if small else Refinement.BOX
            tally.levels[level].discarded += result.hopeless * families
            return level, result.left
        if isinstance(candidate, ChipBlock):
            return Refinement.SCHEDULE_BOUNDS, self._priced(scoring, tally, candidate)
        level = Refinement.EXACT if outcome is not None else Refinement.PLACED_ON_BOUNDS
        tally.levels[level].entered += 1
        left = ones.refine(scoring, candidate, outcome)
        tally.levels[level].discarded += not left
        return level, left

    def _priced(self, scoring: Scoring, tally: SearchCounts, block: ChipBlock) -> Sequence[tuple[Scores, Candidate]]:
        """Return the chips of a block, with bounds from scheduled kernels, that may matter."""
        families = self.families(block.section)
        count = tally.levels[Refinement.SCHEDULE_BOUNDS]
        if self.several:
            found = spread(scoring, block, self.deadline.check)
            count.entered += found.priced
            count.discarded += found.alone * families
            tally.within = max(tally.within, found.within)
            return found.left
        done = scheduled(scoring, block, self.deadline.check)
        count.entered += done.priced
        kept = len({one.places.tobytes() for _, one in done.left})
        count.discarded += (block.places.shape[1] - kept) * families
        if done.left:
            ones.attempt(scoring, max(done.left, key=lambda one: one[0])[1])
        return done.left

    @property
    def several(self) -> bool:
        """Return whether several scores count: objectives, or the models of a set of chips."""
        goal = self.question.goal
        return len(goal.objectives) > 1 or goal.shared

    def counted(self, level: Refinement) -> Count:
        """Return the counts of a level of refinement, to add to."""
        return self._tally.levels[level]

    def discard(self, candidate: Candidate) -> None:
        """Count a candidate that was pruned in the heap, by the bound that put it there."""
        self._tally.discard(candidate, self.families(candidate.section))

    @property
    def counts(self) -> SearchCounts:
        """Return what was counted so far."""
        return self._tally

    def add(self, tally: SearchCounts) -> None:
        """Add the counts of a refinement."""
        self._tally.add(tally)

    @property
    def front(self) -> Front[Any]:
        """What was reached."""
        return self.scoring.front

    def __getstate__(self) -> dict[str, Any]:
        """Leave here what only this process can use: where jobs are done, who is told, when time is up."""
        mine: dict[str, Any] = {"evaluator": None, "_evaluator": None, "report": None, "deadline": Deadline()}
        return {**self.__dict__, **mine}

    # -- shared, and what callers ask -----------------------------------------------------------------

    def shortage(self) -> Infeasible | None:
        """Return what is short if some model fits no memory of any section, before any search."""
        return no_memory(self.question, self.scoring)

    def nothing(self) -> Infeasible:
        """Return what every candidate lacks when a search of all of them reached nothing."""
        return nothing_reached(self.question, self.scoring)

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of an exact evaluation."""
        return self._evaluator.evaluate(job)

    def families(self, section: int) -> int:
        """Return how many plan families may fit in a section, of all models."""
        return sum(len(there.families) for there in self.scoring.there[section])

    def _found(self, ended: Ended) -> SearchOutcome:
        """Return the account of a search: what was reached, evaluated exactly, in the smallest memories that do."""
        points = sorted(self.front.points, key=lambda one: one[0], reverse=True)
        if self.question.goal.shared and points:
            score, places = best_chip_set(self.question.goal, np.array([scores for scores, _ in points]))
            points = [points[place] for place in sorted(set(places))] if score > 0.0 else []
        reached, stopped = self._evaluated([one for _, one in points], ended.stop)
        scores = tuple(ones.reached_scores(self.scoring, one.costs, one.plans) for one in reached)
        chips = self.question.space.chips
        every = sum(
            self.question.space.whole.size * self.families(index) for index in range(len(self.scoring.sections))
        )
        levels = tuple(
            RefinementLevel(name=LEVEL_NAMES[stage], entered=one.entered, discarded=one.discarded, seconds=one.seconds)
            for stage, one in self._tally.levels.items()
        )
        within = self._tally.within
        limits = RefinementLevel(name="limits", entered=every, discarded=self._tally.beyond, seconds=self._laid_out_s)
        return SearchOutcome(
            reached=reached,
            scores=scores,
            excess=_relative(max(ended.excess, within), [point for point, _ in points], scores),
            stop=Stop.GAP if stopped is Stop.OPTIMAL and within > 0.0 else stopped,
            levels=(limits, *levels),
            progress=ended.progress,
            chips=chips,
            candidates=every,
            exact_evaluations=ended.evaluations,
            seconds=self.deadline.elapsed_s,
        )

    def _evaluated(self, points: list[Reached], stop: Stop) -> tuple[tuple[Reached, ...], Stop]:
        """Return points with all plans evaluated, and why the search stopped: also an interrupt or the deadline here.

        From then on what is left is evaluated with list schedules, and, once the time limit has passed too, in the
        memory that it was reached in.
        """
        found: list[Reached] = []
        quick = in_process(self.question, self.ends.gap, work=0.0)
        for one in points:
            if stop not in (Stop.SECONDS, Stop.INTERRUPTED):
                try:
                    found.append(self._exactly(one, self._evaluator))
                    continue
                except KeyboardInterrupt:
                    stop = Stop.INTERRUPTED
                except TimeUp:
                    stop = Stop.SECONDS
            found.append(self._exactly(one, quick))
        return tuple(found), stop

    def _exactly(self, reached: Reached, evaluator: ChipEvaluator) -> Reached:
        models = range(len(reached.plans))
        return replace(reached, plans=tuple(self.best_memory(reached, index, evaluator) for index in models))

    def best_memory(self, reached: Reached, model: int, evaluator: ChipEvaluator) -> ReachedPlan | None:
        """Return a plan in the smallest memory in which it is as fast, evaluated; None: no plan was evaluated."""
        plan = reached.plans[model]
        if plan is None:
            return None
        outcome = plan.evaluation or evaluator.evaluate(plan.job)
        assert isinstance(outcome, Evaluation)
        for capacity in self.scoring.sections[reached.section].capacities[:-1]:
            if self.deadline.past:
                break
            family = replace(plan.job.family, memory_bytes=capacity)
            job = replace(plan.job, family=family, chip=replace(plan.job.chip, memory_bytes=capacity))
            smaller = evaluator.evaluate(job)
            if isinstance(smaller, Evaluation) and smaller.samples_per_s >= outcome.samples_per_s:
                return ReachedPlan(job, smaller.samples_per_s, plan.joules, smaller)
        return ReachedPlan(plan.job, outcome.samples_per_s, plan.joules, outcome)


def _relative(excess: float, front: Sequence[Scores], scores: Sequence[Scores]) -> float:
    """Return an excess over the points of a front as one over the scores that their evaluations have."""
    if not scores:
        return excess
    shares = [
        before / after
        for point, now in zip(front, scores, strict=True)
        for before, after in zip(point, now, strict=True)
        if before > 0.0
    ]
    return max(0.0, (1.0 + excess) * max(shares) - 1.0)
