"""A CPU's model on operators whose seconds are made by known figures, and a convolution as a product."""

from dataclasses import replace

import pytest

from hardplace.cost.cpu.model import fitted
from hardplace.cost.cpu.operators import cpu_operator
from hardplace.cost.cpu.types import CpuOperator
from hardplace.workload.load import load
from hardplace.workload.types import OperatorKind, Phase

PRODUCT = CpuOperator(kind="matmul", name="product", batch=1, m=1, n=1, k=1, taps=1, moved_bytes=0.0)
STREAM = CpuOperator(kind="elementwise", name="add", batch=1, m=0, n=0, k=0, taps=1, moved_bytes=0.0)


def measured(count: int) -> list[CpuOperator]:
    """Return products of 100 GFLOP/s where they are large, and as many streams of 20 GB/s."""
    products = [replace(PRODUCT, m=size, n=size, k=size) for size in (256 * 2**at for at in range(count))]
    streams = [replace(STREAM, moved_bytes=float(4**at) * 1e4) for at in range(count)]
    return [
        *(replace(one, seconds=1e-5 + one.flops / 1e11) for one in products),
        *(replace(one, seconds=1e-5 + one.moved_bytes / 2e10) for one in streams),
    ]


def test_figures_of_made_operators_are_found_again() -> None:
    model = fitted("made", measured(6))
    for one in measured(6):
        assert model.seconds(one) == pytest.approx(one.seconds, rel=0.1)
    assert set(model.figures) == {"matmul", "products", "elementwise add", "elementwise", "streams"}


def test_an_error_is_of_thirds_held_back_and_needs_two_operators_in_each() -> None:
    assert set(fitted("six", measured(6)).held_out_error) == set(fitted("six", measured(6)).figures)
    assert not fitted("five", measured(5)).held_out_error


def test_a_convolution_is_a_product_over_places_and_taps() -> None:
    """ResNet-50's first: 7 x 7 taps of 3 channels make 64 at 112 x 112 places."""
    first = next(
        (layer, one)
        for layer in load("resnet-50").layers
        for one in layer.operators
        if one.kind is OperatorKind.CONVOLUTION and one.phase is Phase.FORWARD
    )
    found = cpu_operator(*first, 2)
    assert (found.batch, found.m, found.n, found.k, found.taps) == (1, 2 * 112 * 112, 64, 3 * 49, 49)
