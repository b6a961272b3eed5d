"""Spaces of chips as products of axes, boxes (sub-products) of them, and the chips of a box."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hardplace.hardware.chip_pricer import Preset
from hardplace.hardware.types import Accelerator, Chips
from hardplace.ndtypes import Floats, Ints

AXES = ("tensor_cores", "array_rows", "array_columns", "vector_cores", "vector_lanes", "buffer_bytes", "clock_hz")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChoice:
    """One choice of off-chip memory.

    Attributes:
        kind: Kind of memory, such as HBM3.
        stacks: Number of stacks.
        bytes: Capacity of all stacks.
        bandwidth_bytes_per_s: Bandwidth of all stacks.
    """

    kind: str
    stacks: int
    bytes: float
    bandwidth_bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class ChipSpace:
    """A space of chips: every combination of the values of its axes, each sorted, with each memory and each link.

    Attributes:
        name: Name of the space.
        description: What it stands for.
        tensor_cores: Numbers of arrays.
        array_rows: Rows of an array.
        array_columns: Columns of an array.
        vector_cores: Numbers of vector cores.
        vector_lanes: Lanes of a vector core; (): as many as an array has columns.
        buffer_bytes: Sizes of the shared buffer.
        clock_hz: Clocks; (): the setting's.
        memories: Memories; (): the setting's.
        links_bytes_per_s: Bandwidths of the network's innermost level; (): the setting's.
        area_model: How the die area is priced (`hardware.chip_pricer`).
        node_nm: Process node.
        dtype: Type of operand that arrays are built for.
        area_limit_mm2: Limit on the area where no other is asked for.
        least_area_share: Of the area limit; smaller chips are left out unless they have one core of either kind
            (PHAZE).
        tdp_limit_w: Limit on the TDP where no other is asked for; None: none.
    """

    name: str
    description: str
    tensor_cores: tuple[int, ...]
    array_rows: tuple[int, ...]
    array_columns: tuple[int, ...]
    vector_cores: tuple[int, ...]
    vector_lanes: tuple[int, ...]
    buffer_bytes: tuple[int, ...]
    clock_hz: tuple[float, ...]
    memories: tuple[MemoryChoice, ...]
    links_bytes_per_s: tuple[float, ...]
    area_model: Preset
    node_nm: float
    dtype: str
    area_limit_mm2: float
    least_area_share: float = 0.0
    tdp_limit_w: float | None = None

    @cached_property
    def values(self) -> tuple[Floats, ...]:
        """Return the values of each axis; an axis that is tied or the setting's has one place, of value nan."""
        axes = (getattr(self, axis) for axis in AXES)
        return tuple(np.array(axis if axis else (math.nan,), dtype=np.float64) for axis in axes)

    @property
    def whole(self) -> Box:
        """Return the box of all places of the axes; memories and links are no axes."""
        return Box(low=(0,) * len(AXES), high=tuple(len(values) for values in self.values))

    @property
    def chips(self) -> int:
        """Return the number of combinations, memories and links among them."""
        return self.whole.size * max(1, len(self.memories)) * max(1, len(self.links_bytes_per_s))

    def place_of(self, chip: Accelerator, clock_hz: float) -> Ints | None:
        """Return the places of a chip on the axes, shape (axes, 1); None where it is not of the space.

        Memory and links are not looked at.

        Args:
            chip: The chip.
            clock_hz: Clock of the setting, which chips of a space without clocks run at.
        """
        tied = {"vector_lanes": chip.array_columns, "clock_hz": clock_hz}
        found = []
        for axis, values in zip(AXES, self.values, strict=True):
            own = getattr(chip, axis)
            match = np.flatnonzero(values == own) if getattr(self, axis) else np.flatnonzero([own == tied[axis]])
            found.append(match)
        return np.array(found).reshape(len(AXES), 1) if all(len(one) == 1 for one in found) else None

    def at(self, places: Ints) -> Chips:
        """Return the chips at these places on the axes, shape (axes, chips); their area is not known yet (nan)."""
        columns = {axis: values[place] for axis, values, place in zip(AXES, self.values, places, strict=True)}
        clock_hz = columns.pop("clock_hz")
        if not self.vector_lanes:
            columns["vector_lanes"] = columns["array_columns"]
        sizes = {axis: column.astype(np.int64) for axis, column in columns.items()}
        return Chips(**sizes, area_mm2=np.full(places.shape[1], np.nan), clock_hz=clock_hz if self.clock_hz else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box of chips: places low to high (not included) on each axis, in the order of AXES."""

    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def size(self) -> int:
        """Return the number of its chips."""
        return math.prod(high - low for low, high in zip(self.low, self.high, strict=True))

    def places(self) -> Ints:
        """Return the places of all its chips, shape (axes, chips)."""
        grids = np.meshgrid(*(np.arange(low, high) for low, high in zip(self.low, self.high, strict=True)))
        return np.stack([grid.ravel() for grid in grids])

    def sampled(self, most: int) -> Ints:
        """Return the places of at most so many of its chips, at even steps, shape (axes, chips)."""
        # A step that has no factor in common with the number of chips meets every value of every axis.
        step = -(-self.size // most)
        while math.gcd(step, self.size) > 1:
            step += 1
        sizes = [high - low for low, high in zip(self.low, self.high, strict=True)]
        found = np.unravel_index(np.arange(0, self.size, step), sizes)
        return np.asarray(np.stack(found) + np.array(self.low)[:, None])

    def halves(self, axis: int) -> Iterator[Box]:
        """Yield the two halves along an axis of two places or more."""
        middle = (self.low[axis] + self.high[axis]) // 2
        yield Box(low=self.low, high=(*self.high[:axis], middle, *self.high[axis + 1 :]))
        yield Box(low=(*self.low[:axis], middle, *self.low[axis + 1 :]), high=self.high)


def corners(boxes: list[Box]) -> tuple[Ints, Ints]:
    """Return the places of the lowest and of the highest chip of each box, each of shape (axes, boxes)."""
    low = np.array([box.low for box in boxes], dtype=np.int64).reshape(len(boxes), len(AXES)).T
    high = np.array([box.high for box in boxes], dtype=np.int64).reshape(len(boxes), len(AXES)).T - 1
    return low, high
