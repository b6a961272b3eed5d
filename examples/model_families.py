"""Models of other families, at sizes that trace in a second: (module, inputs), as `hardplace trace` takes them.

    hardplace trace examples.model_families:weather_unet --out weather.json.gz

Each follows a published design, smaller; docs/model-split.md says what each is for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

Inputs = dict[str, Tensor]


class WeatherUNet(nn.Module):
    """Fields of the next hours from those of now on a latitude-longitude grid: a U-Net that is periodic in longitude."""

    def __init__(self, fields: int = 20, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.inlet = nn.Conv2d(fields, width, 1)
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.outlet = nn.Conv2d(width, fields, 1)

    def forward(self, state: Tensor) -> Tensor:
        """Return the mean squared tendency, the loss of a field that does not change."""
        hidden, kept = self.inlet(state), []
        for block in self.down:
            kept.append(hidden)
            hidden = functional.avg_pool2d(block(hidden), 2)
        for block in self.up:
            hidden = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
            hidden = block(torch.cat([hidden, kept.pop()], dim=1))
        return self.outlet(hidden).square().mean()


class _Block(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3)
        self.norm = nn.GroupNorm(4, width)

    def forward(self, hidden: Tensor) -> Tensor:
        around = functional.pad(hidden, (1, 1, 0, 0), mode="circular")
        return functional.silu(self.norm(self.convolution(functional.pad(around, (0, 0, 1, 1)))))


class SharedTransformer(nn.Module):
    """One layer's weights used at every depth (as in ALBERT): counted once, their gradients summed."""

    def __init__(self, width: int = 64, depth: int = 3, vocabulary: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.depth = depth
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the loss of the tokens themselves."""
        hidden = self.embedding(tokens)
        for _ in range(self.depth):
            hidden = self.layer(hidden)
        return functional.cross_entropy(self.head(hidden).flatten(0, 1), tokens.flatten())


class RepVGGBlock(nn.Module):
    """3 x 3, 1 x 1 and identity side by side in training; one 3 x 3 convolution of the same function in inference."""

    def __init__(self, channels: int, width: int, stride: int, *, merged: bool) -> None:
        super().__init__()
        self.merged = merged
        self.wide = nn.Conv2d(channels, width, 3, stride, 1, bias=merged)
        if not merged:
            self.wide_norm = nn.BatchNorm2d(width)
            self.narrow = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.narrow_norm = nn.BatchNorm2d(width)
            self.same = nn.BatchNorm2d(width) if channels == width and stride == 1 else None

    def forward(self, hidden: Tensor) -> Tensor:
        if self.merged:
            return functional.relu(self.wide(hidden))
        found = self.wide_norm(self.wide(hidden)) + self.narrow_norm(self.narrow(hidden))
        return functional.relu(found if self.same is None else found + self.same(hidden))

    def merge(self) -> RepVGGBlock:
        """Return the block of inference with the same function of inputs (Ding et al. 2021, section 3.3)."""
        found = RepVGGBlock(self.wide.in_channels, self.wide.out_channels, self.wide.stride[0], merged=True)
        with torch.no_grad():
            weight, bias = _folded(self.wide.weight, self.wide_norm)
            narrow, shift = _folded(functional.pad(self.narrow.weight, (1, 1, 1, 1)), self.narrow_norm)
            weight, bias = weight + narrow, bias + shift
            if self.same is not None:
                identity = functional.pad(torch.eye(len(bias))[:, :, None, None], (1, 1, 1, 1))
                same, shift = _folded(identity, self.same)
                weight, bias = weight + same, bias + shift
            found.wide.weight.copy_(weight)
            assert found.wide.bias is not None
            found.wide.bias.copy_(bias)
        return found


def _folded(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


class RepVGG(nn.Module):
    """RepVGG (arXiv 2101.03697), three stages; merged: the form of inference, a plain VGG."""

    def __init__(self, *, merged: bool = False) -> None:
        super().__init__()
        sizes = [(3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.blocks = nn.ModuleList(RepVGGBlock(*size, merged=merged) for size in sizes)
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        hidden = images
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden.mean(dim=(2, 3)))


class SkeletonTransformer(nn.Module):
    """Actions from joints over time (STAR's design): attention among joints of a frame, then of a joint over frames."""

    def __init__(self, joints: int = 25, frames: int = 16, width: int = 48, depth: int = 2, classes: int = 60) -> None:
        super().__init__()
        self.joint = nn.Linear(3, width)
        self.place = nn.Parameter(torch.zeros(1, frames, joints, width))
        self.space = nn.ModuleList(_attention(width) for _ in range(depth))
        self.time = nn.ModuleList(_attention(width) for _ in range(depth))
        self.head = nn.Linear(width, classes)

    def forward(self, skeleton: Tensor) -> Tensor:
        """Return the logits of (samples, frames, joints, 3)."""
        hidden = self.joint(skeleton) + self.place
        samples, frames, joints, width = hidden.shape
        for space, time in zip(self.space, self.time, strict=True):
            hidden = space(hidden.reshape(samples * frames, joints, width)).reshape(samples, frames, joints, width)
            hidden = hidden.transpose(1, 2).reshape(samples * joints, frames, width)
            hidden = time(hidden).reshape(samples, joints, frames, width).transpose(1, 2)
        return self.head(hidden.mean(dim=(1, 2)))


def _attention(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)


class DefectCNN(nn.Module):
    """Defects of castings in grey X-ray images: a small convolutional classifier of two classes."""

    def __init__(self, side: int = 64) -> None:
        super().__init__()
        widths = [1, 16, 32, 64]
        parts = [
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        ]
        self.blocks = nn.ModuleList(parts)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * (side // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        hidden = images
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden)


def weather_unet() -> tuple[nn.Module, Inputs]:
    """A weather U-Net on a 32 x 64 grid."""
    return WeatherUNet(), {"state": torch.zeros(2, 20, 32, 64)}


def shared_transformer() -> tuple[nn.Module, Inputs]:
    """A transformer of three layers with the weights of one."""
    return SharedTransformer(), {"tokens": torch.zeros(2, 32, dtype=torch.int64)}


def repvgg_training() -> tuple[nn.Module, Inputs]:
    """RepVGG as it is trained."""
    return RepVGG(), {"images": torch.zeros(2, 3, 32, 32)}


def repvgg_inference() -> tuple[nn.Module, Inputs]:
    """RepVGG as it is deployed."""
    return RepVGG(merged=True), {"images": torch.zeros(2, 3, 32, 32)}


def skeleton_transformer() -> tuple[nn.Module, Inputs]:
    """A skeleton graph transformer on 16 frames of 25 joints."""
    return SkeletonTransformer(), {"skeleton": torch.zeros(2, 16, 25, 3)}


def defect_cnn() -> tuple[nn.Module, Inputs]:
    """A classifier of casting defects."""
    return DefectCNN(), {"images": torch.zeros(2, 1, 64, 64)}


FAMILIES = (weather_unet, shared_transformer, repvgg_training, repvgg_inference, skeleton_transformer, defect_cnn)
