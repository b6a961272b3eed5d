"""A plan applied to a stage: tensor and sequence parallelism by DTensor, context and experts by exchanges, recompute,
sharding by FSDP2. Ranks lie as the plan's order says."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from hardplace.errors import BadInput
from hardplace.plans.plan import Dimension, Plan
from hardplace.run.experts import exchanged_experts
from hardplace.run.stages import ModelStage, blocks_of, replace_block
from hardplace.workload.types import Recompute

_COLUMNS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "query", "key", "value", "intermediate.dense")
_ROWS = ("o_proj", "down_proj", "attention.output.dense", "output.dense")
_NORMS = ("input_layernorm", "post_attention_layernorm")


class RankGroups:
    """The process groups of a rank by name, and the mesh that DTensor and FSDP2 divide over.

    The mesh is pipeline, replicate, shard, tensor in the plan's order; replicate x shard are the replicas.
    """

    def __init__(self, plan: Plan, device: str) -> None:
        """Make the groups; every rank makes all of them, in one order."""
        self.plan, self.rank = plan, dist.get_rank()
        sizes = {"tensor": plan.tensor, "pipeline": plan.pipeline}
        sizes |= {"replicate": plan.replicas // plan.sharded_over, "shard": plan.sharded_over}
        names: list[str] = []
        for dimension in reversed(plan.order):
            if dimension in (Dimension.TENSOR, Dimension.PIPELINE):
                names.append(dimension.value)
            elif "shard" not in names:
                names += ["replicate", "shard"]
        ranks = torch.arange(plan.devices).view([sizes[name] for name in names])
        self.mesh = DeviceMesh(device, ranks, mesh_dim_names=tuple(names))
        self.members = {
            name: tuple(dist.get_process_group_ranks(self.mesh[name].get_group()))
            for name in ("tensor", "pipeline", "shard", "replicate")
        }
        self.groups: dict[str, Any] = {}
        self._enumerate("context", plan.context, plan.stride(Dimension.CONTEXT))
        self._enumerate("data", plan.replicas, plan.replica_stride)
        if plan.expert > 1:
            self._enumerate("expert", plan.expert, plan.stage_stride)
            self._enumerate("expert replicas", plan.expert_replicas, plan.expert * plan.stage_stride)

    def _enumerate(self, name: str, size: int, stride: int) -> None:
        seen: set[int] = set()
        for first in range(self.plan.devices):
            ranks = [first + stride * index for index in range(size)]
            if first in seen or ranks[-1] >= self.plan.devices:
                continue
            seen.update(ranks)
            group = dist.new_group(ranks)
            if self.rank in ranks:
                self.groups[name], self.members[name] = group, tuple(ranks)

    def index(self, dimension: Dimension) -> int:
        """Return where the rank stands in its group of a dimension."""
        return self.rank // self.plan.stride(dimension) % int(getattr(self.plan, dimension))


def divide(stage: nn.Module, plan: Plan, groups: RankGroups, recomputed: int) -> nn.Module:
    """Return a stage as one rank has it, its parameters replaced by its own parts; recomputed: of its layers the first
    so many. Raises BadInput for what torch cannot divide of this module."""
    if plan.tensor > 1:
        _tensor(stage, plan, groups)
    if plan.context > 1:
        _context(stage, plan, groups)
    if plan.expert > 1:
        for part in stage.modules():
            for name, child in part.named_children():
                if hasattr(child, "gate_up_proj") and hasattr(child, "num_experts"):
                    setattr(part, name, exchanged_experts(child, groups.groups["expert"]))
    blocks = blocks_of(stage)
    if plan.recompute is Recompute.FULL:
        for index, block in enumerate(blocks[:recomputed]):
            blocks[index] = checkpoint_wrapper(block, checkpoint_impl=CheckpointImpl.NO_REENTRANT)
            replace_block(stage, block, blocks[index])
    if plan.zero and plan.replicas > 1:
        mesh = groups.mesh["replicate", "shard"] if len(groups.members["replicate"]) > 1 else groups.mesh["shard"]
        own = {weight for name, weight in stage.named_parameters() if ".experts." in name and plan.expert > 1}
        for block in blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=plan.zero == 3, ignored_params=own)
        fully_shard(stage, mesh=mesh, reshard_after_forward=plan.zero == 3, ignored_params=own)
    return stage


def _tensor(stage: nn.Module, plan: Plan, groups: RankGroups) -> None:
    """Divide linear layers by columns and rows, embedding and head by vocabulary, sequences between them if asked."""
    if not isinstance(stage, ModelStage):
        raise BadInput(f"tensor: {plan.tensor}: expected 1: no layer of this module is known to be divided")
    if plan.sequence and stage.kind == "bert":
        raise BadInput("sequence: true: expected false: a BERT's layers are not divided along sequences here")
    between = Shard(1) if plan.sequence else Replicate()
    styles: dict[str, Any] = {}
    for name, _ in stage.named_modules():
        if any(name.endswith(f".{one}") for one in _COLUMNS):
            styles[name] = ColwiseParallel()
        elif any(name.endswith(f".{one}") for one in _ROWS):
            styles[name] = RowwiseParallel(output_layouts=between)
        elif plan.sequence and any(name.endswith(f".{one}") for one in _NORMS):
            styles[name] = SequenceParallel(use_local_output=True)
        elif name.endswith((".self_attn", ".attention.self")):
            styles[name] = _whole_input(between, name.endswith(".self_attn"))
        elif name.endswith((".mlp", ".intermediate")):
            styles[name] = _whole_input(between, False)
    if stage.embedding is not None and stage.kind != "bert":  # whose embedding the plan keeps whole
        styles["embedding"] = RowwiseParallel(input_layouts=Replicate(), output_layouts=between)
    if len(stage.heads):
        inner = "heads.0.predictions.decoder" if stage.kind == "bert" else "heads.1"
        styles[inner] = ColwiseParallel(input_layouts=between, output_layouts=Shard(-1), use_local_output=False)
        if plan.sequence:
            styles["heads.0"] = SequenceParallel(use_local_output=True)
    parallelize_module(stage, groups.mesh["tensor"], styles)


def _whole_input(between: Any, keyword: bool) -> PrepareModuleInput:
    """Return what gives a module its whole input once, so that its gradient is summed over ranks once."""
    if keyword:
        return PrepareModuleInput(
            input_kwarg_layouts={"hidden_states": between},
            desired_input_kwarg_layouts={"hidden_states": Replicate()},
            use_local_output=False,
        )
    return PrepareModuleInput(input_layouts=(between,), desired_input_layouts=(Replicate(),), use_local_output=False)


def _context(stage: nn.Module, plan: Plan, groups: RankGroups) -> None:
    """Give each rank its part of the queries, and all keys and values gathered (torch's own context parallelism has no
    CPU kernel)."""
    if not isinstance(stage, ModelStage) or stage.rotary is None:
        raise BadInput(f"context: {plan.context}: expected 1: only decoders with rotary positions are divided here")
    from transformers import AttentionInterface

    group, index = groups.groups["context"], groups.index(Dimension.CONTEXT)

    def gathered(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, None]:
        key, value = (_All.apply(one, group) for one in (key, value))
        here, there = query.shape[2], key.shape[2]
        rows = torch.arange(index * here, (index + 1) * here, device=query.device)[:, None]
        seen = torch.arange(there, device=query.device)[None] <= rows
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, scale=options.get("scaling"), enable_gqa=True
        )
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register("gathered_keys", gathered)
    for layer in stage.layers.values():
        config: Any = layer.self_attn.config
        config._attn_implementation = "gathered_keys"


class _All(torch.autograd.Function):
    """Keys or values of all context ranks along the sequence; backward scatters the sum."""

    @staticmethod
    def forward(ctx: Any, one: torch.Tensor, group: Any) -> torch.Tensor:
        ctx.group = group
        parts = [
            torch.empty_like(one, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size(group))
        ]
        dist.all_gather(parts, one.contiguous(), group=group)
        return torch.cat(parts, dim=2)

    @staticmethod
    def backward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, None]:
        whole = given[0].contiguous()
        parts = [one.contiguous() for one in whole.chunk(dist.get_world_size(ctx.group), dim=2)]
        mine = torch.empty_like(parts[0])
        dist.reduce_scatter(mine, parts, group=ctx.group)
        return mine, None
