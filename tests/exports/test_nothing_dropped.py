"""No field of a plan that its price counts is dropped in silence: every target refuses, writes, or warns of it.
What a target can say comes back from its file as a plan of the same price."""

import ast
import re
from dataclasses import fields, replace

import pytest

from export_cases import LLAMA, MIXTRAL, QWEN, planned_of
from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.errors import BadInput
from hardplace.exports.export import exported, nearest_job, refused_model
from hardplace.exports.importers.found import Answers
from hardplace.exports.importers.read import imported_plan
from hardplace.exports.job import ExportJob
from hardplace.exports.limits import broken_limits
from hardplace.exports.planned import PlannedRun, job_of
from hardplace.exports.targets import Target
from hardplace.plans.plan import ContextExchange, Dimension, Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.workload.types import Recompute

TRAINERS = tuple(Target)
FILES = {
    Target.MEGATRON: ("megatron.args",),
    Target.TORCHTITAN: ("job.py", "job.toml"),
    Target.DEEPSPEED: ("ds_config.json",),
    Target.ACCELERATE: ("accelerate.yaml",),
}
# Not of the job but of the machine that is predicted, or of a fleet of several kinds.
NOT_SAID = {"kinds", "anchor", "fragmentation", "reserve_bytes", "assignment"}
BASES = (
    (LLAMA, Plan(global_batch=64, tensor=2, data=8)),
    (LLAMA, Plan(global_batch=64, pipeline=4, data=4)),
    (LLAMA, Plan(global_batch=64, context=2, data=8, recompute=Recompute.FULL)),
    (MIXTRAL, Plan(global_batch=64, expert=4, data=16)),
    (QWEN, Plan(global_batch=64, expert=4, data=16)),
    (QWEN, Plan(global_batch=64, data=16, recompute=Recompute.SELECTIVE, recompute_modules=("layernorm", "moe_act"))),
)
OTHERS = {
    "sequence": (True,),
    "virtual": (2,),
    "zero": (0, 2, 3),
    "shard": (4,),
    "micro_batch": (2,),
    "schedule": tuple(PipelineSchedule),
    "stages": ((7, 9, 9, 7),),
    "order": ((Dimension.DATA, Dimension.TENSOR, Dimension.CONTEXT, Dimension.PIPELINE),),
    "context_exchange": tuple(ContextExchange),
    "recompute": tuple(Recompute),
    "recompute_layers": (3,),
    "precision": tuple(Format),
    "fp8_recipe": tuple(Fp8Recipe),
    "fp8_gather": (True,),
    "optimizer": tuple(OptimizerKind),
    "gradient": ("bf16", "bf16+fp32"),
    "offload": (True,),
    "offload_layers": (2,),
    "overlap": (False,),
    "flash": (False,),
    "software": ("megatron-core", "fsdp-eager", "fsdp-compiled"),
    "backend": ("fa3",),
    "dispatcher": tuple(Dispatcher),
    "graphs": tuple(Graphs),
    "tensor_overlap": (True,),
    "expert_overlap": (True,),
    "fused_experts": (True,),
    "fused_loss": (True,),
    "recompute_modules": (("mlp",), ("core_attn", "moe_act"), ("op",)),
}


def price(run: PlannedRun, plan: Plan) -> object:
    try:
        one = run.priced(plan)
    except BadInput as problem:
        return str(problem)
    return one.step_s, tuple(room.total_bytes for room in one.memory)


def said(job: ExportJob) -> tuple[object, ...]:
    """Return the files without their comments, and the warnings."""
    found = exported(job)
    text = tuple(re.sub(r"(?m)^\s*(#|//).*$", "", one.text) for one in found.files)
    return (*text, *found.warnings)


def bases(target: Target) -> list[tuple[PlannedRun, ExportJob]]:
    found = []
    for model, plan in BASES:
        chip = ("tpu-v5p", "tpu-v5p-8960") if target is Target.MAXTEXT else ("h100-sxm", "dgx-h100")
        run = planned_of(model, plan, *chip)
        job = job_of(run, target, plan, None)
        if not refused_model(target, job.device.vendor, job.architecture):
            found.append((run, nearest_job(job, run.priced)))
    assert len(found) >= 2
    return found


@pytest.fixture(scope="module", params=TRAINERS)
def kept(request):
    return request.param, bases(request.param)


