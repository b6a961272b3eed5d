"""Best-first search over chips and plan families with refined bounds; the answer carries a certificate.

One loop, one heap of candidates by optimistic batch time. The top one is refined: roofline -> bounds from scheduled
kernels, both for a block of chips at once -> placement of one (chip, family) on the bounds -> exact schedules and
placement. Nothing in the heap can beat its bound, so the smallest bound is the bound of the whole space.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hardplace.cost.types import Floats
from hardplace.placement.many import least_bottlenecks
from hardplace.placement.partition import feasible_shapes, place, shortage
from hardplace.placement.types import Infeasible, Placement, PlacementProblem, Replication
from hardplace.search.bounds import Shapes, batch_bound_s, roofline, shapes
from hardplace.search.candidates import LEVEL_NAMES, Block, Count, Found, Pair, Refinement, refined
from hardplace.search.evaluate import evaluate
from hardplace.search.plans import families, placement_problem, replications
from hardplace.search.profile import Kernels, LayerSeconds
from hardplace.search.types import Evaluation, LayerSchedule, Level, PlanFamily, Progress, Question, Stop
from hardplace.workload.sharding import tensor_parallel

_MANY = 16  # open chips of a block from which the placement of all at once pays
_BLOCK = 1024  # chips refined together: large enough to vectorise, small enough to stop early


@dataclass
class Search:
    """The state of one search: the heap, the incumbent, and what is shared by all candidates of a family.

    gap: relative gap at which to stop. limit_s: wall seconds, or None. report: called with each Progress.
    """

    question: Question
    gap: float
    limit_s: float | None = None
    report: Callable[[Progress], None] | None = None
    incumbent: tuple[float, int, PlanFamily] | None = None
    best: Evaluation | None = None
    _heap: list[tuple[float, int, Block | Pair]] = field(default_factory=list)
    _serial: int = 0
    _schedules: dict[tuple[int, tuple[int, int]], tuple[LayerSchedule, ...]] = field(default_factory=dict)
    _progress: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Lay out families, kernels and shapes; nothing depends on the chips yet."""
        self._start = time.perf_counter()
        question = self.question
        self.families = families(question.choices, question.setting.batch_samples)
        self._count = {stage: Count() for stage in Refinement}
        self._kernels: dict[tuple[int, int], Kernels] = {}
        self._replications: dict[tuple[int, int], tuple[Replication, ...]] = {}
        self._shapes: dict[PlanFamily, Shapes] = {}
        self.shortages: list[Infeasible] = []
        for family in self.families:
            self._lay_out(family)
        self._roofline = np.full(len(question.chips), np.inf)
        self._laid_out_s = time.perf_counter() - self._start

    def _lay_out(self, family: PlanFamily) -> None:
        question, group = self.question, _group(family)
        if group not in self._kernels:
            micro_batches = question.setting.batch_samples // family.micro_batch
            self._replications[group] = replications(question.setting, family.tensor_parallel, micro_batches)
            self._kernels[group] = Kernels(
                shard=tensor_parallel(question.workload, family.tensor_parallel),
                micro_batch=family.micro_batch,
                setting=question.setting,
            )
        shard = self._kernels[group].shard
        nothing = np.zeros((len(shard.layers), 1))
        idle = LayerSeconds(forward_s=nothing, backward_s=nothing, optimizer_s=nothing)
        problem = placement_problem(question.workload, shard, question.setting, family, idle, self._replications[group])
        fitting = feasible_shapes(problem)
        if fitting:
            self._shapes[family] = shapes(fitting, problem.micro_batches)
        else:
            self.shortages.append(shortage(problem))

    # -- the loop ----------------------------------------------------------------------------------------------

    def run(self) -> Found:
        """Refine candidates best first until the gap, the time limit or an interrupt; return what was found."""
        for group in {_group(family): None for family in self._shapes}:
            self._enter_blocks(group)
        stop = Stop.OPTIMAL
        bound = self._heap[0][0] if self._heap else np.inf
        try:
            while self._heap:
                bound = self._heap[0][0]
                if bound >= self._incumbent_s / (1.0 + self.gap):
                    stop = Stop.OPTIMAL if bound >= self._incumbent_s else Stop.GAP
                    break
                if self.limit_s is not None and time.perf_counter() - self._start > self.limit_s:
                    stop = Stop.SECONDS
                    break
                _, _, candidate = self._heap[0]
                if isinstance(candidate, Pair) and candidate.stage is Refinement.EXACT:
                    stop = Stop.SCHEDULES
                    break
                started = time.perf_counter()
                self._refine(bound, candidate)
                stage = candidate.stage if isinstance(candidate, Pair) else Refinement.ROOFLINE
                self._count[Refinement(stage + 1)].seconds += time.perf_counter() - started
                self._tell(bound)
            else:
                bound = np.inf  # nothing is left that could beat the incumbent
        except KeyboardInterrupt:
            stop = Stop.INTERRUPTED
        return self._found(min(bound, self._incumbent_s), stop)

    def _refine(self, bound: float, candidate: Block | Pair) -> None:
        """Replace the top of the heap by what its next level of refinement leaves of it."""
        if isinstance(candidate, Block):
            left = self._bound_block(candidate)
        elif candidate.stage is Refinement.SCHEDULE_BOUNDS:
            left = self._place_on_bounds(candidate)
        else:
            left = self._evaluate(candidate)
        # The candidate leaves the heap only now, so that an interrupt during its refinement cannot lose it.
        heapq.heappop(self._heap)
        for refined_s, pair in left:
            self._push(max(bound, refined_s), pair)

    # -- levels ------------------------------------------------------------------------------------------------

    def _enter_blocks(self, group: tuple[int, int]) -> None:
        """Push all chips of the space in blocks by their roofline bound at one micro-batch and tensor-parallel size."""
        started = time.perf_counter()
        question = self.question
        seconds = roofline(self._kernels[group], question.chips, question.setting)
        bounds = np.min([self._family_bound(family, seconds) for family in self._members(group)], axis=0)
        self._roofline = np.minimum(self._roofline, bounds)
        order = np.argsort(bounds, kind="stable")
        self._count[Refinement.ROOFLINE].entered += len(order) * len(self._members(group))
        for first in range(0, len(order), _BLOCK):
            chips = order[first : first + _BLOCK]
            self._push(float(bounds[chips[0]]), Block(group, chips))
        self._count[Refinement.ROOFLINE].seconds += time.perf_counter() - started

    def _bound_block(self, block: Block) -> list[tuple[float, Pair]]:
        """Return the pairs of a block whose bound from scheduled kernels is below the incumbent."""
        members = self._members(block.group)
        lower, upper = self._kernels[block.group].bounds(self.question.chips.take(block.chips))
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
        """Take the best placement on list schedules as the incumbent if it is faster."""
        reached = place(self._problem(family, upper), cutoff_s=self._incumbent_s)
        if isinstance(reached, Placement):
            self.incumbent = (reached.batch_s, chip, family)
            self.best = None

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

    def _evaluate(self, pair: Pair) -> list[tuple[float, Pair]]:
        """Return the pair with the bound that its exact schedules leave; it may be the incumbent."""
        count = self._count[Refinement.EXACT]
        count.entered += 1
        evaluation = self.evaluate(pair.chip, pair.family)
        if isinstance(evaluation, Infeasible):
            count.discarded += 1
            return []
        self._offer(pair.chip, evaluation)
        bound_s = self.question.setting.batch_samples / evaluation.bound_samples_per_s
        return [(bound_s, refined(pair, Refinement.EXACT))]

    # -- shared, and what callers ask -----------------------------------------------------------------

    @property
    def fits(self) -> bool:
        """Whether any family has a plan that fits the memory."""
        return bool(self._shapes)

    def kernels(self, family: PlanFamily) -> Kernels:
        """Return the kernels of a family, ready to be priced."""
        return self._kernels[_group(family)]

    def evaluate(self, chip: int, family: PlanFamily, max_stages: int | None = None) -> Evaluation | Infeasible:
        """Return the exact evaluation of one chip of the space with one family."""
        group = _group(family)
        alone = self.question.chips.take(np.array([chip]))
        if (chip, group) not in self._schedules:
            # Families that differ in memory or recompute share them: 20 s of 45 s on a chip that is compared with.
            self._schedules[chip, group] = self._kernels[group].schedules(alone, self.gap / 4)
        layers = self._schedules[chip, group]
        shard = self._kernels[group].shard
        return evaluate(self.question, shard, alone, family, layers, self._replications[group], max_stages)

    def _offer(self, chip: int, evaluation: Evaluation) -> None:
        if evaluation.placement.batch_s < self._incumbent_s or (
            self.best is None and evaluation.placement.batch_s <= self._incumbent_s
        ):
            self.incumbent = (evaluation.placement.batch_s, chip, evaluation.family)
            self.best = evaluation

    @property
    def _incumbent_s(self) -> float:
        return self.incumbent[0] if self.incumbent else np.inf

    def _members(self, group: tuple[int, int]) -> list[PlanFamily]:
        return [family for family in self._shapes if _group(family) == group]

    def _family_bound(self, family: PlanFamily, seconds: LayerSeconds) -> Floats:
        question, shard = self.question, self._kernels[_group(family)].shard
        return batch_bound_s(question.workload, shard, question.setting, family, seconds, self._shapes[family])

    def _problem(self, family: PlanFamily, seconds: LayerSeconds) -> PlacementProblem:
        question, group = self.question, _group(family)
        shard = self._kernels[group].shard
        return placement_problem(question.workload, shard, question.setting, family, seconds, self._replications[group])

    def _push(self, bound_s: float, candidate: Block | Pair) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (bound_s, self._serial, candidate))

    def _tell(self, bound_s: float) -> None:
        batch = self.question.setting.batch_samples
        now = Progress(
            seconds=time.perf_counter() - self._start,
            samples_per_s=batch / self._incumbent_s,
            bound_samples_per_s=batch / min(bound_s, self._incumbent_s),
        )
        last = self._progress[-1] if self._progress else None
        if last is None or (last.samples_per_s, last.bound_samples_per_s) != (
            now.samples_per_s,
            now.bound_samples_per_s,
        ):
            self._progress.append(now)
        if self.report is not None:
            self.report(now)

    def _found(self, bound_s: float, stop: Stop) -> Found:
        """Return the account; what is left in the heap was discarded by the bound that put it there."""
        if self.incumbent is not None and self.best is None:
            _, chip, family = self.incumbent
            evaluation = self.evaluate(chip, family)
            if isinstance(evaluation, Evaluation):
                self.best = evaluation
        for _, _, candidate in self._heap:
            if isinstance(candidate, Block):
                pairs = len(candidate.chips) * len(self._members(candidate.group))
                self._count[Refinement.ROOFLINE].discarded += pairs
            elif candidate.stage is not Refinement.EXACT:
                self._count[candidate.stage].discarded += 1
        candidates = len(self.question.chips) * len(self.families)
        misfits = len(self.question.chips) * (len(self.families) - len(self._shapes))
        fit = Level(name="memory", entered=candidates, discarded=misfits, seconds=self._laid_out_s)
        levels = tuple(
            Level(name=LEVEL_NAMES[stage], entered=one.entered, discarded=one.discarded, seconds=one.seconds)
            for stage, one in self._count.items()
        )
        return Found(
            best=self.best,
            bound_batch_s=bound_s,
            stop=stop,
            levels=(fit, *levels),
            progress=tuple(self._progress),
            roofline_batch_s=self._roofline,
            candidates=candidates,
            exact_evaluations=self._count[Refinement.EXACT].entered,
            seconds=time.perf_counter() - self._start,
        )


def _group(family: PlanFamily) -> tuple[int, int]:
    return family.micro_batch, family.tensor_parallel
