"""Stand-ins for torch functions whose CPU version is not what a training run executes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Attention(torch.autograd.Function):
    """Fused attention with its own backward: queries, keys, values, output and row statistics are saved."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, dropout: float, causal: bool, scale: float | None) -> Any:
        output, statistics = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, dropout, causal, scale=scale
        )
        ctx.save_for_backward(query, key, value, output, statistics)
        ctx.options = (dropout, causal, scale)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        dropout, causal, scale = ctx.options
        gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, *ctx.saved_tensors, dropout, causal, scale=scale
        )
        return (*gradients, None, None, None)


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
    if attn_mask is not None:
        raise NotImplementedError("attention with a mask tensor is not recorded; causal and full attention are")
    return _Attention.apply(query, key, value, dropout_p, is_causal, scale)  # type: ignore[no-any-return]


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout as devices run it: one operator that keeps a mask of one byte an element."""
    if not training or p == 0.0:
        return input
    return torch.native_dropout(input, p, True)[0]


class DeviceFunctions(TorchFunctionMode):
    """Replaces attention and dropout by their fused versions, and the loss by `loss` if there is one."""

    def __init__(self, loss: Callable[..., torch.Tensor] | None = None) -> None:
        super().__init__()
        self._stand_ins: dict[Any, Callable[..., torch.Tensor]] = {
            torch.nn.functional.scaled_dot_product_attention: _attention,
            torch.nn.functional.dropout: _dropout,
        }
        if loss is not None:
            self._stand_ins[torch.nn.functional.cross_entropy] = loss

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the stand-in of a function, or the function."""
        return self._stand_ins.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def without_mask_tensors() -> Iterator[None]:
    """Keep Hugging Face models from making 4-D masks for fake tensors: attention stays causal or full.

    Right because the step is recorded without padding and without packed sequences.
    """
    from transformers import masking_utils

    stand_ins = {
        "find_packed_sequence_indices": lambda position_ids: None,
        "_ignore_causal_mask_sdpa": lambda *_, **__: True,
    }
    originals = {name: getattr(masking_utils, name) for name in stand_ins}
    for name, stand_in in stand_ins.items():
        setattr(masking_utils, name, stand_in)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(masking_utils, name, original)
