"""Consistency of an answer, checked before it is given: what cannot be true together is an error, not an answer."""

from __future__ import annotations

from collections.abc import Iterator

from hardplace.design.question import Question
from hardplace.design.types import Evaluation
from hardplace.errors import Contradiction
from hardplace.units import percent

_NOISE = 1e-6  # relative: far above what rounding leaves, far below what anybody reads


def contradictions(evaluation: Evaluation) -> Iterator[str]:
    """Yield the contradictions within an evaluation, one line each."""
    plan, family, speed = evaluation.placement, evaluation.family, evaluation.samples_per_s
    samples = plan.data_parallel * plan.micro_batches_per_replica * family.micro_batch
    if not _alike(speed * plan.batch_s, samples):
        yield f"{speed:g} samples/s beside a step of {plan.batch_s:g} s for {samples} samples"
    if evaluation.bound_samples_per_s < speed * (1.0 - _NOISE):
        yield f"{speed:g} samples/s above the bound of {evaluation.bound_samples_per_s:g}"
    for number, stage in enumerate(plan.stages, start=1):
        if stage.memory_bytes > family.memory_bytes * (1.0 + _NOISE):
            yield f"stage {number} holds {stage.memory_bytes:g} B of {family.memory_bytes:g} B of memory"
    total = sum(cause.amount for cause in evaluation.time)
    if not _alike(total, plan.batch_s):
        yield f"shares of time of {total:g} s in a step of {plan.batch_s:g} s"
    for layer in evaluation.layers:
        for phase in (layer.forward, layer.backward):
            if phase.schedule.bound_s > phase.schedule.makespan_s * (1.0 + _NOISE):
                yield f"layer {layer.layer}: a schedule of {phase.schedule.makespan_s:g} s below its bound"
    if not 0.0 <= evaluation.model_flops_utilisation <= 1.0 + _NOISE:
        yield f"an MFU of {percent(evaluation.model_flops_utilisation)}"


def check_answer(question: Question, evaluations: tuple[Evaluation, ...], *, gap: float) -> None:
    """Check an answer against itself, its question and its limits.

    Args:
        question: The question.
        evaluations: The evaluations of the answer.
        gap: bound / score - 1 as it was found; below 0 the answer exceeds what was proven.

    Raises:
        Contradiction: One line that says what contradicts what.
    """
    batch, devices, budget = question.setting.batch_samples, question.setting.cluster.devices, question.budget
    what = ", ".join(one.name for one in question.workloads)
    for one in evaluations:
        plan, step_s = one.placement, budget.step_s
        found = list(contradictions(one))
        samples = plan.data_parallel * plan.micro_batches_per_replica * one.family.micro_batch
        if samples != batch:
            found.append(f"a step of {samples} samples for a batch of {batch}")
        if plan.devices > devices:
            found.append(f"{plan.devices} devices of {devices}")
        if one.chip.area_mm2 > budget.area_mm2 * (1.0 + _NOISE):
            found.append(f"a chip of {one.chip.area_mm2:g} mm2 within {budget.area_mm2:g} mm2")
        if step_s is not None and plan.batch_s > step_s * (1.0 + _NOISE):
            found.append(f"a step of {plan.batch_s:g} s within {step_s:g} s")
        if budget.memory_bytes is not None and one.family.memory_bytes > budget.memory_bytes * (1.0 + _NOISE):
            found.append(f"{one.family.memory_bytes:g} B of memory within {budget.memory_bytes:g} B")
        if found:
            raise Contradiction(f"{what}: {found[0]}")
    if gap < -_NOISE:
        raise Contradiction(f"{what}: an answer above its own bound, by {percent(-gap, 2)}")


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= _NOISE * max(abs(one), abs(other))
