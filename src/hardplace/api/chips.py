"""Chips that do not exist: the search for the best one, for the Pareto front, and for what several models share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import asked_of
from hardplace.api.sources import load

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.question import Question
    from hardplace.design.results import DesignResult, ParetoResult, SharedResult
    from hardplace.workload.types import Workload

    Watch = Callable[[Progress], None] | None


def search(
    model: str | os.PathLike[str] | Workload,
    *,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    ideal: bool = False,
    objective: str = "throughput",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    memory: str | float | Sequence[str | float] = (),
    micro_batch: int | Sequence[int] = (),
    tensor: int | Sequence[int] = (),
    recompute: bool | Sequence[bool] = (),
    gap: float = 0.01,
    seconds: float | None = None,
    evaluations: int | None = None,
    exhaustive: bool = False,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DesignResult | Infeasible:
    """Search the chip and the plan that train a model fastest, or do best at another objective, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        setting: Memory system, network and optimizer that all chips share: `hbm3`, `phaze`, or a TOML file.
        node: Name or TOML file of a node whose network takes the place of the setting's. None: the setting's.
        space: The chips to search: `reticle` (one reticle at 5 nm within 700 W), `open`, `phaze` (PHAZE's, with its
            area at 45 nm), or a TOML file.
        process: Process node of the chips, such as "7nm", for a space whose area is by parts. None: the space's.
        ideal: Kernels reach all of the rates of arrays, memory and links. False: what fitted GPUs reach, of chips by
            parts.
        objective: throughput, throughput-per-watt, throughput-per-dollar, energy, carbon, tdp, price or area.
        limits: Upper limits by name (area, tdp, price, memory, step), as texts with units or numbers in mm2, W, USD,
            bytes and seconds: {"area": "60 mm2", "tdp": "300 W"}. Without one on area or TDP, that of the space holds.
        devices: Accelerators that train the model together.
        batch: Samples of the global batch, which is one optimizer step.
        memory: Memory capacities of a chip to choose from, in bytes or as texts. Empty: those of the setting.
        micro_batch: Samples of a micro-batch to choose from. Empty: 1, 2, 4, 8.
        tensor: Tensor-parallel degrees to choose from. Empty: 1, 2, 4, 8.
        recompute: Whether stages recompute their activations. Empty: both.
        gap: Relative gap, bound / score - 1, at which the search stops.
        seconds: Time limit in seconds. None: none.
        evaluations: Limit on exact evaluations. None: none.
        exhaustive: Evaluate every candidate instead of branch and bound; for small spaces.
        evaluator: Where exact evaluations are done (processes, a cluster). None: here.
        progress: Called with the state of the search as it goes.

    Returns:
        The best chip and plan with the certificate, or what is short where no candidate fits.

    Raises:
        BadInput: For an argument that is wrong, which it names.

    An interrupt (Ctrl-C) ends the search with the best answer so far and its gap.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, ideal=ideal, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=(objective,),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations, exhaustive=exhaustive)
    return _design_result(question, ends, asked, evaluator, progress)


