"""From a Hugging Face config to a step: the library's own model class, built without weights and without a hub."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.workload.recording.step import Inputs, TrainingStep, first_floats

# Auto classes in the order they are asked for a model type, if the config names no architecture.
_AUTO = (
    "AutoModelForCausalLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForMaskedLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForImageClassification",
    "AutoModelForAudioClassification",
    "AutoModel",
)
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length")
_LONGEST = 4096  # tokens a sample where nothing was asked for: long contexts are an extension, not the training length
_MOST_LAYERS = 10_000  # each is a module in memory
_HUGE = 2**40  # no dimension of a model is as large
# Fields that a model cannot do with zero of.
_NEVER_ZERO = {
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "d_model", "d_ff",
    "num_layers", "num_heads", "n_embd", "n_layer", "n_head", "num_key_value_heads", "head_dim", "image_size",
    "patch_size", "num_mel_bins",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to record: tokens a sample (None: from the config), dtype of parameters, mixed precision, attention."""

    sequence_length: int | None = None
    dtype: torch.dtype = torch.bfloat16
    autocast: torch.dtype | None = None
    fused_attention: bool = True
    run_custom_code: bool = False


def read_config(path: Path) -> dict[str, Any]:
    """Return the fields of a config.json; BadInput if it is none."""
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise BadInput(f"{path}: expected an object with the fields of a model's config")
    return fields


def step_of_config(
    fields: dict[str, Any], where: str, name: str, options: Options, source: str = "", command: str = ""
) -> TrainingStep:
    """Return the step of a Hugging Face config; where: the file, for messages.

    Raises BadInput: no or an unknown model_type, sizes of zero, what the model library itself refuses, and custom
    code, which is run only if the options say so.
    """
    _check(fields, where)
    with _quiet():
        module, config = _built(fields, where, options)
    length = options.sequence_length or _length(config, module)
    if length < 1:
        raise BadInput(f"{where}: sequence length {length}: expected at least 1 token")
    takes = set(inspect.signature(module.forward).parameters)
    return TrainingStep(
        name=name,
        source=source or where,
        command=command,
        sequence_length=length,
        module=module,
        inputs=_inputs(module, config, takes, length, where),
        loss=_loss,
        dtype=options.dtype,
        autocast=options.autocast,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the model library from advising on weights that nobody loads."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(fields: dict[str, Any], where: str) -> None:
    if not isinstance(fields.get("model_type"), str):
        raise BadInput(f"{where}: model_type: missing; expected the name of a Hugging Face model type, such as llama")
    for key, value in fields.items():
        counts = key.startswith(("num_", "n_", "d_")) or key.endswith(("_size", "_dim", "_layers", "_heads"))
        if not counts or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not (abs(value) < _HUGE and value == int(value)):  # in this order: nan and inf are no whole numbers
            raise BadInput(f"{where}: {key}: {value}: expected a whole number below 2^40")
        if key.endswith("layers") and value > _MOST_LAYERS:
            raise BadInput(f"{where}: {key}: {value}: expected at most {_MOST_LAYERS:,} layers")
        if value < 0 or (value == 0 and key in _NEVER_ZERO):
            raise BadInput(f"{where}: {key}: {value}: expected at least 1")


def _built(fields: dict[str, Any], where: str, options: Options) -> tuple[torch.nn.Module, Any]:
    """Return the module on the meta device and its config."""
    import transformers

    kind = fields["model_type"]
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if kind not in known:
        if "auto_map" not in fields:
            raise unknown(f"{where}: model_type", kind, list(known.keys()))
        if not isinstance(fields["auto_map"], dict):
            raise BadInput(f"{where}: auto_map: {fields['auto_map']!r}: expected an object with the names of classes")
        if not options.run_custom_code:
            raise BadInput(
                f"{where}: model_type {kind!r} is custom code ({fields['auto_map'].get('AutoConfig', 'auto_map')}), "
                "which is not run unasked; expected trust_code once you have read it"
            )
        return _custom(where, options)
    named = dict(fields)
    named.pop("model_type")
    try:
        config = transformers.AutoConfig.for_model(kind, **named)
        _prepare(config, options)
        with torch.device("meta"):
            module = _class(fields, config, where)(config)
    except BadInput:
        raise
    except Exception as problem:
        raise BadInput(f"{where}: the model library refuses this config: {_line(problem)}") from problem
    return module, config


def _custom(where: str, options: Options) -> tuple[torch.nn.Module, Any]:
    """Return a module whose classes lie beside the config, run because the user said so."""
    import transformers

    if Path(where).name != "config.json":  # the library reads the folder's config.json, whatever was asked for
        raise BadInput(f"{where}: custom code: expected a file named config.json, beside its Python files")
    folder = str(Path(where).parent)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
        _prepare(config, options)
        with torch.device("meta"):
            return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=True), config
    except Exception as problem:  # of the library, or of the code beside the config
        raise BadInput(f"{where}: custom code: {type(problem).__name__}: {_line(problem)}") from problem


