"""What a chip's power leaves of its arrays' rate in the products of a training step (docs/model-cost.md, "What kernels
reach").

Products draw more than the average of a step, at which TDP is rated, and the clock falls until the chip draws its TDP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hardplace.hardware.bill import (
    Activity,
    areas,
    buffer_bytes_per_mac,
    energies,
    feed_bytes_per_mac,
    powers,
)
from hardplace.hardware.blueprint import Blueprint, of_chips
from hardplace.hardware.technology import CLOCK_SHARE, Technology, technology
from hardplace.hardware.types import Chips, PowerLimit, Setting
from hardplace.ndtypes import Floats

# Beside products of a step runs what moves their operands and the traffic behind them (C).
BESIDE = Activity(matrix=0.0, vector=0.0, memory=0.3, links=0.2)
_FED = ("matrix engines", "core buffers and registers", "shared buffer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductPower:
    """Power while products run, in W, arrays of shape (chips,).

    Attributes:
        full_w: Of the arrays at their whole rate, operands, sums and clock among it.
        beside_w: Of all else.
        tdp_w: What TDP allows.
    """

    full_w: Floats
    beside_w: Floats
    tdp_w: Floats

    @property
    def share(self) -> Floats:
        """Return the share of the arrays' rate that TDP allows."""
        return np.clip((self.tdp_w - self.beside_w) / self.full_w, 0.0, 1.0)


def product_power(plan: Blueprint, tech: Technology, tdp_w: float | None = None) -> ProductPower:
    """Return the power of chips while products run; tdp_w: published, None: the model's."""
    die_mm2 = np.asarray(sum(areas(plan, tech).values()))
    energy = energies(plan, tech, die_mm2)

    def drawn_w(activity: Activity) -> dict[str, Floats]:
        return powers(plan, tech, die_mm2, activity, energy=energy)

    whole = drawn_w(Activity(matrix=1.0, vector=0.0, memory=0.0, links=0.0))
    rated = sum(drawn_w(Activity()).values()) if tdp_w is None else np.full(len(plan), tdp_w)
    return ProductPower(
        full_w=(1.0 + CLOCK_SHARE) * np.asarray(sum(whole[part] for part in _FED)),
        beside_w=np.asarray(sum(drawn_w(BESIDE).values())),
        tdp_w=np.asarray(rated),
    )


def matrix_share(chips: Chips, setting: Setting) -> Floats:
    """Return the share of the arrays' rate that kernels reach on each chip, shape (chips,)."""
    kernels = setting.kernels
    if kernels.power is None:
        return np.full(len(chips), kernels.matrix_share)
    plan = _plan(chips, setting, kernels.power)
    return kernels.matrix_share * product_power(plan, technology(kernels.power.node_nm)).share


def most_array_cycles_per_s(least: Chips, most: Chips, built: Floats, setting: Setting, tdp_w: Floats | None) -> Floats:
    """Return upper bounds on the cycles a second of all arrays that kernels reach in boxes (proof in
    docs/model-search.md, "Limits together").

    Args:
        least: Lowest chip of each box.
        most: Highest chip of each box.
        built: Most cycles a second of all arrays as built, (boxes,).
        setting: Setting of the chips.
        tdp_w: Limit on TDP, of all boxes or of each; None: none.
    """
    kernels = setting.kernels
    if kernels.power is None:
        return np.asarray(built * kernels.matrix_share)
    tech = technology(kernels.power.node_nm)
    low, high = (_plan(chips, setting, kernels.power) for chips in (least, most))
    least_j = cycle_j(low, high, tech)
    top = product_power(high, tech)
    rated = Activity().matrix
    spare_w = top.tdp_w - top.beside_w - rated * top.full_w
    found = np.minimum(built, rated * built + spare_w / least_j)
    if tdp_w is not None:
        bottom = product_power(low, tech)
        found = np.minimum(found, np.maximum(tdp_w - bottom.beside_w, 0.0) / least_j)
    return np.asarray(kernels.matrix_share * found)


def cycle_j(low: Blueprint, high: Blueprint, tech: Technology) -> Floats:
    """Return the least energy of a cycle of one array in boxes, in J, with operands, sums and clock, by the lowest and
    highest chip of each.
    """
    energy = energies(low, tech, np.asarray(sum(areas(low, tech).values())))
    mac_j = energy.mac_j + feed_bytes_per_mac(high) * energy.feed_j_per_byte
    mac_j = mac_j + buffer_bytes_per_mac(high) * energy.shared_j_per_byte
    return np.asarray((1.0 + CLOCK_SHARE) * mac_j * low.rows * low.columns)


def _plan(chips: Chips, setting: Setting, power: PowerLimit) -> Blueprint:
    return of_chips(chips, setting, clock_hz=power.clock_hz, memory_kind=power.memory_kind, dtype=power.dtype)
