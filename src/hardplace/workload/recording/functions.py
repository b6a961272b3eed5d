"""Stand-ins for torch functions whose CPU version is not what a training run executes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hardplace.workload.recording.attention import scaled_dot_product_attention


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout as devices run it: one operator that keeps a mask of one byte an element."""
    if not training or p == 0.0:
        return input
    return torch.native_dropout(input, p, True)[0]


def _rand(*size: Any, **options: Any) -> Any:
    """Random numbers; a single one, which models compare with their layer-drop rate, is one: no layer is dropped."""
    return 1.0 if size in ((), ([],), ((),)) and "size" not in options else torch.rand(*size, **options)


# What a model asks of its values, with the answer for every element of a step that goes well; and what only joins such.
_CHECKS = {torch.isfinite: True, torch.isnan: False, torch.isinf: False}
_JOINS = {torch.Tensor.all, torch.Tensor.any, torch.all, torch.any, torch.Tensor.__or__, torch.Tensor.__and__}


class DeviceFunctions(TorchFunctionMode):
    """Replaces attention and dropout by their fused versions; drops no layers; finds all numbers finite."""

    def __init__(self) -> None:
        super().__init__()
        self._stand_ins: dict[Any, Callable[..., torch.Tensor]] = {
            torch.nn.functional.scaled_dot_product_attention: scaled_dot_product_attention,
            torch.nn.functional.dropout: _dropout,
            torch.rand: _rand,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the stand-in of a function, or the function."""
        said = [one.hardplace_said for one in args if hasattr(one, "hardplace_said")]
        if said and func is torch.Tensor.__bool__:
            return said[0]
        result = self._stand_ins.get(func, func)(*args, **(kwargs or {}))
        if func in _CHECKS:
            result.hardplace_said = _CHECKS[func]
        elif said and func in _JOINS:
            result.hardplace_said = said[0]
        return result


@contextmanager
def device_choices() -> Iterator[None]:
    """Let a model choose as on its device, not as on the CPU where the tensors of a recording lie.

    Autocast for any device acts; recurrent layers are the products they are made of; torch's own attention layer,
    which a function mode does not see into, calls the stand-ins.
    """
    functions = torch.nn.functional
    kept = torch.autocast.__init__
    called = (functions.scaled_dot_product_attention, functions.dropout)
    mkldnn = torch._C._get_mkldnn_enabled()

    def init(self: Any, device_type: str, dtype: torch.dtype | None = None, *rest: Any, **named: Any) -> None:
        kept(self, "cpu", torch.get_autocast_dtype(device_type) if dtype is None else dtype, *rest, **named)

    torch.autocast.__init__ = init  # type: ignore[method-assign]
    module_to = torch.nn.Module.to

    def to(self: Any, *types: Any, **named: Any) -> Any:
        """A module that is of the type already stays as it is: fake parameters have no data to put into them."""
        dtypes = {weight.dtype for weight in self.parameters()}
        return self if types and dtypes == {types[0]} else module_to(self, *types, **named)

    torch.nn.Module.to = to  # type: ignore[method-assign]
    checked = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # of values
    functions.scaled_dot_product_attention, functions.dropout = scaled_dot_product_attention, _dropout
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(checked)
        torch._C._set_mkldnn_enabled(mkldnn)
        functions.scaled_dot_product_attention, functions.dropout = called
        torch.nn.Module.to = module_to  # type: ignore[method-assign]
        torch.autocast.__init__ = kept  # type: ignore[method-assign]
