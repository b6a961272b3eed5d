"""Sizes of what a Hugging Face model takes, from the fields of its config and of those within it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOWERS = ("vision_config", "audio_config", "audio_encoder_config", "encoder_config", "backbone_config", "encoder")
_SECOND = 16_000  # samples
_IMAGE = 224  # pixels where the config says nothing
_GRID = 448  # where images of any size go in: rounded up to whole windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Where sizes of inputs are looked up: a config, then those of its towers. length: tokens of text."""

    config: Any
    length: int

    def of(self, *names: str) -> Any:
        """Return the first of these fields that is set; None if none is."""
        for one in self._configs():
            for name in names:
                value = getattr(one, name, None)
                if value is not None and value != []:
                    return value
        return None

    def _configs(self) -> Iterator[Any]:
        towers = [getattr(self.config, name, None) for name in _TOWERS]
        inner = [getattr(tower, "backbone_config", None) for tower in towers]
        yield from (one for one in (self.config, *towers, *inner) if one is not None)

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of an image in pixels."""
        size = self.of("image_size", "input_size", "vision_image_size")
        if isinstance(size, dict):
            size = [size["height"], size["width"]]
        if isinstance(size, list | tuple):
            return (int(size[-2]), int(size[-1])) if len(size) > 1 else (int(size[0]), int(size[0]))
        patch = self.patch
        pixels = int(size or (_IMAGE if patch < _IMAGE else 4 * patch))
        windows = self.of("num_windows_side", "num_windows")  # a side
        unit = patch * windows if isinstance(windows, int) and windows > 0 else 1
        return (-(-pixels // unit) * unit,) * 2

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return side(self.of("num_channels", "in_channels", "in_chans", "num_input_channels") or 3)

    @property
    def patch(self) -> int:
        """Height of a patch in pixels."""
        return side(self.of("patch_size") or 14)

    @property
    def merge(self) -> int:
        """Patches a side that become one token of text."""
        found = self.of("spatial_merge_size", "merge_size", "merge_kernel_size", "downsample_ratio") or 1
        return max(1, int(side(found)))

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of an image, down and across: a whole number of merged patches and of windows."""
        unit = self.patch * self.merge
        window = int(self.of("window_size") or 0)
        unit = window if window > unit and window % unit == 0 else unit
        size = self.of("image_size")
        given = side(size) if isinstance(size, int | list | tuple) else _GRID
        count = -(-given // unit) * unit // self.patch
        return count, count

    @property
    def patch_width(self) -> int:
        """Numbers of a patch: of all its channels, and of as many frames as go into one."""
        return self.channels * int(self.of("temporal_patch_size") or 1) * self.patch**2

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
        kernels, strides = self.of("conv_kernel"), self.of("conv_stride")
        if not isinstance(kernels, list | tuple) or not isinstance(strides, list | tuple):
            return _SECOND
        length = self.length
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            length = (length - 1) * stride + kernel
        return int(length)


def side(size: Any) -> int:
    """Return the first of the sizes of an image."""
    return int(size[0] if isinstance(size, list | tuple) else size)
