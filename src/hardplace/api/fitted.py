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


def with_fitted(result: DesignResult, workload: Workload, deadline: Deadline) -> DesignResult:
    """Return an answer with the throughput of each existing chip's plan by the model fitted on its kernels, as far as
    the time reaches.
    """
    from hardplace.branch_and_bound.loop import TimeUp
    from hardplace.cost.gpu.models import fitted_names

    names, beside = fitted_names(), list(result.existing)
    try:
        for index, chip in enumerate(beside):
            if chip.name in names:
                deadline.check()
                beside[index] = replace(chip, fitted_samples_per_s=_fitted(chip, result, workload))
    except (KeyboardInterrupt, TimeUp) as ended:
        why = "time limit" if isinstance(ended, TimeUp) else "interrupted"
        note = f"{why} before every fitted model was asked"
        return replace(result, existing=tuple(beside), notes=(*result.notes, note))
    return replace(result, existing=tuple(beside))


def _fitted(chip: ExistingChip, result: DesignResult, workload: Workload) -> float | None:
    """Return samples a second of a chip's plan on the device; None where that model does not take the plan.

    Where the plan does not fit by that model, which keeps more beside the layers, with a micro-batch of one sample, and
    with recompute.
    """
    from hardplace.plans.plan import Plan
    from hardplace.workload.types import Recompute

    evaluation = chip.evaluation
    if evaluation is None or result.optimizer != "adamw":
        return None
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
    for tried in (plan, replace(plan, micro_batch=1), replace(plan, micro_batch=1, recompute=Recompute.FULL)):
        try:
            found = estimate(workload, tried, chip.name)
        except BadInput:
            return None
        if found.fits:
            return result.batch_samples / found.step_s
    return None
