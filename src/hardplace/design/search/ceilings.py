"""What the limits on chips leave of arrays and lanes together (proof in docs/model-search.md, "Limits together").

Area and TDP are affine in the number of cores of either kind, where the sides, lanes, buffer, clock and the length of
wires are given. With the least of each in a box, what a limit leaves after all else bounds the cores of one kind, and
a sum over both kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hardplace.design.search.sections import SLACK, Limits, Section
from hardplace.hardware.bill import Activity, areas, control_w_per_mm2, powers
from hardplace.hardware.blueprint import stacks_of
from hardplace.hardware.space import AXES, ChipSpace
from hardplace.hardware.technology import technology
from hardplace.hardware.throttle import BESIDE, cycle_j
from hardplace.hardware.types import Chips
from hardplace.ndtypes import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The share of one limit that is left for cores in each box, and what they take at least, arrays over boxes.

    Attributes:
        taken: Beside both kinds of cores at least, mm2 or W.
        left: Of the limit, beside both kinds of cores, mm2 or W.
        per_array_rate: Of the limit, for one cycle a second of one array as built.
        per_reached_rate: Of the limit, for one cycle a second that products reach.
        per_lane_rate: Of the limit, for one cycle a second of one lane.
        tensor_cores: Most tensor cores beside the fewest vector cores.
        vector_cores: Most vector cores beside the fewest tensor cores.
    """

    taken: Floats
    left: Floats
    per_array_rate: Floats
    per_reached_rate: Floats
    per_lane_rate: Floats
    tensor_cores: Floats
    vector_cores: Floats

    def take(self, boxes: Ints) -> Shares:
        """Return the shares of the boxes at these positions."""
        return Shares(**{name: getattr(self, name)[boxes] for name in self.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The most cores of either kind that the limits leave in each box, shape (boxes,).

    Attributes:
        tensor_cores: Most tensor cores.
        vector_cores: Most vector cores.
        shares: Of each limit, for both kinds together: of the area, then of the TDP where it has a limit, as it is
            rated and, where it holds the arrays' rate, as what runs while products do.
        tdp_w: Limit on the TDP that the arrays' rate is held to; None: none.
    """

    tensor_cores: Floats
    vector_cores: Floats
    shares: tuple[Shares, ...]
    tdp_w: Floats | None = None


def ceilings(limits: Limits, section: Section, low: Ints, high: Ints) -> Ceilings:
    """Return what the limits leave in boxes by the places of their lowest and highest chips, shape (axes, boxes)."""
    space = limits.space
    least, most = space.at(low), space.at(high)
    lanes = _lanes(space, low, high)
    tdp_w = limits.tdp_w
    found = [_area(section, limits.area_mm2, least, most, lanes)]
    if tdp_w is not None:
        found.append(_power(section, tdp_w, least, most, lanes))
        if _alike(section):
            found.append(_power(section, tdp_w, least, most, lanes, products=True))
    tensor, vector = (np.asarray(one, dtype=np.float64) for one in (most.tensor_cores, most.vector_cores))
    for share in found:
        tensor, vector = np.minimum(tensor, share.tensor_cores), np.minimum(vector, share.vector_cores)
    # A box whose lowest chip is beyond a limit is left out elsewhere.
    return Ceilings(
        tensor_cores=_listed(space.values[0], np.maximum(tensor, least.tensor_cores)),
        vector_cores=_listed(space.values[3], np.maximum(vector, least.vector_cores)),
        shares=tuple(found),
        tdp_w=tdp_w if _alike(section) else None,
    )


def _alike(section: Section) -> bool:
    """Return whether TDP is that by which the rate of arrays is held."""
    power, pricer = section.setting.kernels.power, section.pricer
    if power is None or power.memory_kind != pricer.memory_kind:
        return False
    usual = stacks_of(power.memory_kind, section.setting.memory_bandwidth_bytes_per_s)
    return pricer.stacks is None or pricer.stacks == float(usual)


def _listed(values: Floats, most: Floats) -> Floats:
    """Return the largest value of an axis that is at most this, where there is one."""
    return np.asarray(values[np.searchsorted(values, most * (1.0 + SLACK), side="right") - 1])


def _lanes(space: ChipSpace, low: Ints, high: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (box, lanes) of every number of lanes in each box, and where each box begins."""
    axis = AXES.index("vector_lanes" if space.vector_lanes else "array_columns")
    counts = high[axis] - low[axis] + 1
    starts = np.cumsum(counts) - counts
    box = np.repeat(np.arange(len(counts)), counts)
    place = low[axis][box] + np.arange(len(box)) - starts[box]
    return box, space.values[axis][place].astype(np.int64), starts


def _with(chips: Chips, tensor_cores: int, vector_cores: int) -> Chips:
    """Return chips with so many cores."""
    ones = np.ones(len(chips), dtype=np.int64)
    return replace(chips, tensor_cores=ones * tensor_cores, vector_cores=ones * vector_cores)


def _wide(chips: Chips, lanes: tuple[Ints, Ints, Ints]) -> Chips:
    """Return chips of one vector core and no array with each number of lanes of their box."""
    return replace(_with(chips, 0, 1).take(lanes[0]), vector_lanes=lanes[1])


def _area(section: Section, limit_mm2: Floats, least: Chips, most: Chips, lanes: tuple[Ints, Ints, Ints]) -> Shares:
    """Return what a limit on area leaves."""
    taken = section.pricer.area_mm2
    none = taken(_with(least, 0, 0))
    array = taken(_with(least, 1, 0)) - none
    vectors = taken(_wide(least, lanes)) - none[lanes[0]]
    clock_hz = most.clocks_hz(section.setting)
    return _shares(
        limit_mm2,
        none,
        least,
        (array, vectors),
        (array / clock_hz, vectors / clock_hz[lanes[0]]),
        lanes,
    )


def _power(
    section: Section,
    limit_w: Floats,
    least: Chips,
    most: Chips,
    lanes: tuple[Ints, Ints, Ints],
    *,
    products: bool = False,
) -> Shares:
    """Return what a limit on TDP leaves: all at the voltage of the lowest clock and with the wires of the least die.

    Rated, or what is drawn while products run: their energy, and all else beside them.

    Leakage, clock and control go with the area. A cycle of an array takes energy, which rises with the voltage, and
    leaks for its time, which at V / f falls with the clock.
    """
    tech, plan_of = technology(section.pricer.node_nm), section.pricer.plan
    low, high = plan_of(least), plan_of(most)
    die_mm2 = _sum(areas(low, tech))
    low_hz, high_hz = least.clocks_hz(section.setting), most.clocks_hz(section.setting)
    leakage, control = tech.leakage_w_per_mm2, control_w_per_mm2(low, tech)
    per_mm2 = leakage * low.volts + control  # W
    rate_per_mm2 = leakage * high.volts / high_hz + control / low_hz  # J a cycle

    def taken(chips: Chips, die_mm2: Floats) -> tuple[Floats, Floats]:
        """Return power beside what goes with the area, and area."""
        plan = plan_of(chips)
        drawn = powers(plan, tech, die_mm2, BESIDE if products else Activity())
        with_area = drawn["leakage"] + control_w_per_mm2(plan, tech) * die_mm2
        return _sum(drawn) - with_area, _sum(areas(plan, tech))

    none_w, none_mm2 = taken(_with(least, 0, 0), die_mm2)
    array_w, array_mm2 = taken(_with(least, 1, 0), die_mm2)
    vectors_w, vectors_mm2 = taken(_wide(least, lanes), die_mm2[lanes[0]])
    array_w, array_mm2 = array_w - none_w, array_mm2 - none_mm2
    vectors_w, vectors_mm2 = vectors_w - none_w[lanes[0]], vectors_mm2 - none_mm2[lanes[0]]
    return _shares(
        limit_w,
        none_w + per_mm2 * none_mm2,
        least,
        (array_w + per_mm2 * array_mm2, vectors_w + per_mm2[lanes[0]] * vectors_mm2),
        (
            array_w / low_hz + rate_per_mm2 * array_mm2,
            vectors_w / low_hz[lanes[0]] + rate_per_mm2[lanes[0]] * vectors_mm2,
        ),
        lanes,
        cycle_j(low, high, tech) / section.setting.kernels.matrix_share if products else 0.0,
    )


def _shares(
    limit: Floats,
    taken: Floats,
    least: Chips,
    core: tuple[Floats, Floats],
    rate: tuple[Floats, Floats],
    lanes: tuple[Ints, Ints, Ints],
    per_reached_rate: Floats | float = 0.0,
) -> Shares:
    """Return shares from what one array, and one vector core of each number of lanes, takes: as a core, at a rate."""
    _, numbers, starts = lanes
    left = limit - taken
    vector = np.minimum.reduceat(core[1], starts)
    return Shares(
        taken=taken,
        left=left,
        per_array_rate=rate[0],
        per_reached_rate=np.broadcast_to(per_reached_rate, left.shape),
        per_lane_rate=np.minimum.reduceat(rate[1] / numbers, starts),
        tensor_cores=(left - least.vector_cores * vector) / core[0],
        vector_cores=(left - least.tensor_cores * core[0]) / vector,
    )


def _sum(parts: Mapping[str, Floats]) -> Floats:
    return np.asarray(sum(parts.values()))
