"""Shape, chip and plan as one search: one loop and one heap over all three, with one certificate.

A candidate is a slice of the shapes (known by what their matrix products take on the fastest arrays of the space), one
shape with one group of plans, not laid out yet, or what `design.search.explore` makes of a shape: boxes, blocks,
chips. All are in one heap by what they reach at most: samples a second, times the parameters of the
shape over the model's own.
Read `refine` first. Proofs: docs/model-shape.md, "Joint search".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

import numpy as np

from hardplace.branch_and_bound.front import Front, Scores
from hardplace.branch_and_bound.loop import Deadline, Ended, Loop, TimeUp
from hardplace.branch_and_bound.problem import Refined
from hardplace.branch_and_bound.types import Progress, Stop, StoppingRule
from hardplace.design.exact.evaluator import ChipEvaluator, InProcess, Task
from hardplace.design.question import Question
from hardplace.design.search.candidates import LEVEL_NAMES, ChipCandidate, Refinement, evaluated, only_plan
from hardplace.design.search.explore import DesignSearch
from hardplace.design.search.layout import Group
from hardplace.design.types import Evaluation, Job, Outcome, RefinementLevel
from hardplace.shaping.joint.boxes import Bounding, Layouts, fast_enough, fastest_macs_per_s, macs, places_of
from hardplace.shaping.joint.candidates import (
    Best,
    Element,
    Grouped,
    Inner,
    JointCounts,
    JointFound,
    Reshapes,
    Unopened,
    layouts_of,
)


@dataclass
class Joint:
    """One search over shapes, chips and plans. question: of the model's own shape; its space is every shape's.

    within: as for Search. start: a score that is reached already, and with what. layouts: kept from another search of
    the same shapes. evaluator: where refinements are done; None: in this process.
    """

    question: Question
    reshapes: Reshapes
    ends: StoppingRule
    within: InitVar[Deadline | None] = None
    report: Callable[[Progress], None] | None = None
    start: tuple[float, Best] | None = None
    layouts: Layouts | None = None
    evaluator: ChipEvaluator | None = None
    front: Front[Best] = field(default_factory=Front)

    def __post_init__(self, within: Deadline | None) -> None:
        """Bound every shape with every group of plans; nothing is laid out yet."""
        self._deadline = within or Deadline(limit_s=self.ends.limit_s)
        self._tasks: dict[str, Task] = {}  # of shapes that are laid out; the evaluator's too, here and on a worker
        here = InProcess(tasks=self._tasks, gap=self.ends.gap / 4)
        self._evaluator: ChipEvaluator = self.evaluator.of(self._tasks) if self.evaluator is not None else here
        self._searches: dict[tuple[int, Group], DesignSearch] = {}
        self._tally = JointCounts()
        batch, choices = self.question.setting.batch_samples, self.question.choices
        self.groups = tuple((b, t) for t in choices.tensor_parallel for b in choices.micro_batches if batch % b == 0)
        self.places = places_of(self.question)
        self._layouts = self.layouts or layouts_of(self.question, self.reshapes)
        if self.start is not None:
            self.front.offer((self.start[0],), self.start[1])
        started = time.perf_counter()
        self._bound, self._hardest = self._by_products()
        self._tally.shapes_s += time.perf_counter() - started

    # -- the problem, as the loop sees it ------------------------------------------------------------------------

    def run(self) -> JointFound:
        """Refine candidates best first until the gap, a limit or an interrupt; return what was found."""
        loop = Loop(self, self.front, self._evaluator.steps(self), self.ends, self._deadline, self.report)
        return self._found(loop.run())

    def roots(self) -> Iterator[tuple[Scores, Grouped]]:
        """Yield all shapes with each group, by their products on the fastest arrays; the start's group first."""
        first = self.start[1].group if self.start is not None else self.groups[0]
        for group in sorted(self.groups, key=lambda one: one != first):
            yield (self._bound,), Grouped(group)

    def _by_products(self) -> tuple[float, float]:
        """Return what no shape exceeds on the fastest arrays, and that for one multiply-accumulate a second of them."""
        made = self._layouts.of(0, (1, 1))
        fastest = max(fastest_macs_per_s(place) for place in self.places)
        if made is None or not fastest:
            return (np.inf if fastest else 0.0), 0.0
        worth = self.reshapes.weights / macs(made, self.reshapes.shapes, self._layouts.cycles)
        hardest = float(worth.max()) * self.question.setting.cluster.devices
        return hardest * fastest, hardest

    def _bounding(self, group: Group, known: float) -> Bounding:
        """Return what bounds shapes with a group, on the chips whose arrays can do more than what is known."""
        least = known / self._hardest if self._hardest else 0.0
        return Bounding(
            question=self.question, shapes=self.reshapes.shapes, weights=self.reshapes.weights, layouts=self._layouts,
            group=group, places=tuple(fast_enough(place, least) for place in self.places), check=self._deadline.check,
        )  # fmt: skip

    def _bounds(
        self, candidate: Grouped, front: Front[Best], tally: JointCounts
    ) -> list[tuple[Scores, Element | None]]:
        """Bound each shape with a group; the most promising one is searched, so that something is reached."""
        started = time.perf_counter()
        known = front.best * (1.0 + self.ends.gap)
        bounds = self._bounding(candidate.group, known).bounds(known)
        order = np.argsort(-bounds, kind="stable")
        tally.shapes_s += time.perf_counter() - started
        if bounds[order[0]] > known:
            self._attempt(int(order[0]), candidate.group, front, tally)
        left = Unopened(candidate.group, order, bounds[order], 0)
        return [((float(bounds[order[0]]),), left)] if bounds[order[0]] > 0.0 else []

    def _attempt(self, row: int, group: Group, front: Front[Best], tally: JointCounts) -> None:
        """Search one shape with one group of plans alone; it stays a candidate."""
        search = self._laid_out(row, group, self._deadline)
        if search.shortage() is not None:
            tally.opened.add((row, group))
            return
        found = search.run()
        if found.stop is Stop.INTERRUPTED:
            raise KeyboardInterrupt
        if found.reached:
            front.offer((found.scores[0][0] * float(self.reshapes.weights[row]),), Best(row, group, found.reached[0]))

    def job(self, candidate: Element) -> Job | None:
        """Return the exact evaluation that refining a candidate needs."""
        if not isinstance(candidate, Inner) or not isinstance(candidate.candidate, ChipCandidate):
            return None
        return self._search(candidate.row, candidate.group).job(candidate.candidate)

    def refine(self, candidate: Element, outcome: Outcome | None, front: Front[Best]) -> Refined[Element]:
        """Return what the next level leaves: of shapes the next one laid out, of a shape what its own search leaves."""
        tally = JointCounts()
        if isinstance(candidate, Grouped):
            left = self._bounds(candidate, front, tally)
            return Refined(left=tuple(left), offers=front.offered, tally=tally)
        if isinstance(candidate, Unopened):
            return Refined(left=tuple(self._open(candidate, tally)), offers=(), tally=tally)
        row, group = candidate.row, candidate.group
        search, weight = self._search(row, group), float(self.reshapes.weights[row])
        own = Front[Any]([((front.best / weight,), None)] if front.best else [])
        inner = search.refine(candidate.candidate, outcome, own)
        return Refined(
            left=tuple(
                ((scores[0] * weight,), None if rest is None else Inner(row, group, rest, candidate.families))
                for scores, rest in inner.left
            ),
            offers=tuple(((scores[0] * weight,), Best(row, group, payload)) for scores, payload in inner.offers),
            tally=JointCounts(search=inner.tally),
        )

    def discard(self, candidate: Element) -> None:
        """Count what was left in the heap."""
        if isinstance(candidate, Inner):
            self._tally.search.discard(candidate.candidate, candidate.families)

    def add(self, tally: JointCounts) -> None:
        """Add counts."""
        self._tally.add(tally)

    def __getstate__(self) -> dict[str, Any]:
        """Leave here what only this process can use: where refinements are done, what is laid out, who is told."""
        there = InProcess(tasks=self._tasks, gap=self.ends.gap / 4)
        mine: dict[str, Any] = {"evaluator": None, "_evaluator": there, "report": None, "_searches": {}}
        return {**self.__dict__, **mine}

    # -- opening shapes ------------------------------------------------------------------------------------------

    def _open(self, candidate: Unopened, tally: JointCounts) -> list[tuple[Scores, Element | None]]:
        """Lay out the shape and group with the largest bound; what is left of it is all of its chips."""
        started = time.perf_counter()
        row, group, bound = (
            int(candidate.order[candidate.first]),
            candidate.group,
            float(candidate.bounds[candidate.first]),
        )
        left: list[tuple[Scores, Element | None]] = []
        search = self._searches[row, group] = self._laid_out(row, group, self._deadline)
        tally.opened.add((row, group))
        short = search.shortage()
        if short is not None:
            tally.shortages.append(short)
        else:
            left = [((bound,), Inner(row, group, one, search.families(one.section))) for _, one in search.roots()]
            tally.search.add(search.counts)
        if candidate.first + 1 < len(candidate.order):
            rest = replace(candidate, first=candidate.first + 1)
            left.append(((float(rest.bounds[rest.first]),), rest))
        tally.laying_out_s += time.perf_counter() - started
        return left

    def _search(self, row: int, group: Group) -> DesignSearch:
        """Return the search of a shape with a group, laid out again where another process opened it."""
        if (row, group) not in self._searches:
            self._searches[row, group] = self._laid_out(row, group, self._deadline)
        return self._searches[row, group]

    def _laid_out(self, row: int, group: Group, within: Deadline) -> DesignSearch:
        workload = self._layouts.workload(row)
        self._tasks[workload.name] = Task(workload=workload, setting=self.question.setting)
        choices = replace(self.question.choices, micro_batches=(group[0],), tensor_parallel=(group[1],))
        question = replace(self.question, workloads=(workload,), choices=choices)
        return DesignSearch(
            question=question, ends=StoppingRule(gap=self.ends.gap), evaluator=self._evaluator, within=within
        )

    # -- the account ---------------------------------------------------------------------------------------------

    def _found(self, ended: Ended) -> JointFound:
        best = self.front.points[0][1] if self.front.points else None
        evaluation = self._exactly(best) if best is not None else None
        score = self.front.best
        if best is not None and evaluation is not None:
            score = evaluation.samples_per_s * float(self.reshapes.weights[best.row])
        return JointFound(
            best=best,
            evaluation=evaluation,
            score=score,
            reached=self.front.best,
            ended=ended,
            levels=self._levels(),
            shapes_opened=len({row for row, _ in self._tally.opened}),
            candidates=self._every(),
            seconds=self._deadline.elapsed_s,
            shortage=min(self._tally.shortages, key=lambda one: one.needed / one.available, default=None),
        )

    def _exactly(self, best: Best) -> Evaluation:
        known = only_plan(best.reached).evaluation
        if self.start is not None and best is self.start[1] and known is not None:
            return known
        self._tally.opened.add((best.row, best.group))
        search = self._searches.get((best.row, best.group))
        try:
            search = search or self._laid_out(best.row, best.group, self._deadline)
            return evaluated(search.best_memory(best.reached, 0, self._evaluator))
        except (KeyboardInterrupt, TimeUp):  # the answer is laid out all the same
            search = search or self._laid_out(best.row, best.group, Deadline())
            quick = InProcess(tasks=self._tasks, gap=self.ends.gap / 4, work=0.0)
            return evaluated(search.best_memory(best.reached, 0, quick))

    def _every(self) -> int:
        return len(self.reshapes.shapes) * len(self.groups) * self._each()

    def _each(self) -> int:
        """Return candidates of one shape and group: chips, with or without recompute."""
        return self.question.space.chips * len(self.question.choices.recompute)

    def _levels(self) -> tuple[RefinementLevel, ...]:
        counts = self._tally.search
        every, opened = self._every(), len(self._tally.opened) * self._each()
        levels = [
            RefinementLevel(
                name="shapes by products", entered=every, discarded=every - opened, seconds=self._tally.shapes_s
            )
        ]
        boxes = counts.levels[Refinement.BOX].entered
        levels.append(
            RefinementLevel(
                name="limits and memory",
                entered=opened,
                discarded=opened - boxes + counts.beyond,
                seconds=self._tally.laying_out_s,
            )
        )
        levels += [
            RefinementLevel(name=LEVEL_NAMES[stage], entered=one.entered, discarded=one.discarded, seconds=one.seconds)
            for stage, one in counts.levels.items()
        ]
        return tuple(levels)
