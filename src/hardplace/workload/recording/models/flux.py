"""FLUX's transformer as a plain torch module: image and text in streams of their own, then in one, one attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardplace.workload.recording.models.example import Example

_WIDTH, _HEADS, _LATENT, _TEXT, _POOLED, _WAVES = 3072, 24, 64, 4096, 768, 256
_AXES = (16, 56, 56)  # of a head's dimensions: those that turn with index, row and column
_SIDE, _TOKENS = 64, 512  # patches of 16 x 16 pixels of an image of 1,024 x 1,024; tokens of text


class Embedder(nn.Module):
    """Two products of what conditions a sample, with SiLU between them."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(size, width), nn.Linear(width, width)

    def forward(self, given: Tensor) -> Tensor:
        """Return (batch, width) from (batch, size)."""
        return self.outer(functional.silu(self.inner(given)))  # type: ignore[no-any-return]


class Modulation(nn.Module):
    """Shifts, scales and gates of a sample from what its step, guidance and text say; parts: of each width."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, parts * width)
        self.parts = parts

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Return as many (batch, 1, width) from (batch, width)."""
        made = self.linear(functional.silu(condition))
        return tuple(made.unsqueeze(1).chunk(self.parts, dim=-1))


class Heads(nn.Module):
    """Queries, keys and values of a stream, queries and keys normed a head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.query_norm, self.key_norm = (nn.RMSNorm(width // heads, eps=1e-6) for _ in range(2))
        self.heads = heads

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (batch, heads, tokens, head width) thrice from (batch, tokens, width)."""
        query, key, value = (
            one(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (self.query, self.key, self.value)
        )
        return self.query_norm(query), self.key_norm(key), value


class DoubleBlock(nn.Module):
    """A block of two streams, each with its own weights, that attend to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.modulations = nn.ModuleList(Modulation(width, 6) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-6, elementwise_affine=False) for _ in range(4))
        self.heads = nn.ModuleList(Heads(width, heads) for _ in range(2))
        self.outputs = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.mlps = nn.ModuleList(_mlp(width) for _ in range(2))

    def forward(self, text: Tensor, image: Tensor, condition: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Return both streams, (batch, tokens, width) each."""
        streams = [text, image]
        changes = [modulation(condition) for modulation in self.modulations]
        made = [
            heads(norm(stream) * (1 + scale) + shift)
            for heads, norm, stream, (shift, scale, *_) in zip(
                self.heads, self.norms[:2], streams, changes, strict=True
            )
        ]
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(*made, strict=True))
        seen = _attend(query, key, value, table)
        parts = seen.split([text.shape[1], image.shape[1]], dim=1)
        found = []
        for number, (stream, part) in enumerate(zip(streams, parts, strict=True)):
            _, _, gate, shift, scale, last_gate = changes[number]
            stream = stream + gate * self.outputs[number](part)
            inner = self.norms[2 + number](stream) * (1 + scale) + shift
            found.append(stream + last_gate * self.mlps[number](inner))
        return found[0], found[1]


