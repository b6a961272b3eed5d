"""ONNX attention operators in torch: fused where there is no mask tensor, else products and a softmax."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

from hardplace.workload.recording.onnx.node import OnnxNode, OnnxOperator


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float = 0.0,
    past: int = 0,
    left: int = -1,
    right: int = -1,
) -> torch.Tensor:
    """Return attention of query (batch, heads, q, dim) over key and value (batch, kv heads, k, dim).

    Query i is at place past + i among the keys; left and right: how many keys before and after its place it sees,
    -1 for all. causal: none after it.
    """
    right = 0 if causal else right
    if mask is None and not softcap and left < 0 and (right < 0 or (causal and past == 0)):
        grouped = query.shape[1] != key.shape[1]
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=causal, scale=scale, enable_gqa=grouped
        )
    key, value = _repeated(key, query.shape[1]), _repeated(value, query.shape[1])
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = torch.where(mask, scores, -math.inf) if mask.dtype is torch.bool else scores + mask
    if left >= 0 or right >= 0:
        visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        visible = visible.tril(past + right) if right >= 0 else visible
        visible = visible.triu(past - left) if left >= 0 else visible
        scores = torch.where(visible, scores, -math.inf)
    return torch.softmax(scores, -1) @ value


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    """Return x (batch, length, features) by heads: (batch, heads, length, dim)."""
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def _joined(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


def _length(past: torch.Tensor | None) -> int:
    return 0 if past is None else past.shape[2]


def _with_past(past: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return x if past is None else torch.cat((past, x), 2)


def _attention(
    node: OnnxNode, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any = None, *more: torch.Tensor | None
) -> Any:
    """ai.onnx Attention: 4-D by heads or 3-D; outputs y and the keys and values with the past in front."""
    past_key, past_value, lengths = (*more, None, None, None)[:3]
    if lengths is not None or len([name for name in node.outputs[3:] if name]):
        raise ValueError("nonpad_kv_seqlen and qk_matmul_output are not read")
    flat = q.dim() == 3
    if flat:
        q, k, v = (_heads(x, node.get(f"{n}_num_heads")) for x, n in ((q, "q"), (k, "kv"), (v, "kv")))
    key, value = _with_past(past_key, k), _with_past(past_value, v)
    y = _attend(
        q,
        key,
        value,
        mask=mask,
        causal=bool(node.get("is_causal", 0)),
        scale=node.get("scale"),
        softcap=node.get("softcap", 0.0),
        past=_length(past_key),
        left=node.get("left_window_size", -1),
        right=node.get("right_window_size", -1),
    )
    return _joined(y) if flat else y, key, value


def _rotated(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """Rotate x (batch, heads, length, dim) by tables (batch or 1, length, half of the rotated dim)."""
    width = 2 * cosine.shape[-1]
    turned, rest = (x, None) if width == x.shape[-1] else (x[..., :width], x[..., width:])
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    pair = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    parts = (cosine * pair[0] - sine * pair[1], sine * pair[0] + cosine * pair[1])
    result = torch.stack(parts, -1).flatten(-2) if interleaved else torch.cat(parts, -1)
    return result if rest is None else torch.cat((result, rest), -1)


def _rotary(
    node: OnnxNode, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """ai.onnx RotaryEmbedding; without positions the tables come by batch and position."""
    if positions is not None:
        cosine, sine = cosine[positions], sine[positions]
    split = _heads(x, node.get("num_heads")) if x.dim() == 3 else x
    result = _rotated(split, cosine, sine, bool(node.get("interleaved", 0)))
    return _joined(result) if x.dim() == 3 else result


def _rotary_of_microsoft(
    node: OnnxNode, x: torch.Tensor, positions: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor
) -> torch.Tensor:
    """com.microsoft RotaryEmbedding; positions (batch, length), or one that the rows count from."""
    heads = node.get("num_heads", 0)
    width = node.get("rotary_embedding_dim", 0)
    if x.dim() == 3 and not heads:
        heads = x.shape[-1] // (width or 2 * cosine.shape[-1])
    length = x.shape[1] if x.dim() == 3 else x.shape[2]
    if positions.dim() == 1:
        positions = (positions + torch.arange(length, device=x.device)).unsqueeze(0)
    split = _heads(x, heads) if x.dim() == 3 else x
    result = _rotated(split, cosine[positions], sine[positions], bool(node.get("interleaved", 0)))
    return _joined(result) if x.dim() == 3 else result


def _padding(mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return which keys are seen, from a mask (batch, keys) of ones and zeros."""
    if mask is not None and mask.dim() != 2:
        raise ValueError("a mask of keys other than (batch, keys) is not read")
    return None if mask is None else mask.to(torch.bool)[:, None, None, :]