def test_every_field_has_other_values():
    named = {one.name for one in fields(Plan)} - {"global_batch", "tensor", "pipeline", "data", "context", "expert"}
    assert named == set(OTHERS) | NOT_SAID


def test_a_name_from_somebodys_plan_is_no_code_of_what_is_written():
    """A model's file may be named by whoever sent the plan."""
    name = 'its/a b\ntouch taken\r#$(touch taken)""");import taken#.json.gz'
    run = planned_of(LLAMA, Plan(global_batch=64, data=16, zero=1))
    for target in TRAINERS:
        job = nearest_job(job_of(run, target, run.plan, None), run.priced)
        for file in exported(replace(job, model=name)).files:
            for line in file.text.splitlines():
                assert "taken" not in line or line.startswith(("# ", '"""its', "#SBATCH --job-name=a-b-touch-"))
                assert not re.search(r"^#SBATCH \S*[\s$();]", line)
            if file.name.endswith(".py"):
                assert "taken" not in "".join(map(ast.unparse, ast.parse(file.text).body[1:]))


def test_a_field_is_refused_written_or_warned_of(kept):
    target, found = kept
    silent = []
    for run, job in found:
        before = said(job)
        for name, values in OTHERS.items():
            for value in values:
                plan = replace(job.plan, **{name: value})
                if plan == job.plan or any(problems(plan)) or any(broken_limits(target, plan, job.facts)):
                    continue
                if said(replace(job, plan=plan)) == before and price(run, plan) != price(run, job.plan):
                    silent.append((name, value))
    assert not silent, f"{target}: {sorted(set(map(str, silent)))}"


# What a file does not hold, by trainer, but its script, its model or its compiler: each is a warning of export.
_SCRIPT = {"flash", "fused_experts", "fused_loss", "software", "backend"}
_OUTSIDE = {
    Target.MEGATRON: {"fused_experts", "software", "backend"},
    Target.TORCHTITAN: {*_SCRIPT, "overlap", "graphs"},
    Target.DEEPSPEED: {*_SCRIPT, "recompute"},
    Target.ACCELERATE: {*_SCRIPT, "recompute", "optimizer", "gradient", "zero", "overlap", "dispatcher"},
}


def settled(back: Plan, plan: Plan, outside: set[str]) -> Plan:
    """Return what came back with what the file does not hold, and with the habits of the software left unsaid as the
    plan leaves them."""
    back = replace(back, **{one: getattr(plan, one) for one in outside})
    habits = ("dispatcher", "graphs", "tensor_overlap", "expert_overlap")
    if back.ways == plan.ways:
        back = replace(back, **{one: getattr(plan, one) for one in habits})
    return replace(back, fused_loss=plan.fused_loss) if back.loss_in_one == plan.loss_in_one else back


@pytest.mark.parametrize("target", FILES)
def test_what_comes_back_costs_the_same(target, tmp_path):
    """import(export(plan)) is a plan of the same price, but for what stands outside of the file."""
    odd = []
    for run, job in bases(target):
        for name, values in OTHERS.items():
            alone = {"schedule": job.plan.pipeline == 1, "dispatcher": job.plan.expert == 1}  # each then a warning
            if name in _OUTSIDE[target] or alone.get(name):
                continue
            for value in values:
                plan = replace(job.plan, **{name: value})
                if any(problems(plan)) or any(broken_limits(target, plan, job.facts)):
                    continue
                for file in exported(replace(job, plan=plan)).files:
                    (tmp_path / file.name).write_text(file.text)
                for file in FILES[target]:
                    answers = Answers(devices=plan.devices, batch=plan.global_batch, micro_batch=plan.micro_batch)
                    back = imported_plan(tmp_path / file, target, answers).plan
                    outside = _OUTSIDE[target] | _OLDER.get(file, set())
                    back = settled(back, plan, outside)
                    if back != plan and price(run, back) != price(run, plan):
                        differ = [
                            one.name for one in fields(Plan) if getattr(back, one.name) != getattr(plan, one.name)
                        ]
                        odd.append(f"{file} {name}={value}: {differ}")
    assert not odd, "\n".join(sorted(set(odd)))


# torchtitan 0.2.2 always divides sequences beside tensor, has no Muon and DeepEP in place of HybridEP: all said.
_OLDER = {"job.toml": {"sequence", "optimizer", "dispatcher", "precision"}}
