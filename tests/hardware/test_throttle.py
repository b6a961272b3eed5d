"""What power leaves of the arrays' rate: against GPUs' training steps, and bounds of boxes against their chips."""

from dataclasses import replace

import numpy as np
import pytest

from hardplace.hardware.blueprint import of_device
from hardplace.hardware.catalogue import device
from hardplace.hardware.chip_pricer import ChipPricer
from hardplace.hardware.existing import setting_of
from hardplace.hardware.settings import HBM3, REACHED, as_reached
from hardplace.hardware.space import Box, corners
from hardplace.hardware.space_files import space
from hardplace.hardware.technology import technology
from hardplace.hardware.throttle import matrix_share, most_array_cycles_per_s, product_power
from hardplace.hardware.types import PowerLimit

SPACE = space("reticle")
POWER = PowerLimit(node_nm=5.0, dtype="bf16", memory_kind="HBM3", clock_hz=HBM3.clock_hz)
REAL = as_reached(HBM3, POWER)
# Share of the tensor peak in the products of a step, by the models fitted on kernels and published runs
# (benchmarks/power_limit.py).
PRODUCTS = {"a100-80gb-sxm": 0.678, "h100-sxm": 0.634, "b200-sxm": 0.441, "gb200": 0.466, "gb300": 0.637}


def test_one_share_of_what_power_leaves_is_what_products_reach_on_gpus_of_0_8_to_2_3_tflops_a_watt() -> None:
    for name, reached in PRODUCTS.items():
        chip = device(name)
        left = product_power(of_device(chip), technology(chip.node_nm), chip.tdp_w).share[0]
        assert REACHED.matrix_share * left == pytest.approx(reached, rel=0.10), name
    assert max(PRODUCTS.values()) / min(PRODUCTS.values()) > 1.5, "one share of the peak would be far off"


def test_a_gpu_is_held_to_its_published_tdp_and_a_chip_with_arrays_is_not() -> None:
    shares = {name: setting_of(device(name), REAL).kernels.matrix_share for name in ("h100-sxm", "b200-sxm", "tpu-v4")}
    assert shares["tpu-v4"] == REACHED.matrix_share
    assert shares["b200-sxm"] < 0.65 * shares["h100-sxm"]
    assert setting_of(device("h100-sxm"), HBM3).kernels.matrix_share == 1.0, "ideal"


def test_no_chip_of_a_box_has_more_array_cycles_a_second_than_its_bound() -> None:
    draws, near, held = np.random.default_rng(5), 0, 0
    for turn in range(60):
        sides = [sorted(int(place) for place in draws.choice(len(one) + 1, 2, replace=False)) for one in SPACE.values]
        if turn % 2:
            sides = [[low, low + 1] if axis not in (0, 6) else [low, high] for axis, (low, high) in enumerate(sides)]
        box = Box(low=tuple(low for low, _ in sides), high=tuple(high for _, high in sides))
        chips = SPACE.at(box.places())
        if len(chips) > 20_000:
            chips = chips.take(draws.choice(len(chips), 20_000, replace=False))
        low, high = (SPACE.at(one) for one in corners([box]))
        built = high.tensor_cores * high.clocks_hz(HBM3)
        reached = chips.tensor_cores * chips.clocks_hz(HBM3) * matrix_share(chips, REAL)
        assert reached.max() <= most_array_cycles_per_s(low, high, built, REAL, None)[0] * (1 + 1e-12)
        tdp_w = ChipPricer(setting=REAL, node_nm=5.0).bill(chips)[0].tdp_w
        limit_w = float(np.quantile(tdp_w, 0.3))
        most = most_array_cycles_per_s(low, high, built, REAL, limit_w)[0]
        assert reached[tdp_w <= limit_w].max() <= most * (1 + 1e-12)
        near += bool(reached[tdp_w <= limit_w].max() > 0.9 * most)
        held += bool(matrix_share(chips, REAL).min() < 0.999 * REACHED.matrix_share)
    assert near > 5, "the bound is near what some chip reaches"
    assert held > 30, "power holds some chips"


def test_of_one_chip_the_bound_is_what_it_reaches() -> None:
    chips = SPACE.at(np.array([[3, 20, 27], [3, 0, 2], [1, 3, 2], [1, 4, 0], [0, 3, 2], [0, 4, 1], [0, 3, 5]]))
    built = chips.tensor_cores * chips.clocks_hz(HBM3)
    most = most_array_cycles_per_s(chips, chips, built, REAL, None)
    assert most == pytest.approx(built * matrix_share(chips, REAL), rel=1e-12)
    assert matrix_share(chips, replace(REAL, kernels=replace(REAL.kernels, power=None))) == pytest.approx(0.733)
