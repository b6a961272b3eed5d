"""Layers of a decoder from its shape alone, as Megatron-LM's fused kernels and the library of GEMMs run them.

The GEMMs and collectives equal those of the recorded models (tests/cost/test_gpu_decoder.py); element-wise chains,
norms and losses are the fused kernels of Megatron-LM and Transformer Engine. Equations: docs/model-training.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hardplace.cost.gpu.streams import Stream
from hardplace.cost.gpu.types import Layout
from hardplace.cost.gpu.work import Attending, Exchange, LayerWork, Moved, Product, Work
from hardplace.cost.types import Collective
from hardplace.workload.types import Group, Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Latent attention (DeepSeek-V2, arXiv 2405.04434): ranks and head dimensions; query 0: not compressed."""

    query: int
    key_value: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts: how many, how many a token, their width, the shared one's width, dense layers before."""

    count: int
    chosen: int
    ffn: int
    shared_ffn: int = 0
    dense_layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderShape:
    """A decoder-only transformer. ffn: of a dense layer (0: none is). gated: three matrices (SwiGLU) and RMS norms.

    window: keys of sliding-window attention in every `window_every`-th layer; the others see all. predicted: extra
    layers that predict further tokens (MTP), each with a head of its own. dropout: after attention and MLP.
    fused_loss: the loss is one kernel that keeps the 16-bit logits, without an fp32 copy of them.

    hidden, heads, kv_heads, head_dim, ffn and vocab may be columns (arrays of one length, `hardplace.search.shapes`):
    `block`, `embedding` and `head` are arithmetic on them, and give work whose sizes are columns.
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
    dropout: bool = False
    fused_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """How a layer is divided: tensor with or without sequence, context, expert; experts are not cut by tensor.

    micro_batch: samples. flash: attention as one kernel. gradient_bytes: of a weight gradient's element in memory (4:
    added up in fp32). activation_bytes: of an element. low: linear layers keep their inputs in 8 bits.
    """

    tensor: int = 1
    sequence: bool = False
    context: int = 1
    expert: int = 1
    micro_batch: int = 1
    flash: bool = True
    gradient_bytes: int = 4
    activation_bytes: int = 2
    low: bool = False


def parameters(shape: DecoderShape) -> int:
    """Return the model's parameters, tied embeddings once, norms and biases included."""
    whole = Degrees()
    blocks = sum(
        one.parameters + one.expert_parameters
        for one in (block(shape, whole, Recompute.NONE, number) for number in range(shape.layers))
    )
    ends = embedding(shape, whole).parameters + (0 if shape.tied else shape.vocab * shape.hidden)
    return blocks + ends + (1 if shape.gated else 2) * shape.hidden


def _linear(
    t: int, outputs: int, inputs: int, degrees: Degrees, *, experts: int = 0, low: bool = True
) -> list[Product]:
    """Return the forward, input-gradient and weight-gradient products of a linear layer of t rows; experts: of each of
    so many."""
    written = 2.0 * degrees.gradient_bytes if degrees.gradient_bytes == 4 else float(degrees.gradient_bytes)
    one = Product(m=t, n=outputs, k=inputs, batch=max(1, experts), low=low, grouped=experts > 0)
    return [
        one,
        replace(one, n=inputs, k=outputs, layout=Layout.NN),
        replace(one, m=outputs, n=inputs, k=t, layout=Layout.NT, output_bytes=written),
    ]


