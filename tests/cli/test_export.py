"""`hardplace export` and `place --for`: two commands from a model to a trainer's command line, and every refusal."""

import json
import os
import re
import stat
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

import hardplace as hp
import hardplace.cli
from export_cases import CASES, LLAMA, runnable_job, workload_of
from hardplace.cli.app import app
from hardplace.errors import BadInput
from hardplace.exports.architecture import architecture_of
from hardplace.exports.facts import facts_of
from hardplace.exports.job import digest_of
from hardplace.exports.limits import LIMITS, broken_limits
from hardplace.exports.space import space_for
from hardplace.exports.targets import Target
from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.held_dimensions import fixed
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.plans.plan import PipelineSchedule, Plan
from hardplace.plans.plan_files import read_plan
from hardplace.plans.plan_problems import problems
from hardplace.version import __version__

FEW = ("--device", "h100-sxm", "--devices", "8", "--batch", "16", "--fix", "tensor=2", "--fix", "pipeline=2")


def run(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def plan_file(tmp_path):
    """A plan file as `place` writes it, of 16 devices, with other fields where a test wants them."""

    def write(**fields):
        values = {
            "global_batch": 64,
            "data": 16,
            "model": LLAMA,
            "on": [{"device": "h100-sxm", "node": "dgx-h100", "count": 16}],
        }
        path = tmp_path / "plan.json"
        path.write_text(json.dumps(values | fields))
        return str(path)

    return write


def bad(*words):
    done = run(*words)
    assert done.exit_code != 0
    return str(done.exception)


def test_two_commands_lead_from_a_model_to_a_launcher(tmp_path):
    done = run("place", "llama2-7b", *FEW, "--for", "megatron", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "for Megatron-LM" in done.output
    done = run("export", str(tmp_path / "plan.json"), "--to", "megatron", "--out", str(tmp_path / "job"))
    assert done.exit_code == 0, done.output
    text = (tmp_path / "job" / "megatron.args").read_text()
    plan = read_plan(tmp_path / "plan.json")
    assert digest_of(plan) in text
    assert f"hardplace {__version__}" in text
    assert re.search(
        r"predicted: step [\d.]+ m?s \(80 %: [\d.]+ m?s to [\d.]+ m?s\), [\d,]+ tokens/s, memory [\d.]+ of [\d.]+ GiB",
        text,
    )
    assert plan.version == __version__


def test_the_launcher_gives_each_flag_as_one_word(tmp_path, plan_file):
    """What torchrun is given, by a torchrun that prints it: bash sees the layout's bars and stars as text."""
    path = plan_file(data=2, pipeline=4, tensor=2, stages=[7, 9, 9, 7])
    assert run("export", path, "--to", "megatron", "--out", str(tmp_path / "job")).exit_code == 0
    fake = tmp_path / "bin" / "torchrun"
    fake.parent.mkdir()
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@" "$CUDA_DEVICE_MAX_CONNECTIONS"\n')
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    there = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "MEGATRON_LM": "/there", "NODE_RANK": "1"}
    done = subprocess.run(
        ["bash", tmp_path / "job" / "torchrun.sh", "--extra"], env=there, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    assert words[words.index("--pipeline-model-parallel-layout") + 1] == "Et*7|t*9|t*9|t*7L"
    assert words[words.index("--node-rank") + 1] == "1"
    assert "/there/pretrain_gpt.py" in words
    assert words[-2:] == ["--extra", "1"]
    subprocess.run(["bash", "-n", tmp_path / "job" / "slurm.sbatch"], check=True)


@pytest.mark.parametrize("target", Target)
def test_every_launcher_is_bash(target, tmp_path, plan_file):
    path = plan_file(zero=3, gradient="bf16+fp32" if target is Target.DEEPSPEED else "fp32")
    done = run("export", path, "--to", target, "--out", str(tmp_path / "job"))
    assert done.exit_code == 0, done.output
    for script in ("torchrun.sh", "launch.sh", "slurm.sbatch"):
        if (tmp_path / "job" / script).exists():
            subprocess.run(["bash", "-n", tmp_path / "job" / script], check=True)


def test_what_a_trainer_cannot_run_is_said_with_the_nearest_plan(tmp_path, plan_file):
    path = plan_file(data=4, pipeline=4, schedule="zero-bubble")
    out = str(tmp_path / "job")
    done = run("export", path, "--to", "megatron", "--out", out)
    assert done.exit_code == 3
    assert "Megatron-LM cannot run schedule zero-bubble of the plan: its pipelines run 1F1B" in done.output
    assert "schedule 1f1b for zero-bubble: step" in done.output
    assert not (tmp_path / "job").exists()
    done = run("export", path, "--to", "megatron", "--nearest", "--out", out)
    assert done.exit_code == 0, done.output
    assert "exported in its place" in done.output
    assert "--pipeline-model-parallel-layout" in (tmp_path / "job" / "megatron.args").read_text()


def test_bad_input_is_one_line(tmp_path, plan_file):
    out = ("--out", str(tmp_path / "job"))
    assert "did you mean megatron" in bad("export", plan_file(), "--to", "megatrn", *out)
    assert "version: '0.0.1': expected" in bad("export", plan_file(version="0.0.1"), "--to", "megatron", *out)
    assert "expected a family that torchtitan builds" in bad(
        "export", plan_file(model="bert-large"), "--to", "torchtitan", *out
    )
    assert "of Google: expected one that Megatron-LM runs on" in bad(
        "export", plan_file(on=[{"device": "tpu-v5p", "node": "tpu-v5p-8960", "count": 16}]), "--to", "megatron", *out
    )
    assert "expected the number of devices, 16" in bad("export", plan_file(data=8), "--to", "megatron", *out)
    assert "--model: missing: expected a name" in bad("export", plan_file(model=""), "--to", "megatron", *out)
    assert "expected PLAN and --to" in bad("export", plan_file())
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    config = ("--config", str(tmp_path / "config.json"))
    assert "config.json: num_attention_heads: None: expected" in bad(
        "export", plan_file(), "--to", "megatron", *config, *out
    )
    assert "--for: unknown target 'megatrn'; did you mean megatron" in bad(
        "place", LLAMA, *FEW, "--for", "megatrn", *out
    )
    assert "--for: megatron: device: of Google: expected one that Megatron-LM runs on" in bad(
        "place", LLAMA, "--device", "tpu-v5p", "--devices", "8", "--batch", "8", "--for", "megatron", *out
    )
    assert not (tmp_path / "job").exists()


def test_a_plan_that_does_not_fit_is_not_exported(tmp_path, plan_file):
    done = run("export", plan_file(zero=0), "--to", "megatron", "--out", str(tmp_path / "job"))
    assert done.exit_code == 3
    assert "does not fit: stage 0 is short by" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "job").exists()


def test_the_list_says_what_is_not_parsed():
    done = run("export", "--list")
    assert done.exit_code == 0
    (line,) = [line for line in done.output.splitlines() if line.strip().startswith("megatron-bridge")]
    assert "not parsed" in line


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", CASES)
def test_the_nearest_plan_breaks_no_limit(target, name):
    job = runnable_job(target, name)
    if job is None:
        return
    _, plan = CASES[name]
    assert not any(broken_limits(target, job.plan, job.facts))
    assert not any(problems(job.plan))
    assert job.plan.devices == plan.devices
    assert job.plan.global_batch == plan.global_batch


@pytest.mark.parametrize("target", Target)
def test_every_limit_has_a_mend_or_names_none(target):
    plans = [plan for _, plan in CASES.values()]
    plans += [replace(plan, schedule=PipelineSchedule.GPIPE) for plan in plans if plan.virtual == 1]
    facts = facts_of(workload_of(LLAMA), architecture_of(LLAMA, workload_of(LLAMA), None))
    for limit in LIMITS[target]:
        for plan in plans:
            if limit.broken(plan, facts):
                after = [replace(plan, **changes) for changes in limit.mends(plan, facts)]
                assert not after or any(not limit.broken(one, facts) for one in after), (limit.field, plan)


@pytest.mark.parametrize("target", [Target.MEGATRON, Target.TORCHTITAN, Target.MAXTEXT])
def test_the_search_for_a_trainer_finds_the_best_of_its_plans(target):
    """Against all plans of the space, priced and filtered after."""
    name = "gpt2-xl" if target is Target.MEGATRON else "llama3-8b"
    workload = workload_of(name)
    parts = [(device("h100-sxm"), node("dgx-h100"), 8)]
    held = fixed(("tensor=1,2", "micro_batch=1", "recompute=none,full", "recompute_layers=0", "virtual=1"))
    space = space_for(target, workload, architecture_of(name, workload, None), 16, held)
    within = PlanSearch(workload, parts, space, most=1).run()
    wide = PlanSpace(global_batch=16, fixed={**space.fixed, "zero": (0, 1, 2, 3)})
    everything = PlanSearch(workload, parts, wide, most=2000).run()
    assert within is not None
    assert everything is not None
    allowed = [one for one in everything.best if space.admits(one.plan)]
    assert 0 < len(allowed) < len(everything.best)
    assert within.best[0].step_s == pytest.approx(allowed[0].step_s, rel=1e-9)
    assert within.considered < everything.considered


def test_a_plan_alone_takes_its_names_from_options(tmp_path):
    (tmp_path / "plan.toml").write_text("global_batch = 16\ndata = 8\n")
    words = ("--model", "gpt2-xl", "--device", "h100-sxm", "--out", str(tmp_path / "job"))
    done = run("export", str(tmp_path / "plan.toml"), "--to", "megatron", *words)
    assert done.exit_code == 0, done.output
    assert digest_of(Plan(global_batch=16, data=8)) in (tmp_path / "job" / "megatron.args").read_text()


def test_python_exports_what_the_command_line_does(tmp_path, plan_file):
    path = plan_file(data=4, pipeline=4, schedule="zero-bubble")
    with pytest.raises(BadInput, match="schedule: zero-bubble: its pipelines run 1F1B"):
        hp.export(path, "megatron")
    found = hp.export(path, "megatron", nearest=True)
    assert run("export", path, "--to", "megatron", "--nearest", "--out", str(tmp_path / "job")).exit_code == 0
    for file in found.files:
        assert (tmp_path / "job" / file.name).read_text() == file.text
    alone = hp.export(hp.Plan(global_batch=16, data=8), "deepspeed", model="gpt2-xl", device="h100-sxm", nearest=True)
    assert alone.files[0].name == "ds_config.json"
