"""Small transformers with random weights, as `hardplace run` and `hardplace trace` take them: (module, inputs)."""

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

VOCABULARY, TOKENS = 256, 32


def _inputs() -> dict[str, torch.Tensor]:
    """Token numbers of two samples: the largest says from which the run draws its own."""
    numbers = torch.full((2, TOKENS), VOCABULARY - 1)
    return {"input_ids": numbers, "labels": numbers}


def _decoder(**others: Any) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "use_cache": False,
        "attn_implementation": "sdpa",
        **others,
    }


def llama() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A Llama of 4 layers with grouped queries."""
    return LlamaForCausalLM(LlamaConfig(**_decoder(intermediate_size=128))), _inputs()


def mixtral() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A Mixtral of 4 layers, 2 of 4 experts a token."""
    sizes = _decoder(intermediate_size=96, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
    return MixtralForCausalLM(MixtralConfig(**sizes)), _inputs()


def bert() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A BERT of 4 layers with a head of its own."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    model = BertForMaskedLM(config)
    model.cls.predictions.register_parameter("bias", None)  # its head has one of its own
    return model, _inputs()


def t5() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A T5 of 2 and 2 layers, whose stacks and head share one embedding."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=64,
        d_ff=128,
        d_kv=16,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        use_cache=False,
    )
    return T5ForConditionalGeneration(config), _inputs()
