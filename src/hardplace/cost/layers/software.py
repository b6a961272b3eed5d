"""What training software does unless a plan says otherwise: attention kernels, exchanges, graphs, memory beside.

Sources, by software: Megatron-LM and Megatron Core (their argument defaults), Megatron-Bridge's perf_recipes,
llm-foundry (loss_fn fused_crossentropy), PyTorch FSDP, MaxText (base.yml). docs/model-training.md, section 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.cost.layers.low_precision import Fp8Recipe
from hardplace.errors import unknown


class Dispatcher(StrEnum):
    """How tokens reach their experts: every copy sent by NCCL, or a token once a rank and once a node (DeepEP,
    HybridEP)."""

    ALL_TO_ALL = "all-to-all"
    DEEPEP = "deepep"
    HYBRIDEP = "hybridep"


class Graphs(StrEnum):
    """What CUDA graphs launch at once: nothing, parts of a layer (attention, router), whole layers, whole passes."""

    NONE = "none"
    PARTIAL = "partial"
    LAYER = "layer"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """The habits of a training software, where a plan says nothing.

    Attributes:
        title: Name in words.
        attention: Attention kernels on GPUs since Hopper ("cudnn": cuDNN or FA3; "default": PyTorch's, FA2); older GPUs
            run FA2.
        dispatcher: How tokens reach their experts.
        graphs: What CUDA graphs launch at once.
        tensor_overlap: Tensor-parallel collectives run beside products.
        expert_overlap: Exchange of experts runs beside another micro-batch's compute.
        fused_experts: Experts' products with activation and casts are one kernel (Megatron Core's cuteDSL grouped MLP).
        routing_launches: Kernels that a mixture's router, preprocessing and permutation launch in a pass forward and
            back (Megatron Core's eager layers take 16 to 17 ms on H100 and B300 whatever their width:
            docs/model-training.md, section 2; C of others).
        fused_loss: The loss is one kernel that keeps 16-bit logits only.
        loss_bytes: Bytes of an element of the logits that the loss holds at its peak where it is not one kernel:
            Megatron's, in place, 6 (16-bit logits, and in fp32); torch's cross_entropy 14 (16-bit logits, and in fp32
            their log-softmax and two gradients), 12 where the 16-bit ones are freed before the backward pass.
        loss_passes: Of those, the bytes that are freed before the backward pass of the last layer.
        split_loss_bytes: The same as loss_bytes where tensor ranks divide the logits by vocabulary; 0: the same.
        loss_as_given: The loss is torch's cross_entropy of the logits as the model gives them, in 16 bit where weights
            are and no autocast casts it (fp16, all in 16 bit), unless the model does (Llama's).
        eager: Layers are plain modules (Hugging Face's), a kernel an operator (`cost.layers.eager`), where they have
            RMS norms and gated MLPs: a norm keeps an fp32 copy of its input and what it gives before its weight, a
            gated MLP or expert the activation beside its product with the other branch.
        returns_cache: The model hands back keys and values of all layers with the logits (Hugging Face's use_cache, on
            unless its own gradient checkpointing is), and the training loop holds those of the last step until the
            next forward pass has ended.
        autograd: Layers are plain PyTorch: products keep their inputs as they ran on them, in 16 bit (torchao's fp8)
            and gathered (DTensor's sequence parallelism), where Transformer Engine and Megatron-LM keep 8 bits and the
            rank's own part.
        fp8_recipe: How tensors of products in fp8 are scaled.
        fine_fp8: On devices of NVIDIA with blocks of 32 elements in hardware (Blackwell) mxfp8 instead.
        sends_casts: Tensor-parallel ranks cast what they gather first, so that it goes in low precision (Transformer
            Engine's sequence parallelism, torchao's).
        keeps_casts: Casts of weights stay from the first micro-batch to the next step (Transformer Engine's
            workspaces), in both directions.
        dropout: Dropout after attention and MLP.
        fused_softmax: Attention that is not one kernel scales, masks and takes the softmax of up to 2,048 keys in one
            (Megatron-LM's fused_kernels since 2021).
        needs_aligned_heads: Its cuBLAS, before CUDA 11.7 of May 2022, runs attention's batched products on ordinary
            cores where 8 does not divide the head dimension.
        pads_vocab: The vocabulary is padded to a multiple of 128 on each tensor-parallel rank (Megatron-LM's
            make_vocab_size_divisible_by).
        blocked_s: Seconds that each launch of a kernel shows, where its launcher sets CUDA_LAUNCH_BLOCKING.
        fragmentation: Share of memory that the allocator loses.
        reserve_bytes: Bytes of the driver and of communication libraries.
        one_copy: With ZeRO-3 the weights that are kept are the fp32 master copy; 16-bit ones live only while gathered.
        gathered_layers: Layers whose weights ZeRO-3 holds gathered at once.
        gradient_layers: Layers whose whole gradients ZeRO-2 and 3 hold before they are scattered.
        stops_early: Full recompute ends with the last thing that the backward pass needs (torch's checkpoint that is
            not reentrant; XLA, which drops what nobody reads), not with the layer.
        loops: Layers are a loop that the compiler does not open, so what is reduced between groups of replicas waits
            for its end (MaxText's scan_layers).
        whole_tensors: ZeRO-1 gives each tensor to one rank whole: gradients are then all-reduced, and each rank that
            owns some broadcasts its weights after the update, one rank after another (docs/model-training.md, section
            4); else states are divided evenly.
        scatters: Between stages each tensor-parallel rank sends its part of the tensor that all of them hold whole
            (without sequence parallelism), and those of the next stage gather it (Megatron-LM's
            scatter_gather_tensors_in_pipeline of 2021 and 2022, DeepSpeed's PipelineEngine).
        copies_gradients: With ZeRO-1 and 2 and 16-bit gradients the optimizer's step copies those of the rank's own
            part together, and that copy to fp32, before it lets go of either (DeepSpeed's DeepSpeedZeroOptimizer).
        keeps_sent: Pipelines are torch.distributed.pipelining's: buffers to receive all micro-batches of a step, what
            was sent is kept until its gradient comes; ZeRO 1 in them is FSDP2 that keeps what it gathered, whose
            reduced gradients are on a stream of their own, so in no block of another's.
        replicates: Without ZeRO, replicas are torch's DistributedDataParallel with torch.optim's Adam: gradients are
            None from the update to the first backward pass (zero_grad), their buckets are kept beside them (unless
            gradient_as_bucket_view), and the update takes the roots of all second moments at once (foreach).
        exchanges_heads: Context-parallel ranks may exchange tokens for heads by all-to-all (Megatron Core's
            cp_comm_type a2a, DeepSpeed's Ulysses).
        repeats_keys: Where these ranks are more than the heads of keys, each head goes to several of them (DeepSpeed's
            UlyssesSPAttentionHF); else the heads of keys must be a multiple of the ranks (Transformer Engine).
        blocks_of_keys: Context-parallel ranks that pass keys in a ring or gather them attend to them block by block,
            with copies and sums between (Transformer Engine, torch); else attention reads them as they come (XLA).
        sorts_copies: A mixture repeats its tokens and sorts the copies, each a pass over them (MaxText's permute and
            unpermute); else a kernel reads tokens and writes copies where they belong.
        worst_rows: A mixture that drops nothing receives into buffers of the most rows that a rank could get, and what
            its experts give has as many; with an all-to-all their gradients have too (XLA, whose shapes are fixed).
        group_rows: Rows of a tile of the kernel of all experts' products, forward and of input gradients, and of weight
            gradients; 0: experts are products of their own.
        policies: Modules that are usually computed again (`plans.plan.MODULES`), the least first, where a run says
            nothing of recompute.
    """

    title: str
    attention: str = "cudnn"
    dispatcher: Dispatcher = Dispatcher.ALL_TO_ALL
    graphs: Graphs = Graphs.NONE
    tensor_overlap: bool = False
    expert_overlap: bool = False
    fused_experts: bool = False
    routing_launches: int = 400
    fused_loss: bool = False
    loss_bytes: int = 6
    loss_passes: int = 0
    split_loss_bytes: int = 0
    loss_as_given: bool = False
    eager: bool = False
    returns_cache: bool = False
    autograd: bool = False
    fp8_recipe: Fp8Recipe = Fp8Recipe.TENSORWISE
    fine_fp8: bool = False
    sends_casts: bool = False
    keeps_casts: bool = False
    dropout: bool = False
    fused_softmax: bool = False
    needs_aligned_heads: bool = False
    pads_vocab: bool = False
    blocked_s: float = 0.0
    fragmentation: float = 0.04
    reserve_bytes: float = 2e9
    one_copy: bool = False
    gathered_layers: float = 2.0
    gradient_layers: float = 1.0
    stops_early: bool = False
    loops: bool = False
    whole_tensors: bool = False
    scatters: bool = False
    copies_gradients: bool = False
    keeps_sent: bool = False
    replicates: bool = False
    exchanges_heads: bool = False
    repeats_keys: bool = False
    blocks_of_keys: bool = True
    sorts_copies: bool = False
    worst_rows: bool = False
    group_rows: tuple[int, int] = (0, 0)
    policies: tuple[tuple[str, ...], ...] = ()


# Share of a step's kernels that the host still launches one by one (C: parts of a layer are attention and router).
LAUNCHED = {Graphs.NONE: 1.0, Graphs.PARTIAL: 0.5, Graphs.LAYER: 0.15, Graphs.FULL: 0.05}
NONE_NAMED, ON_ARRAYS = "", "xla-arrays"  # of GPUs, and of chips with arrays
TORCHTITAN, TORCHTITAN_EAGER = "torchtitan", "torchtitan-eager"
ON_ARRAY_SOFTWARE = (ON_ARRAYS, "neuron", "gaudi")
_ARRAYS_OF = {"AWS": "neuron", "Intel": "gaudi"}  # by vendor of the chip
# MaxText's remat policies: minimal_with_context and minimal (all products kept; with attention's output, without), and
# save_dot_with_context_except_mlp: attention's inputs and outputs alone (docs/model-training.md, section 5).
MINIMAL_WITH_CONTEXT, MINIMAL, SAVE_ATTENTION = (
    ("layernorm", "mlp_act"),
    ("layernorm", "mlp_act", "context"),
    ("layernorm", "mlp", "moe"),
)
_XLA_POLICIES = (MINIMAL_WITH_CONTEXT, MINIMAL, SAVE_ATTENTION)
SOFTWARE: dict[str, Software] = {
    NONE_NAMED: Software(
        title="none named: the centre of the software known",
        exchanges_heads=True,
        repeats_keys=True,
        fine_fp8=True,
        sends_casts=True,
        keeps_casts=True,
    ),
    "megatron-core": Software(
        title="Megatron Core with Transformer Engine (NeMo, Megatron-Bridge)",
        pads_vocab=True,
        tensor_overlap=True,
        routing_launches=1000,
        exchanges_heads=True,
        fine_fp8=True,
        sends_casts=True,
        keeps_casts=True,
        policies=(
            *(("layernorm",), ("moe_act",), ("layernorm", "moe_act"), ("mla_up_proj",)),
            *(("mla_up_proj", "layernorm", "moe_act"), ("mlp",), ("moe",)),
        ),
    ),
    "megatron-2021": Software(
        title="Megatron-LM of 2021 and 2022, and with DeepSpeed",
        dropout=True,
        fused_softmax=True,
        needs_aligned_heads=True,
        pads_vocab=True,
        scatters=True,
    ),
    "megatron-2020": Software(
        title="Megatron-LM of 2019 to January 2021", dropout=True, needs_aligned_heads=True, pads_vocab=True
    ),
    "megatron-deepspeed": Software(
        title="Megatron-DeepSpeed of BigScience, 2022",
        dropout=True,
        fused_softmax=True,
        needs_aligned_heads=True,
        pads_vocab=True,
        scatters=True,
        copies_gradients=True,
        blocked_s=8.7e-5,  # 97.2 TFLOP/s without, 91.0 with, its own measurement (docs/model-training.md, section 2)
        fragmentation=0.2,
        reserve_bytes=6e9,
    ),
    "fsdp-eager": Software(
        title="PyTorch FSDP, eager (llm-foundry, 2023; Hugging Face)",
        attention="default",
        loss_bytes=14,
        loss_passes=12,
        loss_as_given=True,
        eager=True,
        one_copy=True,
        replicates=True,
        stops_early=True,
    ),
    "atorch": Software(
        title="ATorch's FSDP of Hugging Face's models (keys and values handed back, use_cache)",
        attention="default",
        loss_bytes=16,  # logits in fp32, a shifted copy, log-softmax; and the last step's logits
        loss_passes=12,
        eager=True,
        returns_cache=True,
        one_copy=True,
        stops_early=True,
    ),
    "deepspeed": Software(
        title="DeepSpeed's tensor parallelism and pipelines of Hugging Face's models (ATorch's 3D)",
        attention="default",
        eager=True,
        scatters=True,
        copies_gradients=True,
        exchanges_heads=True,
        repeats_keys=True,
    ),
    "paddle": Software(
        title="PaddlePaddle's eager modules (PaddleNLP, 2023)",
        attention="default",
        loss_bytes=12,  # 16-bit logits; in fp32 their softmax and its gradient; that in 16 bit
        loss_passes=10,
        eager=True,
    ),
    "oneflow": Software(
        title="OneFlow's static graphs (2021)", attention="default", loss_passes=6, dropout=True, fragmentation=0.0
    ),
    "fsdp-compiled": Software(
        title="PyTorch FSDP with torch.compile (fms-fsdp)", one_copy=True, replicates=True, stops_early=True
    ),
    "internevo": Software(title="InternEvo with its hybrid ZeRO (2023, 2024)", whole_tensors=True),
    TORCHTITAN: Software(
        title="torchtitan (FSDP2 by parameter, torch.compile of layers and loss)",
        fused_loss=True,
        loss_bytes=12,
        split_loss_bytes=14,
        autograd=True,
        keeps_sent=True,
        sends_casts=True,
        fragmentation=0.01,
        one_copy=True,
        policies=(("op",),),
    ),
    TORCHTITAN_EAGER: Software(
        title="torchtitan without torch.compile",
        loss_bytes=12,
        split_loss_bytes=14,
        eager=True,
        autograd=True,
        keeps_sent=True,
        sends_casts=True,
        fragmentation=0.01,
        one_copy=True,
        policies=(("op",),),
    ),
    "automodel": Software(
        title="NeMo AutoModel (FSDP2 by parameter, Transformer Engine, eager)",
        keeps_sent=True,
        one_copy=True,
        stops_early=True,
    ),
    "xla": Software(
        title="JAX and XLA on GPUs (MaxText, Paxml)",
        loss_passes=6,
        fp8_recipe=Fp8Recipe.DELAYED,
        blocks_of_keys=False,
        one_copy=True,
        gathered_layers=1.0,
        gradient_layers=0.25,
        stops_early=True,
        loops=True,
        worst_rows=True,
        policies=_XLA_POLICIES,
    ),
    ON_ARRAYS: Software(
        title="XLA on chips with arrays (MaxText on TPUs)",
        fp8_recipe=Fp8Recipe.DELAYED,
        tensor_overlap=True,
        fused_loss=True,
        loss_passes=2,
        fragmentation=0.0,
        reserve_bytes=0.0,
        blocks_of_keys=False,
        one_copy=True,
        gathered_layers=1.0,
        gradient_layers=0.25,
        stops_early=True,
        loops=True,
        sorts_copies=True,
        worst_rows=True,
        group_rows=(256, 512),  # the medians of tokamax's tuned tables
        policies=_XLA_POLICIES,
    ),
    "neuron": Software(title="AWS Neuron on Trainium", fp8_recipe=Fp8Recipe.DELAYED, blocks_of_keys=False),
    "gaudi": Software(title="Intel Gaudi's software with PyTorch", fp8_recipe=Fp8Recipe.DELAYED, blocks_of_keys=False),
}


def on_arrays_of(vendor: str) -> str:
    """Return the software that runs a vendor's chips with arrays: its own, else XLA's."""
    return _ARRAYS_OF.get(vendor, ON_ARRAYS)


def software_named(name: str) -> Software:
    """Return the habits of a software.

    Raises:
        BadInput: With the nearest names, for one that is not known.
    """
    if name not in SOFTWARE:
        raise unknown("software", name, tuple(one for one in SOFTWARE if one))
    return SOFTWARE[name]
