"""MaxText: overrides of its base.yml, for TPUs and GPUs (0.2.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hardplace.exports.accelerate import yaml_text
from hardplace.exports.architecture import Architecture
from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind
from hardplace.workload.types import Recompute

BLOCKS = {
    "llama": "llama2",
    "mistral": "mistral",
    "mixtral": "mixtral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3_moe",
    "deepseek_v3": "deepseek",
    "gpt2": "gpt3",
}


def maxtext_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return maxtext.yml and launch.sh, which runs on every host."""
    launch = f"""#!/usr/bin/env bash
{headed_by(job)}# On every host of the {job.plan.devices} devices.
set -euo pipefail
HERE="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
exec python3 -m maxtext.trainers.pre_train.train "$HERE/maxtext.yml" "run_name=${{RUN:?a name}}" \\
  "base_output_directory=${{OUT:?a folder or bucket}}" "$@"
"""
    return (
        ExportedFile(name="maxtext.yml", text=headed_by(job) + yaml_text(maxtext_config(job))),
        ExportedFile(name="launch.sh", text=launch),
    )


def maxtext_config(job: ExportJob) -> dict[str, Any]:
    """Return the overrides."""
    plan, one = job.plan, job.model_sizes
    tensor = "ici_tensor_sequence_parallelism" if plan.sequence else "ici_tensor_parallelism"
    fsdp = job.shard if plan.zero == 3 else 1
    found: dict[str, Any] = {
        "base_config": "base.yml",
        "hardware": "tpu" if job.device.vendor == "Google" else "gpu",
        **_sizes(one),
        "max_target_length": job.facts.sequence,
        tensor: plan.tensor,
        "ici_context_parallelism": plan.context,
        "ici_fsdp_parallelism": fsdp,
        "ici_data_parallelism": 1,
        "dcn_data_parallelism": 1,
        "ici_expert_parallelism": 1,
        "ici_pipeline_parallelism": plan.pipeline,
        "shard_optimizer_over_data": plan.zero == 1 and plan.data > 1,
    }
    found |= _expert_axis(job, fsdp)
    if plan.context > 1:
        ring = plan.context_exchange is ContextExchange.RING
        found["context_parallel_strategy"] = "ring" if ring else "all_gather"
        if ring and job.device.vendor == "Google":
            found["use_tokamax_splash"] = True
    if plan.pipeline > 1:
        found |= {
            "per_device_batch_size": plan.global_batch / plan.devices,
            "num_layers_per_pipeline_stage": job.chunks[0][0],
            "num_pipeline_repeats": plan.virtual,
            "num_pipeline_microbatches": plan.micro_batches,
        }
    else:
        found |= {
            "per_device_batch_size": plan.micro_batch * plan.data / plan.devices,
            "gradient_accumulation_steps": plan.micro_batches,
        }
    pure = plan.optimizer is OptimizerKind.ADAMW_BF16
    found |= {
        "remat_policy": "full" if plan.recompute is Recompute.FULL else "minimal_with_context",
        "dtype": "float32" if plan.precision is Format.FP32 else "bfloat16",
        "weight_dtype": "bfloat16" if pure else "float32",
        "grad_dtype": "bfloat16" if plan.gradient == "bf16" else "float32",
        "opt_type": {OptimizerKind.SGD: "sgd", OptimizerKind.MUON: "muon"}.get(plan.optimizer, "adamw"),
        "optimizer_memory_host_offload": plan.offload,
        "attention": "flash" if plan.flash else "dot_product",
        "dataset_type": "synthetic",
        "steps": 10,
    }
    if pure:
        found["mu_dtype"] = "bfloat16"
    if plan.precision is Format.FP8:
        found["quantization"] = "fp8"
    return found


def _expert_axis(job: ExportJob, fsdp: int) -> dict[str, Any]:
    """Return the sizes of the axes of experts and of replicas: the former is one of its own beside the latter."""
    plan = job.plan
    data = plan.data // fsdp
    if plan.expert == 1:
        return {"ici_data_parallelism": data}
    beside = min(plan.expert, data * fsdp)
    if data % beside == 0:
        return {"ici_expert_parallelism": beside, "ici_data_parallelism": data // beside}
    return {
        "ici_expert_parallelism": beside,
        "ici_fsdp_parallelism": max(1, data * fsdp // beside),
        "ici_data_parallelism": 1,
    }


def _sizes(one: Architecture) -> dict[str, Any]:
    found: dict[str, Any] = {
        "decoder_block": BLOCKS[one.family],
        "base_emb_dim": one.hidden,
        "base_num_query_heads": one.heads,
        "base_num_kv_heads": one.kv_heads,
        "base_mlp_dim": one.experts.ffn if one.experts and not one.experts.dense_layers else one.ffn,
        "base_num_decoder_layers": one.layers,
        "head_dim": one.head_dim,
        "vocab_size": one.vocab,
        "mlp_activations": [one.activation, "linear"] if one.gated else ["gelu"],
        "logits_via_embedding": one.tied,
        "normalization_layer_epsilon": one.epsilon,
        "enable_dropout": False,
    }
    if one.qk_norm:
        found["use_qk_norm"] = True
    if one.family == "gpt2":
        found["trainable_position_size"] = one.positions
    else:
        found["rope_max_timescale"] = round(one.rope_base)
    if one.experts:
        found |= {
            "num_experts": one.experts.count,
            "num_experts_per_tok": one.experts.chosen,
            "base_moe_mlp_dim": one.experts.ffn,
        }
        if one.experts.dense_layers:
            found["first_num_dense_layers"] = one.experts.dense_layers
            found["shared_experts"] = one.experts.shared_ffn // one.experts.ffn
    if one.latent:
        found |= {
            "attention_type": "mla",
            "q_lora_rank": one.latent.query,
            "kv_lora_rank": one.latent.key_value,
            "qk_nope_head_dim": one.latent.nope,
            "qk_rope_head_dim": one.latent.rope,
            "v_head_dim": one.latent.value,
        }
    return found


def maxtext_warnings(job: ExportJob) -> Iterator[str]:
    """Yield what MaxText does otherwise than the plan or the model says."""
    plan = job.plan
    if plan.recompute is Recompute.NONE:
        yield "recompute: the policy that keeps most (minimal_with_context) still makes norms and activations again"
    if plan.pipeline > 1:
        yield "pipeline: an SPMD pipeline: all micro-batches go forward before any comes back"
    if plan.expert > 1:
        yield "expert: an axis of its own there: weights of dense layers are not sharded over it"
    if plan.context > 1:
        yield "context: weights are not sharded over it there, so their memory is context times what is predicted"