class SingleBlock(nn.Module):
    """A block of one stream whose attention and MLP run side by side and share their last product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 3)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.heads = Heads(width, heads)
        self.up = nn.Linear(width, 4 * width)
        self.output = nn.Linear(5 * width, width)

    def forward(self, hidden: Tensor, condition: Tensor, table: Tensor) -> Tensor:
        """Return (batch, tokens, width) from the same."""
        shift, scale, gate = self.modulation(condition)
        inner = self.norm(hidden) * (1 + scale) + shift
        query, key, value = self.heads(inner)
        seen = _attend(query, key, value, table)
        wide = functional.gelu(self.up(inner), approximate="tanh")
        return hidden + gate * self.output(torch.cat([seen, wide], dim=-1))  # type: ignore[no-any-return]


class FluxTransformer(nn.Module):
    """The transformer of a latent-diffusion model: latents and text in, their velocity out."""

    def __init__(self, double: int, single: int, width: int = _WIDTH, heads: int = _HEADS) -> None:
        super().__init__()
        self.image = nn.Linear(_LATENT, width)
        self.text = nn.Linear(_TEXT, width)
        self.step, self.guidance, self.pooled = (Embedder(size, width) for size in (_WAVES, _WAVES, _POOLED))
        self.double_blocks = nn.ModuleList(DoubleBlock(width, heads) for _ in range(double))
        self.single_blocks = nn.ModuleList(SingleBlock(width, heads) for _ in range(single))
        self.modulation = Modulation(width, 2)
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.head = nn.Linear(width, _LATENT)

    def forward(
        self, latents: Tensor, text: Tensor, pooled: Tensor, step: Tensor, guidance: Tensor, target: Tensor
    ) -> Tensor:
        """Return the velocity, (batch, patches, 64); only the loss reads the target."""
        condition = self.step(_waves(step)) + self.guidance(_waves(guidance)) + self.pooled(pooled)
        table = _table(text.shape[1], latents.device)
        image, words = self.image(latents), self.text(text)
        for block in self.double_blocks:
            words, image = block(words, image, condition, table)
        hidden = torch.cat([words, image], dim=1)
        for block in self.single_blocks:
            hidden = block(hidden, condition, table)
        scale, shift = self.modulation(condition)
        return self.head(self.norm(hidden[:, words.shape[1] :]) * (1 + scale) + shift)  # type: ignore[no-any-return]


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))


def _waves(value: Tensor) -> Tensor:
    """Return sines and cosines, (batch, 256), of a number a sample."""
    rates = torch.exp(torch.arange(_WAVES // 2, device=value.device) * (-9.21 / (_WAVES // 2)))
    angles = value[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1).to(value.dtype)


def _table(words: int, device: torch.device) -> Tensor:
    """Return cosines and sines of rotary positions, (2, tokens, head width / 2): text at 0, patches by row and column.

    In fp32, as the published code has them.
    """
    rows = torch.arange(_SIDE, device=device)
    grid = torch.stack([0 * rows[:, None] + 0 * rows, rows[:, None] + 0 * rows, 0 * rows[:, None] + rows], dim=-1)
    places = torch.cat([torch.zeros((words, 3), device=device), grid.reshape(-1, 3).float()])
    angles = [
        places[:, axis, None] * 10000.0 ** (torch.arange(size // 2, device=device) * (-2.0 / size))
        for axis, size in enumerate(_AXES)
    ]
    turned = torch.cat(angles, dim=-1)
    return torch.stack([turned.cos(), turned.sin()])


def _turned(heads: Tensor, table: Tensor) -> Tensor:
    """Return queries or keys, (batch, heads, tokens, width), turned pair by pair."""
    even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = table
    pairs = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1)
    return pairs.flatten(-2).to(heads.dtype)


def _attend(query: Tensor, key: Tensor, value: Tensor, table: Tensor) -> Tensor:
    """Return (batch, tokens, heads x width) of attention that sees all tokens."""
    query, key = _turned(query, table), _turned(key, table)
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def velocity_loss(output: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Return the squared error of the velocity, noise less latents (rectified flow, arXiv 2403.03206, section 2)."""
    return functional.mse_loss(output.float(), inputs["target"].float())


def flux_step(micro_batch: int, double: int = 19, single: int = 38) -> Example:
    """Return the training step of FLUX.1-dev's transformer on images of 1,024 x 1,024 with 512 tokens of text.

    Blocks and widths of the published config (black-forest-labs/FLUX.1-dev, transformer/config.json).
    """
    with torch.device("meta"):
        model = FluxTransformer(double, single)
        inputs = {
            "latents": torch.empty((micro_batch, _SIDE * _SIDE, _LATENT)),
            "text": torch.empty((micro_batch, _TOKENS, _TEXT)),
            "pooled": torch.empty((micro_batch, _POOLED)),
            "step": torch.empty((micro_batch,)),
            "guidance": torch.empty((micro_batch,)),
            "target": torch.empty((micro_batch, _SIDE * _SIDE, _LATENT)),
        }
    return Example(model, inputs, velocity_loss)
