"""torchtitan: job.py, a configuration function of 0.3.0, and job.toml with flavor.py, a job of 0.2.2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hardplace.cost.layers.software import TORCHTITAN_EAGER, Dispatcher, Graphs
from hardplace.exports.architecture import Architecture
from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.exports.launchers import launcher_files
from hardplace.plans.plan import Format, OptimizerKind, PipelineSchedule, Plan
from hardplace.workload.types import Recompute

# The sizes (hidden, layers) that torchtitan has by name; a Llama of any other size is built from its pieces.
FLAVORS = {
    "llama": {(4096, 32, 14336): "8B", (8192, 80, 28672): "70B", (16384, 126, 53248): "405B"},
    "qwen3": {
        (1024, 28, 3072): "0.6B",
        (2048, 28, 6144): "1.7B",
        (2560, 36, 9728): "4B",
        (4096, 36, 12288): "8B",
        (5120, 40, 17408): "14B",
        (5120, 64, 25600): "32B",
    },
    "qwen3_moe": {(2048, 48, 768): "30B-A3B", (4096, 94, 1536): "235B-A22B"},
    "deepseek_v3": {(7168, 61, 2048): "671B"},
}
MODULES = {"llama": "llama3", "qwen3": "qwen3", "qwen3_moe": "qwen3", "deepseek_v3": "deepseek_v3"}
SCHEDULES = {
    PipelineSchedule.ONE_F_ONE_B: "1F1B",
    PipelineSchedule.GPIPE: "GPipe",
    PipelineSchedule.ZERO_BUBBLE: "InterleavedZeroBubble",
    PipelineSchedule.ZB_V: "ZBVZeroBubble",
    PipelineSchedule.DUALPIPE_V: "DualPipeV",
}
OWN_FLAVOR = "hardplace"


def flavor_of(one: Architecture) -> str:
    """Return the name of a registered size; "" for a Llama of another size, which the files build."""
    width = one.experts.ffn if one.experts else one.ffn
    found = FLAVORS[one.family].get((one.hidden, one.layers, width), "")
    return found if one.family != "llama" or one.vocab == 128256 else ""


def torchtitan_problem(one: Architecture) -> str:
    """Return why torchtitan has no model of these sizes; empty: it has."""
    if one.family == "llama" or flavor_of(one):
        return ""
    names = ", ".join(FLAVORS[one.family].values())
    return f"model: {one.family} of {one.hidden} x {one.layers}: expected a size that torchtitan has: {names}"


def schedule_of(job: ExportJob) -> str:
    """Return torchtitan's name of the schedule; zero-bubble is the interleaved one with a module list a rank."""
    plan = job.plan
    return "Interleaved1F1B" if plan.virtual > 1 and not plan.schedule.folds else SCHEDULES[plan.schedule]


def module_lists(job: ExportJob, head: str) -> list[list[str]]:
    """Return the modules of each chunk in stage order; head: what the last linear layer is called."""
    flat = [row[chunk] for chunk in range(job.plan.virtual) for row in job.chunks]
    if job.plan.schedule.folds:  # the second chunks stand in the stages' order from the last one on
        flat = [*flat[: job.plan.pipeline], *flat[job.plan.pipeline :][::-1]]
    names, start = [], 0
    for size in flat:
        names.append([f"layers.{index}" for index in range(start, start + size)])
        start += size
    names[0].insert(0, "tok_embeddings")
    names[-1] += ["norm", head]
    return names


def parallelism(job: ExportJob, head: str) -> dict[str, Any]:
    """Return the fields of the parallelism section, which both versions name alike."""
    plan = job.plan
    found: dict[str, Any] = {
        "data_parallel_replicate_degree": job.replicate,
        "data_parallel_shard_degree": job.shard,
        "fsdp_reshard_after_forward": "always" if plan.zero == 3 else "never",
        "tensor_parallel_degree": plan.tensor,
        "pipeline_parallel_degree": plan.pipeline,
        "context_parallel_degree": plan.context,
        "expert_parallel_degree": plan.expert,
    }
    if plan.pipeline > 1:
        found |= {
            "pipeline_parallel_schedule": schedule_of(job),
            "pipeline_parallel_microbatch_size": plan.micro_batch,
            "module_fqns_per_model_part": module_lists(job, head),
        }
    return found


