"""Convolutional networks as plain torch modules: VGG-16, Inception-V3, U-Net.

In the tree because torchvision's wheel does not load beside a CPU build of torch. What a pipeline stage can hold
is a child of a ModuleList: `blocks` between `stem` and `head`, or U-Net's `encoder` and `decoder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardplace.workload.recording.models.example import Example

_Size = int | tuple[int, int]


class ConvolutionChain(nn.Module):
    """An image classifier: stem, then blocks one after the other, then head.

    forward takes labels too, so that a step's inputs can be passed whole; only the loss reads them.
    """

    def __init__(self, stem: nn.Module, blocks: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits of images."""
        hidden = self.stem(images)
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden)  # type: ignore[no-any-return]


def classification_loss(logits: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Return the mean cross entropy of logits (batch, classes, ...) against labels (batch, ...)."""
    return functional.cross_entropy(logits, inputs["labels"])


def _classification(model: nn.Module, micro_batch: int, side: int) -> Example:
    with torch.device("meta"):
        inputs = {
            "images": torch.empty((micro_batch, 3, side, side)),
            "labels": torch.empty((micro_batch,), dtype=torch.int64),
        }
    return Example(model, inputs, classification_loss)


def _vgg_part(channels: int, width: int, pooled: bool) -> nn.Sequential:
    part = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
    if pooled:
        part.append(nn.MaxPool2d(2))
    return part


def vgg16(classes: int = 1000) -> ConvolutionChain:
    """Return configuration D of Simonyan & Zisserman 2015, table 1: images of side 224, 138,357,544 parameters.

    Each convolution and each fully connected layer is a block, dropout 0.5 in the classifier (section 3.1).
    """
    stages = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    widths = [3] + [width for width, depth in stages for _ in range(depth)]
    pooled = [index == depth - 1 for _, depth in stages for index in range(depth)]
    parts = [_vgg_part(before, after, pool) for (before, after), pool in zip(pairwise(widths), pooled, strict=True)]
    connected = [
        nn.Sequential(nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5)),
        nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)),
    ]
    return ConvolutionChain(parts[0], [*parts[1:], *connected], nn.Linear(4096, classes))


def vgg16_step(micro_batch: int) -> Example:
    """Return VGG-16's training step on images of 224 x 224."""
    with torch.device("meta"):
        model = vgg16()
    return _classification(model, micro_batch, 224)


def _conv(channels: int, width: int, kernel: _Size, stride: int = 1, padding: _Size = 0) -> nn.Sequential:
    """Return a convolution without bias, batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(width, eps=0.001),
        nn.ReLU(),
    )


class Branches(nn.Module):
    """Branches from one input, concatenated over channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (batch, sum of the branches' channels, height, width)."""
        return torch.cat([branch(hidden) for branch in self.branches], dim=1)


def _pooled(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), _conv(channels, width, 1))


def _inception_5x5(channels: int, pool_width: int) -> Branches:
    """Figure 5 of the paper; the first of its two 3x3 towers stays a 5x5, as in the published weights."""
    return Branches(
        _conv(channels, 64, 1),
        nn.Sequential(_conv(channels, 48, 1), _conv(48, 64, 5, padding=2)),
        nn.Sequential(_conv(channels, 64, 1), _conv(64, 96, 3, padding=1), _conv(96, 96, 3, padding=1)),
        _pooled(channels, pool_width),
    )


def _reduction_35(channels: int) -> Branches:
    """From 35 x 35 to 17 x 17 (figure 10)."""
    return Branches(
        _conv(channels, 384, 3, stride=2),
        nn.Sequential(_conv(channels, 64, 1), _conv(64, 96, 3, padding=1), _conv(96, 96, 3, stride=2)),
        nn.MaxPool2d(3, stride=2),
    )


def _row(channels: int, width: int) -> nn.Sequential:
    return _conv(channels, width, (1, 7), padding=(0, 3))


def _column(channels: int, width: int) -> nn.Sequential:
    return _conv(channels, width, (7, 1), padding=(3, 0))


def _inception_7x7(channels: int, width: int) -> Branches:
    """7x7 convolutions as rows of 1x7 and columns of 7x1 (figure 6)."""
    twice = [_column(width, width), _row(width, width), _column(width, width), _row(width, 192)]
    return Branches(
        _conv(channels, 192, 1),
        nn.Sequential(_conv(channels, width, 1), _row(width, width), _column(width, 192)),
        nn.Sequential(_conv(channels, width, 1), *twice),
        _pooled(channels, 192),
    )


def _reduction_17(channels: int) -> Branches:
    """From 17 x 17 to 8 x 8."""
    return Branches(
        nn.Sequential(_conv(channels, 192, 1), _conv(192, 320, 3, stride=2)),
        nn.Sequential(_conv(channels, 192, 1), _row(192, 192), _column(192, 192), _conv(192, 192, 3, stride=2)),
        nn.MaxPool2d(3, stride=2),
    )


def _split_3x3() -> Branches:
    return Branches(_conv(384, 384, (1, 3), padding=(0, 1)), _conv(384, 384, (3, 1), padding=(1, 0)))


def _inception_3x3(channels: int) -> Branches:
    """Filter banks made wider (figure 7)."""
    return Branches(
        _conv(channels, 320, 1),
        nn.Sequential(_conv(channels, 384, 1), _split_3x3()),
        nn.Sequential(_conv(channels, 448, 1), _conv(448, 384, 3, padding=1), _split_3x3()),
        _pooled(channels, 192),
    )


class InceptionV3(ConvolutionChain):
    """Chain with the auxiliary classifier on the 17 x 17 grid (figure 8), if there is one.

    Returns logits; with the auxiliary classifier, in training, (logits, auxiliary logits).
    """

    def __init__(self, classes: int, aux: bool) -> None:
        stem = nn.Sequential(
            _conv(3, 32, 3, stride=2),
            _conv(32, 32, 3),
            _conv(32, 64, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            _conv(64, 80, 1),
            _conv(80, 192, 3),
            nn.MaxPool2d(3, stride=2),
        )
        sevens = [_inception_7x7(768, width) for width in (128, 160, 160, 192)]
        blocks = [_inception_5x5(192, 32), _inception_5x5(256, 64), _inception_5x5(288, 64), _reduction_35(288)]
        blocks += [*sevens, _reduction_17(768), _inception_3x3(1280), _inception_3x3(2048)]
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(stem, blocks, nn.Sequential(*pool, nn.Dropout(0.5), nn.Linear(2048, classes)))
        self.aux: nn.Sequential | None = None
        if aux:
            self.aux = nn.Sequential(
                nn.AvgPool2d(5, stride=3),
                _conv(768, 128, 1),
                _conv(128, 768, 5),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(768, classes),
            )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits of images (batch, 3, 299, 299)."""
        hidden = self.stem(images)
        extra = None
        for number, block in enumerate(self.blocks):
            hidden = block(hidden)
            if number == 7 and self.aux is not None and self.training:
                extra = self.aux(hidden)
        logits = self.head(hidden)
        return logits if extra is None else (logits, extra)


def inception_v3(classes: int = 1000, aux: bool = False) -> InceptionV3:
    """Return Inception-V3 (Szegedy et al. 2015, arXiv 1512.00567) with the widths of its published weights.

    23,834,568 parameters; 27,161,264 with the auxiliary classifier (torchvision's count).
    """
    return InceptionV3(classes, aux)


def _inception_loss(output: Tensor | tuple[Tensor, Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Return the loss; the auxiliary classifier's counts 0.3, as GoogLeNet's (Szegedy et al. 2014, section 5)."""
    if isinstance(output, Tensor):
        return classification_loss(output, inputs)
    logits, extra = output
    return classification_loss(logits, inputs) + 0.3 * classification_loss(extra, inputs)


def inception_v3_step(micro_batch: int, aux: bool = False) -> Example:
    """Return Inception-V3's training step on images of 299 x 299."""
    with torch.device("meta"):
        model = inception_v3(aux=aux)
    return _classification(model, micro_batch, 299)._replace(loss=_inception_loss)
