"""A plan: how a training step is divided among devices, read strictly from JSON or TOML and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from hardplace.cost.layers.software import SOFTWARE, Dispatcher, Graphs, Software, Ways, software_named, ways
from hardplace.errors import BadInput
from hardplace.files import read
from hardplace.workload.types import Recompute


class PipelineSchedule(StrEnum):
    """Order of micro-batches in a pipeline; 1F1B with virtual stages is interleaved. Zero-bubble: ZB-H1 (arXiv
    2401.10241), weight gradients fill the bubble at 1F1B's memory."""

    ONE_F_ONE_B = "1f1b"
    GPIPE = "gpipe"
    ZERO_BUBBLE = "zero-bubble"


class Format(StrEnum):
    """What linear layers multiply in: 16 bit, fp8 or fp4 (nvfp4) with everything else in bf16, or all in fp32
    (TF32 products)."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    FP4 = "fp4"
    FP32 = "fp32"


class OptimizerKind(StrEnum):
    """The optimizer: Adam with fp32 master weights and moments, with 8-bit moments, all in bf16; SGD with momentum;
    Muon (fp32 master and momentum, gradients made orthogonal)."""

    ADAMW = "adamw"
    ADAMW_8BIT = "adamw-8bit"
    ADAMW_BF16 = "adamw-bf16"
    SGD = "sgd"
    MUON = "muon"


class ContextExchange(StrEnum):
    """How context-parallel ranks see the others' keys: passed around a ring beside compute, or gathered before."""

    RING = "ring"
    ALL_GATHER = "all-gather"


class Dimension(StrEnum):
    """A degree of a plan whose groups land on the network's levels."""

    TENSOR = "tensor"
    CONTEXT = "context"
    DATA = "data"
    PIPELINE = "pipeline"


INSIDE_OUT = (Dimension.TENSOR, Dimension.CONTEXT, Dimension.DATA, Dimension.PIPELINE)  # Megatron-LM's order

