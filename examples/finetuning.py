"""Ways to train a part of a model, to record: `hardplace trace examples.finetuning:lora`.

Each function returns (module, inputs) as `hardplace trace` takes them. What has no gradient is held without gradient
and optimizer's states; a quantised weight in its own type.
"""

import torch
from torch import nn


class LowRank(nn.Module):
    """A linear layer that is frozen, with a trained branch of low rank (LoRA, arXiv 2106.09685)."""

    def __init__(self, base: nn.Module, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)
        for weight in base.parameters():
            weight.requires_grad = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both."""
        return self.base(x) + self.up(self.down(x))


class Dequantised(torch.autograd.Function):
    """A product with a weight of 4 bits, which each pass unpacks for itself: nothing of its 16 bits is kept."""

    @staticmethod
    def weight(packed: torch.Tensor, scales: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Return (outputs, inputs) from (outputs, inputs / 2) bytes, a scale for each block of an output's inputs."""
        numbers = torch.stack([packed & 15, packed >> 4], -1).reshape(*scales.shape, -1)
        return (levels[numbers.long()] * scales[..., None]).reshape(packed.shape[0], -1)

    @staticmethod
    def forward(ctx, x, packed, scales, levels):
        """Return x times the weight, transposed."""
        ctx.save_for_backward(packed, scales, levels)
        return x @ Dequantised.weight(packed, scales, levels).to(x.dtype).T

    @staticmethod
    def backward(ctx, gradient):
        """Return the gradient of x."""
        return gradient @ Dequantised.weight(*ctx.saved_tensors).to(gradient.dtype), None, None, None


class Quantised(nn.Module):
    """A frozen linear layer in 4 bits with a scale for each 64 weights (QLoRA, arXiv 2305.14314)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // 2, dtype=torch.uint8), requires_grad=False)
        self.register_buffer("scales", torch.empty(outputs, inputs // 64, dtype=torch.bfloat16))
        self.register_buffer("levels", torch.empty(16, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the product."""
        return Dequantised.apply(x, self.weight, self.scales, self.levels)


def lora():
    """Llama-2-7B with branches of rank 16 beside its queries and values (8,388,608 parameters), nothing else trained."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(use_cache=False))
    model.requires_grad_(False)
    for layer in model.model.layers:
        for name in ("q_proj", "v_proj"):
            setattr(layer.self_attn, name, LowRank(getattr(layer.self_attn, name), 4096, 4096, 16))
    tokens = torch.empty(2, 4096, dtype=torch.int64)
    return model, {"input_ids": tokens, "labels": tokens}


def qlora():
    """Eight layers of 4096 x 4096 in 4 bits, with branches of rank 16."""
    blocks = [LowRank(Quantised(4096, 4096), 4096, 4096, 16) for _ in range(8)]
    return nn.Sequential(*blocks), torch.empty(2, 512, 4096)


class PromptTuned(nn.Module):
    """A frozen decoder behind trained vectors that stand before the tokens' (prompt tuning, arXiv 2104.08691)."""

    def __init__(self, model: nn.Module, count: int, width: int) -> None:
        super().__init__()
        self.model, self.prompt = model, nn.Parameter(torch.empty(count, width))
        for weight in model.parameters():
            weight.requires_grad = False

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the loss over all positions."""
        tokens = self.model.get_input_embeddings()(input_ids)
        prompt = self.prompt.expand(len(input_ids), *self.prompt.shape)
        logits = self.model(inputs_embeds=torch.cat([prompt, tokens], 1)).logits[:, self.prompt.shape[0] :]
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), input_ids.flatten())


def prompt_tuning():
    """A small Llama with 20 trained vectors of 512 (10,240 parameters)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 4, "num_attention_heads": 8}
    return PromptTuned(LlamaForCausalLM(LlamaConfig(use_cache=False, **sizes)), 20, 512), {
        "input_ids": torch.empty(2, 1004, dtype=torch.int64)
    }


class Captioner(nn.Module):
    """A frozen vision tower, a trained projector and a trained decoder."""

    def __init__(self) -> None:
        super().__init__()
        width, heads = 256, 4
        self.patches = nn.Linear(3 * 16 * 16, width)
        self.tower = nn.ModuleList(nn.TransformerEncoderLayer(width, heads, 1024, 0.0, batch_first=True) for _ in "123")
        self.projector = nn.Linear(width, 512)
        self.decoder = nn.ModuleList(nn.TransformerEncoderLayer(512, 8, 2048, 0.0, batch_first=True) for _ in "1234")
        for weight in [*self.patches.parameters(), *self.tower.parameters()]:
            weight.requires_grad = False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the decoder's output of patches (samples, patches, 768)."""
        x = self.patches(images)
        for layer in self.tower:
            x = layer(x)
        x = self.projector(x)
        for layer in self.decoder:
            x = layer(x)
        return x


def frozen_tower():
    """A tower of 3 layers without gradient before 4 layers with one; the tower keeps nothing for a backward pass."""
    return Captioner(), {"images": torch.empty(2, 196, 768)}
