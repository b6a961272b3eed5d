"""Experts divided over ranks: tokens go to the ranks of their experts and come back (two all-to-alls each way)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_to_all_single_autograd

from hardplace.errors import BadInput


class ExchangedExperts(nn.Module):
    """The experts of one rank: of E over n ranks the rank's E/n."""

    def __init__(self, experts: Any, group: Any) -> None:
        """Take a rank's part of the whole model's experts."""
        super().__init__()
        ranks, rank = dist.get_world_size(group), dist.get_rank(group)
        self.group, self.ranks, self.each = group, ranks, experts.num_experts // ranks
        mine = slice(rank * self.each, (rank + 1) * self.each)
        self.gate_up_proj = nn.Parameter(experts.gate_up_proj.detach()[mine].clone())
        self.down_proj = nn.Parameter(experts.down_proj.detach()[mine].clone())
        self.act_fn = experts.act_fn
        self.first = mine.start

    def forward(self, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum over each token's experts; hidden (tokens, hidden), chosen (tokens, k)."""
        k = chosen.shape[1]
        order = torch.argsort(chosen.flatten(), stable=True)
        expert = chosen.flatten()[order]
        sent = torch.bincount(expert // self.each, minlength=self.ranks)
        taken = torch.empty_like(sent)
        dist.all_to_all_single(taken, sent, group=self.group)
        out, into = sent.tolist(), taken.tolist()
        numbers = torch.empty(sum(into), dtype=expert.dtype)
        dist.all_to_all_single(numbers, expert.contiguous(), into, out, group=self.group)
        rows = _exchanged(hidden[order // k], into, out, self.group)
        done = torch.zeros_like(rows)
        for index in range(self.each):
            here = torch.where(numbers == self.first + index)[0]
            gate, up = nn.functional.linear(rows[here], self.gate_up_proj[index]).chunk(2, dim=-1)
            done = done.index_add(0, here, nn.functional.linear(self.act_fn(gate) * up, self.down_proj[index]))
        back = _exchanged(done, out, into, self.group)
        shares = weights.flatten()[order][:, None].to(back.dtype)
        return torch.zeros_like(hidden).index_add(0, order // k, back * shares)


def _exchanged(rows: torch.Tensor, into: list[int], out: list[int], group: Any) -> torch.Tensor:
    return torch.as_tensor(all_to_all_single_autograd(rows.contiguous(), into, out, group)) * 1.0


def exchanged_experts(experts: Any, group: Any) -> ExchangedExperts:
    """Return a rank's experts; BadInput where the ranks do not divide them."""
    ranks = dist.get_world_size(group)
    if experts.num_experts % ranks:
        raise BadInput(f"expert: {ranks}: expected a divisor of the module's {experts.num_experts} experts")
    return ExchangedExperts(experts, group)
