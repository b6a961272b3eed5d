"""Bytes and kernels of eager modules against torch's own operators, counted as they run, on the library's layers."""

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.work import StreamWork
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Recompute

# What gives the same memory another shape, and what hardplace prices as products and attention.
VIEWS = (
    "view", "_unsafe_view", "t", "transpose", "expand", "slice", "split", "unsqueeze", "squeeze", "detach", "alias",
    "select", "permute",
)  # fmt: skip
PRICED_APART = ("mm", "scaled_dot_product")


class Moved(TorchDispatchMode):
    """Adds up what every operator reads and writes: each element in memory once, where it is broadcast."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.kernels = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name not in VIEWS and not any(part in name for part in PRICED_APART):
            self.kernels += 1
            tensors = [one for one in tree_leaves((args, kwargs, out)) if isinstance(one, torch.Tensor)]
            self.bytes += sum(in_memory(one) for one in tensors)
        return out


def in_memory(one: torch.Tensor) -> int:
    elements = 1
    for size, stride in zip(one.shape, one.stride(), strict=True):
        elements *= size if stride else 1
    return elements * one.element_size()


def moved(work):
    streams = [one for one in work if isinstance(one, StreamWork)]
    return sum(one.bytes for one in streams), sum(one.launches for one in streams)


@pytest.mark.parametrize(("dtype", "wide"), [(torch.bfloat16, False), (torch.float32, True)])
def test_a_layer_of_hugging_faces_llama_moves_what_its_operators_do(dtype: torch.dtype, wide: bool) -> None:
    """All of a layer but products and attention, both passes: norms, rotation, MLP, residual sums, sums of gradients.

    Left out here: a row's statistics, the weights of norms, and the cosines that all heads read.
    """
    tokens, hidden, ffn, heads = 128, 256, 704, 16
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=1, num_attention_heads=heads,
        num_key_value_heads=heads, vocab_size=64, attn_implementation="sdpa",
    )  # fmt: skip
    model = transformers.models.llama.modeling_llama
    layer = model.LlamaDecoderLayer(config, 0).to(dtype)
    inputs = torch.randn(1, tokens, hidden, dtype=dtype, requires_grad=True)
    angles = model.LlamaRotaryEmbedding(config)(inputs, torch.arange(tokens)[None])
    with Moved() as forward:
        out = layer(inputs, position_embeddings=angles)
    gradient = torch.randn_like(out)
    with Moved() as backward:
        out.backward(gradient)
    shape = DecoderShape(
        layers=1, hidden=hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads, ffn=ffn, vocab=64,
        sequence=tokens, gated=True,
    )  # fmt: skip
    found = block(shape, Degrees(eager=True, wide=wide), Recompute.NONE)
    times = 2 if wide else 1  # bytes are of 16 bit: the pricer has them twice in fp32
    for counted, work in ((forward, found.forward), (backward, found.backward)):
        size, launches = moved(work)
        assert times * size == pytest.approx(counted.bytes, rel=0.01)
        assert launches == counted.kernels
