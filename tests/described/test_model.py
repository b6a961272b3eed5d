"""The generated model is the simulator to the cycle; the simulator is the hand's."""

from __future__ import annotations

import dataclasses

import pytest

from described_layers import random_programs
from hardplace.described.layers import convolution, pool, product
from hardplace.described.lowering import lowered
from hardplace.described.mapping import LayerMapping, TileLoop
from hardplace.described.model import program_time
from hardplace.described.program import Block, Instruction, NextTile, Repeat, TileRing, flat, totals
from hardplace.described.reading import description_names, read_description
from hardplace.described.simulate import simulate
from hardplace.described.targets import target

SYSTOLIC = read_description("systolic")


def an_instruction(unit: str, busy: int, latency: int = 0, **rings: tuple[TileRing, ...]) -> Instruction:
    return Instruction(
        text="",
        unit=unit,
        busy_cycles=busy,
        latency_cycles=latency,
        ports=(),
        reads=rings.get("reads", ()),
        writes=rings.get("writes", ()),
    )


def test_every_random_layer_takes_the_simulators_cycles_to_the_digit() -> None:
    descriptions = tuple(map(read_description, description_names()))
    for on, layer, program in random_programs(descriptions, count=18, seed=20, most=200):
        time = program_time(on, program)
        simulated = simulate(on, program)
        assert (time.cycles, time.exact) == (simulated, True), (on.name, layer)
        assert time.bound_cycles <= simulated
        assert time.evaluated <= time.instructions == totals(program)[0]


def test_a_load_and_a_product_by_hand() -> None:
    # issue 0, decode 1: loads input 64 bytes / 32 at 1, there at 3 + 60; weights behind it at 3, there at 5 + 60;
    # shift of 8 rows at 65, there at 73 + 1; array 8 rows at 74, 1 + 62 latency behind 82; store 256 / 128 at 145 + 1
    layer = product("by hand", m=8, n=8, k=8)
    on = target(SYSTOLIC, layer)
    assert on is not None
    program = lowered(on, layer, LayerMapping(loops=()))
    ifmap, filter_, registers, array, ofmap = 3 + 60, 5 + 60, 65 + 8 + 1, 74 + 8 + 63, 145 + 2 + 1
    assert (ifmap, filter_) == (63, 65)
    assert array == 145
    assert registers == 74
    assert simulate(SYSTOLIC, program) == program_time(SYSTOLIC, program).cycles == ofmap


def test_double_buffering_overlaps_and_one_buffer_takes_turns() -> None:
    def program(buffers: int) -> Block:
        ring = TileRing("ifmap", "input", buffers)
        load = an_instruction("fill", 10, writes=(ring,))
        work = an_instruction("array", 10, reads=(ring,))
        return Block(steps=(Repeat(count=100, body=Block(steps=(NextTile(ring=ring), load, work))),))

    assert program_time(SYSTOLIC, program(2)).cycles == simulate(SYSTOLIC, program(2)) == 1 + 100 * 10 + 10
    assert program_time(SYSTOLIC, program(1)).cycles == simulate(SYSTOLIC, program(1)) == 1 + 100 * 20


def test_a_queue_of_one_holds_the_stage_back() -> None:
    narrow = dataclasses.replace(SYSTOLIC.units["array"], queue=1)
    on = dataclasses.replace(SYSTOLIC, units={**SYSTOLIC.units, "array": narrow})
    program = Block(steps=(an_instruction("array", 50), an_instruction("array", 50), an_instruction("array", 50),
                           an_instruction("fill", 1, latency=7)))  # fmt: skip
    # starts at 1, 51, 101; the third is issued at 51 when the second starts, the load behind it at 52
    assert simulate(on, program) == program_time(on, program).cycles == 151
    assert simulate(SYSTOLIC, program) == 151


