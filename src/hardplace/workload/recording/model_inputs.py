"""What a Hugging Face model takes: inputs and labels of a micro-batch, by its forward pass and its config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, product
from typing import Any

import torch

from hardplace.errors import BadInput
from hardplace.workload.recording.input_shapes import TOKEN, Given, filled, known, shapes_of, whole
from hardplace.workload.recording.input_sizes import Sizes

Maker = Callable[[int], dict[str, Any]]
_SOUND = ("input_features", "input_values")
_MOST_TRIES = 24  # of one set of inputs
# What a model cannot do without, though its signature gives it a default: where it takes all before, all after.
_TOGETHER = (
    (("pixel_values", "spatial_shapes"), ("spatial_shapes", "pixel_attention_mask")),
    (("pixel_values", "image_embeds_position_mask"), ("input_ids", "image_embeds_position_mask")),
    (("input_features", "num_delay_tokens"), ("input_features",)),
    (("state", "actions"), ("actions", "input_ids", "pixel_values", "pixel_attention_mask")),
)
_SEEN = (
    "pixel_values", "image_grid_thw", "mm_token_type_ids", "image_attention_mask", "bbox", "visual_feats", "visual_pos",
)  # fmt: skip


def makers(module: torch.nn.Module, config: Any, length: int, where: str) -> Iterator[Maker]:
    """Give what makes inputs and labels of a micro-batch, the likeliest first.

    With labels before without; inputs of shapes alone before those whose values are known; what the model requires
    before images too. Raises BadInput for a model that takes neither text, images nor sound.
    """
    if module.forward.__name__ == "_forward_unimplemented":
        parts = ", ".join(dict.fromkeys(type(part).__name__ for part in module.children()))
        raise BadInput(
            f"{where}: {type(module).__name__} has no forward pass of its own: expected the config of a part that is "
            f"trained ({parts}), or a function"
        )
    found = inspect.signature(module.forward).parameters
    takes = frozenset(found)
    sizes = Sizes(config=config, length=length)
    names = _names(module, config, found)
    shapes = {name: list(shapes_of(name, sizes, takes)) for name in (*names, "decoder_input_ids", *_SEEN)}
    lacking = [name for name in names if not shapes[name]]
    if lacking or not names:
        raise BadInput(
            f"{where}: {type(module).__name__} takes {', '.join(lacking or sorted(takes))}: expected a model of text, "
            "images or speech; give a function"
        )
    for values in (False, True):
        for label in (*_labels(module, sizes, takes), None):
            pair = getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes and label is None
            given = list(dict.fromkeys([*names, *(["decoder_input_ids"] if pair else [])]))
            for chosen in islice(product(*(shapes[name] for name in given)), _MOST_TRIES):
                inputs = {**dict(zip(given, chosen, strict=True)), **({"labels": label} if label else {})}
                yield _maker(module, {name: filled(one, name) for name, one in inputs.items()} if values else inputs)
    seen = [name for name in _SEEN if name in takes and name not in names]
    if seen and names[0] == "input_ids":
        for images in islice(product(*(shapes[name] for name in seen)), _MOST_TRIES):
            yield _maker(module, _with_images(dict(zip(seen, images, strict=True)), config, sizes, takes))


def _with_images(images: dict[str, Given], config: Any, sizes: Sizes, takes: frozenset[str]) -> dict[str, Given]:
    """Return inputs of a text in which one image stands, as the model's processor would place it."""
    down, across = sizes.grid
    tokens = (down // sizes.merge) * (across // sizes.merge)
    count = config_count(config) or tokens
    place = getattr(config, "image_token_id", getattr(config, "image_token_index", None))
    count = min(count, sizes.length - 2) if isinstance(place, int) else 0
    text = [TOKEN] * sizes.length
    text[1 : 1 + count] = [place or TOKEN] * count
    kinds = tuple(int(token == place) for token in text)
    inputs = {"input_ids": known(tuple(text), sizes.length), **images}
    if "mm_token_type_ids" in images:
        inputs["mm_token_type_ids"] = known(kinds, sizes.length)
    if "labels" in takes:
        inputs["labels"] = known(tuple(text), sizes.length)
    return inputs


def config_count(config: Any) -> int:
    """Return the tokens that stand for an image, where a config says so; 0 where it does not."""
    for name in ("image_seq_length", "mm_tokens_per_image", "num_image_tokens", "image_seq_len", "num_query_tokens"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _names(module: torch.nn.Module, config: Any, found: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the inputs that a module is given, labels aside: its main one, what it requires, both of two towers."""
    main = getattr(module, "main_input_name", "input_ids")
    main = main if isinstance(main, str) else main[0]
    names = [main]
    names += [
        name
        for name, one in found.items()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    towers = two_towers(module)
    if towers or (main == "pixel_values" and "ForConditionalGeneration" in type(module).__name__):
        names.append("input_ids")
    if towers:
        names += [one for one in ("pixel_values", "pixel_values_videos", *_SOUND) if one in found][:1]
    for signs, more in _TOGETHER:
        if all(sign in found for sign in signs) and (signs[0] != "pixel_values" or signs[0] in names):
            names += more
    names = [name for name in dict.fromkeys(names) if name in found]
    return names or [one for one in ("pixel_values", *_SOUND, "hidden_states") if one in found][:1]


def two_towers(module: torch.nn.Module) -> bool:
    """Return whether a model compares the texts of a micro-batch with its images or sounds."""
    features = ("get_image_features", "get_audio_features", "get_video_features")
    both = hasattr(module, "get_text_features") and any(hasattr(module, name) for name in features)
    return both and "Generation" not in type(module).__name__


def _labels(module: torch.nn.Module, sizes: Sizes, takes: frozenset[str]) -> Iterator[Given]:
    """Give labels with which the model makes its own loss."""
    name = type(module).__name__
    if "labels" not in takes or name.endswith(("ForCTC", "ForObjectDetection", "ForRNNT", "ForTDT")):
        return  # losses that need the labels' values
    if "SemanticSegmentation" in name:
        yield whole(*sizes.image)
    elif "Classification" in name and "Token" not in name:
        yield whole()
    else:
        yield whole(sizes.length)


def _maker(module: torch.nn.Module, inputs: dict[str, Given]) -> Maker:
    """Return what makes these inputs for a number of samples."""

    def make(rows: int) -> dict[str, Any]:
        dtype = next(module.parameters()).dtype
        return {name: one.of(rows, dtype) for name, one in inputs.items()}

    return make
