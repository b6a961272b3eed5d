"""What limits leave of arrays and lanes in a box, against every chip of the box, priced one by one."""

from dataclasses import replace

import numpy as np
import pytest

from hardplace.design.search.ceilings import ceilings
from hardplace.design.search.price_lines import price_lines
from hardplace.design.search.sections import Limits, sections
from hardplace.hardware.settings import as_reached, setting
from hardplace.hardware.space import Box, corners
from hardplace.hardware.space_files import space
from hardplace.hardware.throttle import matrix_share
from hardplace.hardware.types import Budget, PowerLimit

HBM3 = setting("hbm3")
# At 0.55 and 0.7 GHz the voltage is its floor, at 0.9 GHz it is above.
CLOCKS_HZ = (0.55e9, 0.7e9, 0.9e9, 1.4e9, 1.8e9)
SPACE = replace(
    space("reticle"), tensor_cores=tuple(range(1, 21)), array_columns=(64, 256), vector_cores=(8, 32, 128),
    vector_lanes=(64, 512), buffer_bytes=(8 << 20, 64 << 20), clock_hz=CLOCKS_HZ,
)  # fmt: skip


CORES = (0, 3)  # the axes of both numbers of cores


def drawn(draws: np.random.Generator, narrow: bool) -> Box:
    """Return a box of the space, each side of one place or more; narrow: only numbers of cores differ in it."""
    sides = [sorted(int(place) for place in draws.choice(len(one) + 1, 2, replace=False)) for one in SPACE.values]
    if narrow:
        sides = [[0, len(SPACE.values[axis])] if axis in CORES else [low, low + 1]
                 for axis, (low, _) in enumerate(sides)]  # fmt: skip
    return Box(low=tuple(low for low, _ in sides), high=tuple(high for _, high in sides))


@pytest.mark.parametrize("budget", [Budget(area_mm2=858.0, tdp_w=700.0), Budget(area_mm2=500.0, tdp_w=250.0)])
def test_no_chip_of_a_box_takes_more_than_the_limits_leave(budget: Budget) -> None:
    limits = Limits(space=SPACE, budget=budget, billed=True)
    section = sections(SPACE, HBM3, (), budget, apart=True)[5]
    draws, feasible, close = np.random.default_rng(3), 0, 0
    for box in (SPACE.whole, *(drawn(draws, narrow) for narrow in (False, True) for _ in range(30))):
        low, high = corners([box])
        chips = SPACE.at(box.places())
        costs, _, _ = limits.costs(section, chips)
        chips = chips.take(np.flatnonzero(limits.within(costs)))
        if not len(chips):
            continue
        feasible += 1
        top = ceilings(limits, section, low, high)
        assert chips.tensor_cores.max() <= top.tensor_cores[0]
        assert chips.vector_cores.max() <= top.vector_cores[0]
        clock_hz = chips.clocks_hz(HBM3)
        for share in top.shares:
            taken = chips.tensor_cores * clock_hz * share.per_array_rate[0]
            taken = taken + chips.vector_cores * chips.vector_lanes * clock_hz * share.per_lane_rate[0]
            assert taken.max() <= share.left[0] * (1 + 1e-12)
            close += bool(taken.max() > 0.9 * share.left[0])
    assert feasible > 15
    assert close > 5, "the bound is near what some chip takes"


