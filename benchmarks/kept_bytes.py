"""Bytes that a recording says autograd keeps, against those that autograd keeps on real tensors, for 20 model types.

python -m benchmarks.kept_bytes [type ...]

Small models in fp32, attention as products and softmax, no dropout, two samples of 32 tokens or a 32-pixel image.
Real: storages that saved_tensors_hooks sees, less parameters and buffers. Recorded: the same of a trace, which
runs without values; of them, what the layers of the Workload hold (less tables such as rotary cosines and masks).
"""

from __future__ import annotations

import argparse
import json
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from hardplace.workload.recording.step import TrainingStep

ROWS, TOKENS = 2, 32
_SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300,
    "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "max_position_embeddings": 64, "d_model": 64,
    "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 2, "dim": 64,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96,
    "ffn_dim": 96, "word_embed_proj_dim": 64, "n_heads": 4, "n_layers": 2, "hidden_dim": 96, "image_size": 32,
    "patch_size": 8, "embedding_size": 64, "num_key_value_heads": 4, "head_dim": 16, "rotary_dim": 16,
}  # fmt: skip
TYPES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "gpt2", "gpt_neox", "gptj", "opt", "bloom", "bert",
    "roberta", "distilbert", "albert", "electra", "t5", "bart", "vit", "deit",
)  # fmt: skip


def small(kind: str) -> dict[str, Any]:
    """Return the fields of a type's config with small sizes and without dropout."""
    import transformers

    config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[kind]()
    fields = json.loads(json.dumps(config.to_dict(), default=str))
    fields.pop("layer_types", None)  # of as many layers as the default has
    changed = {key: _SIZES[key] for key in fields if key in _SIZES and fields[key] is not None}
    none = {key: 0.0 for key, value in fields.items() if ("dropout" in key or "pdrop" in key) and value is not None}
    special = {key: 1 for key, value in fields.items() if key.endswith("_token_id") and isinstance(value, int)}
    starts = {"decoder_start_token_id": 1} if fields.get("is_encoder_decoder") else {}
    return {**fields, **changed, **none, **special, **starts, "layerdrop": 0.0, "model_type": kind}


def real_bytes(step: TrainingStep) -> int:
    """Return what autograd keeps of the library's own module, on tensors with values."""
    import torch

    module = step.module.to_empty(device="cpu").float().train()
    for weight in [*module.parameters(), *module.buffers()]:
        if weight.is_floating_point():
            torch.nn.init.uniform_(weight.data, 0.01, 0.02)
        else:
            weight.data.zero_()  # positions
    own = {one.untyped_storage().data_ptr() for one in [*module.parameters(), *module.buffers()]}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # alive, so that no other takes its address
        return one

    inputs = {
        name: torch.ones(one.shape, dtype=one.dtype) if not one.is_floating_point() else torch.rand(one.shape)
        for name, one in step.inputs(ROWS).items()
    }
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        loss = step.module(**inputs)
        loss = step.loss(loss, inputs) if step.loss is not None else loss
    assert loss.requires_grad
    return sum(one.nbytes() for one in kept.values())


def compared(kind: str) -> tuple[int, int, int]:
    """Return bytes kept of a type: real, recorded, and what its layers hold."""
    import torch

    from hardplace.workload.recording.huggingface import Options, step_of_config
    from hardplace.workload.recording.layers import record_workload
    from hardplace.workload.recording.step import trace

    options = Options(sequence_length=TOKENS, dtype=torch.float32, fused_attention=False)
    step = step_of_config(small(kind), "config.json", kind, options)
    workload = record_workload(step)
    one = trace(step, ROWS)
    own = set(one.parameters) | one.buffers
    recorded = sum(one.storage_bytes[number] for number in {number for _, _, number in one.saved} - own)
    held = sum(workload.layers[number].saved_bytes.at(ROWS) for number in workload.order)
    return real_bytes(step), recorded, held


def main() -> None:
    """Compare and print a line a type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", default=TYPES)
    logging.disable(logging.ERROR)
    print("type,real,recorded,layers")
    for kind in parser.parse_args().types:
        print(kind, *compared(kind), sep=",", flush=True)


if __name__ == "__main__":
    main()
