"""Mixtures of the transformers library that loop over their experts, as the grouped products that devices run.

The library's classes ask which experts are hit (`nonzero`, `tolist`), so they run on values alone. Here, as in its
other mixtures: the rows of all tokens' experts, sorted, times the matrix of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hardplace.workload.recording.experts import by_expert, to_tokens
from hardplace.workload.recording.routing import shares


def dbrx_experts(self: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Stand in for the forward of DbrxExperts: three matrices an expert, those of all experts one below another."""
    from transformers.integrations.moe import _grouped_linear

    tokens, chosen = hidden_states.reshape(-1, self.hidden_size), top_k_index.shape[-1]
    _, order, offsets = by_expert(top_k_index, self.num_experts)
    shape = (self.num_experts, self.ffn_hidden_size, self.hidden_size)
    w1, v1, w2 = (one.view(shape) for one in (self.mlp.w1, self.mlp.v1, self.mlp.w2))
    rows = tokens[order // chosen]
    gate = self.mlp.activation_fn(_grouped_linear(rows, w1, offsets))
    made = _grouped_linear(gate * _grouped_linear(rows, v1, offsets), w2, offsets, is_transposed=True)
    made = made * top_k_weights.reshape(-1)[order].unsqueeze(-1)
    return to_tokens(made, order, chosen).view(hidden_states.shape)


def jetmoe_gating(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Stand in for the forward of JetMoeTopKGating: where each expert's rows end takes the place of their number."""
    logits = self.layer(hidden_states).float()
    values, chosen = logits.topk(self.top_k, dim=1)
    gates = torch.softmax(values, dim=1).type_as(hidden_states)
    _, order, offsets = by_expert(chosen, self.num_experts)
    return order, order.div(self.top_k, rounding_mode="trunc"), gates.flatten()[order], offsets, logits


def jetmoe_experts(self: Any, inputs: Tensor, expert_size: Tensor) -> Tensor:
    """Stand in for the forward of JetMoeParallelExperts; expert_size: where each expert's rows end."""
    from transformers.integrations.moe import _grouped_linear

    return _grouped_linear(inputs, self.weight, expert_size)


def longcat_mixture(self: Any, hidden_states: Tensor) -> Tensor:
    """Stand in for the forward of LongcatFlashMoE, some of whose experts compute nothing: they give their input back.

    Balanced over all of them, so a token meets k E / (E + Z) of E experts that compute and Z that do not (LongCat
    team 2025, arXiv 2509.01322, section 2.1, where a bias of the router keeps that mean).
    """
    from transformers.integrations.moe import _grouped_linear

    experts = self.experts
    _, weights, chosen = self.router(hidden_states)
    tokens, top = hidden_states.view(-1, hidden_states.shape[-1]), chosen.shape[-1]
    _, order, offsets = by_expert(chosen, experts.num_routed_experts)
    each = shares(hidden_states.shape[1] * top, experts.total_experts)[: experts.num_routed_experts]
    count = hidden_states.shape[0] * sum(each)
    rows = tokens[order // top]
    up_proj = experts.gate_up_proj[: experts.num_routed_experts]  # it has matrices of those that compute nothing too
    gate, up = _grouped_linear(rows[:count], up_proj, offsets).chunk(2, dim=-1)
    made = _grouped_linear(experts.act_fn(gate) * up, experts.down_proj, offsets)
    made = torch.cat([made, rows[count:]]) * weights.reshape(-1)[order].unsqueeze(-1)
    return to_tokens(made.to(hidden_states.dtype), order, top).view(hidden_states.shape)


def wide_experts(self: Any, hidden_states: Tensor, router_indices: Tensor, routing_weights: Tensor) -> Tensor:
    """Stand in for the forward of OpenAIPrivacyFilterExperts, whose products, biases and sums are in fp32."""
    from transformers.integrations.moe import _grouped_linear

    chosen = router_indices.shape[-1]
    experts, order, offsets = by_expert(router_indices, self.num_experts)
    rows = hidden_states[order // chosen].float()
    gate_up = _grouped_linear(rows, self.gate_up_proj.float(), offsets, is_transposed=True)
    gate_up = gate_up + self.gate_up_proj_bias[experts].float()
    made = _grouped_linear(self._apply_gate(gate_up), self.down_proj.float(), offsets, is_transposed=True)
    made = (made + self.down_proj_bias[experts].float()) * routing_weights.reshape(-1)[order].unsqueeze(-1).float()
    return to_tokens(made, order, chosen).to(hidden_states.dtype)


def nllb_mixture(self: Any, hidden_states: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Stand in for the forward of NllbMoeSparseMLP, whose loop sends each token to the first two of all experts.

    As the router is defined, a token goes through the two experts that it chose (NLLB team 2022, arXiv 2207.04672,
    section 6.2); balanced, none is over its capacity. Each expert is a module of its own.
    """
    samples, length, width = hidden_states.shape
    tokens = hidden_states.view(-1, width)
    _, probabilities, _ = self.router(tokens, padding_mask)
    weights, chosen = torch.topk(probabilities, 2, dim=-1)
    _, order, _ = by_expert(chosen, self.num_experts)
    sizes = [samples * one for one in shares(length * 2, self.num_experts)]
    parts = tokens[order // 2].split(sizes)
    experts = [self.experts[f"expert_{number}"] for number in range(self.num_experts)]
    made = torch.cat([expert(part) for expert, part in zip(experts, parts, strict=True) if len(part)])
    made = made * weights.reshape(-1)[order].unsqueeze(-1)
    if self.experts.moe_token_dropout > 0:
        made = self.experts.token_dropout(made)
    return to_tokens(made.to(hidden_states.dtype), order, 2).view(hidden_states.shape)


FORWARDS: dict[tuple[str, str], Callable[..., Any]] = {
    ("dbrx", "DbrxExperts"): dbrx_experts,
    ("jetmoe", "JetMoeTopKGating"): jetmoe_gating,
    ("jetmoe", "JetMoeParallelExperts"): jetmoe_experts,
    ("longcat_flash", "LongcatFlashMoE"): longcat_mixture,
    ("nllb_moe", "NllbMoeSparseMLP"): nllb_mixture,
    ("openai_privacy_filter", "OpenAIPrivacyFilterExperts"): wide_experts,
}
