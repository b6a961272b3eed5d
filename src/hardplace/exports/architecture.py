"""What a trainer must be told of a model: sizes, norms, activation, positions, experts, of a Hugging Face config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from hardplace.errors import BadInput, unknown
from hardplace.files import read_json
from hardplace.workload.decoder import Experts, Latent
from hardplace.workload.load import catalogue, published_config
from hardplace.workload.types import Workload


class TransformerKind(StrEnum):
    """Which stacks of layers a transformer has."""

    DECODER = "decoder"
    ENCODER = "encoder"
    ENCODER_DECODER = "encoder-decoder"


class Positions(StrEnum):
    """How a transformer knows where a token stands."""

    ROTARY = "rope"
    LEARNED = "learned"
    RELATIVE = "relative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A transformer as its config has it; family: the config's model_type.

    layers: of the decoder, or of the one stack; encoder_layers: before them. activation: as Hugging Face names it;
    gated: with a third matrix (SwiGLU). bias: in all linear layers; qkv_bias: there only. window: keys of a sliding
    window, 0 none. epsilon: of the norms. ffn: of dense layers.
    """

    family: str
    kind: TransformerKind
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    positions: int
    position_kind: Positions
    activation: str
    gated: bool
    rms_norm: bool
    epsilon: float
    tied: bool
    bias: bool
    encoder_layers: int = 0
    qkv_bias: bool = False
    qk_norm: bool = False
    rope_base: float = 10000.0
    window: int = 0
    embedding_width: int = 0
    experts: Experts | None = None
    latent: Latent | None = None


def architecture_of(model: str, workload: Workload, config: Path | None) -> Architecture | None:
    """Return the architecture of a model: of the config asked for, of the catalogue, of the config.json that it was
    recorded from, where that is still there; None where nothing says it.

    Raises BadInput for a config that is unsound or of another size than the recorded model.
    """
    where = config or Path(workload.source)
    if config is None and model in catalogue():
        found = published_config(model)
        return parse_config(found, model) if found.get("model_type") in _FAMILIES else None
    if config is None and not (where.suffix == ".json" and where.is_file()):
        return None
    found = read_config(where)
    if config is None and found.get("model_type") not in _FAMILIES:
        return None
    made = parse_config(found, str(where))
    layers, recorded = made.layers + made.encoder_layers, len(workload.order) - 2
    if layers != recorded:
        raise BadInput(f"{where}: {layers} layers: expected those of {workload.name}, {recorded}")
    return made


def read_config(path: Path) -> dict[str, Any]:
    """Return the fields of a config.json; BadInput where it is none."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise BadInput(f"{path}: expected an object with the fields of a model's config")
    return values


def parse_config(values: Mapping[str, Any], place: str) -> Architecture:
    """Return the architecture of a config's fields; place: the file, for messages."""
    family = values.get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise BadInput(f"{place}: model_type: {unknown('transformer', str(family), _FAMILIES)}")
    return _FAMILIES[family](_ConfigFields(values, place))


@dataclass(frozen=True, slots=True)
class _ConfigFields:
    values: Mapping[str, Any]
    place: str

    def count(self, name: str, default: int | None = None) -> int:
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{self.place}: {name}: {value!r}: expected a whole number from 1")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadInput(f"{self.place}: {name}: {value!r}: expected a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        return bool(self.values.get(name, default))

    def word(self, name: str, default: str) -> str:
        return str(self.values.get(name) or default)

    def rope_base(self, default: float = 10000.0) -> float:
        inside = self.values.get("rope_parameters")
        if isinstance(inside, dict) and "rope_theta" in inside:
            return float(inside["rope_theta"])
        return self.number("rope_theta", default)


