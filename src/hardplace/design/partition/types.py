"""Nouns of the placement step: what layers cost, the problem, and its answer or what is short."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Charge(StrEnum):
    """Which stages' gradient reduction and optimizer step count at the end of a batch."""

    FIRST_STAGE = "first_stage"  # PHAZE
    SLOWEST_STAGE = "slowest_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoad:
    """One layer of the chain or graph on one device of a tensor-parallel group, for one micro-batch.

    state_bytes are held whole by every data-parallel replica (weights, gradients, unsharded optimizer states);
    sharded_state_bytes are divided among the replicas (ZeRO-1). activation_bytes are saved for backward.
    gradient_bytes are reduced over the replicas; optimizer_s is the step on unsharded states.
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
    """What several layers count that a stage holds once. layers: indices into the variant's layers, one as often as it
    counts it; the rest as `LayerLoad` has it, of one of them. added_bytes: of its gradient, which the stages that hold
    it add up."""

    layers: tuple[int, ...]
    gradient_bytes: float
    added_bytes: float
    state_bytes: float
    sharded_state_bytes: float
    optimizer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A tensor handed from one layer to another (indices into the variant's layers); its gradient goes back."""

    source: int
    target: int
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """What a data-parallel degree costs: reduction of gradients, transfers between stages, shards of the states."""

    data_parallel: int
    reduction_s_per_byte: float
    reduction_latency_s: float
    boundary_s_per_byte: float
    boundary_latency_s: float
    optimizer_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The layers at one tensor-parallel degree, and the data-parallel degrees that may be combined with it."""

    tensor_parallel: int
    layers: tuple[LayerLoad, ...]
    boundaries: tuple[Boundary, ...]
    replications: tuple[Replication, ...]
    shared: tuple[SharedLoad, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProblem:
    """Split the layers into pipeline stages on at most `devices` devices; minimise the time of a batch."""

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
    """Layers (indices) of one pipeline stage, its devices in one replica, and what it costs a micro-batch."""

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
    """A proven optimal plan: stages from input to loss, and the time of one batch (seconds)."""

    tensor_parallel: int
    data_parallel: int
    micro_batches_per_replica: int
    stages: tuple[Stage, ...]
    batch_s: float
    bottleneck_s: float
    end_of_batch_s: float

    @property
    def devices(self) -> int:
        """Devices in use."""
        return self.data_parallel * sum(stage.devices for stage in self.stages)
