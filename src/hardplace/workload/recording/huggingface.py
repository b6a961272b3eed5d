"""From a Hugging Face config to a step: the library's own model class, built without weights and without a hub."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from hardplace.errors import BadInput
from hardplace.workload.recording.config_fields import check_fields, quantised, unchosen
from hardplace.workload.recording.input_sizes import side
from hardplace.workload.recording.library import any_attention, choose_kernels
from hardplace.workload.recording.model_classes import classes_of, config_type, custom_classes, said
from hardplace.workload.recording.model_inputs import makers, two_towers
from hardplace.workload.recording.own_pairs import own_pairs
from hardplace.workload.recording.step import Inputs, TrainingStep, first_floats

_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length")
_LONGEST = 4096  # tokens a sample where nothing was asked for: long contexts are an extension, not the training length
_OWN_PAIRS = (
    "the loss of this model compares all samples of all devices; recorded is each sample's pair of its own: the scores "
    "of other pairs, 2 d (b - 1) FLOPs a sample of b samples and embeddings of d, are left out"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to record: tokens a sample (None: from the config), dtype of parameters, mixed precision, attention."""

    sequence_length: int | None = None
    dtype: torch.dtype = torch.bfloat16
    autocast: torch.dtype | None = None
    fused_attention: bool = True
    run_custom_code: bool = False


