"""What a Hugging Face model takes: inputs and labels of a micro-batch, by its forward pass and its config."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from hardplace.errors import BadInput

Maker = Callable[[int], dict[str, Any]]
_TOWERS = ("vision_config", "audio_config", "audio_encoder_config", "encoder_config", "backbone_config", "encoder")
_SOUND = ("input_features", "input_values")
_FRAMES = 1024  # of sound where the config says nothing
_SECOND = 16_000  # samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Where sizes of inputs are looked up: a config, then those of its towers. length: tokens of text."""

    config: Any
    length: int

    def of(self, *names: str) -> Any:
        """Return the first of these fields that is set; None if none is."""
        towers = [getattr(self.config, name, None) for name in _TOWERS]
        for one in (self.config, *towers, *(getattr(tower, "backbone_config", None) for tower in towers)):
            for name in names:
                value = getattr(one, name, None) if one is not None else None
                if value is not None and value != []:
                    return value
        return None

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        size = self.of("image_size", "input_size", "vision_image_size")
        if isinstance(size, dict):
            size = [size["height"], size["width"]]
        if isinstance(size, list | tuple):
            return (int(size[-2]), int(size[-1])) if len(size) > 1 else (int(size[0]), int(size[0]))
        return (int(size or 224),) * 2

    @property
    def channels(self) -> int:
        """Channels of an image."""
        found = self.of("num_channels", "in_channels", "in_chans") or 3
        return side(found)

    @property
    def bands(self) -> int:
        """Features of a frame of sound."""
        found = self.of(
            "num_mel_bins", "n_mels", "num_mel_channels", "feature_projection_input_dim", "input_feat_per_channel",
            "feature_size", "input_dim", "mel_bins",
        )  # fmt: skip
        return int(found or 80)

    def samples(self) -> int:
        """Samples of sound that convolutions make this many tokens of; a second where there are none."""
        kernels = getattr(self.config, "conv_kernel", None)
        if not isinstance(kernels, list | tuple):
            return _SECOND
        length = self.length
        for kernel, stride in zip(reversed(kernels), reversed(self.config.conv_stride), strict=True):
            length = (length - 1) * stride + kernel
        return int(length)


def side(size: Any) -> int:
    """Return the first of the sizes of an image."""
    return int(size[0] if isinstance(size, list | tuple) else size)


def makers(module: torch.nn.Module, config: Any, length: int, where: str) -> Iterator[Maker]:
    """Give what makes inputs and labels of a micro-batch, the likeliest first: with labels before without.

    Raises BadInput for a model that takes neither text, images nor sound.
    """
    found = inspect.signature(module.forward).parameters
    takes = set(found)
    sizes = Sizes(config=config, length=length)
    names = _names(module, config, found)
    shapes = {name: list(_shapes(name, sizes)) for name in (*names, "decoder_input_ids")}
    lacking = [name for name in names if not shapes[name]]
    if lacking or not names:
        raise BadInput(
            f"{where}: {type(module).__name__} takes {', '.join(lacking or sorted(takes))}: expected a model of text, "
            "images or speech; give a function"
        )
    for label in (*_labels(module, sizes, takes), None):
        pair = getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes and label is None
        given = list(dict.fromkeys([*names, *(["decoder_input_ids"] if pair else [])]))
        for chosen in product(*(shapes[name] for name in given)):
            yield _maker(module, dict(zip(given, chosen, strict=True)), label)


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
    names = [name for name in dict.fromkeys(names) if name in found]
    return names or [one for one in ("pixel_values", *_SOUND, "hidden_states") if one in found][:1]


def two_towers(module: torch.nn.Module) -> bool:
    """Return whether a model compares the texts of a micro-batch with its images or sounds."""
    features = ("get_image_features", "get_audio_features", "get_video_features")
    both = hasattr(module, "get_text_features") and any(hasattr(module, name) for name in features)
    return both and "Generation" not in type(module).__name__


Shape = tuple[torch.dtype | None, tuple[int, ...]]  # of a sample; None: floats of the model's type


