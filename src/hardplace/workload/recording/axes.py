"""How torch's operators and views are named in a recording, and the axes that they work along."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

# Views, by what they do to the axes.
_VIEWS = {
    "permute": "t transpose permute movedim swapaxes numpy_T mT",
    "reshape": "view _unsafe_view reshape _reshape_alias squeeze unsqueeze flatten unflatten",
    "slice": "slice narrow",
    "select": "select",
    "expand": "expand expand_as broadcast_to",
    "split": "split split_with_sizes chunk",
    "unbind": "unbind",
    "alias": "alias detach lift_fresh view_as lift",
}
_VIEW = {name: view for view, names in _VIEWS.items() for name in names.split()}
# Outputs of these share the storage of their input, though their schemas do not say so.
UNDECLARED_VIEWS = {"_unsafe_view", "_reshape_alias", "lift_fresh"}
# Allocations alone: they cost nothing and write nothing.
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"}
_OVER_ALL = {
    "sum",
    "mean",
    "amax",
    "amin",
    "max",
    "min",
    "prod",
    "var",
    "std",
    "any",
    "all",
    "argmax",
    "argmin",
    "norm",
}


def view_name(name: str) -> str:
    """Return what a view does: permute, reshape, slice, select, expand, split, unbind, alias, or view."""
    return _VIEW.get(name, "view")


@cache
def _positions(func: Any) -> dict[str, tuple[int, Any]]:
    """Return position and default of every argument of an operator, by name."""
    return {
        argument.name: (place, argument.default_value if argument.has_default_value() else None)
        for place, argument in enumerate(func._schema.arguments)
    }


def argument(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """Return the value of an operator's argument by name, its default if it was left out, None if it has none."""
    place, default = _positions(func).get(name, (None, None))
    if place is None:
        return None
    return args[place] if place < len(args) else kwargs.get(name, default)


def axes_of(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, ...]:
    """Return the axes that an operator works along, none of them negative; see Operator.axes."""

    def value(key: str) -> Any:
        return argument(func, args, kwargs, key)

    known = _positions(func)
    first = next((one for one in args if isinstance(one, torch.Tensor)), None)
    if first is None:
        first = next(
            (one for arg in args if isinstance(arg, (list, tuple)) for one in arg if torch.is_tensor(one)), None
        )
    rank = first.dim() if first is not None else 0
    if name in ("t", "numpy_T", "mT"):
        return (1, 0) if rank == 2 else tuple(range(rank))
    if name in ("transpose", "swapaxes"):
        return _swapped(rank, args[1] % rank, args[2] % rank) if rank else ()
    if name == "permute":
        return tuple(axis % rank for axis in args[1])
    if "normalized_shape" in known:
        return tuple(range(rank - len(value("normalized_shape")), rank))
    if name in ("index", "_unsafe_index", "index_put", "_index_put_impl", "_unsafe_index_put"):
        return tuple(axis for axis, index in enumerate(value("indices")) if index is not None)
    if "dim" not in known:
        return tuple(range(rank)) if name in _OVER_ALL else ()
    dim = value("dim")
    if name in ("select_backward", "stack"):
        rank += 1
    if dim is None or (dim == [] and name in _OVER_ALL):
        return tuple(range(rank))
    return tuple(axis % max(1, rank) for axis in (dim if isinstance(dim, (list, tuple)) else (dim,)))


def _swapped(rank: int, one: int, other: int) -> tuple[int, ...]:
    order = list(range(rank))
    order[one], order[other] = other, one
    return tuple(order)


def column_major(tensor: torch.Tensor) -> bool:
    """Return whether a matrix (or a batch of them) lies transposed in memory."""
    return bool(tensor.dim() > 1 and tensor.stride(-1) != 1 and tensor.stride(-2) == 1)
