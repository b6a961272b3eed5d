"""Layers of a decoder from its shape alone, as Megatron-LM's fused kernels and the library of GEMMs run them.

The GEMMs and collectives equal those of the recorded models (tests/cost/layers/test_decoder.py); element-wise chains,
norms and losses are the fused kernels of Megatron-LM and Transformer Engine, or eager PyTorch's (`eager`). Equations:
docs/model-training.md.
"""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.layers.builder import Builder
from hardplace.cost.layers.eager import rotation
from hardplace.cost.layers.low_precision import Cast
from hardplace.cost.layers.modules_again import modules_again
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, LayerWork, StreamWork, Work
from hardplace.cost.types import Collective
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Group, Recompute


def parameters(shape: DecoderShape) -> int:
    """Return the model's parameters, tied embeddings once, norms and biases included."""
    whole = Degrees()
    blocks = sum(
        one.parameters + one.expert_parameters
        for one in (block(shape, whole, Recompute.NONE, number) for number in range(shape.layers))
    )
    ends = embedding(shape, whole).parameters + (0 if shape.tied else shape.vocab * shape.hidden)
    return blocks + ends + (1 if shape.gated else 2) * shape.hidden


def _scores_bytes(shape: DecoderShape, degrees: Degrees) -> float:
    """Return bytes that attention keeps without flash: scores and probabilities in 16 bit, the dropout's mask."""
    heads, queries = shape.heads // degrees.tensor, shape.sequence // degrees.context
    return 5.0 * degrees.micro_batch * heads * queries * shape.sequence


