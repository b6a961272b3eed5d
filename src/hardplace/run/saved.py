"""What autograd keeps for the backward pass: counted on a rank, and what a recording in fp32 says of it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

from hardplace.plans.plan import Plan
from hardplace.plans.simulate import Pass, order
from hardplace.run.count import local
from hardplace.workload.memory import saved_bytes
from hardplace.workload.sharding import shard
from hardplace.workload.types import Parallelism, Recompute, Workload


class SavedCounter:
    """Counts the storages that autograd keeps while it is active, without those of parameters and buffers.

    Attributes:
        most_bytes: The most that were kept at one moment, in bytes.
    """

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        """Count from nothing."""
        self.most_bytes = 0.0
        self._stages = stages
        self._alive: dict[tuple[int, int], int] = {}

    def watching(self) -> AbstractContextManager[None]:
        """Return the context in which kept tensors are counted."""
        for stage in self._stages:
            for part in stage.modules():
                if isinstance(part, CheckpointWrapper):
                    part.register_forward_pre_hook(self._again, with_kwargs=True)
        return saved_tensors_hooks(self._pack, lambda kept: kept)

    def keep(self, tensor: torch.Tensor) -> None:
        """Count a tensor that is held for the backward pass, by autograd or for a layer that is computed again."""
        whole: Any = local(tensor)
        whole = whole.elem if isinstance(whole, AsyncCollectiveTensor) else whole
        storage = whole.untyped_storage()
        view = not whole.is_floating_point()  # token numbers are views of the whole batch's
        key = storage._cdata, whole.storage_offset() if view else 0
        if key in self._alive or storage.data_ptr() in self._own():
            return
        self._alive[key] = whole.numel() * whole.element_size() if view else storage.nbytes()
        weakref.finalize(storage, self._alive.pop, key, None)
        self.most_bytes = max(self.most_bytes, float(sum(self._alive.values())))

    def _again(self, _: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Count the input of a layer that is computed again."""
        self.keep(next(one for one in (*inputs, *options.values()) if isinstance(one, torch.Tensor)))

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        self.keep(tensor)
        return tensor.detach()  # else what a node keeps of its own output is a circle

    def _own(self) -> set[int]:
        """Return where weights and buffers lie now: FSDP2 puts gathered ones in their place layer by layer."""
        return {
            local(one).untyped_storage().data_ptr()
            for stage in self._stages
            for one in (*stage.parameters(), *stage.buffers())
        }


def predicted_saved(kept: Workload, plan: Plan, chunks: Sequence[Sequence[int]]) -> list[float]:
    """Return the most bytes that autograd keeps on a rank of each stage, at the fullest moment of the schedule.

    Every pass keeps the saved storages of its chunk's layers from its forward pass to its backward pass; layers that
    are computed again keep their input.

    Args:
        kept: Recording of the module in fp32; embedding first, head and loss last.
        plan: The plan.
        chunks: Layers by stage and chunk.
    """
    rank = shard(
        kept, Parallelism(tensor=plan.tensor, sequence=plan.sequence, context=plan.context, expert=plan.expert)
    )
    first, inner = kept.order[0], kept.order[1:-1]
    found: list[float] = []
    at = [0] * len(chunks)
    place = 0
    sizes: list[list[float]] = [[] for _ in chunks]
    for chunk in range(plan.virtual):
        for stage, by_chunk in enumerate(chunks):
            total = 0.0
            for index in inner[place : place + by_chunk[chunk]]:
                again = at[stage] < (plan.recompute_layers or len(inner))
                mode = plan.recompute if again else Recompute.NONE
                total += float(saved_bytes(rank.layers[index], mode).at(plan.micro_batch))
                at[stage] += 1
            place += by_chunk[chunk]
            sizes[stage].append(total)
    sizes[0][0] += float(rank.layers[first].saved_bytes.at(plan.micro_batch))
    sizes[-1][-1] += float(rank.layers[kept.order[-1]].saved_bytes.at(plan.micro_batch))
    for stage, by in enumerate(sizes):
        now = most = 0.0
        for phase, _, chunk in order(stage, plan.pipeline, plan.micro_batches, plan.virtual, plan.schedule):
            now += by[chunk] * {Pass.FORWARD: 1, Pass.BACKWARD: -1}.get(phase, 0)
            most = max(most, now)
        found.append(most)
    return found
