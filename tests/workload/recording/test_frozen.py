"""What is trained, frozen, quantised and shared: bytes by hand, and what torch's autograd itself keeps."""

import sys
from pathlib import Path

import pytest
import torch

from hardplace.errors import BadInput
from hardplace.hardware.catalogue import device, node
from hardplace.plans.placement.search import PlanSearch
from hardplace.plans.placement.space import PlanSpace
from hardplace.workload.load import check
from hardplace.workload.recording.freeze import freeze
from hardplace.workload.recording.huggingface import Options, step_of_config
from hardplace.workload.recording.layers import record_workload
from hardplace.workload.recording.source import step_of_function
from hardplace.workload.sharding import tensor_parallel
from hardplace.workload.types import Phase, Recompute
from hardplace.workload.weights import WeightSizes, weights_of, weights_of_model

sys.path.insert(0, str(Path(__file__).parents[3]))
GIB = 2**30


def recorded(source):
    found = record_workload(step_of_function(source, source.partition(":")[2], Options()))
    check(found)
    return found


def of_config(**fields):
    found = record_workload(step_of_config(fields, "config.json", fields["model_type"], Options(sequence_length=64)))
    check(found)
    return found


def sizes(workload):
    total = WeightSizes()
    for index in workload.order:
        total = total.plus(weights_of(workload.layers[index]))
    return total


def memory(workload, devices=1, **fixed):
    """The memory of each stage of the best plan, eight samples a step."""
    inventory = [(device("h100-sxm"), node("dgx-h100"), devices)]
    held = {name: (value,) for name, value in fixed.items()}
    found = PlanSearch(workload, inventory, PlanSpace(global_batch=8, fixed=held)).run()
    assert found is not None
    return found.best[0].memory


def test_lora_of_a_7b_model_fits_one_device():
    """Llama-2-7B, 6,738,415,616 parameters of 2 bytes; 32 layers with two branches of 2 x 16 x 4096 trained."""
    workload = recorded("examples.finetuning:lora")
    trained = 32 * 2 * 2 * 16 * 4096
    assert sizes(workload) == WeightSizes(parameters=trained, frozen_parameters=6_738_415_616)
    # Of a token: two norms in fp32 with 1 / deviation, the branches' input and inner results, queries, keys, values and
    # output of attention with fp32 row statistics, gate, its SiLU and up; the first norm needs no gradient.
    token = 2 * (4 * 4096 + 4) + 2 * 4096 + 2 * 2 * 16 + 4 * 2 * 4096 + 4 * 32 + 3 * 2 * 11008
    kept = sum(workload.layers[index].saved_bytes.at(1) for index in workload.order[:-1])
    assert kept == 4096 * (32 * token - (4 * 4096 + 4))
    (room,) = memory(workload, recompute=Recompute.FULL, recompute_layers=0)
    assert room.weights_bytes == 2 * (trained + 6_738_415_616)
    assert (room.gradients_bytes, room.states_bytes) == (4 * trained, 12 * trained)


def test_quantised_weights_are_held_in_their_own_type():
    """Of each layer 4096 x 4096 half bytes, 4096 x 64 scales and 16 levels of 2 bytes; nothing of 16 bits is kept."""
    workload = recorded("examples.finetuning:qlora")
    trained, packed = 8 * 2 * 16 * 4096, 8 * (4096 * 2048 + 2 * 4096 * 64 + 2 * 16)
    assert sizes(workload) == WeightSizes(parameters=trained, packed_bytes=packed)
    kept = sum(workload.layers[index].saved_bytes.at(1) for index in workload.order)
    assert kept == 8 * 2 * 512 * (4096 + 16)  # each branch's input and its low-rank activation
    (room,) = memory(workload, recompute=Recompute.NONE)
    assert room.weights_bytes == 2 * trained + packed
    assert (room.gradients_bytes, room.states_bytes) == (4 * trained, 12 * trained)
    assert tensor_parallel(workload, 2).layers


def test_a_frozen_tower_has_no_backward_pass_and_keeps_nothing():
    workload = recorded("examples.finetuning:frozen_tower")
    tower = 768 * 256 + 256 + 3 * (4 * 256 * 256 + 2 * 256 * 1024 + 9 * 256 + 1024)
    decoder = 256 * 512 + 512 + 4 * (4 * 512 * 512 + 2 * 512 * 2048 + 9 * 512 + 2048)
    assert sizes(workload) == WeightSizes(parameters=decoder, frozen_parameters=tower)
    before = [layer for layer in workload.layers if not weights_of(layer).parameters]
    assert before
    for layer in before:
        assert all(operator.phase is Phase.FORWARD for operator in layer.operators)
        assert layer.saved_bytes.at(1) == 0
    for recompute in (Recompute.NONE, Recompute.FULL):
        (room,) = memory(workload, recompute=recompute, recompute_layers=0)
        assert room.weights_bytes == 2 * (tower + decoder)
        assert room.states_bytes == 12 * decoder


