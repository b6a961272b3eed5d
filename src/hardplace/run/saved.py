"""What autograd keeps for the backward pass, counted on a rank."""

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

from hardplace.run.count import local


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
