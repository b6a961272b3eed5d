"""What `export` wrote comes back as the plan; what people have in their scripts is read as they mean it."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import hardplace.cli  # noqa: F401  (joins the verbs)
from export_cases import CASES, LLAMA, planned_of, runnable_job
from hardplace.cli.app import app
from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.errors import BadInput
from hardplace.exports.export import exported, nearest_job
from hardplace.exports.importers.found import Answers
from hardplace.exports.importers.read import contradictions, imported_plan
from hardplace.exports.limits import broken_limits
from hardplace.exports.planned import job_of
from hardplace.exports.targets import Target
from hardplace.plans.plan import Format, OptimizerKind, Plan
from hardplace.plans.plan_files import read_plan
from hardplace.plans.stage_sizes import chunk_layers, stage_layers
from hardplace.workload.types import Recompute

FILES = {
    Target.MEGATRON: ("megatron.args",),
    Target.TORCHTITAN: ("job.toml", "job.py"),
    Target.DEEPSPEED: ("ds_config.json",),
    Target.ACCELERATE: ("accelerate.yaml",),
}


def written(target: Target, name: str, tmp_path):
    job = runnable_job(target, name)
    if job is None:
        return None
    for file in exported(job).files:
        (tmp_path / file.name).write_text(file.text)
    return job


@pytest.mark.parametrize("target", FILES)
@pytest.mark.parametrize("name", CASES)
def test_an_exported_plan_comes_back(target, name, tmp_path):
    job = written(target, name, tmp_path)
    if job is None:
        return
    plan = job.plan
    for file in FILES[target]:
        answers = Answers(devices=plan.devices, batch=plan.global_batch, micro_batch=plan.micro_batch)
        read = imported_plan(tmp_path / file, target, answers)
        assert not list(contradictions(read, job.architecture, job.facts.sequence)), file
        found = read.plan
        for field in ("tensor", "context", "data", "pipeline", "virtual", "expert", "micro_batch", "global_batch"):
            assert getattr(found, field) == getattr(plan, field), (file, field)
        if plan.pipeline > 1:
            assert found.stages == stage_layers(job.facts.layers, plan), file
        if plan.replicas > 1:
            assert (found.zero, found.shard) == (plan.zero, plan.shard if plan.zero else 0), file
        assert found.sharded_over == plan.sharded_over or plan.zero == 0
        if target is not Target.ACCELERATE:
            assert found.optimizer is plan.optimizer, file
            assert found.recompute is plan.recompute or target is Target.DEEPSPEED, file
            assert found.recompute_modules == plan.recompute_modules or target is Target.DEEPSPEED, file
            assert found.gradient == plan.gradient, file
        if file != "job.toml":  # 0.2.2 always divides sequences beside tensor
            assert found.sequence == plan.sequence or target in (Target.DEEPSPEED, Target.ACCELERATE), file
        assert found.precision is plan.precision, file
        if target is Target.MEGATRON:
            assert found.ways == plan.ways
            assert found.loss_in_one == plan.loss_in_one
            assert found.recompute_layers == -(-plan.recompute_layers // plan.virtual) * plan.virtual
            assert found.overlap == (plan.overlap and plan.replicas > 1)
        if target is Target.TORCHTITAN:
            assert found.schedule is plan.schedule or plan.pipeline == 1


# -- what people run --------------------------------------------------------------------------------------------------

SCRIPT = r"""#!/bin/bash
# pretraining of Llama-3 8B
export CUDA_DEVICE_MAX_CONNECTIONS=1
DISTRIBUTED_ARGS="--nproc_per_node 8 --nnodes 4 --master_port 6000"
GPT_ARGS=(
    --num-layers 32 --hidden-size 4096 \
    --num-attention-heads 32
    --seq-length 8192
    --swiglu
    --micro-batch-size 2
    --global-batch-size=256   # samples
    --bf16
)
torchrun --nproc-per-node 8 --nnodes 4 pretrain_gpt.py ${GPT_ARGS[@]} --lr 3e-4 --min-lr 3e-5 \
    --tensor-model-parallel-size 4 --sequence-parallel --pipeline-model-parallel-size 2 \
    --num-layers-per-virtual-pipeline-stage 4 \
    --use-distributed-optimizer --overlap-grad-reduce --recompute-activations \
    --moe-grouped-gemm --some-new-thing 3 "$@"
