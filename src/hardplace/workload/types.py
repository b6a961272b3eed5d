"""Nouns of a training step: storages, tensors, operators, layers, and the workload that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hardplace.workload.affine import Affine, total


class OperatorKind(StrEnum):
    """Kind of an operator, as a cost model must know it."""

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
    VIEW = "view"
    OPTIMIZER = "optimizer"
    OTHER = "other"


class Phase(StrEnum):
    """Phase of the training step that an operator belongs to."""

    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"


class Gradient(StrEnum):
    """Which of the three GEMMs of a linear layer a matmul is; NONE for everything else."""

    NONE = "none"
    FORWARD = "forward"
    DGRAD = "dgrad"
    WGRAD = "wgrad"


class Group(StrEnum):
    """Process group of a collective; NONE for everything else."""

    NONE = "none"
    TENSOR = "tensor"
    CONTEXT = "context"
    EXPERT = "expert"


class StorageRole(StrEnum):
    """Role of a storage: INPUT comes from another layer (or the data), the rest is made in this one."""

    INPUT = "input"
    PARAMETER = "parameter"
    GRADIENT = "gradient"
    ACTIVATION = "activation"


class Recompute(StrEnum):
    """What the backward pass computes again: nothing; the attention between its two products; the whole layer."""

    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Memory of one layer on one rank, which views share.

    Attributes:
        role: Input, parameter, gradient or activation.
        bytes: Bytes, by micro-batch.
        parameters: Elements, of a parameter's storage only.
    """

    role: StorageRole
    bytes: Affine
    parameters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A view of a storage.

    Attributes:
        storage: Index of the storage in the layer.
        shape: Sizes, by micro-batch.
        dtype: Type of the elements, by torch's name.
    """

    storage: int
    shape: tuple[Affine, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator on one rank.

    Dimensions by kind: matmul (batch, m, n, k); grouped_matmul (groups, m over all groups, n, k), of a weight gradient
    k over all groups; attention (batch, heads, kv_heads, query length, key length, head dimension of q and k, of v);
    convolution (batch, in channels, out channels, groups, sizes in, out, of the kernel); scan (batch, length, heads,
    head dimension, groups, state, chunk); collective (bytes of the whole tensor on one rank,); view (); everything else
    (elements,), the larger of what is read and written, or what is looked up if that is less.

    Attributes:
        name: Name of the operator, by torch's.
        module: Module of the model that ran it.
        kind: Kind.
        phase: Forward, backward or optimizer.
        dims: Dimensions, by kind.
        flops: Floating-point operations of matrix products.
        reads: Indices of the layer's tensors, in the order of the arguments.
        writes: Indices of the layer's tensors.
        axes: Axes that it works along (permutation, reduced, sliced, joined or indexed axes).
        gradient: Which GEMM of a linear layer it is.
        layout: Of a matmul, in BLAS's column-major letters: TN, NN or NT (forward, dgrad, wgrad of a linear layer).
        causal: Whether attention is causal.
        window: Keys of sliding-window attention; 0: there is none.
        group: Process group of a collective.
    """

    name: str
    module: str
    kind: OperatorKind
    phase: Phase
    dims: tuple[Affine, ...]
    flops: Affine
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    axes: tuple[int, ...] = ()
    gradient: Gradient = Gradient.NONE
    layout: str = ""
    causal: bool = False
    window: int = 0
    group: Group = Group.NONE

    @property
    def depth_wise(self) -> bool:
        """Return whether it is a convolution in groups of one input channel each."""
        if self.kind is not OperatorKind.CONVOLUTION:
            return False
        inputs, groups = self.dims[1].at(1), self.dims[3].at(1)
        return inputs == groups and groups > 1

    @property
    def model_flops_per_sample(self) -> float:
        """Return the FLOPs that the model asks for, at a micro-batch of 1: of attention those of scores that are not
        masked, and in the backward pass without the scores that its kernel computes again; of a depth-wise convolution
        none, since it has no reduction for the engines whose peak it is held against.
        """
        if self.depth_wise:
            return 0.0
        flops = float(self.flops.at(1))
        if self.kind is not OperatorKind.ATTENTION:
            return flops
        queries, keys, width, value_width = (one.at(1) for one in self.dims[3:])
        if self.name.endswith("_backward"):  # as it is counted: three products of `width`, two of `value_width`
            flops *= 2 * (width + value_width) / (3 * width + 2 * value_width)
        return flops * seen_share(queries, keys, causal=self.causal, window=self.window)


