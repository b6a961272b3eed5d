"""What the prediction of a plan counts and a trainer's files cannot say: each a warning, so that nothing is dropped in
silence."""

from __future__ import annotations

from collections.abc import Iterator

from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.job import ExportJob
from hardplace.exports.targets import TRAINERS, Target
from hardplace.plans.plan import Format, PipelineSchedule

# The names of software whose figures are those of a trainer; () where none was measured.
SOFTWARE_OF: dict[Target, tuple[str, ...]] = {
    Target.MEGATRON: ("megatron-core",),
    Target.MEGATRON_BRIDGE: ("megatron-core",),
    Target.TORCHTITAN: ("torchtitan", "torchtitan-eager", "fsdp-compiled"),
    Target.DEEPSPEED: (),
    Target.ACCELERATE: ("fsdp-eager",),
    Target.MAXTEXT: ("xla", "xla-arrays"),
}
_SCRIPT = "is the model's own code there"
_XLA = "is left to XLA's compiler and its flags"
# Fields that a target writes nowhere, and who decides in its place.
_LEFT: dict[Target, dict[str, str]] = {
    Target.DEEPSPEED: {"fused_experts": _SCRIPT, "fused_loss": _SCRIPT},
    Target.ACCELERATE: {"fused_experts": _SCRIPT, "fused_loss": _SCRIPT},
    Target.TORCHTITAN: {
        "fused_experts": "is left to its grouped products",
        "fused_loss": "is left to the compiled loss",
    },
    Target.MAXTEXT: dict.fromkeys(
        ("overlap", "tensor_overlap", "expert_overlap", "graphs", "fused_experts", "fused_loss"), _XLA
    ),
}


def unsaid(job: ExportJob) -> Iterator[str]:
    """Yield a warning for each thing of the plan that the prediction counts and the target's files do not say."""
    plan, title = job.plan, TRAINERS[job.target].title
    if plan.software and plan.software not in SOFTWARE_OF[job.target]:
        yield f"software: {plan.software}: predicted as {plan.habits.title}; {title} may reach other rates"
    if plan.backend:
        yield f"backend: {plan.backend}: what is installed beside {title} settles which attention kernels run"
    if plan.pipeline == 1 and plan.schedule is not PipelineSchedule.ONE_F_ONE_B:
        yield f"schedule: {plan.schedule}: with one stage {title} takes micro-batches one after the other, as 1f1b"
    if job.facts.experts > 1 and plan.expert == 1 and plan.dispatcher not in (None, Dispatcher.ALL_TO_ALL):
        yield f"dispatcher: {plan.dispatcher}: all experts are on every rank, so {title} sends nothing by it"
    if job.target is Target.TORCHTITAN and plan.precision is Format.FP8:
        yield "fp8_recipe: 0.3.0 scales tensors in fp8 by rows, 0.2.2 by tensor (tensorwise), as predicted"
    usual = {"overlap": True, "graphs": Graphs.NONE}
    for name, by in _LEFT.get(job.target, {}).items():
        value = getattr(plan, name)
        if value is not None and value != usual.get(name, False):
            yield f"{name}: {str(value).lower()}: it {by}; the prediction has it so"
