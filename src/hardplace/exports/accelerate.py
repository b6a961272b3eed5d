"""Accelerate with FSDP2: its configuration file, and the part of the training script that it leaves open (1.15.0)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.exports.launchers import PORT
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind
from hardplace.workload.types import Recompute

_PRECISION = {Format.BF16: "bf16", Format.FP16: "fp16", Format.FP8: "fp8", Format.FP32: "no"}


def accelerate_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return accelerate.yaml, setup.py for the training script, and launch.sh."""
    each = min(job.node_devices, job.plan.devices)
    launch = f"""#!/usr/bin/env bash
{headed_by(job)}# One node: bash launch.sh. Several: on each, with HEAD=the first's name and NODE_RANK=0, 1, ...
set -euo pipefail
HERE="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
{"export CUDA_DEVICE_MAX_CONNECTIONS=32" if job.plan.tensor > 1 else "unset CUDA_DEVICE_MAX_CONNECTIONS"}
exec accelerate launch --config_file "$HERE/accelerate.yaml" --num_machines {job.nodes} \\
  --num_processes {each * job.nodes} --machine_rank "${{NODE_RANK:-0}}" \\
  --main_process_ip "${{HEAD:-localhost}}" --main_process_port "${{PORT:-{PORT}}}" \\
  "${{TRAIN:?your training script}}" "$@"
"""
    return (
        ExportedFile(name="accelerate.yaml", text=headed_by(job) + yaml_text(accelerate_config(job))),
        ExportedFile(name="accelerate_setup.py", text=_setup(job)),
        ExportedFile(name="launch.sh", text=launch),
    )


def yaml_text(values: Mapping[str, Any], indent: str = "") -> str:
    """Return a table of tables and plain values as YAML; plain values as JSON has them, which YAML reads."""
    text = ""
    for name, value in values.items():
        if isinstance(value, Mapping):
            text += f"{indent}{name}:\n{yaml_text(value, indent + '  ')}"
        else:
            text += f"{indent}{name}: {json.dumps(value)}\n"
    return text


def accelerate_config(job: ExportJob) -> dict[str, Any]:
    """Return the fields of the configuration file."""
    plan = job.plan
    sharded = _sharded(job)
    found: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP" if sharded else "MULTI_GPU",
        "mixed_precision": _PRECISION[plan.precision],
        "num_machines": job.nodes,
        "num_processes": plan.devices,
        "machine_rank": 0,
        "main_training_function": "main",
        "use_cpu": False,
    }
    if sharded:
        found["fsdp_config"] = {
            "fsdp_version": 2,
            "fsdp_reshard_after_forward": plan.zero == 3,
            "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "fsdp_offload_params": False,
            # The model's own checkpointing holds less: this wraps sub-modules (huggingface/accelerate#3897).
            "fsdp_activation_checkpointing": False,
            "fsdp_state_dict_type": "SHARDED_STATE_DICT",
        }
        sizes: dict[str, Any] = {
            "parallelism_config_dp_replicate_size": job.replicate,
            "parallelism_config_dp_shard_size": job.shard,
            "parallelism_config_tp_size": plan.tensor,
            "parallelism_config_cp_size": plan.context,
        }
        if plan.context > 1:
            ring = plan.context_exchange is ContextExchange.RING
            sizes["parallelism_config_cp_comm_strategy"] = "alltoall" if ring else "allgather"
        found["parallelism_config"] = sizes
    if plan.precision is Format.FP8:
        found["fp8_config"] = {"backend": "AO"}
    return found


def _sharded(job: ExportJob) -> bool:
    """Return whether FSDP2 runs: what shards states, and any division within a layer, goes with it alone."""
    plan = job.plan
    return (plan.zero > 0 and plan.replicas > 1) or plan.tensor > 1 or plan.context > 1


def _setup(job: ExportJob) -> str:
    """Return what the training script must say itself: micro-batches, types of gradients, recompute."""
    plan = job.plan
    reduce = "bfloat16" if plan.gradient == "bf16" else "float32"
    param = {Format.FP16: "float16", Format.FP32: "float32"}.get(plan.precision, "bfloat16")
    policy = ""
    if _sharded(job):
        policy = f"""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, reshard_after_forward={plan.zero == 3}, auto_wrap_policy="transformer_based_wrap",
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=torch.{param}, reduce_dtype=torch.{reduce}),
    )"""
    return f'''"""{headed_by(job, "").strip()}

Call accelerator() in your training script: micro-batches of {plan.micro_batch} samples, {plan.micro_batches} a step.
"""

import accelerate
import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, GradientAccumulationPlugin
from packaging.version import Version
from torch.distributed.fsdp import MixedPrecisionPolicy

assert Version(accelerate.__version__) >= Version("1.14"), "1.13 keeps no fp32 weights under FSDP2 (#3979)"
MICRO_BATCH, MICRO_BATCHES = {plan.micro_batch}, {plan.micro_batches}
GRADIENT_CHECKPOINTING = {plan.recompute is Recompute.FULL}  # model.gradient_checkpointing_enable()
ATTENTION = "{"flash_attention_2" if plan.flash else "eager"}"  # attn_implementation of the model


def accelerator() -> Accelerator:
    # Without synchronising each micro-batch whole gradients stay on each device (huggingface/transformers#29425).
    steps = GradientAccumulationPlugin(num_steps=MICRO_BATCHES, sync_each_batch={plan.zero >= 2}){policy}
    return Accelerator(gradient_accumulation_plugin=steps{", fsdp_plugin=plugin" if policy else ""})
'''


def accelerate_warnings(job: ExportJob) -> Iterator[str]:
    """Yield what the file leaves to the training script, and what Accelerate does otherwise."""
    plan = job.plan
    yield "batch, accumulation and the types of gradients are the script's: accelerate_setup.py has them"
    if plan.recompute is Recompute.FULL:
        yield (
            "recompute: model.gradient_checkpointing_enable() in the script; fsdp_activation_checkpointing wraps "
            "sub-modules and holds far more (huggingface/accelerate#3897)"
        )
    if plan.optimizer is not OptimizerKind.ADAMW:
        yield f"optimizer: {plan.optimizer}: yours to make in the script"
    if plan.zero == 2 and plan.replicas > 1:
        yield "zero: FSDP2 keeps fp32 weights sharded, and scatters gradients after every micro-batch"