"""


def test_a_script_of_megatron(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(SCRIPT)
    found = imported_plan(path, Target.MEGATRON, Answers())
    plan = found.plan
    assert plan == Plan(
        global_batch=256,
        tensor=4,
        sequence=True,
        pipeline=2,
        virtual=4,
        data=4,
        zero=1,
        micro_batch=2,
        stages=(16, 16),
        recompute=Recompute.SELECTIVE,
        precision=Format.BF16,
        overlap=True,
        dispatcher=Dispatcher.ALL_TO_ALL,
        graphs=Graphs.NONE,
        tensor_overlap=False,
        expert_overlap=False,
        fused_loss=False,
    )
    assert found.sizes == {"layers": 32, "hidden": 4096, "heads": 32, "experts": 0}
    assert found.notes == (
        "--moe-grouped-gemm: not in a plan; experts' products in one kernel: less time a step",
        "--some-new-thing: not known here; left out, whatever it would change",
    )


@pytest.mark.parametrize(
    ("flags", "stages"),
    [
        ("--num-layers 30 --decoder-first-pipeline-num-layers 7 --decoder-last-pipeline-num-layers 7", (7, 8, 8, 7)),
        (
            "--num-layers 30 --account-for-embedding-in-pipeline-split --account-for-loss-in-pipeline-split",
            (7, 8, 8, 7),
        ),
        ("--num-layers 31 --decoder-last-pipeline-num-layers 7", (8, 8, 8, 7)),
        ("--num-layers 32", (8, 8, 8, 8)),
        ("--num-layers 12 --pipeline-model-parallel-layout 'Et*2|(t|)*4t*3|t*2L'", None),
        ("--num-layers 9 --pipeline-model-parallel-layout 'Et*2|(tt|)*2t*3L'", (2, 2, 2, 3)),
    ],
)
def test_layers_of_stages_as_flags_say_them(flags, stages, tmp_path):
    path = tmp_path / "args.txt"
    common = "--pipeline-model-parallel-size 4 --micro-batch-size 1 --global-batch-size 16 "
    path.write_text(common + flags)
    if stages is None:
        with pytest.raises(BadInput, match="expected a layout such as"):
            imported_plan(path, Target.MEGATRON, Answers(devices=8))
        return
    assert imported_plan(path, Target.MEGATRON, Answers(devices=8)).plan.stages == stages


def test_chunks_that_differ_from_a_plans_are_noted(tmp_path):
    path = tmp_path / "args.txt"
    common = "--pipeline-model-parallel-size 2 --micro-batch-size 1 --global-batch-size 16 --num-layers 8 "
    path.write_text(common + "--pipeline-model-parallel-layout 'Et*3|t*2|t|t*2L'")
    found = imported_plan(path, Target.MEGATRON, Answers(devices=8))
    assert found.plan.stages == (4, 4)
    assert found.plan.virtual == 2
    assert any("layout: chunks of a stage differ" in note for note in found.notes)
    assert chunk_layers(4, 0, found.plan) == (2, 2)


def test_what_a_file_leaves_open_is_asked_for_by_name(tmp_path):
    path = tmp_path / "args.txt"
    path.write_text("--tensor-model-parallel-size 2 --micro-batch-size 1 --global-batch-size 16")
    with pytest.raises(BadInput, match=r"devices: missing: expected the number of devices, which .*args.txt does not"):
        imported_plan(path, Target.MEGATRON, Answers())
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"train_micro_batch_size_per_gpu": "auto", "zero_optimization": {"stage": 2}}))
    with pytest.raises(BadInput, match="micro_batch: missing: expected"):
        imported_plan(path, Target.DEEPSPEED, Answers(devices=8))
    done = CliRunner().invoke(app, ["import", str(path), "--model", LLAMA, "--devices", "8"])
    assert "--micro-batch: missing: expected" in str(done.exception)
    path = tmp_path / "a.yaml"
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 8\n")
    with pytest.raises(BadInput, match="batch: missing: expected samples a step"):
        imported_plan(path, Target.ACCELERATE, Answers(micro_batch=1))


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        (Target.MEGATRON, "--tensor-model-parallel-size $TP", "'\\$TP'"),
        (Target.MEGATRON, "hello", "expected flags of Megatron-LM"),
        (Target.MEGATRON, "--micro-batch-size 1 'open", "as a shell reads them"),
        (Target.MEGATRON, "--tensor-model-parallel-size 3 --micro-batch-size 1", "divide the 8 devices"),
        (Target.MEGATRON, "--micro-batch-size 3 --global-batch-size 16", "expected a multiple of data x micro_batch"),
        (Target.DEEPSPEED, "[1]", "expected an object"),
        (Target.DEEPSPEED, "{", "expected JSON"),
        (Target.DEEPSPEED, '{"zero_optimization": {"stage": 5}, "train_micro_batch_size_per_gpu": 1}', "0, 1, 2 or 3"),
        (
            Target.DEEPSPEED,
            '{"train_batch_size": 9, "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}',
            "1 x 1 x 8",
        ),
        (Target.ACCELERATE, "a: [1", "expected YAML"),
        (Target.ACCELERATE, "distributed_type: TPU\n", "expected FSDP or MULTI_GPU"),
        (Target.TORCHTITAN, "x = 1\n", "parallelism: missing"),
        (Target.MAXTEXT, "x", "expected a file of megatron, torchtitan"),
    ],
)
def test_bad_files_are_one_line(target, text, said, tmp_path):
    path = tmp_path / ("x.toml" if target is Target.TORCHTITAN else "x")
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as problem:
        imported_plan(path, target, Answers(devices=8, batch=16, micro_batch=1))
    assert "\n" not in str(problem.value)


def test_python_is_read_and_never_run(tmp_path):
    path = tmp_path / "job.py"
    mark = tmp_path / "ran"
    path.write_text(
        f"open({str(mark)!r}, 'w')\nParallelismConfig(tensor_parallel_degree=2, data_parallel_shard_degree=4)\n"
        "TrainingConfig(local_batch_size=2, global_batch_size=16)\n"
    )
    plan = imported_plan(path, Target.TORCHTITAN, Answers()).plan
    assert (plan.tensor, plan.data, plan.micro_batch, plan.zero) == (2, 4, 2, 3)
    assert not mark.exists()
    path.write_text("ParallelismConfig(tensor_parallel_degree=degree())\nTrainingConfig()\n")
    with pytest.raises(BadInput, match="expected a plain value; nothing is run"):
        imported_plan(path, Target.TORCHTITAN, Answers())


def test_deepspeeds_own_words(tmp_path):
    path = tmp_path / "ds.json"
    path.write_text(
        json.dumps(
            {
                "train_batch_size": 64,
                "train_micro_batch_size_per_gpu": 2,
                "gradient_accumulation_steps": 4,
                "zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {}},
                "fp16": {"enabled": True},
                "optimizer": {"type": "FusedAdam"},
                "activation_checkpointing": {},
                "mystery": 1,
            }
        )
    )
    found = imported_plan(path, Target.DEEPSPEED, Answers())
    plan = found.plan
    assert (plan.data, plan.zero, plan.offload, plan.precision) == (8, 3, True, Format.FP16)
    assert plan.optimizer is OptimizerKind.ADAMW
    assert [note.partition(":")[0] for note in found.notes] == [
        "activation_checkpointing",
        "mystery",
        "zero_optimization.offload_param",
    ]


def test_an_imported_plan_is_priced(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(SCRIPT)
    run = CliRunner()
    done = run.invoke(app, ["import", str(path), "--device", "h100-sxm", "--model", LLAMA, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "--some-new-thing: not known here" in done.output
    asked = f"estimate {LLAMA} --plan {tmp_path / 'plan.json'} --software megatron-core"
    assert f"(hardplace {asked} prices it)" in done.output
    assert run.invoke(app, [*asked.split(), "--out", str(tmp_path / "priced")]).exit_code == 0
    plan = read_plan(tmp_path / "plan.json")
    assert plan.model == LLAMA
    assert [(one.device, one.node, one.count) for one in plan.on] == [("h100-sxm", "dgx-h100", 32)]
    done = run.invoke(app, ["estimate", LLAMA, "--plan", str(tmp_path / "plan.json")])
    assert done.exit_code == 0, done.output
    done = run.invoke(app, ["import", str(path), "--model", "llama2-13b", "--out", str(tmp_path)])
    assert "32 layers: expected those of llama2-13b, 40" in str(done.exception)


def test_a_model_is_known_by_its_sizes(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text(
        SCRIPT.replace("--num-layers 32", "--num-layers 80").replace("4096", "8192").replace(" 32\n", " 64\n")
    )
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path)])
    assert "--model: missing: expected a name" in str(done.exception)  # two Llamas have these sizes
    path.write_text(path.read_text().replace("--lr 3e-4", "--lr 3e-4 --vocab-size 128256"))
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert read_plan(tmp_path / "plan.json").model == "llama3-70b"
    path.write_text(
        SCRIPT.replace("--num-layers 32", "--num-layers 40")
        .replace("4096", "5120")
        .replace(" 32\n", " 40\n")
        .replace("--seq-length 8192", "--seq-length 4096")
    )
    done = CliRunner().invoke(app, ["import", str(path), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert read_plan(tmp_path / "plan.json").model == "llama2-13b"


def imported_by_cli(tmp_path, name, text, *options):
    path = tmp_path / name
    path.write_text(text)
    done = CliRunner().invoke(app, ["import", str(path), *options, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, BadInput), done.output
    assert not (tmp_path / "out").exists()
    return str(done.exception)


@pytest.mark.parametrize(
    ("flag", "other", "said"),
    [
        ("--seq-length 8192", "--seq-length 32768", "sequence: 32768: expected that of llama3-8b, 8192"),
        ("--hidden-size 4096", "--hidden-size 8192", "hidden: 8192: expected that of llama3-8b, 4096"),
        ("--swiglu", "--swiglu --ffn-hidden-size 11008", "ffn: 11008: expected that of llama3-8b, 14336"),
        ("--swiglu", "--swiglu --vocab-size 32000", "vocab: 32000: expected that of llama3-8b, 128256"),
        (
            "--swiglu",
            "--swiglu --group-query-attention --num-query-groups 4",
            "kv_heads: 4: expected that of llama3-8b, 8",
        ),
        ("--swiglu", "--swiglu --num-experts 8", "experts: 8: expected that of llama3-8b, 0"),
    ],
)
def test_a_file_of_another_model_or_sequence_is_refused(flag, other, said, tmp_path):
    assert said in imported_by_cli(tmp_path, "run.sh", SCRIPT.replace(flag, other), "--model", LLAMA)


def test_a_job_of_another_sequence_is_refused(tmp_path):
    job = "[parallelism]\ndata_parallel_shard_degree = 8\n[training]\nlocal_batch_size = 1\nseq_len = 131072\n"
    said = imported_by_cli(tmp_path, "job.toml", job, "--model", LLAMA)
    assert (
        "sequence: 131072: expected that of llama3-8b, 8192, or its config recorded with sequence_length 131072" in said
    )
    said = imported_by_cli(tmp_path, "job.toml", job.replace("seq_len = 131072\n", ""), "--model", LLAMA)
    assert "sequence: 2048: expected that of llama3-8b, 8192" in said  # torchtitan's own, where a job says none


def test_a_vocabulary_that_is_padded_is_the_models(tmp_path):
    path = tmp_path / "run.sh"
    text = SCRIPT.replace("--num-layers 32", "--num-layers 54 --vocab-size 50257").replace("4096", "1920")
    text = text.replace("-pipeline-stage 4", "-pipeline-stage 3").replace("8192", "1024")
    path.write_text(text.replace("-attention-heads 32", "-attention-heads 20"))
    done = CliRunner().invoke(app, ["import", str(path), "--model", "megatron-gpt2-2.5b", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch", "64"), "--batch: 64: expected 256, as"),
        (("--micro-batch", "4"), "--micro-batch: 4: expected 2, as"),
        (("--devices", "64"), "--devices: 64: expected 32, as"),
    ],
)
def test_what_is_asked_and_the_file_says_otherwise_is_refused(options, said, tmp_path):
    assert said in imported_by_cli(tmp_path, "run.sh", SCRIPT, "--model", LLAMA, *options)
    job = "[parallelism]\ndata_parallel_shard_degree = 32\n[training]\nlocal_batch_size = 2\nglobal_batch_size = 256\n"
    job += "seq_len = 8192\n"
    assert said in imported_by_cli(tmp_path, "job.toml", job, "--model", LLAMA, *options)


# -- optimizer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [OptimizerKind.ADAMW, OptimizerKind.ADAMW_REMAINDERS])
def test_remainders_of_weights_come_back_from_megatron(optimizer, tmp_path):
    run = planned_of(LLAMA, Plan(global_batch=64, data=16, zero=1, optimizer=optimizer), "h100-sxm", "dgx-h100")
    for file in exported(job_of(run, Target.MEGATRON, run.plan, None)).files:
        (tmp_path / file.name).write_text(file.text)
    assert imported_plan(tmp_path / "megatron.args", Target.MEGATRON, Answers(devices=16)).plan.optimizer is optimizer


@pytest.mark.parametrize(
    ("flags", "optimizer"),
    [
        ("", OptimizerKind.ADAMW_REMAINDERS),
        ("--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params", OptimizerKind.ADAMW),
        ("--optimizer muon", OptimizerKind.MUON),
    ],
)
def test_remainders_are_of_adam_whose_weights_stay(flags, optimizer, tmp_path):
    """ZeRO-3 keeps fp32 masters alone, Muon has its own optimizer."""
    script = tmp_path / "run.sh"
    said = "--bf16 --micro-batch-size 1 --use-distributed-optimizer --use-precision-aware-optimizer"
    script.write_text(f"{said} {flags}\n")
    assert imported_plan(script, Target.MEGATRON, Answers(devices=8)).plan.optimizer is optimizer


# -- fp8 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [Fp8Recipe.DELAYED, Fp8Recipe.TENSORWISE, Fp8Recipe.BLOCKWISE])
def test_a_recipe_of_fp8_and_weights_kept_in_it_come_back_from_megatron(recipe, tmp_path):
    run = planned_of(LLAMA, Plan(global_batch=64, data=16), "h100-sxm", "dgx-h100")
    for gathers in (False, True):
        plan = replace(run.plan, precision=Format.FP8, fp8_recipe=recipe, fp8_gather=gathers)
        job = job_of(run, Target.MEGATRON, plan, None)
        for file in exported(job).files:
            (tmp_path / file.name).write_text(file.text)
        text = (tmp_path / "megatron.args").read_text()
        assert f"--fp8-recipe {recipe}" in " ".join(text.split())
        assert ("--fp8-param-gather" in text) is gathers
        back = imported_plan(tmp_path / "megatron.args", Target.MEGATRON, Answers(devices=16)).plan
        assert (back.precision, back.fp8_recipe, back.fp8_gather) == (Format.FP8, recipe, gathers)


def test_megatron_scales_by_earlier_steps_unless_a_flag_says_otherwise(tmp_path):
    script = tmp_path / "run.sh"
    for flags, recipe in (("", Fp8Recipe.DELAYED), (" --fp8-recipe mxfp8", Fp8Recipe.MXFP8)):
        script.write_text(f"--tensor-model-parallel-size 1 --micro-batch-size 1 --bf16 --fp8-format hybrid{flags}\n")
        assert imported_plan(script, Target.MEGATRON, Answers(devices=8)).plan.fp8_recipe is recipe
    script.write_text(
        "--tensor-model-parallel-size 1 --micro-batch-size 1 --bf16 --fp8-format e4m3 --fp8-recipe rows\n"
    )
    with pytest.raises(BadInput, match=r"run.sh: --fp8-recipe: 'rows': expected delayed or tensorwise"):
        imported_plan(script, Target.MEGATRON, Answers(devices=8))


def test_megatron_bridge_says_what_its_recipe_does_otherwise():
    run = planned_of(LLAMA, Plan(global_batch=64, data=16, precision=Format.FP8), "h100-sxm", "dgx-h100")
    for recipe, gathers, name, fields in (
        (None, False, "bf16_with_fp8_current_scaling_mixed", ["fp8_gather", "fp8_recipe"]),
        (None, True, "bf16_with_fp8_current_scaling_mixed", ["fp8_recipe"]),
        (Fp8Recipe.BLOCKWISE, False, "bf16_with_fp8_subchannel_scaling_mixed", []),
        (Fp8Recipe.DELAYED, True, "bf16_with_fp8_delayed_scaling_mixed", []),
    ):
        plan = replace(run.plan, fp8_recipe=recipe, fp8_gather=gathers)
        found = exported(job_of(run, Target.MEGATRON_BRIDGE, plan, None))
        assert any(f"mixed_precision: {name}" in file.text.replace('"', "") for file in found.files)
        said = [warning.split(":")[0] for warning in found.warnings if warning.startswith("fp8_")]
        assert said == fields


def test_trainers_without_a_recipe_refuse_it_and_say_the_nearest():
    run = planned_of(LLAMA, Plan(global_batch=64, data=16, zero=2, precision=Format.FP8), "h100-sxm", "dgx-h100")
    for target, recipe, nearest in (
        (Target.TORCHTITAN, Fp8Recipe.DELAYED, Fp8Recipe.TENSORWISE),
        (Target.ACCELERATE, Fp8Recipe.BLOCKWISE, Fp8Recipe.TENSORWISE),
    ):
        plan = replace(run.plan, fp8_recipe=recipe)
        job = job_of(run, target, plan, None)
        assert [limit.field for limit in broken_limits(target, plan, job.facts)] == ["fp8_recipe"]
        assert nearest_job(job, run.priced).plan.fp8_recipe is nearest
        kept = replace(run.plan, fp8_gather=True)
        assert [limit.field for limit in broken_limits(target, kept, job.facts)] == ["fp8_gather"]


def test_torchtitan_gathers_weights_in_fp8_where_its_job_says(tmp_path):
    job = tmp_path / "job.toml"
    job.write_text(
        '[model]\nconverters = ["quantize.linear.float8"]\n[training]\nlocal_batch_size = 1\n[parallelism]\n'
        "data_parallel_shard_degree = 8\n[quantize.linear.float8]\nenable_fsdp_float8_all_gather = true\n"
    )
    found = imported_plan(job, Target.TORCHTITAN, Answers(devices=8)).plan
    assert (found.precision, found.fp8_gather) == (Format.FP8, True)
