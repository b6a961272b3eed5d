"""What recompute of parts of a decoder's layer drops, and the work that it runs again in the backward pass."""

from __future__ import annotations

from dataclasses import replace

from hardplace.cost.layers.builder import Builder
from hardplace.cost.layers.types import Stream
from hardplace.cost.layers.work import AttentionWork, CollectiveWork, GemmWork, StreamWork, Work


def modules_again(b: Builder, number: int, forward: tuple[Work, ...], out: float) -> tuple[float, tuple[Work, ...]]:
    """Return the bytes that recomputing the degrees' modules drops, and the work that it runs again (Megatron Core's
    recompute_modules): core_attn, mla_up_proj, layernorm, mlp (dense layers), moe_act, moe; and as XLA's policies do
    mlp_act (the input of a dense MLP's last product), moe_up (the mixture but its experts' last products, whose outputs
    are kept), context (attention, its output not kept), qkv_proj (queries, keys and values) and out_proj (attention's
    projection, so the residual sum that the second norm reads); op:
    `_by_operator`."""
    shape, degrees, latent, moe = b.shape, b.degrees, b.shape.latent, b.shape.experts
    size, matrices, heads = degrees.activation_bytes, 2 if shape.gated else 1, shape.heads // degrees.tensor
    mixture = moe is not None and number >= moe.dense_layers
    dropped: dict[str, float] = {"core_attn": b.exchange_saved_bytes, "layernorm": b.entering_bytes(mixture=mixture)}
    works: dict[str, list[Work]] = {
        "core_attn": [*b.exchanged, *b.blocks, *(one for one in forward if isinstance(one, AttentionWork))],
        "layernorm": b.norms,
    }
    products = [one for one in forward if isinstance(one, GemmWork)]
    value = shape.head_dim if latent is None else latent.value
    dropped["context"] = b.twice * size * b.tokens * heads * value + b.exchange_saved_bytes
    works["context"] = works["core_attn"]
    kinds = [type(one) for one in forward]
    scored = kinds.index(AttentionWork)
    projected = kinds.index(GemmWork, scored)
    width = (heads + 2 * -(-shape.kv_heads // degrees.tensor)) * shape.head_dim
    if latent is not None:
        width = heads * (2 * (latent.nope + latent.rope) + latent.value)
    dropped["qkv_proj"] = 1.0 * size * b.tokens * width
    works["qkv_proj"] = [one for one in forward[kinds.index(GemmWork) : scored] if not isinstance(one, CollectiveWork)]
    works["qkv_proj"] += [one for one in b.exchanged[:-2] if isinstance(one, CollectiveWork)]  # kept as they came
    dropped["out_proj"] = out
    normed = next(at for at, one in enumerate(forward) if at > projected and any(one is norm for norm in b.norms))
    works["out_proj"] = list(forward[projected:normed])
    if latent is not None:
        query = latent.nope + latent.rope
        dropped["mla_up_proj"] = 1.0 * size * b.tokens * heads * (2 * query + latent.value)
        ups = (heads * query, latent.query or shape.hidden), (heads * (latent.nope + latent.value), latent.key_value)
        works["mla_up_proj"] = [one for one in products if (one.n, one.k) in ups]
        works["mla_up_proj"] += b.exchanged[:-2]  # of q, k and v
    if mixture and moe is not None:
        copies = int(b.tokens // degrees.tensor * moe.rows)
        act = 1.0 * size * copies * moe.ffn
        dropped["moe_act"] = b.spare * b.kept_share * act
        works["moe_act"] = [StreamWork(kind=Stream.ELEMENTWISE, bytes=b.activation_moves[0] * act)]
        router = next(place for place, one in enumerate(forward) if isinstance(one, GemmWork) and one.n == moe.count)
        whole = 1.0 * size * copies * shape.hidden
        dropped["moe"] = whole + b.spare * (b.kept_share * whole + (matrices + b.unfused + b.kept_share) * act)
        works["moe"] = list(forward[router:])
        dropped["moe_up"] = dropped["moe"] - whole
        last = next(one for one in reversed(works["moe"]) if isinstance(one, GemmWork) and one.grouped)
        works["moe_up"] = [one for one in works["moe"] if one is not last]
    elif shape.ffn:
        own = shape.ffn // degrees.tensor
        act = 1.0 * size * b.tokens * own
        dropped["mlp"] = (matrices + b.unfused + b.kept_share) * act
        works["mlp"] = [one for one in products if (one.n, one.k) == (matrices * own, shape.hidden)]
        works["mlp"].append(StreamWork(kind=Stream.ELEMENTWISE, bytes=b.activation_moves[0] * act))
        dropped["mlp_act"], works["mlp_act"] = b.kept_share * act, works["mlp"][-1:]
    if "op" in degrees.modules:
        return _by_operator(b, forward, out, mixture=mixture)
    names = [name for name in degrees.modules if name in works]
    return sum(dropped[name] for name in names), tuple(one for name in names for one in works[name])


def _products(b: Builder, *, mixture: bool) -> list[tuple[int, int]]:
    """Return (outputs, inputs) of a layer's products one by one, in the order in which they run, experts' left out."""
    shape, tensor, latent, moe = b.shape, b.degrees.tensor, b.shape.latent, b.shape.experts
    heads, hidden = shape.heads // tensor, shape.hidden
    if latent is None:
        kv = -(-shape.kv_heads // tensor) * shape.head_dim
        value = shape.head_dim
        found = [(heads * shape.head_dim, hidden), (kv, hidden), (kv, hidden)]
    else:
        value, query = latent.value, heads * (latent.nope + latent.rope)
        found = [(latent.query, hidden), (query, latent.query)] if latent.query else [(query, hidden)]
        found += [(latent.key_value + latent.rope, hidden), (heads * (latent.nope + value), latent.key_value)]
    found.append((hidden, heads * value))
    ffn = (moe.shared_ffn if moe else 0) if mixture else shape.ffn
    if mixture and moe is not None:
        found.append((moe.count, hidden))
    if ffn:
        found += [(ffn // tensor, hidden)] * (2 if shape.gated else 1) + [(hidden, ffn // tensor)]
    return found


def _by_operator(b: Builder, forward: tuple[Work, ...], out: float, *, mixture: bool) -> tuple[float, tuple[Work, ...]]:
    """Return the bytes that torchtitan's selective recompute by operator drops, and the work that it runs again.

    Kept are the layer's input, attention's output, the outputs of every second product from the first on (q, v, gate
    and down, of q, k, v, output, gate, up and down), and what reduce-scatters give. Grouped products of experts are no
    such operator: they run again with all that only moves bytes.

    Source: torchtitan, distributed/activation_checkpoint.py (_save_list, mm_count).
    """
    shape, degrees = b.shape, b.degrees
    size, value = 1.0 * degrees.activation_bytes * b.tokens, shape.latent.value if shape.latent else shape.head_dim
    products = _products(b, mixture=mixture)
    kept = out + size * (shape.heads // degrees.tensor * value + sum(outputs for outputs, _ in products[0::2]))
    if degrees.sequence:
        kept += 2.0 * out
    like = next(one for one in forward if isinstance(one, GemmWork))
    again: list[Work] = [replace(like, n=outputs, k=inputs) for outputs, inputs in products[1::2]]
    again += [
        one
        for one in forward
        if (isinstance(one, StreamWork) and one not in b.blocks) or (isinstance(one, GemmWork) and one.grouped)
    ]
    again += [one for one in b.exchanged if isinstance(one, CollectiveWork)]
    return b.saved_bytes + b.entering_bytes(mixture=mixture) - kept, tuple(again)
