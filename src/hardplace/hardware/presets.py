"""The two ways to price a whole space of chips: PHAZE's linear area, and the sum of parts at a node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from hardplace.hardware import space
from hardplace.hardware.bill import Bill, Energies, areas, bill, energies
from hardplace.hardware.blueprint import Blueprint, of_chips
from hardplace.hardware.money import Cost, cost
from hardplace.hardware.technology import technology
from hardplace.hardware.types import Chips, Floats, Setting


class Preset(StrEnum):
    """PHAZE: integer MACs, buffers and nothing else, at 45 nm, exact; PARTS: everything on the die, at a node."""

    PHAZE = "phaze"
    PARTS = "parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What chips take, arrays of shape (chips,). PHAZE's preset has only the area."""

    area_mm2: Floats
    tdp_w: Floats | None = None
    usd: Floats | None = None
    embodied_kg: Floats | None = None
    use_kg: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricer:
    """Prices chips that share a memory and links, the setting's: area by a preset, all else by parts at a node."""

    setting: Setting
    preset: Preset
    node_nm: float
    dtype: str
    memory_kind: str
    stacks: float | None

    def area_mm2(self, chips: Chips) -> Floats:
        """Return die areas."""
        if self.preset is Preset.PHAZE:
            return space.area_mm2(chips)
        return np.asarray(sum(areas(self.plan(chips), technology(self.node_nm)).values()))

    def plan(self, chips: Chips) -> Blueprint:
        """Return the chips' blueprint."""
        return _plan(chips, self.setting, self.dtype, self.memory_kind, self.stacks)

    def bill(self, chips: Chips) -> tuple[Bill, Cost, Energies]:
        """Return area and power by part, cost and carbon, and energies of operations and bytes."""
        plan, tech = self.plan(chips), technology(self.node_nm)
        found = bill(plan, tech)
        return found, cost(plan, tech, found.die_mm2, found.tdp_w), energies(plan, tech, found.die_mm2)


def priced(
    chips: Chips,
    setting: Setting,
    *,
    preset: Preset = Preset.PARTS,
    node_nm: float = 7.0,
    dtype: str = "bf16",
    memory_kind: str = "HBM3",
    stacks: float | None = None,
) -> Priced:
    """Return what every chip of a space takes, in one call: die area, TDP, cost and carbon.

    Clock, memory and links are the setting's; memory is the smallest capacity that it offers, links are those of its
    innermost network level. Raises BadInput for a node or a type that the tables do not have.
    """
    if preset is Preset.PHAZE:
        return Priced(area_mm2=space.area_mm2(chips))
    plan = _plan(chips, setting, dtype, memory_kind, stacks)
    tech = technology(node_nm)
    found = bill(plan, tech)
    made = cost(plan, tech, found.die_mm2, found.tdp_w)
    return Priced(
        area_mm2=found.die_mm2, tdp_w=found.tdp_w, usd=made.usd, embodied_kg=made.embodied_kg, use_kg=made.use_kg
    )


def _plan(chips: Chips, setting: Setting, dtype: str, memory_kind: str, stacks: float | None) -> Blueprint:
    return of_chips(
        chips,
        clock_hz=setting.clock_hz,
        memory_kind=memory_kind,
        memory_bandwidth_bytes_per_s=setting.memory_bandwidth_bytes_per_s,
        memory_bytes=min(setting.memory_capacities_bytes),
        link_bandwidth_bytes_per_s=setting.cluster.levels[0].bandwidth_bytes_per_s,
        stacks=stacks,
        dtype=dtype,
    )
