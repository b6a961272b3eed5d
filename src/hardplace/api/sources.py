"""Models and devices by name, and models of your own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardplace.api.asking import Named, name_of, names_of
from hardplace.errors import BadInput, ModelNote

if TYPE_CHECKING:
    import os

    from hardplace.workload.types import Workload


def models() -> tuple[str, ...]:
    """Return the names of the models that ship with the package.

    Returns:
        Names in alphabetical order, as every argument `model` takes them.
    """
    from hardplace.workload.load import catalogue

    return catalogue()


def devices() -> tuple[str, ...]:
    """Return the names of the accelerators in the catalogue.

    Returns:
        Names in alphabetical order, as every argument `device` takes them.
    """
    from hardplace.hardware.catalogue import device_names

    return device_names()


def load(model: str | os.PathLike[str] | Workload) -> Workload:
    """Return the training graph of a model.

    Args:
        model: A name of `models()`, a Workload file (`.json`, `.json.gz`), a Hugging Face config.json or its folder
            (which is recorded; without the extra `torch` Llama's, Mistral's, Qwen3's and OPT's kind of decoder alone),
            or a Workload, which is returned as it is.

    Returns:
        One training step as a graph of operators, on one device.

    Raises:
        BadInput: For an unknown name, with the nearest ones, and for a file that is none of these.
    """
    from hardplace.workload.configs import config_of, name_of_config
    from hardplace.workload.load import catalogue
    from hardplace.workload.load import load as load_workload
    from hardplace.workload.types import Workload

    if isinstance(model, Workload):
        return model
    path = Path(model)
    if str(model).endswith((".xml", ".xml.gz")):
        from hardplace.workload.intermediate import workload_of_ir

        return workload_of_ir(path)
    if str(model) not in catalogue():
        if (path / "config.json").is_file():
            path = path / "config.json"
        if path.suffix == ".json" and path.is_file() and "model_type" in (values := config_of(path) or {}):
            if all(find_spec(package) for package in ("torch", "transformers")):
                return trace(path)
            from hardplace.workload.from_config import workload_of_config

            return workload_of_config(values, str(path), name_of_config(path))
    return load_workload(model)


def trace(
    source: Any,
    inputs: Any = None,
    *,
    loss: Callable[..., Any] | None = None,
    name: str | None = None,
    sequence_length: int | None = None,
    dtype: str = "bf16",
    autocast: str | None = None,
    attention: str = "fused",
    size: Mapping[str, int] | None = None,
    trust_code: bool = False,
    freeze: Named = (),
) -> Workload:
    """Record one training step of a model as a Workload, without allocating its weights.

    Args:
        source: A torch module, a config.json or its folder, `package.module:function`, or an .onnx file.
        inputs: Example inputs of a module: a tensor, a tuple or a dict. Only for a module.
        loss: Function of the module's output and the inputs. None: the output's own `loss`, or its sum.
        name: Name of the Workload. None: that of the source.
        sequence_length: Tokens of a sample, where the source leaves them open.
        dtype: Type of weights and activations, such as bf16 or fp32.
        autocast: Type of torch.autocast within which the step runs. None: no autocast.
        attention: `fused` (one kernel) or the other implementation that the model's library offers.
        size: Values of an ONNX file's dynamic dimensions, by name.
        trust_code: Run the Python files beside a config of custom code.
        freeze: Patterns of the names of parameters that are not trained.

    Returns:
        The recorded training step, its micro-batch symbolic.

    Raises:
        BadInput: Without the extra `torch`, and for a model that cannot be recorded.

    Warns:
        ModelNote: What the recording does not have as the config asks for it.
    """
    from hardplace.workload.recording.choose import record_module, recorded, step_of

    if isinstance(source, str | Path):
        step = step_of(
            str(source), name=name, sequence_length=sequence_length, dtype=dtype, autocast=autocast,
            attention=attention, size=size, trust_code=trust_code, freeze=names_of(freeze),
        )  # fmt: skip
        workload = recorded(step)
        for note in step.notes:
            warnings.warn(note, ModelNote, stacklevel=2)
        return workload
    return record_module(
        source,
        inputs,
        loss=loss,
        name=name or type(source).__name__,
        dtype=dtype,
        autocast=autocast,
        freeze=names_of(freeze),
    )


def trained(model: str | os.PathLike[str] | Workload) -> Workload:
    """Return a model's Workload; BadInput for one that was recorded for inference."""
    workload = load(model)
    if not workload.training:
        raise BadInput("model", f"{name_of(model)}: recorded for inference", "a training step, with its backward pass")
    return workload
