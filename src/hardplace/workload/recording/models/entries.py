"""The catalogue's models: published configurations, and where each was published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hardplace.workload.recording.huggingface import Options, step_of_config
from hardplace.workload.recording.source import step_of_function
from hardplace.workload.recording.step import TrainingStep


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A model to record: a Hugging Face config, or a function (package.module:function) where that library has none."""

    source: str
    sequence_length: int
    config: dict[str, Any] = field(default_factory=dict)
    function: str = ""


def step_of(name: str) -> TrainingStep:
    """Return the step of a catalogue model; KeyError for another name."""
    model = MODELS[name]
    options = Options(sequence_length=model.sequence_length)
    command = f"python -m hardplace.workload.recording.models.catalogue {name}"
    if model.function:
        step = step_of_function(model.function, name, options, command)
    else:
        step = step_of_config(model.config, name, name, options, model.source, command)
    return step


def _hub(repository: str) -> str:
    return f"huggingface.co/{repository} config.json"


def _gpt(width: int, layers: int, heads: int, positions: int, vocabulary: int = 50257) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": vocabulary,
        "n_positions": positions,
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        # gelu_new of the published files as torch's one operator: the same function (tanh approximation), but the
        # eight operators of Hugging Face's version keep 24 s b h bytes more, which no training framework does.
        "activation_function": "gelu_pytorch_tanh",
        "loss_type": "ForCausalLM",
    }


def _bert(width: int, layers: int, heads: int, vocabulary: int = 30522) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 512,
    }


def _opt(width: int, layers: int, heads: int, **others: Any) -> dict[str, Any]:
    return {
        "model_type": "opt",
        "architectures": ["OPTForCausalLM"],
        "vocab_size": 50272,
        "hidden_size": width,
        "word_embed_proj_dim": width,
        "ffn_dim": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 2048,
        "activation_function": "relu",
        "dropout": 0.1,
        "layerdrop": 0.0,
        **others,
    }


def _llama(
    width: int, inner: int, layers: int, heads: int, kv_heads: int, positions: int = 4096, vocabulary: int = 32000
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }


def _qwen3(kind: str, architecture: str, **others: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "architectures": [architecture],
        "vocab_size": 151936,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        **others,
    }