class _Builder:
    """Collects the work of a layer, forward in order and backward in reverse order."""

    def __init__(self, shape: DecoderShape, degrees: Degrees) -> None:
        self.shape, self.degrees = shape, degrees
        self.forward: list[Work] = []
        self.backward: list[list[Work]] = []
        self.parameters = self.expert_parameters = 0
        self.saved = self.widest = 0.0
        self.tokens = degrees.micro_batch * shape.sequence // degrees.context
        self.kept = 0.5 if degrees.low else 1.0  # of the bytes of a linear layer's input
        self.local = self.tokens // (degrees.tensor if degrees.sequence else 1)

    def add(self, forward: list[Work], backward: list[Work], saved_bytes: float = 0.0) -> None:
        """Add work, its backward, and what it keeps."""
        self.forward += forward
        self.backward.append(backward)
        self.saved += saved_bytes

    def linear(self, rows: int, outputs: int, inputs: int, *, low: bool = True, bias: bool = False) -> None:
        """Add a linear layer of the rank's own size; its backward pass holds a 16-bit weight gradient, before it is
        added up, and the gradients of its input and output."""
        one, input_gradient, weight_gradient = _linear(rows, outputs, inputs, self.degrees, low=low)
        self.add([one], [input_gradient, weight_gradient])
        self.parameters += outputs * inputs + (outputs if bias else 0)
        self.transient(2.0 * outputs * inputs + self.degrees.activation_bytes * float(rows) * (outputs + inputs))

    def transient(self, size: float) -> None:
        """Take note of bytes that a backward pass holds for a moment."""
        self.widest = np.maximum(self.widest, size)

    def moved(self, kind: Stream, forward: float, backward: float, row: int = 0, saved: float = 0.0) -> None:
        """Add a kernel that moves so many bytes forward and backward."""
        self.add([Moved(kind=kind, bytes=forward, row=row)], [Moved(kind=kind, bytes=backward, row=row)], saved)

    def norm(self) -> None:
        """Add a norm of the hidden state: read and written; backward reads both and writes one. Input is kept."""
        width = self.shape.hidden
        size = self.degrees.activation_bytes * self.local * width
        self.moved(Stream.NORM, 2.0 * size, 3.0 * size, width, size)
        self.parameters += width * (1 if self.shape.gated else 2)

    def enter(self) -> None:
        """Add what stands before products cut by output features: a gather with sequence parallelism, else the
        all-reduce of the input's gradient."""
        if self.degrees.tensor == 1:
            return
        size = 1.0 * self.degrees.activation_bytes * self.tokens * self.shape.hidden
        gather = Exchange(collective=Collective.ALL_GATHER, bytes=size, group=Group.TENSOR)
        scatter = Exchange(collective=Collective.REDUCE_SCATTER, bytes=size, group=Group.TENSOR)
        reduce = Exchange(collective=Collective.ALL_REDUCE, bytes=size, group=Group.TENSOR)
        if self.degrees.sequence:
            self.add([gather], [gather, scatter])  # backward gathers the input again for the weight gradient
        else:
            self.add([], [reduce])

    def leave(self) -> None:
        """Add what stands after products cut by input features: the sum, and bias, dropout and residual as a kernel."""
        size = 1.0 * self.degrees.activation_bytes * self.tokens * self.shape.hidden
        if self.degrees.tensor > 1:
            kinds = (Collective.REDUCE_SCATTER, Collective.ALL_GATHER)
            if self.degrees.sequence:
                one, back = (Exchange(collective=kind, bytes=size, group=Group.TENSOR) for kind in kinds)
                self.add([one], [back])
            else:
                self.add([Exchange(collective=Collective.ALL_REDUCE, bytes=size, group=Group.TENSOR)], [])
        own = size * self.local / self.tokens
        self.moved(Stream.ELEMENTWISE, 3.0 * own, 2.0 * own)


def _attention(b: _Builder, number: int) -> None:
    shape, degrees = b.shape, b.degrees
    tensor, size, bias = degrees.tensor, degrees.activation_bytes, not shape.gated
    heads, kv_heads = shape.heads // tensor, -(-shape.kv_heads // tensor)
    b.enter()
    if shape.latent is None:
        width = (heads + 2 * kv_heads) * shape.head_dim
        b.linear(b.tokens, width, shape.hidden, bias=bias)
        value, query = shape.head_dim, shape.head_dim
    else:
        value, query = shape.latent.value, shape.latent.nope + shape.latent.rope
        width = heads * (2 * query + value)
        _latent(b, heads)
    if not shape.positions:
        moved = 2.0 * size * b.tokens * (heads + kv_heads) * query
        b.moved(Stream.ELEMENTWISE, moved, moved)
    window = shape.window if shape.window and number % shape.window_every == 0 else 0
    keys, queries = shape.sequence, shape.sequence // degrees.context
    both = [
        Attending(
            batch=degrees.micro_batch,
            heads=heads,
            kv_heads=kv_heads,
            queries=queries,
            keys=keys,
            head_dim=(query + value) // 2,
            causal=True,
            backward=back,
            window=window,
        )
        for back in (False, True)
    ]
    whole_kv = 2.0 * size * degrees.micro_batch * keys * kv_heads * value
    if degrees.context > 1:
        gather = Exchange(collective=Collective.ALL_GATHER, bytes=whole_kv, group=Group.CONTEXT)
        scatter = Exchange(collective=Collective.REDUCE_SCATTER, bytes=whole_kv, group=Group.CONTEXT)
        b.add([gather], [gather, scatter])
    scores = 0.0 if degrees.flash else 5.0 * degrees.micro_batch * heads * queries * keys  # 2 a s^2 twice, mask 1
    out = heads * value
    twice = 1.0 + b.kept if degrees.low else 1.0  # attention's output as it is, and as the projection's input
    b.add([both[0]], [both[1]], size * b.tokens * (width + twice * out) + scores)
    b.linear(b.tokens, shape.hidden, out, bias=bias)
    b.leave()


