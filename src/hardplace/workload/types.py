"""Nouns of a training step: tensors, operators, layers, and the workload that they make."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Affine(NamedTuple):
    """A whole number that is affine in the micro-batch size b: constant + factor * b."""

    constant: int
    factor: int

    def at(self, micro_batch: int) -> int:
        """Return the number at one micro-batch size (samples)."""
        return self.constant + self.factor * micro_batch


class OperatorKind(StrEnum):
    """What a cost model must know an operator as."""

    MATMUL = "matmul"
    GROUPED_MATMUL = "grouped_matmul"
    ATTENTION = "attention"
    CONVOLUTION = "convolution"
    SCAN = "scan"
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    NORMALISATION = "normalisation"
    SOFTMAX = "softmax"
    EMBEDDING = "embedding"
    GATHER = "gather"
    ROUTING = "routing"
    CROSS_ENTROPY = "cross_entropy"
    COPY = "copy"
    COLLECTIVE = "collective"
    OPTIMIZER = "optimizer"
    OTHER = "other"


class Phase(StrEnum):
    """Part of the training step that an operator belongs to."""

    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


class Gradient(StrEnum):
    """Which of the three GEMMs of a linear layer a matmul is; NONE for everything else."""

    NONE = "none"
    FORWARD = "forward"
    DGRAD = "dgrad"
    WGRAD = "wgrad"


class TensorRole(StrEnum):
    """Where a tensor lives: INPUT comes from the neighbouring layer (or the data), the rest is made here."""

    INPUT = "input"
    PARAMETER = "parameter"
    GRADIENT = "gradient"
    ACTIVATION = "activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A storage of one layer on one tensor-parallel rank; views share it."""

    role: TensorRole
    bytes: Affine


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One recorded operator on one tensor-parallel rank; views and metadata are not operators.

    dims by kind: matmul (batch, m, n, k); grouped_matmul (groups, m over all groups, n, k); attention (batch, heads,
    kv_heads, query length, key length, width of queries and keys, width of values if another); convolution (batch,
    channels in, channels out, groups, sizes in ..., sizes out ..., kernel sizes ...); scan (batch, length, heads, head
    width, groups, state, chunk); collective (bytes of the tensor on one rank,); everything else
    (elements,), the larger of what is read and written, or what is looked up if that is less than the table.
    window: keys that a query of an attention sees at most; 0: all.
    """

    name: str
    module: str
    kind: OperatorKind
    phase: Phase
    dims: tuple[Affine, ...]
    flops: Affine
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    gradient: Gradient = Gradient.NONE
    causal: bool = False
    window: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A part of the model that a pipeline stage holds whole: its graph on one tensor-parallel rank.

    operators are in execution order (forward, backward, optimizer) and refer to tensors by index.
    saved_bytes: activations kept from forward to backward, without recompute.
    output_bytes: the boundary tensor handed to the next layer (its gradient is as large); 0 for the last.
    """

    name: str
    parameters: int
    parameter_bytes: int
    saved_bytes: Affine
    output_bytes: Affine
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one rank of a tensor-parallel group computes: the distinct layers, each stored once."""

    tensor_parallel: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training step of a model; order lists, from input to loss, which of shard.layers comes next.

    parameters counts shared (tied) parameters once; the layers of a shard count each copy that a stage holds.
    """

    name: str
    source: str
    sequence_length: int
    dtype: str
    parameters: int
    order: tuple[int, ...]
    shards: tuple[Shard, ...]

    def shard(self, tensor_parallel: int) -> Shard:
        """Return the shard of one tensor-parallel degree; KeyError if it was not recorded."""
        for shard in self.shards:
            if shard.tensor_parallel == tensor_parallel:
                return shard
        raise KeyError(tensor_parallel)

    def flops_per_sample(self) -> int:
        """Return forward and backward FLOPs of one sample, without recompute (unsharded)."""
        layers = self.shard(1).layers
        return sum(operator.flops.factor for index in self.order for operator in layers[index].operators)
