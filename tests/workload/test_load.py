"""The shipped models against published counts; files read back; unsound ones refused."""

import gzip
from collections import Counter
from dataclasses import replace

import pytest

from hardplace.errors import BadInput
from hardplace.files import write
from hardplace.workload.affine import Affine
from hardplace.workload.listing import listed, listing_of
from hardplace.workload.load import catalogue, check, load, path_of
from hardplace.workload.types import Edge, Gradient, OperatorKind, Phase, StorageRole

# Sums over the checkpoints' tensors (their safetensors indices on the hub), tied ones once, or the papers' tables:
# GPT-3's 2.65 B and 174,600 M (arXiv 2005.14165, table 2.1), Megatron's 2.5 B, 8.3 B and 3.9 B (arXiv 1909.08053),
# torchvision's VGG-16 and Inception-V3. DeepSeek-V3's index has 14,848 more: the routing biases, which are buffers; so
# have DeepSeek-V3.2's (the same), GLM-4.5's (89 x 160) and Kimi-K2's (60 x 384 of 1,026,408,232,448). DeepSeek-V3.2 is
# DeepSeek-V3 with an indexer of 13,959,424 in each of 61 layers (its inference/model.py); GLM-4.5 is counted over the
# library's modules.
PARAMETERS = {
    "bert-base": 109_514_298,
    "bert-large": 335_174_458,
    "deepseek-v3": 671_026_404_352,
    "deepseek-v3.2": 671_877_929_216,
    "dlrm": 24_036_595_969,
    "flux.1-dev": 11_901_408_320,
    "gemma-3-27b": 27_432_406_640,
    "glm-4.5": 352_797_814_784,
    "gpt-oss-120b": 116_829_156_672,
    "gpt2-xl": 1_557_611_200,
    "gpt3-175b": 174_604_259_328,
    "gpt3-2.7b": 2_651_553_280,
    "inception-v3": 23_834_568,
    "kimi-k2": 1_026_408_209_408,
    "llama-4-scout": 108_641_793_536,
    "llama2-13b": 13_015_864_320,
    "llama2-70b": 68_976_648_192,
    "llama2-7b": 6_738_415_616,
    "llama3-405b": 405_853_388_800,
    "llama3-70b": 70_553_706_496,
    "llama3-8b": 8_030_261_248,
    "mamba2-2.7b": 2_702_599_680,
    "megatron-bert-3.9b": 3_862_699_392,
    "megatron-gpt2-2.5b": 2_490_408_960,
    "megatron-gpt2-8.3b": 8_317_040_640,
    "mixtral-8x7b": 46_702_792_704,
    "modernbert-large": 395_881_664,
    "nemotron-h-8b": 8_100_852_736,
    "opt-350m": 331_196_416,
    "opt-6.7b": 6_658_473_984,
    "opt-66b": 65_719_701_504,
    "phi-4": 14_659_507_200,
    "qwen3-235b-a22b": 235_093_634_560,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-8b": 8_190_735_360,
    "qwen3-next-80b-a3b": 79_674_391_296,
    "resnet-50": 25_557_032,
    "siglip2-so400m-14-384": 1_136_008_498,
    "t5-large": 737_668_096,
    "u-net": 31_030_658,
    "vgg-16": 138_357_544,
    "vit-l": 304_326_632,
    "whisper-medium": 763_857_920,
}
TIED = {
    "gemma-3-27b": 262208 * 5376 - 423_060_336,  # and the vision tower, which text does not reach
    "llama-4-scout": -871_932_416,  # the vision tower
    "modernbert-large": 50368 * 1024,
    "bert-base": 30522 * 768,
    "bert-large": 30522 * 1024,
    "gpt2-xl": 50257 * 1600,
    "gpt3-175b": 50257 * 12288,
    "gpt3-2.7b": 50257 * 2560,
    "mamba2-2.7b": 50288 * 2560,
    "megatron-bert-3.9b": 30592 * 2560,
    "megatron-gpt2-2.5b": 51200 * 1920,
    "megatron-gpt2-8.3b": 51200 * 3072,
    "opt-350m": 50272 * 512,
    "opt-6.7b": 50272 * 4096,
    "opt-66b": 50272 * 9216,
    "t5-large": 2 * 32128 * 1024,
    "whisper-medium": 51865 * 1024,
}
# Runs of the order, from input to loss.
STRUCTURE = {
    "llama3-405b": [1, 126, 1],
    "gpt3-175b": [1, 96, 1],
    "deepseek-v3": [1, 3, 58, 1],
    "t5-large": [1, 1, 22, 1, 1, 1, 22, 1, 1],
    "whisper-medium": [1, 24, 1, 23, 1, 1],
    "resnet-50": [1, 1, 2, 1, 3, 1, 5, 1, 1, 1, 1],
    "vit-l": [1, 24, 1],
}


