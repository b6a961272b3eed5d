"""The shape of a decoder, and how one rank's layers are cut from it: what `hardplace.cost.layers.decoder` lays out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Latent attention (DeepSeek-V2, arXiv 2405.04434).

    Attributes:
        query: Rank of compressed queries; 0: not compressed.
        key_value: Rank of compressed keys and values.
        nope: Head dimension without positions.
        rope: Head dimension with rotary positions.
        value: Head dimension of values.
    """

    query: int
    key_value: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts.

    Attributes:
        count: Number of experts.
        chosen: Experts a token.
        ffn: Width of an expert.
        shared_ffn: Width of the shared expert; 0: none.
        dense_layers: Dense layers before the mixtures.
        capacity: Rows of an expert over its even share of a sequence's tokens, filled or not: tokens reach it by
            products with a mask (GShard: Lepikhin et al. 2020, arXiv 2006.16668); 0: as many rows as it is sent.
    """

    count: int
    chosen: int
    ffn: int
    shared_ffn: int = 0
    dense_layers: int = 0
    capacity: float = 0.0

    @property
    def rows(self) -> float:
        """Return the rows of experts for a token."""
        return self.chosen * (self.capacity or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """A decoder-only transformer. ffn: of a dense layer (0: none is). gated: three matrices (SwiGLU) and RMS norms.

    window: keys of sliding-window attention in every `window_every`-th layer; the others see all. predicted: extra
    layers that predict further tokens (MTP), each with a head of its own. normed: a norm reads what a dense MLP gives
    (Gemma 2, OLMo 2). biased: attention's products have biases though the MLP's have none (InternLM).

    hidden, heads, kv_heads, head_dim, ffn and vocab may be columns (arrays of one length, `hardplace.shaping`):
    `block`, `embedding` and `head` of `decoder.py` are arithmetic on them, and give work whose sizes are columns.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    sequence: int
    gated: bool
    positions: bool = False
    tied: bool = False
    experts: Experts | None = None
    latent: Latent | None = None
    window: int = 0
    window_every: int = 1
    predicted: int = 0
    normed: bool = False
    biased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """How a layer is divided: tensor with or without sequence, context, expert; experts are not cut by tensor.

    micro_batch: samples. flash: attention as one kernel. gradient_bytes: of a weight gradient's element in memory (4:
    added up in fp32). activation_bytes: of an element. low: bytes of an element of linear layers' inputs, which they
    keep as they were cast; 0: 16 bit. dropout: after
    attention and MLP. routing_launches: kernels that a mixture's routing launches in both passes. fused_dispatch:
    tokens come permuted from the exchange (HybridEP). fused_experts: activation and casts in the experts' products.
    fused_loss: the loss is one kernel that keeps the 16-bit logits alone; loss_bytes: of an element of the logits, what
    it holds at its peak otherwise. autograd: products keep their inputs as they ran on them, in 16 bit and gathered.
    stops_early: full recompute ends with the last thing that the backward pass needs. exchanges_heads: context ranks
    exchange tokens for heads before attention and after it, which then sees all tokens of its heads; else whole_keys:
    they gather keys and values, or attend to the blocks of a ring one by one. wide: all is in fp32, so that eager
    modules cast nothing; bytes are of 16 bit all the same, and counted twice. loss_passes, eager, returns_cache,
    sorts_copies, worst_rows and blocks_of_keys as `cost.layers.software.Software` has them; worst_gradients: of those
    rows the gradients are as many too.
    """

    tensor: int = 1
    sequence: bool = False
    context: int = 1
    exchanges_heads: bool = False
    whole_keys: bool = False
    blocks_of_keys: bool = True
    expert: int = 1
    micro_batch: int = 1
    flash: bool = True
    gradient_bytes: int = 4
    activation_bytes: int = 2
    wide: bool = False
    low: float = 0.0
    dropout: bool = False
    fused_loss: bool = False
    loss_bytes: int = 6
    loss_passes: int = 0
    eager: bool = False
    returns_cache: bool = False
    autograd: bool = False
    modules: tuple[str, ...] = ()
    routing_launches: int = 1
    fused_dispatch: bool = False
    fused_experts: bool = False
    stops_early: bool = False
    sorts_copies: bool = False
    worst_rows: bool = False
    worst_gradients: bool = False


LARGEST = 1 << 20
