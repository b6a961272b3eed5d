"""Which recorded models are taken for decoders."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hardplace.cost.layers.decoder import parameters
from hardplace.cost.layers.recognise import decoder_of
from hardplace.workload.load import load
from hardplace.workload.types import Edge, Operator, OperatorKind, Phase, Workload


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


def with_operators(workload: Workload, layer: int, change: Callable[[Operator], tuple[Operator, ...]]) -> Workload:
    """Return a workload with other forward operators in one of its distinct layers."""
    old = workload.layers[layer]
    made = tuple(new for one in old.operators for new in (change(one) if one.phase is Phase.FORWARD else (one,)))
    layers = list(workload.layers)
    layers[layer] = replace(old, operators=made)
    return replace(workload, layers=tuple(layers))


def twice(one: Operator) -> tuple[Operator, ...]:
    """A second output projection, of the same weights: as many parameters, more FLOPs."""
    return (one, one) if one.kind is OperatorKind.MATMUL and "o_proj" in one.module else (one,)


def unmasked(one: Operator) -> tuple[Operator, ...]:
    return (replace(one, causal=False),)


def in_order(workload: Workload, *order: int) -> Workload:
    edges = tuple(Edge(place, 0, place + 1, 0) for place in range(len(order) - 1))
    return replace(workload, order=order, edges=edges)


def test_what_is_no_decoder_in_one_point_is_none():
    """A decoder's prices for another model would be wrong and plausible."""
    llama, deepseek = load("llama2-7b"), load("deepseek-v3")
    assert decoder_of(in_order(llama, 0, 1, 1, 2)) is not None
    assert decoder_of(in_order(deepseek, 0, 1, 2, 2, 3)) is not None
    assert decoder_of(with_operators(llama, 1, twice)) is None
    for layer in (1, 2):
        assert decoder_of(with_operators(deepseek, layer, twice)) is None, layer
    assert decoder_of(with_operators(llama, 1, unmasked)) is None
    for order in ((0, 1, 0, 1, 2), (0, 1, 2, 1, 2), (0, 1, 2, 2), (0, 0, 1, 2), (0, 2)):
        assert decoder_of(in_order(llama, *order)) is None, order
    for order in ((0, 2, 1, 2, 3), (0, 1, 2, 1, 2, 3), (0, 2, 2, 1, 3)):
        assert decoder_of(in_order(deepseek, *order)) is None, order
    skips = in_order(llama, 0, 1, 1, 2)
    assert decoder_of(replace(skips, edges=(*skips.edges, Edge(0, 0, 2, 0)))) is None


@pytest.mark.parametrize(
    ("model", "sizes", "experts"),
    [  # as published: layers, hidden, heads (of keys), head, MLP, vocabulary; experts, chosen, theirs, shared, dense
        ("llama2-7b", (32, 4096, 32, 32, 128, 11008, 32000), None),
        ("qwen3-8b", (36, 4096, 32, 8, 128, 12288, 151936), None),
        ("mixtral-8x7b", (32, 4096, 32, 8, 128, 0, 32000), (8, 2, 14336, 0, 0)),
        ("deepseek-v3", (61, 7168, 128, 128, 192, 18432, 129280), (256, 8, 2048, 2048, 3)),
    ],
)
def test_a_shape_has_the_published_sizes(model, sizes, experts):
    shape = decoder_of(load(model))
    found = (
        shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn, shape.vocab,
    )  # fmt: skip
    assert found == sizes
    of = shape.experts
    assert (of and (of.count, of.chosen, of.ffn, of.shared_ffn, of.dense_layers)) == experts
