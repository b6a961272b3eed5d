"""The files of the catalogue: sound, small, quick, and with the counts of the published models."""

import gzip
import time
from collections import Counter
from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.workload.load import catalogue, check, load, path_of
from hardplace.workload.types import Affine, Gradient, OperatorKind, Phase, TensorRole

NAMES = ("bert-large", "gpt2-xl", "gpt3-175b", "llama2-7b", "opt-350m")
# Sums over the checkpoints' tensors, tied ones once; GPT-3's from arXiv 2005.14165, table 2.1 (174,600M).
PARAMETERS = {
    "bert-large": 335_174_458,
    "gpt2-xl": 1_557_611_200,
    "opt-350m": 331_196_416,
    "llama2-7b": 6_738_415_616,
    "gpt3-175b": 174_604_259_328,
}
TIED = {
    "bert-large": 30522 * 1024,
    "gpt2-xl": 50257 * 1600,
    "opt-350m": 50272 * 512,
    "llama2-7b": 0,
    "gpt3-175b": 50257 * 12288,
}


@pytest.fixture(scope="module", params=NAMES)
def workload(request):
    return load(request.param)


def all_reduces(layer):
    found = [operator for operator in layer.operators if operator.kind is OperatorKind.COLLECTIVE]
    assert {operator.name for operator in found} <= {"all_reduce"}
    return Counter(operator.phase for operator in found)


def test_catalogue_is_complete_and_small():
    assert catalogue() == NAMES
    assert all(path_of(name).stat().st_size <= 200_000 for name in NAMES)


def test_loads_quickly():
    load("bert-large")
    for name in NAMES:
        start = time.perf_counter()
        load(name)
        # 6-12 ms on 2 cores; 50 ms is the budget, and this machine may be busy.
        assert time.perf_counter() - start < 0.2


def test_parameters(workload):
    layers = workload.shard(1).layers
    held = sum(layers[index].parameters for index in workload.order)
    assert workload.parameters == PARAMETERS[workload.name]
    assert held - workload.parameters == TIED[workload.name]
    assert all(layer.parameter_bytes == 2 * layer.parameters for layer in layers)


def test_chain(workload):
    assert [layer.name for layer in workload.shard(1).layers] == ["embedding", "block", "head"]
    for shard in workload.shards:
        embedding, block, head = shard.layers
        assert embedding.output_bytes == block.output_bytes
        assert head.output_bytes == Affine(0, 0)


def test_execution_order(workload):
    phases = list(Phase)
    for shard in workload.shards:
        for layer in shard.layers:
            places = [phases.index(operator.phase) for operator in layer.operators]
            assert places == sorted(places)
            written = {i for i, t in enumerate(layer.tensors) if t.role in (TensorRole.INPUT, TensorRole.PARAMETER)}
            for operator in layer.operators:
                assert set(operator.reads) <= written
                written |= set(operator.writes)


def test_every_linear_has_both_gradients(workload):
    for shard in workload.shards:
        for layer in shard.layers:
            products = [operator for operator in layer.operators if operator.kind is OperatorKind.MATMUL]
            count = Counter((operator.module, operator.gradient) for operator in products)
            for module in {operator.module for operator in products}:
                assert [count[module, gradient] for gradient in list(Gradient)[1:]] == [1, 1, 1]
            for operator in products:
                assert (operator.gradient is Gradient.FORWARD) == (operator.phase is Phase.FORWARD)


def test_optimizer_updates_every_parameter(workload):
    for shard in workload.shards:
        for layer in shard.layers:
            step = layer.operators[-1]
            roles = {role: {i for i, t in enumerate(layer.tensors) if t.role is role} for role in TensorRole}
            assert (step.name, step.kind, step.phase) == ("adamw", OperatorKind.OPTIMIZER, Phase.OPTIMIZER)
            assert step.dims == (Affine(layer.parameters, 0),)
            assert set(step.writes) == roles[TensorRole.PARAMETER]
            assert set(step.reads) == roles[TensorRole.PARAMETER] | roles[TensorRole.GRADIENT]
            assert len(roles[TensorRole.PARAMETER]) == len(roles[TensorRole.GRADIENT])


def test_no_operator_of_unknown_kind(workload):
    kinds = {operator.kind for shard in workload.shards for layer in shard.layers for operator in layer.operators}
    assert OperatorKind.OTHER not in kinds


def test_tensor_parallel_divides_the_block(workload):
    whole = workload.shard(1).layers[1]
    for shard in workload.shards[1:]:
        block = shard.layers[1]
        for old, new in zip(products(whole), products(block), strict=True):
            kept = workload.name == "gpt2-xl" and old.module.startswith("attn")
            assert new.flops.at(1) * (1 if kept else shard.tensor_parallel) == old.flops.at(1)


