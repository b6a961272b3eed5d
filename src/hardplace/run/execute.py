"""A plan run on a module and held against its prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hardplace.errors import BadInput
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.stage_sizes import chunk_layers, stage_layers
from hardplace.run.launch import launched, prepared, run_forked, run_under_torchrun
from hardplace.run.predicted import in_fp32, predicted_counts
from hardplace.run.types import RunResult
from hardplace.workload.types import Recompute, Workload

MOST_FORKED = 8


def executed(
    plan: Plan, workload: Workload, kept: Workload, function: Callable[[], Any], steps: int
) -> RunResult | None:
    """Run a plan in fp32 for some steps, and return it beside its prediction; None of ranks other than torchrun's
    first.

    Args:
        plan: The plan.
        workload: Recording of the module.
        kept: Recording of the module in fp32, for what autograd keeps.
        function: Returns the module, its inputs and its loss.
        steps: Number of steps.

    Raises:
        BadInput: For plans that are not run here and for modules that cannot be divided.
        RankFailed: For a rank that ended by itself.
    """
    plan = in_fp32(plan)
    for problem in refused(plan):
        raise BadInput(problem)
    world = launched()
    if world is not None and world != plan.devices:
        raise BadInput(f"devices: {plan.devices} in the plan: expected the launcher's {world}")
    if world is None and plan.devices > MOST_FORKED:
        raise BadInput(f"devices: {plan.devices}: expected at most {MOST_FORKED} as processes here, or torchrun")
    layers = len(workload.order) - 2
    sizes = stage_layers(layers, plan) if plan.pipeline > 1 else (layers,)
    chunks = tuple(chunk_layers(size, stage, plan) for stage, size in enumerate(sizes))
    predicted = predicted_counts(workload, kept, plan, chunks)
    given = prepared(function, plan, chunks, steps)
    ranks = run_forked(given) if world is None else run_under_torchrun(given)
    if not ranks:
        return None
    losses = next(one.losses for one in ranks if one.losses[0] is not None)
    return RunResult(
        losses=tuple(one or 0.0 for one in losses),
        reference=given.losses,
        ranks=ranks,
        predicted=predicted,
        notes=tuple(_notes(plan)),
    )


def refused(plan: Plan) -> Iterator[str]:
    """Yield what of a plan is not run here, each with what is expected instead."""
    if plan.assignment or len(set(plan.kinds)) > 1:
        yield "assignment, kinds: expected stages of consecutive layers on one kind of device"
    if plan.recompute is Recompute.SELECTIVE:
        yield "recompute: selective: expected none or full: torch's kernel keeps nothing of attention to recompute"
    if plan.zero > 1 and plan.pipeline > 1:
        yield f"zero: {plan.zero}: expected 0 or 1 with a pipeline: torch's stages reduce gradients once a step"
    if plan.expert > 1 and plan.tensor > 1:
        yield f"expert: {plan.expert}: expected tensor 1 with it, not {plan.tensor}"
    if plan.expert > 1 and plan.zero and plan.expert_replicas > 1:
        yield f"expert: {plan.expert}: expected all {plan.stage_ranks} ranks of a stage with ZeRO, or zero 0"
    if plan.schedule.folds:
        yield f"schedule: {plan.schedule}: expected 1f1b, gpipe or zero-bubble: stages of a V are not run here"
    if plan.schedule is PipelineSchedule.ZERO_BUBBLE and plan.zero and plan.replicas > 1 and plan.pipeline > 1:
        yield "schedule: zero-bubble: expected zero 0: divided backward passes reduce nothing in FSDP2"
    if plan.exchanges_heads:
        yield f"context_exchange: {plan.context_exchange}: expected ring or all-gather: heads are not exchanged here"
    if plan.context > 1 and plan.sequence:
        yield "sequence: true: expected false with context parallelism in a run"


def _notes(plan: Plan) -> Iterator[str]:
    """Yield what torch does otherwise than the plan says, as it shows in the counts."""
    yield (
        "saved: torch keeps the rotary tables of each micro-batch in flight and, with a pipeline, a receive buffer for "
        "every micro-batch"
    )
    if plan.schedule is PipelineSchedule.ZERO_BUBBLE:
        yield "saved: torch keeps a pass until its weight gradients are done; the plan until its input gradients are"
    if plan.sequence:
        yield (
            "tensor all_gather: DTensor keeps gathered inputs of linear layers; the plan gathers them again in the "
            "backward pass, as Megatron-LM does; all_reduce: it adds up gradients of norms, which the plan leaves out"
        )
    if plan.tensor > 1 and (plan.zero < 2 or plan.replicas == 1):
        yield "gradients: DTensor keeps that of an embedding divided by vocabulary whole"
    if plan.zero in (1, 2) and plan.replicas > 1:
        yield "weights: FSDP2 keeps a sharded copy beside the gathered weights of the step"
    if plan.context > 1:
        yield (
            "context: torch's context parallelism has no CPU kernel, so keys and values are gathered by an exchange of "
            "our own, which keeps them; the plan gathers them again in the backward pass"
        )
    if plan.expert > 1:
        yield "expert all_to_all: tokens go where the router sends them; the plan has them even"
    if plan.recompute is Recompute.FULL and (plan.tensor > 1 or plan.expert > 1):
        yield "recompute: exchanges of the layers that are computed again count twice, as in the plan"
