"""Megatron-Bridge: the fields of its ConfigContainer as YAML (0.3.1); no parser of it runs without CUDA builds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.accelerate import yaml_text
from hardplace.exports.architecture import Positions
from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.exports.launchers import launcher_files
from hardplace.exports.layout import layout_text
from hardplace.exports.limits.megatron import PRECISION_AWARE
from hardplace.exports.megatron import (
    CP_COMM_TYPES,
    attention_backend,
    environment,
    megatron_warnings,
    recomputed_a_chunk,
)
from hardplace.plans.plan import Dimension, Format, OptimizerKind
from hardplace.plans.pricing import recipe_of
from hardplace.workload.types import Recompute

_MIXED = {Format.BF16: "bf16_mixed", Format.FP16: "fp16_mixed", Format.FP4: "bf16_with_nvfp4_mixed"}

_SCALED = {
    Fp8Recipe.DELAYED: "bf16_with_fp8_delayed_scaling_mixed",
    Fp8Recipe.TENSORWISE: "bf16_with_fp8_current_scaling_mixed",
    Fp8Recipe.BLOCKWISE: "bf16_with_fp8_subchannel_scaling_mixed",
    Fp8Recipe.MXFP8: "bf16_with_mxfp8_mixed",
}


def megatron_bridge_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return bridge.yaml, of the fields that a recipe's configuration takes, and the launchers."""
    script = '"${TRAIN:?a script that merges bridge.yaml into its recipe}" --config-file "$HERE/bridge.yaml"'
    text = headed_by(job) + "# Written from its documentation, not parsed.\n" + yaml_text(bridge_config(job))
    return (ExportedFile(name="bridge.yaml", text=text), *launcher_files(job, script, environment(job)))


def bridge_config(job: ExportJob) -> dict[str, Any]:
    """Return the configuration by its sections."""
    plan = job.plan
    sharded = plan.zero > 1
    moments = {OptimizerKind.ADAMW_8BIT: "fp8", OptimizerKind.ADAMW_BF16_MOMENTS: "bf16"}.get(plan.optimizer, "")
    words = {0: "no_shard", 1: "no_shard", 2: "optim_grads", 3: "optim_grads_params"}
    return {
        "model": {**_sizes(job), **_parallel(job)},
        "train": {"global_batch_size": plan.global_batch, "micro_batch_size": plan.micro_batch},
        "dataset": {"sequence_length": job.facts.sequence},
        "optimizer": {
            "optimizer": {OptimizerKind.SGD: "sgd", OptimizerKind.MUON: "muon"}.get(plan.optimizer, "adam"),
            "use_distributed_optimizer": plan.zero > 0,
            "optimizer_cpu_offload": plan.offload,
            "use_precision_aware_optimizer": plan.offload or plan.optimizer in PRECISION_AWARE,
            **({"exp_avg_dtype": moments, "exp_avg_sq_dtype": moments} if moments == "bf16" else {}),
        },
        "ddp": {
            "use_distributed_optimizer": plan.zero > 0,
            "overlap_grad_reduce": plan.overlap and plan.replicas > 1,
            "overlap_param_gather": plan.overlap and plan.zero > 0 and plan.replicas > 1,
            "grad_reduce_in_fp32": plan.gradient != "bf16",
            "use_megatron_fsdp": sharded,
            "data_parallel_sharding_strategy": words[plan.zero],
            "num_distributed_optimizer_instances": plan.replicas // plan.sharded_over if plan.zero else 1,
        },
        "mixed_precision": _mixed(job),
        "comm_overlap": {"tp_comm_overlap": plan.ways.tensor_overlap and plan.tensor > 1},
        "dist": {"use_tp_pp_dp_mapping": plan.order.index(Dimension.PIPELINE) < plan.order.index(Dimension.DATA)},
    }


def _mixed(job: ExportJob) -> str:
    if job.plan.precision is Format.FP8:
        return _SCALED[recipe_of(job.device, job.plan) or Fp8Recipe.TENSORWISE]
    return _MIXED.get(job.plan.precision, "fp32")


