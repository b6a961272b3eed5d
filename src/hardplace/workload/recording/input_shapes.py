"""What an input of a Hugging Face model may be, by its name: types and shapes, and values that shapes follow from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hardplace.workload.recording.input_sizes import Sizes

_FRAMES = 1024  # of sound where the config says nothing
_REGIONS = 36  # of an image, that a detector found
TOKEN = 7  # of text: no start, end, padding or mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An input, of a sample. dtype: None for floats of the model's type. packed: samples lie one after another in the
    first dimension. values: of whole numbers, where they are known, as nested tuples of the shape."""

    dtype: torch.dtype | None = None
    shape: tuple[int, ...]
    packed: bool = False
    values: tuple[int, ...] | None = None

    def of(self, rows: int, floats: torch.dtype) -> torch.Tensor:
        """Return the input of this many samples: on the meta device, or on the CPU with its values."""
        shape = (rows * self.shape[0], *self.shape[1:]) if self.packed else (rows, *self.shape)
        if self.values is None:
            return torch.empty(shape, dtype=self.dtype or floats, device="meta")
        return torch.tensor(self.values, dtype=self.dtype).reshape(-1).repeat(rows).reshape(shape)


def floats(*shape: int, packed: bool = False) -> Given:
    """Return an input of the model's own type."""
    return Given(shape=shape, packed=packed)


def whole(*shape: int) -> Given:
    """Return an input of whole numbers that nobody reads."""
    return Given(dtype=torch.int64, shape=shape)


def known(values: tuple[int, ...], *shape: int, packed: bool = False) -> Given:
    """Return an input of whole numbers that are read."""
    return Given(dtype=torch.int64, shape=shape, packed=packed, values=values)


def filled(one: Given, name: str) -> Given:
    """Return an input of whole numbers with values: ordinary tokens; of masks, everything."""
    if one.dtype is None or one.dtype.is_floating_point or one.values is not None:
        return one
    count = int(torch.Size(one.shape).numel())
    value = 1 if "mask" in name else 0 if "type" in name or "bbox" in name else TOKEN
    return Given(dtype=one.dtype, shape=one.shape, packed=one.packed, values=(value,) * count)


