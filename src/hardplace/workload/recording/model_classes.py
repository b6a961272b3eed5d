"""From a Hugging Face config to the class of its model: the library's, or one whose code lies beside the config."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from hardplace.errors import BadInput, unknown

# Auto classes in the order they are asked for a model type, if the config names no architecture.
_AUTO = (
    "AutoModelForCausalLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModelForImageTextToText",
    "AutoModelForMultimodalLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForCTC",
    "AutoModelForImageClassification",
    "AutoModelForVideoClassification",
    "AutoModelForAudioClassification",
    "AutoModelForObjectDetection",
    "AutoModelForSemanticSegmentation",
    "AutoModelForUniversalSegmentation",
    "AutoModelForInstanceSegmentation",
    "AutoModelForImageSegmentation",
    "AutoModelForDepthEstimation",
    "AutoModelForTextToWaveform",
    "AutoModelForTextToSpectrogram",
    "AutoModelForZeroShotObjectDetection",
    "AutoModelForMaskGeneration",
    "AutoModelForPreTraining",
    "AutoModel",
    "AutoBackbone",
)
Classes = tuple[type[Any], Callable[[Any], torch.nn.Module]]


def config_type(kind: str, fields: dict[str, Any], where: str) -> Any:
    """Return the library's config class of a model type; None where the config brings its own code.

    Args:
        kind: The model type.
        fields: Fields of the config.
        where: The file, for messages.

    Raises:
        BadInput: For a type that neither has.
    """
    import transformers

    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if kind in known:
        return known[kind]
    if "auto_map" in fields:
        return None
    raise unknown(f"{where}: model_type", kind, list(known.keys()))


def classes_of(fields: dict[str, Any], config: Any, where: str) -> list[Callable[[Any], torch.nn.Module]]:
    """Return the model class that a config names, or those of the auto classes that know its type, in their order.

    A name that differs from the library's in its case alone is the library's.

    Args:
        fields: Fields of the config.
        config: The library's config.
        where: The file, for messages.

    Raises:
        BadInput: With the library's classes of this type, for any other name.
    """
    import transformers

    names = fields.get("architectures") or []
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, torch.nn.Module):
            return [found]
    own = {one.__name__: one for one in _defined(config)}
    for name in names:
        alike = [one for one in own if one.lower() == str(name).lower()]
        if alike:
            return [own[alike[0]]]
    several = []
    for auto in () if names else _AUTO:  # never another model than the one that is asked for
        mapping = getattr(transformers, auto)._model_mapping
        if type(config) in mapping:
            found = mapping[type(config)]
            several.append(found[0] if isinstance(found, tuple) else found)
    if several:
        return list(dict.fromkeys(several))
    if own and not names:
        return [own[min(own, key=lambda one: (not one.endswith("Model"), len(one)))]]
    raise BadInput(f"{where}: architectures: {names}: {_expected(names, own)}")


def _expected(names: list[Any], own: dict[str, Any]) -> str:
    if not own:
        return "expected a class of the installed transformers library"
    close = difflib.get_close_matches(str(names[0]) if names else "", own, n=3, cutoff=0) or list(own)[:3]
    return f"expected the name of the library's class of this model type: {', '.join(close)}"


def _defined(config: Any) -> Iterator[type[Any]]:
    """Give the model classes that the library defines for a config's class and that can be made alone."""
    from transformers import PreTrainedModel

    if not type(config).__module__.startswith("transformers.models."):
        return
    try:
        module = importlib.import_module(type(config).__module__.replace(".configuration_", ".modeling_"))
    except ImportError:
        return
    for name, found in vars(module).items():
        if not isinstance(found, type) or not issubclass(found, PreTrainedModel) or name.endswith("PreTrainedModel"):
            continue
        if getattr(found, "config_class", None) is type(config) and vars(found).get("forward"):
            yield found


def custom_classes(fields: dict[str, Any], where: str, trusted: bool) -> Classes:
    """Return config and model class of custom code beside a config, which is run only if it is trusted.

    The file that was named is what counts, whatever it is called.

    Args:
        fields: Fields of the config.
        where: The file, for messages; the code lies beside it.
        trusted: Whether the code may be run.

    Raises:
        BadInput: For no auto_map of names, code of another repository, files that are missing.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    references = fields.get("auto_map")
    kind = fields.get("model_type")
    if not isinstance(references, dict) or not all(isinstance(one, str) for one in _flat(references.values())):
        raise BadInput(f"{where}: auto_map: {references!r}: expected an object of auto classes and module.Class")
    if not trusted:
        library = _by_architecture(fields)
        other = f'; or set model_type to "{library}", the library\'s type of this architecture' if library else ""
        raise BadInput(
            f"{where}: model_type {kind!r} is custom code ({references.get('AutoConfig', 'auto_map')}), "
            f"which is not run unasked; expected trust_code once you have read it{other}"
        )
    folder = Path(where).parent
    found = []
    for auto in ("AutoConfig", _model_key(references, where)):
        reference = next(iter(_flat([references.get(auto)])), None)
        if reference is None:
            raise BadInput(f"{where}: auto_map: {auto}: missing; expected module.Class, of a file beside the config")
        module, _, _ = reference.rpartition(".")
        if "--" in reference or not module or "/" in module:
            raise BadInput(
                f"{where}: auto_map: {auto}: {reference!r}: expected module.Class, of a file beside the config"
            )
        if not (folder / f"{module}.py").is_file():
            raise BadInput(f"{where}: auto_map: {auto}: {module}.py is not beside the config; expected its code there")
        try:
            found.append(get_class_from_dynamic_module(reference, str(folder), local_files_only=True))
        except (Exception, SystemExit) as problem:  # whatever the user's own code raises
            raise BadInput(f"{where}: auto_map: {auto}: {module}.py: {said(problem)}") from problem
    return found[0], found[1]


def _model_key(references: dict[str, Any], where: str) -> str:
    for auto in (*_AUTO, *references):
        if auto in references and auto.startswith("AutoModel"):
            return auto
    raise BadInput(f"{where}: auto_map: {', '.join(references)}: expected an AutoModel... too, with the model's class")


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for one in values:
        if isinstance(one, list | tuple):
            yield from one
        elif one is not None:
            yield one


def _by_architecture(fields: dict[str, Any]) -> str:
    """Return the library's model type of the first architecture that it knows; nothing if it knows none."""
    import transformers

    for name in _flat([fields.get("architectures")]):
        found = getattr(transformers, str(name), None)
        kind = getattr(getattr(found, "config_class", None), "model_type", "")
        if kind:
            return str(kind)
    return ""


def said(problem: BaseException) -> str:
    """Return in one line what code that is not ours says."""
    text = " ".join(str(problem).split())[:300]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
