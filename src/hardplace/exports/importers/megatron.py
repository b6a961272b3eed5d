"""Megatron-LM: the flags of a launch script or of an argument file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.errors import BadInput
from hardplace.exports.importers.found import Answers, ImportedPlan, asked, count, divided, plan_of
from hardplace.exports.importers.megatron_numerics import numerics
from hardplace.exports.layout import parse_layout
from hardplace.exports.megatron import CP_COMM_TYPES
from hardplace.files import read_text
from hardplace.plans.plan import INSIDE_OUT, MODULES, ContextExchange, Plan
from hardplace.plans.stage_sizes import chunk_layers
from hardplace.workload.types import Recompute

# Flags that change neither time nor memory that a plan is priced by: data, learning, logging, checkpoints.
_BESIDE = re.compile(
    r"--(lr|min-lr|adam|weight-decay|clip-grad|init-method|seed|data|train|valid|test|split|vocab|merge|tokenizer|log|"
    r"tensorboard|wandb|save|load|ckpt|exit|eval|mock-data|num-workers|timing|distributed-timeout|no-load|no-save|"
    r"attention-dropout|hidden-dropout|norm|rotary|use-rotary|position|max-position|untie|disable-bias|swiglu|squared|"
    r"openai-gelu|quick-geglu|group-query|add-qkv|qk-layernorm|make-vocab|multi-latent|q-lora|kv-lora|kv-channels|v-head|"
    r"qk-head|qk-pos|moe-router|moe-ffn|moe-aux|moe-shared|moe-layer-freq|encoder-seq|decoder-seq|sgd-momentum|muon|"
    r"tiktoken|override|apply|rerun|manual-gc|use-mcore|transformer-impl|dist-ckpt|no-masked|no-bias|no-rope|window|"
    r"te-|hf|nnodes|nproc|node-rank|master|rdzv|rope|mscale|bert-no|eod|reset|create-attention|no-create|finetune|"
    r"dataloader|auto-detect|legacy|local-rank|distributed-backend|main-grads|main-params|no-gradient-acc|iter|decay|"
    r"bert-|decoder-num|fp32-residual|accumulate-allreduce|num-query-groups|ffn|hidden|num-attention|seq-length|"
    r"moe-token|no-align|loss-scale|initial-loss|hysteresis|start-weight|end-weight|override-opt|lr-)"
)
# What flags that a plan has no word for would change.
_CHANGES = {
    "--moe-grouped-gemm": "experts' products in one kernel: less time a step",
    "--no-overlap-p2p-communication": "hops between stages wait: more time a step",
    "--overlap-p2p-communication-warmup-flush": "hops of filling and draining hide: less time a step",
    "--defer-embedding-wgrad-compute": "embedding gradients fill the bubble: less time a step",
    "--cpu-offloading": "activations move to the host: less memory, more time",
    "--distribute-saved-activations": "kept activations are divided over tensor: less memory",
    "--moe-expert-capacity-factor": "tokens beyond it are dropped: less time a step",
    "--moe-pad-expert-input-to-capacity": "experts compute padding: more time a step",
    "--enable-cuda-graph": "no waits for the host: less time a step",
    "--external-cuda-graph": "no waits for the host: less time a step",
    "--mtp-num-layers": "further layers and heads: more time and memory",
    "--microbatch-group-size-per-virtual-pipeline-stage": "another order of chunks: other time and memory",
    "--delay-wgrad-compute": "weight gradients come later: other time a step",
}
_READ = {
    "--num-layers", "--encoder-num-layers", "--tensor-model-parallel-size", "--pipeline-model-parallel-size",
    "--context-parallel-size", "--expert-model-parallel-size", "--expert-tensor-parallel-size", "--sequence-parallel",
    "--micro-batch-size", "--global-batch-size", "--pipeline-model-parallel-layout", "--num-experts",
    "--num-layers-per-virtual-pipeline-stage", "--num-virtual-stages-per-pipeline-rank", "--use-distributed-optimizer",
    "--decoder-first-pipeline-num-layers", "--decoder-last-pipeline-num-layers", "--use-megatron-fsdp",
    "--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split", "--use-torch-fsdp2",
    "--data-parallel-sharding-strategy", "--outer-dp-sharding-strategy", "--num-distributed-optimizer-instances",
    "--recompute-granularity", "--recompute-method", "--recompute-num-layers", "--recompute-modules", "--bf16",
    "--fp16", "--fp8-format", "--fp8-recipe", "--fp8-param-gather", "--fp4-format", "--fp4-recipe", "--optimizer",
    "--use-precision-aware-optimizer", "--cpu-offloading-num-layers",
    "--exp-avg-dtype", "--exp-avg-sq-dtype", "--optimizer-cpu-offload", "--optimizer-offload-fraction",
    "--grad-reduce-in-bf16", "--overlap-grad-reduce", "--overlap-param-gather", "--attention-backend",
    "--use-flash-attn", "--cp-comm-type", "--use-tp-pp-dp-mapping", "--recompute-activations",
    "--torch-fsdp2-no-reshard-after-forward", "--tp-comm-overlap", "--overlap-moe-expert-parallel-comm",
    "--cross-entropy-loss-fusion", "--cuda-graph-impl", "--cuda-graph-scope", "--moe-token-dispatcher-type",
    "--moe-flex-dispatcher-backend", "--moe-enable-deepep",
}  # fmt: skip


def flags_of(text: str) -> dict[str, str]:
    """Return the flags of a script or a file with their values, "" without one: comments, line ends, arrays and quotes
    as a shell reads them; launchers' own flags among them."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*$", "", text))
    pieces = shlex.shlex(joined, posix=True, punctuation_chars=False)
    pieces.whitespace_split, pieces.commenters = True, "#"
    try:
        words = list(pieces)
    except ValueError as problem:
        raise BadInput(f"expected flags as a shell reads them: {problem}") from None
    found: dict[str, str] = {}
    name = ""
    for word in words:
        word = word.strip("()") if not name or name not in _LISTED else word
        first, equals, value = word.partition("=")
        if re.fullmatch(r"--[a-z][\w-]*", first):
            name = first.replace("_", "-")
            found[name] = value if equals else ""
        elif name and not found[name] and not re.match(r"[A-Z_]+=|[\"&|;]", word):
            found[name] = word
        elif name in _SEVERAL and re.fullmatch(r"[a-z_]+", word):
            found[name] += f" {word}"
        else:
            name = ""
    return found