def _latent(b: _Builder, heads: int) -> None:
    """Add the projections of latent attention: down (whole on every rank), norms, up (cut by heads)."""
    shape, latent = b.shape, b.shape.latent
    assert latent is not None
    size, query = b.degrees.activation_bytes, latent.nope + latent.rope
    if latent.query:
        b.linear(b.tokens, latent.query, shape.hidden)
        moved = 2.0 * size * b.tokens * latent.query
        b.moved(Stream.NORM, moved, 1.5 * moved, latent.query, moved)
        b.parameters += latent.query
    b.linear(b.tokens, heads * query, latent.query or shape.hidden)
    b.linear(b.tokens, latent.key_value + latent.rope, shape.hidden)
    moved = 2.0 * size * b.tokens * latent.key_value
    b.moved(Stream.NORM, moved, 1.5 * moved, latent.key_value, moved)
    b.parameters += latent.key_value
    b.linear(b.tokens, heads * (latent.nope + latent.value), latent.key_value)


def _dense(b: _Builder, ffn: int, rows: int, tensor: int) -> None:
    shape, size = b.shape, b.degrees.activation_bytes
    own, matrices, bias = ffn // tensor, 2 if shape.gated else 1, not shape.gated
    b.linear(rows, matrices * own, shape.hidden, bias=bias)
    one = 1.0 * size * rows * own
    b.moved(Stream.ELEMENTWISE, (matrices + 1) * one, (2 * matrices + 1) * one, saved=(matrices + b.kept) * one)
    b.linear(rows, shape.hidden, own, bias=bias)


