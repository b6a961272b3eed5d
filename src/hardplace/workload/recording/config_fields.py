"""The fields of a Hugging Face config: read, and checked before the model library sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput
from hardplace.files import read_json

_MOST_LAYERS = 2_000  # each is a module in memory; the deepest published model has 1,001
_HUGE = 2**40  # no dimension of a model is as large
# Fields that a model cannot do with zero of.
_NEVER_ZERO = {
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "d_model", "d_ff",
    "num_layers", "num_heads", "n_embd", "n_layer", "n_head", "num_key_value_heads", "image_size",
    "patch_size", "num_mel_bins",
}  # fmt: skip
_EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
# What a file without a model type is, by a field that it has.
_OTHERS = {
    "peft_type": " (an adapter's: name the config.json of its base model, or a function that gives both)",
    "_class_name": " (of the diffusers library: name a function that gives the module)",
    "weight_map": " (an index of weights: the config.json beside it)",
}
_DEPTHS = {"n_layer", "n_layers", "num_layers", "num_blocks", "depth"}


def check_fields(fields: dict[str, Any], where: str) -> None:
    """Raise BadInput for a config that no model can be made of: sizes of zero or none, too many layers, odd heads.

    Configs within a config (text_config, vision_config, ...) are checked as the outer one is, named by their path.
    """
    if not isinstance(fields.get("model_type"), str):
        other = next((text for key, text in _OTHERS.items() if key in fields), "")
        raise BadInput(
            f"{where}: model_type: missing{other}; expected the name of a Hugging Face model type, such as llama"
        )
    for path, inner in _configs(fields):
        for key, value in inner.items():
            _check_field(key, value, f"{where}: {path}{key}")
        _check_heads(inner, f"{where}: {path}")
        _check_experts(inner, f"{where}: {path}")


def _configs(fields: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a config and those within it, with their paths."""
    yield path, fields
    for key, value in fields.items():
        if isinstance(value, dict) and (key.endswith("_config") or key in ("encoder", "decoder")):
            yield from _configs(value, f"{path}{key}.")


def _check_field(key: str, value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{where}: {value}: expected a finite number")
    counts = key.startswith(("num_", "n_", "d_")) or key.endswith(("_size", "_dim", "_layers", "_heads"))
    counts |= key in _DEPTHS
    if not counts or isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not (value == int(value) and abs(value) < _HUGE):
        raise BadInput(f"{where}: {value}: expected a whole number below 2^40")
    if (key.endswith("layers") or key in _DEPTHS) and value > _MOST_LAYERS:
        raise BadInput(f"{where}: {value}: expected at most {_MOST_LAYERS:,} layers")
    if value < (1 if key in _NEVER_ZERO else -1):  # -1: none, or what follows from others
        raise BadInput(f"{where}: {value}: expected at least 1")


def _check_heads(fields: dict[str, Any], where: str) -> None:
    heads, kv_heads = fields.get("num_attention_heads"), fields.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(kv_heads, int) and kv_heads > 0 and heads % kv_heads:
        raise BadInput(
            f"{where}num_key_value_heads: {kv_heads}: expected a divisor of num_attention_heads, {heads}: each head of "
            "keys and values serves as many of queries"
        )


def _check_experts(fields: dict[str, Any], where: str) -> None:
    experts = next((fields[key] for key in _EXPERTS if isinstance(fields.get(key), int)), 0)
    chosen = next((key for key in ("num_experts_per_tok", "moe_topk", "moe_k") if isinstance(fields.get(key), int)), "")
    if experts > 1 and chosen and not 1 <= fields[chosen] <= experts:
        raise BadInput(
            f"{where}{chosen}: {fields[chosen]}: expected 1 to {experts}, the experts that a token may choose"
        )
    groups = fields.get("n_group")
    if experts > 1 and isinstance(groups, int) and groups > 0 and experts % groups:
        raise BadInput(
            f"{where}n_group: {groups}: expected a divisor of the {experts} experts, which it puts into groups"
        )
    window = fields.get("sliding_window")
    if isinstance(window, int) and window < 0:
        raise BadInput(f"{where}sliding_window: {window}: expected at least 1 key, or null for all")


def quantised(fields: dict[str, Any]) -> str:
    """Return that a config asks for quantised weights, which its class alone does not have; nothing if it does not."""
    found = fields.get("quantization_config")
    method = found.get("quant_method") if isinstance(found, dict) else None
    if not method:
        return ""
    return (
        f"quantization_config ({method}) is not applied: all weights are recorded in one type, and trained; quantised "
        "ones are recorded from a function that gives the module with them"
    )


def unchosen(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that choose an implementation of attention or experts.

    The recorder chooses it; with the library's kernels package a text with a slash there would fetch code and run it.
    """
    return {
        key: unchosen(value) if isinstance(value, dict) else value
        for key, value in fields.items()
        if not key.endswith(("attn_implementation", "experts_implementation", "attn_implementation_internal"))
    }


def read_config(path: Path) -> dict[str, Any]:
    """Return the fields of a config.json; BadInput if it is none."""
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise BadInput(f"{path}: expected an object with the fields of a model's config")
    return fields
