"""A recording does as the device does where a model runs, not as the CPU where its fake tensors lie."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hardplace.workload.recording.huggingface import Options, step_of_config  # noqa: E402
from hardplace.workload.recording.layers import record_workload  # noqa: E402
from hardplace.workload.recording.step import TrainingStep  # noqa: E402
from hardplace.workload.sharding import shard  # noqa: E402
from hardplace.workload.types import Gradient, OperatorKind, Parallelism, Phase  # noqa: E402


class Called(torch.nn.Module):
    """A layer, and what is done with it."""

    def __init__(self, layer: torch.nn.Module, run: Callable[[torch.nn.Module, Any], Any]) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self, x):
        return self.run(self.layer, x)


def recorded(layer, run):
    """Return what a layer of 16 tokens of width 64 computes."""
    step = TrainingStep(
        name="called",
        source="",
        command="",
        sequence_length=16,
        module=Called(layer, run).to("meta"),
        inputs=lambda rows: {"x": torch.empty((rows, 16, 64), device="meta")},
        loss=lambda output, _: output.float().pow(2).mean(),
        dtype=torch.float32,
    )
    return record_workload(step)


def operators(workload):
    return [one for layer in workload.layers for one in layer.operators if one.kind is not OperatorKind.VIEW]


def test_autocast_for_a_gpu_acts():
    def run(layer, x):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return layer(x)

    workload = recorded(torch.nn.Linear(64, 64), run)
    layer = workload.layers[0]
    products = [one for one in layer.operators if one.kind is OperatorKind.MATMUL]
    assert len(products) == 2
    assert {layer.tensors[index].dtype for one in products for index in one.reads} == {"bfloat16"}


def test_an_lstm_is_its_products():
    workload = recorded(torch.nn.LSTM(64, 32, batch_first=True), lambda layer, x: layer(x)[0])
    # Four gates of 32 from 64 inputs and 32 states, 16 tokens; the input and the first state need no gradient.
    of_inputs, of_states = 2 * 16 * 64 * 128, 2 * 16 * 32 * 128
    assert workload.flops_per_sample() in {
        2 * of_inputs + 3 * of_states,
        2 * of_inputs + 3 * of_states - of_states // 16,
    }


def test_torchs_own_attention_layer_is_fused():
    layer = torch.nn.MultiheadAttention(64, 4, batch_first=True)
    found = operators(recorded(layer, lambda layer, x: layer(x, x, x, need_weights=False)[0]))
    assert [one.phase for one in found if one.kind is OperatorKind.ATTENTION] == [Phase.FORWARD, Phase.BACKWARD]


def test_what_checkpointing_computes_again_counts_as_forward():
    from torch.utils.checkpoint import checkpoint

    def attend(layer, x):
        q, k, v = layer(x).unflatten(-1, (3, 4, 16)).permute(2, 0, 3, 1, 4)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    plain = recorded(torch.nn.Linear(64, 192), attend)
    again = recorded(torch.nn.Linear(64, 192), lambda layer, x: checkpoint(attend, layer, x, use_reentrant=False))
    forward = sum(one.flops.at(1) for one in operators(plain) if one.phase is Phase.FORWARD)
    assert again.flops_per_sample() == plain.flops_per_sample() + forward
    kinds = [one.gradient for one in operators(again) if one.kind is OperatorKind.MATMUL]
    assert kinds == [Gradient.FORWARD, Gradient.FORWARD, Gradient.WGRAD]


@pytest.mark.parametrize(
    "degrees", [Parallelism(tensor=2), Parallelism(tensor=2, sequence=True), Parallelism(context=2)], ids=str
)
def test_a_rank_computes_its_share_of_what_checkpointing_computes_again(degrees):
    """Forward operators in the backward pass are divided, and counted, as forward ones."""
    fields = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 512}
    fields |= {"intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 8}
    step = step_of_config(fields, "again", "again", Options(sequence_length=128))
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of the newer name of the same method
        step.module.gradient_checkpointing_enable({"use_reentrant": False})
    workload = record_workload(step)
    assert [one.phase for one in operators(workload) if one.name == "attention"] == [Phase.FORWARD, Phase.BACKWARD]
    whole, half = (
        [sum(one.flops.at(1) for one in layer.operators) for layer in layers]
        for layers in (workload.layers, shard(workload, degrees).layers)
    )
    assert [2 * flops for flops in half] == whole


def test_the_optimizer_leaves_frozen_parameters():
    layer = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False), torch.nn.Linear(64, 32, bias=False))
    layer[0].requires_grad_(False)
    found = operators(recorded(layer, lambda layer, x: layer(x)))
    assert [one.dims[0].constant for one in found if one.kind is OperatorKind.OPTIMIZER] == [64 * 32]


def test_speech_has_the_tokens_that_are_asked_for():
    fields = {"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], "num_hidden_layers": 2, "vocab_size": 32}
    workload = record_workload(step_of_config(fields, "speech", "speech", Options(sequence_length=200)))
    attention = [one for one in operators(workload) if one.kind is OperatorKind.ATTENTION]
    assert attention
    assert {one.dims[3].constant for one in attention} == {200}


def test_a_pair_of_towers_takes_images_of_its_encoders_size():
    fields = {
        "model_type": "vision-encoder-decoder",
        "architectures": ["VisionEncoderDecoderModel"],
        "encoder": {"model_type": "vit", "image_size": 96, "num_hidden_layers": 1},
        "decoder": {"model_type": "bert", "is_decoder": True, "add_cross_attention": True, "num_hidden_layers": 1},
        "decoder_start_token_id": 1,
        "pad_token_id": 0,
    }
    workload = record_workload(step_of_config(fields, "pair", "pair", Options(sequence_length=64)))
    lengths = {one.dims[4].constant for one in operators(workload) if one.kind is OperatorKind.ATTENTION}
    assert lengths == {(96 // 16) ** 2 + 1, 64}
