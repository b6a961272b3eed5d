"""From package.module:function to a step: a module, example inputs and, if there is one, a loss."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from hardplace.errors import BadInput
from hardplace.workload.recording.huggingface import Options
from hardplace.workload.recording.step import Inputs, TrainingStep, first_floats, tokens_of


def step_of_function(source: str, name: str, options: Options, command: str = "") -> TrainingStep:
    """Return the step of a function given as package.module:function, called without arguments or with micro_batch.

    It returns (module, inputs) or (module, inputs, loss): inputs, a mapping of keyword arguments, a tuple of
    positional ones, or one tensor, with the micro-batch as their first dimension; loss(output, inputs) a scalar.
    Without a loss: the output's own (.loss), else the sum of its first tensor. The function runs with torch's
    default device set to meta, so that no weights are made. Raises BadInput if there is no such function, it
    returns something else, or what it does needs values.
    """
    function = _function(source)
    module, inputs, loss = _returned(source, function)
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"{source}: returned {type(module).__name__}: expected (torch.nn.Module, inputs[, loss])")
    inputs = _named(source, module, inputs)
    sizes = [one.shape[0] for one in tree_leaves(inputs) if isinstance(one, torch.Tensor) and one.dim()]
    if not sizes:
        raise BadInput(f"{source}: inputs: expected at least one tensor with the micro-batch as its first dimension")
    wants = "micro_batch" in inspect.signature(function).parameters

    def make(micro_batch: int) -> Inputs:
        given = _named(source, module, _returned(source, function, micro_batch)[1]) if wants else inputs
        return dict(tree_map_only(torch.Tensor, lambda one: _resized(one, sizes[0], micro_batch, options.dtype), given))

    return TrainingStep(
        name=name,
        source=source,
        command=command,
        sequence_length=options.sequence_length or tokens_of(inputs),
        module=module,
        inputs=make,
        loss=loss,
        dtype=options.dtype,
        autocast=options.autocast,
    )


def _function(source: str) -> Callable[..., Any]:
    """Return what a source names; the working folder is searched first, as python -m does."""
    path, _, name = source.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(path)
    except ImportError as problem:
        raise BadInput(f"{source}: {problem}: expected package.module:function that python can import here") from None
    function = getattr(module, name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        there = difflib.get_close_matches(name, there, n=3, cutoff=0) + sorted(there)  # the likeliest first
        raise BadInput(f"{source}: {path} has no function {name!r}; it has {', '.join(list(dict.fromkeys(there))[:8])}")
    return function  # type: ignore[no-any-return]


def _returned(source: str, function: Callable[..., Any], micro_batch: int = 2) -> tuple[Any, Any, Any]:
    wants = "micro_batch" in inspect.signature(function).parameters
    try:
        with torch.device("meta"):
            found = function(micro_batch=micro_batch) if wants else function()
    except BadInput:
        raise
    except Exception as problem:
        line = " ".join(str(problem).split())[:200]
        raise BadInput(f"{source}: failed on the meta device, where tensors have no values: {line}") from problem
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise BadInput(f"{source}: returned {type(found).__name__}: expected (torch.nn.Module, inputs[, loss])")
    module, inputs, *rest = found
    return module, inputs, rest[0] if rest and rest[0] is not None else _own_loss


def _named(source: str, module: torch.nn.Module, inputs: Any) -> Inputs:
    """Return inputs as keyword arguments of the module's forward pass."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    values = inputs if isinstance(inputs, tuple | list) else (inputs,)
    names = [one for one in inspect.signature(module.forward).parameters if one not in ("args", "kwargs")]
    if len(values) > len(names):
        raise BadInput(f"{source}: {len(values)} inputs: expected at most {len(names)}, as forward takes")
    return dict(zip(names, values, strict=False))


def _resized(one: torch.Tensor, old: int, new: int, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor on the meta device with another micro-batch, floats in the dtype of the parameters."""
    shape = list(one.shape)
    if shape and shape[0] == old:
        shape[0] = new
    return torch.empty(shape, dtype=dtype if one.is_floating_point() else one.dtype, device="meta")


def _own_loss(output: Any, _: Inputs) -> torch.Tensor:
    loss = getattr(output, "loss", None)
    if loss is not None:
        return loss
    floats = first_floats(list(output.values()) if isinstance(output, Mapping) else [output])
    if not floats:
        raise BadInput("the module's output has no floating-point tensor to sum up; give a loss")
    return floats[0].sum()