def _masked(padding: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor | None:
    """Return one mask for both: of what is seen, and of what is added."""
    if padding is None or bias is None:
        return padding if bias is None else bias
    return padding & bias if bias.dtype is torch.bool else torch.where(padding, bias, -math.inf)


def _attention_of_microsoft(
    node: OnnxNode, x: torch.Tensor, weight: torch.Tensor, *more: torch.Tensor | None
) -> torch.Tensor:
    """com.microsoft Attention: the projection to queries, keys and values is part of it."""
    bias, mask, past, added = (*more, None, None, None, None)[:4]
    if past is not None:
        raise ValueError("keys and values of earlier steps are not read here")
    packed = torch.matmul(x, weight) if bias is None else torch.matmul(x, weight) + bias
    third = packed.shape[-1] // 3
    q, k, v = (
        _heads(part, node.get("num_heads")) for part in packed.split(node.get("qkv_hidden_sizes") or [third] * 3, -1)
    )
    causal, scale = bool(node.get("unidirectional", 0)), node.get("scale") or None
    return _joined(_attend(q, k, v, mask=_masked(_padding(mask), added), causal=causal, scale=scale))


def _multi_head(node: OnnxNode, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *more: torch.Tensor | None) -> Any:
    """com.microsoft MultiHeadAttention: queries (batch, length, features), not packed."""
    bias, mask, added, past_key, past_value = (*more, None, None, None, None, None)[:5]
    if q.dim() != 3 or k is None or v is None:
        raise ValueError("packed queries, keys and values are not read")
    if bias is not None:
        parts = bias.split([q.shape[-1], bias.shape[0] - q.shape[-1] - v.shape[-1], v.shape[-1]])
        q, k, v = q + parts[0], k + parts[1], v + parts[2]
    heads = node.get("num_heads")
    query, key, value = (x if x.dim() == 4 else _heads(x, heads) for x in (q, k, v))
    key, value = _with_past(past_key, key), _with_past(past_value, value)
    causal, scale = bool(node.get("unidirectional", 0)), node.get("scale") or None
    seen = _masked(_padding(mask), added)
    y = _attend(query, key, value, mask=seen, causal=causal, scale=scale, past=_length(past_key))
    return _joined(y), key, value


def _grouped_query(
    node: OnnxNode, q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, *more: torch.Tensor | None
) -> Any:
    """com.microsoft GroupQueryAttention, causal; all rows are taken as full (no padding)."""
    past_key, past_value, _, _, cosine, sine = (*more, *[None] * 6)[:6]
    heads, groups = node.get("num_heads"), node.get("kv_num_heads")
    if k is None or v is None:
        width = q.shape[-1] // (heads + 2 * groups)
        q, k, v = q.split([heads * width, groups * width, groups * width], -1)
    query, key, value = _heads(q, heads), _heads(k, groups), _heads(v, groups)
    if node.get("do_rotary", 0) and cosine is not None and sine is not None:
        start = _length(past_key)
        rows = slice(start, start + query.shape[2])
        tables = cosine[rows].unsqueeze(0), sine[rows].unsqueeze(0)
        interleaved = bool(node.get("rotary_interleaved", 0))
        query, key = _rotated(query, *tables, interleaved), _rotated(key, *tables, interleaved)
    key, value = _with_past(past_key, key), _with_past(past_value, value)
    window = node.get("local_window_size", -1)
    y = _attend(
        query,
        key,
        value,
        causal=True,
        scale=node.get("scale") or None,
        softcap=node.get("softcap", 0.0),
        past=_length(past_key),
        left=window - 1 if window > 0 else -1,
    )
    return _joined(y), key, value


ATTENTIONS: dict[str, OnnxOperator] = {
    "Attention": OnnxOperator(run=_attention),
    "RotaryEmbedding": OnnxOperator(run=_rotary),
    "com.microsoft.Attention": OnnxOperator(run=_attention_of_microsoft),
    "com.microsoft.GroupQueryAttention": OnnxOperator(run=_grouped_query),
    "com.microsoft.MultiHeadAttention": OnnxOperator(run=_multi_head),
    "com.microsoft.RotaryEmbedding": OnnxOperator(run=_rotary_of_microsoft),
}
