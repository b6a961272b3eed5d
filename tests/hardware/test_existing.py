"""Chips that exist as chips of the model: the same multiply-accumulates, memory and links, published area and TDP."""

import pytest

from hardplace.hardware.catalogue import device
from hardplace.hardware.device import Arrays, Multiprocessors
from hardplace.hardware.existing import EXISTING, arrays_of, costs_of, existing, setting_of, space_of
from hardplace.hardware.settings import setting


def test_a_gpu_has_as_many_multiply_accumulates_in_arrays_that_hold_about_what_its_multiprocessors_hold() -> None:
    for one in existing():
        count, rows, columns = arrays_of(one)
        if isinstance(one.engine, Arrays):
            assert (count, rows, columns) == (one.engine.count, one.engine.rows, one.engine.columns)
            continue
        assert isinstance(one.engine, Multiprocessors)
        assert 2 * count * rows * columns * one.clock_hz == pytest.approx(one.peak_flops_per_s("bf16"))
        held = one.engine.register_bytes + one.engine.shared_memory_bytes
        assert 0.75 < 16 * rows * columns / held < 1.35
        assert rows <= columns <= 2 * rows
    assert arrays_of(device("h100-sxm")) == (8, 176, 192)


def test_the_chip_has_the_device_s_memory_links_clock_and_buffer() -> None:
    h100 = device("h100-sxm")
    chip = space_of(h100)
    assert chip.chips == 1
    assert chip.memories[0].bandwidth_bytes_per_s == h100.memory_bandwidth_bytes_per_s
    assert chip.memories[0].bytes == h100.memory_bytes
    assert chip.links_bytes_per_s == (h100.link_bandwidth_bytes_per_s,)
    own = setting_of(h100, setting("hbm3"))
    assert own.buffer_bandwidth_bytes_per_s * h100.clock_hz / own.clock_hz == pytest.approx(5.5e12)
    assert setting_of(device("b200-sxm"), own) == own, "not published: the setting's"


def test_published_area_and_tdp_are_taken_and_the_model_s_where_there_are_none() -> None:
    for name in EXISTING:
        one, costs = device(name), costs_of(device(name))
        assert ("area" in costs.published) == (one.die_area_mm2 is not None)
        assert costs.area_mm2 == one.die_area_mm2 or "area" not in costs.published
        assert costs.tdp_w == one.tdp_w or "TDP" not in costs.published
        assert 200 < costs.usd < 10_000
