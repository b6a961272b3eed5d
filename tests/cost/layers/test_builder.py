"""Work that a layer collects, by hand; products of a recorded layer in the layouts in which a library runs them."""

from collections import Counter

import pytest

from hardplace.cost.layers.builder import Builder
from hardplace.cost.layers.types import Layout
from hardplace.cost.layers.work import GemmWork
from hardplace.plans.chain import of_workload
from hardplace.plans.plan import Plan
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.load import load

SHAPE = DecoderShape(
    layers=1, hidden=16, heads=1, kv_heads=1, head_dim=16, ffn=8, vocab=32, sequence=100, gated=False
)  # fmt: skip


@pytest.mark.parametrize(("low", "kept_bytes"), [(0.0, 2.0), (1.0, 1.0)])
def test_experts_keep_each_copy_of_a_token_that_comes_in(low: float, kept_bytes: float) -> None:
    """200 copies of 16 numbers, 16 bit, or 8 where products are in 8 bit; two experts' weights, read and held."""
    builder = Builder(SHAPE, Degrees(low=low))
    builder.expert_linear(copies=200, outputs=8, inputs=16, held=2)
    assert builder.saved_bytes == kept_bytes * 200 * 16
    assert builder.expert_parameters == 2 * 8 * 16
    assert builder.widest_bytes == 2.0 * 2 * 8 * 16 + 2.0 * 200 * (8 + 16)
    (product,) = builder.forward
    assert isinstance(product, GemmWork)
    assert (product.batch, product.m, product.n, product.k) == (2, 100, 8, 16)


@pytest.mark.parametrize("model", ["bert-large", "vit-l"])
def test_recorded_products_run_in_the_layout_that_each_gradient_has(model: str) -> None:
    block = of_workload(load(model), Plan(global_batch=1)).layers[0]
    forward, backward = (
        Counter(one.layout for one in works if isinstance(one, GemmWork)) for works in (block.forward, block.backward)
    )
    assert forward == {Layout.TN: forward[Layout.TN]}
    assert backward == {Layout.NN: forward[Layout.TN], Layout.NT: forward[Layout.TN]}