@pytest.mark.parametrize(("busy", "latency", "flight"), [(3, 50, 4), (5, 1, 1), (2, 97, 8)])
def test_results_in_flight_limit_the_rate(busy: int, latency: int, flight: int) -> None:
    unit = dataclasses.replace(SYSTOLIC.units["fill"], outstanding=flight)
    on = dataclasses.replace(SYSTOLIC, units={**SYSTOLIC.units, "fill": unit})
    program = Block(steps=(Repeat(count=200, body=Block(steps=(an_instruction("fill", busy, latency),))),))
    each = max(busy, -(-(busy + latency) // flight))
    time = program_time(on, program)
    assert time.cycles == simulate(on, program)
    assert abs(time.cycles - 200 * max(busy, (busy + latency) / flight)) <= busy + latency + each


def test_billions_of_instructions_are_evaluated_in_a_few_iterations() -> None:
    layer = product("large", m=1 << 22, n=1 << 14, k=1 << 14)
    on = target(SYSTOLIC, layer)
    assert on is not None
    tiles = {"p": 256, "k": 256, "c": 256}
    loops = [TileLoop(1, dim, size) for dim, size in tiles.items()] + [TileLoop(2, "k", 32), TileLoop(2, "c", 32)]
    time = program_time(SYSTOLIC, lowered(on, layer, LayerMapping(loops=tuple(loops))))
    assert time.exact
    assert time.instructions > 10**10 / 2
    assert time.evaluated < 10_000
    assert time.bound_cycles <= time.cycles <= 1.05 * time.bound_cycles


def test_a_loop_that_never_comes_back_is_said_to_be_an_estimate() -> None:
    # two stages that nothing joins: the faster one runs ahead for ever
    body = Block(steps=(an_instruction("fill", 3), an_instruction("array", 7)))
    program = Block(steps=(Repeat(count=20_000, body=body),))
    time = program_time(SYSTOLIC, program)
    assert not time.exact
    assert time.evaluated < time.instructions
    assert abs(time.cycles - (1 + 7 * 20_000)) <= 0.01 * 7 * 20_000


def test_what_a_memory_does_not_keep_is_loaded_in_each_pass() -> None:
    layer = product("three by four tiles", m=30, n=40, k=8)

    def loads(keeps: int | None) -> int:
        memory = dataclasses.replace(SYSTOLIC.memories["ifmap"], keeps=keeps)
        on = dataclasses.replace(SYSTOLIC, memories={**SYSTOLIC.memories, "ifmap": memory})
        goal = target(on, layer)
        assert goal is not None
        mapping = LayerMapping(loops=(TileLoop(1, "p", 10), TileLoop(1, "k", 10)))
        lines = [step.text for step in flat(lowered(goal, layer, mapping)) if isinstance(step, Instruction)]
        return sum(line.startswith("load input") for line in lines)

    assert (loads(None), loads(3), loads(2)) == (3, 3, 12)


def test_rows_of_a_dma_by_hand() -> None:
    layer = convolution("eight of 32 channels", 32, 8, (4, 4), (1, 1))
    tile = {**layer.extents, "c": 8, "p": 2}
    assert layer.rows("input", tile) == layer.rows("input", tile, merged=False) == (2 * 4, 8, 32)
    whole = {**layer.extents, "p": 2}
    assert layer.rows("input", whole) == (1, 2 * 4 * 32, 4 * 4 * 32)  # two rows of pixels lie one after the other
    assert layer.rows("input", whole, merged=False) == (2 * 4, 32, 32)
    column = {**layer.extents, "c": 8, "q": 1}  # one pixel of each row: the next is a row of four pixels further
    assert layer.rows("input", column) == layer.rows("input", column, merged=False) == (4, 8, 4 * 32)
    single = convolution("depthwise", 32, 32, (4, 4), (3, 3), groups=32)
    assert single.rows("input", {**single.extents, "g": 1}, merged=False) == (6 * 6, 1, 32)
    pooled = pool("pool", 32, (4, 4), (2, 2), 2)
    assert pooled.rows("output", pooled.extents, merged=False) == (2 * 2, 32, 32)


def test_a_unit_that_does_not_skip_brings_whole_windows() -> None:
    gemmini = read_description("gemmini")
    layer = convolution("strided", 64, 16, (12, 8), stride=2)  # six by four outputs of one tap
    skipping = dataclasses.replace(gemmini.units["load"], skips=True)
    brought = {}
    for on in (gemmini, dataclasses.replace(gemmini, units={**gemmini.units, "load": skipping})):
        goal = target(on, layer)
        assert goal is not None
        program = lowered(goal, layer, LayerMapping(loops=(TileLoop(1, "p", 1),)))
        loads = [step.text.split()[2] for step in flat(program) if str(getattr(step, "text", "")).startswith("load in")]
        brought[on.units["load"].skips] = loads[0]
    assert brought == {False: "1x2x8x1x64", True: "1x1x4x1x64"}  # of one row of outputs


def test_tiles_keep_their_places_until_a_unit_that_retires_them_has_stored_the_result() -> None:
    gemmini = read_description("gemmini")
    layer = convolution("strided", 64, 16, (12, 8), stride=2)
    cycles = {}
    for retires in (True, False):
        store = dataclasses.replace(gemmini.units["store"], retires=retires, setup_cycles=50)
        on = dataclasses.replace(gemmini, units={**gemmini.units, "store": store})
        goal = target(on, layer)
        assert goal is not None
        program = lowered(goal, layer, LayerMapping(loops=(TileLoop(1, "p", 1),)))
        stores = [step for step in flat(program) if isinstance(step, Instruction) and step.unit == "store"]
        operands = {"input", "weight", "output"} if retires else {"output"}
        assert all({ring.operand for ring in step.reads} == operands for step in stores)
        cycles[retires] = program_time(on, program).cycles
        assert cycles[retires] == simulate(on, program)
    assert cycles[True] > cycles[False]  # the third tile's loads wait for the first's store
