"""Plans of small transformers on 4 processes that `hardplace run` is held to, and what torch counts otherwise."""

from functools import cache
from pathlib import Path

from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.run.types import RunResult
from hardplace.workload.recording.huggingface import Options
from hardplace.workload.recording.layers import record_workload
from hardplace.workload.recording.source import step_of_function
from hardplace.workload.types import Recompute, Workload

EXAMPLES = Path(__file__).parent.parent / "examples"
FULL = Recompute.FULL

CASES: dict[str, tuple[str, Plan]] = {
    "tensor-sequence-zero3": ("llama", Plan(global_batch=8, tensor=2, sequence=True, data=2, zero=3)),
    "tensor-pipeline": ("llama", Plan(global_batch=8, tensor=2, pipeline=2, stages=(1, 3))),
    "pipeline-zero1": ("llama", Plan(global_batch=8, pipeline=2, data=2, zero=1)),
    "interleaved-recompute": (
        "llama",
        Plan(global_batch=8, pipeline=2, virtual=2, data=2, zero=0, recompute=FULL, recompute_layers=1),
    ),
    "zero-bubble": ("llama", Plan(global_batch=8, pipeline=4, schedule=PipelineSchedule.ZERO_BUBBLE)),
    "gpipe-tensor": ("llama", Plan(global_batch=8, pipeline=2, tensor=2, schedule=PipelineSchedule.GPIPE)),
    "hybrid": ("llama", Plan(global_batch=8, data=4, zero=3, shard=2, recompute=FULL, recompute_layers=2)),
    "zero2": ("llama", Plan(global_batch=8, data=4, zero=2)),
    "context": ("llama", Plan(global_batch=8, context=2, data=2, zero=1)),
    "experts": ("mixtral", Plan(global_batch=8, expert=2, data=4, zero=0)),
    "experts-pipeline": ("mixtral", Plan(global_batch=8, expert=2, data=2, pipeline=2, zero=1)),
    "bert-tensor": ("bert", Plan(global_batch=8, tensor=2, data=2, zero=2)),
    "bert-pipeline": ("bert", Plan(global_batch=8, pipeline=2, data=2, zero=1, recompute=FULL)),
    "two-stacks": ("t5", Plan(global_batch=8, data=4, zero=3, shard=2, recompute=FULL)),
}


@cache
def kept_of(model: str) -> Workload:
    import torch

    return record_workload(step_of_function(f"tiny_models:{model}", model, Options(dtype=torch.float32)))


@cache
def workload_of(model: str) -> Workload:
    return record_workload(step_of_function(f"tiny_models:{model}", model, Options()))


def otherwise(name: str, stage: int) -> dict[str, float]:
    """What torch's own counts are more than the plan's in one step, in bytes, by case: each is a note of the run."""
    hidden, vocabulary, item = 64, 256, 4
    found: dict[str, float] = {}
    model, plan = CASES[name]
    times, half = plan.micro_batches, vocabulary * hidden * item / 2
    if model == "llama" and plan.tensor > 1 and stage == 0 and plan.zero < 2:
        found["gradients"] = half  # DTensor keeps an embedding's gradient whole
    if plan.sequence:
        norms = 2 * 4 + 1
        tensor = plan.micro_batch * 32 * hidden * item
        found["tensor all_reduce"] = times * norms * hidden * item
        found["tensor all_gather"] = -times * (2 * 4 + 1) * tensor  # gathered inputs are kept
    if plan.context > 1:
        found["context all_gather"] = -times * 4 * 2 * plan.micro_batch * 32 * 32 * item
    return found


def differences(name: str, found: RunResult) -> list[str]:
    """Bytes that are neither the plan's nor explained by `otherwise`; of experts, traffic goes where tokens do."""
    from hardplace.report.run import byte_rows

    wrong, plan = [], CASES[name][1]
    for one, predicted in zip(found.ranks, found.predicted, strict=True):
        more = otherwise(name, one.stage)
        for what, said, counted in byte_rows(predicted, one.counted):
            if what == "saved" and plan.expert > 1:
                continue  # tokens go where the router sends them
            if what == "saved":
                slack = 0.25 if plan.schedule is not PipelineSchedule.ZERO_BUBBLE else 3.0  # kept for weight gradients
                if not 0.9 * said <= counted <= (1 + slack) * said + 4 * 8192:
                    wrong.append(f"rank {one.rank} saved: predicted {said}, counted {counted}")
            elif what != "expert all_to_all" and counted != said + more.get(what, 0.0):
                wrong.append(f"rank {one.rank} {what}: predicted {said} + {more.get(what, 0.0)}, counted {counted}")
    if plan.expert > 1:
        said, counted = (
            sum(one.traffic["expert all_to_all"][1] for one in counts)
            for counts in (found.predicted, [one.counted for one in found.ranks])
        )
        if abs(counted / said - 1.0) > 0.1:
            wrong.append(f"expert all_to_all of all ranks: predicted {said}, counted {counted}")
    return wrong
