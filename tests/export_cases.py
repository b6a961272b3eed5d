"""Twenty plans of five models on GPUs: dense with grouped queries, experts, two stacks, an encoder, uneven and virtual
stages, context parallel, FP8."""

from dataclasses import replace
from functools import cache

from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.export import nearest_job, refused_model
from hardplace.exports.job import ExportJob
from hardplace.exports.planned import PlannedRun, job_of
from hardplace.exports.targets import Target
from hardplace.hardware.catalogue import device, node
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.load import load
from hardplace.workload.types import Recompute, Workload

LLAMA, MIXTRAL, QWEN, BERT, T5 = "llama3-8b", "mixtral-8x7b", "qwen3-30b-a3b", "bert-large", "t5-large"
_BASE = Plan(global_batch=64)

CASES: dict[str, tuple[str, Plan]] = {
    "data": (LLAMA, replace(_BASE, data=16, zero=1)),
    "tensor": (LLAMA, replace(_BASE, tensor=8, sequence=True, data=4, recompute=Recompute.FULL)),
    "uneven": (LLAMA, replace(_BASE, tensor=2, sequence=True, pipeline=4, data=2, stages=(7, 9, 9, 7))),
    "virtual": (LLAMA, replace(_BASE, tensor=2, pipeline=4, virtual=2, data=4)),
    "virtual-uneven": (
        LLAMA,
        replace(
            _BASE, pipeline=4, virtual=3, data=4, stages=(7, 9, 9, 7), recompute=Recompute.FULL, recompute_layers=4
        ),
    ),
    "some-recomputed": (LLAMA, replace(_BASE, pipeline=2, data=4, recompute=Recompute.FULL, recompute_layers=5)),
    "context": (LLAMA, replace(_BASE, tensor=2, sequence=True, context=4, data=2)),
    "context-ring": (
        LLAMA,
        replace(_BASE, context=2, data=4, pipeline=2, context_exchange=ContextExchange.RING),
    ),
    "fp8": (LLAMA, replace(_BASE, tensor=4, sequence=True, data=4, precision=Format.FP8)),
    "zero-2": (LLAMA, replace(_BASE, data=16, zero=2)),
    "zero-3": (LLAMA, replace(_BASE, tensor=2, sequence=True, data=8, zero=3, recompute=Recompute.FULL)),
    "by-operator": (
        LLAMA,
        replace(_BASE, data=16, zero=3, recompute=Recompute.SELECTIVE, recompute_modules=("op",)),
    ),
    "hybrid": (LLAMA, replace(_BASE, data=16, zero=1, shard=8)),
    "hybrid-3": (LLAMA, replace(_BASE, data=16, zero=3, shard=8)),
    "experts": (MIXTRAL, replace(_BASE, tensor=2, sequence=True, expert=8, data=8, pipeline=2)),
    "experts-virtual": (MIXTRAL, replace(_BASE, expert=8, data=8, pipeline=4, virtual=2)),
    "experts-many": (QWEN, replace(_BASE, expert=16, data=16, zero=2, recompute=Recompute.FULL)),
    "gradient-bf16": (QWEN, replace(_BASE, expert=8, data=8, pipeline=2, gradient="bf16")),
    "encoder": (BERT, replace(_BASE, tensor=2, data=8, optimizer=OptimizerKind.SGD)),
    "encoder-pipeline": (BERT, replace(_BASE, pipeline=2, data=4, precision=Format.FP16)),
    "two-stacks": (T5, replace(_BASE, tensor=2, data=8)),
    "overlaps": (
        MIXTRAL,
        replace(
            _BASE,
            tensor=2,
            sequence=True,
            expert=4,
            data=8,
            pipeline=2,
            virtual=2,
            dispatcher=Dispatcher.DEEPEP,
            graphs=Graphs.PARTIAL,
            tensor_overlap=True,
            expert_overlap=True,
            fused_loss=True,
        ),
    ),
    "gpipe": (LLAMA, replace(_BASE, pipeline=4, data=4, schedule=PipelineSchedule.GPIPE)),
    "zero-bubble": (LLAMA, replace(_BASE, pipeline=4, data=4, schedule=PipelineSchedule.ZERO_BUBBLE)),
    "zb-v": (
        LLAMA,
        replace(_BASE, pipeline=4, virtual=2, data=4, schedule=PipelineSchedule.ZB_V, stages=(6, 9, 9, 8)),
    ),
}


@cache
def workload_of(model: str) -> Workload:
    return load(model)


def planned_of(model: str, plan: Plan, chip: str = "h100-sxm", where: str = "dgx-h100") -> PlannedRun:
    return PlannedRun(
        place="plan.json",
        plan=plan,
        model=model,
        workload=workload_of(model),
        parts=((device(chip), node(where), plan.devices),),
    )


def planned(name: str) -> PlannedRun:
    return planned_of(*CASES[name])


@cache
def runnable_job(target: Target, name: str) -> ExportJob | None:
    """A case as a target runs it: the plan, else the nearest one; None of a model that it does not run."""
    run = planned(name)
    job = job_of(run, target, run.plan, None)
    if refused_model(target, job.device.vendor, job.architecture):
        return None
    return nearest_job(job, run.priced)
