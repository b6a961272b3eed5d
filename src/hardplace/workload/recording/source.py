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
from hardplace.workload.recording.model_classes import said
from hardplace.workload.recording.step import Inputs, TrainingStep, first_floats


def step_of_function(source: str, name: str, options: Options, command: str = "") -> TrainingStep:
    """Return the step of a function given as package.module:function, called without arguments or with micro_batch.

    It returns (module, inputs) or (module, inputs, loss): inputs, a mapping of keyword arguments, a tuple of
    positional ones, or one tensor; loss(output, inputs) a scalar. The micro-batch is the first dimension of the inputs,
    or where the function puts it that takes micro_batch.
    Without a loss: the output's own (.loss), else the sum of its first tensor. The function runs with torch's
    default device set to meta, so that no weights are made. Raises BadInput if there is no such function, it
    returns something else, or what it does needs values.
    """
    return step_of_returned(function_of(source), source, name, options, command)


def step_of_returned(
    function: Callable[..., Any], source: str, name: str, options: Options, command: str = ""
) -> TrainingStep:
    """Return the step of what a function returns, as `step_of_function`; source: what a message names."""
    module, inputs, loss = _returned(source, function)
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper: the operators are the module's own
    if not isinstance(module, torch.nn.Module):
        raise BadInput(f"{source}: returned {type(module).__name__}: expected (torch.nn.Module, inputs[, loss])")
    check_module(module, source)
    inputs, positional = _named(source, module, inputs)
    sizes = [one.shape[0] for one in tree_leaves(inputs) if isinstance(one, torch.Tensor) and one.dim()]
    if not sizes:
        raise BadInput(f"{source}: inputs: expected at least one tensor with the micro-batch as its first dimension")
    wants = "micro_batch" in inspect.signature(function).parameters

    def make(micro_batch: int) -> Inputs:
        given = _named(source, module, _returned(source, function, micro_batch)[1])[0] if wants else inputs

        def resized(one: torch.Tensor) -> torch.Tensor:
            return _resized(one, None if wants else sizes[0], micro_batch, options.dtype)

        return dict(tree_map_only(torch.Tensor, resized, given))

    return TrainingStep(
        name=name,
        source=source,
        command=command,
        sequence_length=options.sequence_length or _tokens(make),
        module=module,
        inputs=make,
        loss=loss,
        dtype=options.dtype,
        autocast=options.autocast,
        positional=positional,
    )


def check_module(module: torch.nn.Module, source: str) -> None:
    """Raise BadInput for a module without Python code, without sizes yet, or whose gradients have no dense storage."""
    if isinstance(module, torch.jit.ScriptModule):
        raise BadInput(f"{source}: a scripted module: expected the torch.nn.Module that it was made of")
    for path, part in module.named_modules():
        lazy = [name for name, weight in part.named_parameters(recurse=False) if torch.nn.parameter.is_lazy(weight)]
        if lazy:
            raise BadInput(
                f"{source}: {path}.{lazy[0]}: has no size yet: expected a module that has run once".lstrip(".")
            )
        if isinstance(part, torch.nn.Embedding | torch.nn.EmbeddingBag) and part.sparse:
            raise BadInput(
                f"{source}: {path or type(part).__name__}: sparse=True: expected sparse=False: gradients are dense here"
            )


def _tokens(make: Callable[[int], Inputs]) -> int:
    """Return the tokens of a sample: what is not the micro-batch of the first matrix of whole numbers."""
    for one, other in zip(*(tree_leaves(make(size)) for size in (11, 13)), strict=True):
        if isinstance(one, torch.Tensor) and not one.is_floating_point() and one.dim() == 2:
            first = one.shape[0] == other.shape[0]  # tokens first
            return int(one.shape[0 if first and one.shape[1] != other.shape[1] else 1])
    return 1


def function_of(source: str) -> Callable[..., Any]:
    """Return what a source names; the working folder is searched first, as python -m does."""
    path, _, name = source.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(path)
    except ImportError as problem:
        raise BadInput(f"{source}: {problem}: expected package.module:function that python can import here") from None
    except (Exception, SystemExit) as problem:  # whatever the user's own code raises
        raise BadInput(f"{source}: {path} cannot be imported: {said(problem)}") from problem
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
    except (Exception, SystemExit) as problem:
        raise BadInput(
            f"{source}: failed on the meta device, where tensors have no values: {said(problem)}"
        ) from problem
    if not isinstance(found, tuple) or len(found) not in (2, 3):
        raise BadInput(f"{source}: returned {type(found).__name__}: expected (torch.nn.Module, inputs[, loss])")
    module, inputs, *rest = found
    return module, inputs, rest[0] if rest and rest[0] is not None else _own_loss


def _named(source: str, module: torch.nn.Module, inputs: Any) -> tuple[Inputs, tuple[str, ...]]:
    """Return inputs by name, and the names of those that the module's forward pass takes by their place alone."""
    if isinstance(inputs, Mapping):
        return dict(inputs), ()
    values = inputs if isinstance(inputs, tuple | list) else (inputs,)
    found = inspect.signature(module.forward).parameters.values()
    names = [one.name for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if any(one.kind is one.VAR_POSITIONAL for one in found):
        names += [f"argument {number}" for number in range(len(names), len(values))]
    if len(values) > len(names):
        raise BadInput(f"{source}: {len(values)} inputs: expected at most {len(names)}, as forward takes")
    by_place = any(one.kind in (one.VAR_POSITIONAL, one.POSITIONAL_ONLY) for one in found)
    return dict(zip(names, values, strict=False)), tuple(names[: len(values)]) if by_place else ()


def _resized(one: torch.Tensor, old: int | None, new: int, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor on the meta device with another micro-batch, floats in the dtype of the parameters.

    old: the micro-batch that stands in its first dimension; None: it is of the new one already.
    """
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