def shapes_of(name: str, sizes: Sizes, takes: frozenset[str]) -> Iterator[Given]:
    """Give what an input of this name may be, the likeliest first. takes: all that the forward pass takes."""
    height, width = sizes.image
    if takes & {"grid_thw", "image_grid_thw"} and name in ("hidden_states", "pixel_values"):
        yield from _patches(sizes)
    patches = int(sizes.of("num_patches") or 256)
    if "spatial_shapes" in takes and name == "pixel_values":
        yield floats(patches, sizes.patch_width)
    match name:
        case "input_ids" | "decoder_input_ids" | "position_ids" | "token_type_ids" | "inputs":
            codebooks = sizes.of("num_codebooks", "num_audio_codebooks")
            yield whole(sizes.length)
            if codebooks:
                yield whole(int(codebooks), sizes.length)
                yield whole(sizes.length, int(codebooks))
                yield whole(sizes.length, int(codebooks) + 1)  # those of the sound and the text's
            if name == "inputs":  # of an encoder of anything
                yield floats(sizes.samples())
        case "attention_mask" | "bool_masked_pos" | "mm_token_type_ids":
            yield whole(sizes.length)
        case "bbox":
            yield whole(sizes.length, 4)
            yield floats(sizes.length, 4)
            yield floats(sizes.length, 8)
        case "qformer_input_ids":
            yield whole(min(sizes.length, 32))
        case "task_inputs":
            yield whole(int(sizes.of("task_seq_len") or 77))
        case "grid_thw" | "image_grid_thw":
            yield known((1, *sizes.grid), 3)
        case "pixel_values" | "x" | "image" | "images":
            yield floats(sizes.channels, height, width)
            frames = int(sizes.of("num_frames", "video_length") or 8)
            yield floats(frames, sizes.channels, height, width)
            yield floats(2, sizes.channels, height, width)  # a pair that is compared
            yield floats(1, sizes.channels, height, width)
        case "spatial_shapes":
            side = math.isqrt(patches)
            yield known((side, patches // side), 2)
        case "pixel_attention_mask" if "spatial_shapes" in takes:
            yield whole(patches)
        case "pixel_attention_mask" if "actions" in takes:  # of one camera
            yield whole(1)
        case "image_embeds_position_mask":  # the image is at the beginning, after the first token
            count = min(int(sizes.of("latent_query_num") or 64), sizes.length - 1)
            yield known((0, *(1,) * count, *(0,) * (sizes.length - 1 - count)), sizes.length)
        case "actions":
            yield floats(int(sizes.of("chunk_size") or 50), int(sizes.of("max_action_dim", "action_dim") or 32))
        case "image_attention_mask":
            yield whole(sizes.length, 1)
        case "pixel_values_videos":
            yield floats(int(sizes.of("num_frames", "frames_per_clip") or 16), sizes.channels, height, width)
        case "input_features" if "num_delay_tokens" in takes:  # as many tokens of sound as of text
            yield floats(sizes.bands, 2 * int(sizes.of("downsample_factor") or 4) * sizes.length)
        case "input_features" | "spectrogram" | "audio_mel":
            yield from _sound_frames(sizes)
        case "input_values" | "audio_values" | "waveform" | "audio":
            yield floats(sizes.samples())
            yield floats(int(sizes.of("max_length") or _FRAMES), sizes.bands)
            yield floats(int(sizes.of("audio_channels", "num_channels") or 1), sizes.samples())
        case "inputs_embeds" | "hidden_states" | "query_embeds" | "encoder_hidden_states":
            width_of = sizes.of("hidden_size", "d_model", "embed_dim", "input_size")
            if isinstance(width_of, int):
                yield floats(sizes.length, width_of)
                yield floats(width_of, height // sizes.patch, width // sizes.patch)
                yield floats(height // sizes.patch, width // sizes.patch, width_of)
            yield floats(sizes.channels, height, width)
        case "visual_feats":
            yield floats(_REGIONS, int(sizes.of("visual_feat_dim") or 2048))
        case "visual_pos":
            yield floats(_REGIONS, int(sizes.of("visual_pos_dim") or 4))
        case "state":
            yield floats(int(sizes.of("max_state_dim", "state_dim") or 32))
        case "past_values" | "past_observed_mask" | "past_values_padding" | "past_time_features" | "freq":
            yield from _series(name, sizes)
        case "flattened_patches":
            patch = sizes.of("patch_embed_hidden_size", "hidden_size")
            yield floats(int(sizes.of("seq_len") or 2048), 2 + 3 * 16 * 16 if patch else 770)
        case "audio_codes" | "codes":
            yield whole(int(sizes.of("num_quantizers", "num_codebooks") or 8), _FRAMES)
        case _:
            return


def _patches(sizes: Sizes) -> Iterator[Given]:
    """Give images as patches, those of all samples one after another."""
    down, across = sizes.grid
    yield floats(down * across, sizes.patch_width, packed=True)
    yield floats(down * across, sizes.channels, sizes.patch, sizes.patch, packed=True)
    width = sizes.of("hidden_size", "embed_dim")
    if isinstance(width, int):
        yield floats(down * across, width, packed=True)


def _series(name: str, sizes: Sizes) -> Iterator[Given]:
    """Give a series of numbers, or what is said of it."""
    past = sizes.of("context_length", "seq_length", "prediction_length")
    if not past:
        return
    length, channels = int(past), int(sizes.of("num_input_channels", "input_size") or 1)
    lags = sizes.of("lags_sequence")
    length += max(lags) if isinstance(lags, list | tuple) and lags else 0
    match name:
        case "freq":
            yield whole(1)
        case "past_values_padding":
            yield floats(length)
        case "past_time_features":
            yield floats(length, int(sizes.of("num_time_features") or 1))
        case _ if channels > 1:
            yield floats(length, channels)
            yield floats(length)
        case _:
            yield floats(length, channels)
            yield floats(length)


def _sound_frames(sizes: Sizes) -> Iterator[Given]:
    frames = sizes.of("max_source_positions")
    if frames:
        yield floats(sizes.bands, 2 * int(frames))
    long = int(sizes.of("max_length", "max_audio_len", "max_position_embeddings") or _FRAMES)
    long = min(long, 4 * _FRAMES)
    yield floats(long, sizes.bands)
    channels = sizes.of("input_channels")
    if channels:
        yield floats(long, sizes.bands * int(channels))
    yield floats(sizes.bands, long)
    yield floats(long, 2 * sizes.bands)
    yield floats(long, 4 * sizes.bands)  # and their differences, of two frames
    yield floats(1, 1001, sizes.bands)
    yield floats(sizes.samples())
