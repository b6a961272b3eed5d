"""Best-first search over chips and plan families with refined bounds; the answer carries a certificate.

One loop, one heap of candidates by optimistic batch time. The top one is refined: roofline -> bounds from scheduled
kernels, both for a block of chips at once -> placement of one (chip, family) on the bounds -> exact schedules and
placement. Nothing in the heap can beat its bound, so the smallest bound is the bound of the whole space.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hardplace.cost.types import Floats
from hardplace.hardware.space import accelerator
from hardplace.placement.many import least_bottlenecks
from hardplace.placement.partition import feasible_shapes, place, shortage
from hardplace.placement.types import Infeasible, Placement, PlacementProblem, Replication
from hardplace.search.bounds import Shapes, batch_bound_s, roofline, shapes
from hardplace.search.candidates import LEVEL_NAMES, Block, Count, Found, Pair, Reached, Refinement, refined
from hardplace.search.exact import in_process
from hardplace.search.front import Front, Scores
from hardplace.search.loop import Deadline, Ended, Evaluator, Loop, Stops
from hardplace.search.plans import families, placement_problem, replications
from hardplace.search.profile import Kernels, LayerSeconds, kernels_of
from hardplace.search.types import Evaluation, Job, Level, Outcome, PlanFamily, Progress, Question
from hardplace.workload.sharding import tensor_parallel

_MANY = 16  # open chips of a block from which the placement of all at once pays
_BLOCK = 1024  # chips refined together: large enough to vectorise, small enough to stop early


@dataclass
class Search:
    """The state of one search: the heap, the incumbent, and what is shared by all candidates of a family.

    gap: relative gap at which to stop. limit_s: wall seconds, or None. report: called with each Progress.
    evaluations: exact evaluations at most, or None. evaluator: where they are done; None: in this process.
    """

    question: Question
    gap: float
    limit_s: float | None = None
    report: Callable[[Progress], None] | None = None
    evaluations: int | None = None
    evaluator: Evaluator | None = None
    front: Front[Reached] = field(default_factory=Front)

    def __post_init__(self) -> None:
        """Lay out families, kernels and shapes; nothing depends on the chips yet."""
        self.deadline = Deadline(limit_s=self.limit_s)
        question = self.question
        self._evaluator: Evaluator = self.evaluator or in_process(question, self.gap)
        self.families = families(question.choices, question.setting.batch_samples)
        self._count = {stage: Count() for stage in Refinement}
        self._kernels: dict[tuple[int, int], Kernels] = {}
        self._replications: dict[tuple[int, int], tuple[Replication, ...]] = {}
        self._shapes: dict[PlanFamily, Shapes] = {}
        self.shortages: list[Infeasible] = []
        for family in self.families:
            self._lay_out(family)
        self._roofline = np.full(len(question.chips), np.inf)
        self._laid_out_s = self.deadline.elapsed_s

    def _lay_out(self, family: PlanFamily) -> None:
        question, group = self.question, _group(family)
        if group not in self._kernels:
            micro_batches = question.setting.batch_samples // family.micro_batch
            self._replications[group] = replications(question.setting, family.tensor_parallel, micro_batches)
            shard = tensor_parallel(question.workload, family.tensor_parallel)
            self._kernels[group] = kernels_of(shard, family.micro_batch, question.setting)
        shard = self._kernels[group].shard
        nothing = np.zeros((len(shard.layers), 1))
        idle = LayerSeconds(forward_s=nothing, backward_s=nothing, optimizer_s=nothing)
        problem = placement_problem(question.workload, shard, question.setting, family, idle, self._replications[group])
        fitting = feasible_shapes(problem)
        if fitting:
            self._shapes[family] = shapes(fitting, problem.micro_batches)
        else:
            self.shortages.append(shortage(problem))

    # -- the problem, as the loop sees it ------------------------------------------------------------------------

    def run(self) -> Found:
        """Refine candidates best first until the gap, a limit or an interrupt; return what was found."""
        stops = Stops(gap=self.gap, deadline=self.deadline, evaluations=self.evaluations)
        return self._found(Loop(self, self.front, self._evaluator.steps(self), stops, self.report).run())

    def roots(self) -> Iterator[tuple[Scores, Block | Pair]]:
        """Yield all chips of the space in blocks by their roofline bound."""
        for group in {_group(family): None for family in self._shapes}:
            yield from self._enter_blocks(group)

    def job(self, candidate: Block | Pair) -> Job | None:
        """Return the exact evaluation of a pair that has been placed on bounds."""
        if isinstance(candidate, Block) or candidate.stage is not Refinement.PLACED_ON_BOUNDS:
            return None
        return self.job_of(candidate.chip, candidate.family)

    def refine(self, candidate: Block | Pair, outcome: Outcome | None) -> Sequence[tuple[Scores, Block | Pair | None]]:
        """Return what the next level of refinement leaves of a candidate."""
        started = time.perf_counter()
        stage = candidate.stage if isinstance(candidate, Pair) else Refinement.ROOFLINE
        try:
            if outcome is not None:
                return self._settled(candidate, outcome)
            if isinstance(candidate, Block):
                return [(self._scores(bound_s), pair) for bound_s, pair in self._bound_block(candidate)]
            return [(self._scores(bound_s), pair) for bound_s, pair in self._place_on_bounds(candidate)]
        finally:
            self._count[Refinement(stage + 1)].seconds += time.perf_counter() - started

    def discard(self, candidate: Block | Pair) -> None:
        """Count what was left in the heap: it was discarded by the bound that put it there."""
        if isinstance(candidate, Block):
            pairs = len(candidate.chips) * len(self._members(candidate.group))
            self._count[Refinement.ROOFLINE].discarded += pairs
        else:
            self._count[candidate.stage].discarded += 1

    def tally(self) -> dict[Refinement, Count]:
        """Return the counts since the last call, which begin anew."""
        counted, self._count = self._count, {stage: Count() for stage in Refinement}
        return counted

    def add(self, tally: dict[Refinement, Count]) -> None:
        """Add counts."""
        for stage, one in tally.items():
            count = self._count[stage]
            count.entered += one.entered
            count.discarded += one.discarded
            count.seconds += one.seconds

    def __getstate__(self) -> dict[str, Any]:
        """Leave here what only this process can use: where jobs are done, who is told, when time is up."""
        mine: dict[str, Any] = {
            "evaluator": None,
            "_evaluator": None,
            "report": None,
            "deadline": Deadline(),
            "front": Front(),
        }
        return {**self.__dict__, **mine}

    def _scores(self, batch_s: float) -> Scores:
        return (self.question.setting.batch_samples / batch_s,)

    # -- levels ------------------------------------------------------------------------------------------------

    def _enter_blocks(self, group: tuple[int, int]) -> Iterator[tuple[Scores, Block]]:
        """Yield all chips of the space in blocks by their roofline bound at one micro-batch size and degree."""
        started = time.perf_counter()
        question = self.question
        seconds = roofline(self._kernels[group], question.chips, question.setting)
        bounds = np.min([self._family_bound(family, seconds) for family in self._members(group)], axis=0)
        self._roofline = np.minimum(self._roofline, bounds)
        order = np.argsort(bounds, kind="stable")
        self._count[Refinement.ROOFLINE].entered += len(order) * len(self._members(group))
        for first in range(0, len(order), _BLOCK):
            chips = order[first : first + _BLOCK]
            yield self._scores(float(bounds[chips[0]])), Block(group, chips)
        self._count[Refinement.ROOFLINE].seconds += time.perf_counter() - started

    def _bound_block(self, block: Block) -> list[tuple[float, Pair]]:
        """Return the pairs of a block whose bound from scheduled kernels is below the incumbent."""
        members = self._members(block.group)
        lower, upper = self._kernels[block.group].bounds(self.question.chips.take(block.chips), self.question.setting)
        bounds = np.array([self._family_bound(family, lower) for family in members])
        # The most promising pair is placed at once: a first incumbent soon, and better ones early.
        row, column = np.unravel_index(int(np.argmin(bounds)), bounds.shape)
        if bounds[row, column] < self._incumbent_s:
            self._reach(int(block.chips[column]), members[row], upper.at(int(column)))
        for family, known in zip(members, bounds, strict=True):
            self._sharpen(family, lower, known)
        count = self._count[Refinement.SCHEDULE_BOUNDS]
        count.entered += bounds.size
        kept = np.argwhere(bounds < self._incumbent_s)
        count.discarded += bounds.size - len(kept)
        return [
            (
                float(bounds[row, column]),
                Pair(
                    chip=int(block.chips[column]),
                    family=members[row],
                    lower=lower.at(column),
                    upper=upper.at(column),
                    stage=Refinement.SCHEDULE_BOUNDS,
                ),
            )
            for row, column in kept.tolist()
        ]

    def _sharpen(self, family: PlanFamily, lower: LayerSeconds, bounds: Floats) -> None:
        """Raise the bounds of the chips that are still open by the placement programme on all of them at once."""
        still = np.flatnonzero(bounds < self._incumbent_s / (1.0 + self.gap))
        if len(still) < _MANY:
            return
        question, options = self.question, self._shapes[family]
        seconds = LayerSeconds(
            forward_s=lower.forward_s[:, still],
            backward_s=lower.backward_s[:, still],
            optimizer_s=lower.optimizer_s[:, still],
        )
        order = list(question.workload.order)
        problem = self._problem(family, lower.at(int(still[0])))
        loads = least_bottlenecks(
            problem, seconds.forward_s[order], seconds.backward_s[order], int(options.stages.max())
        )
        shard = self._kernels[_group(family)].shard
        sharp = batch_bound_s(question.workload, shard, question.setting, family, seconds, options, loads)
        bounds[still] = np.maximum(bounds[still], sharp)

    def _reach(self, chip: int, family: PlanFamily, upper: LayerSeconds) -> None:
        """Offer the best placement on list schedules if it is faster than what was reached."""
        reached = place(self._problem(family, upper), cutoff_s=self._incumbent_s)
        if isinstance(reached, Placement):
            self.front.offer(self._scores(reached.batch_s), Reached(self.job_of(chip, family), None))

    def _place_on_bounds(self, pair: Pair) -> list[tuple[float, Pair]]:
        """Return the pair bounded by its best placement on lower bounds; list schedules may give an incumbent."""
        count = self._count[Refinement.PLACED_ON_BOUNDS]
        count.entered += 1
        possible = place(self._problem(pair.family, pair.lower), cutoff_s=self._incumbent_s)
        if not isinstance(possible, Placement):
            count.discarded += 1
            return []
        self._reach(pair.chip, pair.family, pair.upper)
        return [(possible.batch_s, refined(pair, Refinement.PLACED_ON_BOUNDS))]

    def _settled(self, candidate: Block | Pair, outcome: Outcome) -> Sequence[tuple[Scores, None]]:
        """Return the bound that a pair's exact schedules leave; it may be the incumbent."""
        assert isinstance(candidate, Pair)
        count = self._count[Refinement.EXACT]
        count.entered += 1
        if isinstance(outcome, Infeasible):
            count.discarded += 1
            return []
        job = self.job_of(candidate.chip, candidate.family)
        self.front.offer((outcome.samples_per_s,), Reached(job, outcome))
        return [((outcome.bound_samples_per_s,), None)]

    # -- shared, and what callers ask -----------------------------------------------------------------

    @property
    def fits(self) -> bool:
        """Whether any family has a plan that fits the memory."""
        return bool(self._shapes)

    @property
    def fitting(self) -> tuple[PlanFamily, ...]:
        """The families that have a plan that fits the memory."""
        return tuple(self._shapes)

    def kernels(self, family: PlanFamily) -> Kernels:
        """Return the kernels of a family, ready to be priced."""
        return self._kernels[_group(family)]

    def job_of(self, chip: int, family: PlanFamily, max_stages: int | None = None) -> Job:
        """Return the exact evaluation of one chip of the space with one family."""
        question = self.question
        made = accelerator(question.chips, chip, question.setting, family.memory_bytes)
        return Job(model=question.workload.name, chip=made, family=family, max_stages=max_stages)

    def evaluate(self, job: Job) -> Outcome:
        """Return the outcome of a job."""
        return self._evaluator.evaluate(job)

    @property
    def _incumbent_s(self) -> float:
        best = self.front.best
        return self.question.setting.batch_samples / best if best else np.inf

    def _members(self, group: tuple[int, int]) -> list[PlanFamily]:
        return [family for family in self._shapes if _group(family) == group]

    def _family_bound(self, family: PlanFamily, seconds: LayerSeconds) -> Floats:
        question, shard = self.question, self._kernels[_group(family)].shard
        return batch_bound_s(question.workload, shard, question.setting, family, seconds, self._shapes[family])

    def _problem(self, family: PlanFamily, seconds: LayerSeconds) -> PlacementProblem:
        question, group = self.question, _group(family)
        shard = self._kernels[group].shard
        return placement_problem(question.workload, shard, question.setting, family, seconds, self._replications[group])

    def _found(self, ended: Ended) -> Found:
        """Return the account of a search."""
        best: Evaluation | None = None
        for _, reached in self.front.points:
            outcome = reached.evaluation or self.evaluate(reached.job)
            best = outcome if isinstance(outcome, Evaluation) else None
        candidates = len(self.question.chips) * len(self.families)
        misfits = len(self.question.chips) * (len(self.families) - len(self._shapes))
        fit = Level(name="memory", entered=candidates, discarded=misfits, seconds=self._laid_out_s)
        levels = tuple(
            Level(name=LEVEL_NAMES[stage], entered=one.entered, discarded=one.discarded, seconds=one.seconds)
            for stage, one in self._count.items()
        )
        return Found(
            best=best,
            bound_batch_s=self._incumbent_s / (1.0 + ended.excess),
            stop=ended.stop,
            levels=(fit, *levels),
            progress=ended.progress,
            roofline_batch_s=self._roofline,
            candidates=candidates,
            exact_evaluations=ended.evaluations,
            seconds=self.deadline.elapsed_s,
        )


def _group(family: PlanFamily) -> tuple[int, int]:
    return family.micro_batch, family.tensor_parallel
