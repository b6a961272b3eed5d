"""Accelerate: its configuration file, of FSDP2 or plain data parallelism."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput
from hardplace.exports.importers.found import Answers, ImportedPlan, asked, count, divided, plan_of
from hardplace.files import read_text
from hardplace.plans.plan import ContextExchange, Format
from hardplace.workload.types import Recompute

_PRECISION = {"bf16": Format.BF16, "fp16": Format.FP16, "fp8": Format.FP8, "no": Format.FP32}
_CHANGES = {
    "fsdp_offload_params": "weights, gradients and states move to the host: less memory, more time",
    "fsdp_backward_prefetch": "when weights are gathered: other time a step",
    "fsdp_cpu_ram_efficient_loading": "",
    "fsdp_auto_wrap_policy": "",
    "fsdp_state_dict_type": "",
    "fsdp_transformer_layer_cls_to_wrap": "",
    "fsdp_version": "",
    "fsdp_reshard_after_forward": "",
    "fsdp_activation_checkpointing": "",
    "fsdp_sharding_strategy": "",
    "fsdp_use_orig_params": "",
    "fsdp_sync_module_states": "",
    "fsdp_forward_prefetch": "when weights are gathered: other time a step",
}


def from_accelerate(path: Path, answers: Answers) -> ImportedPlan:
    """Return the plan of a configuration file, the batch, which the script sets, among the answers; BadInput, one line,
    for values that make none, and for what it leaves open."""
    place, found = str(path), _yaml(path)
    kind = str(found.get("distributed_type", ""))
    if kind not in ("FSDP", "MULTI_GPU", "NO"):
        raise BadInput(f"{place}: distributed_type: {kind!r}: expected FSDP or MULTI_GPU (of DEEPSPEED: its own file)")
    devices = answers.devices or count(place, "num_processes", found.get("num_processes", ""))
    sizes = _part(found, "parallelism_config", place)

    def size(name: str, default: int = 1) -> int:
        return count(place, f"parallelism_config_{name}_size", sizes.get(f"parallelism_config_{name}_size", default))

    tensor, context, replicate = size("tp"), size("cp"), size("dp_replicate")
    data = divided(place, devices, {"tensor": tensor, "context": context})
    shard = size("dp_shard", data // replicate) if kind == "FSDP" else 1
    if shard * replicate not in (data, 1):
        raise BadInput(
            f"{place}: dp_shard x dp_replicate: {shard} x {replicate}: expected {data}, what is left of devices"
        )
    fsdp = _part(found, "fsdp_config", place)
    sharded = shard * context
    reshard = str(fsdp.get("fsdp_reshard_after_forward", "true")).lower() in ("true", "full_shard", "1")
    word = str(found.get("mixed_precision", "no"))
    if word not in _PRECISION:
        raise BadInput(f"{place}: mixed_precision: {word!r}: expected one of {', '.join(_PRECISION)}")
    again = str(fsdp.get("fsdp_activation_checkpointing", "false")).lower() == "true"
    fields: dict[str, Any] = {
        "tensor": tensor,
        "context": context,
        "data": data,
        "micro_batch": asked(place, "samples of a micro-batch", answers.micro_batch, "micro_batch"),
        "global_batch": asked(place, "samples a step", answers.batch, "batch"),
        "zero": (3 if reshard else 2) if kind == "FSDP" and sharded > 1 else 0,
        "shard": sharded if kind == "FSDP" and sharded > 1 and replicate > 1 else 0,
        "precision": _PRECISION[word],
        "gradient": "bf16" if kind == "FSDP" and word == "bf16" else "fp32",
        "recompute": Recompute.FULL if again else Recompute.NONE,
    }
    if context > 1:
        ring = sizes.get("parallelism_config_cp_comm_strategy") == "alltoall"
        fields["context_exchange"] = ContextExchange.RING if ring else ContextExchange.ALL_GATHER
    notes = [f"{name}: {_CHANGES[name]}" for name in fsdp if _CHANGES.get(name) and str(fsdp[name]).lower() != "false"]
    notes += [f"{name}: not known here; Accelerate ignores it too" for name in fsdp if name not in _CHANGES]
    if fields["gradient"] == "bf16":
        notes.append("mixed_precision: gradients are reduced in bf16 unless the script's plugin says another type")
    notes.append("optimizer: the script's own; taken as AdamW with fp32 states")
    return ImportedPlan(plan=plan_of(place, fields), notes=tuple(notes))


def _part(found: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    part = found.get(name) or {}
    if not isinstance(part, dict):
        raise BadInput(f"{place}: {name}: {part!r}: expected a table")
    return part


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as problem:
        raise BadInput(f"{path}: expected YAML: {' '.join(str(problem).split())}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: expected a table, the configuration of Accelerate")
    return found