@pytest.fixture(scope="module", params=sorted(PARAMETERS))
def workload(request):
    return load(request.param)


def test_catalogue_is_complete_and_small():
    assert catalogue() == tuple(sorted(PARAMETERS))
    assert all(path_of(name).stat().st_size <= 200_000 for name in PARAMETERS)


def test_the_list_says_of_each_model_what_its_graph_does(workload):
    (said,) = (one for one in listed() if one.name == workload.name)
    assert listing_of([workload]).models == (said,)


def test_the_list_has_every_model_once():
    assert tuple(one.name for one in listed()) == catalogue()


def test_parameters(workload):
    held = sum(workload.layers[index].parameters for index in workload.order)
    assert workload.parameters == PARAMETERS[workload.name]
    assert held - workload.parameters == TIED.get(workload.name, 0)
    assert all(layer.parameter_bytes == 2 * layer.parameters for layer in workload.layers)


@pytest.mark.parametrize("name", sorted(STRUCTURE))
def test_repeated_layers_are_found(name):
    runs: list[list[int]] = []
    for index in load(name).order:
        if runs and runs[-1][0] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    assert [count for _, count in runs] == STRUCTURE[name]


def test_edges_connect_every_layer(workload):
    taken = {edge.target for edge in workload.edges}
    handed = {edge.source for edge in workload.edges}
    positions = set(range(len(workload.order)))
    assert handed == positions - {len(positions) - 1}
    sources = positions - taken
    assert sources == ({0, 3} if workload.name == "dlrm" else {0})  # dense features and tables side by side
    for edge in workload.edges:
        given = workload.layers[workload.order[edge.source]]
        took = workload.layers[workload.order[edge.target]]
        assert given.storages[given.outputs[edge.output]].bytes == took.storages[took.inputs[edge.input]].bytes


def test_skip_connections_are_kept():
    skips = [edge for edge in load("u-net").edges if edge.target > edge.source + 1]
    assert [(edge.source, edge.target) for edge in skips] == [(0, 8), (1, 7), (2, 6), (3, 5)]


def test_execution_order(workload):
    phases = list(Phase)
    for layer in workload.layers:
        places = [phases.index(operator.phase) for operator in layer.operators]
        assert places == sorted(places)
        given = (StorageRole.INPUT, StorageRole.PARAMETER)
        written = {index for index, one in enumerate(layer.storages) if one.role in given}
        for operator in layer.operators:
            if operator.kind is not OperatorKind.VIEW:
                assert set(layer.storages_of(operator.reads)) <= written
                written |= set(layer.storages_of(operator.writes))


def test_every_linear_has_both_gradients(workload):
    products = (OperatorKind.MATMUL, OperatorKind.GROUPED_MATMUL, OperatorKind.CONVOLUTION)
    for place, layer in enumerate(workload.layers):
        count = Counter()
        weighted = {index for index, one in enumerate(layer.storages) if one.role is StorageRole.PARAMETER}
        for one in layer.operators:
            if one.name == "_to_copy" and set(layer.storages_of(one.reads)) <= weighted:
                weighted |= set(layer.storages_of(one.writes))
        for one in layer.operators:
            if "indexer" in one.module:
                continue  # DeepSeek-V3.2 trains what chooses keys by a loss of its own: no gradient reaches it here
            if one.kind in products and one.name not in ("causal_conv1d", "causal_conv1d_backward"):
                forward = one.gradient is Gradient.FORWARD
                assert forward == (one.phase is Phase.FORWARD)
                if not forward or weighted & set(layer.storages_of(one.reads)):
                    count[one.gradient] += 1
        first = place == 0 and workload.name not in ("t5-large",)
        # The first layer needs no gradient of its input; that of a product of two activations is no weight's.
        if count and workload.name not in ("dlrm", "siglip2-so400m-14-384"):
            assert count[Gradient.WGRAD] == count[Gradient.FORWARD]
            assert count[Gradient.DGRAD] == count[Gradient.FORWARD] or first


def test_layouts_of_linears():
    """BLAS's column-major letters: TN forward, NN for the input's gradient, NT for the weight's."""
    layouts = {Gradient.FORWARD: "TN", Gradient.DGRAD: "NN", Gradient.WGRAD: "NT"}
    products = [one for one in load("llama2-7b").layers[1].operators if one.kind is OperatorKind.MATMUL]
    assert len(products) == 21
    assert all(one.layout == layouts[one.gradient] for one in products)