def seen_share(queries: int, keys: int, *, causal: bool, window: int) -> float:
    """Return the share of an attention's scores that are not masked.

    Args:
        queries: Queries of a sample; causal: the last of the sequence.
        keys: Keys of a sample.
        causal: Whether a query sees only keys up to its own.
        window: Keys that a query sees at most; 0: all.
    """
    most = min(window or keys, keys)
    if not causal:
        return most / keys
    first = max(0, keys - queries)  # keys before the first query's own
    short = min(max(most - first, 0), queries)  # queries that see fewer than `most`
    return (short * first + short * (short + 1) / 2 + (queries - short) * most) / (queries * keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A part of the model that a pipeline stage holds whole.

    Attributes:
        name: Name of the layer.
        storages: Memory of the layer.
        tensors: Views of the storages.
        operators: Operators in execution order: forward, backward, optimizer.
        saved: Storages kept from forward to backward without recompute.
        inputs: Storages taken from other layers in the forward pass, activations only; the gradient of each is as large
            and goes the other way.
        outputs: Storages handed to other layers. Tables such as rotary cosines are no outputs: each stage makes its
            own.
    """

    name: str
    storages: tuple[Storage, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    saved: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def trained(self) -> frozenset[int]:
        """Return the storages of the parameters that are trained: those that the optimizer writes."""
        return frozenset(
            self.tensors[index].storage
            for operator in self.operators
            if operator.phase is Phase.OPTIMIZER
            for index in operator.writes
        )

    @property
    def parameters(self) -> int:
        """Return the elements of the parameters that one rank holds."""
        return sum(storage.parameters for storage in self.storages)

    @property
    def parameter_bytes(self) -> int:
        """Return the bytes of the parameters that one rank holds, in the dtype they were recorded in."""
        return sum(one.bytes.constant for one in self.storages if one.role is StorageRole.PARAMETER)

    @property
    def saved_bytes(self) -> Affine:
        """Return the activations kept from forward to backward, in bytes by micro-batch, without recompute."""
        return total(self.storages[index].bytes for index in self.saved)

    @property
    def output_bytes(self) -> Affine:
        """Return the bytes handed to other layers, by micro-batch; their gradients are as large."""
        return total(self.storages[index].bytes for index in self.outputs)

    def storages_of(self, tensors: Iterable[int]) -> tuple[int, ...]:
        """Return the storages of tensors (indices), each once, in order."""
        return tuple(dict.fromkeys(self.tensors[index].storage for index in tensors))


class Edge(NamedTuple):
    """An activation between two layers: storage outputs[output] of the one at `source` is inputs[input] of the one at
    `target`.
    """

    source: int
    output: int
    target: int
    input: int


class Holder(NamedTuple):
    """A holder of a shared parameter: storage `storage` of the layer at `position` of the order."""

    position: int
    storage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One training step of a model on one device, as recorded: a graph of layers, each distinct one stored once.

    What one rank of a parallel version computes: `workload.sharding.shard`.

    Attributes:
        name: Name of the model.
        source: Where the configuration was published.
        command: Command that made the file.
        sequence_length: Tokens of a sample.
        dtype: Type of weights and activations.
        training: Whether there are a backward pass and an optimizer step.
        parameters: Parameters of the model, shared ones once.
        order: Which of `layers` stands at each position, from input to loss.
        edges: Activations between positions.
        layers: Distinct layers.
        shared: For each parameter that is used more than once, all that hold it, in order.
    """

    name: str
    source: str
    command: str
    sequence_length: int
    dtype: str
    training: bool
    parameters: int
    order: tuple[int, ...]
    edges: tuple[Edge, ...]
    layers: tuple[Layer, ...]
    shared: tuple[tuple[Holder, ...], ...] = field(default=(), metadata={"left_out": True})

    def flops_per_sample(self) -> int:
        """Return forward and backward FLOPs of a micro-batch of one sample, without recompute; masked attention too."""
        flops = [sum(operator.flops.at(1) for operator in layer.operators) for layer in self.layers]
        return sum(flops[index] for index in self.order)

    def model_flops_per_sample(self) -> float:
        """Return the FLOPs of an MFU (docs/model.md, section 8): no kernel has to do more for them."""
        flops = [sum(operator.model_flops_per_sample for operator in layer.operators) for layer in self.layers]
        return sum(flops[index] for index in self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """Parallel degrees within a layer.

    Attributes:
        tensor: Tensor-parallel degree.
        sequence: Sequence parallelism (Megatron's), which goes with tensor.
        context: Context-parallel degree.
        expert: Expert-parallel degree.
        whole_experts: Whether tensor ranks hold whole experts and send their own tokens to them (Megatron-LM's expert
            tensor parallelism of 1); else tensor parallelism cuts each expert.
    """

    tensor: int = 1
    sequence: bool = False
    context: int = 1
    expert: int = 1
    whole_experts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one rank computes: the distinct layers at these degrees, with collectives, without views.

    Attributes:
        parallelism: The degrees.
        layers: Distinct layers on one rank.
        whole: Parameters that stay whole on every rank of the tensor-parallel group although a matrix product uses
            them, by layer and module, because the degree does not divide what they feed.
    """

    parallelism: Parallelism
    layers: tuple[Layer, ...]
    whole: tuple[str, ...] = ()
