"""Recording again gives what the package ships; torch's own counters agree."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from dataclasses import replace  # noqa: E402
from itertools import pairwise  # noqa: E402

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.utils import flop_counter  # noqa: E402

from hardplace.workload.load import load  # noqa: E402
from hardplace.workload.torch_functions import without_mask_tensors  # noqa: E402
from hardplace.workload.torch_layers import layers_of, record_workload  # noqa: E402
from hardplace.workload.torch_models import MODELS  # noqa: E402
from hardplace.workload.torch_step import fake, parameters_of, trace  # noqa: E402
from hardplace.workload.types import Affine, Phase  # noqa: E402

aten = torch.ops.aten


@pytest.mark.parametrize("name", ["opt-350m", "llama2-7b"])
def test_recording_again_gives_the_shipped_file(name):
    assert record_workload(MODELS[name]) == load(name)


@pytest.mark.parametrize("name", ["bert-large", "gpt2-xl", "gpt3-175b"])
def test_recording_again_gives_the_shipped_shard(name):
    again = record_workload(MODELS[name], degrees=(1,))
    shipped = load(name)
    assert again == replace(shipped, shards=shipped.shards[:1])


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_are_the_models_own(name):
    assert load(name).parameters == parameters_of(MODELS[name])


@pytest.mark.parametrize("name", list(MODELS))
def test_flops_are_those_of_torch(name):
    """The whole model at full depth, weights tied, without the recorder, under torch's FlopCounterMode."""
    model, workload = MODELS[name], load(name)
    with torch.device("meta"):
        module = model.build(True).eval()  # no dropout: with it, CPU torch takes attention apart
    mode = FakeTensorMode()
    fake(module, {}, mode)
    counter = flop_counter.FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: forward_flops,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: backward_flops,
        },
    )
    with mode, without_mask_tensors(), counter:
        tokens = torch.empty((2, model.sequence_length), dtype=torch.int64)
        module(input_ids=tokens, labels=tokens).loss.backward()
    assert counter.get_total_flops() == 2 * workload.flops_per_sample()


def forward_flops(query, key, value, *args, out_shape=None, **kwargs):
    return flop_counter.sdpa_flop_count(query, key, value)


def backward_flops(gradient, query, key, value, *args, out_shape=None, **kwargs):
    return flop_counter.sdpa_backward_flop_count(gradient, query, key, value)


@pytest.mark.parametrize(("name", "degree"), [("opt-350m", 1), ("llama2-7b", 2), ("bert-large", 8)])
def test_numbers_are_affine_in_the_micro_batch(name, degree):
    """A micro-batch size that was not recorded: all numbers as the file's line through 2 and 3."""
    size = 5
    one, workload = trace(MODELS[name], size, degree), load(name)
    layers = workload.shard(degree).layers
    for number, index in enumerate(workload.order):
        layer = layers[index]
        events = [event for event in one.events if event.place.layer == number]
        for event, operator in zip(events, layer.operators[:-1], strict=True):
            assert (event.name, event.place.module) == (operator.name, operator.module)
            assert event.dims == tuple(dim.at(size) for dim in operator.dims)
            assert event.flops == operator.flops.at(size)
            touched = [one.storage_bytes[storage] for storage in event.reads + event.writes]
            assert touched == [layer.tensors[i].bytes.at(size) for i in operator.reads + operator.writes]
        saved = {storage for at, storage in one.saved if at == number and storage not in one.parameters}
        if 0 < number < len(workload.order) - 1:
            assert sum(one.storage_bytes[s] for s in saved if s in one.computed) == layer.saved_bytes.at(size)


@pytest.mark.parametrize(("gelu", "factor"), [("gelu_pytorch_tanh", 34), ("gelu_new", 34 + 24)])
def test_saved_bytes_of_a_gpt_layer(gelu, factor):
    """s b h * 34 of Korthikanti et al. 2022 with flash attention; Hugging Face's own GELU keeps 24 more."""
    config = transformers.GPT2Config(
        n_embd=12288,
        n_layer=3,
        n_head=96,
        n_positions=2048,
        activation_function=gelu,
        use_cache=False,
        tie_word_embeddings=False,
    )
    model = replace(MODELS["gpt3-175b"], build=lambda tied: transformers.GPT2LMHeadModel(config))
    layers = layers_of((trace(model, 2), trace(model, 3)))
    assert [layer == layers[1] for layer in layers] == [False, True, True, True, False]
    assert layers[1].saved_bytes.at(1) == pytest.approx(2048 * 12288 * factor, rel=0.002)


def test_forward_reads_what_the_layer_before_hands_on():
    """The output that a layer declares is what the next one takes in, and its gradient is as large."""
    one = trace(MODELS["opt-350m"], 2)
    for number, after in pairwise(range(one.blocks + 2)):
        written = {s for event in one.events if event.place.layer == number for s in event.writes}
        read = {s for event in one.events if event.place.layer == after for s in event.reads}
        handed = [one.storage_bytes[storage] for storage in written & read & one.computed]
        assert handed == [2 * 2 * 2048 * 1024]
        back = {
            storage
            for event in one.events
            if event.place.layer == after and event.phase is Phase.BACKWARD
            for storage in event.writes
        }
        needed = {s for event in one.events if event.place.layer == number for s in event.reads}
        assert [one.storage_bytes[storage] for storage in back & needed] == handed


def test_sizes_that_are_no_line_are_refused():
    from hardplace.workload.torch_layers import _affine

    assert _affine((4, 6)) == Affine(0, 2)
    with pytest.raises(ValueError, match="not affine"):
        _affine((1, 6))