def training(job: ExportJob) -> dict[str, Any]:
    """Return the batch; with a pipeline all micro-batches go through it, none into accumulation
    (pytorch/torchtitan#1733)."""
    plan = job.plan
    local = plan.global_batch // plan.data if plan.pipeline > 1 else plan.micro_batch
    words = {Format.FP32: "float32"}
    return {
        "local_batch_size": local,
        "global_batch_size": plan.global_batch,
        "seq_len": job.facts.sequence,
        "dtype": "bfloat16" if plan.optimizer is OptimizerKind.ADAMW_BF16 else "float32",
        "mixed_precision_param": words.get(plan.precision, "bfloat16"),
    }


def torchtitan_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return job.py of 0.3.0 with its launchers, and job.toml of 0.2.2."""
    setup = environment(job) + 'export PYTHONPATH="$HERE${PYTHONPATH:+:$PYTHONPATH}"\n'
    files = [
        ExportedFile(name="job.py", text=_job(job)),
        ExportedFile(name="job.toml", text=_toml(job)),
    ]
    if not flavor_of(job.model_sizes):
        files.append(ExportedFile(name="flavor.py", text=_flavor(job)))
    return (*files, *launcher_files(job, "-m torchtitan.train --module job --config job", setup))


def environment(job: ExportJob) -> str:
    """Return the line for CUDA_DEVICE_MAX_CONNECTIONS: FSDP2 beside tensor parallelism wants several queues
    (pytorch/torchtitan#1147)."""
    return "export CUDA_DEVICE_MAX_CONNECTIONS=32\n" if job.plan.tensor > 1 else "unset CUDA_DEVICE_MAX_CONNECTIONS\n"


# Selective recompute of a plan that runs there is by operator (`limits`): 0.3.0 has no other, 0.2.2 an option.
_PYTHON_RECOMPUTE = {
    Recompute.NONE: "None",
    Recompute.SELECTIVE: "SelectiveAC.Config()",
    Recompute.FULL: "FullAC.Config()",
}
_OPTION = {Recompute.SELECTIVE: {"selective_ac_option": "op"}}


def _job(job: ExportJob) -> str:
    """Return the configuration function of 0.3.0."""
    plan, one = job.plan, job.model_sizes
    module = MODULES[one.family]
    sharded = {**parallelism(job, "lm_head"), "enable_sequence_parallel": plan.sequence}
    batch = {**training(job), "disable_cuda_graphs": plan.ways.graphs is Graphs.NONE}
    recompute, some = _PYTHON_RECOMPUTE[plan.recompute], plan.recompute is Recompute.SELECTIVE
    lines = [
        f'"""{headed_by(job, "").strip()}\n"""\n',
        "from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss",
        "from torchtitan.components.optimizer import OptimizersContainer, ParamGroupConfig, default_adamw",
        "from torchtitan.config import CompileConfig, ParallelismConfig, TrainingConfig",
        f"from torchtitan.distributed.activation_checkpoint import {'SelectiveAC' if some else 'FullAC'}",
        "from torchtitan.hf_datasets.text_datasets import HuggingFaceTextDataLoader",
        "from torchtitan.models.common.config_utils import decoder_vocab_size",
        f"from torchtitan.models.{module} import model_registry",
        "from torchtitan.trainer import Trainer",
        *_converter_imports(plan.precision),
        "",
        "",
        *_model(one, _converters(plan.precision), _dispatch(plan)),
        "",
        "",
        "def job() -> Trainer.Config:",
        "    spec = model()",
        "    vocabulary = decoder_vocab_size(spec)",
        "    loss = ChunkedLossWrapper.Config(loss_fn=CrossEntropyLoss.Config(global_vocab_size=vocabulary))",
        "    return Trainer.Config(",
        "        model_spec=spec,",
        "        loss=loss,",
        '        dataloader=HuggingFaceTextDataLoader.Config(dataset="c4_test"),  # yours',
        f"        optimizer={_optimizer(plan.optimizer)},",
        f"        training=TrainingConfig({_arguments(batch)}),",
        f"        parallelism=ParallelismConfig({_arguments(sharded)}),",
        f"        activation_checkpoint={recompute},",
        f"        compile=CompileConfig(enable={_compiled(plan)}, enable_async_tensor_parallel={_beside(plan)}),",
        "    )",
        "",
    ]
    return "\n".join(lines)


def _beside(plan: Plan) -> bool:
    """Return whether tensor-parallel collectives run beside products, which compiled modules alone do."""
    return plan.tensor > 1 and plan.ways.tensor_overlap and _compiled(plan)


def _compiled(plan: Plan) -> bool:
    """Return whether modules are compiled: not where the plan is priced without, nor where backward passes are divided
    (pytorch/pytorch#161904)."""
    return plan.software != TORCHTITAN_EAGER and (not plan.schedule.apart or plan.pipeline == 1)


def _arguments(values: Mapping[str, Any]) -> str:
    return "".join(f"\n            {name}={value!r}," for name, value in values.items()) + "\n        "


def _optimizer(kind: OptimizerKind) -> str:
    if kind is OptimizerKind.MUON:
        return 'OptimizersContainer.Config(param_groups=[ParamGroupConfig(pattern=r".*", optimizer_name="DistMuon")])'
    return "default_adamw(lr=8e-4)"


def _converter_imports(precision: Format) -> Iterator[str]:
    if precision is Format.FP8:
        yield "from torchtitan.components.quantization import Float8LinearConverter"
    elif precision is Format.FP4:
        yield "from torchtitan.components.quantization import NVFP4LinearConverter"


def _converters(precision: Format) -> str:
    if precision is Format.FP8:
        return "[Float8LinearConverter.Config(model_compile_enabled=True)]"
    if precision is Format.FP4:
        return '[NVFP4LinearConverter.Config(fqns=["layers"], model_compile_enabled=True)]'
    return "None"


def _dispatch(plan: Plan) -> str:
    """Return the argument that says how tokens reach experts on other ranks."""
    if plan.expert == 1 or plan.ways.dispatcher is Dispatcher.ALL_TO_ALL:
        return ""
    return f', moe_comm_backend="{plan.ways.dispatcher}"'


def _model(one: Architecture, converters: str, dispatch: str) -> Iterator[str]:
    """Yield the function that makes the model: a registered size, or a Llama of its own."""
    yield "def model():"
    if flavor_of(one):
        yield f'    return model_registry("{flavor_of(one)}", converters={converters}{dispatch})'
        return
    rope = f"ComplexRoPE.Config(dim={one.head_dim}, max_seq_len={one.positions}, theta={one.rope_base:.0f})"
    yield from (
        "    from torchtitan.models import llama3",
        "    from torchtitan.models.llama3 import Embedding, Linear, Llama3Model, RMSNorm, ComplexRoPE",
        "",
        "    def sizes(attn_backend, tp_gemm_backend):",
        "        return Llama3Model.Config(",
        f"            dim={one.hidden}, vocab_size={one.vocab},",
        f"            tok_embeddings=Embedding.Config(num_embeddings={one.vocab}, embedding_dim={one.hidden},",
        "                param_init=llama3._EMBEDDING_INIT),",
        f"            norm=RMSNorm.Config(normalized_shape={one.hidden}, param_init=llama3._NORM_INIT),",
        f"            lm_head=Linear.Config(in_features={one.hidden}, out_features={one.vocab},",
        f"                param_init=llama3._output_linear_init({one.hidden})),",
        f"            layers=llama3._build_llama3_layers(n_layers={one.layers}, dim={one.hidden},",
        f"                n_heads={one.heads}, n_kv_heads={one.kv_heads}, hidden_dim={one.ffn},",
        f"                rope={rope},",
        "                attn_backend=attn_backend, tp_gemm_backend=tp_gemm_backend),",
        "        )",
        "",
        f'    llama3.llama3_configs["{OWN_FLAVOR}"] = sizes',
        f'    return model_registry("{OWN_FLAVOR}", converters={converters})',
    )


def _toml(job: ExportJob) -> str:
    """Return the job of 0.2.2."""
    plan, one = job.plan, job.model_sizes
    own = not flavor_of(one)
    model: dict[str, Any] = {"name": MODULES[one.family], "flavor": flavor_of(one) or OWN_FLAVOR}
    if plan.precision is Format.FP8:
        model["converters"] = ["quantize.linear.float8"]
    sections: dict[str, dict[str, Any]] = {
        "model": model,
        "optimizer": {"name": "AdamW", "lr": 8e-4},
        "training": training(job),
        "parallelism": {
            **parallelism(job, "output"),
            "expert_tensor_parallel_degree": job.expert_tensor,
            "enable_async_tensor_parallel": _beside(plan),
            "expert_parallel_comm_backend": "standard" if not _dispatch(plan) else "deepep",
        },
        "activation_checkpoint": {"mode": str(plan.recompute), **_OPTION.get(plan.recompute, {})},
        "compile": {"enable": _compiled(plan)},
    }
    if own:
        sections["experimental"] = {"custom_import": "flavor"}
    text = headed_by(job) + "# torchrun ... -m torchtitan.train --job.config_file job.toml\n"
    for name, values in sections.items():
        rows = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        text += f"\n[{name}]\n{rows}"
    return text


def _flavor(job: ExportJob) -> str:
    """Return the module that adds a Llama's sizes to 0.2.2; its width of the MLP is rounded up to multiple_of."""
    one = job.model_sizes
    return (
        headed_by(job)
        + "from torchtitan.models.llama3 import TransformerModelArgs, llama3_args\n\n"
        + f'llama3_args["{OWN_FLAVOR}"] = TransformerModelArgs(\n'
        + f"    dim={one.hidden}, n_layers={one.layers}, n_heads={one.heads}, n_kv_heads={one.kv_heads},\n"
        + f"    vocab_size={one.vocab}, norm_eps={one.epsilon:g}, rope_theta={one.rope_base:.0f},\n"
        + f"    multiple_of={one.ffn}, ffn_dim_multiplier={0.5 * one.ffn / (8 * one.hidden / 3):.6g},\n)\n"
    )


def torchtitan_warnings(job: ExportJob) -> Iterator[str]:
    """Yield what torchtitan does otherwise than the plan or the model says."""
    plan, one = job.plan, job.model_sizes
    if plan.zero == 2 and plan.replicas > 1:
        yield "zero: FSDP2 keeps fp32 weights sharded, and scatters gradients after every micro-batch"
    if one.tied and not flavor_of(one):
        yield "tie_word_embeddings: this Llama has a head of its own, which costs its parameters once more"
    if 1 < plan.expert < plan.tensor:
        yield "expert: later versions want it to be at least tensor in mixtures of experts (pytorch/torchtitan#4794)"
    if plan.tensor > 1 and plan.context > 1:
        yield "tensor with context fails on one of its models (pytorch/torchtitan#2446): try a few steps first"
    if not plan.sequence and plan.tensor > 1:
        yield "sequence: job.toml of 0.2.2 always divides sequences beside tensor; job.py of 0.3.0 does not"
    if plan.precision is Format.FP4:
        yield "precision: job.toml of 0.2.2 has no fp4, and runs bf16; job.py of 0.3.0 has"
    if plan.optimizer is OptimizerKind.MUON:
        yield "optimizer: job.toml of 0.2.2 has no Muon, and runs AdamW; job.py of 0.3.0 has"
    if plan.expert > 1 and plan.ways.dispatcher is Dispatcher.HYBRIDEP:
        yield "dispatcher: job.toml of 0.2.2 has DeepEP in place of HybridEP"
    if plan.recompute is Recompute.NONE and not plan.flash:
        yield "flash: attention is FlexAttention, one kernel"
