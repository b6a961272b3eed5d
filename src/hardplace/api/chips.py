"""Chips that do not exist: the search for the best, fronts, shared chips, shapes with them, other strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from hardplace.api.asking import Named, asked_of, names_of
from hardplace.api.kernels import query_of
from hardplace.api.sources import load
from hardplace.errors import BadInput, unknown

if TYPE_CHECKING:
    import os

    from hardplace.answers import Infeasible
    from hardplace.branch_and_bound.types import Progress, StoppingRule
    from hardplace.design.exact.evaluator import ChipEvaluator
    from hardplace.design.exact.layer_schedule import LayerScheduleResult
    from hardplace.design.question import Question
    from hardplace.design.results import DesignResult, ParetoResult, SharedResult
    from hardplace.design.strategies.types import Comparison
    from hardplace.shaping.joint.types import ShapeDesignResult
    from hardplace.workload.types import Workload


def search(
    model: str | os.PathLike[str] | Workload,
    *,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "phaze",
    process: str | float | None = None,
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
        space: The chips to search: `phaze`, `reticle` (one reticle at 5 nm within 700 W), `open`, or a TOML file.
        process: Process node of the chips, such as "7nm", for a space whose area is by parts. None: the space's.
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
    from hardplace.answers import Infeasible
    from hardplace.api.fitted import with_fitted
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.answer import answer as design_answer
    from hardplace.design.question import question_of

    workload = load(model)
    question = question_of(
        (workload,), setting=setting, node=node, space=space, process=process, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=(objective,),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations, exhaustive=exhaustive)
    found = design_answer(question, ends, report=progress, evaluator=evaluator)
    if isinstance(found, Infeasible):
        return replace(found, question=asked)
    return replace(with_fitted(found, workload), question=asked)


def frontier(
    model: str | os.PathLike[str] | Workload,
    objectives: Sequence[str] = ("throughput", "tdp"),
    *,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "phaze",
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
) -> ParetoResult | Infeasible:
    """Search the Pareto front of chips and plans over two or three objectives, with a certificate.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        objectives: Two or three different ones of those that `search` takes.
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
    from hardplace.design.answer import frontier as design_frontier
    from hardplace.design.question import question_of

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=tuple(objectives),
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return replace(design_frontier(question, ends, report=progress, evaluator=evaluator), question=asked)


