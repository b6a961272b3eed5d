"""From a question to its answer: the search, the plans to compare with, and the chips that were seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hardplace import __version__
from hardplace.hardware.space import name, tpuv4
from hardplace.placement.types import Infeasible
from hardplace.search.candidates import Found
from hardplace.search.exact import in_process
from hardplace.search.explore import Search
from hardplace.search.loop import Evaluator
from hardplace.search.profile import LayerSeconds
from hardplace.search.types import Baseline, Cloud, Evaluation, Exploration, Progress, Question
from hardplace.workload.types import OperatorKind, Workload

_REFERENCE_GAP = 0.01  # to which the plans on the chip to compare with are searched


def answer(
    question: Question,
    *,
    gap: float = 0.01,
    limit_s: float | None = None,
    evaluations: int | None = None,
    report: Callable[[Progress], None] | None = None,
    evaluator: Evaluator | None = None,
) -> Exploration | Infeasible:
    """Return the best chip and plan of a question with its certificate, or what every plan lacks.

    gap: relative gap at which to stop (0.01: nothing in the space is more than 1 % faster). limit_s: wall seconds
    for the search, or None. evaluations: exact ones at most, or None. evaluator: where they are done (None: in this
    process). report: called with the incumbent and the bound as they move. An interrupt
    (KeyboardInterrupt) ends the search with the best answer so far; it is raised again if there is none yet.
    """
    evaluator = evaluator or in_process(question, gap)
    search = Search(
        question=question, gap=gap, limit_s=limit_s, evaluations=evaluations, report=report, evaluator=evaluator
    )
    if not search.fits:
        return min(search.shortages, key=lambda short: short.needed / short.available)
    found = search.run()
    if found.best is None:
        raise KeyboardInterrupt
    best = found.best
    reference = Search(
        question=replace(question, chips=tpuv4()), gap=max(gap, _REFERENCE_GAP), evaluator=evaluator
    ).run().best  # fmt: skip
    baselines = (
        Baseline(name="TPUv4", evaluation=reference, infeasible=None),
        _pure_data_parallel(search, best),
    )
    for baseline in baselines:
        other = baseline.evaluation
        within = other is not None and other.chip.area_mm2 <= question.budget.area_mm2
        if other is not None and within and other.samples_per_s > best.samples_per_s:
            best = other
    return _exploration(question, found, best, baselines, search)


def _pure_data_parallel(search: Search, best: Evaluation) -> Baseline:
    """Return the best plan on the chosen chip in which every device holds the whole model."""
    label = "pure data parallel"
    question = search.question
    chip = next(index for index in range(len(question.chips)) if name(question.chips, index) == best.chip.name)
    reached: Evaluation | None = None
    lacking: list[Infeasible] = []
    for family in search.families:
        if family.tensor_parallel == 1:
            one = search.evaluate(search.job_of(chip, family, max_stages=1))
            if isinstance(one, Infeasible):
                lacking.append(one)
            elif reached is None or one.samples_per_s > reached.samples_per_s:
                reached = one
    if reached is not None:
        return Baseline(name=label, evaluation=reached, infeasible=None)
    short = min(lacking, key=lambda one: one.needed / one.available, default=None)
    return Baseline(name=label, evaluation=None, infeasible=short)


def _cloud(search: Search, found: Found, best: Evaluation) -> Cloud:
    """Return every chip of the space with the chosen plan held fixed: what list schedules reach there."""
    chips = search.question.chips
    batch = search.question.setting.batch_samples
    _, seconds = search.kernels(best.family).bounds(chips, search.question.setting)
    batch_s = _plan_seconds(best, seconds)
    return Cloud(
        area_mm2=tuple(chips.area_mm2.tolist()),
        samples_per_s=tuple((batch / batch_s).tolist()),
        bound_samples_per_s=tuple((batch / found.roofline_batch_s).tolist()),
        label=tuple(name(chips, index) for index in range(len(chips))),
    )


def _plan_seconds(best: Evaluation, seconds: LayerSeconds) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the batch time of one placement on each chip: the placement's closed form with other layer times."""
    placement = best.placement
    loads, ends = [], []
    for stage in placement.stages:
        held = [best.order[index] for index in stage.layers]
        forward_s = seconds.forward_s[held].sum(axis=0)
        again = best.family.recompute and stage is not placement.stages[-1]
        loads.append(forward_s * (2 if again else 1) + seconds.backward_s[held].sum(axis=0) + stage.transfer_s)
        own = sum(best.layers[index].optimizer_s for index in held)
        scale = stage.optimizer_s / own if own else 0.0
        ends.append(stage.reduction_s + scale * seconds.optimizer_s[held].sum(axis=0))
    rounds = placement.micro_batches_per_replica + len(placement.stages) - 1
    return np.asarray(np.max(loads, axis=0) * rounds + np.max(ends, axis=0))


def _notes(workload: Workload) -> tuple[str, ...]:
    """Return what the answer leaves out: operators without a model, tied parameters."""
    notes = []
    layers = workload.layers
    priced = [
        operator
        for index in workload.order
        for operator in layers[index].operators
        if operator.kind is not OperatorKind.VIEW
    ]
    other = [operator for operator in priced if operator.kind is OperatorKind.OTHER]
    if other:
        elements = sum(operator.dims[0].factor for operator in other)
        every = sum(operator.dims[0].factor for operator in priced if operator.kind is not OperatorKind.MATMUL)
        names = ", ".join(sorted({operator.name for operator in other}))
        share = elements / every if every else 0.0
        notes.append(f"operators without a model of their own ({share:.2%} of vector elements): {names}")
    held = sum(layers[index].parameters for index in workload.order)
    if held > workload.parameters:
        notes.append(
            f"{held - workload.parameters:,} tied parameters are held by the first and the last layer alike; "
            "the all-reduce that keeps the copies equal is not charged"
        )
    return tuple(notes)


def _exploration(
    question: Question, found: Found, best: Evaluation, baselines: tuple[Baseline, ...], search: Search
) -> Exploration:
    setting = question.setting
    bound_s = min(found.bound_batch_s, best.placement.batch_s)
    return Exploration(
        version=__version__,
        model=question.workload.name,
        parameters=question.workload.parameters,
        sequence_length=question.workload.sequence_length,
        setting=setting.name,
        budget=question.budget,
        cluster=setting.cluster,
        batch_samples=setting.batch_samples,
        optimizer=setting.optimizer.name,
        choices=question.choices,
        target_gap=search.gap,
        limit_s=search.limit_s,
        chips_in_space=len(question.chips),
        candidates=found.candidates,
        best=best,
        baselines=baselines,
        bound_samples_per_s=setting.batch_samples / bound_s,
        stop=found.stop,
        seconds=found.seconds,
        exact_evaluations=found.exact_evaluations,
        levels=found.levels,
        progress=found.progress,
        cloud=_cloud(search, found, best),
        notes=_notes(question.workload),
    )