def _sizes(job: ExportJob) -> dict[str, Any]:
    one = job.model_sizes
    found: dict[str, Any] = {
        "num_layers": one.layers,
        "hidden_size": one.hidden,
        "ffn_hidden_size": one.ffn,
        "num_attention_heads": one.heads,
        "num_query_groups": one.kv_heads,
        "kv_channels": one.head_dim,
        "seq_length": job.facts.sequence,
        "vocab_size": one.vocab,
        "normalization": "RMSNorm" if one.rms_norm else "LayerNorm",
        "layernorm_epsilon": one.epsilon,
        "gated_linear_unit": one.gated,
        "add_bias_linear": one.bias,
        "add_qkv_bias": one.qkv_bias,
        "qk_layernorm": one.qk_norm,
        "position_embedding_type": "rope" if one.position_kind is Positions.ROTARY else "learned_absolute",
        "share_embeddings_and_output_weights": one.tied,
    }
    if one.position_kind is Positions.ROTARY:
        found["rotary_base"] = one.rope_base
    if one.experts:
        found |= {
            "num_moe_experts": one.experts.count,
            "moe_router_topk": one.experts.chosen,
            "moe_ffn_hidden_size": one.experts.ffn,
        }
        dispatcher = job.plan.ways.dispatcher
        if dispatcher is Dispatcher.ALL_TO_ALL:
            found["moe_token_dispatcher_type"] = "alltoall"
        else:
            found |= {"moe_token_dispatcher_type": "flex", "moe_flex_dispatcher_backend": str(dispatcher)}
        if job.plan.ways.expert_overlap and job.plan.expert > 1:
            found["overlap_moe_expert_parallel_comm"] = True
        if one.experts.shared_ffn:
            found["moe_shared_expert_intermediate_size"] = one.experts.shared_ffn
        if one.experts.dense_layers:
            dense = one.experts.dense_layers
            found["moe_layer_freq"] = [0] * dense + [1] * (one.layers - dense)
    return found


def _parallel(job: ExportJob) -> dict[str, Any]:
    plan = job.plan
    found: dict[str, Any] = {
        "tensor_model_parallel_size": plan.tensor,
        "pipeline_model_parallel_size": plan.pipeline,
        "context_parallel_size": plan.context,
        "sequence_parallel": plan.sequence,
        "expert_model_parallel_size": plan.expert,
        "expert_tensor_parallel_size": job.expert_tensor,
        "attention_backend": attention_backend(plan),
    }
    if plan.context > 1:
        found["cp_comm_type"] = CP_COMM_TYPES[plan.context_exchange]
    if plan.pipeline > 1:
        found["pipeline_model_parallel_layout"] = layout_text(job.chunks)
        if plan.virtual > 1:
            found["virtual_pipeline_model_parallel_size"] = plan.virtual
    if plan.loss_in_one:
        found["cross_entropy_loss_fusion"] = True
    match plan.ways.graphs:
        case Graphs.PARTIAL:
            scope = ["attn", "moe_router"] if job.facts.experts > 1 else ["attn"]
            found |= {"cuda_graph_impl": "transformer_engine", "cuda_graph_scope": scope}
        case Graphs.LAYER:
            found["cuda_graph_impl"] = "transformer_engine"
        case Graphs.FULL:
            found |= {"cuda_graph_impl": "local", "cuda_graph_scope": ["full_iteration"]}
    if plan.offload_layers:
        found |= {"cpu_offloading": True, "cpu_offloading_num_layers": plan.offload_layers}
    if plan.recompute is Recompute.SELECTIVE:
        found |= {
            "recompute_granularity": "selective",
            "recompute_modules": list(plan.recompute_modules) or ["core_attn"],
        }
    elif plan.recompute is Recompute.FULL and plan.recompute_layers:
        count = recomputed_a_chunk(job)
        found |= {"recompute_granularity": "full", "recompute_method": "block", "recompute_num_layers": count}
    elif plan.recompute is Recompute.FULL:
        found |= {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    return found


def bridge_warnings(job: ExportJob) -> Iterator[str]:
    """Yield Megatron-LM's warnings, and those of Megatron-Bridge."""
    yield from megatron_warnings(job)
    if job.plan.precision is Format.FP8:
        recipe, gathers = recipe_of(job.device, job.plan), str(job.plan.fp8_gather).lower()
        if job.plan.fp8_gather is (recipe is Fp8Recipe.BLOCKWISE):
            yield f"fp8_gather: {gathers}: {_mixed(job)} does not: set mixed_precision.fp8_param_gather {gathers}"
        if recipe is Fp8Recipe.TENSORWISE:
            yield (
                f"fp8_recipe: {recipe}: {_mixed(job)} keeps the first and the last layer in bf16: set "
                "mixed_precision.first_last_layers_bf16 false, as predicted"
            )
    if job.plan.pipeline > 1:
        yield "layout: a checkpoint does not restore it (NVIDIA-NeMo/Megatron-Bridge#1880): give it again on restart"
