"""What users of the trainers stumbled over, by issue: each a check, a refusal or a warning at export."""

import json
import re
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_cases import BERT, CASES, LLAMA, MIXTRAL, planned_of
from hardplace.cost.layers.software import Graphs
from hardplace.errors import BadInput
from hardplace.exports.export import exported
from hardplace.exports.layout import layout_text, parse_layout
from hardplace.exports.limits import ModelFacts, broken_limits, layers_by_chunk
from hardplace.exports.planned import job_of
from hardplace.exports.targets import Target
from hardplace.plans.plan import OptimizerKind, PipelineSchedule, Plan
from hardplace.plans.plan_problems import problems
from hardplace.workload.types import Recompute

BASE = Plan(global_batch=64)


def job(target: Target, model: str = LLAMA, **fields):
    run = planned_of(model, replace(BASE, **fields))
    return job_of(run, target, run.plan, None)


def broken(target: Target, model: str = LLAMA, **fields) -> list[str]:
    one = job(target, model, **fields)
    return [limit.field for limit in broken_limits(target, one.plan, one.facts)]


def texts(target: Target, model: str = LLAMA, **fields) -> dict[str, str]:
    return {file.name: file.text for file in exported(job(target, model, **fields)).files}


def warnings(target: Target, model: str = LLAMA, **fields) -> str:
    return "\n".join(exported(job(target, model, **fields)).warnings)


def flags(**fields) -> list[str]:
    return re.sub(r"#.*", "", texts(Target.MEGATRON, **fields)["megatron.args"]).split()


# -- layers of stages -------------------------------------------------------------------------------------------------

ROWS = st.integers(1, 4).flatmap(
    lambda virtual: st.lists(st.lists(st.integers(0, 5), min_size=virtual, max_size=virtual), min_size=2, max_size=8)
)


@given(rows=ROWS)
def test_a_layout_reads_back_as_the_layers_by_stage_and_chunk(rows):
    found = parse_layout(layout_text(rows), len(rows), "x")
    assert found == tuple(tuple(row) for row in rows)


@pytest.mark.parametrize("name", [name for name, (_, plan) in CASES.items() if plan.pipeline > 1])
def test_no_layer_is_lost(name):
    """NVIDIA/Megatron-LM#468 (64 of 80 layers), modelscope/ms-swift#5737: all stand in the layout."""
    model, plan = CASES[name]
    run = planned_of(model, replace(plan, schedule=PipelineSchedule.ONE_F_ONE_B))
    one = job_of(run, Target.MEGATRON, run.plan, None)
    text = next(file.text for file in exported(one).files if file.name == "megatron.args")
    layout = re.search(r"--pipeline-model-parallel-layout '(.*)'", text)
    assert layout is not None
    assert sum(map(sum, parse_layout(layout[1], plan.pipeline, "x"))) == one.facts.layers


def test_layers_that_do_not_divide_get_a_layout():
    """NVIDIA/Megatron-LM#1304: 30 layers on 4 stages, of which 28 were built."""
    assert sum(map(sum, layers_by_chunk(Plan(global_batch=8, pipeline=4), 30))) == 30
    assert "--pipeline-model-parallel-layout" in flags(pipeline=8, data=2, stages=(3, 4, 5, 4, 4, 4, 4, 4))


def test_first_and_last_counts_are_never_written():
    """NVIDIA/Megatron-LM#1584: wrong layer offsets with virtual stages."""
    for fields in ({"stages": (7, 9, 9, 7)}, {"virtual": 2}):
        words = " ".join(flags(pipeline=4, data=2, **fields))
        assert not re.search(r"--decoder-(first|last)-pipeline|--num-(layers-per-)?virtual|--account-for", words)


def test_an_empty_chunk_is_refused():
    """NVIDIA/Megatron-LM#1852: it deadlocks. A first stage with the embedding alone is not empty."""
    with pytest.raises(BadInput, match=r"stages: \[16, 0, 8, 8\]: expected a layer or more between"):
        job(Target.MEGATRON, pipeline=4, data=2, stages=(16, 0, 8, 8))
    assert broken(Target.MEGATRON, pipeline=4, data=2, stages=(0, 12, 10, 10)) == []
    with pytest.raises(BadInput, match="virtual: 2: expected"):
        job(Target.MEGATRON, pipeline=4, data=2, virtual=2, stages=(10, 12, 10, 0))


def test_interleaving_takes_as_many_micro_batches_as_stages():
    """NVIDIA-NeMo/Speech#14288: 3 micro-batches on 6 stages."""
    plan = replace(BASE, global_batch=12, data=4, pipeline=6, virtual=2)
    assert plan.micro_batches == 3
    assert any(text.startswith("virtual") for text in problems(plan))


def test_a_layout_is_given_again_on_restart():
    """NVIDIA-NeMo/Megatron-Bridge#1880."""
    assert "Megatron-Bridge#1880" in warnings(Target.MEGATRON_BRIDGE, pipeline=4, data=2)


# -- Megatron-LM ------------------------------------------------------------------------------------------------------


