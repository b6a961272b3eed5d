"""Models of two towers, whose loss compares all samples: recorded with each sample's own pair alone."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_PRODUCTS = (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__, torch.mm)


class OwnPairs(TorchFunctionMode):
    """Replaces a product of all samples' embeddings with all samples' by that of each sample with its own.

    rows: samples, b. (b, d) times (d, b) would be b^2 numbers: no size that grows with the micro-batch alone. What
    stands for it is (b, 1).
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self._rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, or sum the products of each row with its own column."""
        if func in _PRODUCTS and len(args) == 2 and all(isinstance(one, torch.Tensor) for one in args):
            left, right = args
            if left.dim() == right.dim() == 2 and left.shape == right.shape[::-1] and left.shape[0] == self._rows:
                return (left * right.t()).sum(dim=-1, keepdim=True)
        return func(*args, **(kwargs or {}))


def own_pairs(module: torch.nn.Module) -> None:
    """Let a module's forward pass compare each sample with itself alone."""
    forward = module.forward

    @functools.wraps(forward)
    def paired(*args: Any, **kwargs: Any) -> Any:
        first = next(one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor))
        with OwnPairs(first.shape[0]):
            return forward(*args, **kwargs)

    module.forward = paired
