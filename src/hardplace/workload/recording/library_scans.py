"""What stands for the linear attention and the recurrences of the transformers library while a step is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardplace.workload.recording.linear_scans import linear_attention, recurrence


def _without_state(initial_state: Any, final: bool) -> None:
    if initial_state is not None or final:
        raise NotImplementedError("a scan that carries a cache is not recorded; set use_cache=False")


def _delta(name: str) -> Callable[..., Any]:
    def scan(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        g: Tensor,
        beta: Tensor,
        chunk_size: int = 64,
        initial_state: Tensor | None = None,
        output_final_state: bool = False,
        use_qk_l2norm_in_kernel: bool = False,
        **_: Any,
    ) -> tuple[Tensor, None]:
        """Stand in for the chunked delta rule; options that change values only are left out."""
        _without_state(initial_state, output_final_state)
        if use_qk_l2norm_in_kernel:
            query, key = (torch.ops.hardplace.l2_norm(one)[0] for one in (query, key))
        return getattr(torch.ops.hardplace, name)(query, key, value, g, beta)[0], None

    return scan


def lightning_attention(
    self: Any, hidden_states: Tensor, position_embeddings: Any, attention_mask: Any, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """Stand in for the forward of MiniMaxLightningAttention without its loop over blocks."""
    qkv = self.act_fn(self.qkv_proj(hidden_states))
    qkv = qkv.reshape(*hidden_states.shape[:2], self.num_attention_heads, 3 * self.head_dim)
    output = linear_attention(*torch.split(qkv, self.head_dim, dim=3))
    normed = self.norm(output.reshape(*hidden_states.shape[:2], -1))
    return self.out_proj(torch.sigmoid(self.output_gate(hidden_states)) * normed), None


def mlstm(
    self: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    igate: Tensor,
    fgate: Tensor,
    return_last_states: bool | None = None,
    **_: Any,
) -> Any:
    """Stand in for the forward of xLSTMBackend: (batch, heads, length, width) in and out."""
    by_token = [one.transpose(1, 2) for one in (query, key, value, igate, fgate)]
    output = linear_attention(*by_token).transpose(1, 2)
    wanted = self.config.return_last_states if return_last_states is None else return_last_states
    return (output, None) if wanted else output


def gated_recurrence(
    self: Any, hidden_states: Tensor, recurrent_gate: Tensor, reset: Tensor, recurrent_states: Any, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    """Stand in for RecurrentGemma's loop over tokens."""
    return recurrence(hidden_states, recurrent_gate * ~reset), None


def rwkv(
    time_decay: Tensor, time_first: Tensor, key: Tensor, value: Tensor, state: Any = None, return_state: bool = False
) -> tuple[Tensor, Any]:
    """Stand in for RWKV-4's loop over tokens."""
    return recurrence(key, value, time_decay, time_first), state


# By the name that a module of the library defines.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch_chunk_gated_delta_rule": _delta("gated_delta_scan"),
    "chunk_kimi_delta_attention": _delta("kimi_delta_scan"),
    "rwkv_linear_attention": rwkv,
}
# By class and method.
METHODS: dict[tuple[str, str], Callable[..., Any]] = {
    ("MiniMaxLightningAttention", "forward"): lightning_attention,
    ("xLSTMBackend", "forward"): mlstm,
    ("RecurrentGemmaRglru", "_rnn_scan"): gated_recurrence,
}
