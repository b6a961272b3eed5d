"""Trainers' own parsers read what `export` writes, and say what the plan says; where they are installed
(`docs/exports.md`: the extra `export-test`, and two packages beside it)."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export_cases import CASES, planned, runnable_job
from hardplace.exports.export import exported
from hardplace.exports.planned import job_of
from hardplace.exports.targets import Target
from hardplace.plans.plan import Dimension, Format, PipelineSchedule
from hardplace.workload.types import Recompute

READERS = Path(__file__).parent / "trainers"
OLD_TORCHTITAN = os.environ.get("HARDPLACE_TORCHTITAN_0_2", "")


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(package), reason=f"{package} is not installed: see docs/exports.md")


def read_back(target: Target, folder: Path, reader: str, **environment: str) -> dict:
    """Export every case (its nearest plan where the target cannot run it), have it read, and pair job and reading."""
    jobs = {}
    for name in CASES:
        job = runnable_job(target, name)
        if job is None:
            continue
        if job.plan.precision is Format.FP8 and target is Target.TORCHTITAN and not installed("torchao"):
            continue
        (folder / name).mkdir()
        for file in exported(job).files:
            (folder / name / file.name).write_text(file.text)
        jobs[name] = job
    words = [f"{folder / name}:{job.plan.devices}" for name, job in jobs.items()]
    answer = folder / "read.json"
    done = subprocess.run(
        [sys.executable, READERS / f"read_{reader}.py", *words],
        env={**os.environ, "READ_BACK": str(answer), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.exists(), done.stderr[-2000:]
    found = dict(zip(jobs, json.loads(answer.read_text()), strict=True))
    for name, one in found.items():
        assert "error" not in one, f"{name}: {one['error']}"
    return {name: (jobs[name], found[name]) for name in jobs}


def check_group(plan, dimension: Dimension, ranks: list[int]) -> None:
    """The trainer's own first group of a dimension is that of the plan's order."""
    assert ranks == [index * plan.stride(dimension) for index in range(getattr(plan, dimension))], dimension


@needs("megatron.training")
def test_megatron(tmp_path):
    found = read_back(Target.MEGATRON, tmp_path, "megatron")
    assert len(found) == len(CASES)
    overlaps = found["overlaps"][1]
    assert overlaps["dispatcher"] == ["flex", "deepep"]
    assert overlaps["beside"] == [True, True]
    assert overlaps["graphs"] == "transformer_engine"
    assert found["experts"][1]["dispatcher"][0] == "alltoall"
    assert found["experts"][1]["beside"] == [False, False]
    for name, (job, one) in found.items():
        plan, sizes = job.plan, job.architecture
        for field in ("tensor", "pipeline", "context", "data", "sequence", "micro_batches", "global_batch"):
            assert one[field] == getattr(plan, field), (name, field)
        if job.facts.experts > 1:
            assert (one["expert"], one["expert_tensor"]) == (plan.expert, 1), name
        assert one["layout"] == (None if plan.pipeline == 1 else [list(row) for row in job.chunks]), name
        assert one["distributed_optimizer"] == (plan.zero > 0), name
        assert one["fsdp"] == (plan.zero > 1), name
        if plan.zero > 1:
            assert one["sharding"] == {2: "optim_grads", 3: "optim_grads_params"}[plan.zero]
        assert one["instances"] == (plan.replicas // plan.sharded_over if plan.zero else 1), name
        granularity, method, count = one["recompute"]
        assert granularity == (None if plan.recompute is Recompute.NONE else plan.recompute), name
        if plan.recompute_layers:
            assert (method, count) == ("block", -(-plan.recompute_layers // plan.virtual)), name
        bf16, fp16, fp8, recipe = one["precision"]
        assert bf16 == (plan.precision in (Format.BF16, Format.FP8)), name
        assert fp16 == (plan.precision is Format.FP16), name
        assert (fp8, recipe) == (("hybrid", "tensorwise") if plan.precision is Format.FP8 else (None, "delayed")), name
        assert one["gradient_fp32"] == (plan.gradient == "fp32"), name
        if plan.context > 1:
            assert one["cp_comm_type"] == {"ring": "p2p", "all-gather": "all_gather"}[plan.context_exchange], name
        assert one["layers"] == sizes.layers, name
        assert (one["hidden"], one["ffn"], one["heads"]) == (sizes.hidden, sizes.ffn, sizes.heads), name
        assert one["kv_heads"] == sizes.kv_heads, name
        assert (one["experts"] or 1) == job.facts.experts, name
        for dimension in Dimension:
            check_group(plan, dimension, one["groups"][dimension])


@needs("megatron.training")
def test_megatron_refuses_what_the_export_refuses(tmp_path):
    """A layout that lacks a layer, as flags without one would build (NVIDIA/Megatron-LM#468), is caught by the parser
    as by us: the check of `test_pitfalls` is not ours alone."""
    run = planned("uneven")
    job = job_of(run, Target.MEGATRON, run.plan, None)
    (tmp_path / "x").mkdir()
    for file in exported(job).files:
        (tmp_path / "x" / file.name).write_text(file.text.replace("Et*7", "Et*6"))
    answer = tmp_path / "read.json"
    subprocess.run(
        [sys.executable, READERS / "read_megatron.py", f"{tmp_path / 'x'}:{run.plan.devices}"],
        env={**os.environ, "READ_BACK": str(answer)},
        capture_output=True,
        timeout=300,
    )
    assert "error" in json.loads(answer.read_text())[0]


def check_torchtitan(found: dict) -> None:
    names = {PipelineSchedule.ONE_F_ONE_B: "Schedule1F1B", PipelineSchedule.GPIPE: "ScheduleGPipe"}
    for name, (job, one) in found.items():
        plan = job.plan
        for field in ("tensor", "pipeline", "context", "data", "expert", "micro_batch", "micro_batches"):
            assert one[field] == getattr(plan, field), (name, field)
        assert one["shard"] == (max(1, plan.sharded_over // plan.context) if plan.zero else 1), name
        assert one["reshard"] == ("always" if plan.zero == 3 else "never"), name
        assert one["layers"] == job.facts.layers, name
        assert (one["hidden"], one["vocab"]) == (job.architecture.hidden, job.architecture.vocab), name
        if plan.pipeline > 1:
            expected = names.get(plan.schedule, "ScheduleInterleavedZeroBubble")
            assert one["schedule"] == ("ScheduleInterleaved1F1B" if plan.virtual > 1 else expected), name
            assert one["parts"] == [row[chunk] for chunk in range(plan.virtual) for row in job.chunks], name
            assert one["accumulation"] == 1, name
        else:
            assert one["accumulation"] == plan.micro_batches, name
        groups = one["groups"]
        for dimension, mesh in (("tensor", "tp"), ("context", "cp"), ("pipeline", "pp")):
            if getattr(plan, dimension) > 1:
                check_group(plan, Dimension(dimension), groups[mesh])


@needs("torchtitan")
def test_torchtitan(tmp_path):
    if OLD_TORCHTITAN and OLD_TORCHTITAN in os.environ.get("PYTHONPATH", ""):
        pytest.skip("torchtitan 0.2.2 stands in front of 0.3.0")
    found = read_back(Target.TORCHTITAN, tmp_path, "torchtitan")
    assert len(found) >= 16
    check_torchtitan(found)
    for name, (job, one) in found.items():
        assert one["sequence"] == job.plan.sequence, name
        assert (
            one["recompute"]
            == {Recompute.NONE: "NoneType", Recompute.SELECTIVE: "SelectiveAC.Config", Recompute.FULL: "FullAC.Config"}[
                job.plan.recompute
            ]
        ), name
        assert one["compile"] == (not job.plan.schedule.apart), name


@pytest.mark.skipif(not OLD_TORCHTITAN, reason="HARDPLACE_TORCHTITAN_0_2 names no folder of 0.2.2: see docs/exports.md")
def test_torchtitan_0_2(tmp_path):
    path = os.pathsep.join((OLD_TORCHTITAN, os.environ.get("PYTHONPATH", "")))
    found = read_back(Target.TORCHTITAN, tmp_path, "torchtitan", TORCHTITAN="0.2.2", PYTHONPATH=path)
    assert len(found) >= 16
    check_torchtitan(found)
    for name, (job, one) in found.items():
        assert one["recompute"] == str(job.plan.recompute), name
        assert one["expert_tensor"] == 1, name


@needs("deepspeed")
def test_deepspeed(tmp_path):
    found = read_back(Target.DEEPSPEED, tmp_path, "deepspeed")
    assert len(found) == len(CASES)
    for name, (job, one) in found.items():
        plan = job.plan
        for field in ("data", "tensor", "micro_batch", "micro_batches", "global_batch", "zero", "overlap", "expert"):
            assert one[field] == getattr(plan, field), (name, field)
        assert one["bf16"] == (plan.precision is Format.BF16), name
        assert one["fp16"] == (plan.precision is Format.FP16), name
        assert one["gradient"] == {"bf16+fp32": "fp32", "bf16": "bf16"}[plan.gradient], name
        assert one["hpz"] == (plan.shard or 1 if plan.zero == 3 else 1), name


@needs("accelerate")
def test_accelerate(tmp_path):
    found = read_back(Target.ACCELERATE, tmp_path, "accelerate")
    assert len(found) == len(CASES)
    for name, (job, one) in found.items():
        plan = job.plan
        assert one["processes"] == plan.devices, name
        assert one["type"] == "DistributedType.FSDP", name
        assert one["reshard"] == (plan.zero == 3), name
        assert (one["tensor"], one["context"]) == (plan.tensor, plan.context), name
        assert one["shard"] * one["replicate"] == plan.data, name
        assert one["shard"] * plan.context == plan.sharded_over, name
        assert (one["micro_batch"], one["micro_batches"]) == (plan.micro_batch, plan.micro_batches), name
        assert one["accumulation"] == plan.micro_batches, name
        if plan.tensor > 1:
            check_group(plan, Dimension.TENSOR, one["groups"]["tp"])
        if plan.context > 1:
            check_group(plan, Dimension.CONTEXT, one["groups"]["cp"])


@needs("maxtext")
def test_maxtext(tmp_path):
    found = read_back(Target.MAXTEXT, tmp_path, "maxtext")
    assert len(found) == len(CASES) - 3
    for name, (job, one) in found.items():
        plan, sizes = job.plan, job.architecture
        assert one["devices"] == plan.devices, name
        assert one["tensor"] * one["tensor_sequence"] == plan.tensor, name
        assert (one["tensor_sequence"] > 1) == plan.sequence, name
        assert (one["context"], one["pipeline"]) == (plan.context, plan.pipeline), name
        assert one["data"] * one["fsdp"] * one["expert"] == plan.data, name
        each = one["per_device_batch_size"] * plan.devices
        if plan.pipeline == 1:
            assert each * one["accumulation"] == plan.global_batch, name
            assert each == plan.micro_batch * plan.data, name
        else:
            assert each == plan.global_batch, name
            assert one["pipeline_micro_batches"] == plan.micro_batches, name
            assert one["stage_layers"] * plan.pipeline * plan.virtual == job.facts.layers, name
        if plan.expert == 1 and plan.zero == 3:
            assert one["fsdp"] == plan.sharded_over // plan.context, name
        assert one["shard_optimizer"] == (plan.zero == 1 and plan.data > 1), name
        assert (one["layers"], one["hidden"], one["experts"]) == (sizes.layers, sizes.hidden, job.facts.experts), name
        assert (one["heads"], one["kv_heads"]) == (sizes.heads, sizes.kv_heads), name
        assert one["sequence"] == job.facts.sequence, name