def share(
    models: Sequence[str | os.PathLike[str] | Workload],
    *,
    fleet: int = 1,
    combine: str | None = None,
    weights: Sequence[float] | None = None,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "phaze",
    process: str | float | None = None,
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
    from hardplace.design.several_models import together

    question = question_of(
        tuple(load(model) for model in models), setting=setting, node=node, space=space, process=process,
        devices=devices, batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch,
        tensor=tensor, recompute=recompute, objectives=(objective,), combine=combine, weights=weights, fleet=fleet,
    )  # fmt: skip
    ends = StoppingRule(gap=gap, limit_s=seconds)
    return replace(together(question, ends, report=progress, evaluator=evaluator), question=asked)


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
    from hardplace.answers import Infeasible
    from hardplace.api.fitted import with_fitted
    from hardplace.design.answer import answer, frontier
    from hardplace.design.several_models import together

    if len(question.workloads) > 1:
        return replace(together(question, ends, report=progress, evaluator=evaluator), question=asked)
    if len(question.goal.objectives) > 1:
        return replace(frontier(question, ends, report=progress, evaluator=evaluator), question=asked)
    found = answer(question, ends, report=progress, evaluator=evaluator)
    if isinstance(found, Infeasible):
        return replace(found, question=asked)
    return replace(with_fitted(found, question.workloads[0]), question=asked)


def codesign(
    model: str | os.PathLike[str],
    *,
    within: float = 0.02,
    freeze: Named = (),
    ranges: Mapping[str, str | Sequence[int]] | None = None,
    raw: bool = False,
    setting: str = "hbm3",
    node: str | None = None,
    space: str = "phaze",
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
        progress: As for `search`.

    Returns:
        The best shape, chip and plan, beside the model's own shape on its best chip; or what is short.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.shaping.joint.answer import jointly
    from hardplace.shaping.sources import model_named

    question = question_of(
        (load(model),), setting=setting, node=node, space=space, process=process, devices=devices,
        batch=batch, limits=limits or {}, memory=memory, micro_batch=micro_batch, tensor=tensor, recompute=recompute,
        objectives=("throughput",),
    )  # fmt: skip
    query = query_of(within, names_of(freeze), ranges or {}, 10)
    ends = StoppingRule(gap=gap, limit_s=seconds)
    found = jointly(model_named(str(model), None), question, query, ends, raw=raw, report=progress)
    return replace(found, question=asked)


def compare(
    model: str | os.PathLike[str] | Workload,
    strategies: Named = (),
    *,
    setting: str = "hbm3",
    limits: Mapping[str, str | float] | None = None,
    devices: int = 1024,
    batch: int = 4096,
    gap: float = 0.001,
    seconds: float | None = None,
    evaluations: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Comparison | Infeasible:
    """Compare other search strategies on the same space with the certified search.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        strategies: Names among phaze, wham, bayesian, random. Empty: all.
        setting: As for `search`.
        limits: As for `search`.
        devices: As for `search`.
        batch: As for `search`.
        gap: Relative gap of the certified search, which runs to its proof.
        seconds: Time limit in seconds of each strategy. None with no `evaluations`: 30 s.
        evaluations: Limit on exact evaluations of each strategy. None: none.
        seed: Seed of the strategies that draw at random.
        progress: Called with the name of the strategy that begins.

    Returns:
        For each strategy its best, its evaluations and its improvements over time; or what is short.

    Raises:
        BadInput: For an unknown strategy or an argument that is wrong.
    """
    asked = asked_of(locals())
    from hardplace.branch_and_bound.types import StoppingRule
    from hardplace.design.question import question_of
    from hardplace.design.strategies.compare import STRATEGIES
    from hardplace.design.strategies.compare import compare as compared

    names = names_of(strategies)
    for name in names:
        if name not in STRATEGIES:
            raise unknown("strategy", name, STRATEGIES)
    question = question_of(
        (load(model),), setting=setting, space="phaze", devices=devices, batch=batch, limits=limits or {}
    )
    if seconds is None and evaluations is None:
        seconds = 30.0
    ends = StoppingRule(gap=gap, limit_s=seconds, evaluations=evaluations)
    found = compared(question, names or tuple(STRATEGIES), ends, seed=seed, report=progress)
    return replace(found, question=asked)


def schedule(
    model: str | os.PathLike[str] | Workload,
    chip: str,
    *,
    layer: str | None = None,
    phase: Named = ("forward", "backward"),
    micro_batch: int = 1,
    tensor: int = 1,
    rule: str = "exclusive",
    splits: bool = False,
    setting: str = "hbm3",
    gap: float = 0.001,
    seconds: float | None = 30.0,
) -> LayerScheduleResult:
    """Schedule one layer of a model on the cores of a chip: makespans with lower bounds, and where each kernel runs.

    Args:
        model: A catalogue name, a Workload file, a config.json, or a Workload.
        chip: Tensor cores x rows x columns, vector cores x lanes, buffer: "8x128x128-2x128-128MiB".
        layer: Name of the layer. None: the one that the model repeats most.
        phase: Passes: forward, backward, recompute (the recomputed forward pass joined to the backward pass).
        micro_batch: Samples of a micro-batch.
        tensor: Tensor-parallel degree.
        rule: exclusive: a kernel on all cores of its kind has the chip to itself; sharing: it leaves the other kind
            free.
        splits: Whether kernels may run on 2, 4, 8, ... cores, besides on one and on all.
        setting: Memory system and network.
        gap: Relative gap at which a schedule is good enough.
        seconds: Time limit of each pass in seconds. None: none.

    Returns:
        The schedules of the passes with their bounds, in seconds from the start of each pass.

    Raises:
        BadInput: For an argument that is wrong, which it names.
    """
    asked = asked_of(locals())
    from hardplace.design.exact.layer_schedule import LayerPass, LayerQuestion, layer_of, schedule_layer
    from hardplace.design.scheduling.types import SharingRule
    from hardplace.hardware.phaze import chip_of_text
    from hardplace.hardware.setting_files import setting_of as named

    passes = [_word("phase", one, LayerPass) for one in dict.fromkeys(names_of(phase))]
    workload = load(model)
    question = LayerQuestion(
        layer=layer_of(workload, tensor, layer), tensor_parallel=tensor, micro_batch=micro_batch,
        chips=chip_of_text(chip), setting=named(setting), rule=_word("rule", rule, SharingRule), splits=splits,
    )  # fmt: skip
    return replace(schedule_layer(question, workload.name, passes, gap=gap, limit_s=seconds), question=asked)


_Word = TypeVar("_Word", bound=StrEnum)


def _word(name: str, value: str, words: type[_Word]) -> _Word:
    """Return one of a few words; BadInput for another one."""
    try:
        return words(value)
    except ValueError:
        raise BadInput(name, repr(value), f"one of {', '.join(words)}") from None
