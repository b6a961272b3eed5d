"""What a rank holds and sends, counted: bytes of tensors, collectives by group, kind and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import _resolve_process_group
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from hardplace.run.types import Traffic

# Operators of torch.distributed by what they are; the whole tensor is the larger of what goes in and what comes out.
_KINDS = {
    "all_reduce": "all_reduce",
    "allreduce_": "all_reduce",
    "all_gather_into_tensor": "all_gather",
    "all_gather_into_tensor_out": "all_gather",
    "_allgather_base_": "all_gather",
    "allgather_": "all_gather",
    "reduce_scatter_tensor": "reduce_scatter",
    "_reduce_scatter_base_": "reduce_scatter",
    "reduce_scatter_": "reduce_scatter",
    "all_to_all_single": "all_to_all",
    "alltoall_base_": "all_to_all",
    "send": "send",
}


class CollectiveCounter(TorchDispatchMode):
    """Counts collectives while it is active. members: ranks of each group by name."""

    def __init__(self, members: Mapping[str, tuple[int, ...]]) -> None:
        """Count from nothing."""
        super().__init__()
        self.traffic: Traffic = {}
        self._names = {frozenset(ranks): name for name, ranks in reversed(list(members.items())) if len(ranks) > 1}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it where it is a collective; DTensor's own operators are looked into."""
        if any(issubclass(one, DTensor) for one in types):
            return NotImplemented
        if func._schema.name.partition("::")[0] in ("c10d", "_c10d_functional", "_c10d_functional_autograd"):
            self._count(func._schema.name.partition("::")[2], args)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str, args: Any) -> None:
        kind = _KINDS.get(name)
        if kind is None:
            return
        tensors = list(_tensors(args))
        if kind == "all_to_all" and not tensors[0].is_floating_point():
            return  # how many tokens go where
        sizes = [one.numel() * one.element_size() for one in tensors]
        group = "pipeline" if kind == "send" else self._names.get(frozenset(_ranks(args)), "?")
        size = max(sizes)
        if kind == "all_gather" and name == "all_gather_into_tensor":
            size = sizes[0] * len(_ranks(args))
        elif name in ("reduce_scatter_", "allgather_"):  # lists of parts, with one of them once more
            size = sum(sizes) - min(sizes)
        if kind == "all_to_all":  # expert groups may be the data-parallel ones
            group = "expert"
        group = {"shard": "data", "replicate": "data"}.get(group, group)
        before = self.traffic.get(f"{group} {kind}", (0, 0.0))
        self.traffic[f"{group} {kind}"] = before[0] + 1, before[1] + size


def _tensors(values: Any) -> Iterable[torch.Tensor]:
    for one in values:
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, list | tuple):
            yield from _tensors(one)


def _ranks(args: Any) -> list[int]:
    for one in args:
        if isinstance(one, str):
            try:
                return list(dist.get_process_group_ranks(_resolve_process_group(one)))
            except (LookupError, ValueError, RuntimeError):
                continue
        if isinstance(one, torch.ScriptObject) and "ProcessGroup" in str(one._type()):
            return list(dist.get_process_group_ranks(dist.ProcessGroup.unbox(one)))
    return []


def local(one: torch.Tensor) -> torch.Tensor:
    """Return a rank's own part of a tensor."""
    return one.to_local() if isinstance(one, DTensor) else one


def bytes_of(tensors: Iterable[torch.Tensor | None]) -> float:
    """Return the bytes of a rank's parts of tensors."""
    return float(sum(local(one).numel() * local(one).element_size() for one in tensors if one is not None))


def weights_of(stage: nn.Module) -> float:
    """Return the bytes of the weights that a stage holds now."""
    return bytes_of(stage.parameters())


def gradients_of(stage: nn.Module) -> float:
    """Return the bytes of the gradients that a stage holds now."""
    return bytes_of(weight.grad for weight in stage.parameters())


def states_of(optimizer: torch.optim.Optimizer) -> float:
    """Return the bytes of an optimizer's states, without its step counters."""
    return bytes_of(one for state in optimizer.state.values() for name, one in state.items() if name != "step")
