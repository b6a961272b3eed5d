"""Fused groups: what they compute and move, that they fit, the model and its simulator."""

from __future__ import annotations

import math
import re

import pytest

from hardplace.described.fusion import fused_groups, group_bytes
from hardplace.described.layers import LayerShape, convolution, elementwise, product, softmax
from hardplace.described.model import program_time
from hardplace.described.program import Instruction, flat, totals
from hardplace.described.reading import read_description
from hardplace.described.simulate import simulate
from hardplace.described.types import DIMS

CONVOLUTIONS = (convolution("one", 8, 8, (8, 4)), convolution("two", 8, 8, (8, 4), (3, 3)), elementwise("sum", 256, 2))
ATTENTION = (product("scores", 8, 8, 4, 2), softmax("softmax", 16, 8), product("values", 8, 4, 8, 2))


@pytest.mark.parametrize("layers", [CONVOLUTIONS, ATTENTION], ids=["convolutions", "attention"])
@pytest.mark.parametrize("name", ["eyeriss", "vector-dsp"])
def test_a_group_takes_the_simulators_cycles(name: str, layers: tuple[LayerShape, ...]) -> None:
    on = read_description(name)
    found = {group.strips: group for group in fused_groups(on, layers)}
    assert {1, 2, 4} <= set(found)
    for strips in (1, 4):
        time = program_time(on, found[strips].program)
        assert time.exact
        assert time.cycles == simulate(on, found[strips].program)


def test_what_lies_between_layers_does_not_cross_the_memorys_port() -> None:
    on = read_description("eyeriss")  # one port of 4 bytes a cycle, elements of 2 bytes; every operand here is one tile
    group = next(fused_groups(on, CONVOLUTIONS))
    outside, weights, result = group_bytes(CONVOLUTIONS)
    assert (outside, weights, result) == (8 * 32 + 256, 64 + 64 * 9, 256)
    assert totals(group.program)[1]["dram.link"] * 4 == 2 * (outside + weights + result)
    alone = sum(totals(next(fused_groups(on, (layer,))).program)[1]["dram.link"] for layer in CONVOLUTIONS)
    assert alone * 4 >= 2 * (outside + weights + result + 2 * 256 + 2 * 256)  # both results there and back, and halos


def test_strips_compute_halos_again_and_load_weights_again() -> None:
    on = read_description("eyeriss")
    for group in fused_groups(on, CONVOLUTIONS[:2]):
        steps = [step.text for step in flat(group.program) if isinstance(step, Instruction)]
        done = [
            math.prod(map(int, re.findall(rf"[{''.join(DIMS)}](\d+)", text.partition(" ")[2])))
            for text in steps
            if text.startswith("convolution")
        ]
        rows = 8 // group.strips
        first, second = 64 * 4 * min(8, rows + 2), 64 * 4 * rows * 9
        assert sum(done) == group.strips * (first + second)
        assert sum(text.startswith("load weight") for text in steps) >= 2 * group.strips


def test_results_stay_only_where_the_next_layer_can_read_them_and_they_fit() -> None:
    assert not list(fused_groups(read_description("gemmini"), CONVOLUTIONS))  # accumulators are not the scratchpad
    big = (convolution("one", 8, 512, (32, 32)), convolution("two", 512, 8, (32, 32)))
    on = read_description("eyeriss")
    for group in fused_groups(on, big):
        assert 2 * group.kept_bytes <= on.memories["global"].capacity_bytes
    assert 1 not in {group.strips for group in fused_groups(on, big)}
    assert [group.strips for group in fused_groups(on, big[:1])] == [1]