def _mixture(b: _Builder) -> None:
    """Add router, dispatch, all-to-all, experts (not cut by tensor), all-to-all, combination, and the shared expert."""
    shape, degrees, moe = b.shape, b.degrees, b.shape.experts
    assert moe is not None
    size, width = degrees.activation_bytes, shape.hidden
    tokens = b.tokens // degrees.tensor  # tensor ranks share the tokens
    copies = tokens * moe.chosen
    held = moe.count // degrees.expert
    b.linear(tokens, moe.count, width, low=False)
    moved = 2.0 * size * copies * width
    b.moved(Stream.DISPATCH, moved, moved)
    whole = 1.0 * size * copies * width
    to_all = Exchange(collective=Collective.ALL_TO_ALL, bytes=whole, group=Group.EXPERT, copies=moe.chosen)
    if degrees.expert > 1:
        b.add([to_all], [to_all])
    rows, matrices = max(1, copies // held), 2 if shape.gated else 1
    for outputs, inputs, first in ((matrices * moe.ffn, width, True), (width, moe.ffn, False)):
        one, input_gradient, weight_gradient = _linear(rows, outputs, inputs, degrees, experts=held)
        b.add([one], [input_gradient, weight_gradient], b.kept * 1.0 * size * copies * inputs)
        b.expert_parameters += held * outputs * inputs
        b.transient(2.0 * held * outputs * inputs + size * float(copies) * (outputs + inputs))
        if first:  # the activation stands between the two, whatever their widths (GPT OSS: equal ones)
            act = 1.0 * size * copies * moe.ffn
            b.moved(Stream.ELEMENTWISE, (matrices + 1) * act, (2 * matrices + 1) * act, saved=matrices * act)
    if degrees.expert > 1:
        b.add([to_all], [to_all])
    b.moved(Stream.DISPATCH, moved, moved, saved=whole)
    if moe.shared_ffn:
        _dense(b, moe.shared_ffn, b.tokens, degrees.tensor)


def block(shape: DecoderShape, degrees: Degrees, recompute: Recompute, number: int = 0) -> LayerWork:
    """Return one transformer layer on one rank; number: its place in the model (dense layers come first)."""
    b = _Builder(shape, degrees)
    b.norm()
    _attention(b, number)
    b.norm()
    moe = shape.experts
    if moe is not None and number >= moe.dense_layers:
        if moe.shared_ffn and degrees.tensor > 1:
            b.enter()
        _mixture(b)
        if moe.shared_ffn and degrees.tensor > 1:
            b.leave()
        else:
            own = 1.0 * degrees.activation_bytes * b.local * shape.hidden
            b.moved(Stream.ELEMENTWISE, 3.0 * own, 2.0 * own)
    else:
        b.enter()
        _dense(b, shape.ffn, b.tokens, degrees.tensor)
        b.leave()
    out = 1.0 * degrees.activation_bytes * b.local * shape.hidden
    forward = tuple(b.forward)
    saved, working = b.saved, 0.0
    if shape.dropout:
        saved += 2.0 * b.local * shape.hidden  # masks of two, 1 byte each
    # products' inputs: norms' outputs are kept too (the shard, gathered again in the backward pass)
    saved += 2.0 * b.kept * out
    kept: tuple[Work, ...] = ()
    if recompute is Recompute.FULL:
        saved, kept, working = out, forward, saved
    elif recompute is Recompute.SELECTIVE and not degrees.flash:
        queries, heads = shape.sequence // degrees.context, shape.heads // degrees.tensor
        core = 5.0 * degrees.micro_batch * heads * queries * shape.sequence
        saved, working = saved - core, core
        kept = tuple(one for one in forward if isinstance(one, Attending))
    working += b.widest
    return LayerWork(
        name="layer",
        forward=forward,
        again=kept,
        backward=tuple(one for part in reversed(b.backward) for one in part),
        parameters=b.parameters,
        expert_parameters=b.expert_parameters,
        saved_bytes=saved,
        working_bytes=working,
        output_bytes=out,
    )


def embedding(shape: DecoderShape, degrees: Degrees) -> LayerWork:
    """Return the word embedding (cut by vocabulary) with learned positions if there are any."""
    b = _Builder(shape, degrees)
    size = 1.0 * degrees.activation_bytes * b.tokens * shape.hidden
    b.add([Moved(kind=Stream.EMBEDDING, bytes=2.0 * size)], [Moved(kind=Stream.EMBEDDING_BACKWARD, bytes=2.0 * size)])
    if degrees.tensor > 1:
        kind = Collective.REDUCE_SCATTER if degrees.sequence else Collective.ALL_REDUCE
        back = [Exchange(collective=Collective.ALL_GATHER, bytes=size, group=Group.TENSOR)]
        b.add([Exchange(collective=kind, bytes=size, group=Group.TENSOR)], list(back) if degrees.sequence else [])
    vocab = -(-shape.vocab // degrees.tensor)
    positions = shape.sequence * shape.hidden if shape.positions else 0
    return LayerWork(
        name="embedding",
        forward=tuple(b.forward),
        again=(),
        backward=tuple(one for part in reversed(b.backward) for one in part),
        parameters=vocab * shape.hidden + positions,
        expert_parameters=0,
        saved_bytes=8.0 * b.tokens,
        working_bytes=2.0 * vocab * shape.hidden,
        output_bytes=size * b.local / b.tokens,
    )


def head(shape: DecoderShape, degrees: Degrees) -> LayerWork:
    """Return the last norm, the logits (cut by vocabulary) and the cross entropy in fp32."""
    b = _Builder(shape, degrees)
    b.norm()
    b.enter()
    vocab = -(-shape.vocab // degrees.tensor)
    b.linear(b.tokens, vocab, shape.hidden, low=False)
    logits = 1.0 * b.tokens * vocab
    # read in 16 bit, fp32 copy written; backward reads it and writes the gradient in 16 bit
    b.moved(Stream.CROSS_ENTROPY, 6.0 * logits, 6.0 * logits, vocab, 4.0 * logits)
    if degrees.tensor > 1:
        small = Exchange(collective=Collective.ALL_REDUCE, bytes=4.0 * b.tokens, group=Group.TENSOR)
        b.add([small, small, small], [])
    return LayerWork(
        name="head",
        forward=tuple(b.forward),
        again=(),
        backward=tuple(one for part in reversed(b.backward) for one in part),
        parameters=b.parameters,
        expert_parameters=0,
        saved_bytes=1.0 * degrees.activation_bytes * 2 * b.local * shape.hidden,
        logits_bytes=((0.0 if shape.fused_loss else 4.0) + degrees.activation_bytes) * logits,
        working_bytes=b.widest,
        output_bytes=0.0,
    )
