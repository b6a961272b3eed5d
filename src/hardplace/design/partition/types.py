"""Nouns of the partition problem: loads of layers, the problem, and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Charge(StrEnum):
    """Which stages' gradient reduction and optimizer step count at the end of a batch."""

    FIRST_STAGE = "first_stage"  # PHAZE
    SLOWEST_STAGE = "slowest_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoad:
    """One layer on one device of a tensor-parallel group, for one micro-batch.

    Attributes:
        name: Name of the layer.
        forward_s: Forward pass.
        backward_s: Backward pass.
        gradient_bytes: Gradients that are reduced over the replicas.
        state_bytes: What every replica holds whole: weights, gradients, unsharded optimizer states.
        sharded_state_bytes: What is divided among the replicas (ZeRO-1).
        activation_bytes: Activations saved for the backward pass.
        optimizer_s: Optimizer step on unsharded states.
        tensor_parallel: Whether the layer runs on a process group of more than one device.
    """

    name: str
    forward_s: float
    backward_s: float
    gradient_bytes: float
    state_bytes: float
    sharded_state_bytes: float
    activation_bytes: float
    optimizer_s: float
    tensor_parallel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLoad:
    """What several layers count that a stage holds once.

    Attributes:
        layers: Indices into the variant's layers, each as often as it counts it.
        gradient_bytes: As `LayerLoad` has it, of one of them.
        added_bytes: Bytes of its gradient, which the stages that hold it add up.
        state_bytes: As `LayerLoad` has it, of one of them.
        sharded_state_bytes: As `LayerLoad` has it, of one of them.
        optimizer_s: As `LayerLoad` has it, of one of them.
    """

    layers: tuple[int, ...]
    gradient_bytes: float
    added_bytes: float
    state_bytes: float
    sharded_state_bytes: float
    optimizer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedActivation:
    """An activation that several layers count and a stage keeps once.

    Attributes:
        layers: Indices into the variant's layers.
        activation_bytes: As `LayerLoad` has it, of one of them.
    """

    layers: tuple[int, ...]
    activation_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A tensor handed from one layer to another (indices into the variant's layers); its gradient goes back."""

    source: int
    target: int
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """A data-parallel degree with its costs.

    Attributes:
        data_parallel: Number of replicas.
        reduction_s_per_byte: Gradient reduction, seconds a byte.
        reduction_latency_s: Latency of the gradient reduction.
        boundary_s_per_byte: Transfer between stages, seconds a byte.
        boundary_latency_s: Latency of a transfer between stages.
        optimizer_shards: Ranks that divide the optimizer states.
    """

    data_parallel: int
    reduction_s_per_byte: float
    reduction_latency_s: float
    boundary_s_per_byte: float
    boundary_latency_s: float
    optimizer_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The layers at one tensor-parallel degree, and the data-parallel degrees that may be combined with it.

    Attributes:
        tensor_parallel: Tensor-parallel degree.
        layers: The layers, in order.
        boundaries: Tensors between them.
        replications: Data-parallel degrees with their costs.
        shared: What several layers count that a stage holds once.
        kept: Activations that several layers count and a stage keeps once.
    """

    tensor_parallel: int
    layers: tuple[LayerLoad, ...]
    boundaries: tuple[Boundary, ...]
    replications: tuple[Replication, ...]
    shared: tuple[SharedLoad, ...] = ()
    kept: tuple[SharedActivation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProblem:
    """The problem of splitting layers into pipeline stages so that a batch takes least time.

    Attributes:
        variants: The layers at each tensor-parallel degree.
        devices: Devices at most.
        memory_bytes: Memory of a device.
        micro_batches: Micro-batches of a global batch.
        recompute: Whether stages recompute their activations.
        charge: Which stages' reduction and optimizer step count at the end of a batch.
        divisible: Whether data-parallel degrees must divide the micro-batches.
        max_stages: Stages at most; None: as many as there are layers.
    """

    variants: tuple[Variant, ...]
    devices: int
    memory_bytes: float
    micro_batches: int
    recompute: bool
    charge: Charge
    divisible: bool  # data_parallel must divide micro_batches
    max_stages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pipeline stage.

    Attributes:
        layers: Indices of its layers.
        devices: Devices in one replica.
        load_s: Seconds of a micro-batch, with transfers.
        transfer_s: Of it, transfers.
        memory_bytes: Memory of a device.
        state_bytes: Of it, weights, gradients and states.
        activation_bytes: Of it, activations.
        reduction_s: Gradient reduction of a batch.
        optimizer_s: Optimizer step of a batch.
    """

    layers: tuple[int, ...]
    devices: int
    load_s: float
    transfer_s: float
    memory_bytes: float
    state_bytes: float
    activation_bytes: float
    reduction_s: float
    optimizer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePartition:
    """A proven optimal partition: stages from input to loss, and the time of one batch.

    Attributes:
        tensor_parallel: Tensor-parallel degree.
        data_parallel: Number of replicas.
        micro_batches_per_replica: Micro-batches of one replica.
        stages: The stages.
        batch_s: Seconds of one batch.
        bottleneck_s: Load of the bottleneck stage.
        end_of_batch_s: Reduction and optimizer step at the end.
    """

    tensor_parallel: int
    data_parallel: int
    micro_batches_per_replica: int
    stages: tuple[Stage, ...]
    batch_s: float
    bottleneck_s: float
    end_of_batch_s: float

    @property
    def devices(self) -> int:
        """Return the number of devices in use."""
        return self.data_parallel * sum(stage.devices for stage in self.stages)


@dataclass(frozen=True, slots=True)
class PartitionChoice:
    """What fixes a plan: stages, tensor-parallel ones, replication, and the downset after the first."""

    batch_s: float
    stages: int
    groups: int
    which: int
    first: int
