"""Configs, custom code and functions as users bring them: taken as they are meant, or refused in one line."""

import json
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch import nn  # noqa: E402

import hardplace as hp  # noqa: E402
from hardplace.errors import BadInput, ModelNote  # noqa: E402
from hardplace.workload.recording.choose import recorded, step_of  # noqa: E402
from hardplace.workload.types import OperatorKind  # noqa: E402

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
    "max_position_embeddings": 64,
}  # fmt: skip


def config(folder, name="config.json", **fields):
    path = folder / name
    path.write_text(json.dumps(fields))
    return str(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3: expected a divisor of num_attention_heads, 4"),
        ({"text_config": {"hidden_size": 0}}, "text_config.hidden_size: 0: expected at least 1"),
        ({"vision_config": {"encoder": {"patch_size": -1}}}, "vision_config.encoder.patch_size: -1"),
        ({"num_hidden_layers": 100_000}, "num_hidden_layers: 100000: expected at most 2,000 layers"),
        ({"text_config": {"n_layer": 3000}}, "text_config.n_layer: 3000: expected at most 2,000 layers"),
        ({"rope_theta": float("nan")}, "rope_theta: expected JSON: NaN"),
        ({"vocab_size": float("inf")}, "vocab_size: expected JSON: Infinity"),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "num_experts_per_tok: 9: expected 1 to 8"),
        ({"num_local_experts": 8, "num_experts_per_tok": 0}, "num_experts_per_tok: 0: expected 1 to 8"),
        (
            {"text_config": {"n_routed_experts": 10, "n_group": 4}},
            "text_config.n_group: 4: expected a divisor of the 10",
        ),
        ({"sliding_window": -4}, "sliding_window: -4: expected at least 1 key"),
        ({"model_type": None, "peft_type": "LORA"}, "an adapter's: name the config.json of its base model"),
        ({"model_type": None, "_class_name": "UNet2DConditionModel"}, "of the diffusers library"),
        ({"model_type": "mine", "auto_map": "evil.Evil"}, "auto_map: 'evil.Evil': expected an object"),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.C"}}, "llama"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_by_field(tmp_path, fields, said):
    with pytest.raises(BadInput) as refused:
        step_of(config(tmp_path, **LLAMA | fields))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


CODE = """
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
class TinyConfig(PretrainedConfig):
    model_type = "tiny_own"
    def __init__(self, hidden_size=64, vocab_size=100, **others):
        self.hidden_size, self.vocab_size = hidden_size, vocab_size
        super().__init__(**others)
class TinyLM(PreTrainedModel):
    config_class = TinyConfig
    def __init__(self, config):
        super().__init__(config)
        self.e = nn.Embedding(config.vocab_size, config.hidden_size)
        self.o = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
    def forward(self, input_ids):
        return RESULT
"""
OWN = {
    "model_type": "tiny_own",
    "architectures": ["TinyLM"],
    "auto_map": {"AutoConfig": "modeling_own.TinyConfig", "AutoModelForCausalLM": "modeling_own.TinyLM"},
    "vocab_size": 100,
}


@pytest.mark.parametrize("result", ["self.o(self.e(input_ids))", "(self.o(self.e(input_ids)),)"])
def test_custom_code_is_of_the_config_that_was_named(tmp_path, result):
    """Whatever it is called, beside a config.json of another size or none; a tensor or a bare tuple comes out."""
    (tmp_path / "modeling_own.py").write_text(CODE.replace("RESULT", result))
    config(tmp_path, **OWN, hidden_size=64)
    big = config(tmp_path, "big.json", **OWN, hidden_size=512)
    assert recorded(step_of(big, trust_code=True, sequence_length=16)).parameters == 2 * 100 * 512
    (tmp_path / "config.json").unlink()
    assert recorded(step_of(big, trust_code=True, sequence_length=16)).parameters == 2 * 100 * 512


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "modeling_own.py is not beside the config"),
        ("import sys; sys.exit(3)", "modeling_own.py: SystemExit: 3"),
        ("def f(:", "modeling_own.py: SyntaxError"),
        ("raise RuntimeError('no\\nway')", "modeling_own.py: RuntimeError: no way"),
    ],
)
def test_custom_code_that_cannot_be_run_is_one_line(tmp_path, code, said):
    if code is not None:
        (tmp_path / "modeling_own.py").write_text(code)
    with pytest.raises(BadInput) as refused:
        step_of(config(tmp_path, **OWN), trust_code=True)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_code_of_another_repository_is_not_fetched(tmp_path):
    elsewhere = OWN | {"auto_map": OWN["auto_map"] | {"AutoConfig": "someone/repo--modeling_own.TinyConfig"}}
    with pytest.raises(BadInput, match="of a file beside the config"):
        step_of(config(tmp_path, **elsewhere), trust_code=True)