def products(layer):
    kinds = (OperatorKind.MATMUL, OperatorKind.ATTENTION)
    chosen = [operator for operator in layer.operators if operator.kind in kinds]
    return sorted(chosen, key=lambda operator: (operator.phase, operator.module, operator.gradient))


@pytest.mark.parametrize("name", ["llama2-7b", "gpt3-175b", "bert-large", "opt-350m"])
def test_two_all_reduces_each_way_in_a_block(name):
    workload = load(name)
    assert not all_reduces(workload.shard(1).layers[1])
    for shard in workload.shards[1:]:
        embedding, block, head = shard.layers
        assert all_reduces(block) == {Phase.FORWARD: 2, Phase.BACKWARD: 2}
        assert all_reduces(embedding) == {Phase.FORWARD: 1}
        assert all_reduces(head) == {Phase.FORWARD: 3, Phase.BACKWARD: 1}
        for operator in block.operators:
            if operator.kind is OperatorKind.COLLECTIVE:
                assert operator.dims == (block.output_bytes,)


def test_heads_that_do_not_divide_keep_attention_whole():
    for shard in load("gpt2-xl").shards[1:]:
        assert all_reduces(shard.layers[1]) == {Phase.FORWARD: 1, Phase.BACKWARD: 1}


def test_vocabulary_is_padded_up():
    for shard in load("gpt2-xl").shards:
        rows = -(-50257 // shard.tensor_parallel)
        assert shard.layers[2].parameters == rows * 1600 + 2 * 1600


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_saved_bytes_of_a_gpt_block(degree):
    """Korthikanti et al. 2022 (arXiv 2205.05198), equation 2 less the 5as/h that flash attention spares."""
    block = load("gpt3-175b").shard(degree).layers[1]
    expected = 2048 * 12288 * (10 + 24 / degree)
    assert block.saved_bytes.at(1) == pytest.approx(expected, rel=0.002)
    assert block.saved_bytes.at(1) > expected  # statistics of layer norms and of attention


def test_flops_are_six_a_parameter_and_token_and_attention(workload):
    """6 N D of Kaplan et al. 2020, over the matrices alone, and 14 s^2 h a layer for attention."""
    block = workload.shard(1).layers[1]
    matrices = sum(
        operator.dims[2].at(1) * operator.dims[3].at(1)
        for operator in block.operators
        if operator.gradient is Gradient.FORWARD
    )
    length = workload.sequence_length
    width = block.output_bytes.at(1) // 2 // length
    expected = 6 * matrices * length + 14 * length**2 * width
    assert sum(operator.flops.at(1) for operator in block.operators) == expected


def test_read_is_what_was_written(workload, tmp_path):
    write(tmp_path / "x.json", workload)
    assert load(tmp_path / "x.json") == workload
    write(tmp_path / "x.json.gz", workload)
    # Unpacked, as another zlib may pack in another way.
    assert unpacked(tmp_path / "x.json.gz") == unpacked(path_of(workload.name))


def unpacked(path):
    return gzip.decompress(path.read_bytes())


def test_unknown_name_tells_the_nearest():
    with pytest.raises(BadInput, match="unknown model 'lama2-7b'; did you mean llama2-7b"):
        load("lama2-7b")


def broken(workload, **changes):
    shard = workload.shards[0]
    layer = replace(shard.layers[0], **changes)
    return replace(workload, shards=(replace(shard, layers=(layer, *shard.layers[1:])), *workload.shards[1:]))


def test_unsound_workloads_are_told_on_one_line(tmp_path):
    good = load("opt-350m")
    first = good.shards[0].layers[0].operators[0]
    bad = [
        (replace(good, order=(0, 3)), "order: 3: expected a layer of shards[0]"),
        (replace(good, order=(-1,)), "order: -1"),
        (replace(good, order=()), "order"),
        (replace(good, shards=good.shards[1:]), "shards: [2, 4, 8]"),
        (replace(good, sequence_length=0), "sequence_length: 0"),
        (replace(good, parameters=-1), "parameters: -1"),
        (broken(good, saved_bytes=Affine(-1, 2)), "shards[0].layers[0].saved_bytes: [-1, 2]"),
        (broken(good, parameters=-1), "layers[0].parameters: -1"),
        (broken(good, operators=()), "layers[0].operators"),
        (broken(good, operators=(replace(first, reads=(99,)),)), "operators[0].reads and writes: 99"),
        (broken(good, operators=(replace(first, dims=()),)), "operators[0].dims"),
        (broken(good, operators=(replace(first, flops=Affine(0, -1)),)), "operators[0].flops: [0, -1]"),
    ]
    check(good)
    for number, (workload, said) in enumerate(bad):
        path = tmp_path / f"{number}.json"
        write(path, workload)
        with pytest.raises(BadInput) as caught:
            load(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