def test_experts_beside_tensor_parallelism_want_sequences_divided():
    """NVIDIA-NeMo/RL#1075, NVIDIA/Megatron-LM#1587."""
    assert broken(Target.MEGATRON, "glm-4.5", tensor=2, data=4) == ["sequence"]
    with pytest.raises(BadInput, match="sequence: false: expected true"):
        broken(Target.MEGATRON, MIXTRAL, tensor=2, expert=4, data=4)
    assert broken(Target.MEGATRON, MIXTRAL, tensor=2, sequence=True, expert=4, data=4) == []


@pytest.mark.parametrize(("model", "expert", "cut"), [("glm-4.5", 1, 2), ("glm-4.5", 4, 1), (MIXTRAL, 1, 1)])
def test_experts_are_cut_in_the_trainer_as_they_are_priced(model, expert, cut):
    """Tensor parallelism alone cuts each expert of a model that runs as recorded."""
    assert job(Target.MEGATRON, model, tensor=2, sequence=True, expert=expert, data=4).expert_tensor == cut


def test_muon_with_sharded_states_is_refused():
    """NVIDIA/Megatron-LM#6048: parameters were not updated."""
    assert "optimizer" in broken(Target.MEGATRON, optimizer=OptimizerKind.MUON, data=8, zero=1, shard=4)


def test_uniform_recompute_takes_one_layer_at_a_time():
    """NVIDIA/Megatron-LM#1226."""
    words = flags(data=8, recompute=Recompute.FULL)
    at = words.index("--recompute-method")
    assert words[at : at + 4] == ["--recompute-method", "uniform", "--recompute-num-layers", "1"]


def test_connections_are_one_for_megatron_and_more_for_fsdp():
    """pytorch/torchtitan#1147, huggingface/nanotron#236."""
    assert "export CUDA_DEVICE_MAX_CONNECTIONS=1\n" in texts(Target.MEGATRON, tensor=2, data=4)["torchrun.sh"]
    assert "MAX_CONNECTIONS=32" in texts(Target.MEGATRON, tensor=2, sequence=True, data=4, zero=3)["torchrun.sh"]
    assert "unset CUDA_DEVICE_MAX_CONNECTIONS" in texts(Target.MEGATRON, data=8, zero=2)["torchrun.sh"]
    assert "MAX_CONNECTIONS=32" in texts(Target.TORCHTITAN, tensor=2, data=4, zero=2)["torchrun.sh"]


# -- torchtitan -------------------------------------------------------------------------------------------------------


def test_all_micro_batches_go_through_the_pipeline():
    """pytorch/torchtitan#1733: accumulation beside it scaled gradients wrongly."""
    one = tomllib.loads(texts(Target.TORCHTITAN, pipeline=4, data=4, zero=2)["job.toml"])
    assert one["training"]["local_batch_size"] * 4 == one["training"]["global_batch_size"] == 64


def test_zero_bubble_is_not_the_v_schedule_and_is_not_compiled():
    """pytorch/torchtitan#774, pytorch/pytorch#161904."""
    found = texts(Target.TORCHTITAN, pipeline=4, data=4, zero=2, schedule=PipelineSchedule.ZERO_BUBBLE)
    one = tomllib.loads(found["job.toml"])
    assert one["parallelism"]["pipeline_parallel_schedule"] == "InterleavedZeroBubble"
    assert one["compile"]["enable"] is False
    assert "ZBV" not in found["job.py"]
    assert "compile=CompileConfig(enable=False, " in found["job.py"]


def test_what_is_priced_without_the_compiler_runs_without_it():
    found = texts(Target.TORCHTITAN, data=16, zero=3, software="torchtitan-eager")
    assert tomllib.loads(found["job.toml"])["compile"]["enable"] is False
    assert "compile=CompileConfig(enable=False, " in found["job.py"]


def test_parts_of_a_v_are_in_the_order_of_the_model():
    """torchtitan gives rank i of p the parts i and 2 p - 1 - i with these schedules, which no rank's V-Half is."""
    fields = {"pipeline": 4, "virtual": 2, "data": 4, "zero": 2, "stages": (6, 9, 9, 8)}
    for schedule, name in ((PipelineSchedule.ZB_V, "ZBVZeroBubble"), (PipelineSchedule.DUALPIPE_V, "DualPipeV")):
        found = texts(Target.TORCHTITAN, schedule=schedule, **fields)
        one = tomllib.loads(found["job.toml"])
        assert one["parallelism"]["pipeline_parallel_schedule"] == name
        assert one["compile"]["enable"] is False
        parts = one["parallelism"]["module_fqns_per_model_part"]
        layers = [[part for part in each if part.startswith("layers.")] for each in parts]
        assert [part for each in layers for part in each] == [f"layers.{at}" for at in range(32)]
        assert [len(one) + len(two) for one, two in zip(layers[:4], layers[:3:-1], strict=True)] == [6, 9, 9, 8]
        assert parts[0][0] == "tok_embeddings"
        assert parts[-1][-2:] == ["norm", "output"]
    again = {"schedule": PipelineSchedule.ZB_V, "recompute": Recompute.FULL}
    assert broken(Target.TORCHTITAN, **again, **fields) == ["recompute"]  # torch would run it for each group of weights
    for schedule in (PipelineSchedule.V_HALF, PipelineSchedule.V_MIN):
        assert broken(Target.TORCHTITAN, schedule=schedule, **fields) == ["schedule"]
        assert "schedule" in broken(Target.MEGATRON, schedule=schedule, **fields)
        assert "schedule" in broken(Target.MAXTEXT, schedule=schedule, **fields)


