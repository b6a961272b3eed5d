"""The work of one rank's layer for a device and a network, whether it was recorded or laid out from a shape."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.cost.layers.low_precision import Cast
from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.types import Collective
from hardplace.workload.types import Group, seen_share
from hardplace.workload.weights import WeightSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmWork:
    """A batch of independent products of (m x k) and (k x n) matrices.

    Attributes:
        m: Rows of the result.
        n: Columns of the result.
        k: Depth of the sum.
        batch: Number of products.
        layout: Layout of the operands.
        output_bytes: Bytes moved for an element of the result, as `cost.gpu.gemm.Gemms` has it.
        low: Whether the plan's low precision (fp8) applies: a linear layer, not a head or a router.
        grouped: Whether it is of a mixture of experts.
        ragged: Whether its products have rows as the routing has it, one behind the other, so that tiles of a kernel of
            all of them reach over their edges; else each has its rows, filled or not.
        cast: Who casts the first operand where low precision applies: forward the input, backward the output's
            gradient.
        gathered: Tensor-parallel ranks that cast a part of that operand each, before they gather it.
        useful: Share of its operations that the model asks for; rows that no token fills are none of them.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    layout: Layout = Layout.TN
    output_bytes: float = 2.0
    low: bool = True
    grouped: bool = False
    ragged: bool = False
    cast: Cast = Cast.ALONE
    gathered: int = 1
    useful: float = 1.0

    @property
    def flops(self) -> float:
        """Return the floating-point operations, two a multiply-add."""
        return 2.0 * self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWork:
    """Attention of `queries` queries a sample over `keys` keys; queries < keys: a context-parallel rank's share.

    Attributes:
        batch: Samples.
        heads: Query heads.
        kv_heads: Key and value heads.
        queries: Queries a sample.
        keys: Keys a sample.
        head_dim: Head dimension; the mean of queries' and values' where they differ.
        causal: Whether a query sees only keys before it.
        backward: Backward pass; else forward.
        window: Keys that a query sees at most; 0: all.
    """

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    causal: bool
    backward: bool
    window: int = 0

    @property
    def share(self) -> float:
        """Return the scores over those of as many queries as keys that see all keys (causal: all before them).

        By the rank's queries, and by the window, w of n keys: w (2n - w) / n^2 of the causal ones, w / n of all.
        """
        share = self.queries / self.keys
        if self.window and self.window < self.keys:
            inside = self.window / self.keys
            share *= inside * (2.0 - inside) if self.causal else inside
        return share

    @property
    def model_flops(self) -> float:
        """Return the FLOPs of its products (two forward, four backward) over the scores that are not masked.

        Of a context-parallel rank its share of the whole sequence's, as if all ranks had as many.
        """
        seen = seen_share(self.keys, self.keys, causal=self.causal, window=self.window)
        scores = self.batch * self.heads * self.queries * self.keys * seen
        return 2.0 * (4 if self.backward else 2) * scores * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWork:
    """A kernel that only moves bytes.

    Attributes:
        kind: Kind of kernel.
        bytes: Bytes read and written.
        row: Elements of one reduction; 0: none.
        launches: Kernels that it stands for.
    """

    kind: Stream
    bytes: float
    row: int = 0
    launches: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveWork:
    """A collective within a layer.

    Attributes:
        collective: Kind of collective.
        bytes: Bytes of the whole tensor on one rank.
        group: Process group.
        copies: Copies of each token among the bytes of an all-to-all (experts a token).
        directions: Of a gathered operand of products in low precision, which may go as it was cast: in how many
            directions they read it, 1 or 2; 0: it goes in 16 bit.
    """

    collective: Collective
    bytes: float
    group: Group
    copies: int = 1
    directions: int = 0


Work = GemmWork | AttentionWork | StreamWork | CollectiveWork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerWork:
    """One layer on one rank at one micro-batch: kernels and collectives in order, and what it holds.

    Equal to itself alone: layers that are priced once are one object, and the key of what is known of them.

    Attributes:
        name: Name of the layer.
        forward: Work of the forward pass.
        again: Work that the backward pass runs again before it (recompute).
        backward: Work of the backward pass.
        parameters: Trained elements of dense layers on the rank.
        expert_parameters: Trained elements of experts on the rank, which are reduced over fewer replicas.
        saved_bytes: Activations kept from forward to backward, without logits and loss.
        working_bytes: What the backward pass holds for a moment on top: gradients of a product, what recompute makes.
        output_bytes: Bytes handed on, of the whole tensor on the rank.
        logits_bytes: Logits and loss, of one micro-batch at a time.
        frozen_parameters: As `WeightSizes` has them.
        expert_frozen_parameters: As `WeightSizes` has them.
        packed_bytes: As `WeightSizes` has them.
        expert_packed_bytes: As `WeightSizes` has them.
        repeated_parameters: Of the trained ones, those that an earlier layer of the model holds as well.
        repeated_expert_parameters: The same of experts.
        offloaded_bytes: Activations, beside the saved ones, that go to host memory in the forward pass and come back in
            the backward one.
        passing_bytes: Of the logits and loss, what is freed before the backward pass of the layer before.
        lingering_bytes: What the last step left that is held until the forward pass has ended.
        late_bytes: Of what recompute makes and what comes back from host memory, what weight gradients need: where they
            run apart it is held until then.
        logits_gradient_bytes: Gradient of the logits, which the head's weight gradients read, of one micro-batch.
        tensors: Number of its trained tensors.
    """

    name: str
    forward: tuple[Work, ...]
    again: tuple[Work, ...]
    backward: tuple[Work, ...]
    parameters: int
    expert_parameters: int
    saved_bytes: float
    working_bytes: float
    output_bytes: float
    logits_bytes: float = 0.0
    frozen_parameters: int = 0
    expert_frozen_parameters: int = 0
    packed_bytes: int = 0
    expert_packed_bytes: int = 0
    repeated_parameters: int = 0
    repeated_expert_parameters: int = 0
    offloaded_bytes: float = 0.0
    passing_bytes: float = 0.0
    lingering_bytes: float = 0.0
    late_bytes: float = 0.0
    logits_gradient_bytes: float = 0.0
    tensors: int = 0

    @property
    def cast_weights(self) -> int:
        """Return the elements of weights that are cast where a plan's low precision applies."""
        products = (one for one in self.forward if isinstance(one, GemmWork) and one.low and one.layout is Layout.TN)
        return sum(one.batch * one.n * one.k for one in products)

    @property
    def brief_bytes(self) -> float:
        """Return the working bytes that no weight gradient needs: gone with the layer's backward pass."""
        return self.working_bytes - (self.late_bytes - self.offloaded_bytes)

    @property
    def weights(self) -> WeightSizes:
        """Return all weights of the layer."""
        return WeightSizes(
            self.parameters,
            self.expert_parameters,
            self.frozen_parameters,
            self.expert_frozen_parameters,
            self.packed_bytes,
            self.expert_packed_bytes,
        )
