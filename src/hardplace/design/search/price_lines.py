"""Lines that no price of making a chip of a box is below, by what cores take of area and TDP (proof in
docs/model-search.md, "Limits together")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.design.search.ceilings import Shares
from hardplace.design.search.sections import Limits, Section
from hardplace.hardware.money import (
    BOARD_USD_PER_W,
    INTERPOSER_USD_PER_MM2,
    SUBSTRATE_USD_PER_MM2,
    cost,
    die_usd_line,
    dies_of,
)
from hardplace.hardware.technology import MEMORY_MM2_PER_STACK, technology
from hardplace.hardware.types import Chips
from hardplace.ndtypes import Floats

_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # between the least and the largest die of a box, where lines touch


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """A line below the price of every chip of a box, arrays over boxes.

    Attributes:
        fixed_usd: Beside both kinds of cores; negative, or where the boxes reach over a reticle -inf: of no use.
        usd_per_mm2: For area that cores take.
        usd_per_w: For TDP that cores take.
    """

    fixed_usd: Floats
    usd_per_mm2: Floats
    usd_per_w: float


def price_lines(
    limits: Limits, section: Section, least: Chips, most: Chips, shares: tuple[Shares, ...]
) -> list[PriceLine]:
    """Return lines for boxes by their lowest and highest chips, and what cores take of the area, and of the TDP."""
    tech, pricer = technology(section.pricer.node_nm), section.pricer
    plan, low_mm2 = pricer.plan(least), pricer.area_mm2(least)
    high_mm2 = np.maximum(np.minimum(pricer.area_mm2(most), limits.area_mm2), low_mm2)
    one = dies_of(high_mm2) == dies_of(low_mm2)
    nothing = np.zeros(len(least))
    made = cost(plan, tech, low_mm2, nothing)
    package = INTERPOSER_USD_PER_MM2 if pricer.memory_kind in MEMORY_MM2_PER_STACK else SUBSTRATE_USD_PER_MM2
    other_usd = made.memory_usd + made.board_usd + made.package_usd - package * low_mm2
    area, *powered = shares
    if powered:
        other_usd = other_usd + BOARD_USD_PER_W * powered[0].taken
    found = []
    for place in _PLACES:
        at_mm2 = low_mm2 + place * (high_mm2 - low_mm2)
        value, slope = die_usd_line(at_mm2, tech)
        fixed = value - slope * at_mm2 + other_usd + (slope + package) * area.taken
        found.append(
            PriceLine(
                fixed_usd=np.where(one, fixed, -np.inf),
                usd_per_mm2=slope + package,
                usd_per_w=BOARD_USD_PER_W if powered else 0.0,
            )
        )
    return found