def test_fewer_experts_groups_than_tensor_is_warned_of():
    """pytorch/torchtitan#4794."""
    said = warnings(Target.TORCHTITAN, "qwen3-30b-a3b", tensor=4, sequence=True, data=4, expert=2, zero=2)
    assert "torchtitan#4794" in said


def test_tensor_with_context_is_noted():
    """pytorch/torchtitan#2446."""
    assert "torchtitan#2446" in warnings(Target.TORCHTITAN, tensor=2, context=2, data=4, zero=2)


# -- DeepSpeed --------------------------------------------------------------------------------------------------------


def test_sharded_gradients_with_a_pipeline_are_refused():
    """deepspeedai/DeepSpeed#823, #1629; Megatron-FSDP has no pipeline either."""
    assert "zero" in broken(Target.MEGATRON, pipeline=2, data=4, zero=2)
    assert "pipeline" in broken(Target.DEEPSPEED, pipeline=2, data=4, zero=2, gradient="bf16+fp32")


def test_a_second_partition_of_weights_is_warned_of():
    """deepspeedai/DeepSpeed#4851, #7164."""
    said = warnings(Target.DEEPSPEED, data=16, zero=3, shard=8, gradient="bf16+fp32")
    assert "DeepSpeed#4851" in said


def test_all_three_numbers_of_the_batch_are_written():
    """deepspeedai/DeepSpeed#743."""
    one = json.loads(texts(Target.DEEPSPEED, data=8, micro_batch=2, gradient="bf16+fp32")["ds_config.json"])
    assert one["train_batch_size"] == 64
    assert one["train_micro_batch_size_per_gpu"] * one["gradient_accumulation_steps"] * 8 == 64


# -- Accelerate -------------------------------------------------------------------------------------------------------


def test_recompute_is_the_models_own():
    """huggingface/accelerate#3897: FSDP2's wraps sub-modules, which holds far more."""
    found = texts(Target.ACCELERATE, data=8, zero=3, recompute=Recompute.FULL)
    assert "fsdp_activation_checkpointing: false" in found["accelerate.yaml"]
    assert "GRADIENT_CHECKPOINTING = True" in found["accelerate_setup.py"]


def test_the_version_is_held():
    """huggingface/accelerate#3979: a silent no-op in 1.13."""
    assert (
        'Version(accelerate.__version__) >= Version("1.14")'
        in texts(Target.ACCELERATE, data=8, zero=2)["accelerate_setup.py"]
    )


def test_gradients_are_synchronised_each_micro_batch():
    """huggingface/transformers#29425: whole gradients stay on each device else."""
    assert "sync_each_batch=True" in texts(Target.ACCELERATE, data=8, zero=2)["accelerate_setup.py"]
    assert "sync_each_batch=False" in texts(Target.ACCELERATE, data=8, zero=0)["accelerate_setup.py"]


# -- what random plans and the parsers found ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"recompute": Recompute.FULL, "graphs": Graphs.LAYER, "data": 8}, "graphs"),
        ({"optimizer": OptimizerKind.MUON, "zero": 0, "data": 8}, "overlap"),
        ({"optimizer": OptimizerKind.MUON, "zero": 1, "tensor": 2}, "optimizer"),
        ({"tensor_overlap": True, "tensor": 2, "data": 4}, "tensor_overlap"),
    ],
)
def test_what_megatrons_parser_refused_is_refused_before(fields, field):
    assert broken(Target.MEGATRON, **fields) == [field]


def test_the_encoder_of_megatron_is_said_to_differ():
    assert "normalises before" in warnings(Target.MEGATRON, BERT, data=8)


def test_a_pipeline_of_three_is_given_to_data_tensor_and_context_parallelism():
    plan = Plan(global_batch=32, tensor=4, pipeline=6, data=2, sequence=True)
    facts = ModelFacts(layers=36, sequence=6144, kv_heads=8, experts=1, encoder_decoder=False)
    limit = next(one for one in broken_limits(Target.ACCELERATE, plan, facts) if one.field == "pipeline")
    ways = {(one["data"], one["tensor"], one["context"]) for one in limit.mends(plan, facts)}
    parts = ((1, 1), (1, 2), (1, 3), (1, 6), (2, 1), (2, 3))  # 3 and 6 do not divide what is left of the batch
    assert ways == {(2 * data, 4 * tensor, 6 // data // tensor) for data, tensor in parts}
