"""What a chip costs to make and in carbon, vectorised over chips (docs/model-chips.md): not the price of sale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.hardware.blueprint import Blueprint
from hardplace.hardware.technology import MEMORY_MM2_PER_STACK, Technology
from hardplace.ndtypes import Floats
from hardplace.units import GB

WAFER_MM = 294.0  # 300 mm less 3 mm of edge all around
RETICLE_MM2 = 858.0  # 26 x 33 mm: a larger chip is several dies of equal size
CLUSTERING = 3.0  # of defects, for the negative binomial (Cunningham 1990; A)
# USD a GB, contract prices of 2023-24: HBM3e 8-18 in the press (siliconanalysts.com, asiatechfeed.com,
# stacklynlabs.com); the others judged from it (C).
MEMORY_USD_PER_GB = {
    "HBM2": 8.0, "HBM2e": 10.0, "HBM3": 12.0, "HBM3e": 15.0, "GDDR6": 4.0, "GDDR6X": 5.0, "GDDR7": 6.0,
    "LPDDR5": 4.0, "DDR5": 3.0,
}  # fmt: skip
_ROUNDED = 2e-9
STACK_MM2 = 110.0  # footprint of an HBM stack (JEDEC, about 10 x 11 mm)
INTERPOSER_USD_PER_MM2, SUBSTRATE_USD_PER_MM2 = 0.35, 0.05  # CoWoS; organic (C)
TEST_SHARE = 0.10  # of the die's cost (C)
BOARD_USD, BOARD_USD_PER_W = 100.0, 0.5  # module, voltage regulators, cooling (C)
# Carbon: ACT (Gupta et al., ISCA 2022; facebookresearch/ACT): Taiwan's grid, 500 g/cm2 of materials, 65 g a GB of DRAM
# (ddr4_10nm), 150 g a package (A). HBM's stacking is not in it.
FAB_G_PER_KWH, MATERIALS_G_PER_CM2, DRAM_G_PER_GB, PACKAGE_G = 583.0, 500.0, 65.0, 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a chip is used.

    Attributes:
        years: Years of service.
        share: Share of TDP drawn on average.
        effectiveness: Power usage effectiveness of the site.
        grid_g_per_kwh: Carbon intensity of the grid (ACT: USA 380 g).
    """

    years: float = 4.0
    share: float = 0.6
    effectiveness: float = 1.1
    grid_g_per_kwh: float = 380.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipCost:
    """Cost of making and carbon of chips, arrays of shape (chips,).

    Attributes:
        dies: Number of dies.
        good_share: Yield.
        die_usd: Cost of good dies.
        memory_usd: Cost of memory.
        package_usd: Cost of the package.
        board_usd: Cost of the board.
        embodied_kg: Carbon of making, kg CO2 equivalent.
        use_kg: Carbon of use over the years of service, kg CO2 equivalent.
    """

    dies: Floats
    good_share: Floats
    die_usd: Floats
    memory_usd: Floats
    package_usd: Floats
    board_usd: Floats
    embodied_kg: Floats
    use_kg: Floats

    @property
    def usd(self) -> Floats:
        """Return the cost of the module."""
        return self.die_usd + self.memory_usd + self.package_usd + self.board_usd


def dies_of(die_mm2: Floats) -> Floats:
    """Return the number of dies of chips; a reticle that is exceeded by rounding alone is one."""
    return np.asarray(np.ceil(die_mm2 / RETICLE_MM2 * (1.0 - _ROUNDED)))


def die_usd_line(die_mm2: Floats, tech: Technology) -> tuple[Floats, Floats]:
    """Return value and slope of a line that no cost of good dies is below, for chips of as many dies as one of this
    area.

    With a fraction of a die allowed on a wafer the cost is `m a / (g(a) y(a))` of m dies of area a, which is convex:
    `a / g` is, `1 / y` too, and both rise.
    """
    dies = dies_of(die_mm2)
    area = np.asarray(die_mm2, dtype=np.float64) / dies
    root = np.sqrt(area)
    per_wafer = np.pi * (WAFER_MM / 2.0) ** 2 - np.pi * WAFER_MM * root / np.sqrt(2.0)  # times the area
    bad = area / 100.0 * tech.defects_per_cm2 / CLUSTERING
    value = dies * tech.wafer_usd * area / per_wafer * (1.0 + bad) ** CLUSTERING * (1.0 + TEST_SHARE)
    edge = np.pi * WAFER_MM * root / np.sqrt(2.0) / 2.0 / per_wafer
    slope = value / (dies * area) * (1.0 + edge + CLUSTERING * bad / (1.0 + bad))
    return value, slope


def dies_per_wafer(die_mm2: Floats) -> Floats:
    """Return gross dies of a wafer: its area over the die's, less those that the edge cuts (Ferris-Prabhu)."""
    area = np.asarray(die_mm2, dtype=np.float64)
    whole = np.pi * (WAFER_MM / 2.0) ** 2 / area - np.pi * WAFER_MM / np.sqrt(2.0 * area)
    return np.asarray(np.maximum(np.floor(whole), 1.0))


def good_share(die_mm2: Floats, tech: Technology) -> Floats:
    """Return the yield: negative binomial with clustered defects; no repair or salvage of partly good dies."""
    defects = np.asarray(die_mm2, dtype=np.float64) / 100.0 * tech.defects_per_cm2
    return np.asarray((1.0 + defects / CLUSTERING) ** -CLUSTERING)


def cost(plan: Blueprint, tech: Technology, die_mm2: Floats, tdp_w: Floats, use: Use | None = None) -> ChipCost:
    """Return cost and carbon of chips of this area and power at a node."""
    use = use or Use()
    dies = dies_of(die_mm2)
    each = die_mm2 / dies
    good = good_share(each, tech)
    stacked = plan.memory_kind in MEMORY_MM2_PER_STACK
    package_mm2 = die_mm2 + (plan.stacks * STACK_MM2 if stacked else 0.0)
    per_cm2 = FAB_G_PER_KWH * tech.fab_kwh_per_cm2 + tech.gas_g_per_cm2 + MATERIALS_G_PER_CM2
    memory_g = plan.memory_bytes / GB * DRAM_G_PER_GB
    hours = use.years * 365.25 * 24.0
    return ChipCost(
        dies=dies,
        good_share=good,
        die_usd=dies * tech.wafer_usd / (dies_per_wafer(each) * good) * (1.0 + TEST_SHARE),
        memory_usd=plan.memory_bytes / GB * MEMORY_USD_PER_GB[plan.memory_kind],
        package_usd=package_mm2 * (INTERPOSER_USD_PER_MM2 if stacked else SUBSTRATE_USD_PER_MM2),
        board_usd=BOARD_USD + BOARD_USD_PER_W * tdp_w,
        embodied_kg=(die_mm2 / 100.0 * per_cm2 / good + memory_g + PACKAGE_G * (dies + plan.stacks)) / 1000.0,
        use_kg=tdp_w / 1000.0 * use.share * hours * use.effectiveness * use.grid_g_per_kwh / 1000.0,
    )
