"""Inputs with values: whole numbers that say where images lie in a text, how large they are, which tokens are labels.

What follows from them alone is the data loader's work, not the device's: it is computed, and no operator of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from hardplace.workload.recording.memory import tensors_in

_MOST = 2**24  # elements of a tensor that is computed: what is larger has a shape alone
_COUNTED = ("arange", "linspace")  # floats too
_FILLED = ("zeros", "ones", "full", "scalar_tensor", "eye", "tril_indices", "triu_indices")


class KnownValues(TorchDispatchMode):
    """Computes every operator whose tensors all have values, and tables of whole numbers; hands on the others.

    Enter it after the recorder and the fake tensors' mode, so that it sees an operator before them.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute what is known, else let the modes below run the operator."""
        kwargs = kwargs or {}
        tensors = [*tensors_in(args), *tensors_in(tuple(kwargs.values()))]
        if _all_known(tensors) if tensors else _known_table(func, args, kwargs):
            with _disable_current_modes():
                return func(*args, **kwargs)
        return func(*_placed(func, args), **kwargs)


def _placed(func: Any, args: Any) -> Any:
    """Return an operator's arguments with the places of known masks instead of masks, so that shapes follow."""
    if func._schema.name.partition("::")[2] not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return args
    first, indices, *rest = args
    places: list[Any] = []
    for one in indices:
        if one is None or isinstance(one, FakeTensor) or one.dtype is not torch.bool:
            places.append(one)
        else:
            with _disable_current_modes():
                places += one.nonzero(as_tuple=True)
    return first, places, *rest


def _all_known(tensors: list[torch.Tensor]) -> bool:
    """Return whether all tensors have values and are few."""
    if any(isinstance(one, FakeTensor) or one.device.type == "meta" for one in tensors):
        return False
    return all(one.numel() <= _MOST for one in tensors)


def _known_table(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether an operator that takes no tensor makes whole numbers, or counts, and few of them."""
    name = func._schema.name.partition("::")[2]
    dtype = kwargs.get("dtype")
    if name in _COUNTED:
        return all(isinstance(one, int | float) and abs(one) <= _MOST for one in args)
    if name not in _FILLED or (dtype is not None and dtype.is_floating_point):
        return False
    sizes = [one for one in args if isinstance(one, list | tuple)]
    filled = args[1] if name == "full" and len(args) > 1 else args[0] if name == "scalar_tensor" and args else None
    whole = dtype is not None or (filled is not None and isinstance(filled, int))
    return whole and all(torch.Size(one).numel() <= _MOST for one in sizes)