class Positions(nn.Module):
    """An embedding plus a table of positions in a buffer, then a linear layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 256)
        self.register_buffer("table", torch.zeros(1, 128, 256))
        self.out = nn.Linear(256, 256)

    def forward(self, ids):
        return self.out(nn.functional.layer_norm(self.embed(ids) + self.table, (256,)))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return torch.mm(x.float(), self.inner.weight)


class Bags(nn.Module):
    """Multi-hot look-ups in tables of fewer rows than a micro-batch has samples, and of more."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, 64, mode="sum") for rows in (14, 3, 1000))
        self.top = nn.Linear(192, 1)

    def forward(self, ids):
        return self.top(torch.cat([table(ids) for table in self.tables], 1))


class Any(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, *values):
        return self.inner(values[0]), values[1]


class First(nn.Module):
    """(tokens, samples) in."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(100, 8), nn.Linear(8, 8)

    def forward(self, ids):
        return self.out(self.embed(ids))


def positions(micro_batch=2):
    return Positions(), {"ids": torch.empty(micro_batch, 128, dtype=torch.int64)}


def mixed():
    return Mixed(), torch.empty(2, 8)


def bags(micro_batch=2):
    return Bags(), {"ids": torch.empty(micro_batch, 4, dtype=torch.int64)}


def compiled():
    return torch.compile(nn.Sequential(nn.Linear(8, 8))), torch.empty(2, 8)


def anything():
    return Any(), (torch.empty(2, 8), torch.empty(2, 8))


def tokens_first(micro_batch=2):
    return First(), {"ids": torch.empty(32, micro_batch, dtype=torch.int64)}


def of(name):
    return recorded(step_of(f"{__name__}:{name}"))


def test_float_buffers_are_cast_as_parameters_are():
    layer = of("positions").layers[0]
    product = next(one for one in layer.operators if one.kind is OperatorKind.MATMUL)
    assert {layer.tensors[index].dtype for index in product.reads + product.writes} == {"bfloat16"}
    # Ids, normalised input in bf16, the sum that the norm took, mean and 1 / deviation.
    assert layer.saved_bytes.at(1) == 128 * (8 + 2 * 256 + 2 * 256 + 2 * 2)


def test_a_product_of_two_types_is_refused_as_torch_refuses_it():
    with pytest.raises(BadInput, match=r"mixed: .*mm of float32 and bfloat16"):
        of("mixed")


def test_bags_of_small_and_large_tables():
    """A row of each index is looked up and added to: 4 of 64 a sample, however many rows the table has."""
    workload = of("bags")
    assert workload.parameters == 1017 * 64 + 193
    found = [one for layer in workload.layers for one in layer.operators if one.kind is OperatorKind.EMBEDDING]
    assert {one.dims[0].at(5) for one in found} == {5 * 4 * 64}


@pytest.mark.parametrize("name", ["compiled", "anything"])
def test_compiled_modules_and_any_arguments(name):
    assert of(name).flops_per_sample() == 2 * 2 * 8 * 8


def test_inputs_with_tokens_first():
    workload = of("tokens_first")
    assert workload.sequence_length == 32
    assert workload.flops_per_sample() == 32 * 6 * 64


@pytest.mark.parametrize("code", ["import sys; sys.exit(1)", "def f(:", "raise RuntimeError('no')"])
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, code):
    (tmp_path / "broken_one.py").write_text(code)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("broken_one", None)
    with pytest.raises(BadInput, match=r"^broken_one:f: broken_one cannot be imported: \w+"):
        step_of("broken_one:f")


def test_weights_alone_are_no_source(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(8))
    with pytest.raises(BadInput, match=r"model\.safetensors: is none of these: expected a config\.json"):
        step_of(str(tmp_path / "model.safetensors"))


def test_quantisation_that_a_config_asks_for_is_said(tmp_path):
    step = step_of(config(tmp_path, **LLAMA, quantization_config={"quant_method": "gptq", "bits": 4}))
    assert "quantization_config (gptq) is not applied" in step.notes[0]
    with pytest.warns(ModelNote, match=r"quantization_config \(gptq\) is not applied"):
        hp.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.LazyLinear(8)), r"0\.weight: has no size yet: expected a module that has run once"),
        (torch.jit.script(nn.Sequential(nn.Linear(8, 8))), "a scripted module: expected the torch.nn.Module"),
        (nn.Sequential(nn.Embedding(9, 8, sparse=True)), "0: sparse=True: expected sparse=False"),
    ],
)
def test_a_module_that_cannot_be_recorded_is_one_line(module, said):
    with pytest.raises(BadInput, match=said):
        hp.trace(module, (torch.zeros(2, 8, dtype=torch.long),), name="odd")
