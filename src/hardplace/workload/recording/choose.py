"""The recorder that suits a source: a config.json, package.module:function, an .onnx file, or a module at hand."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.errors import BadInput
from hardplace.workload.configs import name_of_config
from hardplace.workload.load import check
from hardplace.workload.types import Workload

if TYPE_CHECKING:
    from hardplace.workload.recording.huggingface import Options
    from hardplace.workload.recording.step import TrainingStep

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def is_function(source: str) -> bool:
    """Return whether a source is package.module:function."""
    return re.fullmatch(r"[\w.]+:\w+", source) is not None and not Path(source).exists()


def step_of(
    source: str,
    *,
    name: str | None = None,
    sequence_length: int | None = None,
    dtype: str = "bf16",
    autocast: str | None = None,
    attention: str = "fused",
    size: Mapping[str, int] | None = None,
    trust_code: bool = False,
    freeze: Sequence[str] = (),
    command: str = "",
) -> TrainingStep:
    """Return the training step that a source means; arguments as for `hardplace.trace`.

    command: what records it again. Raises BadInput without torch, for arguments that do not go with the source, and for
    a source that is none.
    """
    _check(source, sequence_length, attention)
    options = _options(sequence_length, dtype, autocast, attention, trust_code)
    step = _unfrozen(source, name, options, dict(size or {}), command)
    if freeze and step.loss is None:
        raise BadInput("freeze", f"{freeze[0]}: {source} is recorded forward only", "a model that is trained")
    from hardplace.workload.recording.freeze import freeze as frozen

    frozen(step.module, tuple(freeze))
    return step


def _unfrozen(source: str, name: str | None, options: Options, size: dict[str, int], command: str) -> TrainingStep:
    """Return the step with every parameter trained that the module trains."""
    if source.endswith(".onnx"):
        return _of_onnx(source, name, options, size, command)
    if size:
        raise BadInput("size", next(iter(size)), f"none: only an ONNX file has dynamic dimensions; {source} is none")
    if is_function(source):
        from hardplace.workload.recording.source import step_of_function

        return step_of_function(source, name or source.partition(":")[2], options, command)
    if find_spec("transformers") is None:
        raise BadInput(source, "configs need the package transformers too", "pip install 'hardplace[torch]'")
    from hardplace.workload.recording.config_fields import read_config
    from hardplace.workload.recording.huggingface import step_of_config

    path = Path(source) / "config.json" if Path(source).is_dir() else Path(source)
    if path.suffix != ".json" or not path.exists():
        what = "is none of these" if path.exists() else "no such file"
        raise BadInput(str(path), what, "a config.json, package.module:function, or an .onnx file")
    fields = read_config(path)
    return step_of_config(fields, str(path), name or name_of_config(path), options, command=command)


def recorded(step: TrainingStep) -> Workload:
    """Record a step; BadInput for a model that cannot be recorded."""
    from hardplace.workload.recording.layers import record_workload

    try:
        workload = record_workload(step)
        check(workload)
    except ValueError as problem:
        raise problem if isinstance(problem, BadInput) else BadInput(f"{step.source}: {problem}") from problem
    return workload


def record_module(
    module: Any,
    inputs: Any,
    *,
    loss: Callable[..., Any] | None = None,
    name: str,
    dtype: str = "bf16",
    autocast: str | None = None,
    freeze: Sequence[str] = (),
) -> Workload:
    """Record a torch module that is at hand, which stays as it is; arguments as for `hardplace.trace`."""
    options = _options(None, dtype, autocast, "fused", False)
    from torch import nn

    from hardplace.workload.recording.source import check_module, step_of_returned

    if not isinstance(module, nn.Module):
        raise BadInput("source", type(module).__name__, "a torch.nn.Module, a file, or package.module:function")
    check_module(module, type(module).__name__)
    there = copy.deepcopy(module).to(device="meta", dtype=options.dtype)
    from hardplace.workload.recording.freeze import freeze as frozen

    frozen(there, tuple(freeze))
    return recorded(step_of_returned(lambda: (there, inputs, loss), type(module).__name__, name, options))


def _options(
    sequence_length: int | None, dtype: str, autocast: str | None, attention: str, trust_code: bool
) -> Options:
    try:
        import torch

        from hardplace.workload.recording.huggingface import Options
    except ImportError as problem:
        raise BadInput("torch", f"not installed ({problem})", "pip install 'hardplace[torch]'") from None
    for what, value in (("dtype", dtype), ("autocast", autocast or dtype)):
        if value not in DTYPES:
            raise BadInput(what, repr(value), f"one of {', '.join(DTYPES)}")
    if attention not in ("fused", "unfused"):
        raise BadInput("attention", repr(attention), "fused or unfused")
    return Options(
        sequence_length=sequence_length,
        dtype=getattr(torch, DTYPES[dtype]),
        autocast=getattr(torch, DTYPES[autocast]) if autocast else None,
        fused_attention=attention == "fused",
        run_custom_code=trust_code,
    )


def _check(source: str, length: int | None, attention: str) -> None:
    """Raise BadInput for arguments that do not go with the source."""
    function = is_function(source)
    if attention == "unfused" and function:
        raise BadInput("attention", "unfused", "a config.json; what a function returns chooses its attention itself")
    if length is None:
        return
    if function or source.endswith(".onnx"):
        given = "the function's example inputs" if function else "the file, or by size where it leaves one open"
        raise BadInput("sequence_length", length, f"a config.json; here it is set by {given}")
    if not 0 < length < 2**31:
        raise BadInput("sequence_length", length, "a number of tokens from 1 to 2^31")


def _of_onnx(source: str, name: str | None, options: Options, sizes: dict[str, int], command: str) -> TrainingStep:
    try:
        from hardplace.workload.recording.onnx import step_of_onnx
    except ImportError as problem:
        raise BadInput(source, f"ONNX files need one more package ({problem})", "pip install onnx") from None
    return step_of_onnx(Path(source), name or Path(source).stem, sizes, options, command)
