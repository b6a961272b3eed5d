"""Megatron-LM: the flags of pretrain_gpt.py, pretrain_bert.py and pretrain_t5.py (megatron-core 0.17.1)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs
from hardplace.exports.architecture import Architecture, Positions, TransformerKind
from hardplace.exports.job import ExportedFile, ExportJob, headed_by
from hardplace.exports.launchers import launcher_files
from hardplace.exports.layout import layout_text
from hardplace.exports.limits.megatron import PRECISION_AWARE
from hardplace.plans.plan import ContextExchange, Dimension, Format, OptimizerKind, Plan
from hardplace.plans.pricing import recipe_of
from hardplace.workload.types import Recompute

Flags = tuple[str, ...]
SCRIPTS = {
    TransformerKind.DECODER: "pretrain_gpt.py",
    TransformerKind.ENCODER: "pretrain_bert.py",
    TransformerKind.ENCODER_DECODER: "pretrain_t5.py",
}
# What Megatron-LM calls an activation with and without a gate; what it has none for runs as GELU.
_ACTIVATIONS = {
    ("silu", True): ("--swiglu",),
    ("gelu_new", False): (),
    ("gelu", False): (),
    ("relu2", False): ("--squared-relu",),
}
CP_COMM_TYPES = {
    ContextExchange.RING: "p2p",
    ContextExchange.ALL_GATHER: "all_gather",
    ContextExchange.ALL_TO_ALL: "a2a",
}
_GELUS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")


def megatron_files(job: ExportJob) -> tuple[ExportedFile, ...]:
    """Return the flags as a bash array, and the launchers that source it."""
    lines = [headed_by(job), "MEGATRON_ARGS=(\n"]
    for title, flags in sections(job):
        if not flags:
            continue
        lines.append(f"  # {title}\n")
        lines += [f"  {' '.join(shlex.quote(word) for word in group)}\n" for group in _grouped(flags)]
    lines.append(")\n")
    script = f'"${{MEGATRON_LM:?the folder of Megatron-LM}}/{SCRIPTS[job.model_sizes.kind]}" "${{MEGATRON_ARGS[@]}}"'
    setup = environment(job) + 'source "$HERE/megatron.args"\n'
    return (ExportedFile(name="megatron.args", text="".join(lines)), *launcher_files(job, script, setup))


def _grouped(flags: Flags) -> Iterator[list[str]]:
    """Yield each flag with its values."""
    group: list[str] = []
    for word in flags:
        if word.startswith("--") and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def environment(job: ExportJob) -> str:
    """Return the lines that set CUDA_DEVICE_MAX_CONNECTIONS (pytorch/torchtitan#1147): one queue orders tensor and
    context collectives before Blackwell; sharded weights need more than one."""
    plan = job.plan
    if plan.zero > 1:
        return "export CUDA_DEVICE_MAX_CONNECTIONS=32\n" if plan.tensor > 1 else "unset CUDA_DEVICE_MAX_CONNECTIONS\n"
    if (plan.tensor > 1 or plan.context > 1) and not job.blackwell:
        return "export CUDA_DEVICE_MAX_CONNECTIONS=1\n"
    return ""


def sections(job: ExportJob) -> Iterator[tuple[str, Flags]]:
    """Yield the flags by what they are about."""
    yield "model", tuple(_model(job))
    yield "batch", _batch(job)
    yield "parallelism", tuple(_parallelism(job))
    yield "optimizer, sharding, overlap", tuple(_sharding(job))
    yield "recompute", tuple(_recompute(job))
    yield "precision and kernels", tuple(_precision(job))
    vocab = str(job.model_sizes.vocab - 1)  # the null tokenizer adds one
    yield "yours: tokens, learning rate, steps", (
        "--mock-data", "--tokenizer-type", "NullTokenizer", "--vocab-size", vocab,
        "--lr", "1e-4", "--train-iters", "10", "--eval-iters", "0",
    )  # fmt: skip


def _model(job: ExportJob) -> Iterator[str]:
    one = job.model_sizes
    if one.kind is TransformerKind.ENCODER_DECODER:
        yield from ("--encoder-num-layers", str(one.encoder_layers), "--decoder-num-layers", str(one.layers))
        yield from ("--encoder-seq-length", str(job.facts.sequence), "--decoder-seq-length", str(job.facts.sequence))
    else:
        yield from ("--num-layers", str(one.layers), "--seq-length", str(job.facts.sequence))
    yield from ("--max-position-embeddings", str(max(one.positions, job.facts.sequence)))
    yield from ("--hidden-size", str(one.hidden), "--ffn-hidden-size", str(one.ffn))
    yield from ("--num-attention-heads", str(one.heads))
    if one.latent is None:
        yield from ("--kv-channels", str(one.head_dim))
    if one.kv_heads != one.heads:
        yield from ("--group-query-attention", "--num-query-groups", str(one.kv_heads))
    yield from ("--normalization", "RMSNorm" if one.rms_norm else "LayerNorm", "--norm-epsilon", f"{one.epsilon:g}")
    yield from _ACTIVATIONS.get((one.activation, one.gated), ())
    if one.position_kind is Positions.ROTARY:
        yield from ("--position-embedding-type", "rope", "--rotary-base", f"{one.rope_base:.0f}")
    elif one.position_kind is Positions.RELATIVE:
        yield from ("--position-embedding-type", "relative")
    if not one.bias:
        yield "--disable-bias-linear"
    if one.qkv_bias:
        yield "--add-qkv-bias"
    if one.qk_norm:
        yield "--qk-layernorm"
    if not one.tied:
        yield "--untie-embeddings-and-output-weights"
    if one.window and one.window < job.facts.sequence:
        yield from ("--window-size", f"({one.window - 1}, 0)")
    yield from ("--attention-dropout", "0.0", "--hidden-dropout", "0.0")
    yield from _experts(one, job.plan)
    if one.latent is not None:
        yield from ("--multi-latent-attention", "--kv-lora-rank", str(one.latent.key_value))
        if one.latent.query:
            yield from ("--q-lora-rank", str(one.latent.query))
        yield from ("--qk-head-dim", str(one.latent.nope), "--qk-pos-emb-head-dim", str(one.latent.rope))
        yield from ("--v-head-dim", str(one.latent.value))


def _experts(one: Architecture, plan: Plan) -> Iterator[str]:
    if one.experts is None:
        return
    yield from ("--num-experts", str(one.experts.count), "--moe-router-topk", str(one.experts.chosen))
    yield from ("--moe-ffn-hidden-size", str(one.experts.ffn))
    if plan.ways.dispatcher is Dispatcher.ALL_TO_ALL:
        yield from ("--moe-token-dispatcher-type", "alltoall")
    else:
        yield from ("--moe-token-dispatcher-type", "flex", "--moe-flex-dispatcher-backend", str(plan.ways.dispatcher))
    if plan.ways.expert_overlap and plan.expert > 1:
        yield "--overlap-moe-expert-parallel-comm"
    yield from ("--moe-router-load-balancing-type", "aux_loss", "--moe-aux-loss-coeff", "1e-3")
    if one.experts.shared_ffn:
        yield from ("--moe-shared-expert-intermediate-size", str(one.experts.shared_ffn))
    if one.experts.dense_layers:
        dense = one.experts.dense_layers
        yield from ("--moe-layer-freq", f"([0]*{dense}+[1]*{one.layers - dense})")


def _batch(job: ExportJob) -> Flags:
    return "--micro-batch-size", str(job.plan.micro_batch), "--global-batch-size", str(job.plan.global_batch)


def _parallelism(job: ExportJob) -> Iterator[str]:
    plan = job.plan
    yield from ("--tensor-model-parallel-size", str(plan.tensor))
    yield from ("--pipeline-model-parallel-size", str(plan.pipeline))
    if plan.sequence:
        yield "--sequence-parallel"
    if plan.context > 1:
        yield from ("--context-parallel-size", str(plan.context), "--cp-comm-type")
        yield CP_COMM_TYPES[plan.context_exchange]
    if plan.pipeline > 1:
        yield from ("--pipeline-model-parallel-layout", layout_text(job.chunks))
    if job.facts.experts > 1:
        yield from ("--expert-model-parallel-size", str(plan.expert))
        yield from ("--expert-tensor-parallel-size", str(job.expert_tensor))
    if plan.ways.tensor_overlap and plan.tensor > 1:
        yield "--tp-comm-overlap"
    if plan.pipeline > 1 and plan.data > 1 and plan.order.index(Dimension.PIPELINE) < plan.order.index(Dimension.DATA):
        yield "--use-tp-pp-dp-mapping"


def _sharding(job: ExportJob) -> Iterator[str]:
    plan = job.plan
    yield from ("--optimizer", {OptimizerKind.SGD: "sgd", OptimizerKind.MUON: "muon"}.get(plan.optimizer, "adam"))
    if plan.zero == 1:
        yield "--use-distributed-optimizer"
    if plan.zero > 1:
        words = {2: "optim_grads", 3: "optim_grads_params"}
        yield from ("--use-megatron-fsdp", "--use-distributed-optimizer")
        yield from ("--data-parallel-sharding-strategy", words[plan.zero], "--ckpt-format", "fsdp_dtensor")
        yield from ("--no-gradient-accumulation-fusion",)
    if plan.zero and plan.sharded_over < plan.replicas:
        yield from ("--num-distributed-optimizer-instances", str(plan.replicas // plan.sharded_over))
        if plan.zero > 1:
            yield from ("--outer-dp-sharding-strategy", "no_shard")
    moments = {OptimizerKind.ADAMW_8BIT: "fp8", OptimizerKind.ADAMW_BF16_MOMENTS: "bf16"}.get(plan.optimizer, "")
    if plan.optimizer in PRECISION_AWARE or plan.offload:
        yield "--use-precision-aware-optimizer"
    if moments:
        yield from ("--exp-avg-dtype", moments, "--exp-avg-sq-dtype", moments)
    if plan.offload:
        yield from ("--optimizer-cpu-offload", "--optimizer-offload-fraction", "1.0")
    if plan.gradient == "bf16":
        yield "--grad-reduce-in-bf16"
    elif plan.precision is not Format.FP32:
        yield "--accumulate-allreduce-grads-in-fp32"
    if plan.overlap and plan.replicas > 1:
        yield "--overlap-grad-reduce"
        if plan.zero:
            yield "--overlap-param-gather"


def _recompute(job: ExportJob) -> Iterator[str]:
    plan = job.plan
    if plan.offload_layers:
        yield from ("--cpu-offloading-num-layers", str(plan.offload_layers))
    if plan.recompute is Recompute.SELECTIVE:
        modules = plan.recompute_modules or ("core_attn",)
        yield from ("--recompute-granularity", "selective", "--recompute-modules", *modules)
    elif plan.recompute is Recompute.FULL and plan.recompute_layers:
        count = str(recomputed_a_chunk(job))
        yield from ("--recompute-granularity", "full", "--recompute-method", "block", "--recompute-num-layers", count)
    elif plan.recompute is Recompute.FULL:
        # Groups of one layer: larger ones keep less and hold more at once (NVIDIA/Megatron-LM#1226).
        yield from ("--recompute-granularity", "full", "--recompute-method", "uniform", "--recompute-num-layers", "1")


def recomputed_a_chunk(job: ExportJob) -> int:
    """Return the layers that Megatron-LM recomputes of each chunk, for so many of each stage in the plan."""
    most = max(max(row) for row in job.chunks)
    return max(1, min(most, -(-job.plan.recompute_layers // job.plan.virtual)))


def _precision(job: ExportJob) -> Iterator[str]:
    plan = job.plan
    if plan.precision in (Format.BF16, Format.FP8, Format.FP4):
        yield "--bf16"
    elif plan.precision is Format.FP16:
        yield "--fp16"
    if plan.precision is Format.FP8:
        recipe = str(recipe_of(job.device, plan))
        yield from ("--fp8-format", "e4m3" if recipe == Fp8Recipe.MXFP8 else "hybrid", "--fp8-recipe", recipe)
        if plan.fp8_gather:
            yield "--fp8-param-gather"
    elif plan.precision is Format.FP4:
        yield from ("--fp4-format", "e2m1", "--fp4-recipe", "nvfp4")
    yield from ("--attention-backend", attention_backend(plan))
    if plan.loss_in_one:
        yield "--cross-entropy-loss-fusion"
    match plan.ways.graphs:
        case Graphs.PARTIAL:
            scope = ("attn", "moe_router") if job.facts.experts > 1 else ("attn",)
            yield from ("--cuda-graph-impl", "transformer_engine", "--cuda-graph-scope", *scope)
        case Graphs.LAYER:
            yield from ("--cuda-graph-impl", "transformer_engine")
        case Graphs.FULL:
            yield from ("--cuda-graph-impl", "local", "--cuda-graph-scope", "full_iteration")
            yield "--no-check-for-nan-in-loss-and-grad"


def attention_backend(plan: Plan) -> str:
    """Return Megatron Core's word for a plan's attention kernels."""
    fused = (plan.backend or plan.habits.attention).startswith("cudnn") and bool(plan.software or plan.backend)
    return ("fused" if fused else "flash") if plan.flash else "unfused"


def megatron_warnings(job: ExportJob) -> Iterator[str]:
    """Yield what Megatron-LM does otherwise than the plan or the model says."""
    plan, one = job.plan, job.model_sizes
    if plan.recompute_layers and plan.virtual > 1:
        most = max(sum(min(recomputed_a_chunk(job), size) for size in row) for row in job.chunks)
        yield (
            f"recompute_layers: {plan.recompute_layers} of a stage: Megatron-LM counts by chunk, so up to {most} of a "
            f"stage are recomputed"
        )
    if (one.activation, one.gated) not in _ACTIVATIONS and one.activation not in _GELUS:
        yield f"activation: {one.activation}: Megatron-LM's flags have none, so GELU runs; its seconds are as predicted"
    multiple = 128 * plan.tensor
    if one.vocab % multiple:
        padded = -(-one.vocab // multiple) * multiple
        yield f"vocabulary: {one.vocab:,}: Megatron-LM pads it to a multiple of 128 x tensor, {padded:,}"
    if one.family == "bert":
        yield "norms: Megatron-LM's BERT normalises before attention and MLP, this model after: as many operators"
    if one.qkv_bias and one.family != "qwen2":
        yield "attention_bias: the bias of attention's output is left out"
    if plan.kinds and len(set(plan.kinds)) > 1:
        yield "kinds: hosts in the order of the stages: list those of the first stages first in the launcher"
    if plan.precision is Format.FP4:
        yield "precision: fp4 needs Transformer Engine 2.7 or later"
    if plan.optimizer is OptimizerKind.ADAMW_8BIT or plan.precision is Format.FP8:
        what = "precision: fp8" if plan.precision is Format.FP8 else "optimizer: 8-bit states"
        yield f"{what} needs Transformer Engine"
    if plan.ways.fused_experts:
        yield "fused_experts: grouped products with their activation need a build of Megatron Core that has them"
    if plan.ways.graphs is not Graphs.NONE or (plan.ways.tensor_overlap and plan.tensor > 1):
        yield "graphs, tensor_overlap: need Transformer Engine"
    if job.facts.experts > 1:
        yield "experts: install Transformer Engine or grouped_gemm and add --moe-grouped-gemm, which asks the GPU first"