def _line(problem: BaseException) -> str:
    """Return the first line of what a library says."""
    return " ".join(str(problem).split())[:300] or type(problem).__name__


def _prepare(config: Any, options: Options) -> None:
    """Set what a training step needs: no cache, the wanted attention (fused by default where a class can)."""
    subs = [
        getattr(config, key) for key in getattr(config, "sub_configs", {}) if getattr(config, key, None) is not None
    ]
    for one in (config, *subs):
        one.use_cache = False
        if hasattr(one, "apply_spec_augment"):
            one.apply_spec_augment = False  # its masks are drawn on the host
        if not options.fused_attention:
            one._attn_implementation = "eager"


def _class(fields: dict[str, Any], config: Any, where: str) -> Callable[[Any], torch.nn.Module]:
    """Return the model class that the config names, or the first auto class that knows its type."""
    import transformers

    names = fields.get("architectures") or []
    for name in [names] if isinstance(names, str) else names:
        found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, torch.nn.Module):
            return found
    for auto in () if names else _AUTO:  # never another model than the one that is asked for
        mapping = getattr(transformers, auto)._model_mapping
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]
    raise BadInput(f"{where}: architectures: {names!r}: expected a class of the installed transformers library")


def _length(config: Any, module: torch.nn.Module) -> int:
    """Return the tokens of a sample: the positions of the config, at most 4,096; of images, their patches."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    for key in _POSITIONS:
        if isinstance(getattr(text, key, None), int):
            return int(min(getattr(text, key), _LONGEST))
    if getattr(config, "max_target_positions", None):
        return int(config.max_target_positions)
    if getattr(config, "image_size", None) and getattr(config, "patch_size", None):
        return (_side(config.image_size) // _side(config.patch_size)) ** 2 + 1
    return 1 if getattr(module, "main_input_name", "input_ids") == "pixel_values" else min(512, _LONGEST)


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, list | tuple) else size)


def _samples(config: Any, length: int) -> int:
    """Return the samples of sound that convolutions make this many tokens of; a second where there are none."""
    if not getattr(config, "conv_kernel", None):
        return 16000
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        length = (length - 1) * stride + kernel
    return int(length)


def _inputs(module: torch.nn.Module, config: Any, takes: set[str], length: int, where: str) -> Callable[[int], Inputs]:
    """Return what makes the inputs and labels of a micro-batch, by what the model's forward pass takes."""

    def tokens(rows: int, columns: int) -> torch.Tensor:
        return torch.empty((rows, columns), dtype=torch.int64, device="meta")

    def floats(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=next(module.parameters()).dtype, device="meta")

    kind = getattr(module, "main_input_name", "input_ids")
    seen = getattr(config, "encoder", None) if getattr(config, "image_size", None) is None else config
    side = _side(getattr(seen, "image_size", None) or 224)
    name = type(module).__name__

    def make(rows: int) -> Inputs:
        labels = tokens(rows, length)
        if kind == "input_ids" and "input_ids" in takes:
            given: Inputs = {"input_ids": tokens(rows, length)}
            if "pixel_values" in takes and "CLIP" in name:
                given["pixel_values"] = floats(
                    rows,
                    getattr(config.vision_config, "num_channels", 3),
                    *[_side(config.vision_config.image_size)] * 2,
                )
        elif kind == "pixel_values":
            given = {"pixel_values": floats(rows, getattr(seen, "num_channels", 3), side, side)}
        elif kind == "input_features":
            frames = 2 * getattr(config, "max_source_positions", length)
            given = {"input_features": floats(rows, config.num_mel_bins, frames)}
        elif kind == "input_values":
            given = {"input_values": floats(rows, _samples(config, length))}
        else:
            raise BadInput(f"{where}: {name} takes {kind}: expected a model of text, images or speech; give a function")
        if "Classification" in name and "Token" not in name:
            labels = torch.empty((rows,), dtype=torch.int64, device="meta")
        if "return_loss" in takes:
            given["return_loss"] = True
        elif "labels" in takes and not name.endswith("ForCTC"):  # that loss needs the labels' values
            given["labels"] = labels
        elif getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
            given["decoder_input_ids"] = tokens(rows, length)
        return given

    return make


def _loss(output: Any, _: Inputs) -> torch.Tensor:
    """Return the model's own loss; the sum of what it returns where it has none."""
    loss = getattr(output, "loss", None)
    if loss is not None:
        return loss
    values = first_floats(list(output.values()) if hasattr(output, "values") else output)
    return values[0].float().sum()
