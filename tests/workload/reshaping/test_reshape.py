"""A reshaped workload is what recording its config gives, operator by operator, where sizes coincide and where not."""

from dataclasses import replace

import pytest

from hardplace.cost.layers.recognise import decoder_of
from hardplace.errors import BadInput
from hardplace.shaping.types import FIELDS
from hardplace.workload.load import check, load, published_config
from hardplace.workload.reshaping.reshape import Reshaping

_LLAMA = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ffn": "intermediate_size",
    "vocab": "vocab_size",
}
_GPT2 = {"layers": "n_layer", "hidden": "n_embd", "heads": "n_head", "ffn": "n_inner", "vocab": "vocab_size"}
_OPT = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "ffn": "ffn_dim",
    "vocab": "vocab_size",
}


def reshaping(name: str) -> Reshaping:
    workload = load(name)
    shape = decoder_of(workload)
    assert shape is not None
    return Reshaping(workload=workload, sizes={field: getattr(shape, field) for field in FIELDS})


DENSE = (
    "gpt2-xl", "gpt3-175b", "gpt3-2.7b", "llama2-13b", "llama2-70b", "llama2-7b", "llama3-405b", "llama3-70b",
    "llama3-8b", "megatron-gpt2-2.5b", "megatron-gpt2-8.3b", "opt-6.7b", "opt-66b", "qwen3-8b",
)  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_a_model_of_its_own_sizes_is_itself(name: str) -> None:
    found = reshaping(name)
    again = found.of({}, name)
    assert replace(again, source=found.workload.source) == found.workload


# Sizes that coincide with others of the model (hidden, sequence, heads x head dimension), and sizes that do not.
CASES: list[tuple[str, dict[str, str], dict[str, int]]] = [
    ("llama2-7b", _LLAMA, {"hidden": 4608, "heads": 36, "kv_heads": 36, "ffn": 10112, "layers": 28, "vocab": 32064}),
    ("llama2-7b", _LLAMA, {"hidden": 3584, "heads": 28, "kv_heads": 4, "head_dim": 96, "ffn": 3584, "layers": 3}),
    ("llama2-7b", _LLAMA, {"heads": 64, "kv_heads": 64, "head_dim": 64}),
    ("llama3-8b", _LLAMA, {"hidden": 8192, "heads": 32, "kv_heads": 2, "head_dim": 80, "ffn": 1000, "layers": 2}),
    ("qwen3-8b", _LLAMA, {"hidden": 4352, "heads": 34, "kv_heads": 17, "ffn": 12032, "layers": 5, "vocab": 151940}),
    ("gpt3-2.7b", _GPT2, {"heads": 20, "kv_heads": 20, "head_dim": 128, "vocab": 50304}),
    ("gpt3-2.7b", _GPT2, {"hidden": 2048, "heads": 16, "kv_heads": 16, "head_dim": 128, "ffn": 6016, "layers": 9}),
    ("gpt2-xl", _GPT2, {"hidden": 1024, "heads": 8, "kv_heads": 8, "head_dim": 128, "ffn": 1024, "layers": 2}),
    ("opt-6.7b", _OPT, {"hidden": 3072, "heads": 32, "kv_heads": 32, "head_dim": 96, "ffn": 2048, "layers": 4}),
]


@pytest.mark.parametrize(("name", "fields", "sizes"), CASES)
def test_reshaped_is_recorded(name: str, fields: dict[str, str], sizes: dict[str, int]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from hardplace.workload.recording.huggingface import Options, step_of_config
    from hardplace.workload.recording.layers import record_workload
    from hardplace.workload.recording.models.entries import MODELS

    model = MODELS[name]
    config = published_config(name)
    config |= {fields[field]: size for field, size in sizes.items() if field in fields}
    if fields is _OPT:
        config["word_embed_proj_dim"] = config["hidden_size"]
    options = Options(sequence_length=model.sequence_length)
    recorded = record_workload(step_of_config(config, name, name, options, model.source, ""))
    reshaped = reshaping(name).of(sizes, name)
    for mine, theirs in zip(reshaped.layers, recorded.layers, strict=True):
        assert mine == theirs
    assert reshaped.order == recorded.order
    assert reshaped.edges == recorded.edges
    assert reshaped.parameters == recorded.parameters
    check(reshaped)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "bert-large", "t5-large"])
def test_what_is_no_dense_decoder_is_refused(name: str) -> None:
    workload = load(name)
    sizes = {"layers": 2, "hidden": 1024, "heads": 16, "kv_heads": 16, "head_dim": 64, "ffn": 4096, "vocab": 30522}
    with pytest.raises(BadInput, match=r"^[^\n]*expected[^\n]*$"):
        Reshaping(workload=workload, sizes=sizes).of({}, name)


def test_wrong_sizes_are_refused() -> None:
    """Sizes that are not the model's contradict its graph."""
    found = reshaping("llama3-8b")
    with pytest.raises(BadInput, match="two sizes at once"):
        Reshaping(workload=found.workload, sizes={**found.sizes, "ffn": 4096}).of({}, "x")


def test_a_size_of_one_is_refused_by_name() -> None:
    found = reshaping("llama3-8b")
    with pytest.raises(BadInput, match="ffn: 1: expected at least 2"):
        Reshaping(workload=found.workload, sizes={**found.sizes, "ffn": 1}).of({}, "x")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"kv_heads": 5}, "kv_heads: 5: expected a divisor of the 32 heads"),
        ({"head_dim": 63}, "head_dim: 63: expected an even number"),
        ({"layers": 0}, "layers: 0: expected at least 1"),
    ],
)
def test_sizes_that_divide_nothing_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        reshaping("llama3-8b").of(sizes, "x")
