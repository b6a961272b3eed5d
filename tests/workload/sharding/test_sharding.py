"""What one rank computes, against recordings of a rank's own module, published formulas and hand calculations."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from hardplace.workload.affine import Affine
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding import shard, tensor_parallel
from hardplace.workload.sharding.analysis import analyse
from hardplace.workload.sharding.rank_layer import RankLayer
from hardplace.workload.sharding.rank_sizes import RankSizes
from hardplace.workload.sharding.shards import RankShards
from hardplace.workload.types import Gradient, Group, Layer, OperatorKind, Parallelism, Phase, Shard, StorageRole
from hardplace.workload.weights import weights_of

DENSE = ["bert-large", "opt-6.7b", "gpt3-175b", "llama2-7b", "llama3-70b", "qwen3-8b", "megatron-gpt2-8.3b", "vit-l"]
RANKS = json.loads((Path(__file__).parents[1] / "data" / "rank_recordings.json").read_text())["models"]


def collectives(layer: Layer) -> Counter[tuple[str, str]]:
    return Counter((one.name, str(one.phase)) for one in layer.operators if one.kind is OperatorKind.COLLECTIVE)


def flops(layer: Layer) -> int:
    return sum(operator.flops.at(1) for operator in layer.operators)


@cache
def shards(model: str) -> RankShards:
    return RankShards(load(model))


def block(model: str, **degrees: int | bool) -> Layer:
    layers = shard(load(model), Parallelism(**degrees)).layers  # type: ignore[arg-type]
    return next(layer for layer in layers if layer.name.startswith("block"))


def weights(layer: Layer, module: str) -> int:
    """Parameters that the forward products of a module read on one rank."""
    read = {
        storage
        for one in layer.operators
        if one.module == module and one.gradient is Gradient.FORWARD
        for storage in layer.storages_of(one.reads)
    }
    return sum(layer.storages[storage].parameters for storage in read)


@pytest.mark.parametrize("model", list(RANKS))
@pytest.mark.parametrize("degree", ["1", "2", "4", "8"])
def test_equals_the_recording_of_a_module_with_the_ranks_own_shapes(model, degree):
    """Rules on the whole graph, against the same model recorded as a rank holds it (data/rank_recordings.json)."""
    layers = tensor_parallel(load(model), int(degree)).layers
    for layer, rank in zip(layers, RANKS[model][degree], strict=True):
        assert layer.name == rank["layer"]
        assert sum(operator.flops.factor for operator in layer.operators) == rank["flops"]
        assert layer.parameters == rank["parameters"]
        assert layer.output_bytes == Affine(*rank["output_bytes"])
        found = sorted([o.name, str(o.phase), o.dims[0].factor] for o in layer.operators if o.group is Group.TENSOR)
        assert found == rank["collectives"]
        if layer.name == "block":
            assert layer.saved_bytes == Affine(*rank["saved_bytes"])


@pytest.mark.parametrize("model", catalogue())
def test_one_rank_of_one_computes_what_was_recorded(model):
    workload = load(model)
    for recorded, layer in zip(workload.layers, shards(model).at(Parallelism()).layers, strict=True):
        kept = [one for one in recorded.operators if one.kind is not OperatorKind.VIEW]
        assert [(one.name, one.dims, one.flops) for one in layer.operators] == [
            (one.name, one.dims, one.flops) for one in kept
        ]
        assert layer.parameters == recorded.parameters
        assert layer.saved_bytes == recorded.saved_bytes
        assert layer.output_bytes == recorded.output_bytes


@pytest.mark.parametrize("model", catalogue())
@pytest.mark.parametrize(
    "degrees",
    [
        Parallelism(tensor=2),
        Parallelism(tensor=8),
        Parallelism(tensor=16, sequence=True),
        Parallelism(tensor=3),
        Parallelism(context=4),
        Parallelism(expert=4),
        Parallelism(tensor=2, sequence=True, context=2, expert=2),
    ],
    ids=str,
)
def test_every_model_divides_and_never_below_its_share(model, degrees):
    """FLOPs and parameters of a rank lie between an equal share (but for padding) and the whole; graphs stay sound."""
    workload = load(model)
    if workload.sequence_length == 1:
        degrees = Parallelism(tensor=degrees.tensor, expert=degrees.expert)
    ranks = degrees.tensor * degrees.context * degrees.expert
    for recorded, layer in zip(workload.layers, shards(model).at(degrees).layers, strict=True):
        assert flops(recorded) / ranks <= flops(layer) <= flops(recorded)
        assert recorded.parameters / ranks <= layer.parameters <= recorded.parameters
        assert layer.saved_bytes.at(1) <= recorded.saved_bytes.at(1)
        written = {
            index for index, one in enumerate(layer.storages) if one.role in (StorageRole.INPUT, StorageRole.PARAMETER)
        }
        for operator in layer.operators:
            assert set(layer.storages_of(operator.reads)) <= written, operator
            written |= set(layer.storages_of(operator.writes))
            assert all(size.constant >= 0 and size.factor >= 0 for size in operator.dims)
            assert (operator.group is Group.NONE) == (operator.kind is not OperatorKind.COLLECTIVE)


@pytest.mark.parametrize("model", DENSE)
@pytest.mark.parametrize("degree", [2, 4, 8, 16])
def test_two_all_reduces_each_way_in_a_block(model, degree):
    """Shoeybi et al. 2019, section 3: of the residual stream, after attention and after the MLP."""
    if model == "megatron-gpt2-8.3b" and degree == 16:
        pytest.skip("24 heads")
    layer, whole = block(model, tensor=degree), block(model)
    found = [one for one in layer.operators if one.kind is OperatorKind.COLLECTIVE]
    # Gradients of norms over single heads, and of copied key/value heads, do not grow with the micro-batch.
    streams = [one for one in found if one.dims[0].factor]
    assert Counter((one.name, str(one.phase)) for one in streams) == {
        ("all_reduce", "forward"): 2,
        ("all_reduce", "backward"): 2,
    }
    assert all(one.dims == (whole.output_bytes,) for one in streams)
    assert flops(layer) * degree == flops(whole) if degree <= 8 else flops(layer) * degree >= flops(whole)


@pytest.mark.parametrize("model", ["gpt3-175b", "llama2-7b", "llama3-70b", "qwen3-8b"])
@pytest.mark.parametrize("degree", [2, 8])
def test_sequence_parallel_scatters_and_gathers(model, degree):
    """Korthikanti et al. 2022, section 4.2.2: the same bytes, and activations all divided.

    Two reduce-scatters and two all-gathers each way, and in the backward pass the inputs of the two column-cut
    products again, since only the shard of them is kept (Megatron-LM does the same).
    """
    layer = block(model, tensor=degree, sequence=True)
    found = collectives(layer)
    norms = found.pop(("all_reduce", "backward"))  # gradients of the norms' weights
    assert found == {
        ("all_gather", "forward"): 2,
        ("reduce_scatter", "forward"): 2,
        ("all_gather", "backward"): 4,
        ("reduce_scatter", "backward"): 2,
    }
    reduced = [one for one in layer.operators if (one.name, one.phase) == ("all_reduce", Phase.BACKWARD)]
    assert len(reduced) == norms
    assert all(one.dims[0].factor == 0 for one in reduced)
    whole = block(model)
    assert layer.output_bytes.at(1) * degree == whole.output_bytes.at(1)
    assert flops(layer) * degree == flops(whole)
    assert layer.saved_bytes.at(1) * degree == whole.saved_bytes.at(1)


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_saved_bytes_of_a_gpt_block(degree):
    """Korthikanti et al. 2022, equations 2 and 4, less the 5as/h that flash attention spares.

    And what the formula leaves out, a token: 8 bytes of the norms' statistics, 4 a head of attention's rows.
    """
    tokens, width = 2048, 12288
    whole, cut = 10 * width + 8, 24 * width + 4 * 96
    assert block("gpt3-175b", tensor=degree).saved_bytes.at(1) == tokens * (whole + cut // degree)
    if degree > 1:
        layer = block("gpt3-175b", tensor=degree, sequence=True)
        assert layer.saved_bytes.at(1) == tokens * (whole + cut) // degree


def test_key_and_value_heads_that_do_not_divide_are_copied():
    """Llama-3-70B has 8: at 16 ranks each holds one of them, and 4 of the 64 query heads."""
    layer = block("llama3-70b", tensor=16)
    assert weights(layer, "self_attn.k_proj") == 8192 * 128
    assert weights(layer, "self_attn.q_proj") == 8192 * 8192 // 16
    assert weights(layer, "self_attn.o_proj") == 8192 * 8192 // 16
    attention = next(one for one in layer.operators if one.kind is OperatorKind.ATTENTION)
    assert [dim.at(1) for dim in attention.dims] == [1, 4, 1, 8192, 8192, 128, 128]
    # Two ranks share a head, so the gradient of its weight is the sum of both.
    extra = [one for one in layer.operators if one.kind is OperatorKind.COLLECTIVE and one.dims[0].factor == 0]
    assert [one.dims[0].constant for one in extra] == [2 * 8192 * 128] * 2


def test_a_vocabulary_that_does_not_divide_is_padded_up():
    for degree in (2, 4, 8, 16):
        head = tensor_parallel(load("gpt2-xl"), degree).layers[2]
        rows = -(-50257 // degree)
        assert head.parameters == rows * 1600 + 2 * 1600
        # Largest logit, sum of exponentials, logit of the target: 4 bytes a token each; then the input's gradient.
        tokens = 4 * 1024
        sizes = [one.dims[0].at(1) for one in head.operators if one.kind is OperatorKind.COLLECTIVE]
        assert sizes == [tokens, tokens, tokens, 1024 * 1600 * 2]


def test_what_does_not_divide_stays_whole_and_is_named():
    shard_ = tensor_parallel(load("gpt2-xl"), 8)
    assert shard_.whole == ("block: attn.c_attn", "block: attn.c_proj")
    assert collectives(shard_.layers[1]) == {("all_reduce", "forward"): 1, ("all_reduce", "backward"): 1}


def test_low_rank_projections_stay_whole():
    """DeepSeek-V3's down-projections feed norms over their whole width; its heads are cut (as Megatron-LM does)."""
    whole = {name.partition(": ")[2] for name in tensor_parallel(load("deepseek-v3"), 8).whole}
    assert whole == {"self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"}
    dense = block("deepseek-v3", tensor=8)
    assert weights(dense, "self_attn.q_b_proj") == 1536 * 128 * 192 // 8
    assert weights(dense, "self_attn.kv_b_proj") == 512 * 128 * 256 // 8
    assert weights(dense, "self_attn.o_proj") == 128 * 128 * 7168 // 8


