"""`hardplace trace` as a user meets it: a config, a function, an ONNX file in; a Workload file out, or one line."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from commands import Ended, command  # noqa: E402
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


@pytest.fixture(autouse=True)
def path_and_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command leaves in this process, and the next would find."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own", None)


def hardplace(*arguments: str, folder: Path) -> Ended:
    """In this process, which imports torch once. What libraries log goes to the standard error of a process."""
    logged, logs = logging.StreamHandler(io.StringIO()), [logging.getLogger(one) for one in ("torch", "transformers")]
    for log in logs:
        log.addHandler(logged)
    try:
        done = command(*arguments, folder=folder)
    finally:
        for log in logs:
            log.removeHandler(logged)
    return done._replace(err=done.err + logged.stream.getvalue())


@pytest.mark.parametrize(("source", "code", "lines"), [("config.json", 2, 1), ("own:odd", 0, None)])
def test_a_process_of_its_own_says_the_same(tmp_path, source, code, lines):
    """As a user starts it, with all that libraries write; how long it takes, it says on a slow machine only."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "num_attention_heads": 7}')
    words = [sys.executable, "-m", "hardplace", "trace", source]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    here = hardplace("trace", source, folder=tmp_path)
    said, again = (re.sub(r"^hardplace: \d+ s: .*\n", "", one, flags=re.M) for one in (done.stderr, here.err))
    assert (done.returncode, said) == (here.code, again)
    assert done.returncode == code
    assert lines is None or said.count("\n") == lines


def test_a_config_gives_the_graph_of_the_catalogue(tmp_path):
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    done = hardplace("trace", "llama/config.json", "--out", "mine.json", folder=tmp_path)
    assert done.code == 0, done.err
    assert "6,738,415,616 parameters" in done.out
    found, shipped = load(tmp_path / "mine.json"), load("llama2-7b")
    assert (found.layers, found.order, found.edges) == (shipped.layers, shipped.order, shipped.edges)
    assert found.command == "hardplace trace llama/config.json"


def test_a_function_is_recorded_and_what_has_no_model_is_named(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace("trace", "own:tower", folder=tmp_path)
    assert done.code == 0, done.err
    workload = load(tmp_path / "tower.json.gz")
    assert workload.parameters == 4 * (64 * 64 + 64)
    assert workload.command == "hardplace trace own:tower"
    # Each linear forward and its two gradients, but for the first one's input.
    assert workload.flops_per_sample() == 2 * 64 * 64 * (4 * 3 - 1)
    done = hardplace("trace", "own:odd", folder=tmp_path)
    assert done.code == 0
    assert (
        "warning: operator without a model of its own: linalg_matrix_exp, 2 times, 0.00\u00a0% of the FLOPs" in done.err
    )


def test_the_command_says_how_with_its_options(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace(
        "trace", "own:tower", "--dtype", "fp32", "--name", "my tower", "--autocast", "bf16", folder=tmp_path
    )
    assert done.code == 0, done.err
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
    assert done.code == 0, done.err
    workload = load(tmp_path / "model.json.gz")
    assert workload.command == "hardplace trace model.onnx --size rows=16"
    assert not workload.training
    assert workload.parameters == 64 * 32
    assert workload.flops_per_sample() == 2 * 16 * 64 * 32
    refused = hardplace("search", "model.json.gz", folder=tmp_path)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "inference" in refused.err
    missing = hardplace("trace", "model.onnx", folder=tmp_path)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "size rows=8" in missing.err
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString()[:-40])
    cut = hardplace("trace", "model.onnx", "--size", "rows=16", folder=tmp_path)
    assert (cut.code, cut.err.count("\n")) == (2, 1)
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
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert all(word in done.err for word in words), done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "own.py"]


@pytest.mark.parametrize("source", ["own:tower", "model.onnx"])
def test_sequence_length_belongs_to_configs(tmp_path, source):
    (tmp_path / "own.py").write_text(OWN)
    done = hardplace("trace", source, "--sequence-length", "64", folder=tmp_path)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "--sequence-length: 64: expected a config.json" in done.err


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
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert all(word in done.err for word in words), done.err
