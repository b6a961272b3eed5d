"""DeepSpeed: the JSON configuration of a training script (0.19.8)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hardplace.cost.layers.software import Dispatcher
from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.exports.launchers import launcher_files
from hardplace.plans.plan import Format, OptimizerKind
from hardplace.workload.types import Recompute

# Expert presets of AutoEP by the model's family.
PRESETS = {"mixtral": "mixtral", "qwen3_moe": "qwen3_moe", "deepseek_v3": "deepseek_v3"}


def deepspeed_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return ds_config.json, which has no comments of its own, the same comments beside it, and the launchers."""
    text = json.dumps(deepspeed_config(job), indent=2) + "\n"
    script = '"${TRAIN:?your training script}" --deepspeed --deepspeed_config "$HERE/ds_config.json"'
    notes = headed_by(job) + "# The plan of ds_config.json beside this file, which takes no comments.\n"
    return (
        ExportedFile(name="ds_config.json", text=text),
        ExportedFile(name="ds_config.notes", text=notes),
        *launcher_files(job, script),
    )


def deepspeed_config(job: ExportJob) -> dict[str, Any]:
    """Return the configuration; all three numbers of the batch are written (deepspeedai/DeepSpeed#743)."""
    plan = job.plan
    zero: dict[str, Any] = {"stage": plan.zero, "overlap_comm": plan.overlap}
    if plan.zero == 3 and plan.shard:
        zero["zero_hpz_partition_size"] = plan.shard
    if plan.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    found: dict[str, Any] = {
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.micro_batches,
        "zero_optimization": zero,
        "gradient_clipping": 1.0,
    }
    if plan.precision is Format.BF16:
        found["bf16"] = {"enabled": True}
        if plan.optimizer is OptimizerKind.ADAMW_BF16:
            found["bf16"] |= {"bf16_master_weights_and_grads": True, "bf16_optimizer_states": True}
    elif plan.precision is Format.FP16:
        found["fp16"] = {"enabled": True}
    if plan.precision is not Format.FP32:
        found["data_types"] = {"grad_accum_dtype": "bf16" if plan.gradient == "bf16" else "fp32"}
    found["optimizer"] = {"type": _OPTIMIZERS[plan.optimizer], "params": {"lr": 1e-4}}
    if plan.tensor > 1:
        found["tensor_parallel"] = {"autotp_size": plan.tensor, "tp_overlap_comm": plan.ways.tensor_overlap}
    if plan.exchanges_heads:
        found["sequence_parallel_size"] = plan.context
    if plan.expert > 1:
        found["expert_parallel"] = {"enabled": True, "autoep_size": plan.expert}
        if plan.ways.dispatcher is Dispatcher.DEEPEP:
            found["expert_parallel"]["comm_backend"] = "deepep"
        if job.architecture is not None and job.architecture.family in PRESETS:
            found["expert_parallel"]["preset_model"] = PRESETS[job.architecture.family]
    return found


_OPTIMIZERS = {
    OptimizerKind.ADAMW: "AdamW",
    OptimizerKind.ADAMW_BF16: "AdamW",
    OptimizerKind.SGD: "SGD",
    OptimizerKind.MUON: "Muon",
}


def deepspeed_warnings(job: ExportJob) -> Iterator[str]:
    """Yield what the configuration leaves to the training script, and what DeepSpeed does otherwise."""
    plan = job.plan
    if plan.recompute is Recompute.FULL:
        yield "recompute: in your script: model.gradient_checkpointing_enable()"
    attention = "flash_attention_2" if plan.flash else "eager"
    yield f'flash: in your script: attn_implementation="{attention}"'
    if plan.exchanges_heads:
        yield (
            "context_exchange: in your script: UlyssesSPAttentionHF.register_with_transformers, its mpu given to "
            "deepspeed.initialize, UlyssesSPDataLoaderAdapter around the loader"
        )
    if plan.zero == 3 and plan.shard:
        yield (
            "shard: the second partition (hpZ) is of weights; states stay sharded over all replicas, so memory is less "
            "than predicted, and the loss was off or diverged in deepspeedai/DeepSpeed#4851 and #7164"
        )
    if plan.optimizer is OptimizerKind.SGD:
        yield 'optimizer: SGD runs untested beside ZeRO: add "zero_allow_untested_optimizer": true'