def test_prompt_tuning_trains_the_prompt_alone():
    workload = recorded("examples.finetuning:prompt_tuning")
    found = weights_of_model(workload)
    assert found.trained == 20 * 512
    assert found.elements == workload.parameters
    assert found.frozen_bytes == 2 * (workload.parameters - 20 * 512)
    assert not any(operator.gradient.value == "wgrad" for layer in workload.layers for operator in layer.operators)


class Deep(torch.nn.Module):
    """Linear layers with an activation, some of them frozen, behind a linear layer."""

    def __init__(self, frozen=()):
        super().__init__()
        self.stem = torch.nn.Linear(32, 64)
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.GELU(), torch.nn.Linear(96, 64)) for _ in range(4)
        )
        freeze(self, frozen)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x) + x
        return x.square().mean()


@pytest.mark.parametrize(
    "frozen", [(), ("stem.*",), ("layers.*",), ("stem.*", "layers.0.*", "layers.1.0.*"), ("*.weight",), ("*.2.bias",)]
)
def test_kept_bytes_are_those_of_autograd(frozen, tmp_path, monkeypatch):
    """On real tensors: the storages that torch saves, less the parameters."""
    (tmp_path / "deep.py").write_text("def model():\n    import torch\n    return MODEL(), {'x': torch.empty(2, 32)}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "deep", raising=False)
    __import__("deep").MODEL = lambda: Deep(frozen)
    workload = recorded("deep:model")
    module, x = Deep(frozen).bfloat16(), torch.zeros(6, 32, dtype=torch.bfloat16)
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept, alive = {}, []

    def save(tensor):
        alive.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        module(x).backward()
    expected = sum(size for address, size in kept.items() if address not in weights)
    assert sum(workload.layers[index].saved_bytes.at(6) for index in workload.order) == expected


def test_a_pattern_that_names_nothing_names_what_is_near():
    with pytest.raises(BadInput, match=r"freeze: stem.wieght: names none of the 18 .* such as stem.weight"):
        freeze(Deep(), ("stem.wieght",))


def test_one_block_applied_several_times_is_held_once():
    """ALBERT: 3 applications of one block; its weights, gradients and states are there once on one device."""
    workload = of_config(
        architectures=["AlbertForMaskedLM"], model_type="albert", embedding_size=64, hidden_size=256,
        intermediate_size=512, num_attention_heads=4, num_hidden_layers=3, vocab_size=3000,
        max_position_embeddings=64, hidden_dropout_prob=0, attention_probs_dropout_prob=0,
    )  # fmt: skip
    block = 4 * (256 * 256 + 256) + 2 * 256 * 512 + 512 + 256 + 4 * 256
    table = 3000 * 64
    found = weights_of_model(workload)
    assert (found.elements, found.twice) == (workload.parameters, 2 * block + table)
    (room,) = memory(workload)
    assert room.weights_bytes == 2 * workload.parameters
    assert (room.gradients_bytes, room.states_bytes) == (4 * workload.parameters, 12 * workload.parameters)
    first, second = memory(workload, 2, pipeline=2)
    # Both stages hold the block, and the tables' end each; norms and biases lie on one of them.
    assert first.weights_bytes + second.weights_bytes == 2 * (workload.parameters + block + table)


def test_what_takes_no_part_is_told_beside_tied_embeddings():
    """Gemma 3: a vision tower that text does not reach, and a table of 2,000 x 64 held by both ends."""
    text = {
        "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 2000,
        "max_position_embeddings": 512,
    }  # fmt: skip
    tower = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "image_size": 56, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    workload = of_config(
        architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", text_config=text, vision_config=tower,
        mm_tokens_per_image=16,
    )  # fmt: skip
    patches = 14 * 14 * 3 * 32 + 32 + 16 * 32
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32
    projector = 32 * 64 + 32
    found = weights_of_model(workload)
    assert workload.parameters - found.elements == patches + layer + 2 * 32 + projector
    assert found.twice == 2000 * 64
