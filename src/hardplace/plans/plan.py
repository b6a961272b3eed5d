"""A plan: how a training step is divided among devices; its degrees, choices, and the numbers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardplace.cost.layers.low_precision import KEPT_IN_4_BITS, Fp8Recipe
from hardplace.cost.layers.software import Dispatcher, Graphs, Software, software_named
from hardplace.cost.layers.ways import Ways, ways
from hardplace.plans.anchors import Anchor
from hardplace.workload.types import Recompute


class PipelineSchedule(StrEnum):
    """Order of micro-batches in a pipeline.

    1F1B with virtual stages is the interleaved schedule (Narayanan et al. 2021). Zero-bubble is ZB-H1 (arXiv
    2401.10241): weight gradients are passes of their own that fill the bubble, at 1F1B's memory where nothing is
    recomputed. The others are V-shaped: a stage has two chunks, one on the way down and one on the way back, so that
    embedding and head are both on the first. ZB-V (same source) at 1F1B's memory, V-Half and V-Min (arXiv 2405.15362)
    at a half and a third of it, DualPipeV (DeepSeek's DualPipe).
    """

    ONE_F_ONE_B = "1f1b"
    GPIPE = "gpipe"
    ZERO_BUBBLE = "zero-bubble"
    ZB_V = "zb-v"
    V_HALF = "v-half"
    V_MIN = "v-min"
    DUALPIPE_V = "dualpipe-v"

    @property
    def apart(self) -> bool:
        """Return whether weight gradients are passes of their own."""
        return self not in ("1f1b", "gpipe")

    @property
    def folds(self) -> bool:
        """Return whether it is V-shaped."""
        return self not in ("1f1b", "gpipe", "zero-bubble")


class Format(StrEnum):
    """Number format of the matrix products of linear layers.

    16 bit; fp8 or fp4 (nvfp4) with everything else in bf16; or all in fp32 (TF32 products).
    """

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP4 = "fp4"
    FP32 = "fp32"

    @property
    def low(self) -> bool:
        """Return whether linear layers multiply below 16 bit."""
        return self in ("fp8", "fp4")

    @property
    def low_bytes(self) -> float:
        """Return the bytes of an element that linear layers keep as it was cast, with its scales; 0: 16 bit or more."""
        return {"fp8": 1.0, "fp4": KEPT_IN_4_BITS}.get(self, 0.0)


class OptimizerKind(StrEnum):
    """Optimizer, with the type of its states.

    AdamW with fp32 master weights and moments, with the half of the masters alone that bf16 weights lack, with bf16 or
    8-bit moments, or all in bf16; SGD with momentum; Muon (fp32 master and momentum, gradients made orthogonal).
    """

    ADAMW = "adamw"
    ADAMW_REMAINDERS = "adamw-remainders"
    ADAMW_BF16_MOMENTS = "adamw-bf16-moments"
    ADAMW_8BIT = "adamw-8bit"
    ADAMW_BF16 = "adamw-bf16"
    SGD = "sgd"
    MUON = "muon"


class ContextExchange(StrEnum):
    """How context-parallel ranks see the whole sequence.

    Keys and values are passed around a ring beside compute, or gathered before it; or ranks exchange tokens for heads
    by all-to-all, before attention and after it (DeepSpeed Ulysses, arXiv 2309.14509; Megatron Core's cp_comm_type).
    """

    RING = "ring"
    ALL_GATHER = "all-gather"
    ALL_TO_ALL = "all-to-all"


class Dimension(StrEnum):
    """Parallel dimension whose process groups are laid out on the levels of the network."""

    TENSOR = "tensor"
    CONTEXT = "context"
    DATA = "data"
    PIPELINE = "pipeline"


INSIDE_OUT = (Dimension.TENSOR, Dimension.CONTEXT, Dimension.DATA, Dimension.PIPELINE)  # Megatron-LM's order

# Bytes of states a parameter beside the 16-bit weight: fp32 master and two fp32 moments; the master's lower half and
# two (apex's distributed_fused_adam, Transformer Engine's FusedAdam, store_param_remainders); master and two of 2
# bytes, or of 1 byte; two moments of 2 bytes; master and momentum (SGD, Muon).
STATE_BYTES = {
    OptimizerKind.ADAMW: 12,
    OptimizerKind.ADAMW_REMAINDERS: 10,
    OptimizerKind.ADAMW_BF16_MOMENTS: 8,
    OptimizerKind.ADAMW_8BIT: 6,
    OptimizerKind.ADAMW_BF16: 4,
    OptimizerKind.SGD: 8,
    OptimizerKind.MUON: 8,
}
# Megatron Core's recompute_modules: scores and values, latent attention's products up, norms, dense MLPs, the experts'
# activation, whole mixtures. XLA's policies drop besides: the dense MLP's activation, attention's output, its
# projections. op: as torchtitan's selective_ac_option op, every second product again and all that is neither a product
# nor attention.
MODULES = (
    *("core_attn", "mla_up_proj", "layernorm", "mlp", "moe_act", "moe"),
    *("mlp_act", "moe_up", "context", "qkv_proj", "out_proj", "op"),
)
GRADIENT_BYTES = {"fp32": 4, "bf16": 2, "bf16+fp32": 4}  # as they are reduced


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parallel degrees, batch and memory choices of one training step.

    Devices are tensor x context x data x pipeline; expert groups fold into tensor x context x data. None in a field
    that allows it means the habit of the software (`cost.layers.software`).

    Attributes:
        global_batch: Samples of one optimizer step over all replicas.
        tensor: Tensor-parallel degree.
        sequence: Sequence parallelism: activations outside of products are split over the tensor group (Megatron-LM).
        pipeline: Pipeline stages.
        virtual: Chunks of layers that each pipeline stage holds; more than 1 is the interleaved schedule.
        data: Data-parallel degree.
        context: Context-parallel degree: ranks that divide the sequence.
        expert: Expert-parallel degree.
        zero: What is sharded over the replicas: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too (FSDP).
        shard: Replicas that ZeRO shards over (hybrid sharding); 0: all.
        micro_batch: Samples that go through the pipeline together.
        schedule: Order of micro-batches in the pipeline.
        stages: Number of layers of each stage; (): as even as it goes.
        assignment: Stage of every layer, for a model whose layers branch; (): by `stages`.
        kinds: Device of every stage, in a fleet of several kinds; (): all the same.
        order: The degrees' process groups on the devices, from the innermost network level outwards.
        context_exchange: How context-parallel ranks see the whole sequence.
        recompute: What the backward pass computes again.
        recompute_layers: How many layers of each stage, its first ones, are recomputed; 0: all.
        precision: Number format of the matrix products.
        fp8_recipe: How tensors of products in fp8 or fp4 are scaled; None: as the software does on that device.
        fp8_gather: Weights are kept and gathered in fp8, without a 16-bit copy (Megatron Core's fp8_param_gather,
            torchao's float8 all-gather).
        optimizer: Optimizer, with the type of its states.
        gradient: Type in which gradients are added up and reduced: fp32, bf16, or bf16+fp32 (added up in fp32 with the
            16-bit ones kept, as DeepSpeed does).
        offload: Optimizer states live in host memory.
        offload_layers: Layers of each stage whose activations wait in host memory for the backward pass (Megatron
            Core's cpu_offloading_num_layers); they cross the link to the host beside compute.
        overlap: Data-parallel traffic runs beside compute.
        flash: Attention is one kernel, which keeps no scores.
        fragmentation: Share of memory that the allocator loses, 0 to below 1.
        reserve_bytes: Bytes of the driver and of communication libraries.
        software: What runs the plan, by its name in `cost.layers.software`; "": none named, the centre of all.
        backend: Whose attention kernels; "": those of the software on that device.
        dispatcher: How tokens get to experts.
        graphs: What is launched as CUDA graphs.
        tensor_overlap: Tensor-parallel collectives run beside products.
        expert_overlap: All-to-alls of experts run beside compute.
        fused_experts: Activation and casts of experts are part of their products.
        fused_loss: The loss is one kernel that keeps no fp32 copy of the logits.
        recompute_modules: Modules that are computed again with recompute selective, of `MODULES`; (): core attention
            where it is not one kernel.
        anchor: What steps of one's own system say of its figures; None: nothing was measured.
    """

    global_batch: int
    tensor: int = 1
    sequence: bool = False
    pipeline: int = 1
    virtual: int = 1
    data: int = 1
    context: int = 1
    expert: int = 1
    zero: int = 1
    shard: int = 0
    micro_batch: int = 1
    schedule: PipelineSchedule = PipelineSchedule.ONE_F_ONE_B
    stages: tuple[int, ...] = ()
    assignment: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    order: tuple[Dimension, ...] = INSIDE_OUT
    context_exchange: ContextExchange = ContextExchange.ALL_GATHER
    recompute: Recompute = Recompute.NONE
    recompute_layers: int = 0
    precision: Format = Format.BF16
    fp8_recipe: Fp8Recipe | None = None
    fp8_gather: bool = False
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    gradient: str = "fp32"
    offload: bool = False
    offload_layers: int = 0
    overlap: bool = True
    flash: bool = True
    fragmentation: float | None = None
    reserve_bytes: float | None = None
    software: str = ""
    backend: str = ""
    dispatcher: Dispatcher | None = None
    graphs: Graphs | None = None
    tensor_overlap: bool | None = None
    expert_overlap: bool | None = None
    fused_experts: bool | None = None
    fused_loss: bool | None = None
    recompute_modules: tuple[str, ...] = ()
    anchor: Anchor | None = None

    @property
    def habits(self) -> Software:
        """Return what the plan's software does unless the plan says otherwise."""
        return software_named(self.software)

    @property
    def ways(self) -> Ways:
        """Return how the plan is run, with the software's habits where it says nothing."""
        return ways(
            self.software,
            dispatcher=self.dispatcher,
            graphs=self.graphs,
            tensor_overlap=self.tensor_overlap,
            expert_overlap=self.expert_overlap,
            fused_experts=self.fused_experts,
        )

    @property
    def loss_in_one(self) -> bool:
        """Return whether the loss is one kernel that keeps no fp32 copy of the logits."""
        return self.habits.fused_loss if self.fused_loss is None else self.fused_loss

    @property
    def lost_share(self) -> float:
        """Return the share of memory that the allocator loses, and of what measured runs of one's own system held more
        than predicted (below 0: less)."""
        usual = self.habits.fragmentation if self.fragmentation is None else self.fragmentation
        return usual if self.anchor is None else (1.0 + usual) * self.anchor.memory - 1.0

    @property
    def kept_bytes(self) -> float:
        """Return the bytes of the driver and of communication libraries."""
        return self.habits.reserve_bytes if self.reserve_bytes is None else self.reserve_bytes

    @property
    def devices(self) -> int:
        """Return the number of devices: tensor x context x data x pipeline."""
        return self.stage_ranks * self.pipeline

    def stride(self, dimension: Dimension) -> int:
        """Return the stride of a dimension's process group: devices from one rank to the next.

        It is the product of the degrees that stand further inside in `order`.
        """
        found = 1
        for inside in self.order:
            if inside is dimension:
                break
            found *= int(getattr(self, inside))
        return found

    def order_problem(self) -> str:
        """Return what the order of degrees should be instead; "": nothing is wrong with it."""
        if sorted(self.order) != sorted(Dimension):
            return "tensor, context, data and pipeline, once each"
        if abs(self.order.index(Dimension.CONTEXT) - self.order.index(Dimension.DATA)) != 1:
            return "context and data side by side (one reduction)"
        if self.expert > 1 and self.order.index(Dimension.PIPELINE) in (1, 2):
            return "pipeline first or last with expert parallelism"
        if self.kinds and self.order[-1] is not Dimension.PIPELINE:
            return "pipeline last with several kinds of device"
        return ""

    @property
    def exchanges_heads(self) -> bool:
        """Return whether context-parallel ranks exchange tokens for heads."""
        return self.context > 1 and self.context_exchange is ContextExchange.ALL_TO_ALL

    def exchange_problem(self) -> str:
        """Return what should be instead of an exchange of heads; "": nothing is wrong with it."""
        if self.context_exchange is not ContextExchange.ALL_TO_ALL:
            return ""
        if self.context == 1:
            return "context 2 or more with it"
        return "" if self.habits.exchanges_heads else f"ring or all-gather with software {self.software}"

    @property
    def micro_batches(self) -> int:
        """Return the number of micro-batches of one replica in a step."""
        return self.global_batch // (self.data * self.micro_batch)

    @property
    def replicas(self) -> int:
        """Return the number of ranks with the same dense weights: data x context."""
        return self.data * self.context

    @property
    def replica_stride(self) -> int:
        """Return the devices from one replica to the next; context and data stand side by side."""
        return min(self.stride(Dimension.CONTEXT), self.stride(Dimension.DATA))

    @property
    def stage_ranks(self) -> int:
        """Return the ranks of one pipeline stage, tensor x context x data, into which expert groups fold."""
        return self.tensor * self.replicas

    @property
    def stage_stride(self) -> int:
        """Return the devices from one rank of a stage to the next, innermost first; with experts pipeline is first or
        last.
        """
        return self.pipeline if self.order[0] is Dimension.PIPELINE else 1

    @property
    def expert_replicas(self) -> int:
        """Return the number of ranks with the same experts, where expert groups divide them and tensor does not."""
        return self.stage_ranks // self.expert

    @property
    def sharded_over(self) -> int:
        """Return the number of ranks that ZeRO shards dense weights over; context-parallel ranks hold the same weights
        and count.
        """
        return self.shard or self.replicas

    @property
    def experts_sharded_over(self) -> int:
        """Return the number of ranks that ZeRO shards experts over: all that hold the same ones, or `shard` of them."""
        return min(self.expert_replicas, self.shard or self.expert_replicas)
