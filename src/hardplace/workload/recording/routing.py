"""Routing whose shapes follow from its values: tokens go to experts in turn, so that each gets as many.

A model that loops over its experts with the indices of their tokens asks which tokens those are. Balanced routing, as
in every other mixture here, answers it: of a sample's choices of a token's k experts among E, number n is expert n
modulo E.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

_MOST = 2**24  # choices: what is larger has a shape alone
_CHOICES = {  # of an operator along an axis, where that axis stands among its arguments
    torch.topk: 2,
    torch.Tensor.topk: 2,
    torch.argmax: 1,
    torch.Tensor.argmax: 1,
    torch.max: 1,
    torch.Tensor.max: 1,
    torch.sort: 1,
    torch.Tensor.sort: 1,
    torch.argsort: 1,
    torch.Tensor.argsort: 1,
    torch.multinomial: 9,  # it has none: samples of each row
    torch.Tensor.multinomial: 9,
}
_OF_NAMED_AXES = (torch.argmax, torch.Tensor.argmax, torch.max, torch.Tensor.max)  # else the last where none is named
_ORDERS = (torch.sort, torch.Tensor.sort, torch.argsort, torch.Tensor.argsort)


def shares(choices: int, experts: int) -> list[int]:
    """Return how many of a sample's choices each expert gets: as many, the first ones one more."""
    each, more = divmod(choices, experts)
    return [each + (expert < more) for expert in range(experts)]


def in_turn(shape: torch.Size, experts: int, samples: int) -> torch.Tensor:
    """Return choices of experts of this shape, samples one after another, each expert in turn within a sample."""
    count = shape.numel() // samples
    return (torch.arange(count) % experts).repeat(samples).reshape(shape)


class BalancedRouting(TorchFunctionMode):
    """Gives the indices of the largest along the last axis values: each place in turn, anew in every sample.

    Enter it with known values computed (`KnownValues`), so that what follows from the indices is known too.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self._samples = samples

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; of one that chooses, give its indices values."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        scores = args[0] if args else kwargs.get("input")
        if func not in _CHOICES or not isinstance(scores, FakeTensor):
            return result
        place = _CHOICES[func]
        axis = args[place] if len(args) > place else None if func in _OF_NAMED_AXES else -1
        axis = kwargs.get("dim", kwargs.get("axis", axis))  # of torch.max it may be another tensor
        if not isinstance(axis, int) or isinstance(axis, bool) or axis not in (-1, scores.dim() - 1):
            return result
        chosen = result if isinstance(result, torch.Tensor) else result[1]
        count = chosen.numel()
        if not count or count > _MOST or count % self._samples or chosen.dtype is not torch.int64:
            return result
        known = in_turn(chosen.shape, scores.shape[-1], self._samples)
        if func in _ORDERS:  # of all experts, of which a token may take the first: others in the next row
            rows = count // chosen.shape[-1]
            row = torch.arange(rows) % (rows // self._samples)
            known = (known + row.reshape(*chosen.shape[:-1], 1)) % chosen.shape[-1]
        return known if isinstance(result, torch.Tensor) else type(result)((result[0], known))
