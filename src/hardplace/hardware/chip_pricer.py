"""Pricers of a whole space of chips: PHAZE's linear area, and the sum of parts at a process node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hardplace.hardware import phaze as space
from hardplace.hardware.bill import Activity, Bill, Energies, areas, energies, powers
from hardplace.hardware.blueprint import Blueprint, of_chips
from hardplace.hardware.money import ChipCost, cost
from hardplace.hardware.technology import technology
from hardplace.hardware.types import Chips, Setting
from hardplace.ndtypes import Floats


class Preset(StrEnum):
    """PHAZE: integer MACs, buffers and nothing else, at 45 nm, exact; PARTS: everything on the die, at a node."""

    PHAZE = "phaze"
    PARTS = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipPricer:
    """Prices chips that share the setting's clock, memory and links: area by a preset, all else by parts at a node.

    Attributes:
        setting: The setting; its smallest memory capacity counts, and the links of its innermost network level.
        preset: How the area is priced.
        node_nm: Process node.
        dtype: Type of operand that arrays are built for.
        memory_kind: Kind of memory.
        stacks: Stacks of memory; None: as many as its bandwidth takes.

    Raises:
        BadInput: For a node or a type that the tables do not have.
    """

    setting: Setting
    preset: Preset = Preset.PARTS
    node_nm: float = 7.0
    dtype: str = "bf16"
    memory_kind: str = "HBM3"
    stacks: float | None = None

    def area_mm2(self, chips: Chips) -> Floats:
        """Return die areas."""
        if self.preset is Preset.PHAZE:
            return space.area_mm2(chips)
        return np.asarray(sum(areas(self.plan(chips), technology(self.node_nm)).values()))

    def plan(self, chips: Chips) -> Blueprint:
        """Return the chips' blueprint."""
        return of_chips(
            chips,
            self.setting,
            clock_hz=self.setting.clock_hz,
            memory_kind=self.memory_kind,
            stacks=self.stacks,
            dtype=self.dtype,
        )

    def bill(self, chips: Chips, floor_w: Floats | float = 0.0) -> tuple[Bill, ChipCost, Energies]:
        """Return area and power by part, cost and carbon, and energies; by parts in any preset.

        Args:
            chips: The chips.
            floor_w: Least TDP that costs are given for.
        """
        return self.bill_of(self.plan(chips), floor_w)

    def bill_of(self, plan: Blueprint, floor_w: Floats | float = 0.0) -> tuple[Bill, ChipCost, Energies]:
        """Return `bill` of chips by their blueprint."""
        tech = technology(self.node_nm)
        area = areas(plan, tech)
        die_mm2 = np.asarray(sum(area.values()))
        energy = energies(plan, tech, die_mm2)
        found = Bill(area_mm2=area, power_w=powers(plan, tech, die_mm2, Activity(), energy=energy))
        return found, cost(plan, tech, die_mm2, np.maximum(found.tdp_w, floor_w)), energy
