"""FLOPs and parameters of the catalogue's decoders, recorded and by a closed form of their published configs alone.

python -m benchmarks.catalogue_counts           writes the table of docs/validation-models.md
python -m benchmarks.catalogue_counts MODEL...  counts them again with torch's FlopCounterMode

The closed form reads `catalogue/configs.json` and nothing that was
recorded: products of a layer as (inputs, outputs), 2 FLOPs a multiplication, the same again for each of the gradients
of inputs and weights; attention 2 s^2 (d_qk + d_v) a head forward and 2 s^2 (3 d_qk + 2 d_v) backward, whatever is
masked or out of a window, as torch's FlopCounterMode counts it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardplace.files import write_text
from hardplace.workload.load import load, published_config
from hardplace.workload.types import Gradient

Config = Mapping[str, Any]
_MARKS = ("<!-- written by benchmarks.catalogue_counts -->", "<!-- end of counts -->")

# Parameters and active parameters a token as published, and where.
PUBLISHED = {
    "deepseek-v3": ("671 B", "37 B", "arXiv 2412.19437"),
    "deepseek-v3.2": ("671 B", "37 B", "as DeepSeek-V3, arXiv 2412.19437, with an indexer more"),
    "glm-4.5": ("355 B", "32 B", "arXiv 2508.06471; counts the extra prediction layer, neither embedding nor head"),
    "gpt-oss-120b": ("116.83 B", "5.13 B", "arXiv 2508.10925; active without the embedding"),
    "kimi-k2": ("1.04 T", "32 B", "arXiv 2507.20534; its checkpoint holds 1,026 B"),
    "llama-4-scout": ("109 B", "17 B", "huggingface.co/meta-llama/Llama-4-Scout-17B-16E"),
    "llama2-13b": ("13.0 B", "", "arXiv 2307.09288"),
    "llama2-70b": ("69.0 B", "", "arXiv 2307.09288"),
    "llama2-7b": ("6.7 B", "", "arXiv 2307.09288"),
    "llama3-405b": ("405 B", "", "arXiv 2407.21783"),
    "llama3-70b": ("70.6 B", "", "huggingface.co/meta-llama/Meta-Llama-3-70B"),
    "llama3-8b": ("8.03 B", "", "huggingface.co/meta-llama/Meta-Llama-3-8B"),
    "mixtral-8x7b": ("46.7 B", "12.9 B", "mistral.ai/news/mixtral-of-experts"),
    "phi-4": ("14.7 B", "", "huggingface.co/microsoft/phi-4"),
    "qwen3-235b-a22b": ("235 B", "22 B", "arXiv 2505.09388"),
    "qwen3-30b-a3b": ("30.5 B", "3.3 B", "huggingface.co/Qwen/Qwen3-30B-A3B"),
    "qwen3-8b": ("8.2 B", "", "huggingface.co/Qwen/Qwen3-8B"),
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "validation-models.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a decoder of a config holds and computes.

    Attributes:
        parameters: All parameters.
        active: Parameters with a gradient that a token meets in products: no table, no norm, of experts its top-k.
        flops: Of a training step of one sample.
    """

    parameters: int
    active: int
    flops: int


def closed_form(config: Config, tokens: int) -> Counts:
    """Return the counts of a decoder from its published config at so many tokens a sample."""
    text = config.get("text_config", config)
    layers, hidden, vocab = (text[key] for key in ("num_hidden_layers", "hidden_size", "vocab_size"))
    kind, heads = config["model_type"], text["num_attention_heads"]
    held = (1 if text.get("tie_word_embeddings") else 2) * vocab * hidden + hidden
    trained, idle, score_flops = vocab * hidden, 0, 0  # products with a gradient, without, of activations
    for number in range(layers):
        products, norms, width, value = _attention(kind, text, hidden, heads)
        active, experts, other = _feed_forward(kind, text, hidden, number)
        held += sum(products) + norms + experts + other + 2 * hidden
        trained += sum(products) + active
        score_flops += 2 * tokens**2 * heads * ((width + value) + (3 * width + 2 * value))
        if kind == "deepseek_v32":  # the indexer: its queries, its one key with a norm and a bias, a weight a head
            own, each = text["index_n_heads"], text["index_head_dim"]
            indexer = text["q_lora_rank"] * own * each + hidden * each + hidden * own
            held += indexer + 2 * each
            idle += indexer
            score_flops += 2 * tokens**2 * own * (each + 1)  # and their sum, by the heads' weights
    if kind == "llama4":
        held += _llama4_tower(config)
    return Counts(parameters=held, active=trained, flops=tokens * (6 * trained + 2 * idle) + score_flops)