def test_optimizer_updates_every_parameter(workload):
    for layer in workload.layers:
        if layer.parameters:
            step = layer.operators[-1]
            assert (step.name, step.kind, step.phase) == ("adamw", OperatorKind.OPTIMIZER, Phase.OPTIMIZER)
            kept = {index for index, one in enumerate(layer.storages) if one.role is StorageRole.PARAMETER}
            updated = set(layer.storages_of(step.writes))
            frozen = sum(layer.storages[one].parameters for one in kept - updated)
            assert updated <= kept
            assert step.dims == (Affine(layer.parameters - frozen, 0),)
            if workload.name == "deepseek-v3.2" and layer.name.startswith("block"):
                assert frozen == 13_959_424  # the indexer's, which no gradient reaches
                continue
            positions = 1500 * 1024 if (workload.name, layer.name) == ("whisper-medium", workload.layers[0].name) else 0
            assert frozen == positions  # Whisper's encoder keeps its sinusoids


def test_no_operator_without_a_model(workload):
    kinds = {operator.kind for layer in workload.layers for operator in layer.operators}
    assert OperatorKind.OTHER not in kinds


def test_flops_of_transformers_are_six_a_parameter_and_token_and_attention():
    """6 N D of Kaplan et al. 2020 over the matrices, and 14 s^2 h a layer for attention."""
    for name in ("bert-large", "gpt2-xl", "llama2-7b", "gpt3-175b", "opt-6.7b", "vit-l", "qwen3-8b"):
        one = load(name)
        block = one.layers[1]
        matrices = sum(
            operator.dims[2].at(1) * operator.dims[3].at(1)
            for operator in block.operators
            if operator.gradient is Gradient.FORWARD
        )
        attention = next(operator for operator in block.operators if operator.kind is OperatorKind.ATTENTION)
        _, heads, _, queries, keys, width, values = (dim.at(1) for dim in attention.dims)
        expected = 6 * matrices * one.sequence_length + heads * queries * keys * (8 * width + 6 * values)
        assert sum(operator.flops.at(1) for operator in block.operators) == expected


def test_read_is_what_was_written(tmp_path):
    for name in ("llama2-7b", "inception-v3", "dlrm"):
        one = load(name)
        write(tmp_path / "x.json", one)
        assert load(tmp_path / "x.json") == one
        write(tmp_path / "x.json.gz", one)
        # Unpacked, as another zlib may pack in another way.
        unpacked = [gzip.decompress(path.read_bytes()) for path in (tmp_path / "x.json.gz", path_of(name))]
        assert unpacked[0] == unpacked[1]


def test_unknown_name_tells_the_nearest():
    with pytest.raises(BadInput, match="unknown model 'lama2-7b'; did you mean llama2-7b"):
        load("lama2-7b")


def broken(workload, **changes):
    return replace(workload, layers=(replace(workload.layers[0], **changes), *workload.layers[1:]))


def test_unsound_workloads_are_told_on_one_line(tmp_path):
    good = load("opt-350m")
    layer = good.layers[0]
    first = layer.operators[0]
    storage, tensor = layer.storages[0], layer.tensors[0]
    bad = [
        (replace(good, order=(0, 3)), "order: 3: expected below 3"),
        (replace(good, order=(-1,)), "order: -1"),
        (replace(good, order=()), "order"),
        (replace(good, layers=()), "layers"),
        (replace(good, sequence_length=0), "sequence_length: 0"),
        (replace(good, parameters=-1), "parameters: -1"),
        (replace(good, edges=()), "edges: [0, 1, 2]: expected every position"),
        (replace(good, edges=(Edge(1, 0, 0, 0),)), "edges[0]: [1, 0, 0, 0]: expected source before target"),
        (replace(good, edges=(Edge(0, 9, 1, 0),)), "edges[0]: [0, 9, 1, 0]: expected an output"),
        (broken(good, saved=(99,)), "layers[0].saved: 99"),
        (broken(good, storages=(replace(storage, bytes=Affine(-1, 2)), *layer.storages[1:])), "bytes: [-1, 2]"),
        (broken(good, tensors=(replace(tensor, storage=99), *layer.tensors[1:])), "tensors[0].storage: 99"),
        (broken(good, tensors=(replace(tensor, dtype="bf15"), *layer.tensors[1:])), "tensors[0].dtype: bf15"),
        (broken(good, operators=()), "layers[0].operators"),
        (broken(good, operators=(replace(first, reads=(99,)),)), "operators[0].reads and writes: 99"),
        (broken(good, operators=(replace(first, dims=(Affine(1, 1),) * 3),)), "operators[0].dims"),
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