@pytest.mark.parametrize("model", ["glm-4.5", "mamba2-2.7b", "t5-large", "gpt-oss-120b"])
def test_layers_of_many_degrees_are_those_of_each_by_itself(model):
    """What degrees have in common is derived once: the same layers, whatever was asked before, all groups analysed."""
    workload = load(model)
    shards, degrees = RankShards(workload), [(2, False, 1), (2, False, 4), (2, True, 4), (1, False, 4)]
    for tensor, sequence, expert in (*degrees, degrees[0]):
        found = shards.at(Parallelism(tensor=tensor, sequence=sequence, expert=expert)).layers
        for recorded, layer in zip(workload.layers, found, strict=True):
            analyses = [analyse(recorded, Group.TENSOR, tensor, sequence=sequence)] if tensor > 1 else []
            analyses += [analyse(recorded, Group.EXPERT, expert)] if expert > 1 else []
            assert layer == RankLayer(RankSizes(recorded), tuple(analyses)).layer()


def routed(model: str, **degrees: int) -> Layer:
    layers = shard(load(model), Parallelism(**degrees)).layers
    return next(one for one in layers if any(o.kind is OperatorKind.GROUPED_MATMUL for o in one.operators))


@pytest.mark.parametrize(
    ("model", "experts", "held", "chosen", "width"),
    [
        ("mixtral-8x7b", 8, 3 * 4096 * 14336, 2, 4096),
        ("qwen3-30b-a3b", 128, 3 * 2048 * 768, 8, 2048),
        ("deepseek-v3", 256, 3 * 7168 * 2048, 8, 7168),
    ],
)
def test_expert_parallel_sends_tokens_there_and_back(model, experts, held, chosen, width):
    """Two all-to-alls each way, of a token's width for each expert that it chose; balanced, so as many arrive."""
    whole, layer = routed(model), routed(model, expert=4)
    assert whole.parameters - layer.parameters == experts * held * 3 // 4
    assert flops(layer) == flops(whole)
    assert collectives(layer) == {("all_to_all", "forward"): 2, ("all_to_all", "backward"): 2}
    for one in layer.operators:
        if one.group is Group.EXPERT:
            assert one.dims[0].at(1) in (2 * 4096 * chosen * width, 4 * 4096 * chosen * width)


