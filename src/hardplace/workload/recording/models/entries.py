"""The catalogue's models: where each was published, and how it is recorded.

Configs are those of `catalogue/configs.json`. GPT-2's and GPT-3's have gelu_pytorch_tanh for the published gelu_new,
the same function (tanh approximation) as torch's one operator; the eight operators of Hugging Face's version keep
24 s b h bytes more, which no training framework does.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardplace.workload.load import published_config
from hardplace.workload.recording.huggingface import Options, step_of_config
from hardplace.workload.recording.source import step_of_function
from hardplace.workload.recording.step import TrainingStep

_FUNCTIONS = "hardplace.workload.recording.models"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """A model to record: by its Hugging Face config, or by a function where that library has none.

    Attributes:
        source: Where it was published.
        sequence_length: Tokens of a sample.
        function: module:function of this package's models; "": the config is recorded.
    """

    source: str
    sequence_length: int
    function: str = ""


def step_of(name: str) -> TrainingStep:
    """Return the step of a catalogue model; KeyError for another name."""
    model = MODELS[name]
    options = Options(sequence_length=model.sequence_length)
    command = f"python -m hardplace.workload.recording.models.catalogue {name}"
    if model.function:
        return step_of_function(f"{_FUNCTIONS}.{model.function}", name, options, command)
    return step_of_config(published_config(name), name, name, options, model.source, command)


def _hub(repository: str, tokens: int, note: str = "") -> CatalogueEntry:
    """Return the entry of a repository's config.json; note: what differs from it."""
    source = f"huggingface.co/{repository} config.json"
    return CatalogueEntry(source=f"{source}, {note}" if note else source, sequence_length=tokens)


MODELS: dict[str, CatalogueEntry] = {
    "bert-base": _hub("google-bert/bert-base-uncased", 512),
    "bert-large": _hub("google-bert/bert-large-uncased", 512),
    "megatron-bert-3.9b": CatalogueEntry(
        source="arXiv 1909.08053, table 5, vocabulary 30,592 (padded)",
        sequence_length=512,
    ),
    "gpt2-xl": _hub("openai-community/gpt2-xl", 1024),
    "megatron-gpt2-2.5b": CatalogueEntry(
        source="arXiv 1909.08053, table 2, vocabulary 51,200 (padded)",
        sequence_length=1024,
    ),
    "megatron-gpt2-8.3b": CatalogueEntry(
        source="arXiv 1909.08053, table 2, vocabulary 51,200 (padded)",
        sequence_length=1024,
    ),
    "gpt3-2.7b": CatalogueEntry(
        source="arXiv 2005.14165, table 2.1, as a GPT-2 with dense attention",
        sequence_length=2048,
    ),
    "gpt3-175b": CatalogueEntry(
        source="arXiv 2005.14165, table 2.1, as a GPT-2 with dense attention",
        sequence_length=2048,
    ),
    "opt-350m": _hub("facebook/opt-350m", 2048),
    "opt-6.7b": _hub("facebook/opt-6.7b", 2048),
    "opt-66b": _hub("facebook/opt-66b", 2048),
    "llama2-7b": _hub("meta-llama/Llama-2-7b-hf", 4096),
    "llama2-13b": _hub("meta-llama/Llama-2-13b-hf", 4096),
    "llama2-70b": _hub("meta-llama/Llama-2-70b-hf", 4096),
    "llama3-8b": _hub("meta-llama/Meta-Llama-3-8B", 8192),
    "llama3-70b": _hub("meta-llama/Meta-Llama-3-70B", 8192),
    "llama3-405b": _hub("meta-llama/Llama-3.1-405B", 8192),
    "qwen3-8b": _hub("Qwen/Qwen3-8B", 4096),
    "qwen3-30b-a3b": _hub("Qwen/Qwen3-30B-A3B", 4096),
    "mixtral-8x7b": _hub("mistralai/Mixtral-8x7B-v0.1", 4096),
    "deepseek-v3": _hub("deepseek-ai/DeepSeek-V3", 4096),
    "t5-large": _hub("google-t5/t5-large", 512),
    "vit-l": _hub("google/vit-large-patch16-224", 197),
    "whisper-medium": _hub("openai/whisper-medium", 448),
    "resnet-50": _hub("microsoft/resnet-50", 1),
    "mamba2-2.7b": _hub("state-spaces/mamba2-2.7b", 2048, "vocabulary padded to a multiple of 16"),
    "vgg-16": CatalogueEntry(
        source="arXiv 1409.1556, table 1, D",
        sequence_length=1,
        function="vision:vgg16_step",
    ),
    "inception-v3": CatalogueEntry(
        source="arXiv 1512.00567, without the auxiliary head",
        sequence_length=1,
        function="vision:inception_v3_step",
    ),
    "u-net": CatalogueEntry(
        source="arXiv 1505.04597, figure 1",
        sequence_length=1,
        function="unet:u_net_step",
    ),
    "dlrm": CatalogueEntry(
        source="arXiv 1906.00091 as MLPerf's Criteo Terabyte model",
        sequence_length=1,
        function="recommendation:dlrm_step",
    ),
    "qwen3-235b-a22b": _hub("Qwen/Qwen3-235B-A22B", 4096),
    "qwen3-next-80b-a3b": _hub("Qwen/Qwen3-Next-80B-A3B-Instruct", 4096, "without the extra prediction layer"),
    "gpt-oss-120b": _hub("openai/gpt-oss-120b", 4096, "weights in bf16"),
    "llama-4-scout": _hub("meta-llama/Llama-4-Scout-17B-16E", 4096),
    "deepseek-v3.2": _hub("deepseek-ai/DeepSeek-V3.2-Exp", 4096, "without the extra prediction layer"),
    "kimi-k2": _hub("moonshotai/Kimi-K2-Base", 4096),
    "glm-4.5": _hub("zai-org/GLM-4.5", 4096, "without the extra prediction layer"),
    "gemma-3-27b": _hub("google/gemma-3-27b-pt", 4096),
    "nemotron-h-8b": _hub("nvidia/Nemotron-H-8B-Base-8K", 8192),
    "phi-4": _hub("microsoft/phi-4", 4096),
    "siglip2-so400m-14-384": _hub("google/siglip2-so400m-patch14-384", 64),
    "modernbert-large": _hub("answerdotai/ModernBERT-large", 8192),
    "flux.1-dev": CatalogueEntry(
        source="huggingface.co/black-forest-labs/FLUX.1-dev transformer/config.json",
        sequence_length=4608,
        function="flux:flux_step",
    ),
}
