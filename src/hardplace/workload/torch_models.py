"""The catalogue's models: published configurations, typed in here, and how tensor parallelism cuts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import transformers


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which modules of a block Megatron-LM's tensor parallelism cuts (Shoeybi et al. 2019, section 3).

    Names are ends of module paths. column: cut by output features, row: by input features. The attention ones
    are cut only where the heads divide. divided: attributes (module, name) that count what a rank holds.
    """

    attention_column: tuple[str, ...]
    attention_row: tuple[str, ...]
    column: tuple[str, ...]
    row: tuple[str, ...]
    embedding: str
    head: str
    divided: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model to record: build(tied) makes it, without weights if torch's default device is meta."""

    name: str
    source: str
    sequence_length: int
    vocabulary: int
    heads: int
    build: Callable[[bool], torch.nn.Module]
    plan: Plan


_GPT2_PLAN = Plan(
    attention_column=("attn.c_attn",),
    attention_row=("attn.c_proj",),
    column=("mlp.c_fc",),
    row=("mlp.c_proj",),
    embedding="transformer.wte",
    head="lm_head",
    divided=(("attn", "split_size"),),
)
_LLAMA_PLAN = Plan(
    attention_column=("q_proj", "k_proj", "v_proj"),
    attention_row=("o_proj",),
    column=("gate_proj", "up_proj"),
    row=("down_proj",),
    embedding="model.embed_tokens",
    head="lm_head",
)
_OPT_PLAN = Plan(
    attention_column=("q_proj", "k_proj", "v_proj"),
    attention_row=("out_proj",),
    column=("fc1",),
    row=("fc2",),
    embedding="model.decoder.embed_tokens",
    head="lm_head",
    divided=(("self_attn", "num_heads"),),
)
_BERT_PLAN = Plan(
    attention_column=("self.query", "self.key", "self.value"),
    attention_row=("attention.output.dense",),
    column=("intermediate.dense",),
    row=("output.dense",),
    embedding="bert.embeddings.word_embeddings",
    head="cls.predictions.decoder",
)


def _gpt2(width: int, layers: int, heads: int, positions: int, tied: bool) -> torch.nn.Module:
    config = transformers.GPT2Config(
        vocab_size=50257,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        # gelu_new of the published files as torch's one operator: the same function (tanh approximation), but
        # the eight operators of Hugging Face's version keep 24 s b h bytes more, which no framework does.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
        use_cache=False,
        tie_word_embeddings=tied,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.loss_type = "ForCausalLM"  # what it falls back to, with a warning
    return model


def _llama2_7b(tied: bool) -> torch.nn.Module:
    # Published untied, whatever is asked for.
    config = transformers.LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        hidden_act="silu",
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        attention_bias=False,
        mlp_bias=False,
        use_cache=False,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config)


def _opt_350m(tied: bool) -> torch.nn.Module:
    config = transformers.OPTConfig(
        vocab_size=50272,
        hidden_size=1024,
        word_embed_proj_dim=512,
        ffn_dim=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        max_position_embeddings=2048,
        do_layer_norm_before=False,
        activation_function="relu",
        dropout=0.1,
        attention_dropout=0.0,
        layerdrop=0.0,
        enable_bias=True,
        layer_norm_elementwise_affine=True,
        use_cache=False,
        tie_word_embeddings=tied,
    )
    return transformers.OPTForCausalLM(config)


def _bert_large(tied: bool) -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=30522,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        use_cache=False,
        tie_word_embeddings=tied,
    )
    return transformers.BertForMaskedLM(config)


MODELS = {
    model.name: model
    for model in (
        Model(
            name="bert-large",
            source="huggingface.co/google-bert/bert-large-uncased config.json",
            sequence_length=512,
            vocabulary=30522,
            heads=16,
            build=_bert_large,
            plan=_BERT_PLAN,
        ),
        Model(
            name="gpt2-xl",
            source="huggingface.co/openai-community/gpt2-xl config.json, gelu_new as one operator",
            sequence_length=1024,
            vocabulary=50257,
            heads=25,
            build=lambda tied: _gpt2(1600, 48, 25, 1024, tied),
            plan=_GPT2_PLAN,
        ),
        Model(
            name="opt-350m",
            source="huggingface.co/facebook/opt-350m config.json",
            sequence_length=2048,
            vocabulary=50272,
            heads=16,
            build=_opt_350m,
            plan=_OPT_PLAN,
        ),
        Model(
            name="llama2-7b",
            source="huggingface.co/meta-llama/Llama-2-7b-hf config.json",
            sequence_length=4096,
            vocabulary=32000,
            heads=32,
            build=_llama2_7b,
            plan=_LLAMA_PLAN,
        ),
        Model(
            name="gpt3-175b",
            source="arXiv 2005.14165, table 2.1, as a GPT-2 with dense attention",
            sequence_length=2048,
            vocabulary=50257,
            heads=96,
            build=lambda tied: _gpt2(12288, 96, 96, 2048, tied),
            plan=_GPT2_PLAN,
        ),
    )
}
