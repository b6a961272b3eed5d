"""What a rank's layer gives a GPU and a network to do, whichever way it was derived: recorded, or from a shape."""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.cost.layers.types import Layout, Stream
from hardplace.cost.types import Collective
from hardplace.workload.types import Group
from hardplace.workload.weights import WeightSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmWork:
    """batch independent products of (m x k) and (k x n); grouped: of a mixture of experts.

    output_bytes: moved for an element of the result, as `hardplace.cost.gpu.gemm.Gemms` has it. low: the plan's low
    precision (fp8) applies: a linear layer, not a head or a router. cast: by kernels of their own, where it applies.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    layout: Layout = Layout.TN
    output_bytes: float = 2.0
    low: bool = True
    grouped: bool = False
    cast: bool = True

    @property
    def flops(self) -> float:
        """Floating-point operations, two a multiply-add."""
        return 2.0 * self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWork:
    """Attention of `queries` queries a sample over `keys` keys; queries < keys: a context-parallel rank's share.

    head_dim: the mean of queries' and values' where they differ. window: keys that a query sees at most; 0: all.
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
        """Scores over those of as many queries as keys that see all keys (causal: all before them): by the rank's
        queries, and by the window, w of n keys: w (2n - w) / n^2 of the causal ones, w / n of all."""
        share = self.queries / self.keys
        if self.window and self.window < self.keys:
            inside = self.window / self.keys
            share *= inside * (2.0 - inside) if self.causal else inside
        return share


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWork:
    """A kernel that only moves bytes; row: elements of one reduction. launches: kernels that it stands for."""

    kind: Stream
    bytes: float
    row: int = 0
    launches: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveWork:
    """A collective within a layer: bytes of the whole tensor on one rank, and the group that joins it.

    copies: of each token among the bytes of an all-to-all (experts a token).
    """

    collective: Collective
    bytes: float
    group: Group
    copies: int = 1


Work = GemmWork | AttentionWork | StreamWork | CollectiveWork


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWork:
    """One layer on one rank at one micro-batch: kernels and collectives in order, and what it holds.

    again: what the backward pass runs again before it (recompute). parameters, expert_parameters: elements on the rank
    that are trained; the second are reduced over fewer replicas. Frozen ones, and bytes of packed ones, as
    `WeightSizes` has them. repeated_*: of the trained ones, those that an earlier layer of the model holds as well.
    saved_bytes: kept from forward to backward, without logits and loss
    (logits_bytes: of one micro-batch at a time). working_bytes: that its backward pass holds for a moment on top:
    gradients of a product, and what recompute makes again. output_bytes: handed on, of the whole tensor on the rank.
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

    @property
    def weights(self) -> WeightSizes:
        """All weights of the layer."""
        return WeightSizes(*(getattr(self, name) for name in WeightSizes._fields))