def step_of_config(
    fields: dict[str, Any], where: str, name: str, options: Options, source: str = "", command: str = ""
) -> TrainingStep:
    """Return the step of a Hugging Face config; where: the file, for messages.

    Raises BadInput: no or an unknown model_type, sizes of zero, what the model library itself refuses, and custom
    code, which is run only if the options say so.
    """
    check_fields(fields, where)
    with _quiet():
        module, config = _built(fields, where, options)
    length = options.sequence_length or _length(config, module)
    if length < 1:
        raise BadInput(f"{where}: sequence length {length}: expected at least 1 token")
    paired = [part for part in module.modules() if two_towers(part)]  # of a detector by text, within it
    for part in paired[:1]:
        own_pairs(part)
    steps = [
        TrainingStep(
            name=name,
            source=source or where,
            command=command,
            sequence_length=length,
            module=module,
            inputs=inputs,
            loss=_loss,
            dtype=options.dtype,
            autocast=options.autocast,
            own_types=own_types(module, options.dtype),
            notes=tuple(note for note in (_OWN_PAIRS if paired else "", quantised(fields)) if note),
        )
        for inputs in makers(module, config, length, where)
    ]
    return replace(steps[0], others=tuple(steps[1:]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the model library from advising on weights that nobody loads."""
    import transformers  # noqa: F401  (sets its level when it is imported)

    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _built(fields: dict[str, Any], where: str, options: Options) -> tuple[torch.nn.Module, Any]:
    """Return the module on the meta device and its config."""
    named = unchosen(fields)
    kind = str(named.pop("model_type"))
    known = config_type(kind, fields, where)
    try:
        if known is None:
            made, model = custom_classes(fields, where, options.run_custom_code)
            models = [model]
            config = made(**named)
        else:
            config = known(**named)
        _prepare(config, options)
        if known is not None:
            models = classes_of(fields, config, where)
        module = _first_made(models, config, options)
    except BadInput:
        raise
    except (Exception, SystemExit) as problem:
        raise BadInput(f"{where}: the model library refuses this config: {said(problem)}") from problem
    _settle(module)
    if options.fused_attention:
        choose_kernels(module)
    return module, config


def _first_made(models: list[Any], config: Any, options: Options) -> torch.nn.Module:
    """Return the first of these classes that can be made of a config: one of a task may want more than the type."""
    *before, last = models
    for model in before:
        try:
            return _module(model, config, options)
        except Exception:
            continue
    return _module(last, config, options)


def _module(model: Any, config: Any, options: Options) -> torch.nn.Module:
    """Return a model without weights, its tables of the type that the library gives them with these parameters."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(options.dtype)
    try:
        with torch.device("meta"), any_attention():
            return model(config)
    finally:
        torch.set_default_dtype(before)


def _configs(config: Any) -> list[Any]:
    """Return a config and those within it."""
    found = [config]
    for key in getattr(config, "sub_configs", {}) or {}:
        inner = getattr(config, key, None)
        if inner is not None:
            found += _configs(inner)
    return found


def _prepare(config: Any, options: Options) -> None:
    """Set what a training step needs: no cache, the wanted attention (fused by default where a class can)."""
    if getattr(config, "is_encoder_decoder", False) and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = getattr(config, "pad_token_id", None) or 0  # labels, one to the right of it
    for one in _configs(config):
        one.use_cache = False
        if hasattr(one, "apply_spec_augment") or hasattr(one, "mask_time_prob"):
            one.apply_spec_augment = False  # its masks are drawn on the host
        if not options.fused_attention:
            one._attn_implementation = "eager"
    prompt, seen = (getattr(config, f"{one}_config", None) for one in ("prompt_encoder", "vision"))
    if prompt is not None and hasattr(prompt, "image_embedding_size") and seen is not None:
        # SAM's prompts are on the images that it is given.
        prompt.image_size = side(seen.image_size)
        prompt.image_embedding_size = side(seen.image_size) // side(seen.patch_size)


def _settle(module: torch.nn.Module) -> None:
    """Let rotary tables be as long as they are: which factors a length picks changes values, and no shape."""
    for part in module.modules():
        kinds = getattr(part, "rope_type", None)
        if isinstance(kinds, dict):
            part.rope_type = dict.fromkeys(kinds, "default")
        elif isinstance(kinds, str):
            part.rope_type = "default"


def own_types(module: torch.nn.Module, dtype: torch.dtype) -> frozenset[str]:
    """Return the parameters and buffers that keep their own type when a model of the library is loaded in another.

    Buffers that no checkpoint holds are made anew, in the type that the model's code gives them; what the model names
    to keep in fp32 (always, or with fp16 alone) is given it here, and what a router casts to fp32 in each pass.
    """
    stored = set(module.state_dict(keep_vars=True))
    named = [name for name, _ in module.named_buffers(remove_duplicate=False) if name not in stored]
    for path, part in module.named_modules():
        if vars(part).get("dtype") is torch.float32 and "Router" in type(part).__name__:  # Switch Transformers, NLLB
            for name, _ in part.named_parameters():
                _widen(module, f"{path}.{name}")
                named.append(f"{path}.{name}")
    patterns = list(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    if dtype is torch.float16:
        patterns += list(getattr(module, "_keep_in_fp32_modules", None) or ())
    if patterns:
        kept = re.compile("|".join(rf"(^|\.){one}($|\.)" for one in patterns))
        for name in filter(kept.search, stored):
            _widen(module, name)
            named.append(name)
    return frozenset(named)


def _widen(module: torch.nn.Module, name: str) -> None:
    """Give a parameter or buffer the type fp32, in place, if it is of floats."""
    path, _, last = name.rpartition(".")
    part = module.get_submodule(path)
    held = getattr(part, last)
    if isinstance(held, torch.nn.Parameter):
        held.data = held.data.float() if held.is_floating_point() else held.data
    elif isinstance(held, torch.Tensor) and held.is_floating_point():
        part._buffers[last] = held.float()


def _length(config: Any, module: torch.nn.Module) -> int:
    """Return the tokens of a sample: the positions of the config, at most 4,096; of images, their patches."""
    if isinstance(getattr(config, "max_text_len", None), int):  # of what is found in an image by its name
        return int(config.max_text_len)
    text = _text_config(config)
    for key in _POSITIONS:
        if isinstance(getattr(text, key, None), int) and getattr(text, key) > 0:
            taken = 2 * hasattr(text, "ngram")  # ProphetNet's tables of relative places have two fewer
            return int(min(getattr(text, key) - taken, _LONGEST))
    if getattr(config, "max_target_positions", None):
        return int(config.max_target_positions)
    if getattr(config, "image_size", None) and getattr(config, "patch_size", None):
        return (side(config.image_size) // side(config.patch_size)) ** 2 + 1
    return 1 if getattr(module, "main_input_name", "input_ids") == "pixel_values" else min(512, _LONGEST)


def _text_config(config: Any) -> Any:
    """Return the config of what reads or writes text; the decoder's where an encoder has one too."""
    if not hasattr(config, "get_text_config"):
        return config
    try:
        return config.get_text_config()
    except ValueError:  # several
        return config.get_text_config(decoder=True)


def _loss(output: Any, _: Inputs) -> torch.Tensor:
    """Return the model's own loss; the sum of what it returns where it has none."""
    loss = getattr(output, "loss", None)
    if loss is not None:
        return loss if loss.dim() == 0 else loss.sum()
    scores = getattr(output, "logits_per_text", None)
    values = (
        [scores]
        if scores is not None
        else first_floats(list(output.values()) if isinstance(output, Mapping) else [output])
    )
    return values[0].float().sum()