def _attention(b: Builder, number: int) -> None:
    shape, degrees = b.shape, b.degrees
    tensor, size, bias = degrees.tensor, degrees.activation_bytes, not shape.gated or shape.biased
    heads, kv_heads = shape.heads // tensor, -(-shape.kv_heads // tensor)
    b.enter()
    if shape.latent is None:
        width = (heads + 2 * kv_heads) * shape.head_dim
        b.branches(b.tokens, 3)
        b.linear(b.tokens, width, shape.hidden, bias=bias, cast=Cast.NORM, enters=True)
        value, query = shape.head_dim, shape.head_dim
    else:
        value, query = shape.latent.value, shape.latent.nope + shape.latent.rope
        width = heads * (2 * query + value)
        _latent(b, heads)
    if not shape.positions and b.unfused and shape.latent is None:
        b.chain(rotation(size), 1.0 * b.tokens * (heads + kv_heads) * query, tensors=2)
    elif not shape.positions:
        moved = 2.0 * size * b.tokens * (heads + kv_heads) * query
        b.moved(Stream.ELEMENTWISE, moved, moved)
    window = shape.window if shape.window and number % shape.window_every == 0 else 0
    keys, queries = shape.sequence, shape.sequence // degrees.context
    out, parts = heads * value, degrees.context if degrees.exchanges_heads else 1
    kv_each = -(-kv_heads // parts)
    if degrees.exchanges_heads:
        queries = keys
        kv_sent, kv_own = (parts * kv_each, kv_heads) if shape.latent is None else (heads, heads)
        b.exchange_heads((heads * query, kv_sent * query, kv_sent * value), (kv_sent - kv_own) * (query + value))
    both = [
        AttentionWork(
            batch=degrees.micro_batch,
            heads=heads // parts,
            kv_heads=kv_each,
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
    if degrees.context > 1 and not degrees.exchanges_heads:
        gather = CollectiveWork(collective=Collective.ALL_GATHER, bytes=whole_kv, group=Group.CONTEXT)
        scatter = CollectiveWork(collective=Collective.REDUCE_SCATTER, bytes=whole_kv, group=Group.CONTEXT)
        b.add([gather], [gather, scatter])
    scores = 0.0 if degrees.flash else _scores_bytes(shape, degrees)
    b.add([both[0]], [both[1]], size * b.tokens * (width + b.twice * out) + scores)
    if degrees.context > 1 and not degrees.exchanges_heads:
        b.over_blocks(kv_heads * (query + value), out)
    if degrees.exchanges_heads:
        b.exchange_heads((out,), (1.0 + b.kept_share - b.twice) * out)  # attention's own beside the projection's input
    b.linear(b.tokens, shape.hidden, out, bias=bias, leaves=True)
    b.leave()


def _latent(b: Builder, heads: int) -> None:
    """Add the projections of latent attention: down (whole on every rank), norms, up (cut by heads)."""
    shape, latent = b.shape, b.shape.latent
    assert latent is not None
    size, query = b.degrees.activation_bytes, latent.nope + latent.rope
    b.branches(b.tokens, 2)
    if latent.query:
        b.linear(b.tokens, latent.query, shape.hidden)
        b.normalised(b.tokens, latent.query, 2.0 * size * b.tokens * latent.query)
        b.parameters += latent.query
        b.tensors += 1
    up = Cast.NORM if latent.query else Cast.ALONE
    b.linear(b.tokens, heads * query, latent.query or shape.hidden, cast=up)
    b.linear(b.tokens, latent.key_value + latent.rope, shape.hidden)
    b.normalised(b.tokens, latent.key_value, 2.0 * size * b.tokens * latent.key_value)
    b.parameters += latent.key_value
    b.tensors += 1
    b.linear(b.tokens, heads * (latent.nope + latent.value), latent.key_value, cast=Cast.NORM)


def _dense(b: Builder, ffn: int, rows: int, tensor: int, cast: Cast = Cast.NORM) -> None:
    shape, size = b.shape, b.degrees.activation_bytes
    own, matrices, bias = ffn // tensor, 2 if shape.gated else 1, not shape.gated
    b.branches(rows, matrices)
    b.linear(rows, matrices * own, shape.hidden, bias=bias, matrices=matrices, cast=cast, enters=True)
    one = 1.0 * size * rows * own
    kept = (matrices + b.unfused + b.kept_share) * one  # inputs of the activation and of the last product
    b.activation(one, kept)
    b.linear(rows, shape.hidden, own, bias=bias, leaves=True)


def _mixture(b: Builder) -> None:
    """Add router, dispatch, all-to-all, experts (not cut by tensor), all-to-all, combination, and the shared expert."""
    shape, degrees, moe = b.shape, b.degrees, b.shape.experts
    assert moe is not None
    size, width = degrees.activation_bytes, shape.hidden
    tokens = b.tokens // degrees.tensor  # tensor ranks share the tokens
    copies, useful = int(tokens * moe.rows), moe.chosen / moe.rows
    held = moe.count // degrees.expert
    b.linear(tokens, moe.count, width, low=False)
    passed = 1.0 * size * copies * width  # once over the copies
    # MaxText: copies are written, read, sorted, and again; back their gradients and the router's are made of them.
    sent, back = (
        ((3, 3), (3, 4)) if degrees.sorts_copies else ((1, 1), (1, 1)) if degrees.fused_dispatch else ((2, 2), (2, 2))
    )
    some = max(1, degrees.routing_launches // 4)  # of both passes, before and after the experts
    if moe.capacity:
        _masked(b, copies, gathers=False)
    else:
        b.moved(Stream.DISPATCH, sent[0] * passed, sent[1] * passed, launches=some)
    to_all = CollectiveWork(collective=Collective.ALL_TO_ALL, bytes=passed, group=Group.EXPERT, copies=moe.chosen)
    if degrees.expert > 1:
        b.add([to_all], [to_all])
    matrices, act = 2 if shape.gated else 1, 1.0 * size * copies * moe.ffn
    b.expert_linear(copies, matrices * moe.ffn, width, held, useful)
    b.activation(act, b.spare * (matrices + b.unfused) * act, fused=degrees.fused_experts)
    b.expert_linear(copies, width, moe.ffn, held, useful)
    if degrees.expert > 1:
        b.add([to_all], [to_all])
    if moe.capacity:
        b.saved_bytes += passed
        _masked(b, copies, gathers=True)
    else:
        b.moved(Stream.DISPATCH, back[0] * passed, back[1] * passed, saved_bytes=passed, launches=some)
    if moe.shared_ffn:
        _dense(b, moe.shared_ffn, b.tokens, degrees.tensor, Cast.ALONE)  # the norm before is the router's too


def _masked(b: Builder, copies: int, *, gathers: bool) -> None:
    """Add a product of each sequence with its mask of (tokens x rows of experts): to the experts, or from them, where
    the mask has weights whose gradient is a product too. The mask is written and read by its pass."""
    shape, degrees = b.shape, b.degrees
    tokens = shape.sequence // degrees.context // degrees.tensor
    rows = copies // degrees.micro_batch
    sent = GemmWork(m=rows, n=shape.hidden, k=tokens, batch=degrees.micro_batch, low=False, useful=0.0)
    back = replace(sent, m=tokens, k=rows)
    weighed = [replace(sent, m=tokens, n=rows, k=shape.hidden)] if gathers else []
    b.add([back if gathers else sent], [sent if gathers else back, *weighed])
    mask = 2.0 * degrees.activation_bytes * degrees.micro_batch * tokens * rows
    b.moved(Stream.DISPATCH, mask, mask)


def _feed_forward(b: Builder, number: int) -> None:
    """Add the dense MLP, or the mixture, of the layer with this number."""
    shape, tensor, moe = b.shape, b.degrees.tensor, b.shape.experts
    if moe is None or number < moe.dense_layers:
        b.enter()
        _dense(b, shape.ffn, b.tokens, tensor)
        b.leave()
    elif moe.shared_ffn and tensor > 1:
        b.enter()
        _mixture(b)
        b.leave()
    else:
        _mixture(b)
        own = 1.0 * b.degrees.activation_bytes * b.local * shape.hidden
        b.moved(Stream.ELEMENTWISE, 3.0 * own, b.residual_moves * own)


def _needed(b: Builder, number: int, forward: tuple[Work, ...]) -> tuple[Work, ...]:
    """Return what full recompute of a layer runs again: all of it, or, where it stops early, what comes before the
    dense MLP's last product, whose output nothing backward needs unless a norm reads it; a mixture's outputs are
    weighed by the router."""
    moe = b.shape.experts
    if not b.degrees.stops_early or b.shape.normed or (moe is not None and number >= moe.dense_layers):
        return forward
    last = max(place for place, one in enumerate(forward) if isinstance(one, GemmWork))
    return forward[:last]


def _cache_bytes(b: Builder) -> float:
    """Return the bytes of a layer's keys and values."""
    shape, tensor, latent = b.shape, b.degrees.tensor, b.shape.latent
    width = 2 * -(-shape.kv_heads // tensor) * shape.head_dim
    if latent is not None:
        width = shape.heads // tensor * (latent.nope + latent.rope + latent.value)
    return 1.0 * b.degrees.activation_bytes * b.tokens * width


def block(shape: DecoderShape, degrees: Degrees, recompute: Recompute, number: int = 0) -> LayerWork:
    """Return one transformer layer on one rank; number: its place in the model (dense layers come first)."""
    b = Builder(shape, degrees)
    b.norm()
    _attention(b, number)
    b.norm()
    _feed_forward(b, number)
    out = 1.0 * degrees.activation_bytes * b.local * shape.hidden
    forward = tuple(b.forward)
    saved, working = b.saved_bytes, 0.0
    if degrees.dropout:
        saved += 2.0 * b.local * shape.hidden  # masks of two, 1 byte each
    saved += b.entering_bytes(mixture=shape.experts is not None and number >= shape.experts.dense_layers)
    again: tuple[Work, ...] = ()
    whole = saved - (0.0 if degrees.flash else _scores_bytes(shape, degrees))
    cache = _cache_bytes(b) if degrees.returns_cache else 0.0
    if recompute is Recompute.FULL:
        saved, again, working = out + cache, _needed(b, number, forward), saved
    elif recompute is Recompute.SELECTIVE and not degrees.flash:
        core = _scores_bytes(shape, degrees)
        saved, working = saved - core, core
        again = tuple(one for one in forward if isinstance(one, AttentionWork))
    if recompute is Recompute.SELECTIVE and degrees.modules:
        dropped, again = modules_again(b, number, forward, out)
        saved, working = saved - dropped, dropped
    return LayerWork(
        name="layer",
        forward=forward,
        again=again,
        backward=b.backward_pass,
        parameters=b.parameters,
        expert_parameters=b.expert_parameters,
        saved_bytes=saved,
        working_bytes=working + b.widest_bytes,
        output_bytes=out,
        lingering_bytes=cache,
        late_bytes=0.0 if recompute is Recompute.NONE else max(0.0, whole - saved),
        tensors=b.tensors,
    )


def embedding(shape: DecoderShape, degrees: Degrees) -> LayerWork:
    """Return the word embedding (cut by vocabulary) with learned positions if there are any."""
    b = Builder(shape, degrees)
    size = 1.0 * degrees.activation_bytes * b.tokens * shape.hidden
    b.add(
        [StreamWork(kind=Stream.EMBEDDING, bytes=2.0 * size)],
        [StreamWork(kind=Stream.EMBEDDING_BACKWARD, bytes=2.0 * size)],
    )
    if degrees.tensor > 1:
        kind = Collective.REDUCE_SCATTER if degrees.sequence else Collective.ALL_REDUCE
        back = [CollectiveWork(collective=Collective.ALL_GATHER, bytes=size, group=Group.TENSOR)]
        b.add([CollectiveWork(collective=kind, bytes=size, group=Group.TENSOR)], list(back) if degrees.sequence else [])
    vocab = -(-shape.vocab // degrees.tensor)
    positions = shape.sequence * shape.hidden if shape.positions else 0
    return LayerWork(
        name="embedding",
        forward=tuple(b.forward),
        again=(),
        backward=b.backward_pass,
        parameters=vocab * shape.hidden + positions,
        expert_parameters=0,
        saved_bytes=8.0 * b.tokens,
        working_bytes=2.0 * vocab * shape.hidden,
        output_bytes=size * b.local / b.tokens,
        tensors=2 if shape.positions else 1,
    )


def head(shape: DecoderShape, degrees: Degrees) -> LayerWork:
    """Return the last norm, the logits (cut by vocabulary) and the cross entropy in fp32."""
    b = Builder(shape, degrees)
    b.norm()
    b.enter(low=False)
    vocab = -(-shape.vocab // degrees.tensor)
    b.linear(b.tokens, vocab, shape.hidden, low=False)
    logits = 1.0 * b.tokens * vocab
    kept, passes = degrees.loss_bytes, degrees.loss_passes
    if degrees.fused_loss:
        kept, passes = degrees.activation_bytes, min(passes, degrees.activation_bytes)
    # read in 16 bit, fp32 copy written; backward reads it and writes the gradient in 16 bit
    b.moved(Stream.CROSS_ENTROPY, 6.0 * logits, 6.0 * logits, vocab, 4.0 * logits)
    if degrees.tensor > 1:
        small = CollectiveWork(collective=Collective.ALL_REDUCE, bytes=4.0 * b.tokens, group=Group.TENSOR)
        b.add([small, small, small], [])
    return LayerWork(
        name="head",
        forward=tuple(b.forward),
        again=(),
        backward=b.backward_pass,
        parameters=b.parameters,
        expert_parameters=0,
        saved_bytes=1.0
        * degrees.activation_bytes
        * shape.hidden
        * (b.local + (b.tokens if degrees.autograd else b.local)),
        logits_bytes=1.0 * kept * logits,
        passing_bytes=1.0 * passes * logits,
        logits_gradient_bytes=1.0 * degrees.activation_bytes * logits,
        working_bytes=b.widest_bytes,
        output_bytes=0.0,
        tensors=b.tensors,
    )
