"""torchtitan: job.toml (0.2), or the calls with plain values of a configuration function in Python (0.3), never run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardplace.cost.layers.software import Dispatcher
from hardplace.errors import BadInput
from hardplace.exports.importers.found import Answers, ImportedPlan, asked, count, divided, plan_of
from hardplace.files import read_text, read_toml
from hardplace.plans.plan import Format, OptimizerKind, PipelineSchedule
from hardplace.plans.stage_sizes import folded_layers
from hardplace.workload.types import Recompute

_SCHEDULES = {
    "1F1B": PipelineSchedule.ONE_F_ONE_B,
    "GPipe": PipelineSchedule.GPIPE,
    "Interleaved1F1B": PipelineSchedule.ONE_F_ONE_B,
    "InterleavedZeroBubble": PipelineSchedule.ZERO_BUBBLE,
    "ZBVZeroBubble": PipelineSchedule.ZB_V,
    "DualPipeV": PipelineSchedule.DUALPIPE_V,
}
_READ = {
    "data_parallel_replicate_degree", "data_parallel_shard_degree", "fsdp_reshard_after_forward",
    "tensor_parallel_degree", "enable_sequence_parallel", "pipeline_parallel_degree", "module_fqns_per_model_part",
    "pipeline_parallel_schedule", "pipeline_parallel_microbatch_size", "context_parallel_degree",
    "expert_parallel_degree", "expert_tensor_parallel_degree", "context_parallel_rotate_method",
    "expert_parallel_comm_backend", "enable_async_tensor_parallel",
}  # fmt: skip
_CHANGES = {
    "disable_loss_parallel": "whole logits on each rank: more memory",
    "context_parallel_load_balancer": "how a causal mask's work is spread: other time a step",
    "pipeline_parallel_expert_parallel_overlap": "expert exchange hides: less time a step",
}


def from_torchtitan(path: Path, answers: Answers) -> ImportedPlan:
    """Return the plan of a job; BadInput, one line, for values that make none, and for what it leaves open."""
    place = str(path)
    python = path.suffix == ".py"
    sections: Mapping[str, Any] = _calls(path) if python else read_toml(path)
    one, batch = _table(sections, "parallelism", place), _table(sections, "training", place)

    def number(name: str, default: int = 1, least: int = 1) -> int:
        return count(place, name, one.get(name, default), least)

    tensor, context, pipeline = (number(f"{name}_parallel_degree") for name in ("tensor", "context", "pipeline"))
    replicate, shard = number("data_parallel_replicate_degree"), number("data_parallel_shard_degree", -1, -1)
    if shard == -1:
        devices = asked(place, "data_parallel_shard_degree", answers.devices, "devices")
        shard = divided(
            place, devices, {"tensor": tensor, "context": context, "pipeline": pipeline, "replicate": replicate}
        )
    data, sharded = replicate * shard, shard * context
    local = count(place, "local_batch_size", batch.get("local_batch_size", 8))
    total = count(place, "global_batch_size", batch.get("global_batch_size", -1), -1)
    micro = number("pipeline_parallel_microbatch_size") if pipeline > 1 else local
    fields: dict[str, Any] = {
        "tensor": tensor,
        "sequence": tensor > 1 and bool(one.get("enable_sequence_parallel", True)),
        "context": context,
        "pipeline": pipeline,
        "data": data,
        "expert": number("expert_parallel_degree"),
        "micro_batch": micro,
        "global_batch": local * data if total == -1 else total,
        "zero": _zero(one, pipeline) if sharded > 1 else 0,
        "shard": sharded if sharded > 1 and replicate > 1 else 0,
        "gradient": "fp32",
        "tensor_overlap": True if one.get("enable_async_tensor_parallel") else None,
        "dispatcher": _dispatcher(one),
        **_numerics(sections, batch),
    }
    fields["fp8_gather"] = fields["precision"] is Format.FP8 and fields["zero"] > 0 and _gathers(sections)
    if pipeline > 1:
        fields |= _stages(one, pipeline, place)
    recompute, notes = _recompute(sections, python)
    notes += [f"parallelism.{name}: {_CHANGES[name]}" for name in one if name in _CHANGES and one[name]]
    unread = [name for name in one if name not in _READ and name not in _CHANGES]
    notes += [f"parallelism.{name}: not known here; left out, whatever it would change" for name in unread]
    if pipeline > 1 and local < micro * (fields["global_batch"] // (data * micro)):
        notes.append("training.local_batch_size: several pipelines a step (accumulation); a plan runs one: other time")
    sequence = count(place, "seq_len", batch.get("seq_len", 2048))
    return ImportedPlan(plan=plan_of(place, {**fields, **recompute}), sequence=sequence, notes=tuple(notes))


def _table(sections: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    found = sections.get(name)
    if not isinstance(found, dict):
        raise BadInput(f"{place}: {name}: missing: expected a job of torchtitan, with its section {name}")
    return found


def _dispatcher(one: Mapping[str, Any]) -> Dispatcher | None:
    """Return how tokens reach their experts; None where the file leaves it to the default."""
    said = str(one.get("expert_parallel_comm_backend", ""))
    return {"standard": Dispatcher.ALL_TO_ALL, "deepep": Dispatcher.DEEPEP, "hybridep": Dispatcher.HYBRIDEP}.get(said)


def _zero(one: Mapping[str, Any], pipeline: int) -> int:
    """Return the ZeRO stage: the default policy keeps weights gathered with a pipeline."""
    policy = one.get("fsdp_reshard_after_forward", "default")
    return 2 if policy == "never" or (policy == "default" and pipeline > 1) else 3


def _numerics(sections: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    model = sections.get("model", {})
    converters = " ".join(map(str, model.get("converters", ()))) if isinstance(model, dict) else ""
    precision = Format.FP32 if batch.get("mixed_precision_param", "bfloat16") == "float32" else Format.BF16
    if "float8" in converters or "mx" in converters:
        precision = Format.FP8
    elif "nvfp4" in converters:
        precision = Format.FP4
    kind = OptimizerKind.ADAMW_BF16 if batch.get("dtype", "float32") == "bfloat16" else OptimizerKind.ADAMW
    named = sections.get("optimizer", {})
    if isinstance(named, dict) and named.get("name") == "DistMuon":
        kind = OptimizerKind.MUON
    return {"precision": precision, "optimizer": kind}


def _gathers(sections: Mapping[str, Any]) -> bool:
    """Return whether a job gathers weights in fp8, in the section of 0.2 or in that of earlier releases."""
    one: Any = sections.get("quantize", {})
    for name in ("linear", "float8"):
        one = one.get(name, {}) if isinstance(one, dict) else {}
    older = sections.get("float8", {})
    return any(isinstance(part, dict) and part.get("enable_fsdp_float8_all_gather") is True for part in (one, older))


def _stages(one: Mapping[str, Any], pipeline: int, place: str) -> dict[str, Any]:
    schedule = str(one.get("pipeline_parallel_schedule", "1F1B"))
    if schedule not in _SCHEDULES:
        raise BadInput(f"{place}: pipeline_parallel_schedule: {schedule!r}: expected one of {', '.join(_SCHEDULES)}")
    parts = one.get("module_fqns_per_model_part")
    if not isinstance(parts, list) or not parts or len(parts) % pipeline:
        raise BadInput(
            f"{place}: module_fqns_per_model_part: not in the file: expected the modules of each part, a multiple of "
            f"{pipeline} lists"
        )
    flat = [sum(str(name).startswith("layers.") for name in part) for part in parts]
    kind = _SCHEDULES[schedule]
    stages = tuple(sum(flat[stage::pipeline]) for stage in range(pipeline))
    if kind.folds:
        chunks = tuple(zip(flat[:pipeline], flat[::-1], strict=False))
        stages = tuple(map(sum, chunks))
        if len(flat) != 2 * pipeline or folded_layers(stages) != chunks:
            raise BadInput(
                f"{place}: module_fqns_per_model_part: {flat} layers: expected with {schedule} two parts a stage, "
                "which take layers from the front and from the end by turns"
            )
    return {"schedule": kind, "virtual": len(parts) // pipeline, "stages": stages}


def _recompute(sections: Mapping[str, Any], python: bool) -> tuple[dict[str, Any], list[str]]:
    """Return a plan's fields of recompute, and what it has no word for: selective by operator is its module op."""
    found = sections.get("activation_checkpoint", {})
    mode = str(found.get("mode", "none" if python else "selective"))
    if mode in ("none", "full"):
        return {"recompute": Recompute(mode)}, []
    option = "op" if python else str(found.get("selective_ac_option", "2"))  # 0.3.0 has no other
    if mode == "selective" and option == "op":
        return {"recompute": Recompute.SELECTIVE, "recompute_modules": ("op",)}, []
    said = f"{mode} of every {option} layers" if mode == "selective" else mode
    return {"recompute": Recompute.NONE}, [f"activation_checkpoint: {said}: taken as none: less memory, more time"]


