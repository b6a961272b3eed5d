"""A Hugging Face config.json of a decoder as a shape, without torch or transformers: its fields are plain JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.workload.decoder import LARGEST, DecoderShape, Experts

SEQUENCE = 4096  # tokens, unless the config has fewer positions or the user says otherwise
_MOST_LAYERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """How a family of models names its sizes, and what its layers are. tied: where the config does not say."""

    hidden: str = "hidden_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    ffn: str = "intermediate_size"
    kv_heads: str = "num_key_value_heads"
    positions_field: str = "max_position_embeddings"
    experts: tuple[str, str] | None = None  # fields of their number and width
    gated: bool = True
    positions: bool = False
    tied: bool = False


_LLAMA = _Family()
_GPT2 = _Family(
    hidden="n_embd",
    layers="n_layer",
    heads="n_head",
    ffn="n_inner",
    positions_field="n_positions",
    gated=False,
    positions=True,
    tied=True,
)
FAMILIES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma": _Family(tied=True),
    "mixtral": _Family(experts=("num_local_experts", "intermediate_size")),
    "qwen3_moe": _Family(experts=("num_experts", "moe_intermediate_size")),
    "gpt2": _GPT2,
    "gpt_neo": _Family(layers="num_layers", heads="num_heads", gated=False, positions=True, tied=True),
    "gpt_neox": _Family(gated=False),
    "opt": _Family(ffn="ffn_dim", gated=False, positions=True, tied=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    """The fields of one config, checked one by one; place: the file, for messages."""

    place: str
    values: Mapping[str, Any]

    def count(self, name: str, default: int | None = None, most: int = LARGEST) -> int:
        """Return a whole number from 1; `default` where the field is missing or null."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            said = "missing" if name not in self.values else repr(value)
            raise BadInput(f"{self.place}: {name}: {said}: expected a whole number from 1 to {most}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise BadInput(f"{self.place}: {name}: {value!r}: expected true or false")
        return value


def config_of(path: Path) -> Mapping[str, Any] | None:
    """Return the table of a JSON file that is a Hugging Face config (has model_type); None for any other JSON."""
    values = read_json(path)
    if isinstance(values, dict) and "layers" not in values and ("model_type" in values or "operators" not in values):
        return values
    return None


def name_of_config(path: Path) -> str:
    """Return the name of a config's model: of the folder of a config.json, of any other file its own.

    A name is what trace --name takes, and a folder's: never `..`, a slash or a control character.
    """
    name = Path(os.path.abspath(path)).parent.name if path.name == "config.json" else path.stem
    name = "".join(sign if sign.isprintable() else "_" for sign in name).strip()
    return name if name.strip(".") else "model"


def shape_of_config(values: Mapping[str, Any], place: str, sequence: int | None) -> DecoderShape:
    """Return the shape of a config; BadInput, one line with file, field, value and what was expected.

    sequence: tokens; without it the config's positions, at most 4096.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str):
        raise BadInput(f"{place}: model_type: {'missing' if kind is None else repr(kind)}: expected a text, as 'llama'")
    if kind not in FAMILIES:
        raise BadInput(f"{place}: model_type: {unknown('decoder', kind, FAMILIES)}")
    family, fields = FAMILIES[kind], _Fields(place=place, values=values)
    hidden, heads = fields.count(family.hidden), fields.count(family.heads)
    kv_heads, head_dim = _heads(fields, family, hidden, heads)
    most = fields.count(family.positions_field, SEQUENCE)
    length = min(most, SEQUENCE) if sequence is None else sequence
    experts = _experts(fields, family)
    if fields.count("word_embed_proj_dim", hidden) != hidden:
        width = values["word_embed_proj_dim"]
        raise BadInput(f"{place}: word_embed_proj_dim: {width}: expected {family.hidden}, {hidden}")
    return DecoderShape(
        layers=fields.count(family.layers, most=_MOST_LAYERS),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=0 if experts else fields.count(family.ffn, None if family.gated else 4 * hidden),
        vocab=fields.count("vocab_size"),
        sequence=length,
        gated=family.gated,
        positions=family.positions,
        tied=fields.flag("tie_word_embeddings", family.tied),
        experts=experts,
        window=_window(fields, kind),
        window_every=2 if kind == "gpt_neo" else 1,  # global and local attention take turns
    )


def _heads(fields: _Fields, family: _Family, hidden: int, heads: int) -> tuple[int, int]:
    """Return heads of keys and their dimension."""
    if fields.values.get("head_dim") is None and hidden % heads:
        raise BadInput(f"{fields.place}: {family.heads}: {heads}: expected a divisor of {family.hidden}, {hidden}")
    kv_heads = fields.count(family.kv_heads, heads)
    if heads % kv_heads:
        raise BadInput(f"{fields.place}: {family.kv_heads}: {kv_heads}: expected a divisor of {family.heads}, {heads}")
    return kv_heads, fields.count("head_dim", hidden // heads)


def _experts(fields: _Fields, family: _Family) -> Experts | None:
    if family.experts is None:
        return None
    number, width = family.experts
    if fields.values.get("mlp_only_layers") or fields.count("decoder_sparse_step", 1) != 1:
        raise BadInput(f"{fields.place}: decoder_sparse_step, mlp_only_layers: expected experts in every layer")
    return Experts(count=fields.count(number), chosen=fields.count("num_experts_per_tok"), ffn=fields.count(width))


def _window(fields: _Fields, kind: str) -> int:
    """Return the keys of a window; Qwen's configs name one that is off unless they say so."""
    if kind == "gpt_neo":
        return fields.count("window_size", 256)
    if kind.startswith("qwen") and not fields.values.get("use_sliding_window"):
        return 0
    return fields.count("sliding_window", 0) if fields.values.get("sliding_window") else 0