_EXCHANGES = {word: exchange for exchange, word in CP_COMM_TYPES.items()}
_SEVERAL = ("--recompute-modules",)
_LISTED = ("--pipeline-model-parallel-layout", "--moe-layer-freq", "--window-size")


def from_megatron(path: Path, answers: Answers) -> ImportedPlan:
    """Return the plan of a file of flags; BadInput, one line, for values that make none and for what it leaves open."""
    place = str(path)
    try:
        flags = flags_of(read_text(path))
    except BadInput as problem:
        raise BadInput(f"{place}: {problem}") from None
    if not any(name in _READ for name in flags):
        raise BadInput(f"{place}: expected flags of Megatron-LM, such as --tensor-model-parallel-size 8")
    reader = _Flags(place, flags)
    degrees = {
        "tensor": reader.count("--tensor-model-parallel-size", 1),
        "context": reader.count("--context-parallel-size", 1),
        "pipeline": reader.count("--pipeline-model-parallel-size", 1),
    }
    devices = reader.devices() or answers.devices
    data = divided(place, asked(place, "the number of devices", devices, "devices"), degrees)
    micro_batch = reader.count("--micro-batch-size", answers.micro_batch)
    sharding = _sharding(reader, data * degrees["context"])
    fields: dict[str, Any] = {
        **degrees,
        "data": data,
        "micro_batch": micro_batch,
        "global_batch": reader.count("--global-batch-size", answers.batch or data * micro_batch),
        "sequence": "--sequence-parallel" in flags and degrees["tensor"] > 1,
        "expert": reader.count("--expert-model-parallel-size", 1),
        "overlap": "--overlap-grad-reduce" in flags,
        "flash": flags.get("--attention-backend", "auto") not in ("unfused", "local"),
        "offload": "--optimizer-cpu-offload" in flags,
        "offload_layers": reader.count("--cpu-offloading-num-layers", 0, 0),
        "tensor_overlap": "--tp-comm-overlap" in flags,
        "expert_overlap": "--overlap-moe-expert-parallel-comm" in flags,
        "fused_loss": "--cross-entropy-loss-fusion" in flags,
        "dispatcher": _dispatcher(flags),
        "graphs": _graphs(flags),
        **_stages(reader, degrees["pipeline"]),
        **sharding,
        **numerics(flags, place, sharding["zero"]),
    }
    if degrees["context"] > 1:
        fields["context_exchange"] = _EXCHANGES.get(flags.get("--cp-comm-type", ""), ContextExchange.RING)
    if "--use-tp-pp-dp-mapping" in flags and degrees["pipeline"] > 1:
        if degrees["context"] > 1:
            raise BadInput(f"{place}: --use-tp-pp-dp-mapping: expected context 1 with it: a plan keeps context by data")
        tensor, context, data_dimension, pipeline = INSIDE_OUT
        fields["order"] = (tensor, pipeline, context, data_dimension)
    fields |= _recompute(reader, fields.get("virtual", 1))
    sizes = {"layers": reader.count("--num-layers", 0, 0)}
    for name, flag in (
        ("hidden", "--hidden-size"),
        ("heads", "--num-attention-heads"),
        ("ffn", "--ffn-hidden-size"),
        ("kv_heads", "--num-query-groups"),
        ("vocab", "--vocab-size"),
    ):
        sizes[name] = reader.count(flag, 0, 0)
    if "--group-query-attention" not in flags:  # without it Megatron-LM ignores the number of groups
        del sizes["kv_heads"]
    lengths = [reader.count(flag, 0, 0) for flag in ("--seq-length", "--encoder-seq-length")]
    return ImportedPlan(
        plan=plan_of(place, fields),
        sizes={k: v for k, v in sizes.items() if v} | {"experts": reader.count("--num-experts", 0, 0)},
        sequence=max(lengths),
        notes=tuple(_notes(reader, fields)),
    )