MODELS: dict[str, CatalogueEntry] = {
    "bert-base": CatalogueEntry(
        source=_hub("google-bert/bert-base-uncased"), sequence_length=512, config=_bert(768, 12, 12)
    ),
    "bert-large": CatalogueEntry(
        source=_hub("google-bert/bert-large-uncased"), sequence_length=512, config=_bert(1024, 24, 16)
    ),
    "megatron-bert-3.9b": CatalogueEntry(
        source="arXiv 1909.08053, table 5, vocabulary 30,592 (padded)",
        sequence_length=512,
        config=_bert(2560, 48, 40, 30592),
    ),
    "gpt2-xl": CatalogueEntry(
        source=_hub("openai-community/gpt2-xl"), sequence_length=1024, config=_gpt(1600, 48, 25, 1024)
    ),
    "megatron-gpt2-2.5b": CatalogueEntry(
        source="arXiv 1909.08053, table 2, vocabulary 51,200 (padded)",
        sequence_length=1024,
        config=_gpt(1920, 54, 20, 1024, 51200),
    ),
    "megatron-gpt2-8.3b": CatalogueEntry(
        source="arXiv 1909.08053, table 2, vocabulary 51,200 (padded)",
        sequence_length=1024,
        config=_gpt(3072, 72, 24, 1024, 51200),
    ),
    "gpt3-2.7b": CatalogueEntry(
        source="arXiv 2005.14165, table 2.1, as a GPT-2 with dense attention",
        sequence_length=2048,
        config=_gpt(2560, 32, 32, 2048),
    ),
    "gpt3-175b": CatalogueEntry(
        source="arXiv 2005.14165, table 2.1, as a GPT-2 with dense attention",
        sequence_length=2048,
        config=_gpt(12288, 96, 96, 2048),
    ),
    "opt-350m": CatalogueEntry(
        source=_hub("facebook/opt-350m"),
        sequence_length=2048,
        config=_opt(1024, 24, 16, word_embed_proj_dim=512, do_layer_norm_before=False),
    ),
    "opt-6.7b": CatalogueEntry(source=_hub("facebook/opt-6.7b"), sequence_length=2048, config=_opt(4096, 32, 32)),
    "opt-66b": CatalogueEntry(source=_hub("facebook/opt-66b"), sequence_length=2048, config=_opt(9216, 64, 72)),
    "llama2-7b": CatalogueEntry(
        source=_hub("meta-llama/Llama-2-7b-hf"), sequence_length=4096, config=_llama(4096, 11008, 32, 32, 32)
    ),
    "llama2-13b": CatalogueEntry(
        source=_hub("meta-llama/Llama-2-13b-hf"), sequence_length=4096, config=_llama(5120, 13824, 40, 40, 40)
    ),
    "llama2-70b": CatalogueEntry(
        source=_hub("meta-llama/Llama-2-70b-hf"), sequence_length=4096, config=_llama(8192, 28672, 80, 64, 8)
    ),
    "llama3-8b": CatalogueEntry(
        source=_hub("meta-llama/Meta-Llama-3-8B"),
        sequence_length=8192,
        config=_llama(4096, 14336, 32, 32, 8, 8192, 128256),
    ),
    "llama3-70b": CatalogueEntry(
        source=_hub("meta-llama/Meta-Llama-3-70B"),
        sequence_length=8192,
        config=_llama(8192, 28672, 80, 64, 8, 8192, 128256),
    ),
    "llama3-405b": CatalogueEntry(
        source=_hub("meta-llama/Llama-3.1-405B"),
        sequence_length=8192,
        config=_llama(16384, 53248, 126, 128, 8, 131072, 128256),
    ),
    "qwen3-8b": CatalogueEntry(
        source=_hub("Qwen/Qwen3-8B"),
        sequence_length=4096,
        config=_qwen3(
            "qwen3",
            "Qwen3ForCausalLM",
            hidden_size=4096,
            intermediate_size=12288,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
        ),
    ),
    "qwen3-30b-a3b": CatalogueEntry(
        source=_hub("Qwen/Qwen3-30B-A3B"),
        sequence_length=4096,
        config=_qwen3(
            "qwen3_moe",
            "Qwen3MoeForCausalLM",
            hidden_size=2048,
            intermediate_size=6144,
            moe_intermediate_size=768,
            num_hidden_layers=48,
            num_attention_heads=32,
            num_key_value_heads=4,
            num_experts=128,
            num_experts_per_tok=8,
            norm_topk_prob=True,
            decoder_sparse_step=1,
            mlp_only_layers=[],
        ),
    ),
    "mixtral-8x7b": CatalogueEntry(
        source=_hub("mistralai/Mixtral-8x7B-v0.1"),
        sequence_length=4096,
        config={
            "model_type": "mixtral",
            "architectures": ["MixtralForCausalLM"],
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000,
            "tie_word_embeddings": False,
        },
    ),
    "deepseek-v3": CatalogueEntry(
        source=_hub("deepseek-ai/DeepSeek-V3"),
        sequence_length=4096,
        config={
            "model_type": "deepseek_v3",
            "architectures": ["DeepseekV3ForCausalLM"],
            "vocab_size": 129280,
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 61,
            "first_k_dense_replace": 3,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "n_shared_experts": 1,
            "n_routed_experts": 256,
            "num_experts_per_tok": 8,
            "n_group": 8,
            "topk_group": 4,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
    ),
    "t5-large": CatalogueEntry(
        source=_hub("google-t5/t5-large"),
        sequence_length=512,
        config={
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            "vocab_size": 32128,
            "d_model": 1024,
            "d_kv": 64,
            "d_ff": 4096,
            "num_layers": 24,
            "num_decoder_layers": 24,
            "num_heads": 16,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
        },
    ),
    "vit-l": CatalogueEntry(
        source=_hub("google/vit-large-patch16-224"),
        sequence_length=197,
        config={
            "model_type": "vit",
            "architectures": ["ViTForImageClassification"],
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 16,
            "num_labels": 1000,
        },
    ),
    "whisper-medium": CatalogueEntry(
        source=_hub("openai/whisper-medium"),
        sequence_length=448,
        config={
            "model_type": "whisper",
            "architectures": ["WhisperForConditionalGeneration"],
            "vocab_size": 51865,
            "d_model": 1024,
            "encoder_layers": 24,
            "decoder_layers": 24,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
            "encoder_ffn_dim": 4096,
            "decoder_ffn_dim": 4096,
            "num_mel_bins": 80,
            "max_source_positions": 1500,
            "max_target_positions": 448,
            "dropout": 0.0,
        },
    ),
    "resnet-50": CatalogueEntry(
        source=_hub("microsoft/resnet-50"),
        sequence_length=1,
        config={
            "model_type": "resnet",
            "architectures": ["ResNetForImageClassification"],
            "depths": [3, 4, 6, 3],
            "hidden_sizes": [256, 512, 1024, 2048],
            "embedding_size": 64,
            "layer_type": "bottleneck",
            "num_labels": 1000,
        },
    ),
    "mamba2-2.7b": CatalogueEntry(
        source=_hub("state-spaces/mamba2-2.7b") + ", vocabulary padded to a multiple of 16",
        sequence_length=2048,
        config={
            "model_type": "mamba2",
            "architectures": ["Mamba2ForCausalLM"],
            "vocab_size": 50288,
            "hidden_size": 2560,
            "num_hidden_layers": 64,
            "num_heads": 80,
            "head_dim": 64,
            "state_size": 128,
            "n_groups": 1,
            "expand": 2,
            "conv_kernel": 4,
            "chunk_size": 256,
            "tie_word_embeddings": True,
        },
    ),
    "vgg-16": CatalogueEntry(
        source="arXiv 1409.1556, table 1, D",
        sequence_length=1,
        function="hardplace.workload.recording.models.vision:vgg16_step",
    ),
    "inception-v3": CatalogueEntry(
        source="arXiv 1512.00567, without the auxiliary head",
        sequence_length=1,
        function="hardplace.workload.recording.models.vision:inception_v3_step",
    ),
    "u-net": CatalogueEntry(
        source="arXiv 1505.04597, figure 1",
        sequence_length=1,
        function="hardplace.workload.recording.models.unet:u_net_step",
    ),
    "dlrm": CatalogueEntry(
        source="arXiv 1906.00091 as MLPerf's Criteo Terabyte model",
        sequence_length=1,
        function="hardplace.workload.recording.models.recommendation:dlrm_step",
    ),
}
