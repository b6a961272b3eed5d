"""The exchange of tokens for heads between context ranks: its bytes against ranks that really exchange, its work and
what it keeps by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, LayerWork, StreamWork, Work
from hardplace.cost.types import Collective
from hardplace.workload.decoder import DecoderShape, Degrees, Latent
from hardplace.workload.types import Group, Recompute

SHAPE = DecoderShape(
    layers=1, hidden=64, heads=16, kv_heads=4, head_dim=8, ffn=128, vocab=32, sequence=32, gated=True
)  # fmt: skip


def laid_out(shape: DecoderShape, recompute: Recompute = Recompute.NONE, **degrees: object) -> LayerWork:
    return block(shape, replace(Degrees(), **degrees), recompute)  # type: ignore[arg-type]


def sent(works: tuple[Work, ...]) -> list[float]:
    """Return the bytes on a rank of each collective between context ranks, all of which are all-to-alls."""
    found = [one for one in works if isinstance(one, CollectiveWork) and one.group is Group.CONTEXT]
    assert {one.collective for one in found} <= {Collective.ALL_TO_ALL}
    return [one.bytes for one in found]


def attentions(works: tuple[Work, ...]) -> list[AttentionWork]:
    return [one for one in works if isinstance(one, AttentionWork)]


def causal(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return attention of (tokens, heads, width), each group of heads with its head of keys."""
    k, v = (np.repeat(one, q.shape[1] // one.shape[1], axis=1) for one in (k, v))
    scores = np.einsum("ihd,jhd->hij", q, k)
    scores = np.where(np.tril(np.ones(scores.shape[1:], dtype=bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("hij,jhd->ihd", weights / weights.sum(axis=-1, keepdims=True), v)


def exchanged(parts: list[np.ndarray], leave: int, join: int) -> tuple[list[np.ndarray], int]:
    """Return what each rank has after an all-to-all that divides axis `leave` and joins axis `join`, and the elements
    that leave a rank."""
    ranks = len(parts)
    pieces = [np.split(part, ranks, axis=leave) for part in parts]
    gone = sum(piece.size for rank, piece in enumerate(pieces[0]) if rank != 0)
    return [np.concatenate([pieces[one][rank] for one in range(ranks)], axis=join) for rank in range(ranks)], gone


@pytest.mark.parametrize("context", [2, 4, 8])
def test_ranks_that_exchange_send_these_bytes_and_get_whole_attention(context: int) -> None:
    """Four ranks and more with real arrays; of 4 heads of keys 8 ranks get copies, as DeepSpeed's repeat_interleave."""
    rng = np.random.default_rng(0)
    heads = (SHAPE.heads, SHAPE.kv_heads, SHAPE.kv_heads)
    whole = [rng.normal(size=(SHAPE.sequence, count, SHAPE.head_dim)) for count in heads]
    copies = max(1, context // SHAPE.kv_heads)
    own, gone = [], []
    for tensor, repeat in zip(whole, (1, copies, copies), strict=True):
        parts = np.split(np.repeat(tensor, repeat, axis=1), context)
        came, left = exchanged(parts, leave=1, join=0)
        own.append(came)
        gone.append(left)
    outs, left = exchanged([causal(*one) for one in zip(*own, strict=True)], leave=0, join=1)
    assert np.allclose(np.concatenate(outs), causal(*whole))
    layer = laid_out(SHAPE, context=context, exchanges_heads=True)
    share = (context - 1) / context  # of what a rank has, what leaves it
    assert [share * size / 2.0 for size in sent(layer.forward)] == pytest.approx([*gone, left])
    assert sorted(sent(layer.backward)) == sorted(sent(layer.forward))
    for one in (*attentions(layer.forward), *attentions(layer.backward)):
        assert (one.queries, one.keys) == (SHAPE.sequence, SHAPE.sequence)
        assert (one.heads, one.kv_heads) == (own[0][0].shape[1], own[1][0].shape[1])


def test_tensor_parallelism_divides_the_heads_first() -> None:
    layer = laid_out(SHAPE, tensor=2, sequence=True, context=2, exchanges_heads=True)
    (forward,) = attentions(layer.forward)
    assert (forward.heads, forward.kv_heads) == (4, 1)
    tokens = SHAPE.sequence // 2
    assert sent(layer.forward) == [2.0 * tokens * width for width in (8 * 8, 2 * 8, 2 * 8, 8 * 8)]


@pytest.mark.parametrize("degrees", [{"tensor": 1}, {"tensor": 2, "sequence": True}, {"micro_batch": 3}])
def test_the_work_of_attention_is_a_rings_and_no_keys_are_gathered(degrees: dict[str, int]) -> None:
    ring = laid_out(SHAPE, context=4 // degrees.get("tensor", 1), **degrees)
    exchange = laid_out(SHAPE, context=4 // degrees.get("tensor", 1), exchanges_heads=True, **degrees)
    for side in ("forward", "backward"):
        one, other = attentions(getattr(ring, side)), attentions(getattr(exchange, side))
        assert [work.model_flops for work in one] == [work.model_flops for work in other]
    assert exchange.parameters == ring.parameters


def test_tensors_are_laid_out_anew_on_both_ends() -> None:
    """Two kernels that read and write each of the four."""
    ring = laid_out(SHAPE, context=4, blocks_of_keys=False)
    exchange = laid_out(SHAPE, context=4, exchanges_heads=True)

    def moved(works: tuple[Work, ...]) -> tuple[float, int]:
        found = [one for one in works if isinstance(one, StreamWork) and one.kind is Stream.ELEMENTWISE]
        return sum(one.bytes for one in found), sum(one.launches for one in found)

    for side in ("forward", "backward"):
        (before, kernels), (after, more) = moved(getattr(ring, side)), moved(getattr(exchange, side))
        assert after - before == 4.0 * sum(sent(getattr(exchange, side)))
        assert more - kernels == 8


def test_attention_keeps_its_output_beside_the_projections_input() -> None:
    """Without an exchange both are one tensor; in 8 bits the projection's input is another one anyway. Copied heads of
    keys are kept as often as they came."""
    tokens, out = SHAPE.sequence // 4, SHAPE.heads * SHAPE.head_dim
    plain = [laid_out(SHAPE, context=4, low=low).saved_bytes for low in (0.0, 1.0)]
    exchange = [laid_out(SHAPE, context=4, low=low, exchanges_heads=True).saved_bytes for low in (0.0, 1.0)]
    assert exchange[0] - plain[0] == 2.0 * tokens * out
    assert exchange[1] == plain[1]
    shared = replace(SHAPE, kv_heads=2)
    more = laid_out(shared, context=4, exchanges_heads=True).saved_bytes - laid_out(shared, context=4).saved_bytes
    assert more == 2.0 * tokens * (out + 2 * (4 - 2) * SHAPE.head_dim)


def test_what_is_computed_again_is_exchanged_again() -> None:
    """All, with full recompute; core attention with its exchanges as one module, which then keeps no output of its
    own."""
    degrees = {"context": 4, "exchanges_heads": True}
    once = sent(laid_out(SHAPE, **degrees).forward)
    assert sent(laid_out(SHAPE, Recompute.FULL, **degrees).again) == once
    attention = laid_out(SHAPE, Recompute.SELECTIVE, modules=("core_attn",), **degrees)
    assert sent(attention.again) == once
    assert attention.saved_bytes == laid_out(SHAPE, context=4).saved_bytes
    assert sent(laid_out(SHAPE, Recompute.SELECTIVE, modules=("layernorm",), **degrees).again) == []
    assert sent(laid_out(SHAPE, Recompute.SELECTIVE, modules=("op",), **degrees).again) == once


def test_latent_attention_exchanges_keys_of_all_heads() -> None:
    latent = replace(SHAPE, kv_heads=16, latent=Latent(query=0, key_value=16, nope=8, rope=4, value=6))
    layer = laid_out(latent, context=4, exchanges_heads=True)
    assert sent(layer.forward) == [2.0 * 8 * 16 * width for width in (12, 12, 6, 6)]
    assert attentions(layer.forward)[0].heads == 4
    plain = laid_out(latent, context=4)
    assert layer.saved_bytes - plain.saved_bytes == 2.0 * 8 * 16 * 6


def test_the_backward_pass_holds_four_copies_of_what_it_exchanges() -> None:
    """More than the products of this layer hold, whose weights are small and sequence is long."""
    long = replace(SHAPE, sequence=4096)
    tokens, width = 4096 // 4, (16 + 2 * 4) * 8
    assert laid_out(long, context=4, exchanges_heads=True).working_bytes == 4.0 * 2.0 * tokens * width
    assert laid_out(long, context=4).working_bytes < 4.0 * 2.0 * tokens * width
