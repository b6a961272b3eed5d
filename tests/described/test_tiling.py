"""Mappings: what they compute and move, that they fit, and what is said where none does."""

from __future__ import annotations

import math
import random
import re

import pytest

from described_layers import random_layer, random_mapping
from hardplace.answers import Infeasible
from hardplace.described.layers import convolution, elementwise, pool, product, softmax
from hardplace.described.lowering import lowered
from hardplace.described.program import Instruction, flat
from hardplace.described.reading import description_names, read_description
from hardplace.described.simulate import simulate
from hardplace.described.targets import target
from hardplace.described.tiling import TiledLayer, mappings_of, tiled
from hardplace.described.types import DIMS


def work_of(one: Instruction) -> int:
    """Return the product of the extents that an instruction's text names."""
    return math.prod(int(size) for size in re.findall(rf"[{''.join(DIMS)}](\d+)", one.text.partition(" ")[2]))


def test_programs_compute_every_product_once_and_move_no_less_than_all() -> None:
    draw = random.Random(7)
    for index in range(40):
        name = description_names()[index % 6]
        on, layer = read_description(name), random_layer(draw)
        goal = target(on, layer)
        if goal is None:
            continue
        mapping = random_mapping(draw, goal, layer)
        assert mapping is not None
        steps = [step for step in flat(lowered(goal, layer, mapping)) if isinstance(step, Instruction)]
        computed = [step for step in steps if step.text.startswith(layer.operation)]
        assert sum(map(work_of, computed)) == math.prod(layer.extents.values()), (name, layer)
        stored = [step for step in steps if step.text.startswith("store") and step.text.endswith(on.backing.name)]
        sizes = [math.prod(map(int, step.text.split()[2].split("x"))) for step in stored]
        assert sum(sizes) == layer.elements("output", layer.extents)


def test_the_mapping_that_is_chosen_is_the_simulators_best_of_those_considered() -> None:
    on = read_description("gemmini", {"scratchpad_bytes": 512, "accumulator_bytes": 1024})
    layer = product("small", m=12, n=20, k=24)
    found, goal = tiled(on, layer, most_timed=1000), target(on, layer)
    assert isinstance(found, TiledLayer)
    assert goal is not None
    every = [simulate(on, lowered(goal, layer, mapping)) for mapping in dict.fromkeys(mappings_of(goal, layer))]
    assert len(every) <= 32  # so none was left out before it was bounded
    assert found.time.cycles == min(every) == found.bound_cycles


def test_a_convolution_reads_its_halo_and_a_stride_skips() -> None:
    layer = convolution("one", 3, 8, (9, 9), (3, 3), stride=2)
    assert [layer.extents[dim] for dim in "pq"] == [5, 5]
    assert layer.elements("input", {**layer.extents, "p": 2, "q": 1}) == 3 * 5 * 3
    assert layer.elements("input", {**layer.extents, "p": 2, "q": 1}, skips=False) == 3 * 6 * 4
    assert layer.rows("input", {**layer.extents, "p": 2, "q": 1}, merged=False, skips=False) == (6 * 4, 3, 3)
    assert layer.elements("weight", layer.extents) == 3 * 8 * 9
    pointwise = convolution("one", 4, 4, (9, 9), (1, 1), stride=2)
    assert pointwise.elements("input", pointwise.extents) == 4 * 5 * 5
    assert convolution("dw", 8, 8, (9, 9), (3, 3), groups=8).operation == "depthwise"
    assert pool("pool", 8, (8, 8), (2, 2), 2).extents["p"] == 4


@pytest.mark.parametrize(
    "layer",
    [product("mm", 100, 300, 200), softmax("s", 64, 100), elementwise("e", 4096, 2), pool("p", 32, (8, 8), (2, 2), 2)],
)
def test_every_description_runs_every_operation(layer: object) -> None:
    for name in description_names():
        found = tiled(read_description(name), layer)  # type: ignore[arg-type]
        assert isinstance(found, TiledLayer), found
        assert found.time.bound_cycles <= found.bound_cycles <= found.time.cycles
        assert found.time.exact


def test_a_row_that_no_buffer_holds_says_what_is_short() -> None:
    found = tiled(read_description("ultratrail"), softmax("long", 4, 100_000))
    assert isinstance(found, Infeasible)
    assert "results for the smallest tiles of softmax" in found.what
    assert found.needed > found.available == 16384