def _attention(kind: str, text: Config, hidden: int, heads: int) -> tuple[list[int], int, int, int]:
    """Return the products of attention (inputs x outputs), its norms and biases, and the widths of keys and values."""
    if "kv_lora_rank" in text:
        query, latent = text["q_lora_rank"], text["kv_lora_rank"]
        nope, rope, value = (text[key] for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        products = [
            hidden * query, query * heads * (nope + rope), hidden * (latent + rope), latent * heads * (nope + value),
            heads * value * hidden,
        ]  # fmt: skip
        return products, query + latent, nope + rope, value
    each = text.get("head_dim") or hidden // heads
    pairs = text["num_key_value_heads"]
    products = [hidden * heads * each, 2 * hidden * pairs * each, heads * each * hidden]
    norms = 2 * each if kind in ("qwen3", "qwen3_moe", "glm4_moe") else 0
    if kind == "gpt_oss":  # biases of all four, a sink a head
        norms += (heads + 2 * pairs) * each + hidden + heads
    if kind == "glm4_moe":  # biases of queries, keys and values
        norms += (heads + 2 * pairs) * each
    return products, norms, each, each


def _feed_forward(kind: str, text: Config, hidden: int, number: int) -> tuple[int, int, int]:
    """Return of a layer's products what a token meets, the parameters of all, and biases beside them."""
    experts = next((text[key] for key in ("n_routed_experts", "num_experts", "num_local_experts") if key in text), 0)
    if not experts or number < text.get("first_k_dense_replace", 0):
        products = 3 * hidden * text["intermediate_size"]
        return products, products, 0
    each = 3 * hidden * text.get("moe_intermediate_size", text["intermediate_size"])
    shared = text.get("n_shared_experts", 0) + (kind == "llama4")
    router = hidden * experts
    biases = experts * (2 * text["intermediate_size"] + hidden + 1) if kind == "gpt_oss" else 0
    active = router + (text["num_experts_per_tok"] + shared) * each
    return active, router + (experts + shared) * each, biases


def _llama4_tower(config: Config) -> int:
    """Return the parameters of Llama 4's vision tower and its projector."""
    vision, hidden = config["vision_config"], config["text_config"]["hidden_size"]
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    pixels = int(width / vision["pixel_shuffle_ratio"] ** 2)
    projector = pixels * vision["projector_input_dim"] + vision["projector_output_dim"] ** 2
    ends = 3 * vision["patch_size"] ** 2 * width + width + (patches + 1) * width + 4 * width
    return int(vision["num_hidden_layers"] * block + ends + projector + vision["vision_output_dim"] * hidden)


def recorded(name: str) -> Counts:
    """Return the same counts of a shipped recording; what a token meets is that of the gradients of weights."""
    workload = load(name)
    own = [workload.layers[index] for index in workload.order]
    weights = sum(one.flops.at(1) for layer in own for one in layer.operators if one.gradient is Gradient.WGRAD)
    active = weights // (2 * workload.sequence_length)
    return Counts(parameters=workload.parameters, active=active, flops=workload.flops_per_sample())


def row(name: str) -> str:
    """Return the row of a decoder: recorded counts, what was published, and whether the closed form agrees."""
    found, own = recorded(name), closed_form(published_config(name), load(name).sequence_length)
    total, active, source = PUBLISHED[name]
    unlike = [field for field in ("parameters", "active", "flops") if getattr(own, field) != getattr(found, field)]
    agrees = ", ".join(f"{field} {getattr(own, field):,}" for field in unlike) or "equal"
    each = f"{found.active / 1e9:.2f} B"
    cells = (name, f"{found.parameters:,}", total, each, active, f"{found.flops:,}", agrees, source)
    return f"| {' | '.join(cells)} |"


def write_table() -> None:
    """Write the table of decoders into the document."""
    columns = (
        "model",
        "parameters",
        "as published",
        "active",
        "active as published",
        "FLOPs a sample",
        "closed form",
        "source",
    )
    table = "\n".join((f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *map(row, sorted(PUBLISHED))))
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    write_text(DOCUMENT, f"{before}{_MARKS[0]}\n{table}\n{_MARKS[1]}{after}")


def count(names: list[str]) -> None:
    """Print the FLOPs of two samples as torch counts them, and as recorded."""
    from hardplace.workload.recording.counter import counted_flops
    from hardplace.workload.recording.models.entries import step_of

    for name in names:
        counted, found = counted_flops(step_of(name)), 2 * load(name).flops_per_sample()
        print(
            f"{name}: {counted:,} counted, {found:,} recorded: {'equal' if counted == found else 'UNEQUAL'}", flush=True
        )


if __name__ == "__main__":
    count(sys.argv[1:]) if sys.argv[1:] else write_table()
