"""Stand-ins for torch functions whose CPU version is not what a training run executes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hardplace.workload.recording.scan import fused_scan

# Attention as a fused kernel runs it (Dao 2023): saves queries, keys, values, output and row statistics.
_LIBRARY = torch.library.Library("hardplace", "DEF")
_LIBRARY.define(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? bias, bool causal, int window) -> (Tensor, Tensor)"
)
_LIBRARY.define(
    "attention_backward(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor output, Tensor statistics, "
    "Tensor? bias, bool bias_gradient, bool causal, int window) -> (Tensor, Tensor, Tensor, Tensor?)"
)


def _by_token(like: torch.Tensor, width: int) -> torch.Tensor:
    """Return an empty (batch, heads, tokens, width) tensor that lies in memory token by token."""
    batch, heads, tokens, _ = like.shape
    return like.new_empty((batch, tokens, heads, width)).transpose(1, 2)


def _attention_shapes(query: Any, key: Any, value: Any, bias: Any, causal: bool, window: int) -> Any:
    statistics = query.new_empty(query.shape[:3], dtype=torch.float32)
    return _by_token(query, value.shape[-1]), statistics


def _attention_backward_shapes(gradient: Any, query: Any, key: Any, value: Any, *rest: Any) -> Any:
    bias, wanted = rest[2], rest[3]
    gradients = tuple(_by_token(one, one.shape[-1]) for one in (query, key, value))
    return (*gradients, torch.empty_like(bias) if wanted else None)


_LIBRARY.impl("attention", _attention_shapes, "Meta")
_LIBRARY.impl("attention_backward", _attention_backward_shapes, "Meta")


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, bias: Any, causal: bool, window: int) -> Any:
        output, statistics = torch.ops.hardplace.attention(query, key, value, bias, causal, window)
        ctx.save_for_backward(query, key, value, output, statistics, bias)
        ctx.options = (bias is not None and bias.requires_grad, causal, window)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        gradients = torch.ops.hardplace.attention_backward(gradient, *ctx.saved_tensors, *ctx.options)
        return (*gradients, None, None)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    *lead, _, _ = query.shape
    if query.dim() != 4:  # torch takes any number of leading dimensions
        query, key, value = (one.reshape(1, -1, *one.shape[-2:]) for one in (query, key, value))
        attn_mask = None if attn_mask is None else attn_mask.reshape(1, -1, *attn_mask.shape[-2:])
    result = _Attention.apply(query, key, value, attn_mask, is_causal, 0)
    return result.reshape(*lead, *result.shape[-2:])  # type: ignore[no-any-return]


def _library_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as the model library asks for it: (batch, heads, tokens, width) in, (batch, tokens, heads, width) out.

    Fused kernels know causality, windows, soft caps and grouped key/value heads without a mask tensor.
    """
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal) and query.shape[2] > 1
    bias = position_bias if position_bias is not None else attention_mask
    window = int(sliding_window or 0)
    window = window if window < key.shape[2] else 0
    output = _Attention.apply(query, key, value, bias, causal, window)
    return output.transpose(1, 2).contiguous(), None


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout as devices run it: one operator that keeps a mask of one byte an element."""
    if not training or p == 0.0:
        return input
    return torch.native_dropout(input, p, True)[0]


def _rand(*size: Any, **options: Any) -> Any:
    """Random numbers; a single one, which models compare with their layer-drop rate, is one: no layer is dropped."""
    return 1.0 if size in ((), ([],), ((),)) and "size" not in options else torch.rand(*size, **options)


class DeviceFunctions(TorchFunctionMode):
    """Replaces attention and dropout by their fused versions; drops no layers."""

    def __init__(self) -> None:
        super().__init__()
        self._stand_ins: dict[Any, Callable[..., torch.Tensor]] = {
            torch.nn.functional.scaled_dot_product_attention: _attention,
            torch.nn.functional.dropout: _dropout,
            torch.rand: _rand,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the stand-in of a function, or the function."""
        return self._stand_ins.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def device_choices() -> Iterator[None]:
    """Let a model choose as on its device, not as on the CPU where the tensors of a recording lie.

    Autocast for any device acts; recurrent layers are the products they are made of; torch's own attention layer,
    which a function mode does not see into, calls the stand-ins.
    """
    functions = torch.nn.functional
    kept = torch.autocast.__init__
    called = (functions.scaled_dot_product_attention, functions.dropout)
    mkldnn = torch._C._get_mkldnn_enabled()

    def init(self: Any, device_type: str, dtype: torch.dtype | None = None, *rest: Any, **named: Any) -> None:
        kept(self, "cpu", torch.get_autocast_dtype(device_type) if dtype is None else dtype, *rest, **named)

    torch.autocast.__init__ = init  # type: ignore[method-assign]
    functions.scaled_dot_product_attention, functions.dropout = _attention, _dropout
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)
        functions.scaled_dot_product_attention, functions.dropout = called
        torch.autocast.__init__ = kept  # type: ignore[method-assign]


@contextmanager
def library_stand_ins() -> Iterator[None]:
    """Let Hugging Face models call the fused attention, and make no 4-D masks for it.

    Right because the step is recorded without padding and without packed sequences. Models that were asked to
    run "eager" attention keep it, and its masks.
    """
    from transformers import masking_utils, modeling_utils

    attention = modeling_utils.AttentionInterface._global_mapping
    masks = masking_utils.AttentionMaskInterface._global_mapping
    kept = (attention["sdpa"], masks["sdpa"], masking_utils.find_packed_sequence_indices)
    attention["sdpa"] = _library_attention
    masks["sdpa"] = lambda *_, **__: None
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    try:
        with fused_scan():
            yield
    finally:
        attention["sdpa"], masks["sdpa"], masking_utils.find_packed_sequence_indices = kept
