"""DeepSpeed: its JSON configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardplace.cost.layers.software import Dispatcher
from hardplace.errors import BadInput
from hardplace.exports.importers.found import Answers, ImportedPlan, asked, count, plan_of
from hardplace.files import read_json
from hardplace.plans.plan import ContextExchange, Format, OptimizerKind

_BESIDE = {
    "gradient_clipping", "scheduler", "steps_per_print", "wall_clock_breakdown", "dump_state", "tensorboard", "wandb",
    "csv_monitor", "comms_logger", "flops_profiler", "checkpoint", "zero_allow_untested_optimizer",
    "prescale_gradients", "gradient_predivide_factor", "communication_data_type", "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps", "zero_optimization", "bf16", "bfloat16", "fp16", "optimizer", "data_types",
    "tensor_parallel", "expert_parallel", "sequence_parallel_size", "zero_force_ds_cpu_optimizer",
}  # fmt: skip
_CHANGES = {
    "amp": "another mixed precision: other time and memory",
    "sparse_attention": "sparse attention: less time a step",
    "activation_checkpointing": "how the script's checkpoints are kept: other memory",
    "compression_training": "compressed layers: other time a step",
    "pipeline": "a pipeline of the model's code, which the file does not describe",
}
_OPTIMIZERS = {
    "adam": OptimizerKind.ADAMW,
    "adamw": OptimizerKind.ADAMW,
    "fusedadam": OptimizerKind.ADAMW,
    "sgd": OptimizerKind.SGD,
    "muon": OptimizerKind.MUON,
    "onebitadam": OptimizerKind.ADAMW,
}


def from_deepspeed(path: Path, answers: Answers) -> ImportedPlan:
    """Return the plan of a configuration; BadInput, one line, for values that make none and for what it leaves open."""
    place, found = str(path), read_json(path)
    if not isinstance(found, dict):
        raise BadInput(f"{place}: expected an object, the configuration of DeepSpeed")
    zero = _part(found, "zero_optimization", place)
    tensor = count(place, "autotp_size", _part(found, "tensor_parallel", place).get("autotp_size", 1) or 1)
    context = count(place, "sequence_parallel_size", found.get("sequence_parallel_size", 1))
    micro, total, data = _batch(found, place, answers, tensor * context)
    stage = count(place, "zero_optimization.stage", zero.get("stage", 0), 0)
    offload = zero.get("offload_optimizer")
    experts = _part(found, "expert_parallel", place)
    fields: dict[str, Any] = {
        "tensor": tensor,
        "context": context,
        "context_exchange": ContextExchange.ALL_TO_ALL if context > 1 else ContextExchange.ALL_GATHER,
        "data": data,
        "micro_batch": micro,
        "global_batch": total,
        "zero": stage,
        "overlap": bool(zero.get("overlap_comm", stage == 3)),
        "expert": count(place, "autoep_size", experts.get("autoep_size", 1)) if experts.get("enabled") else 1,
        "dispatcher": Dispatcher.DEEPEP if experts.get("comm_backend") == "deepep" else None,
        "tensor_overlap": True if _part(found, "tensor_parallel", place).get("tp_overlap_comm") else None,
        "offload": isinstance(offload, dict) and offload.get("device") == "cpu",
        **_numerics(found, place),
    }
    hpz = count(place, "zero_hpz_partition_size", zero.get("zero_hpz_partition_size", 1))
    if stage == 3 and hpz > 1:
        fields["shard"] = hpz
    notes = [f"{name}: {_CHANGES[name]}" for name in found if name in _CHANGES]
    unread = (name for name in found if name not in _BESIDE and name not in _CHANGES)
    notes += [f"{name}: not known here; DeepSpeed ignores sections that it does not know" for name in unread]
    if isinstance(zero.get("offload_param"), dict):
        notes.append(
            "zero_optimization.offload_param: weights move to the host, a plan's do not: less memory, more time"
        )
    if "overlap_comm" not in zero and stage in (1, 2):
        notes.append("zero_optimization.overlap_comm: off unless it is said")
    return ImportedPlan(plan=plan_of(place, fields), notes=tuple(notes))


def _part(found: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    part = found.get(name, {})
    if not isinstance(part, dict):
        raise BadInput(f"{place}: {name}: {part!r}: expected an object")
    return part


def _batch(found: Mapping[str, Any], place: str, answers: Answers, inside: int) -> tuple[int, int, int]:
    """Return samples of a micro-batch, samples a step and replicas: global = micro x steps x replicas,
    of which the file and the answers say enough; inside: devices of a replica."""

    def said(name: str, other: int | None) -> int | None:
        value = found.get(name)
        if value in (None, "auto"):
            return other
        return count(place, name, value)

    micro = said("train_micro_batch_size_per_gpu", answers.micro_batch)
    total, steps = said("train_batch_size", answers.batch), said("gradient_accumulation_steps", None)
    data = answers.devices // inside if answers.devices else None
    if data is None and micro and total and steps:
        data = total // (micro * steps)
    data = asked(place, "the number of devices", data, "devices")
    micro = asked(place, "train_micro_batch_size_per_gpu", micro, "micro_batch")
    if total is None:
        total = micro * (steps or 1) * data
    steps = steps or total // (micro * data)
    if micro * steps * data != total:
        raise BadInput(
            f"{place}: train_batch_size: {total}: expected micro-batch x accumulation x replicas, "
            f"{micro} x {steps} x {data}"
        )
    return micro, total, data


def _numerics(found: Mapping[str, Any], place: str) -> dict[str, Any]:
    short = _part(found, "bf16", place) or _part(found, "bfloat16", place)
    half = _part(found, "fp16", place)
    precision = Format.BF16 if short.get("enabled") else Format.FP16 if half.get("enabled") else Format.FP32
    optimizer = _part(found, "optimizer", place).get("type", "AdamW")
    kind = _OPTIMIZERS.get(str(optimizer).lower())
    if kind is None:
        raise BadInput(f"{place}: optimizer.type: {optimizer!r}: expected AdamW, SGD or Muon, which a plan has")
    if short.get("bf16_optimizer_states"):
        kind = OptimizerKind.ADAMW_BF16
    sums = _part(found, "data_types", place).get("grad_accum_dtype")
    gradient = "bf16" if sums in ("bf16", "fp16") else "bf16+fp32"
    return {"precision": precision, "optimizer": kind, "gradient": gradient if precision is not Format.FP32 else "fp32"}
