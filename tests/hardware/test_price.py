"""Area, power and cost models: published blocks and TDPs, anchors of constants, properties, PHAZE's preset."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.errors import BadInput
from hardplace.hardware import phaze as space
from hardplace.hardware.bill import bill
from hardplace.hardware.blocks import array_mm2, sram_mm2
from hardplace.hardware.blueprint import LEAST_VOLTS, of_chips, of_device
from hardplace.hardware.catalogue import device, device_names
from hardplace.hardware.chip_pricer import ChipPricer, Preset
from hardplace.hardware.device import OnDie
from hardplace.hardware.money import cost, dies_per_wafer, good_share
from hardplace.hardware.remainder import DIE_SPREAD, FITTED, TDP_SPREAD
from hardplace.hardware.settings import setting
from hardplace.hardware.sheet import find, sheet
from hardplace.hardware.space import AXES
from hardplace.hardware.technology import NODES, mac_pj, sram_pj_per_byte, technology

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
import chip_validation  # noqa: E402  (commands, not a package)
import fit_chips  # noqa: E402
import published_chips  # noqa: E402


def test_blocks_of_published_chips_within_25_percent() -> None:
    rows = list(chip_validation.blocks())
    assert {row["chip"] for row, _ in rows} == {"TPU v1", "TPU v4i", "Gemmini"}
    for row, model in rows:
        assert model == pytest.approx(row["mm2"], rel=0.25), row["name"]


@pytest.mark.parametrize(("name", "watts"), [("tpu-v4", 192), ("a100-80gb-sxm", 400), ("h100-sxm", 700)])
def test_tdp_within_30_percent(name: str, watts: float) -> None:
    one = device(name)
    assert float(bill(of_device(one), technology(one.node_nm)).tdp_w[0]) == pytest.approx(watts, rel=0.30)


def test_the_tables_of_the_document_are_what_the_command_prints() -> None:
    text = (ROOT / "docs/validation.md").read_text()
    every = published_chips.published_chips()
    for table in (
        chip_validation.block_table(),
        chip_validation.die_table(every),
        chip_validation.tdp_table(every),
        chip_validation.cap_table(every),
        chip_validation.voltage_table(),
    ):
        assert table in text


def test_the_constants_are_the_fit_on_published_chips_and_what_is_left_out_is_predicted_without_it() -> None:
    every = published_chips.published_chips()
    assert len(every) >= 45
    fitted = fit_chips.constants(every)
    for name in (*fit_chips.ARRAY, *fit_chips.GPU, *fit_chips.POWER):
        assert getattr(fitted, name) == pytest.approx(getattr(FITTED, name), rel=0.01), name
    rows = fit_chips.left_out(every, FITTED)
    for kind in ("die_mm2", "tdp_w"):
        stored = chip_validation.predictions(kind)
        here = {str(row["name"]): float(str(row["predicted"])) for row in rows if row["kind"] == kind}
        assert here == pytest.approx(stored, rel=0.01)
    for (kind, family), (low, high) in fit_chips.spreads(rows).items():
        spread = (DIE_SPREAD if kind == "die_mm2" else TDP_SPREAD)[family]
        assert (spread.low, spread.high) == pytest.approx((low, high), abs=0.01)


def test_whole_dies_are_within_25_percent_without_having_been_seen_and_uncapped_gpus_within_40() -> None:
    dies, tdps = chip_validation.predictions("die_mm2"), chip_validation.predictions("tdp_w")
    offs, gpu_offs = [], []
    for chip in published_chips.published_chips():
        if chip.device.name in dies and chip.die_mm2 is not None:
            offs.append(abs(dies[chip.device.name] / chip.die_mm2 - 1))
        if chip.gpu and chip.device.name in tdps and chip.tdp_w is not None:
            gpu_offs.append(abs(tdps[chip.device.name] / chip.tdp_w - 1))
    assert max(offs) < 0.25
    assert np.mean(offs) < 0.10
    assert np.mean(gpu_offs) < 0.13
    assert max(gpu_offs) < 0.40


def test_a_capped_product_has_a_sibling_of_its_die_with_more_power_a_unit_and_clock() -> None:
    every = {chip.device.name: chip for chip in published_chips.published_chips()}
    for low, high in (("t4", "rtx-2080-super"), ("a100-40gb-pcie", "a100-40gb-sxm"), ("h100-pcie", "h100-sxm")):
        assert every[low].capped, low
        assert not every[high].capped, high
        assert 0.25 < chip_validation.sustained(every[low]) < 0.9


def test_the_voltage_is_the_least_squares_line_of_the_published_curves_and_their_floor() -> None:
    rows = chip_validation.voltages()
    assert {row[1] for row in rows} == {"14", "7"}
    clock, volts = (np.array([row[column] for row in rows]) - 1.0 for column in (2, 3))
    assert float(clock @ volts / (clock @ clock)) == pytest.approx(0.5, abs=0.03)
    assert volts.min() + 1.0 >= LEAST_VOLTS
    assert max(abs(row[4] / row[3] - 1) for row in rows) < 0.12


def test_power_rises_with_the_clock_and_area_and_power_with_memory_and_links() -> None:
    tpu = space.tpuv4()
    clocks_hz = np.linspace(0.5e9, 2e9, 16)
    columns = {axis: np.repeat(getattr(tpu, axis), 16) for axis in (*AXES[:6], "area_mm2")}
    found, _, _ = ChipPricer(setting=setting("hbm3"), node_nm=5.0).bill(space.Chips(**columns, clock_hz=clocks_hz))
    assert np.all(np.diff(found.tdp_w) > 0)
    assert np.all(np.diff(found.die_mm2) == 0)
    small, large = (
        ChipPricer(
            setting=replace(setting("hbm3"), memory_bandwidth_bytes_per_s=670e9 * stacks), node_nm=5.0, stacks=stacks
        ).bill(tpu)[0]
        for stacks in (2, 4)
    )
    assert large.die_mm2[0] > small.die_mm2[0]
    assert large.tdp_w[0] > small.tdp_w[0]


def test_disabled_units_are_on_the_die_and_draw_nothing() -> None:
    one = device("h100-sxm")
    every = replace(one, on_die=OnDie())
    tech = technology(one.node_nm)
    made, used = (bill(of_device(which), tech) for which in (one, every))
    assert made.area_mm2["disabled units"][0] > 40
    assert used.area_mm2["disabled units"][0] == 0
    assert made.power_w["matrix engines"] == used.power_w["matrix engines"]


def test_energies_are_the_published_ones_at_their_nodes() -> None:
    old, new = technology(45), technology(7)
    assert mac_pj("fp32", old) == pytest.approx(3.7 + 0.9)
    assert mac_pj("fp32", new) == pytest.approx(1.31 + 0.38)
    assert mac_pj("bf16", new) == pytest.approx(0.21 + 0.38)
    assert mac_pj("int8", old) == pytest.approx(0.2 + 0.1)
    sizes = np.array([8, 32, 1024]) * 1024.0
    np.testing.assert_allclose(sram_pj_per_byte(sizes, old) * 8, [10, 20, 100])
    np.testing.assert_allclose(sram_pj_per_byte(sizes, new) * 8, [7.5, 8.5, 14])


def test_newer_nodes_take_less_area_and_energy_and_dearer_wafers() -> None:
    order = [node for node in sorted(NODES, reverse=True) if node != 12]  # 12 has 14's age and 16's cells
    for older, newer in itertools.pairwise(order):
        a, b = technology(older), technology(newer)
        assert b.logic_scale <= a.logic_scale
        assert b.bitcell_um2 <= a.bitcell_um2
        assert mac_pj("bf16", b) <= mac_pj("bf16", a)
        assert b.wafer_usd >= a.wafer_usd


def test_wider_types_take_more() -> None:
    tech = technology(7)
    areas = [float(array_mm2(128, 128, dtype, tech)) for dtype in ("int8", "fp8", "bf16", "fp16", "fp32")]
    assert areas == sorted(areas)
    energies = [mac_pj(dtype, tech) for dtype in ("int8", "fp8", "bf16", "fp16", "fp32")]
    assert energies == sorted(energies)


@given(
    st.sampled_from(NODES),
    st.integers(1, 64),
    st.sampled_from([4, 16, 64, 128, 256]),
    st.integers(1, 64),
    st.sampled_from([2, 16, 128]),
)
def test_more_of_anything_takes_more_area_and_power(node: float, cores: int, side: int, vectors: int, mib: int) -> None:
    row = np.array([cores, side, side, vectors, side, mib * 2**20])
    more = np.stack([row] + [row * np.where(np.arange(6) == column, 2, 1) for column in range(6) if column != 5])
    chips = space.Chips(
        tensor_cores=more[:, 0], array_rows=more[:, 1], array_columns=more[:, 2], vector_cores=more[:, 3],
        vector_lanes=more[:, 4], buffer_bytes=more[:, 5], area_mm2=np.zeros(len(more)),
    )  # fmt: skip
    pricer = ChipPricer(setting=setting("hbm3"), node_nm=node)
    found, _, _ = pricer.bill(chips)
    assert np.all(found.die_mm2[1:] > found.die_mm2[0])
    assert np.all(found.tdp_w > 0)
    assert found.tdp_w[1] > found.tdp_w[0]
    np.testing.assert_allclose(pricer.area_mm2(chips.take(np.array([3]))), found.die_mm2[3])


def test_parts_add_up_and_a_die_is_more_than_its_arithmetic() -> None:
    for name in device_names():
        one = device(name)
        found = bill(of_device(one), technology(one.node_nm))
        assert float(found.die_mm2[0]) == pytest.approx(sum(float(part[0]) for part in found.area_mm2.values()))
        assert all(float(part[0]) >= 0 for part in (*found.area_mm2.values(), *found.power_w.values()))
        assert float(found.area_mm2["matrix engines"][0]) < 0.7 * float(found.die_mm2[0])


def test_phaze_s_preset_is_its_linear_area_to_the_last_digit() -> None:
    points = space.phaze_points()
    pricer = ChipPricer(setting=setting("phaze"), preset=Preset.PHAZE)
    assert np.array_equal(pricer.area_mm2(points), points.area_mm2)


def test_one_call_prices_the_space_as_one_chip_at_a_time_does() -> None:
    points = space.phaze_points()
    pricer = ChipPricer(setting=setting("hbm3"))
    found, made, _ = pricer.bill(points)
    for index in (0, 4_711, 75_711):
        one, its, _ = pricer.bill(points.take(np.array([index])))
        assert one.die_mm2[0] == found.die_mm2[index]
        assert its.usd[0] == made.usd[index]


@pytest.mark.parametrize("row", [(8, 128, 128, 2, 128, 128), (4096, 4, 4, 256, 4, 2), (1, 8, 8, 64, 256, 8)])
def test_the_sheet_of_a_chip_of_the_space_is_what_the_search_prices(row: tuple[int, ...]) -> None:
    *sizes, mib = (np.array([one]) for one in row)
    chips = space.Chips(
        **dict(zip(AXES, (*sizes, mib * 2**20), strict=False)), area_mm2=np.zeros(1)
    )  # fmt: skip
    found, _, _ = ChipPricer(setting=setting("hbm3")).bill(chips)
    shown = sheet(find(space.name(chips, 0)))
    assert shown.model_die_mm2 == pytest.approx(float(found.die_mm2[0]), rel=1e-9)
    assert shown.model_tdp_w == pytest.approx(float(found.tdp_w[0]), rel=1e-9)


def test_yield_lies_between_poisson_and_one_and_near_murphy() -> None:
    tech = technology(7)
    area = np.array([10.0, 100.0, 400.0, 800.0])
    poisson = np.exp(-area / 100 * tech.defects_per_cm2)
    assert np.all((good_share(area, tech) > poisson) & (good_share(area, tech) < 1))
    defects = area / 100 * tech.defects_per_cm2
    murphy = ((1 - np.exp(-defects)) / defects) ** 2
    np.testing.assert_allclose(good_share(area, tech), murphy, rtol=0.04)
    assert dies_per_wafer(np.array([100.0]))[0] == 613  # pi 147^2 / 100 - pi 294 / sqrt(200)


def test_larger_dies_cost_more_than_in_proportion_and_beyond_the_reticle_they_are_several() -> None:
    one = of_device(device("h100-sxm"))
    tech = technology(4)
    watts = np.array([700.0])
    small, large = (cost(one, tech, np.array([area]), watts) for area in (400.0, 800.0))
    assert large.die_usd[0] > 2 * small.die_usd[0]
    assert cost(one, tech, np.array([1700.0]), watts).dies[0] == 2
    assert 500 < large.die_usd[0] < 1000
    assert 20 < large.embodied_kg[0] < 100 < large.use_kg[0]


def test_carbon_of_a_wafer_is_act_s() -> None:
    # ACT, 7 nm, Taiwan, 97 % abatement: 583 x 2.15 + 275 + 500 = 2028.45 g/cm2 before yield.
    plan, tech = of_device(device("a100-80gb-sxm")), technology(7)
    found = cost(plan, tech, np.array([100.0]), np.array([0.0]))
    memory_g, packages_g = 80 * 1.073741824 * 65, 150 * 6  # of 80 GiB
    assert found.embodied_kg[0] * 1000 == pytest.approx(2028.45 / found.good_share[0] + memory_g + packages_g)


def test_bad_input_is_one_line() -> None:
    with pytest.raises(
        BadInput, match=r"technology node 6 nm: expected one of 45, 28, 22, 16, 14, 12, 10, 8, 7, 5, 4, 3 nm"
    ):
        technology(6)
    with pytest.raises(BadInput, match="operand type 'fp12'"):
        of_chips(space.tpuv4(), setting("hbm3"), clock_hz=1e9, memory_kind="HBM3", dtype="fp12")


def test_sram_overhead_grows_with_size_but_never_below_its_cells() -> None:
    tech = technology(7)
    sizes = 2.0 ** np.arange(10, 30)
    per_bit = sram_mm2(sizes, tech) * 1e6 / 8 / sizes
    assert np.all(np.diff(per_bit) >= -1e-12)
    assert np.all(per_bit > 2 * tech.bitcell_um2)
