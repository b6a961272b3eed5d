"""Attention as a fused kernel runs it (Dao 2023): saves queries, keys, values, output and row statistics."""

from __future__ import annotations

from typing import Any

import torch

_LIBRARY = torch.library.Library("hardplace", "FRAGMENT")
_LIBRARY.define(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? bias, bool causal, int window, Tensor? sinks=None) "
    "-> (Tensor, Tensor)"
)
_LIBRARY.define(
    "attention_backward(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor output, Tensor statistics, "
    "Tensor? bias, Tensor? sinks, bool bias_gradient, bool causal, int window) "
    "-> (Tensor, Tensor, Tensor, Tensor?, Tensor?)"
)
# What the model library hands to an attention function and the operator needs not: values, or said elsewhere.
_OF_VALUES = {
    "dropout", "scaling", "softcap", "logits_soft_cap", "position_ids", "cache_position", "output_attentions",
    "output_hidden_states", "use_cache", "return_dict", "cu_seq_lens_k", "cu_seqlens", "max_length_q", "max_length_k",
    "target_dtype", "training", "deterministic",
}  # fmt: skip


def _by_token(like: torch.Tensor, width: int) -> torch.Tensor:
    """Return an empty (batch, heads, tokens, width) tensor that lies in memory token by token."""
    batch, heads, tokens, _ = like.shape
    return like.new_empty((batch, tokens, heads, width)).transpose(1, 2)


def _shapes(
    query: Any, key: Any, value: Any, bias: Any, causal: bool, window: int, sinks: torch.Tensor | None = None
) -> Any:
    statistics = query.new_empty(query.shape[:3], dtype=torch.float32)
    return _by_token(query, value.shape[-1]), statistics


def _backward_shapes(gradient: Any, query: Any, key: Any, value: Any, *rest: Any) -> Any:
    bias, sinks, wanted = rest[2:5]
    gradients = tuple(_by_token(one, one.shape[-1]) for one in (query, key, value))
    return (
        *gradients,
        torch.empty_like(bias) if wanted else None,
        None if sinks is None else torch.empty_like(sinks),
    )


_LIBRARY.impl("attention", _shapes, "Meta")
_LIBRARY.impl("attention_backward", _backward_shapes, "Meta")


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, bias: Any, causal: bool, window: int, sinks: Any) -> Any:
        output, statistics = torch.ops.hardplace.attention(query, key, value, bias, causal, window, sinks)
        ctx.save_for_backward(query, key, value, output, statistics, bias, sinks)
        ctx.options = (bias is not None and bias.requires_grad, causal, window)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        *gradients, sinks = torch.ops.hardplace.attention_backward(gradient, *ctx.saved_tensors, *ctx.options)
        return (*gradients, None, None, sinks)


def _alike(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return queries, keys and values in the type that autocast picks for attention, as it picks it for products."""
    if not torch.is_autocast_enabled("cpu"):
        return list(tensors)
    return [one.to(torch.get_autocast_dtype("cpu")) if one.is_floating_point() else one for one in tensors]


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    causal: bool = False,
    window: int = 0,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run attention as one operator on (batch, heads, tokens, width); keys and values may have fewer heads.

    bias: added to the scores. window: keys that a query sees, 0 for all. sinks: a score a head that only the softmax
    sees.
    """
    query, key, value = _alike(query, key, value)
    return _Attention.apply(query, key, value, bias, causal, window, sinks)


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Stand in for torch's function of this name."""
    *lead, _, _ = query.shape
    if query.dim() != 4:  # torch takes any number of leading dimensions
        query, key, value = (one.reshape(1, -1, *one.shape[-2:]) for one in (query, key, value))
        attn_mask = None if attn_mask is None else attn_mask.reshape(1, -1, *attn_mask.shape[-2:])
    result = attend(query, key, value, attn_mask, causal=is_causal)
    return result.reshape(*lead, *result.shape[-2:])


def chunked_mask(chunk: int) -> torch.Tensor:
    """Return what tells library_attention that a token sees only those before it in its own chunk.

    A mask of one element: it stands where the library hands on a mask, and no operator reads it.
    """
    mask = torch.empty((1, 1, 1, 1), dtype=torch.bool, device="cpu")
    mask.hardplace_chunk = chunk  # type: ignore[attr-defined]
    return mask


def library_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None,
    indices: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as the model library asks for it: (batch, heads, tokens, width) in, (batch, tokens, heads, width) out.

    Fused kernels know causality, windows, soft caps, sinks and grouped key/value heads without a mask tensor, and skip
    what a mask of booleans leaves out. indices: the keys that each query of sparse attention chose, (batch, tokens,
    keys): it sees as many as it would of a window. So does a token of chunked attention, at most. cu_seq_lens_q: where
    the images (frames, windows) begin that lie one after another in a batch of one: each token sees its own.
    """
    unknown = [
        name
        for name, one in others.items()
        if name not in _OF_VALUES and isinstance(one, torch.Tensor) and one.is_floating_point()
    ]
    if unknown:
        raise NotImplementedError(
            f"attention with {', '.join(unknown)} is no operator here; attention unfused records it"
        )
    if cu_seq_lens_q is not None and query.shape[0] == 1:
        parts = _equal_parts(cu_seq_lens_q)
        query, key, value = (_cut(one, parts) for one in (query, key, value))
        attention_mask = None
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal) and query.shape[2] > 1
    bias = position_bias if position_bias is not None else attention_mask
    if bias is not None and bias.dtype is torch.bool:
        bias = None
    window = sliding_window or int(getattr(attention_mask, "hardplace_chunk", None) or 0)
    if window and not causal:
        window = 2 * window - 1  # as many to either side, and the token itself
    if indices is not None:
        window, bias = indices.shape[-1], indices.unsqueeze(1)
    window = window if window < key.shape[2] else 0
    output = attend(query, key, value, bias, causal=causal, window=window, sinks=s_aux)
    output = output.transpose(1, 2).contiguous()
    return (output if cu_seq_lens_q is None else output.reshape(1, -1, *output.shape[2:])), None


def _equal_parts(starts: torch.Tensor) -> int:
    """Return how many sequences of one length are packed. starts: where they begin, and the end, with their values."""
    lengths = {int(one) for one in (starts[1:] - starts[:-1]).tolist()}
    if len(lengths) != 1:
        raise NotImplementedError(
            f"attention within sequences of {', '.join(map(str, sorted(lengths)))} tokens that lie one after another; "
            "those of one length are recorded"
        )
    return len(starts) - 1


def _cut(packed: torch.Tensor, parts: int) -> torch.Tensor:
    """Return (parts, heads, tokens, width) of (1, heads, parts x tokens, width)."""
    by_token = packed.transpose(1, 2)
    return by_token.reshape(parts, -1, *by_token.shape[2:]).transpose(1, 2)
