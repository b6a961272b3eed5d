"""`hardplace trace` as a user meets it: a config, a function, an ONNX file in; a Workload file out, or one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hardplace.workload.load import load  # noqa: E402

OWN = """
import torch

class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(64, 64) for _ in range(4))
    def forward(self, x):
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x

def tower():
    return Tower(), torch.randn(4, 64), lambda output, inputs: output.pow(2).mean()

class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 64)
    def forward(self, x):
        return self.linear(x) + torch.linalg.matrix_exp(self.linear.weight)[0]

def odd():
    return Odd(), {"x": torch.randn(4, 64)}

class Picky(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(8, 8), Pick())
    def forward(self, x):
        return self.inner(x)

class Pick(torch.nn.Module):
    def forward(self, x):
        return x[x > 0]

def picky():
    return Picky(), torch.randn(2, 8)

def three():
    return 3

class Raising(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(8, 9), torch.nn.Linear(8, 8))
    def forward(self, x):
        return self.inner(x)

def raising():
    return Raising(), torch.randn(2, 8)

def frozen():
    return torch.nn.Linear(8, 8).requires_grad_(False), torch.randn(2, 8)
"""

LLAMA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def hardplace(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hardplace", *arguments], capture_output=True, text=True, cwd=folder, timeout=300
    )


def test_a_config_gives_the_graph_of_the_catalogue(tmp_path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    done = hardplace("trace", "llama/config.json", "--out", "mine.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6,738,415,616 parameters" in done.stdout
    found, shipped = load(tmp_path / "mine.json"), load("llama2-7b")
    assert (found.layers, found.order, found.edges) == (shipped.layers, shipped.order, shipped.edges)
    assert found.command == "hardplace trace llama/config.json"


def test_a_function_is_recorded_and_what_has_no_model_is_named(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace("trace", "own:tower", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    workload = load(tmp_path / "tower.json.gz")
    assert workload.parameters == 4 * (64 * 64 + 64)
    assert workload.command == "hardplace trace own:tower"
    # Each linear forward and its two gradients, but for the first one's input.
    assert workload.flops_per_sample() == 2 * 64 * 64 * (4 * 3 - 1)
    done = hardplace("trace", "own:odd", folder=tmp_path)
    assert done.returncode == 0
    assert (
        "warning: operator without a model of its own: linalg_matrix_exp, 2 times, 0.00\u00a0% of the FLOPs"
        in done.stderr
    )


def test_the_command_says_how_with_its_options(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace(
        "trace", "own:tower", "--dtype", "fp32", "--name", "my tower", "--autocast", "bf16", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = "hardplace trace own:tower --name 'my tower' --dtype fp32 --autocast bf16"
    assert load(tmp_path / "my tower.json.gz").command == said


def test_onnx_is_recorded_for_inference(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [64, 32], bytes(64 * 32 * 4), raw=True)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "rows", 64])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "rows", 32])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [given], [made], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    done = hardplace("trace", "model.onnx", "--size", "rows=16", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    workload = load(tmp_path / "model.json.gz")
    assert workload.command == "hardplace trace model.onnx --size rows=16"
    assert not workload.training
    assert workload.parameters == 64 * 32
    assert workload.flops_per_sample() == 2 * 16 * 64 * 32
    refused = hardplace("search", "model.json.gz", folder=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "inference" in refused.stderr
    missing = hardplace("trace", "model.onnx", folder=tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "size rows=8" in missing.stderr
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString()[:-40])
    cut = hardplace("trace", "model.onnx", "--size", "rows=16", folder=tmp_path)
    assert (cut.returncode, cut.stderr.count("\n")) == (2, 1)
    assert onnx is not None


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ('{"hidden_size": 4}', (), ["model_type", "missing", "llama"]),
        ('{"model_type": "lama"}', (), ["'lama'", "did you mean llama"]),
        ('{"model_type": "mine", "auto_map": {"AutoConfig": "own.Mine"}}', (), ["custom code", "trust_code"]),
        ('{"model_type": "llama", "hidden_size": 0}', (), ["hidden_size: 0", "at least 1"]),
        ('{"model_type": "llama", "hidden_size": 1e18}', (), ["hidden_size", "below 2^40"]),
        (
            '{"model_type": "llama", "num_attention_heads": 7}',
            (),
            ["refuses", "multiple of the number of attention heads"],
        ),
        ("[1]", (), ["expected an object"]),
        ('{"model_type"', (), ["expected JSON"]),
        ('{"model_type": "llama"}', ("--sequence-length", "0"), ["--sequence-length", "0"]),
        ('{"model_type": "llama", "num_hidden_layers": 10000000}', (), ["num_hidden_layers", "at most 2,000"]),
        ('{"model_type": "llama", "architectures": ["LlamaForWriting"]}', (), ["architectures", "LlamaForWriting"]),
        ('{"model_type": "llama"}', ("--name", "a/b"), ["--name", "'a/b'"]),
        ('{"model_type": "llama"}', ("--out", "there/a.json"), ["--out", "there"]),
        ('{"model_type": "llama"}', ("--size", "batch=2"), ["--size", "ONNX"]),
    ],
)
def test_a_bad_config_is_one_line(tmp_path, config, arguments, words):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "own.py").write_text("raise SystemExit('this must never run')")
    done = hardplace("trace", "config.json", *arguments, folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "own.py"]


@pytest.mark.parametrize("source", ["own:tower", "model.onnx"])
def test_sequence_length_belongs_to_configs(tmp_path, source):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace("trace", source, "--sequence-length", "64", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--sequence-length: 64: expected a config.json" in done.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("own:picky", ["module inner.1", "nonzero", "package.module:function"]),
        ("own:raising", ["module inner.1", "RuntimeError", "reduction dim"]),
        ("own:frozen", ["no parameter with requires_grad"]),
        ("own:three", ["returned int", "(torch.nn.Module, inputs[, loss])"]),
        ("own:tour", ["no function 'tour'", "tower"]),
        ("nowhere:tower", ["No module named 'nowhere'"]),
        ("nothing.json", ["nothing.json", "no such file"]),
    ],
)
def test_a_bad_source_is_one_line(tmp_path, source, words):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace("trace", source, folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert all(word in done.stderr for word in words), done.stderr
