"""Mixtures of experts of the transformers library: a token goes through the experts it is sent to, and no others.

Grouped products run in any type, in autocast's where that is on, as linear layers do; torch's own CPU version takes
bf16 alone. Balanced routing: as many rows as tokens times experts a token, wherever they go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

torch.library.define("hardplace::grouped_mm", "(Tensor left, Tensor right, Tensor offsets) -> Tensor")


@torch.library.register_fake("hardplace::grouped_mm")
def _grouped_shape(left: Tensor, right: Tensor, offsets: Tensor) -> Tensor:
    """Rows of each group times its matrix; of two matrices: the columns and rows of each group, a matrix a group."""
    if right.dim() == 3:
        return left.new_empty((left.shape[0], right.shape[-1]))
    return left.new_empty((offsets.shape[0], left.shape[0], right.shape[-1]))


def _grouped_saves(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _grouped_gradients(ctx: Any, gradient: Tensor) -> Any:
    """As torch's derivative of _grouped_mm: one grouped product for each operand."""
    left, right, offsets = ctx.saved_tensors
    of_left = of_right = None
    if ctx.needs_input_grad[0]:
        of_left = torch.ops.hardplace.grouped_mm(gradient, right.transpose(-2, -1), offsets)
    if ctx.needs_input_grad[1]:
        of_right = torch.ops.hardplace.grouped_mm(left.transpose(-2, -1), gradient, offsets)
    return of_left, of_right, None


torch.library.register_autograd("hardplace::grouped_mm", _grouped_gradients, setup_context=_grouped_saves)


def grouped_product(input: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    """Stand in for _grouped_mm of transformers.integrations.moe."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    input, weight = input.to(dtype), weight.to(dtype)
    if dtype is torch.bfloat16:
        return torch.nn.functional.grouped_mm(input, weight, offs=offs)
    return torch.ops.hardplace.grouped_mm(input, weight, offs)


class Sorted(NamedTuple):
    """Choices of experts, flat and sorted by expert.

    Attributes:
        experts: Expert of each.
        order: Where each stood: token times experts a token, plus its place among them.
        offsets: Where the rows of each expert end, int32.
    """

    experts: Tensor
    order: Tensor
    offsets: Tensor


def by_expert(chosen: Tensor, count: int) -> Sorted:
    """Return the choices (tokens, experts a token) of `count` experts, sorted."""
    experts, order = torch.sort(chosen.reshape(-1))
    counts = torch.histc(experts.float(), bins=count, min=0, max=count - 1)
    return Sorted(experts, order, torch.cumsum(counts, dim=0, dtype=torch.int32))


def to_tokens(made: Tensor, order: Tensor, chosen: int) -> Tensor:
    """Return the sum a token of what its experts made. made: (choices, width), sorted; chosen: experts a token."""
    back = torch.empty_like(order)
    back[order] = torch.arange(order.shape[0], device=order.device)
    return made[back].view(-1, chosen, made.shape[-1]).sum(dim=1)


def llama4_mixture(self: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """Stand in for the forward of Llama4TextMoe, which multiplies every token by every expert.

    As Llama 4 is defined: a token, scaled by the sigmoid of its router's logit, goes through its top-k experts, and
    all go through the shared one (meta-llama/llama-models, models/llama4/moe.py).
    """
    from transformers.integrations.moe import _grouped_linear

    tokens = hidden_states.reshape(-1, self.hidden_dim)
    logits = torch.nn.functional.linear(tokens, self.router.weight, self.router.bias)
    values, chosen = torch.topk(logits, self.top_k, dim=1)
    scores = torch.sigmoid(values.float()).to(values.dtype)
    _, order, offsets = by_expert(chosen, self.num_experts)
    rows = tokens[order // self.top_k] * scores.reshape(-1)[order].unsqueeze(-1)
    gate, up = _grouped_linear(rows, self.experts.gate_up_proj, offsets, is_transposed=True).chunk(2, dim=-1)
    made = _grouped_linear(up * self.experts.act_fn(gate), self.experts.down_proj, offsets, is_transposed=True)
    return self.shared_expert(tokens) + to_tokens(made, order, self.top_k), logits
