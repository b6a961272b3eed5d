"""A transformer of Hugging Face cut into pipeline stages: embedding, layers, head, each run by a loop of our own.

Positions and masks are those of the full length, wherever sequences are divided (context, sequence parallelism).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hardplace.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParts:
    """Where a model's parts are. shift: of labels (causal: a token predicts the next). heads: modules of the last
    stage, in order."""

    kind: str
    embedding: nn.Module
    layers: Sequence[nn.Module]
    heads: tuple[nn.Module, ...]
    shift: int
    rotary: nn.Module | None = None


def parts_of(model: nn.Module) -> StageParts | None:
    """Return the parts of a model that can be cut into stages; None of another one, which runs whole."""
    kind = str(getattr(getattr(model, "config", None), "model_type", ""))
    if kind in ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe"):
        inner: Any = model.model
        heads = (inner.norm, model.lm_head)
        return StageParts(
            kind=kind,
            embedding=inner.embed_tokens,
            layers=inner.layers,
            heads=heads,
            shift=1,
            rotary=inner.rotary_emb,
        )
    if kind == "bert" and hasattr(model, "cls"):
        bert: Any = model.bert
        return StageParts(kind=kind, embedding=bert.embeddings, layers=bert.encoder.layer, heads=(model.cls,), shift=0)
    return None


class ModelStage(nn.Module):
    """One stage, or one chunk of it: from token numbers or hidden states to hidden states or logits.

    length: tokens of a whole sequence; offset: of the first one here, where context ranks share it.
    """

    def __init__(self, parts: StageParts, layers: range, first: bool, last: bool) -> None:
        """Take the layers (numbers from 0) of a stage, with what the first and the last one have beside them."""
        super().__init__()
        self.embedding = parts.embedding if first else None
        self.layers = nn.ModuleDict({str(index): parts.layers[index] for index in layers})
        self.heads = nn.ModuleList(parts.heads if last else ())
        self.kind, self.rotary = parts.kind, parts.rotary
        self.offset = 0
        self.length = 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the stage's output; shapes (samples, tokens) or (samples, tokens, hidden)."""
        if self.embedding is not None:
            hidden = self.embedding(hidden)
        options: dict[str, Any] = {}
        if self.rotary is not None:
            numbers = torch.arange(self.offset, self.offset + self.length, device=hidden.device)[None]
            options = {"position_ids": numbers, "position_embeddings": self.rotary(hidden, numbers)}
        for layer in self.layers.values():
            hidden = layer(hidden, attention_mask=None, **options)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        for head in self.heads:
            hidden = head(hidden)
        return hidden


class WholeModel(nn.Module):
    """A model that runs as it is, without stages: from its inputs to logits."""

    def __init__(self, model: nn.Module) -> None:
        """Take the whole model."""
        super().__init__()
        self.model = model

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.model(**inputs).logits
        return logits


def blocks_of(stage: nn.Module) -> list[nn.Module]:
    """Return the layers that recompute and sharding take one by one, in order."""
    if isinstance(stage, ModelStage):
        return list(stage.layers.values())
    found = []
    for part in stage.modules():
        if isinstance(part, nn.ModuleList) and len(part) and "Block" in type(part[0]).__name__:
            found += list(part)
    return found


def replace_block(stage: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in place of one that `blocks_of` gave."""
    for part in stage.modules():
        for name, child in part.named_children():
            if child is old:
                setattr(part, name, new)
                return


def check_untied(model: nn.Module, split: bool) -> None:
    """Raise BadInput where weights are shared between the ends of a model that is divided."""
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if split and len(names) > len(list(model.parameters())):
        raise BadInput("tie_word_embeddings: true: expected false in a run with tensor or pipeline parallelism")