def _shapes(name: str, sizes: Sizes) -> Iterator[Shape]:
    """Give the dtypes and shapes of a sample that an input of this name may have, the likeliest first."""
    height, width = sizes.image
    match name:
        case "input_ids" | "decoder_input_ids" | "position_ids" | "token_type_ids":
            codebooks = sizes.of("num_codebooks", "num_audio_codebooks")
            yield torch.int64, (sizes.length,)
            if codebooks:
                yield torch.int64, (int(codebooks), sizes.length)
                yield torch.int64, (sizes.length, int(codebooks))
        case "attention_mask" | "bool_masked_pos":
            yield torch.int64, (sizes.length,)
        case "pixel_values" | "x" | "image":
            yield None, (sizes.channels, height, width)
            frames = int(sizes.of("num_frames", "video_length") or 8)
            yield None, (frames, sizes.channels, height, width)
        case "pixel_values_videos":
            yield None, (int(sizes.of("num_frames", "frames_per_clip") or 16), sizes.channels, height, width)
        case "input_features" | "spectrogram" | "audio_mel":
            yield from _sound_frames(sizes)
        case "input_values" | "audio_values" | "waveform" | "audio":
            yield None, (sizes.samples(),)
            yield None, (int(sizes.of("max_length") or _FRAMES), sizes.bands)
            yield None, (int(sizes.of("audio_channels", "num_channels") or 1), sizes.samples())
        case "inputs_embeds" | "hidden_states" | "query_embeds" | "encoder_hidden_states":
            width_of = sizes.of("hidden_size", "d_model", "embed_dim", "input_size")
            if isinstance(width_of, int):
                yield None, (sizes.length, width_of)
        case "past_values":
            length = sizes.of("context_length", "seq_length", "prediction_length")
            channels = sizes.of("num_input_channels", "input_size") or 1
            if length:
                yield None, (int(length), int(channels))
                yield None, (int(length),)
        case "flattened_patches":
            patch = sizes.of("patch_embed_hidden_size", "hidden_size")
            yield None, (int(sizes.of("seq_len") or 2048), 2 + 3 * 16 * 16 if patch else 770)
        case "audio_codes" | "codes":
            yield torch.int64, (int(sizes.of("num_quantizers", "num_codebooks") or 8), _FRAMES)
        case _:
            return


def _sound_frames(sizes: Sizes) -> Iterator[Shape]:
    frames = sizes.of("max_source_positions")
    if frames:
        yield None, (sizes.bands, 2 * int(frames))
    long = int(sizes.of("max_length", "max_audio_len", "max_position_embeddings") or _FRAMES)
    long = min(long, 4 * _FRAMES)
    yield None, (long, sizes.bands)
    channels = sizes.of("input_channels")
    if channels:
        yield None, (long, sizes.bands * int(channels))
    yield None, (sizes.bands, long)
    yield None, (long, 2 * sizes.bands)
    yield None, (1, 1001, sizes.bands)
    yield None, (sizes.samples(),)


def _labels(module: torch.nn.Module, sizes: Sizes, takes: set[str]) -> Iterator[Shape]:
    """Give dtypes and shapes of labels with which the model makes its own loss from shapes alone."""
    name = type(module).__name__
    if "labels" not in takes or name.endswith(("ForCTC", "ForObjectDetection", "ForRNNT", "ForTDT")):
        return  # losses that need the labels' values
    if "SemanticSegmentation" in name:
        yield torch.int64, sizes.image
    elif "Classification" in name and "Token" not in name:
        yield torch.int64, ()
    else:
        yield torch.int64, (sizes.length,)


def _maker(module: torch.nn.Module, shapes: dict[str, Shape], label: Shape | None) -> Maker:
    """Return what makes tensors of these shapes a sample, on the meta device."""
    named = {**shapes, **({"labels": label} if label else {})}

    def make(rows: int) -> dict[str, Any]:
        floats = next(module.parameters()).dtype
        return {
            name: torch.empty((rows, *shape), dtype=dtype or floats, device="meta")
            for name, (dtype, shape) in named.items()
        }

    return make
