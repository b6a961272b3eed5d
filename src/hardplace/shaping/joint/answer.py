"""From a model and what is asked of its shape to an answer: shape, chip and plan together, and each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardplace.answers import Infeasible
from hardplace.branch_and_bound.front import Front
from hardplace.branch_and_bound.loop import Deadline, TimeUp
from hardplace.branch_and_bound.types import LIMITS, Progress, Stop, StoppingRule
from hardplace.design.answer import explored, too_early, undecided
from hardplace.design.exact.evaluator import ChipEvaluator
from hardplace.design.goals import Objective
from hardplace.design.notes import notes
from hardplace.design.question import Question
from hardplace.design.search.candidates import Reached, evaluated, only_plan
from hardplace.design.search.explore import DesignSearch
from hardplace.design.types import Evaluation
from hardplace.errors import BadInput
from hardplace.hardware.space import AXES, ChipSpace
from hardplace.hardware.space_files import label_of
from hardplace.hardware.types import Accelerator
from hardplace.ndtypes import Floats
from hardplace.shaping.joint.candidates import Best, Reshapes, layouts_of
from hardplace.shaping.joint.joint import Joint
from hardplace.shaping.joint.types import Fitted, ShapeDesignResult
from hardplace.shaping.rank import ShapeQuery, changes_of, dense, divides, risks_of
from hardplace.shaping.sources import ShapeSource
from hardplace.shaping.space import ShapeSpace as ShapeSpace
from hardplace.shaping.space import space as shapes_within
from hardplace.shaping.types import FIELDS, StepConditions, Tier
from hardplace.version import __version__
from hardplace.workload.reshaping.reshape import Reshaping, can_be_made

QUANTUM = 128  # what widths are multiples of, unless they are asked for: the columns of common arrays
MOST = 20_000  # shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedShapes:
    """The shapes of a question.

    Attributes:
        model: The model, as a shape and a recording.
        query: What shapes are searched.
        raw: Score by samples a second; else times the parameters trained.
        found: The shapes within the budget of parameters.
        reshapes: What their scores are weighted by, and how their Workloads are made.
    """

    model: ShapeSource
    query: ShapeQuery
    raw: bool
    found: ShapeSpace
    reshapes: Reshapes


def asked_shapes(model: ShapeSource, query: ShapeQuery, *, raw: bool = False) -> AskedShapes:
    """Return the shapes that a query asks of a model.

    Raises:
        BadInput: For a model that is no recorded dense decoder, and too many shapes.
    """
    found, reshapes = reshapes_of(model, query, raw=raw)
    return AskedShapes(model=model, query=query, raw=raw, found=found, reshapes=reshapes)


def jointly(
    shapes: AskedShapes, question: Question, ends: StoppingRule, *,
    report: Callable[[Progress], None] | None = None, evaluator: ChipEvaluator | None = None,
) -> ShapeDesignResult | Infeasible:  # fmt: skip
    """Search the best shape, chip and plan, with a certificate.

    Args:
        shapes: What shapes are searched.
        question: Question of the model's own workload.
        ends: When to stop.
        report: Called with each Progress.
        evaluator: Where refinements are done; None: in this process.

    Raises:
        BadInput: For other objectives than throughput, and other ends than a gap and seconds.
        KeyboardInterrupt: For an interrupt before a first answer; a later one ends the search with the best so far.
    """
    if ends.evaluations is not None or ends.exhaustive:
        raise BadInput("shapes", "evaluations or exhaustive beside it", "a limit of seconds, or none")
    deadline = Deadline(limit_s=ends.limit_s)
    if question.goal.objectives != (Objective.THROUGHPUT,) or len(question.workloads) > 1:
        raise BadInput("shapes", None, "one model and the objective throughput")
    model, asked, found, reshapes = shapes.model, shapes.query, shapes.found, shapes.reshapes
    layouts = layouts_of(question, reshapes)
    try:
        own = explored(DesignSearch(question=question, ends=ends, within=deadline, evaluator=evaluator))
    except TimeUp:
        raise too_early(Stop.SECONDS, "any plan was reached") from None
    start = None
    if not isinstance(own, Infeasible):
        start = own.scores[0][0], _best(own.reached[0])
        if own.stop is Stop.INTERRUPTED:
            deadline.limit_s = 0.0
    joint = Joint(
        question=question, reshapes=reshapes, ends=ends, within=deadline, report=report, start=start, layouts=layouts,
        evaluator=evaluator,
    )  # fmt: skip
    ended = joint.run()
    if ended.best is None and ended.ended.stop is Stop.SCHEDULES:
        ended = replace(joint, ends=replace(ends, gap=0.0), within=deadline, front=Front()).run()
    if ended.best is None or ended.evaluation is None:
        if ended.ended.stop in LIMITS or not isinstance(own, Infeasible):
            raise too_early(ended.ended.stop, "any plan was reached")
        if ended.ended.stop is Stop.SCHEDULES:
            raise undecided(question)
        return ended.shortage or own
    if not np.isfinite(ended.ended.excess):
        raise too_early(ended.ended.stop, "every shape was bounded")
    listing = Listing(model=model, found=found, weights=reshapes.weights)
    best = listing.fitted(ended.best.row, ended.evaluation)
    base = best if isinstance(own, Infeasible) else listing.fitted(0, evaluated(own.reached[0].plans[0]))
    then = base
    if ended.ended.stop not in LIMITS:
        alone = replace(question, space=only(question.space, base.evaluation.chip))
        on_chip = Joint(
            question=alone,
            reshapes=reshapes,
            ends=ends,
            within=deadline,
            start=start,
            layouts=layouts,
            evaluator=evaluator,
        ).run()
        if on_chip.best is not None and on_chip.evaluation is not None:
            then = listing.fitted(on_chip.best.row, on_chip.evaluation)
    best = max(best, base, then, key=lambda one: one.score)
    bound = max(best.score, ended.reached * (1.0 + ended.ended.excess))
    return ShapeDesignResult(
        version=__version__,
        model=model.name,
        parameters=int(found.parameters[0]),
        sequence_length=question.workloads[0].sequence_length,
        setting=question.setting.name,
        space=label_of(question.space),
        raw=shapes.raw,
        share=asked.share,
        frozen=asked.frozen,
        mlp_step=found.mlp_step,
        budget=question.budget,
        devices=question.setting.cluster.devices,
        batch_samples=question.setting.batch_samples,
        choices=question.choices,
        shapes=len(found.shapes),
        chips=question.space.chips,
        candidates=ended.candidates,
        opened=ended.shapes_opened,
        best=best,
        base=base,
        then_shape=then,
        score=best.score,
        bound=bound,
        target_gap=ends.gap,
        limit_s=ends.limit_s,
        stop=Stop.INTERRUPTED if not isinstance(own, Infeasible) and own.stop is Stop.INTERRUPTED else ended.ended.stop,
        seconds=deadline.elapsed_s,
        levels=ended.levels,
        progress=ended.ended.progress,
        notes=(*_left_out(model, found), *loose(best.score, bound), *notes(question)),
    )


def reshapes_of(model: ShapeSource, asked: ShapeQuery, *, raw: bool) -> tuple[ShapeSpace, Reshapes]:
    """Return the shapes within the budget of parameters, and what their scores are weighted by."""
    shape = dense(model)
    if model.workload is None:
        raise BadInput(f"{model.name}: a config: expected a catalogue model or a Workload file (hardplace trace)")
    if shape.sequence != model.workload.sequence_length:
        raise BadInput(
            "sequence", shape.sequence, f"{model.workload.sequence_length}, at which {model.name} was recorded"
        )
    found = shapes_within(shape, StepConditions(), QUANTUM, asked.share, asked.frozen, asked.ranges)
    if len(found.shapes) > MOST:
        raise BadInput("shapes", f"{len(found.shapes):,}", f"at most {MOST:,}: freeze fields, or give them ranges")
    reshaping = Reshaping(workload=model.workload, sizes={name: getattr(shape, name) for name in FIELDS})
    kept = can_be_made({name: getattr(found.shapes, name) for name in FIELDS}) & reshaping.possible
    kept[0] = True  # the recording itself
    found = replace(
        found, shapes=found.shapes.take(kept), parameters=found.parameters[kept], trained=found.trained[kept],
        safe=found.safe[kept], unmade=int((~kept).sum()),
    )  # fmt: skip
    trained = found.trained / found.trained[0]
    return found, Reshapes(shapes=found.shapes, weights=np.ones(len(trained)) if raw else trained, reshaping=reshaping)


def loose(score: float, bound: float) -> tuple[str, ...]:
    """Return what to ask instead where a bound is more than twice the score; () where it is not."""
    if bound <= 2.0 * score:
        return ()
    return (
        "the bound is more than twice the score, so little is proven: more seconds, fewer chips (space phaze, or a "
        "file of your own) or fewer shapes (fields that are frozen or have ranges) prove more; `hardplace shape` "
        "proves the best shape of one device",
    )


def _left_out(model: ShapeSource, found: ShapeSpace) -> Iterator[str]:
    """Yield how many shapes were left out, and why."""
    if found.unmade:
        one = found.shapes.at(0)
        ones = [name for name in FIELDS if getattr(one, name) < 2]
        why = "a recording is not reshaped to one key-value head, to heads that those do not divide, or to an odd head"
        if ones:
            why = f"{model.name} has {', '.join(ones)} of 1, so that its axes cannot be told apart"
        yield f"{found.unmade:,} shapes within the parameters are left out: {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What is said of shapes beside their speed."""

    model: ShapeSource
    found: ShapeSpace
    weights: Floats

    def fitted(self, row: int, evaluation: Evaluation) -> Fitted:
        """Return a shape with its chip and plan in words and numbers."""
        base, shape = self.found.shapes.at(0), self.found.shapes.at(row)
        return Fitted(
            name=self.model.name,
            shape=shape,
            tier=Tier.SAFE if self.found.safe[row] else Tier.RESHAPED,
            parameters=int(self.found.parameters[row]),
            changes=changes_of(base, shape),
            divides=divides(shape),
            risks=risks_of(base, shape),
            score=evaluation.samples_per_s * float(self.weights[row]),
            evaluation=evaluation,
        )


def _best(reached: Reached) -> Best:
    family = only_plan(reached).job.family
    return Best(0, (family.micro_batch, family.tensor_parallel), reached)


def only(space: ChipSpace, chip: Accelerator) -> ChipSpace:
    """Return the space of one chip, with the memories and links that it was chosen with."""
    values: dict[str, Any] = {axis: (getattr(chip, axis),) for axis in AXES if getattr(space, axis)}
    memories = tuple(
        one
        for one in space.memories
        if (one.bytes, one.bandwidth_bytes_per_s) == (chip.memory_bytes, chip.memory_bandwidth_bytes_per_s)
    )
    links = tuple(one for one in space.links_bytes_per_s if one == chip.link_bandwidth_bytes_per_s)
    return replace(space, **values, memories=memories, links_bytes_per_s=links)
