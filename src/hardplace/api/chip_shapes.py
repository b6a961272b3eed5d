"""The shape of a model together with the chip that trains it: one search, one certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import Named, asked_of, names_of, plain
from hardplace.api.kernels import query_of
from hardplace.api.sources import load

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.question import Question
    from hardplace.shaping.joint.answer import AskedShapes
    from hardplace.shaping.joint.types import ShapeDesignResult


def codesign(
    model: str | os.PathLike[str],
    *,
    within: float = 0.02,
    freeze: Named = (),
    ranges: Mapping[str, str | Sequence[int]] | None = None,
    raw: bool = False,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ShapeDesignResult | Infeasible:
    """Search model shape, chip and plan together, with one certificate.

    Args:
        model: A name of `models()`, a Workload file or a config.json of a decoder.
        within: As for `shapes`.
        freeze: As for `shapes`.
        ranges: As for `shapes`.
        raw: Score by samples a second alone. False: times the shape's trained parameters over the model's own.
        setting: As for `search`.
        node: As for `search`.
        space: As for `search`.
        process: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: As for `search`.
        seconds: As for `search`.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        The best shape, chip and plan, beside the model's own shape on its best chip; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=("throughput",),
    )  # fmt: skip
    shapes = asked_shapes(model, within=within, freeze=freeze, ranges=ranges, raw=raw)
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return codesigned(question, shapes, ends, asked, evaluator=evaluator, progress=progress)


def asked_shapes(
    model: str | os.PathLike[str],
    *,
    within: float,
    freeze: Named,
    ranges: Mapping[str, str | Sequence[int]] | None,
    raw: bool,
) -> AskedShapes:
    """Return the shapes that `codesign` searches; arguments and errors as there."""
    from hardplace.shaping.joint.answer import asked_shapes as shapes_of
    from hardplace.shaping.sources import model_named

    query = query_of(within, names_of(freeze), ranges or {}, 10)
    return shapes_of(model_named(str(model), None), query, raw=raw)


def codesigned(
    question: Question,
    shapes: AskedShapes,
    ends: StoppingRule,
    asked: Mapping[str, Any],
    *,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ShapeDesignResult | Infeasible:
    """Search shape, chip and plan of a question that is made already, such as to keep a journal of it.

    Args:
        question: The model's own shape, setting, limits, space of chips and choices of a plan.
        shapes: The shapes.
        ends: When to stop.
        asked: The question as plain values, which the answer carries.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        As `codesign`.
    """
    from hardplace.shaping.joint.answer import jointly

    found = jointly(shapes, question, ends, report=progress, evaluator=evaluator)
    return replace(found, question=plain(asked))