@pytest.mark.parametrize("tdp_w", [None, 500.0])
def test_no_chip_of_a_box_is_cheaper_than_the_lines_of_what_its_cores_take(tdp_w: float | None) -> None:
    budget = Budget(area_mm2=600.0, tdp_w=tdp_w)
    limits = Limits(space=SPACE, budget=budget, billed=True)
    section = sections(SPACE, HBM3, (), budget, apart=True)[5]
    draws, near, useful = np.random.default_rng(4), 0, 0
    for box in (SPACE.whole, *(drawn(draws, narrow) for narrow in (False, True) for _ in range(30))):
        low, high = corners([box])
        chips = SPACE.at(box.places())
        costs, _, _ = limits.costs(section, chips)
        inside = np.flatnonzero(limits.within(costs))
        if not len(inside):
            continue
        chips, usd = chips.take(inside), costs.usd[inside]
        hz = chips.clocks_hz(HBM3)
        shares = ceilings(limits, section, low, high).shares
        arrays, lanes = chips.tensor_cores * hz, chips.vector_cores * chips.vector_lanes * hz
        taken = [arrays * share.per_array_rate[0] + lanes * share.per_lane_rate[0] for share in shares]
        for line in price_lines(limits, section, SPACE.at(low), SPACE.at(high), shares):
            least = line.fixed_usd[0] + taken[0] * line.usd_per_mm2[0]
            least = least + (taken[1] * line.usd_per_w if tdp_w is not None else 0.0)
            assert (usd >= least * (1 - 1e-12)).all()
            useful += bool(line.fixed_usd[0] > 0.0)
            near += bool((usd < 1.1 * least).any())
    assert useful > 50
    assert near > 50, "lines are near what some chip costs"


def test_what_runs_while_products_do_is_within_the_tdp_of_every_chip_of_a_box() -> None:
    power = PowerLimit(node_nm=SPACE.node_nm, dtype=SPACE.dtype, memory_kind="HBM3", clock_hz=HBM3.clock_hz)
    budget = Budget(area_mm2=858.0, tdp_w=700.0)
    limits = Limits(space=SPACE, budget=budget, billed=True)
    section = sections(SPACE, as_reached(HBM3, power), (), budget, apart=True)[5]
    draws, close = np.random.default_rng(5), 0
    for box in (SPACE.whole, *(drawn(draws, narrow) for narrow in (False, True) for _ in range(30))):
        low, high = corners([box])
        chips = SPACE.at(box.places())
        costs, _, _ = limits.costs(section, chips)
        inside = np.flatnonzero(limits.within(costs))
        if not len(inside):
            continue
        chips, tdp_w = chips.take(inside), costs.tdp_w[inside]
        share = ceilings(limits, section, low, high).shares[2]
        hz = chips.clocks_hz(HBM3)
        reached = matrix_share(chips, section.setting) * chips.tensor_cores * hz
        drawn_w = share.taken[0] + reached * share.per_reached_rate[0]
        drawn_w = drawn_w + chips.tensor_cores * hz * share.per_array_rate[0]
        drawn_w = drawn_w + chips.vector_cores * chips.vector_lanes * hz * share.per_lane_rate[0]
        assert (drawn_w <= tdp_w * (1 + 1e-12)).all()
        close += bool((drawn_w > 0.9 * tdp_w).any())
    assert close > 20, "the bound is near what some chip draws"


@pytest.mark.parametrize("clock", range(len(CLOCKS_HZ)))
def test_of_one_chip_the_limits_leave_exactly_what_it_does_not_take(clock: int) -> None:
    """Affine in the cores: with sides, lanes, buffer, clock and die given, both limits are met to the last digit."""
    place = (3, 1, 0, 1, 0, 1, clock)
    low = np.array(place)[:, None]
    chip = SPACE.at(low)
    loose = Limits(space=SPACE, budget=Budget(area_mm2=1e4, tdp_w=1e5), billed=True)
    section = sections(SPACE, HBM3, (), loose.budget, apart=True)[0]
    costs, _, _ = loose.costs(section, chip)
    exact = Budget(area_mm2=float(costs.area_mm2[0]), tdp_w=float(costs.tdp_w[0]))
    shares = ceilings(replace(loose, budget=exact), section, low, low).shares
    rate = float(chip.clocks_hz(HBM3)[0])
    for share in shares:
        taken = chip.tensor_cores[0] * rate * share.per_array_rate[0]
        taken += chip.vector_cores[0] * chip.vector_lanes[0] * rate * share.per_lane_rate[0]
        assert taken == pytest.approx(share.left[0], rel=1e-7)
