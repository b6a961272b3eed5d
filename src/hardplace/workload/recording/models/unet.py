"""U-Net as a plain torch module: an encoder, a decoder, and a skip connection from each level to its mirror."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hardplace.workload.recording.models.example import Example
from hardplace.workload.recording.models.vision import classification_loss

_WIDTHS = (64, 128, 256, 512, 1024)
_SIDE, _SIDE_OUT = 572, 388


def _double(channels: int, width: int) -> list[nn.Module]:
    """Return two unpadded 3x3 convolutions with ReLU; the image loses four pixels a side."""
    return [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]


class Up(nn.Module):
    """A level of the decoder: up-convolution, the encoder's image cropped and put beside it, two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
        self.convolutions = nn.Sequential(*_double(channels, channels // 2))

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        """Return (batch, channels / 2, 2 h - 4, 2 w - 4) from (batch, channels, h, w)."""
        hidden = self.up(hidden)
        height, width = hidden.shape[-2:]
        top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
        skip = skip[..., top : top + height, left : left + width]
        return self.convolutions(torch.cat([skip, hidden], dim=1))  # type: ignore[no-any-return]


class UNet(nn.Module):
    """Five levels down, four up, a 1x1 convolution to classes. (batch, 1, 572, 572) -> (batch, classes, 388, 388)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        levels = [nn.Sequential(*_double(channels, _WIDTHS[0]))]
        for before, width in pairwise(_WIDTHS):
            levels.append(nn.Sequential(nn.MaxPool2d(2), *_double(before, width)))
        for level in levels[-2:]:
            level.append(nn.Dropout(0.5))
        self.encoder = nn.ModuleList(levels)
        self.decoder = nn.ModuleList(Up(width) for width in reversed(_WIDTHS[1:]))
        self.head = nn.Conv2d(_WIDTHS[0], classes, 1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits of every pixel of the inner part of images; only the loss reads labels."""
        skips, hidden = [], images
        for level in self.encoder:
            hidden = level(hidden)
            skips.append(hidden)
        for level, skip in zip(self.decoder, reversed(skips[:-1]), strict=True):
            hidden = level(hidden, skip)
        return self.head(hidden)  # type: ignore[no-any-return]


def u_net(channels: int = 1, classes: int = 2) -> UNet:
    """Return the network of Ronneberger et al. 2015 (arXiv 1505.04597), figure 1: 31,030,658 parameters.

    Unpadded convolutions, no normalisation, dropout at the end of the contracting path (section 3.1).
    """
    return UNet(channels, classes)


def u_net_step(micro_batch: int) -> Example:
    """Return U-Net's training step on tiles of 572 x 572; the border weights of the paper's loss are left out."""
    with torch.device("meta"):
        model = u_net()
        inputs = {
            "images": torch.empty((micro_batch, 1, _SIDE, _SIDE)),
            "labels": torch.empty((micro_batch, _SIDE_OUT, _SIDE_OUT), dtype=torch.int64),
        }
    return Example(model, inputs, classification_loss)