def frontier(
    model: str | os.PathLike[str] | Workload,
    objectives: Sequence[str] = ("throughput", "tdp"),
    *,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    ideal: bool = False,
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
) -> ParetoResult | Infeasible:
    """Search the Pareto front of chips and plans over two or three objectives, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        objectives: Two or three different ones of those that `search` takes.
        setting: As for `search`.
        node: As for `search`.
        space: As for `search`.
        process: As for `search`.
        ideal: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: Relative gap at which the search stops: no candidate beats every point of the front by more.
        seconds: Time limit in seconds. None: none.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        The points of the front, none of which another one beats in every objective; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, ideal=ideal, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=tuple(objectives),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return _pareto_result(question, ends, asked, evaluator, progress)


def share(
    models: Sequence[str | os.PathLike[str] | Workload],
    *,
    fleet: int = 1,
    combine: str | None = None,
    weights: Sequence[float] | None = None,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "reticle",
    process: str | float | None = None,
    ideal: bool = False,
    objective: str = "throughput",
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
) -> SharedResult | Infeasible:
    """Search one chip for several models, or the best set of a few chips, with a certificate.

    Args:
        models: Two or more models, each as `search` takes it.
        fleet: Number of different chips; each model runs on the one that is best for it.
        combine: How the models' scores, each over that of its own best chip, become one: geometric (the default),
            worst, weights (the default where there are weights), or arithmetic (with the setting `phaze` only).
        weights: A positive weight for each model.
        setting: As for `search`.
        node: As for `search`.
        space: As for `search`.
        process: As for `search`.
        ideal: As for `search`.
        objective: As for `search`.
        limits: As for `search`.
        devices: As for `search`, for each model.
        batch: As for `search`, for each model.
        memory: As for `search`.
        micro_batch: As for `search`.
        tensor: As for `search`.
        recompute: As for `search`.
        gap: As for `search`, of the combined score.
        seconds: Time limit in seconds, shared by the searches of all models. None: none.
        evaluator: As for `search`.
        progress: As for `search`.

    Returns:
        The chips, and which model runs on which with which plan; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of

    question = question_of(
        tuple(load(model) for model in models), setting=setting, node=node, space=space, process=process, ideal=ideal,
        devices=devices, batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch,
        tensor=tensor, recompute=recompute, objectives=(objective,), combine=combine, weights=weights, fleet=fleet,
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return _shared_result(question, ends, asked, evaluator, progress)


def answered(
    question: Question,
    ends: StoppingRule,
    asked: Mapping[str, Any],
    *,
    evaluator: ChipEvaluator | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> DesignResult | ParetoResult | SharedResult | Infeasible:
    """Search what a question asks: one model, a Pareto front, or several models.

    For callers that have made a `Question` themselves, such as to keep a journal of it.

    Args:
        question: Models, setting, limits, space of chips, choices of a plan, and goal.
        ends: When to stop.
        asked: The question as plain values, which the answer carries.
        evaluator: Where exact evaluations are done. None: here.
        progress: Called with the state of the search as it goes.

    Returns:
        The answer of the kind that the question asks for; or what is short.
    """
    if len(question.workloads) > 1:
        return _shared_result(question, ends, asked, evaluator, progress)
    if len(question.goal.objectives) > 1:
        return _pareto_result(question, ends, asked, evaluator, progress)
    return _design_result(question, ends, asked, evaluator, progress)


def _design_result(
    question: Question, ends: StoppingRule, asked: Mapping[str, Any], evaluator: ChipEvaluator | None, progress: Watch
) -> DesignResult | Infeasible:
    """Return the best chip and plan, with what existing GPUs reach on their fitted models."""
    from hardplace.answers import Infeasible
    from hardplace.api.fitted import with_fitted
    from hardplace.branch_and_bound.loop import deadline_of
    from hardplace.design.answer import answer

    whole = deadline_of(ends)
    found = answer(question, ends, report=progress, evaluator=evaluator, within=whole)
    if not isinstance(found, Infeasible):
        found = with_fitted(found, question.workloads[0], whole.rest)
    return replace(found, question=asked)


def _pareto_result(
    question: Question, ends: StoppingRule, asked: Mapping[str, Any], evaluator: ChipEvaluator | None, progress: Watch
) -> ParetoResult | Infeasible:
    """Return the Pareto front of chips and plans."""
    from hardplace.design.answer import frontier

    return replace(frontier(question, ends, report=progress, evaluator=evaluator), question=asked)


def _shared_result(
    question: Question, ends: StoppingRule, asked: Mapping[str, Any], evaluator: ChipEvaluator | None, progress: Watch
) -> SharedResult | Infeasible:
    """Return the chip, or the set of chips, that several models share."""
    from hardplace.design.several_models import together

    return replace(together(question, ends, report=progress, evaluator=evaluator), question=asked)