# Bytes of states a parameter beside the 16-bit weight: fp32 master and two fp32 moments; master and two of 1 byte;
# two moments of 2 bytes; master and momentum (SGD, Muon).
STATE_BYTES = {
    OptimizerKind.ADAMW: 12,
    OptimizerKind.ADAMW_8BIT: 6,
    OptimizerKind.ADAMW_BF16: 4,
    OptimizerKind.SGD: 8,
    OptimizerKind.MUON: 8,
}
GRADIENT_BYTES = {"fp32": 4, "bf16": 2, "bf16+fp32": 4}  # as they are reduced


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Degrees, batch and memory choices of one training step (samples: global_batch, micro_batch).

    Devices = tensor x context x data x pipeline; expert groups fold into tensor x context x data. order: of the
    degrees' groups on the devices, from the inside out. virtual: chunks of layers a pipeline stage. stages: layers a
    stage, () as even as it goes. assignment: stage of every layer, for a model whose layers branch. kinds: device of
    every stage in a cluster of several, () all the same. zero: 0 nothing sharded over the replicas, 1 optimizer states,
    2 gradients too, 3 weights too. shard: replicas that ZeRO shards over, 0 all (hybrid sharding). recompute_layers: of
    each stage, its first ones; 0 all. gradient: fp32 or bf16, in which gradients are added up and reduced;
    bf16+fp32: added up in fp32 with the 16-bit ones kept (DeepSpeed). offload:
    optimizer states live in host memory. overlap: data-parallel traffic runs beside compute. flash: attention as one
    kernel. fragmentation: share of memory lost to the allocator; reserve_bytes: of driver and communication libraries.
    software: that runs it ("": none named); backend: whose attention kernels ("": the software's on that device);
    dispatcher, graphs, tensor_overlap, expert_overlap: exchange of experts, CUDA graphs, collectives beside compute;
    fused_experts: experts' activation and casts in their products; fused_loss: one kernel that
    keeps no fp32 copy of the logits. None, there and of the memory lost: the software's habit.
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
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    gradient: str = "fp32"
    offload: bool = False
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

    @property
    def habits(self) -> Software:
        """What its software does unless the plan says otherwise."""
        return software_named(self.software)

    @property
    def ways(self) -> Ways:
        """How it is run, with the software's habits where it says nothing."""
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
        """Whether the loss is one kernel that keeps no fp32 copy of the logits."""
        return self.habits.fused_loss if self.fused_loss is None else self.fused_loss

    @property
    def lost_share(self) -> float:
        """Share of memory that the allocator loses."""
        return self.habits.fragmentation if self.fragmentation is None else self.fragmentation

    @property
    def kept_bytes(self) -> float:
        """Bytes of driver and communication libraries."""
        return self.habits.reserve_bytes if self.reserve_bytes is None else self.reserve_bytes

    @property
    def devices(self) -> int:
        """Devices that the degrees multiply to."""
        return self.stage_ranks * self.pipeline

    def stride(self, dimension: Dimension) -> int:
        """Devices from one rank of a dimension's group to the next: the degrees further inside."""
        found = 1
        for inside in self.order:
            if inside is dimension:
                break
            found *= int(getattr(self, inside))
        return found

    def order_problem(self) -> str:
        """Return what an order of degrees should be instead; empty: nothing."""
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
    def micro_batches(self) -> int:
        """Micro-batches of one replica in a step."""
        return self.global_batch // (self.data * self.micro_batch)

    @property
    def replicas(self) -> int:
        """Ranks with the same dense weights: data x context."""
        return self.data * self.context

    @property
    def replica_stride(self) -> int:
        """Devices from one replica to the next; context and data stand side by side."""
        return min(self.stride(Dimension.CONTEXT), self.stride(Dimension.DATA))

    @property
    def stage_ranks(self) -> int:
        """Ranks of one pipeline stage, into which experts fold: tensor x context x data."""
        return self.tensor * self.replicas

    @property
    def stage_stride(self) -> int:
        """Devices from one rank of a stage to the next, innermost first; with experts pipeline is first or last."""
        return self.pipeline if self.order[0] is Dimension.PIPELINE else 1

    @property
    def expert_replicas(self) -> int:
        """Ranks with the same experts."""
        return self.stage_ranks // self.expert

    @property
    def sharded_over(self) -> int:
        """Ranks that ZeRO shards over: context-parallel ranks hold the same weights and count."""
        return self.shard or self.replicas

    @property
    def experts_sharded_over(self) -> int:
        """Ranks that ZeRO shards experts over: no more than hold them."""
        return min(self.expert_replicas, self.sharded_over)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCount:
    """So many devices of a kind in nodes of a kind, by the names (or files) that `--device` and `--node` take."""

    device: str
    node: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile(Plan):
    """A plan as a file holds it; model (a name or a Workload file) and the devices (on) that it was made for, version:
    of the package that placed it; empty in one that says nothing of them."""

    model: str = ""
    on: tuple[DeviceCount, ...] = ()
    version: str = ""


def read_plan(path: Path) -> PlanFile:
    """Return the plan that a JSON or TOML file holds; BadInput with file, field, value and what was expected."""
    plan = read(path, PlanFile)
    for lot in plan.on:
        if lot.count < 1:
            raise BadInput(f"{path}: on: count: {lot.count}: expected a whole number of devices from 1")
    for problem in problems(plan):
        raise BadInput(f"{path}: {problem}")
    return plan


_MOST = 2**24  # of a degree or a batch
_COUNTS = ("global_batch", "tensor", "pipeline", "virtual", "data", "context", "expert", "micro_batch")


def expected_of(name: str, value: Any) -> str:
    """Return what a field of a plan should be by itself where a value is not that, else ""."""
    if name in _COUNTS:
        return "" if 1 <= value <= _MOST else "a whole number from 1" if value < 1 else f"at most {_MOST:,}"
    if name == "zero":
        return "" if 0 <= value <= 3 else "0, 1, 2 or 3"
    if name in ("shard", "recompute_layers"):
        return "" if 0 <= value <= _MOST else "a whole number from 0" if value < 0 else f"at most {_MOST:,}"
    if name == "gradient":
        return "" if value in GRADIENT_BYTES else "fp32, bf16 or bf16+fp32"
    if name == "fragmentation":
        return "" if value is None or 0.0 <= value < 1.0 else "a share from 0 to below 1"
    if name == "reserve_bytes":
        return "" if value is None or 0.0 <= value <= 2.0**60 else "bytes from 0 to 2^60"
    if name == "software":
        return "" if value in SOFTWARE else " or ".join(sorted(one for one in SOFTWARE if one))
    return ""


def problems(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a plan by itself, one line each."""
    for one in fields(plan):
        value = getattr(plan, one.name)
        if expected := expected_of(one.name, value):
            yield f"{one.name}: {value!r}: expected {expected}"
            if one.name in _COUNTS:
                return
    if plan.global_batch % (plan.data * plan.micro_batch):
        yield (
            f"global_batch: {plan.global_batch}: expected a multiple of data x micro_batch, "
            f"{plan.data} x {plan.micro_batch}"
        )
    if plan.zero == 3 and plan.pipeline > 1:
        yield f"zero: 3: expected pipeline 1 with it, not {plan.pipeline} (weights would be gathered every micro-batch)"
    if plan.shard > 0 and plan.replicas % plan.shard:
        yield f"shard: {plan.shard}: expected 0 or a divisor of data x context, {plan.replicas}"
    if plan.sequence and plan.tensor == 1:
        yield "sequence: true: expected tensor 2 or more with it"
    if plan.virtual > 1 and plan.pipeline == 1:
        yield f"virtual: {plan.virtual}: expected pipeline 2 or more with it"
    if plan.virtual > 1 and plan.schedule is PipelineSchedule.GPIPE:
        yield f"virtual: {plan.virtual}: expected schedule 1f1b with it"
    if plan.virtual > 1 and plan.micro_batches % plan.pipeline:
        yield (
            f"virtual: {plan.virtual}: interleaving expects the {plan.micro_batches} micro-batches of a replica to be "
            f"a multiple of pipeline, {plan.pipeline}"
        )
    if plan.stage_ranks % plan.expert:
        yield f"expert: {plan.expert}: expected a divisor of tensor x context x data, {plan.stage_ranks}"
    if plan.stages and len(plan.stages) != plan.pipeline:
        yield f"stages: {list(plan.stages)}: expected {plan.pipeline} numbers, one a pipeline stage"
    if plan.assignment and sorted(set(plan.assignment)) != list(range(plan.pipeline)):
        yield f"assignment: {list(plan.assignment)}: expected a stage a layer, each of 0 to {plan.pipeline - 1} used"
    if plan.kinds and len(plan.kinds) != plan.pipeline:
        yield f"kinds: {list(plan.kinds)}: expected {plan.pipeline} devices, one a pipeline stage"
    if plan.order_problem():
        yield f"order: {[str(one) for one in plan.order]}: expected {plan.order_problem()}"
    if plan.recompute_layers > 0 and plan.recompute is not Recompute.FULL:
        yield f"recompute_layers: {plan.recompute_layers}: expected 0, or a number of layers with recompute full"
    if plan.virtual > 1 and plan.schedule is PipelineSchedule.ZERO_BUBBLE:
        yield f"virtual: {plan.virtual}: expected schedule 1f1b with it"


def stage_layers(layers: int, plan: Plan, predicted: int = 0) -> tuple[int, ...]:
    """Return the layers of each stage: the plan's own, else even.

    predicted: layers of multi-token prediction, on the last stage with the head. Then embedding, these and the head
    count as a layer each in a chunk of ceil((layers + predicted + 2) / chunks) (Megatron-Bridge's pp_layout).

    Where the layers do not divide but with embedding and head counted as a layer each they do, first and last stage
    have one less (Megatron-LM's account_for_embedding_in_pipeline_split); else the middle stages have one more.
    """
    if plan.recompute_layers > layers:
        raise BadInput(f"recompute_layers: {plan.recompute_layers}: expected at most the model's {layers} layers")
    if plan.stages:
        if sum(plan.stages) != layers or min(plan.stages) < 0:
            raise BadInput(f"stages: {list(plan.stages)}: expected numbers that sum to the model's {layers} layers")
        if 0 in plan.stages[1:-1]:
            raise BadInput(f"stages: {list(plan.stages)}: expected a layer or more between the first and last stage")
        return plan.stages
    count = plan.pipeline
    if predicted and count > 1:
        chunks = count * plan.virtual
        each = -(-(layers + predicted + 2) // chunks)
        sizes, left = [], layers
        for chunk in range(chunks):
            sizes.append(min(left, each - 1 if chunk == 0 else each))
            left -= sizes[-1]
        sizes[-2] += left
        return tuple(sum(sizes[stage::count]) for stage in range(count))
    if layers < count:
        raise BadInput(f"pipeline: {count}: expected at most the model's {layers} layers")
    if layers % count and (layers + 2) % count == 0:
        each = (layers + 2) // count
        return (each - 1, *(each,) * (count - 2), each - 1)
    each, more = divmod(layers, count)
    first = (count - more) // 2
    return tuple(each + (1 if first <= index < first + more else 0) for index in range(count))
