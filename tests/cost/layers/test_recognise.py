"""Which recorded models are taken for decoders."""

from dataclasses import replace

import pytest

from hardplace.cost.layers.decoder import parameters
from hardplace.cost.layers.recognise import decoder_of
from hardplace.workload.load import load


@pytest.mark.parametrize(
    "model",
    ["llama2-7b", "llama3-405b", "gpt3-175b", "qwen3-8b", "opt-6.7b", "mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v3"],
)
def test_decoders_have_a_shape_with_their_parameters(model):
    workload = load(model)
    shape = decoder_of(workload)
    assert shape is not None
    assert parameters(replace(shape, tied=False)) == pytest.approx(
        sum(workload.layers[index].parameters for index in workload.order), rel=1e-3
    )


@pytest.mark.parametrize("model", ["bert-large", "t5-large", "mamba2-2.7b", "resnet-50", "vit-l"])
def test_others_have_none(model):
    assert decoder_of(load(model)) is None