def _llama_like(fields: _ConfigFields) -> Architecture:
    """Return a decoder with RMS norms, rotary positions and gated MLPs; experts where its family has them."""
    family = str(fields.values["model_type"])
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    experts = None
    if family == "mixtral":
        experts = Experts(
            count=fields.count("num_local_experts", 8),
            chosen=fields.count("num_experts_per_tok", 2),
            ffn=fields.count("intermediate_size"),
        )
    elif family == "qwen3_moe":
        experts = Experts(
            count=fields.count("num_experts", 128),
            chosen=fields.count("num_experts_per_tok", 8),
            ffn=fields.count("moe_intermediate_size"),
        )
    elif family == "deepseek_v3":
        width = fields.count("moe_intermediate_size")
        experts = Experts(
            count=fields.count("n_routed_experts"),
            chosen=fields.count("num_experts_per_tok"),
            ffn=width,
            shared_ffn=width * fields.count("n_shared_experts", 1),
            dense_layers=int(fields.values.get("first_k_dense_replace") or 0),
        )
    latent = None
    if family == "deepseek_v3":
        latent = Latent(
            query=int(fields.values.get("q_lora_rank") or 0),
            key_value=fields.count("kv_lora_rank"),
            nope=fields.count("qk_nope_head_dim"),
            rope=fields.count("qk_rope_head_dim"),
            value=fields.count("v_head_dim"),
        )
    windowed = family in ("mistral", "mixtral") or fields.flag("use_sliding_window", False)
    return Architecture(
        family=family,
        kind=TransformerKind.DECODER,
        layers=fields.count("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=fields.count("num_key_value_heads", heads),
        head_dim=fields.count("head_dim", hidden // heads),
        ffn=fields.count("intermediate_size"),
        vocab=fields.count("vocab_size"),
        positions=fields.count("max_position_embeddings", 4096),
        position_kind=Positions.ROTARY,
        activation=fields.word("hidden_act", "silu"),
        gated=True,
        rms_norm=True,
        epsilon=fields.number("rms_norm_eps", 1e-6),
        tied=fields.flag("tie_word_embeddings", False),
        bias=fields.flag("mlp_bias", False),
        qkv_bias=family == "qwen2" or fields.flag("attention_bias", False),
        qk_norm=family in ("qwen3", "qwen3_moe"),
        rope_base=fields.rope_base(),
        window=int(fields.values.get("sliding_window") or 0) if windowed else 0,
        experts=experts,
        latent=latent,
    )


def _gpt2(fields: _ConfigFields) -> Architecture:
    hidden, heads = fields.count("n_embd"), fields.count("n_head")
    return _learned(
        fields,
        kind=TransformerKind.DECODER,
        layers=fields.count("n_layer"),
        hidden=hidden,
        heads=heads,
        ffn=fields.count("n_inner", 4 * hidden),
        positions=fields.count("n_positions", 1024),
        activation=fields.word("activation_function", "gelu_new"),
        tied=True,
    )


def _opt(fields: _ConfigFields) -> Architecture:
    hidden = fields.count("hidden_size")
    return _learned(
        fields,
        kind=TransformerKind.DECODER,
        layers=fields.count("num_hidden_layers"),
        hidden=hidden,
        heads=fields.count("num_attention_heads"),
        ffn=fields.count("ffn_dim", 4 * hidden),
        positions=fields.count("max_position_embeddings", 2048),
        activation=fields.word("activation_function", "relu"),
        tied=True,
        embedding_width=fields.count("word_embed_proj_dim", hidden),
    )


def _bert(fields: _ConfigFields) -> Architecture:
    hidden = fields.count("hidden_size")
    return _learned(
        fields,
        kind=TransformerKind.ENCODER,
        layers=fields.count("num_hidden_layers"),
        hidden=hidden,
        heads=fields.count("num_attention_heads"),
        ffn=fields.count("intermediate_size", 4 * hidden),
        positions=fields.count("max_position_embeddings", 512),
        activation=fields.word("hidden_act", "gelu"),
        tied=True,
    )


def _learned(fields: _ConfigFields, **sizes: Any) -> Architecture:
    """Return a transformer with learned positions, layer norms and biases everywhere."""
    return Architecture(
        family=str(fields.values["model_type"]),
        kv_heads=sizes["heads"],
        head_dim=sizes["hidden"] // sizes["heads"],
        vocab=fields.count("vocab_size"),
        position_kind=Positions.LEARNED,
        gated=False,
        rms_norm=False,
        epsilon=fields.number("layer_norm_epsilon", fields.number("layer_norm_eps", 1e-5)),
        bias=True,
        **sizes,
    )


def _t5(fields: _ConfigFields) -> Architecture:
    heads, words = fields.count("num_heads"), fields.word("feed_forward_proj", "relu")
    layers = fields.count("num_layers")
    return Architecture(
        family="t5",
        kind=TransformerKind.ENCODER_DECODER,
        layers=fields.count("num_decoder_layers", layers),
        encoder_layers=layers,
        hidden=fields.count("d_model"),
        heads=heads,
        kv_heads=heads,
        head_dim=fields.count("d_kv"),
        ffn=fields.count("d_ff"),
        vocab=fields.count("vocab_size"),
        positions=512,
        position_kind=Positions.RELATIVE,
        activation=words.removeprefix("gated-"),
        gated=words.startswith("gated-"),
        rms_norm=True,
        epsilon=fields.number("layer_norm_epsilon", 1e-6),
        tied=fields.flag("tie_word_embeddings", True),
        bias=False,
    )


_FAMILIES = {
    "llama": _llama_like,
    "mistral": _llama_like,
    "qwen2": _llama_like,
    "qwen3": _llama_like,
    "mixtral": _llama_like,
    "qwen3_moe": _llama_like,
    "deepseek_v3": _llama_like,
    "gpt2": _gpt2,
    "opt": _opt,
    "bert": _bert,
    "t5": _t5,
}
