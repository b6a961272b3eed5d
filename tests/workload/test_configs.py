"""Hugging Face configs as shapes without torch: families, defaults, and what is wrong in one line."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hardplace.cost.gpu.models import shipped
from hardplace.cost.layers.decoder import parameters
from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.hardware.catalogue import device
from hardplace.shaping.audit import audited
from hardplace.shaping.sources import model_named, target
from hardplace.shaping.types import StepConditions
from hardplace.workload.configs import FAMILIES, name_of_config
from hardplace.workload.decoder import Experts

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
GPT2 = {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25, "vocab_size": 50257, "n_positions": 1024}
NEOX = {
    "model_type": "gpt_neox",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 50304,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


def written(folder: Path, values: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(values))
    return str(path)


def test_llama_and_gpt2_are_the_catalogues(tmp_path: Path) -> None:
    for values, name in ((LLAMA, "llama2-7b"), (GPT2, "gpt2-xl")):
        assert model_named(written(tmp_path, values), None).shape == model_named(name, None).shape


@pytest.mark.parametrize(
    ("values", "published"),
    [
        (NEOX, 2_775_208_960),  # Pythia 2.8B (arXiv 2304.01373), which has biases like ours
        (LLAMA | {"model_type": "mistral", "num_key_value_heads": 8, "intermediate_size": 14336}, 7_241_732_096),
        (
            LLAMA | {"model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
                     "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064},
            7_615_616_512,
        ),
    ],
)  # fmt: skip
def test_parameters_are_as_published(values: dict[str, Any], published: int, tmp_path: Path) -> None:
    shape = model_named(written(tmp_path, values), None).shape
    assert shape is not None
    assert parameters(shape) == pytest.approx(published, rel=1e-3)


def test_the_example_has_its_head_dimension_and_is_tied() -> None:
    shape = model_named("examples/llama-3.2-1b/config.json", None).shape
    assert shape is not None
    assert (shape.head_dim, shape.kv_heads, shape.tied, shape.sequence) == (64, 8, True, 4096)
    assert parameters(shape) == pytest.approx(1_235_814_400, rel=1e-6)
    longer = model_named("examples/llama-3.2-1b/config.json", 8192).shape
    assert longer is not None
    assert longer.sequence == 8192


def test_experts_and_windows(tmp_path: Path) -> None:
    values = LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 4096}
    shape = model_named(written(tmp_path, values), None).shape
    assert shape is not None
    assert shape.experts == Experts(count=8, chosen=2, ffn=11008)
    assert shape.window == 4096
    neo = {"model_type": "gpt_neo", "hidden_size": 2048, "num_layers": 24, "num_heads": 16, "intermediate_size": None}
    turns = model_named(written(tmp_path, neo | {"vocab_size": 50257, "max_position_embeddings": 2048}), None).shape
    assert turns is not None
    assert (turns.window, turns.window_every, turns.ffn) == (256, 2, 8192)
    quiet = LLAMA | {"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}
    found = model_named(written(tmp_path, quiet), None).shape
    assert found is not None
    assert found.window == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_attention_heads": 30}, "num_attention_heads: 30: expected a divisor of hidden_size, 4096"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: 5: expected a divisor of num_attention_heads, 32"),
        ({"vocab_size": 0}, "vocab_size: 0: expected a whole number from 1"),
        ({"vocab_size": "many"}, "vocab_size: 'many': expected a whole number"),
        ({"hidden_size": 4096.0}, "hidden_size: 4096.0: expected a whole number"),
        ({"hidden_size": True}, "hidden_size: True: expected a whole number"),
        ({"num_hidden_layers": -1}, "num_hidden_layers: -1: expected a whole number from 1"),
        ({"model_type": "lama"}, "model_type: unknown decoder 'lama'; did you mean llama"),
        ({"model_type": 3}, "model_type: 3: expected a text"),
        (
            {"model_type": "opt", "ffn_dim": 4, "word_embed_proj_dim": 512},
            "word_embed_proj_dim: 512: expected hidden_size",
        ),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings: 'no': expected true or false"),
        ({"intermediate_size": None}, "intermediate_size: None: expected a whole number"),
    ],
)
def test_a_bad_field_is_one_line(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = written(tmp_path, LLAMA | change)
    with pytest.raises(BadInput) as refused:
        model_named(path, None)
    assert str(refused.value).startswith(f"{path}: {words}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"), [("{", "expected JSON"), ("[]", "expected an object"), ("{}", "model_type: missing")]
)
def test_what_is_no_config(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        model_named(str(path), None)


@pytest.mark.parametrize("field", [name for name in LLAMA if name not in ("model_type", "max_position_embeddings")])
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    values = {name: value for name, value in LLAMA.items() if name != field}
    with pytest.raises(BadInput, match=f"{field}: missing: expected a whole number"):
        model_named(written(tmp_path, values), None)


def test_every_family_has_a_name_that_is_said() -> None:
    assert {"llama", "mistral", "qwen2", "qwen3", "gpt2", "gpt_neox", "mixtral", "opt"} <= set(FAMILIES)


def test_a_device_without_calibration_says_so(tmp_path: Path) -> None:
    notes = target("mi300x", StepConditions()).notes
    assert any(note.startswith("mi300x: no calibration of its own: transferred from a100-80gb-sxm") for note in notes)
    text = (Path(__file__).parents[2] / "src/hardplace/hardware/devices/l40s.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("tdp")))
    found = target(str(path), StepConditions())
    assert any("no calibration: ranked by the roofline" in note for note in found.notes)


def test_a_calibrated_models_file_is_a_device_even_if_the_catalogue_lacks_it(tmp_path: Path) -> None:
    model = shipped("h100-sxm")
    write(tmp_path / "mine.gpu.json", replace(model, datasheet=replace(model.datasheet, name="mine")))
    write(tmp_path / "h100.gpu.json", model)
    known, mine = (target(str(tmp_path / name), StepConditions()) for name in ("h100.gpu.json", "mine.gpu.json"))
    assert known.memory_bytes == device("h100-sxm").memory_bytes
    assert (mine.name, mine.memory_bytes) == ("mine", math.inf)
    assert mine.product_error == known.product_error == target("h100-sxm", StepConditions()).product_error
    shape = model_named("llama2-7b", None)
    assert audited(shape, mine, StepConditions()).rules


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("mine/config.json", "mine"),
        ("../config.json", "below"),
        ("mine.json", "mine"),
        ("...json", "model"),
        ("/config.json", "model"),
        ("a\tb\n.json", "a_b_"),
    ],
)
def test_a_config_s_model_has_a_name_that_a_folder_can_have(given, name, tmp_path, monkeypatch):
    (tmp_path / "below" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "below" / "here")
    assert name_of_config(Path(given)) == name