_CONVERTERS = {"Float8LinearConverter": "float8", "NVFP4LinearConverter": "nvfp4"}


def _calls(path: Path) -> dict[str, Any]:
    """Return the plain keyword values of ParallelismConfig and TrainingConfig in a Python file, and its recompute."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(read_text(path))
    except SyntaxError as problem:
        raise BadInput(f"{path}: line {problem.lineno}: expected Python: {problem.msg}") from None
    names = {"ParallelismConfig": "parallelism", "TrainingConfig": "training"}
    found: dict[str, Any] = {"model": {}, "activation_checkpoint": {"mode": "none"}}
    beside: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            if node.arg == "moe_comm_backend":
                beside["expert_parallel_comm_backend"] = node.value.value
            elif node.arg == "enable_async_tensor_parallel":
                beside["enable_async_tensor_parallel"] = node.value.value
            elif node.arg == "optimizer_name":
                found["optimizer"] = {"name": node.value.value}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr == "Config":
            words = {"FullAC": "full", "SelectiveAC": "selective", "MemoryBudgetAC": "memory budget"}
            if node.value.id in words:
                found["activation_checkpoint"] = {"mode": words[node.value.id]}
            elif node.value.id in _CONVERTERS:
                found["model"] = {"converters": [_CONVERTERS[node.value.id]]}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            values = {}
            for word in node.keywords:
                try:
                    values[str(word.arg)] = ast.literal_eval(word.value)
                except ValueError:
                    raise BadInput(
                        f"{path}: {word.arg}: {ast.unparse(word.value)}: expected a plain value; nothing is run"
                    ) from None
            found[names[node.func.id]] = values
    if "parallelism" in found:
        found["parallelism"] = {**beside, **found["parallelism"]}
    return found