@pytest.mark.parametrize("experts", [2, 8])
def test_biases_of_experts_lie_with_them(experts):
    """GPT-OSS: 128 experts with biases of 5,760 and 2,880 after their products; tokens go and come once a pass."""
    whole, layer = routed("gpt-oss-120b"), routed("gpt-oss-120b", expert=experts)
    each = 3 * 2880 * 2880 + 5760 + 2880
    assert whole.parameters - layer.parameters == 128 * each * (experts - 1) // experts
    assert weights_of(layer).expert_parameters == 128 * each // experts
    assert flops(layer) == flops(whole)
    assert collectives(layer) == {("all_to_all", "forward"): 2, ("all_to_all", "backward"): 2}
    assert {one.dims[0].at(1) for one in layer.operators if one.group is Group.EXPERT} == {2 * 4096 * 4 * 2880}


def test_experts_are_cut_within_by_tensor_parallelism():
    layer = routed("mixtral-8x7b", tensor=8)
    assert collectives(layer)["all_reduce", "forward"] == 2
    products = [one for one in layer.operators if one.kind is OperatorKind.GROUPED_MATMUL]
    assert [tuple(dim.at(1) for dim in one.dims) for one in products[:2]] == [
        (8, 8192, 2 * 14336 // 8, 4096),
        (8, 8192, 4096, 14336 // 8),
    ]


@pytest.mark.parametrize("model", ["llama3-8b", "gpt3-175b", "qwen3-8b"])
def test_context_parallel_gathers_keys_and_values(model):
    """Each rank has its queries and all keys; gradients of keys and values are scattered back; weights whole."""
    whole, layer = block(model), block(model, context=4)
    assert collectives(layer) == {
        ("all_gather", "forward"): 2,
        ("all_gather", "backward"): 2,
        ("reduce_scatter", "backward"): 2,
    }
    assert flops(layer) * 4 == flops(whole)
    assert layer.parameters == whole.parameters
    assert layer.saved_bytes.at(1) * 4 == whole.saved_bytes.at(1)
    attention = next(one for one in layer.operators if one.kind is OperatorKind.ATTENTION)
    whole_dims = next(one for one in whole.operators if one.kind is OperatorKind.ATTENTION).dims
    assert [4 * attention.dims[3].at(1), attention.dims[4]] == [whole_dims[3].at(1), whole_dims[4]]
    gathered = next(one for one in layer.operators if one.name == "all_gather")
    batch, _, kv_heads, _, keys, _, values = (dim.at(1) for dim in whole_dims)
    assert gathered.dims[0].at(1) == 2 * batch * kv_heads * keys * values


def test_degrees_multiply():
    one = block("llama3-70b", tensor=4, sequence=True, context=2)
    whole = block("llama3-70b")
    assert flops(one) * 8 == flops(whole)
    assert one.output_bytes.at(1) * 8 == whole.output_bytes.at(1)
    assert {operator.group for operator in one.operators} == {Group.NONE, Group.TENSOR, Group.CONTEXT}


def test_convolutions_are_cut_by_channels():
    layers = tensor_parallel(load("resnet-50"), 4).layers
    bottleneck = next(layer for layer in layers if layer.name == "stages.1.layers 2")
    forward = [one for one in bottleneck.operators if one.gradient is Gradient.FORWARD]
    channels = [(one.dims[1].at(1), one.dims[2].at(1)) for one in forward]
    assert channels == [(512, 32), (32, 128), (128, 512)]  # outputs, then inputs; the last stays whole
    assert collectives(bottleneck) == {("all_reduce", "forward"): 1, ("all_reduce", "backward"): 1}


def test_boundaries_of_encoder_and_decoder():
    workload = load("t5-large")
    names = [workload.layers[index].name for index in workload.order]
    between = names.index("between")
    read = {edge.target for edge in workload.edges if edge.source == between}
    assert read == set(range(between + 1, len(names) - 1))  # every decoder block takes the encoder's output
    shards: list[Shard] = [shard(workload, Parallelism()), shard(workload, Parallelism(tensor=8, sequence=True))]
    sizes = [one.layers[workload.order[between]].output_bytes.at(1) for one in shards]
    assert sizes[0] == 8 * sizes[1]
