"""What the models that are fitted on GPUs say of the plans beside a search's answer: what ideal kernels are worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hardplace.api.plans import estimate
from hardplace.errors import BadInput

if TYPE_CHECKING:
    from hardplace.branch_and_bound.loop import Deadline
    from hardplace.design.results import DesignResult
    from hardplace.design.types import ExistingChip
    from hardplace.workload.types import Workload

_WHY = "the answer's own does not fit, or is not taken, there"


def with_fitted(result: DesignResult, workload: Workload, deadline: Deadline) -> DesignResult:
    """Return an answer with the throughput of each existing chip's plan by the model fitted on its kernels, as far as
    the time reaches.
    """
    from hardplace.branch_and_bound.loop import TimeUp
    from hardplace.cost.gpu.models import fitted_names

    names, beside, notes = fitted_names(), list(result.existing), list(result.notes)
    try:
        for index, chip in enumerate(beside):
            if chip.name in names:
                deadline.check()
                samples_per_s, change = _fitted(chip, result, workload)
                beside[index] = replace(chip, fitted_samples_per_s=samples_per_s)
                if change:
                    notes.append(f"{chip.name}: the fitted model's figure is of the plan with {change}: {_WHY}")
    except (KeyboardInterrupt, TimeUp) as ended:
        why = "time limit" if isinstance(ended, TimeUp) else "interrupted"
        note = f"{why} before every fitted model was asked"
        return replace(result, existing=tuple(beside), notes=(*notes, note))
    return replace(result, existing=tuple(beside), notes=tuple(notes))


def _fitted(chip: ExistingChip, result: DesignResult, workload: Workload) -> tuple[float | None, str]:
    """Return samples a second of a chip's plan on the device, None where that model does not take the plan; and what
    had to be changed in the plan, in words.

    Of a mixture of experts that model takes tensor parallelism with sequence parallelism alone. Where the plan does not
    fit by that model, which keeps more beside the layers, with a micro-batch of one sample, and with recompute.
    """
    from hardplace.plans.plan import Plan
    from hardplace.workload.types import OperatorKind, Recompute

    evaluation = chip.evaluation
    if evaluation is None or result.optimizer != "adamw":
        return None, ""
    placement, family = evaluation.placement, evaluation.family
    plan = Plan(
        global_batch=result.batch_samples,
        tensor=placement.tensor_parallel,
        pipeline=len(placement.stages),
        data=placement.data_parallel,
        micro_batch=family.micro_batch,
        recompute=Recompute.FULL if family.recompute else Recompute.NONE,
        zero=1,
    )
    mixture = any(one.kind is OperatorKind.GROUPED_MATMUL for layer in workload.layers for one in layer.operators)
    taken = replace(plan, sequence=mixture and plan.tensor > 1)
    for tried in (taken, replace(taken, micro_batch=1), replace(taken, micro_batch=1, recompute=Recompute.FULL)):
        try:
            found = estimate(workload, tried, chip.name)
        except BadInput:
            return None, ""
        if found.fits:
            changes = {
                "sequence parallelism": tried.sequence != plan.sequence,
                "a micro-batch of one sample": tried.micro_batch != plan.micro_batch,
                "full recompute": tried.recompute is not plan.recompute,
            }
            return result.batch_samples / found.step_s, ", ".join(name for name, done in changes.items() if done)
    return None, ""
