"""Bytes of casts to low precision, by hand, from what Transformer Engine's documents say of each recipe."""

import pytest

from hardplace.cost.layers.builder import Builder
from hardplace.cost.layers.decoder import block
from hardplace.cost.layers.low_precision import Cast, CastBytes, Fp8Recipe
from hardplace.cost.layers.types import Layout
from hardplace.cost.layers.work import CollectiveWork, GemmWork
from hardplace.cost.types import Collective
from hardplace.workload.decoder import DecoderShape, Degrees
from hardplace.workload.types import Recompute

HOPPER, BLACKWELL = False, True
LLAMA = DecoderShape(
    layers=1, hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256, sequence=8192, gated=True
)
# recipe, layouts; bytes of an element: alone, behind a norm, of a weight; share of a gather in one direction and in two
BY_HAND = (
    (Fp8Recipe.DELAYED, HOPPER, 2 + 1 + 1, -2 + 1 + 2, 4, 0.5, 0.5),  # cast and transposed in one kernel; apart
    (Fp8Recipe.DELAYED, BLACKWELL, 2 + 1, -2 + 1, 3, 0.5, 0.5),
    (Fp8Recipe.TENSORWISE, HOPPER, 2 + 2 + 1 + 1, 6, 6, 0.5, 0.5),  # read twice: its largest value, the cast
    (Fp8Recipe.TENSORWISE, BLACKWELL, 2 + 2 + 1, 5, 5, 0.5, 0.5),
    (Fp8Recipe.BLOCKWISE, HOPPER, 2 + 2 * (1 + 4 / 128), 2 + 2 * (1 + 4 / 128), 4.0625, 0.515625, 1.03125),
    (Fp8Recipe.MXFP8, BLACKWELL, 2 + 2 * (1 + 1 / 32), -2 + 2 * (1 + 1 / 32), 4.0625, 0.515625, 1.03125),
    (Fp8Recipe.NVFP4, BLACKWELL, 2 + 2 + 2 * (0.5 + 1 / 16), 5.125, 5.125, 0.28125, 0.5625),
)


@pytest.mark.parametrize(("recipe", "layouts", "alone", "normed", "weight", "once", "twice"), BY_HAND)
def test_bytes_of_an_element(
    recipe: Fp8Recipe, layouts: bool, alone: float, normed: float, weight: float, once: float, twice: float
) -> None:
    casts = CastBytes(recipe=recipe, layouts=layouts)
    found = (casts.operand_bytes(Cast.ALONE, 1), casts.operand_bytes(Cast.NORM, 1), casts.weight_bytes)
    assert found == pytest.approx((alone, normed, weight))
    assert casts.operand_bytes(Cast.PRODUCT, 1) == 0.0
    eager = CastBytes(recipe=recipe, layouts=layouts, norms=False)
    assert eager.operand_bytes(Cast.NORM, 1) == pytest.approx(alone)
    assert [casts.sent_share(directions) for directions in (0, 1, 2)] == pytest.approx([1.0, once, twice])
    apart = CastBytes(recipe=recipe, layouts=layouts, sends=False)
    assert [apart.sent_share(directions) for directions in (0, 1, 2)] == [1.0, 1.0, 1.0]


def test_ranks_that_gather_a_cast_tensor_cast_a_part_each() -> None:
    """Hopper's transposes are of the whole tensor, each rank's own (read and written in 8 bits)."""
    hopper = CastBytes(recipe=Fp8Recipe.TENSORWISE, layouts=HOPPER)
    assert hopper.operand_bytes(Cast.ALONE, 8) == pytest.approx((2 + 2 + 1) / 8 + 2)
    blackwell = CastBytes(recipe=Fp8Recipe.MXFP8, layouts=BLACKWELL)
    assert blackwell.operand_bytes(Cast.ALONE, 8) == pytest.approx(4.0625 / 8)


def test_weights_kept_in_fp8_are_gathered_so_and_only_transposed() -> None:
    for recipe, layouts, cast, gathered in (
        (Fp8Recipe.DELAYED, HOPPER, 2.0, 1.0),
        (Fp8Recipe.TENSORWISE, BLACKWELL, 0.0, 1.0),
        (Fp8Recipe.MXFP8, BLACKWELL, 4.0625, 2.0),  # gathered in 16 bit, cast after it
    ):
        casts = CastBytes(recipe=recipe, layouts=layouts, gathers=True)
        assert (casts.weight_bytes, casts.gathered_bytes) == pytest.approx((cast, gathered))


def test_a_layer_says_which_operands_are_cast_where() -> None:
    """Of Llama-3 8B with tensor 4 and sequence parallelism: forward q, k, v and gate, up read a norm's output that was
    gathered; the gradients of the attention's projection's and the last product's outputs are gathered."""
    layer = block(LLAMA, Degrees(tensor=4, sequence=True, low=1.0), Recompute.NONE)
    forward = [one for one in layer.forward if isinstance(one, GemmWork)]
    assert [(one.cast, one.gathered) for one in forward] == [
        (Cast.NORM, 4), (Cast.ALONE, 1), (Cast.NORM, 4), (Cast.ALONE, 1)
    ]  # fmt: skip
    back = [one for one in layer.backward if isinstance(one, GemmWork) and one.layout is Layout.NN]
    assert [one.gathered for one in back] == [4, 1, 4, 1]  # last product first
    gathers = [
        one.directions
        for one in (*layer.forward, *layer.backward)
        if isinstance(one, CollectiveWork) and one.collective is Collective.ALL_GATHER
    ]
    assert gathers == [1, 1, 2, 1, 2, 1]


def test_without_sequence_parallelism_nothing_is_gathered() -> None:
    for tensor, sequence in ((1, False), (4, False)):
        layer = block(LLAMA, Degrees(tensor=tensor, sequence=sequence, low=1.0), Recompute.NONE)
        products = [one for one in (*layer.forward, *layer.backward) if isinstance(one, GemmWork)]
        assert {one.gathered for one in products} == {1}


def test_experts_whose_product_casts_have_no_kernel_for_it() -> None:
    for fused in (False, True):
        builder = Builder(LLAMA, Degrees(low=1.0, fused_experts=fused))
        builder.expert_linear(1024, 512, 256, 8)
        product = builder.forward[0]
        assert isinstance(product, GemmWork)
        assert product.cast is (Cast.PRODUCT if fused else Cast.ALONE)