class _Flags:
    """Flags of one file, read by name."""

    def __init__(self, place: str, values: Mapping[str, str]) -> None:
        self.place, self.values = place, values

    def count(self, name: str, default: int | None, least: int = 1) -> int:
        if name not in self.values and default is None:
            field = {"--micro-batch-size": "micro_batch", "--global-batch-size": "batch"}.get(name)
            if field is None:
                raise BadInput(f"{self.place}: {name}: missing: expected a whole number from {least}")
            return asked(self.place, "samples", None, field)
        if name not in self.values and default is not None:
            return default
        return count(self.place, name, self.values[name], least)

    def devices(self) -> int | None:
        """Return the processes that a launcher in the same file starts; None without one."""
        nodes, each = self.values.get("--nnodes"), self.values.get("--nproc-per-node")
        if nodes is None or each is None or not (nodes.isdecimal() and each.isdecimal()):
            return None
        return int(nodes) * int(each)


def _stages(reader: _Flags, pipeline: int) -> dict[str, Any]:
    """Return layers by stage and virtual stages: of the layout, of counts, else as even as Megatron-LM has them."""
    flags, place = reader.values, reader.place
    if pipeline == 1:
        return {}
    if "--pipeline-model-parallel-layout" in flags:
        rows = parse_layout(flags["--pipeline-model-parallel-layout"], pipeline, f"{place}: layout")
        return {"virtual": len(rows[0]), "stages": tuple(map(sum, rows))}
    layers = reader.count("--num-layers", None)
    virtual = 1
    if "--num-virtual-stages-per-pipeline-rank" in flags:
        virtual = reader.count("--num-virtual-stages-per-pipeline-rank", 1)
    elif "--num-layers-per-virtual-pipeline-stage" in flags:
        each = reader.count("--num-layers-per-virtual-pipeline-stage", 1)
        if layers % (pipeline * each):
            raise BadInput(f"{place}: --num-layers: {layers}: expected a multiple of stages x layers a virtual stage")
        virtual = layers // (pipeline * each)
    counted = [
        reader.count(flag, 0, 0)
        for flag in ("--decoder-first-pipeline-num-layers", "--decoder-last-pipeline-num-layers")
    ]
    counted_for = [
        "--account-for-embedding-in-pipeline-split" in flags,
        "--account-for-loss-in-pipeline-split" in flags,
    ]
    if any(counted_for):
        each, left = divmod(layers + sum(counted_for), pipeline)
        stages = [each] * pipeline
        stages[0] -= counted_for[0]
        stages[-1] -= counted_for[1]
    else:
        own = [index for index, size in ((0, counted[0]), (pipeline - 1, counted[1])) if size]
        each, left = divmod(layers - sum(counted), pipeline - len(own)) if pipeline > len(own) else (0, 0)
        stages = [each] * pipeline
        for index, size in zip((0, -1), counted, strict=True):
            stages[index] = size or stages[index]
    if left or sum(stages) != layers:
        raise BadInput(f"{place}: --num-layers: {layers}: expected what {pipeline} stages divide, or a layout")
    return {"virtual": virtual, "stages": tuple(stages)}


