"""A decoder's config without torch: the Workload that recording it gives, and every verb takes the file."""

import json
import os
import subprocess
import sys

import pytest

from hardplace.errors import BadInput
from hardplace.workload.from_config import workload_of_config
from hardplace.workload.load import check

SMALL = {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 131072,
}  # fmt: skip
OPT = {
    "num_key_value_heads": 8, "ffn_dim": 512, "word_embed_proj_dim": 128, "max_position_embeddings": 2048,
    "layerdrop": 0.0, "dropout": 0.1, "activation_function": "relu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "architecture", "others"),
    [
        ("llama", "LlamaForCausalLM", {"tie_word_embeddings": True}),
        ("llama", "LlamaForCausalLM", {"head_dim": 64}),
        ("mistral", "MistralForCausalLM", {"sliding_window": None}),
        ("qwen3", "Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}),
        ("opt", "OPTForCausalLM", OPT),
    ],
)
def test_a_config_without_torch_is_what_recording_it_gives(kind, architecture, others):
    pytest.importorskip("transformers")
    from hardplace.workload.recording.huggingface import Options, step_of_config
    from hardplace.workload.recording.layers import record_workload

    fields = {**SMALL, "model_type": kind, "architectures": [architecture], **others}
    made = workload_of_config(fields, "config.json", "small")
    check(made)
    assert made == record_workload(step_of_config(fields, "config.json", "small", Options()))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"model_type": "gemma3"}, "model_type: 'gemma3': expected one of llama"),
        ({"attention_bias": True}, "attention_bias: True: expected False"),
        ({"max_position_embeddings": 1024}, "max_position_embeddings: 1024: expected at least 4,096 tokens"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: 3: expected a divisor of num_attention_heads, 8"),
    ],
)
def test_other_operators_than_a_recorded_decoders_are_refused_by_field(others, said):
    with pytest.raises(BadInput) as refused:
        workload_of_config({**SMALL, "model_type": "llama", **others}, "config.json", "small")
    assert said in str(refused.value)


def test_place_and_estimate_take_a_config_where_torch_is_not_installed(tmp_path):
    """In a process that cannot import torch or transformers."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "model_type": "llama", "tie_word_embeddings": True}))
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
import hardplace as hp
plans = hp.place({str(path)!r}, "h100-sxm", 2, batch=8, fixed={{"tensor": (1,), "micro_batch": (1,)}})
best = plans.best[0]
assert hp.estimate({str(path)!r}, best.plan, "h100-sxm").step_s == best.step_s
print(hp.load({str(path)!r}).parameters)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    block = 128 * (128 * 2 + 2 * 32) + 3 * 128 * 384 + 2 * 128  # q, o; k, v of two heads; MLP; norms
    assert int(ended.stdout) == 1000 * 128 + 3 * block + 128


def test_a_config_is_refused_in_one_line_where_torch_is_there_and_transformers_not(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from hardplace.workload.recording.choose import step_of

    path = tmp_path / "config.json"
    path.write_text(json.dumps({**SMALL, "model_type": "llama"}))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput, match=r"transformers.*pip install"):
        step_of(str(path))