def _dispatcher(flags: Mapping[str, str]) -> Dispatcher:
    """Return how tokens reach experts; gathered by all, which a plan has no word for, is taken as all-to-alls."""
    if flags.get("--moe-token-dispatcher-type") == "flex" or "--moe-enable-deepep" in flags:
        return Dispatcher(flags.get("--moe-flex-dispatcher-backend", "deepep"))
    return Dispatcher.ALL_TO_ALL


def _graphs(flags: Mapping[str, str]) -> Graphs:
    kind, scope = flags.get("--cuda-graph-impl", "none"), flags.get("--cuda-graph-scope", "full")
    if kind == "none":
        return Graphs.NONE
    if scope == "full_iteration":
        return Graphs.FULL
    return Graphs.LAYER if scope in ("", "full") else Graphs.PARTIAL


def _sharding(reader: _Flags, replicas: int) -> dict[str, Any]:
    flags = reader.values
    zero = 1 if "--use-distributed-optimizer" in flags else 0
    if "--use-torch-fsdp2" in flags:
        zero = 2 if "--torch-fsdp2-no-reshard-after-forward" in flags else 3
    elif "--use-megatron-fsdp" in flags:
        words = {"no_shard": 0, "optim": 1, "optim_grads": 2, "optim_grads_params": 3}
        zero = words.get(flags.get("--data-parallel-sharding-strategy", "no_shard"), zero)
    instances = reader.count("--num-distributed-optimizer-instances", 1)
    if replicas % instances:
        raise BadInput(
            f"{reader.place}: --num-distributed-optimizer-instances: {instances}: expected a divisor of the "
            f"{replicas} replicas"
        )
    return {"zero": zero, "shard": replicas // instances if zero and instances > 1 else 0}


def _modules(flags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules that selective recompute computes again, Megatron Core's core attention unless it says."""
    return tuple((flags.get("--recompute-modules") or "core_attn").split())


def _recompute(reader: _Flags, virtual: int) -> dict[str, Any]:
    flags = reader.values
    granularity = flags.get("--recompute-granularity", "selective" if "--recompute-activations" in flags else "")
    if granularity == "selective":
        modules = tuple(one for one in _modules(flags) if one in MODULES)
        return {"recompute": Recompute.SELECTIVE, "recompute_modules": () if modules == ("core_attn",) else modules}
    if granularity != "full":
        return {}
    if flags.get("--recompute-method", "uniform") == "uniform":
        return {"recompute": Recompute.FULL}
    layers = reader.count("--recompute-num-layers", 1)
    return {"recompute": Recompute.FULL, "recompute_layers": layers * virtual}


def _notes(reader: _Flags, fields: Mapping[str, Any]) -> list[str]:
    """Return what the flags say beyond the plan."""
    flags = reader.values
    notes = []
    for name in flags:
        if name in _CHANGES:
            notes.append(f"{name}: not in a plan; {_CHANGES[name]}")
        elif name not in _READ and not _BESIDE.match(name):
            notes.append(f"{name}: not known here; left out, whatever it would change")
    experts = "--num-experts" in flags and fields["tensor"] > 1
    if experts and flags.get("--expert-tensor-parallel-size", str(fields["tensor"])) != "1":
        notes.append("--expert-tensor-parallel-size: experts are cut by tensor too there, a plan's are not: other time")
    recompute_each = flags.get("--recompute-num-layers", "1") != "1"
    if flags.get("--recompute-method") == "uniform" and recompute_each:
        notes.append("--recompute-num-layers: groups of several layers; a plan recomputes single ones: other memory")
    exchange = flags.get("--cp-comm-type", "p2p")
    if fields["context"] > 1 and exchange not in _EXCHANGES:
        notes.append(f"--cp-comm-type: {exchange}: taken as a ring: other time")
    unknown = [one for one in _modules(flags) if one not in MODULES]
    if unknown:
        notes.append(f"--recompute-modules: {', '.join(unknown)}: a plan has none of these: other time and memory")
    if float(flags.get("--optimizer-offload-fraction") or 1.0) < 1.0:
        notes.append("--optimizer-offload-fraction: a plan offloads all states: other time and memory")
    layout = flags.get("--pipeline-model-parallel-layout")
    if layout is not None and fields["pipeline"] > 1:
        rows = parse_layout(layout, fields["pipeline"], reader.place)
        plan = Plan(global_batch=1, pipeline=fields["pipeline"], virtual=len(rows[0]))
        if any(row != chunk_layers(sum(row), stage, plan) for stage, row in enumerate(rows)):
            notes.append(
                "--pipeline-model-parallel-layout: chunks of a stage differ otherwise than a plan's: other time"
            )
    return notes
